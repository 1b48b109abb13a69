//! The headers by which browsers let pages use the hub (Fetch standard, "CORS protocol"; Private Network Access). Which
//! origins may use it is decided in `access::origin_policy`.

use std::io;

use crate::http::Exchange;
use crate::hub::access::origin_is_allowed;
use crate::hub::context::HubContext;
use crate::net::header_list::{elements, is_token_byte};

/// Request headers that pages may send, for a preflight that names none.
const ALLOWED_HEADERS: &str = "Content-Type, Authorization, anthropic-version, anthropic-beta, x-api-key, X-Gambi-Host-Id, \
     X-Gambi-Room-Password, X-Gambi-Participant-Token";

/// Response headers that pages may read.
const EXPOSED_HEADERS: &str = "Retry-After, X-Request-Id, X-Gambi-Participant, X-Gambi-Request-Id, X-Gambi-Estimated, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
    x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

/// The longest `Access-Control-Request-Headers` that is accepted, in bytes.
const MAX_ASKED: usize = 4096;

/// Adds the headers that every response has.
pub fn add_headers(hub: &HubContext, exchange: &mut Exchange<'_>) {
    exchange.add_header("Access-Control-Allow-Origin", &hub.cors);
    if hub.cors != "*" {
        exchange.add_header("Vary", "Origin");
    }
    if exchange.header("origin").is_some() {
        exchange.add_header("Access-Control-Expose-Headers", EXPOSED_HEADERS);
    }
}

/// Answers a preflight. All headers that it names are allowed, since each release of OpenAI's client adds some.
///
/// # Errors
/// When the connection is broken.
pub fn preflight(hub: &HubContext, exchange: &mut Exchange<'_>) -> io::Result<()> {
    let asked = exchange.header("access-control-request-headers").filter(|names| is_header_list(names));
    let allowed = asked.unwrap_or(ALLOWED_HEADERS).to_owned();
    let mut headers = vec![
        ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
        ("Access-Control-Allow-Headers", allowed.as_str()),
        ("Access-Control-Max-Age", "86400"),
    ];
    if exchange.header("access-control-request-private-network") == Some("true") && origin_is_allowed(hub, exchange) {
        headers.push(("Access-Control-Allow-Private-Network", "true"));
    }
    exchange.add_header("Vary", "Access-Control-Request-Headers");
    exchange.respond(204, &headers, b"")
}

/// Whether a text is a list of header names (RFC 9110, section 5.6.2), which can be repeated in a header.
fn is_header_list(text: &str) -> bool {
    let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte));
    text.len() <= MAX_ASKED && elements([text]).all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_header_names_is_repeated() {
        for good in ["content-type", "x-stainless-lang,x-stainless-os, authorization"] {
            assert!(is_header_list(good), "{good}");
        }
        for bad in ["", "a,,b", "a b", "a: b", "grün", &"x".repeat(MAX_ASKED + 1)] {
            assert!(!is_header_list(bad), "{bad}");
        }
    }
}
