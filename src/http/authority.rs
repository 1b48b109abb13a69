//! The grammar of `Host` and of a target's authority (RFC 9110, section 7.2; RFC 3986, section 3.2.2), without I/O.

use std::net::Ipv6Addr;

/// The longest authority that is accepted, in bytes: a DNS name of 253, and a port.
const MAX_LENGTH: usize = 260;

/// Whether the text is `uri-host [ ":" port ]`: no user information, no path, not empty.
pub fn is_valid(authority: &str) -> bool {
    if authority.len() > MAX_LENGTH {
        return false;
    }
    let (host_ok, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (is_reg_name(host), port)
        }
    };
    host_ok && is_port(port)
}

fn is_reg_name(host: &str) -> bool {
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|b| b.is_some_and(|b| b.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    !host.is_empty()
}

/// The text after the host: nothing, or a colon and a port, which may be empty.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some("") => true,
        Some(digits) => {
            digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["h", "hub.local:3000", "10.0.0.1", "[::1]:80", "[fe80::1]", "a_b-c.d", "h:", "x%20y", "HUB"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            ":80",
            "user@host",
            "host/path",
            "evil.example/.local",
            "h:x",
            "h:65536",
            "h:1:2",
            "[::1",
            "[::1]x",
            "[x]",
            "a b",
            "h?",
            "h#",
            "a\\b",
            "größe",
            "%2",
            "%zz",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
        assert!(!is_valid(&"x".repeat(MAX_LENGTH + 1)));
    }
}
