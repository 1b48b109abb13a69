//! Request heads: strict parsing (RFC 9112), without I/O. What is doubtful is refused: two readers of one doubtful
//! request can each see another one in it.

use tiny_http::Method;

use super::Limits;

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// As sent.
    pub method: Method,
    /// Without query, still percent-encoded.
    pub path: String,
    /// After the `?`.
    pub query: Option<String>,
    /// Whether it is HTTP/1.1 (else 1.0).
    pub http11: bool,
    /// In their order; values trimmed, and anything that is no UTF-8 replaced.
    pub headers: Vec<(String, String)>,
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
    /// There is none, or it has a length.
    Length(u64),
    /// In chunks.
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

/// Looks for the end of a head in what has been read so far: its length, blank line included.
///
/// # Errors
/// When the head is over its limit, or a line ends in a bare LF.
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

/// Parses a whole head.
///
/// # Errors
/// [`HeadError`].
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Head, HeadError> {
    let mut lines = Vec::with_capacity(limits.headers);
    let room = &mut lines.spare_capacity_mut()[..limits.headers];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("The request's head is cut short")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError { status: 431, reason: "The request has too many header lines" });
        }
        Err(httparse::Error::Version) => {
            return Err(HeadError { status: 505, reason: "Only HTTP/1.0 and HTTP/1.1 are spoken here" });
        }
        Err(_) => return Err(bad("The request's head is malformed")),
    }
    let http11 = request.version == Some(1);
    let method = request.method.unwrap_or_default().parse().map_err(|()| bad("The method is malformed"))?;
    let (path, query) = target(request.path.unwrap_or_default(), &method)?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let headers: Vec<_> = request.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
    check_host(&headers, http11)?;
    Ok(Head {
        framing: framing(&headers, http11)?,
        keep_alive: keeps_alive(&headers, http11),
        expects_continue: expects_continue(&headers, http11)?,
        method,
        path,
        query,
        http11,
        headers,
    })
}

/// Path and query of a target in origin form, absolute form, or `*` for OPTIONS (RFC 9112, section 3.2).
fn target(target: &str, method: &Method) -> Result<(String, Option<String>), HeadError> {
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let origin = if lower.starts_with("http://") || lower.starts_with("https://") {
        let rest = target.split_once("//").map_or("", |(_, rest)| rest);
        rest.find(['/', '?']).map_or("/", |at| &rest[at..])
    } else {
        target
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (origin, None),
    };
    match path {
        "" => Ok(("/".into(), query)),
        "*" if *method == Method::Options => Ok(("*".into(), None)),
        _ if path.starts_with('/') => Ok((path.to_owned(), query)),
        _ => Err(bad("The request's target must begin with a slash")),
    }
}

fn values<'h>(headers: &'h [(String, String)], name: &str) -> impl Iterator<Item = &'h str> {
    headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn check_host(headers: &[(String, String)], http11: bool) -> Result<(), HeadError> {
    match values(headers, "host").count() {
        0 if http11 => Err(bad("A Host header is required")),
        0 | 1 => Ok(()),
        _ => Err(bad("There is more than one Host header")),
    }
}

fn framing(headers: &[(String, String)], http11: bool) -> Result<Framing, HeadError> {
    let mut lengths = values(headers, "content-length");
    let mut codings = values(headers, "transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(bad("A request may have Content-Length or Transfer-Encoding, not both")),
        (None, Some(coding)) => {
            let plain = coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() && http11;
            if plain {
                Ok(Framing::Chunked)
            } else {
                Err(bad("The only Transfer-Encoding taken is chunked, in HTTP/1.1"))
            }
        }
        (Some(length), None) => {
            if lengths.any(|other| other != length) {
                return Err(bad("The request has two lengths that differ"));
            }
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let parsed = digits.then(|| length.parse().ok()).flatten();
            parsed.map(Framing::Length).ok_or(bad("The Content-Length is not a number"))
        }
    }
}

fn keeps_alive(headers: &[(String, String)], http11: bool) -> bool {
    let has = |token: &str| {
        values(headers, "connection").flat_map(|v| v.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if http11 { !has("close") } else { has("keep-alive") && !has("close") }
}

fn expects_continue(headers: &[(String, String)], http11: bool) -> Result<bool, HeadError> {
    match values(headers, "expect").next() {
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(http11),
        Some(_) => Err(HeadError { status: 417, reason: "The only expectation taken is 100-continue" }),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, HeadError> {
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
        assert_eq!(head.headers[2], ("X-A".into(), "b".into()));
    }

    #[test]
    fn the_end_is_found_wherever_reading_stopped() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let limits = Limits::default();
        for cut in 0..text.len() {
            let expected = (cut >= 27).then_some(27);
            assert_eq!(find_end(&text[..cut], &limits), Ok(expected), "cut at {cut}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
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
        assert_eq!(status("\u{16}\u{3}\u{1}\r\n\r\n"), 400);
    }

    #[test]
    fn limits_hold() {
        let many = (0..101).map(|n| format!("X{n}: y\r\n")).collect::<String>();
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(33 << 10))), 431);
    }

    #[test]
    fn connections_are_kept_as_their_version_has_it() {
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
        assert_eq!(path("*", "OPTIONS").unwrap().0, "*");
        assert!(path("*", "GET").is_err());
    }
}
