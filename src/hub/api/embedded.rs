//! Texts that the binary carries and the hub serves. The build script (`src/build.rs`) has compressed them.

use std::io::{self, Read};
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use crate::http::Exchange;

/// A text that is compressed with gzip.
pub struct Embedded {
    content_type: &'static str,
    gzip: &'static [u8],
    text: OnceLock<String>,
}

impl Embedded {
    /// For [`embedded!`].
    pub const fn new(content_type: &'static str, gzip: &'static [u8]) -> Self {
        Embedded { content_type, gzip, text: OnceLock::new() }
    }

    /// The text itself. It is kept from the first time that it is needed, which is rare: browsers accept gzip.
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let mut text = String::new();
            GzDecoder::new(self.gzip).read_to_string(&mut text).expect("the build script has compressed a text");
            text
        })
    }

    /// The check sum and the length of the text, which are the last eight bytes of the compressed form (RFC 1952, 2.3). Weak: it
    /// is the same for both forms.
    fn tag(&self) -> String {
        let end = self.gzip.last_chunk().expect("the build script has compressed a text");
        format!("W/\"{:016x}\"", u64::from_le_bytes(*end))
    }

    /// Sends the text, compressed if the client accepts that, or 304 if it has it already.
    pub fn send(&self, exchange: &mut Exchange<'_>, headers: &[(&str, &str)]) -> io::Result<()> {
        let tag = self.tag();
        let is_known = exchange.header("if-none-match").is_some_and(|known| names(known, &tag));
        let compress = exchange.header("accept-encoding").is_some_and(accepts_gzip);
        // The texts change with the version of the hub, so caches must revalidate them.
        let mut all = vec![
            ("Content-Type", self.content_type),
            ("ETag", &*tag),
            ("Vary", "Accept-Encoding"),
            ("Cache-Control", "no-cache"),
        ];
        all.extend_from_slice(headers);
        if is_known {
            return exchange.respond(304, &all, b"");
        }
        if !compress {
            return exchange.respond(200, &all, self.text().as_bytes());
        }
        all.push(("Content-Encoding", "gzip"));
        exchange.respond(200, &all, self.gzip)
    }
}

/// A text by the name that the build script gives it, and its `Content-Type`.
macro_rules! embedded {
    ($name:literal, $content_type:literal) => {
        Embedded::new($content_type, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")))
    };
}
pub(super) use embedded;

/// Whether an `If-None-Match` names a tag, by the weak comparison (RFC 9110, section 13.1.2).
fn names(known: &str, tag: &str) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.trim().trim_start_matches("W/")
    }
    known.trim() == "*" || known.split(',').any(|known| opaque(known) == opaque(tag))
}

/// Whether an `Accept-Encoding` names gzip, and not with the weight 0.
fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters
            .trim()
            .strip_prefix(['q', 'Q'])
            .and_then(|rest| rest.strip_prefix('='))
            .and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_in_its_strong_form_and_as_any() {
        for known in ["W/\"1-a\"", "\"1-a\"", "\"0\", W/\"1-a\" ,\"2\"", " * "] {
            assert!(names(known, "W/\"1-a\""), "{known}");
        }
        assert!(!["", "\"1\"", "W/\"1-A\"", "1-a", "W/*"].iter().any(|known| names(known, "W/\"1-a\"")));
    }

    #[test]
    fn gzip_is_accepted_by_name_and_weight() {
        assert!(accepts_gzip("gzip, deflate, br") && accepts_gzip("br, GZIP;q=0.5") && accepts_gzip("gzip; Q=1"));
        for other in ["", "br", "gzip;q=0", "identity, gzip; Q=0.0", "*", "xgzip"] {
            assert!(!accepts_gzip(other), "{other}");
        }
    }
}
