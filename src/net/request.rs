//! Encoding of HTTP/1.1 requests.

use std::fmt::Write as _;

use ureq::http::{HeaderValue, Uri};

/// The `User-Agent` of requests.
pub const USER_AGENT: &str = concat!("gambi/", env!("CARGO_PKG_VERSION"));

/// The `Host` of requests to a URL.
pub fn host_header(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Encodes a request, head and body. `lines` are header lines that have been checked; the length of the body is added. A
/// `POST` without a body gets an empty one.
///
/// # Errors
/// The name of the first of `headers` whose value is invalid.
pub fn encode<'h>(
    method: &str,
    target: &str,
    lines: &str,
    headers: impl Iterator<Item = (&'h str, &'h str)>,
    body: Option<&str>,
) -> Result<Vec<u8>, &'h str> {
    let body = body.or((method == "POST").then_some(""));
    let mut request = String::with_capacity(512 + target.len() + lines.len() + body.map_or(0, str::len));
    request.extend([method, " ", target, " HTTP/1.1\r\n", lines]);
    for (name, value) in headers {
        if HeaderValue::from_str(value).is_err() {
            return Err(name);
        }
        request.extend([name, ": ", value, "\r\n"]);
    }
    if let Some(body) = body {
        // Writing to memory does not fail.
        let _ = write!(request, "content-length: {}\r\n", body.len());
    }
    request.extend(["\r\n", body.unwrap_or_default()]);
    Ok(request.into_bytes())
}
