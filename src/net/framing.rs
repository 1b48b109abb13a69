//! What both ends of HTTP/1.1 must agree on about where a message ends (RFC 9112, sections 6 and 9.3), without I/O. How strict a
//! head is read is up to each end.

use super::chunked::{ChunkedDecoder, Malformed};
use super::header_list::elements;

/// Whether a response of this status has neither content nor a length (RFC 9112, section 6.3; RFC 9110, section 8.6). A 205 has a
/// length, which is zero.
pub fn has_no_content(status: u16) -> bool {
    status < 200 || matches!(status, 204 | 304)
}

/// Why a length is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidLength {
    /// There are several that differ.
    Ambiguous,
    /// It is not a decimal number of 64 bits.
    NotANumber,
}

/// The length that `Content-Length` gives, whose values may be repeated (RFC 9112, section 6.3); `None` without one.
///
/// # Errors
/// [`InvalidLength`].
pub fn content_length<'h>(mut values: impl Iterator<Item = &'h [u8]>) -> Result<Option<u64>, InvalidLength> {
    let Some(length) = values.next() else { return Ok(None) };
    if values.any(|other| other != length) {
        return Err(InvalidLength::Ambiguous);
    }
    // `parse` alone would take a sign.
    let digits = Some(length).filter(|length| length.iter().all(u8::is_ascii_digit));
    let parsed = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    parsed.map(Some).ok_or(InvalidLength::NotANumber)
}

/// Whether the connection persists after a message of this version with these lines of `Connection` (RFC 9112, section 9.3).
pub fn is_persistent<'h, L: AsRef<[u8]> + ?Sized + 'h>(
    http11: bool,
    connection: impl IntoIterator<Item = &'h L>,
) -> bool {
    let mut persists = http11;
    for option in elements(connection) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        persists |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    persists
}

/// The part of a message's body that has not been read (RFC 9112, section 6.3).
#[derive(Debug)]
pub enum UnreadBody {
    /// This many bytes.
    Length(u64),
    /// Its remaining chunks.
    Chunked(ChunkedDecoder),
    /// All that comes until the server closes the connection.
    UntilClose,
    /// Nothing.
    Done,
}

impl UnreadBody {
    /// A body of so many bytes.
    pub fn of_length(length: u64) -> Self {
        if length == 0 { UnreadBody::Done } else { UnreadBody::Length(length) }
    }

    /// Whether it has been read to its end.
    pub fn is_done(&self) -> bool {
        matches!(self, UnreadBody::Done)
    }

    /// Appends to `out` what `ready` begins with of the body. Returns the number of bytes consumed, which ends with the body.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn take(&mut self, ready: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let (used, is_done) = match self {
            UnreadBody::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(ready.len());
                out.extend_from_slice(&ready[..used]);
                *left -= used as u64;
                (used, *left == 0)
            }
            UnreadBody::Chunked(decoder) => (decoder.decode(ready, out)?, decoder.is_done()),
            UnreadBody::UntilClose => {
                out.extend_from_slice(ready);
                (ready.len(), false)
            }
            UnreadBody::Done => (0, true),
        };
        if is_done {
            *self = UnreadBody::Done;
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_equal_decimal_numbers() {
        let length = |values: &[&'static str]| content_length(values.iter().map(|value| value.as_bytes()));
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["0"]), Ok(Some(0)));
        assert_eq!(length(&["18446744073709551615", "18446744073709551615"]), Ok(Some(u64::MAX)));
        for invalid in ["", "+1", "-1", "1 ", "0x1", "1,1", "18446744073709551616"] {
            assert_eq!(length(&[invalid]), Err(InvalidLength::NotANumber), "{invalid:?}");
        }
        assert_eq!(length(&["1", "01"]), Err(InvalidLength::Ambiguous));
    }

    #[test]
    fn a_connection_persists_by_the_rules_of_its_version() {
        for (lines, http11, http10) in [
            (&[][..], true, false),
            (&["keep-alive"], true, true),
            (&["x, Keep-Alive"], true, true),
            (&["close"], false, false),
            (&["keep-alive", "Close"], false, false),
            (&["closed"], true, false),
        ] {
            let persists = |http11| is_persistent(http11, lines.iter().copied());
            assert_eq!((persists(true), persists(false)), (http11, http10), "{lines:?}");
        }
    }

    #[test]
    fn a_body_takes_no_byte_of_what_follows_it() {
        let chunked = || UnreadBody::Chunked(ChunkedDecoder::strict());
        let cases = [
            (UnreadBody::of_length(3), &b"abcNEXT"[..], 3, true),
            (UnreadBody::of_length(9), b"abc", 3, false),
            (UnreadBody::of_length(0), b"NEXT", 0, true),
            (chunked(), b"3\r\nabc\r\n0\r\n\r\nNEXT", 13, true),
            (UnreadBody::UntilClose, b"abc", 3, false),
        ];
        for (mut body, ready, used, is_done) in cases {
            let mut out = Vec::new();
            assert_eq!(body.take(ready, &mut out), Ok(used), "{body:?}");
            assert_eq!((body.is_done(), out.as_slice()), (is_done, &b"abc"[..if used == 0 { 0 } else { 3 }]));
        }
    }
}
