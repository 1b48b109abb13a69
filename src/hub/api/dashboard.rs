//! The dashboard: a page, a style sheet and a script, embedded in the binary and served as static files. The script gets
//! its data from the management plane, as any other client does.

use std::io::Write;
use std::sync::OnceLock;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};

use crate::http::Exchange;
use crate::hub::access::credentials::check_key;
use crate::hub::api::minify::{minified_len, minify};
use crate::hub::api::ollama;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{SANDBOX_HEADERS, no_route};

const PAGE: &str = include_str!("../../web/index.html");
const STYLE: &str = concat!(
    include_str!("../../web/style.css"),
    include_str!("../../web/chat.css"),
    include_str!("../../web/activity.css"),
);
/// All script files as one JavaScript module: they share one scope.
const SCRIPT: &str = concat!(
    include_str!("../../web/dom.js"),
    include_str!("../../web/theme.js"),
    include_str!("../../web/api.js"),
    include_str!("../../web/live.js"),
    include_str!("../../web/rooms.js"),
    include_str!("../../web/participants.js"),
    include_str!("../../web/charts.js"),
    include_str!("../../web/timeline.js"),
    include_str!("../../web/queue.js"),
    include_str!("../../web/events.js"),
    include_str!("../../web/kept.js"),
    include_str!("../../web/markdown.js"),
    include_str!("../../web/history.js"),
    include_str!("../../web/talk.js"),
    include_str!("../../web/chat.js"),
    include_str!("../../web/inspector.js"),
    include_str!("../../web/invite.js"),
    include_str!("../../web/snippets.js"),
    include_str!("../../web/main.js"),
);
static MINIFIED_PAGE: [u8; minified_len(PAGE)] = minify(PAGE);
static MINIFIED_STYLE: [u8; minified_len(STYLE)] = minify(STYLE);
static MINIFIED_SCRIPT: [u8; minified_len(SCRIPT)] = minify(SCRIPT);

/// A file of the page. It is compressed when the first browser accepts that, and kept.
struct File {
    content_type: &'static str,
    body: &'static [u8],
    compressed: OnceLock<Vec<u8>>,
}

impl File {
    const fn new(content_type: &'static str, body: &'static [u8]) -> Self {
        File { content_type, body, compressed: OnceLock::new() }
    }

    /// Empty if compression failed.
    fn compressed(&self) -> &[u8] {
        self.compressed.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(self.body).and_then(|()| encoder.finish()).unwrap_or_default()
        })
    }

    /// Weak: it is the same for the compressed form.
    fn tag(&self) -> String {
        let mut crc = Crc::new();
        crc.update(self.body);
        format!("W/\"{:08x}-{}\"", crc.sum(), self.body.len())
    }
}

static PAGE_FILE: File = File::new("text/html; charset=utf-8", &MINIFIED_PAGE);
static STYLE_FILE: File = File::new("text/css; charset=utf-8", &MINIFIED_STYLE);
static SCRIPT_FILE: File = File::new("text/javascript; charset=utf-8", &MINIFIED_SCRIPT);

/// Allows no foreign resources, no inline scripts and no framing. `require-trusted-types-for` prevents the script itself
/// from parsing text as markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`. Served without the hub's key: the page holds no data and prompts for the key itself.
pub fn page(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    // With a default room, clients of Ollama look here whether the server is up. Browsers say that they want a page.
    let wants_page = || exchange.header("accept").is_some_and(|accept| accept.contains("text/html"));
    if hub.default_room.is_some() && !wants_page() {
        SANDBOX_HEADERS.into_iter().for_each(|(name, value)| exchange.add_header(name, value));
        return Ok(ollama::say_running(exchange));
    }
    send_file(hub, exchange, &PAGE_FILE)
}

/// `GET /dashboard.css`.
pub fn style(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    send_file(hub, exchange, &STYLE_FILE)
}

/// `GET /dashboard.js`.
pub fn script(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    send_file(hub, exchange, &SCRIPT_FILE)
}

fn send_file(hub: &HubContext, exchange: &mut Exchange<'_>, file: &File) -> HandlerResult {
    if !hub.dashboard {
        check_key(hub, exchange, None)?;
        return Err(no_route());
    }
    let tag = file.tag();
    let known = exchange.header("if-none-match").is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let compressed = if exchange.header("accept-encoding").is_some_and(accepts_gzip) { file.compressed() } else { b"" };
    let mut headers = vec![
        ("Content-Type", file.content_type),
        ("ETag", &tag),
        ("Vary", "Accept-Encoding"),
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        // Other pages get neither a reference to the dashboard's window nor its files.
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        // The files change with the version of the hub, so caches must revalidate them.
        ("Cache-Control", "no-cache"),
    ];
    if known {
        return Ok(exchange.respond(304, &headers, b""));
    }
    if compressed.is_empty() {
        return Ok(exchange.respond(200, &headers, file.body));
    }
    headers.push(("Content-Encoding", "gzip"));
    Ok(exchange.respond(200, &headers, compressed))
}

/// Whether an `Accept-Encoding` names gzip, and not with the weight 0.
fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_is_small_and_refers_to_no_other_host() {
        let all = [&MINIFIED_PAGE[..], &MINIFIED_STYLE, &MINIFIED_SCRIPT].concat();
        let all = std::str::from_utf8(&all).unwrap();
        assert!(all.len() < 120_000, "{} bytes", all.len());
        let elsewhere: Vec<&str> = all.split("//").skip(1).filter(|rest| rest.starts_with("www.")).collect();
        // The SVG namespace is an identifier, which browsers do not fetch.
        assert!(elsewhere.iter().all(|rest| rest.starts_with("www.w3.org/2000/svg")), "{elsewhere:?}");
        assert!(!all.contains("https://") && !all.contains("innerHTML"));
    }

    #[test]
    fn gzip_is_accepted_by_name_and_weight() {
        assert!(accepts_gzip("gzip, deflate, br") && accepts_gzip("br, GZIP;q=0.5") && accepts_gzip("gzip; q=1"));
        for other in ["", "br", "gzip;q=0", "identity, gzip; q=0.0", "*", "xgzip"] {
            assert!(!accepts_gzip(other), "{other}");
        }
    }

    #[test]
    fn each_id_of_the_page_is_of_one_element() {
        let mut ids: Vec<&str> = PAGE.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(count > 50 && ids.len() == count, "{count} ids, {} different ones", ids.len());
    }

    #[test]
    fn secrets_are_never_put_into_storage_that_other_scripts_can_read() {
        const STORING: [&str; 3] = [
            include_str!("../../web/kept.js"),
            include_str!("../../web/history.js"),
            include_str!("../../web/theme.js"),
        ];
        let others = STORING.iter().fold(SCRIPT.to_owned(), |script, file| script.replace(file, ""));
        for storage in ["sessionStorage", "localStorage", "indexedDB", "document.cookie", "caches.", "window.secrets"] {
            assert!(!others.contains(storage), "{storage}");
        }
        assert!(STORING.iter().all(|file| !file.contains("secrets.get") && !file.contains("secretHeaders")));
        assert!(PAGE.contains(r#"type="module""#), "declarations of a module are not global");
    }

    #[test]
    fn no_comment_spans_lines_since_the_minifier_cannot_drop_it() {
        let source = [STYLE, SCRIPT].concat();
        assert!(source.lines().all(|line| !line.contains("/*") || line.ends_with("*/")), "a comment spans lines");
    }
}
