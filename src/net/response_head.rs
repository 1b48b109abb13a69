//! The head of an answer to an HTTP call, without I/O.

use std::io;
use std::mem::MaybeUninit;

use super::chunked::ChunkedDecoder;
use super::framing::{UnreadBody, content_length, has_no_content, is_persistent};
use super::header_list::elements;

/// The longest head of an answer, in bytes, and the largest number of its header lines.
pub(super) const MAX_HEAD: usize = 64 << 10;
const MAX_LINES: usize = 128;

/// An answer's head.
pub struct ResponseHead<'a> {
    /// HTTP status, 200 to 599.
    pub status: u16,
    lines: &'a [httparse::Header<'a>],
}

impl<'a> ResponseHead<'a> {
    /// Names and values, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.iter().map(|line| (line.name, line.value))
    }

    /// The values of all lines of a header.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        lines(self.lines, name)
    }
}

/// What a head tells of its answer.
pub(super) struct ParsedHead {
    /// The head's length in bytes, including the blank line.
    pub length: usize,
    pub body: UnreadBody,
    /// Whether the connection can be reused after the answer.
    pub reusable: bool,
}

/// The error of an answer that breaks a rule.
pub(super) fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Parses a head, if it is complete (RFC 9112, section 6.3), and passes it to `show` unless it is interim.
pub(super) fn read_head(bytes: &[u8], show: impl FnOnce(&ResponseHead<'_>)) -> io::Result<Option<ParsedHead>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err(broken("the answer's head is too long")),
        Err(error) => return Err(broken(&format!("the answer is no HTTP: {error}"))),
    };
    let status = answer.code.unwrap_or_default();
    if status == 101 || !(100..600).contains(&status) {
        return Err(broken(&format!("the answer has the status {status}")));
    }
    if status >= 200 {
        show(&ResponseHead { status, lines: answer.headers });
    }
    let body = framing(status, answer.headers)?;
    let reusable = is_reusable(answer.version == Some(1), answer.headers) && !matches!(body, UnreadBody::UntilClose);
    Ok(Some(ParsedHead { length, body, reusable }))
}

/// The values of all lines of a header.
fn lines<'h>(headers: &'h [httparse::Header<'_>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn values<'h>(headers: &'h [httparse::Header<'_>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    elements(lines(headers, name))
}

/// How the body ends (RFC 9112, section 6.3).
fn framing(status: u16, headers: &[httparse::Header<'_>]) -> io::Result<UnreadBody> {
    if has_no_content(status) {
        return Ok(UnreadBody::Done);
    }
    let mut codings = values(headers, "transfer-encoding").filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
            return Ok(UnreadBody::Chunked(ChunkedDecoder::lenient()));
        }
        (None, _) => {}
        _ => return Err(broken("the answer's Transfer-Encoding is not chunked")),
    }
    match content_length(values(headers, "content-length")) {
        Ok(length) => Ok(length.map_or(UnreadBody::UntilClose, UnreadBody::of_length)),
        Err(_) => Err(broken("the answer's Content-Length is no number")),
    }
}

fn is_reusable(http11: bool, headers: &[httparse::Header<'_>]) -> bool {
    // Two framings: the rest of the stream cannot be trusted.
    let is_ambiguous =
        values(headers, "transfer-encoding").next().is_some() && values(headers, "content-length").next().is_some();
    !is_ambiguous && is_persistent(http11, lines(headers, "connection"))
}
