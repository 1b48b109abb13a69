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

/// Encodes the head of a request. `lines` are header lines that have been checked; the length of the body is added. A `POST`
/// without a body gets an empty one.
///
/// # Errors
/// The name of the first of `headers` whose value is invalid.
pub fn encode_head<'h>(
    method: &str,
    target: &str,
    lines: &str,
    headers: impl Iterator<Item = (&'h str, &'h str)>,
    body_bytes: Option<usize>,
) -> Result<Vec<u8>, &'h str> {
    let mut head = String::with_capacity(512 + target.len() + lines.len());
    head.extend([method, " ", target, " HTTP/1.1\r\n", lines]);
    for (name, value) in headers {
        if HeaderValue::from_str(value).is_err() {
            return Err(name);
        }
        head.extend([name, ": ", value, "\r\n"]);
    }
    if let Some(bytes) = body_bytes.or((method == "POST").then_some(0)) {
        // Writing to memory does not fail.
        let _ = write!(head, "content-length: {bytes}\r\n");
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}
