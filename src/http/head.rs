//! Request heads: strict parsing (RFC 9112), without I/O. Ambiguous heads are refused, because a proxy could interpret
//! them differently (request smuggling).

use std::borrow::Cow;

use tiny_http::Method;

use super::authority;
use super::header_lines::HeaderLines;
use super::limits::Limits;
use crate::net::framing::{InvalidLength, content_length, is_persistent};

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, as sent.
    pub method: Method,
    /// The path without query, still percent-encoded.
    pub path: String,
    /// The query, without the `?`.
    pub query: Option<String>,
    /// Whether it is HTTP/1.1 (else 1.0).
    pub http11: bool,
    /// Header lines in order; values are trimmed, and invalid UTF-8 is replaced.
    pub headers: HeaderLines,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
    /// Whether the client waits for a `100 Continue`.
    pub expects_continue: bool,
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`; zero without a body.
    Length(u64),
    /// Chunked.
    Chunked,
}

/// A head that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadError {
    /// HTTP status to answer with.
    pub status: u16,
    /// One sentence.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> HeadError {
    HeadError { status: 400, reason }
}

/// The length of the head at the start of `bytes`, including the blank line; `None` while it is incomplete.
///
/// # Errors
/// If the head is over its limit, or a line ends with a bare LF.
pub fn find_end(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, HeadError> {
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', &bytes[..bytes.len().min(limits.head_bytes)]) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(bad("A line of the head does not end in CR LF"));
        }
        if at - line_start == 1 {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    if bytes.len() >= limits.head_bytes {
        return Err(HeadError { status: 431, reason: "The request's head is too large" });
    }
    Ok(None)
}

/// Parses a complete head.
///
/// # Errors
/// [`HeadError`].
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<RequestHead, HeadError> {
    let bytes = &*with_known_version(bytes)?;
    // As many lines as this head can have: room for all that are allowed would be the most memory that a short request takes.
    let most = memchr::memchr_iter(b'\n', bytes).count().min(limits.headers);
    let mut lines = Vec::with_capacity(most);
    let room = &mut lines.spare_capacity_mut()[..most];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("The request's head is cut short")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError { status: 431, reason: "The request has too many header lines" });
        }
        Err(_) => return Err(bad("The request's head is malformed")),
    }
    let http11 = request.version == Some(1);
    let method = request.method.unwrap_or_default().parse().map_err(|()| bad("The method is malformed"))?;
    let target = target(request.path.unwrap_or_default(), &method)?;
    let mut headers = HeaderLines::with_capacity(request.headers.len(), bytes.len());
    request.headers.iter().for_each(|h| headers.push(h.name, &String::from_utf8_lossy(trim(h.value))));
    check_host(&headers, http11)?;
    if let Some(authority) = target.authority {
        headers = with_host(&headers, &authority);
    }
    Ok(RequestHead {
        framing: framing(&headers, http11)?,
        keep_alive: is_persistent(http11, headers.values("connection")),
        expects_continue: expects_continue(&headers, http11)?,
        method,
        path: target.path,
        query: target.query,
        http11,
        headers,
    })
}

/// Checks the version that ends the request line. A later minor version is served as 1.1 (RFC 9110, section 2.5).
fn with_known_version(bytes: &[u8]) -> Result<Cow<'_, [u8]>, HeadError> {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let start = end.saturating_sub(b" HTTP/1.1".len());
    match &bytes[start..end] {
        b" HTTP/1.1" | b" HTTP/1.0" => Ok(Cow::Borrowed(bytes)),
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
            let mut known = bytes.to_vec();
            known[end - 1] = b'1';
            Ok(Cow::Owned(known))
        }
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError { status: 505, reason: "Only HTTP/1.0 and HTTP/1.1 are spoken here" })
        }
        _ => Err(bad("The request line does not end in a version such as HTTP/1.1")),
    }
}

/// Removes spaces and tabs around a value. No other white space is optional there (RFC 9110, section 5.6.3).
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |at| at + 1);
    &value[start..end]
}

struct Target {
    /// The authority of the absolute form.
    authority: Option<String>,
    path: String,
    query: Option<String>,
}

/// A target in origin form, absolute form, or `*` for OPTIONS (RFC 9112, section 3.2).
fn target(target: &str, method: &Method) -> Result<Target, HeadError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(bad("The request's target holds a byte that must be percent-encoded, or a fragment"));
    }
    let begins_with = |scheme: &str| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let (authority, origin) = if begins_with("http://") || begins_with("https://") {
        let rest = target.split_once("//").map_or("", |(_, rest)| rest);
        let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !authority::is_valid(authority) {
            return Err(bad("The host in the request's target is malformed"));
        }
        (Some(authority.to_owned()), origin)
    } else {
        (None, target)
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (origin, None),
    };
    let path = match path {
        "" if authority.is_some() => "/",
        "*" if *method == Method::Options && query.is_none() => "*",
        _ if path.starts_with('/') => path,
        _ => return Err(bad("The request's target must begin with a slash")),
    };
    Ok(Target { path: path.to_owned(), authority, query })
}

/// With an absolute target the Host header is ignored (RFC 9112, section 3.2.2).
fn with_host(headers: &HeaderLines, authority: &str) -> HeaderLines {
    let mut lines = HeaderLines::default();
    let others = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    others.for_each(|(name, value)| lines.push(name, value));
    lines.push("Host", authority);
    lines
}

fn check_host(headers: &HeaderLines, http11: bool) -> Result<(), HeadError> {
    let mut hosts = headers.values("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if http11 => Err(bad("A Host header is required")),
        (None, _) => Ok(()),
        (Some(host), None) if authority::is_valid(host) => Ok(()),
        (Some(_), None) => Err(bad("The Host header is malformed")),
        (Some(_), Some(_)) => Err(bad("There is more than one Host header")),
    }
}

fn framing(headers: &HeaderLines, http11: bool) -> Result<Framing, HeadError> {
    let mut lengths = headers.values("content-length").peekable();
    let mut codings = headers.values("transfer-encoding");
    match (lengths.peek(), codings.next()) {
        (Some(_), Some(_)) => Err(bad("A request may have Content-Length or Transfer-Encoding, not both")),
        (None, Some(coding)) => {
            let plain = coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() && http11;
            if plain {
                Ok(Framing::Chunked)
            } else {
                Err(bad("The only Transfer-Encoding taken is chunked, in HTTP/1.1"))
            }
        }
        (_, None) => match content_length(lengths.map(str::as_bytes)) {
            Ok(length) => Ok(Framing::Length(length.unwrap_or(0))),
            Err(InvalidLength::Ambiguous) => Err(bad("The request has two lengths that differ")),
            Err(InvalidLength::NotANumber) => Err(bad("The Content-Length is not a number")),
        },
    }
}

fn expects_continue(headers: &HeaderLines, http11: bool) -> Result<bool, HeadError> {
    let mut expected = headers.values("expect").peekable();
    let some = expected.peek().is_some();
    if expected.all(|value| value.eq_ignore_ascii_case("100-continue")) {
        return Ok(some && http11);
    }
    Err(HeadError { status: 417, reason: "The only expectation taken is 100-continue" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RequestHead, HeadError> {
        let limits = Limits::default();
        let end = find_end(text.as_bytes(), &limits)?.ok_or(bad("no end"))?;
        parse(&text.as_bytes()[..end], &limits)
    }

    fn status(text: &str) -> u16 {
        read(text).map_or_else(|e| e.status, |_| 200)
    }

    #[test]
    fn a_plain_head_is_read() {
        let head = read("POST /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A:  b \r\n\r\n").unwrap();
        assert_eq!((head.method, head.path.as_str(), head.query.as_deref()), (Method::Post, "/a%20b", Some("x=1&y")));
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(5), true));
        assert_eq!(head.headers.iter().nth(2), Some(("X-A", "b")));
    }

    #[test]
    fn as_many_header_lines_are_read_as_are_allowed() {
        for headers in [3, 128, 129, 300] {
            let limits = Limits { headers, ..Limits::default() };
            let head = |lines: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(lines - 1));
            let read = |lines: usize| parse(head(lines).as_bytes(), &limits);
            assert_eq!(read(headers).map(|head| head.headers.iter().count()), Ok(headers));
            assert_eq!(read(headers + 1).map_err(|error| error.status), Err(431));
        }
    }

    #[test]
    fn the_end_is_found_however_the_head_is_split() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let limits = Limits::default();
        for cut in 0..text.len() {
            let expected = (cut >= 27).then_some(27);
            assert_eq!(find_end(&text[..cut], &limits), Ok(expected), "cut at {cut}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        for lines in [
            "Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "Host: h\r\nContent-Length: +1\r\n",
            "Host: h\r\nContent-Length: 1, 1\r\n",
            "Host: h\r\nContent-Length: \r\n",
            "Host: h\r\nContent-Length: 99999999999999999999999\r\n",
            "Host: h\r\nTransfer-Encoding: gzip, chunked\r\n",
            "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: h\r\nX : y\r\n",
            "Host: h\r\nX: y\r\n z\r\n",
            "Host: h\r\nHost: i\r\n",
            "X: y\r\n",
            "Host: h\nX: y\r\n",
        ] {
            assert_eq!(status(&format!("POST / HTTP/1.1\r\n{lines}\r\n")), 400, "{lines:?}");
        }
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), 200);
        assert_eq!(status("GET x HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n"), 417);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), 200, "served as 1.1");
        for version in
            ["HTTP/1", "http/1.1", "HTTP/1.", "HTTP/1.1 ", "HTTP/01.1", "HTTP/1.10", "HTTP 1.1", "HTTP/2", ""]
        {
            assert_eq!(status(&format!("GET / {version}\r\nHost: h\r\n\r\n")), 400, "{version}");
        }
        for target in ["/a#b", "/\u{fc}", "/a\u{7f}", "http://user@h/", "http:///x", "http://h:x/"] {
            assert_eq!(status(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), 400, "{target}");
        }
        for host in ["", "user@host", "host/path", "evil.example/.local", "h:x"] {
            assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host}");
        }
        for space in ["\u{a0}", "\u{85}", "\u{b}", "\u{c}"] {
            assert_eq!(
                status(&format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {space}chunked\r\n\r\n")),
                400
            );
        }
        assert_eq!(status("\u{16}\u{3}\u{1}\r\n\r\n"), 400);
    }

    #[test]
    fn heads_over_a_limit_are_refused() {
        let many = (0..101).map(|n| format!("X{n}: y\r\n")).collect::<String>();
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(33 << 10))), 431);
    }

    #[test]
    fn connections_are_persistent_by_the_rules_of_their_version() {
        let keep = |version: &str, line: &str| {
            read(&format!("GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n")).unwrap().keep_alive
        };
        assert!(keep("1.1", ""));
        assert!(!keep("1.1", "Connection: foo, Close\r\n"));
        assert!(!keep("1.0", ""));
        assert!(keep("1.0", "Connection: keep-alive\r\n"));
    }

    #[test]
    fn targets_come_in_three_forms() {
        let path = |target: &str, method: &str| {
            read(&format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n")).map(|h| (h.path, h.query))
        };
        assert_eq!(path("http://h:1/a?b", "GET").unwrap(), ("/a".into(), Some("b".into())));
        assert_eq!(path("HTTP://h", "GET").unwrap(), ("/".into(), None));
        let head = read("GET http://real:1/a HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
        assert_eq!(head.headers.values("host").collect::<Vec<_>>(), ["real:1"], "the target's wins");
        assert_eq!(path("*", "OPTIONS").unwrap().0, "*");
        assert!(path("*", "GET").is_err());
    }
}
