//! Parts of a response's text, without I/O.

use tiny_http::StatusCode;

use crate::net::header_list::is_token_byte;

/// Where a byte may occur in a header line.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// In a name and in a value (RFC 9110, section 5.6.2).
    Token,
    /// In a value only.
    Text,
    /// Nowhere: it could end the line.
    Unsafe,
}

/// The kind of each byte. Looked up, since each response has several hundred bytes of header lines.
static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Unsafe; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            _ if is_token_byte(byte) => Kind::Token,
            b'\t' | b' '..=b'~' => Kind::Text,
            _ => Kind::Unsafe,
        };
        byte += 1;
    }
    kinds
};

/// Appends a header line, unless the name is not a token. Characters that could end the line are replaced.
pub(super) fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    if name.is_empty() || !name.bytes().all(|b| KINDS[usize::from(b)] == Kind::Token) {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let is_safe = |b: u8| KINDS[usize::from(b)] != Kind::Unsafe;
    if value.bytes().all(is_safe) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.extend(value.chars().map(|c| u8::try_from(c).ok().filter(|&b| is_safe(b)).unwrap_or(b'?')));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number. The formatting of the standard library takes three times as long, for each response.
pub(super) fn push_number(out: &mut Vec<u8>, number: usize) {
    // As many digits as 64 bits can have.
    let (mut digits, mut start, mut left) = ([0; 20], 20, number);
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return out.extend_from_slice(&digits[start..]);
        }
    }
}

/// A whole error response for a request that reached no handler. It closes the connection. A response to HEAD has no
/// body, only its length (RFC 9110, section 9.3.2).
pub(super) fn error_response(status: u16, reason: &str, headers: &[(String, String)], is_head: bool) -> Vec<u8> {
    let code = if status >= 500 && status != 505 { "INTERNAL_ERROR" } else { "INVALID_REQUEST" };
    let body = format!(r#"{{"error":"{reason}","code":"{code}"}}"#);
    let phrase = StatusCode(status).default_reason_phrase();
    let mut response = format!("HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json; charset=utf-8\r\n");
    for (name, value) in headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    if status == 503 {
        response.push_str("Retry-After: 1\r\n");
    }
    response.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
    if !is_head {
        response.push_str(&body);
    }
    response.into_bytes()
}

/// The response to a client that speaks HTTP without TLS to a server that needs it.
pub(super) fn plain_http_response(headers: &[(String, String)]) -> Vec<u8> {
    let body = "This port speaks HTTP over TLS: use https:// in place of http://.\n";
    let mut response = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n".to_vec();
    headers.iter().for_each(|(name, value)| push_header(&mut response, name, value));
    let length = body.len();
    response.extend(format!("Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").bytes());
    response
}

/// What stands before and behind so many bytes of a body, if it is sent in chunks.
pub(super) fn chunk_frame(chunked: bool, length: usize) -> (String, &'static str) {
    if chunked { (format!("{length:x}\r\n"), "\r\n") } else { (String::new(), "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 200, 65_536, usize::MAX] {
            let mut out = b"x".to_vec();
            push_number(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }

    #[test]
    fn a_byte_may_occur_in_names_or_values_as_the_rfc_defines() {
        for byte in 0..=u8::MAX {
            let is_text = byte == b'\t' || (b' '..=b'~').contains(&byte);
            let kind = if is_token_byte(byte) {
                Kind::Token
            } else if is_text {
                Kind::Text
            } else {
                Kind::Unsafe
            };
            assert!(KINDS[usize::from(byte)] == kind, "{byte}");
        }
    }
}
