//! HTTP conventions of both ends of a relay: percent-encoding of path segments, URLs of a provider's routes, and
//! hop-by-hop headers. No I/O.

use std::net::IpAddr;

use super::hex::digit;

/// The header with the hubs that a request has passed, which prevents loops. Its format is internal to hubs.
pub const HOPS: &str = "X-Gambi-Hops";

/// The `Accept-Encoding` of requests to a provider. It prevents compression: the provider does not know what the client
/// accepts, and the hub may have to parse the answer.
pub const PLAIN: (&str, &str) = ("accept-encoding", "identity");

/// Decodes percent-encoding (RFC 3986, section 2.1). `None` where a `%` is not followed by two hexadecimal digits, or
/// the bytes are not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes a path segment.
pub fn percent_encode(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if unreserved(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Encodes any text as a header value: visible ASCII is unchanged, all else and `%` is percent-encoded.
/// [`percent_decode`] restores the text.
pub fn header_text(text: &str) -> String {
    let visible = |b: u8| b.is_ascii_graphic() && b != b'%';
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if visible(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether a password can be sent in a header.
pub fn fits_a_header(password: &str) -> bool {
    password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && password.trim() == password
}

/// What follows the scheme of an absolute http or https URL.
pub fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))
}

/// The host in an absolute http or https URL, without its port, in its original case.
pub fn host_of(url: &str) -> Option<&str> {
    let authority = without_scheme(url)?.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => authority.split(':').next(),
    };
    host.filter(|host| !host.is_empty())
}

/// Whether a host, without a port and brackets, names the machine of whoever uses the name.
pub fn is_loopback_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

/// The URL of a provider's route: a base URL without a trailing slash, then `path`. A base URL that ends with `/v1` names
/// OpenAI's API; other APIs of the same provider, such as Ollama's, lie beside it.
pub fn route_url(endpoint: &str, path: &str) -> String {
    // A host may be called `v1` too.
    let root = endpoint.strip_suffix("/v1").filter(|root| !root.ends_with('/')).unwrap_or(endpoint);
    format!("{root}{path}")
}

/// Whether a header concerns one connection (RFC 9110, section 7.6.1) or its body's framing, and so is not passed on.
/// `name` is in lower case.
pub fn is_hop_by_hop(name: &str) -> bool {
    const HOP_BY_HOP: [&str; 9] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    HOP_BY_HOP.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_urls() {
        assert_eq!(host_of("https://hub.example/x"), Some("hub.example"));
        assert_eq!(host_of("http://[::1]:80"), Some("::1"));
        assert_eq!((host_of("http://h:1?x"), host_of("http://:80"), host_of("*")), (Some("h"), None, None));
        assert_eq!(host_of("http://localhost:1@hub.example"), Some("hub.example"));
    }

    #[test]
    fn names_that_lead_others_to_their_own_machine_are_known() {
        for own in ["localhost", "LOCALHOST", "app.localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback_name(own), "{own}");
        }
        for other in ["hub", "10.0.0.1", "localhost.example", "127.example", "fe80::1", "", "["] {
            assert!(!is_loopback_name(other), "{other}");
        }
    }

    #[test]
    fn a_base_that_ends_with_v1_holds_the_routes_beside_it_too() {
        for (endpoint, path, url) in [
            ("http://h", "/v1/models", "http://h/v1/models"),
            ("http://h/v1", "/v1/models", "http://h/v1/models"),
            ("http://h/v1", "/api/chat", "http://h/api/chat"),
            ("http://h/a/v1", "/api/chat", "http://h/a/api/chat"),
            ("http://v1", "/api/chat", "http://v1/api/chat"),
            ("/v1", "/api/chat", "/api/chat"),
            ("", "/v1/models", "/v1/models"),
        ] {
            assert_eq!(route_url(endpoint, path), url, "{endpoint}");
        }
    }

    #[test]
    fn ids_are_encoded_for_a_path() {
        assert_eq!(percent_encode("a b/ü~"), "a%20b%2F%C3%BC~");
    }

    #[test]
    fn passwords_for_headers_are_printable_ascii() {
        assert!(fits_a_header("open sesame!") && fits_a_header("~"));
        for bad in ["größe", " x", "x ", "a\tb", "a\r\nX: y"] {
            assert!(!fits_a_header(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_id_in_a_header_round_trips() {
        assert_eq!(header_text("worker-1/@x"), "worker-1/@x");
        assert_eq!(header_text("größe 7%20"), "gr%C3%B6%C3%9Fe%207%2520");
        for id in ["größe 7", "100%", "日本", " x "] {
            assert_eq!(percent_decode(&header_text(id)).as_deref(), Some(id));
        }
    }
}
