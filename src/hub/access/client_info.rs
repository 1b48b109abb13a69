//! The client behind a request: the peer of its connection or, where that is a trusted proxy, the client that the
//! proxy's `X-Forwarded-*` headers name. Those headers are ignored from any other peer.

use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Error, Reason};
use crate::http::Exchange;

/// An address, or a range of them in CIDR notation (RFC 4632, RFC 4291), whose `X-Forwarded-*` headers are trusted.
///
/// ```
/// use gambi::hub::TrustedProxy;
///
/// assert!("10.0.0.0/8".parse::<TrustedProxy>()?.covers("10.1.2.3".parse().unwrap()));
/// assert!("::1".parse::<TrustedProxy>()?.covers("::1".parse().unwrap()));
/// assert!("10.0.0.0/33".parse::<TrustedProxy>().is_err());
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxy {
    network: IpAddr,
    /// Length of the prefix in bits.
    bits: u32,
}

impl TrustedProxy {
    /// Whether an address is in the range.
    pub fn covers(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(u128::from(network.to_bits()) << 96, u128::from(address.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same_prefix(network.to_bits(), address.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, bits: u32) -> bool {
    bits == 0 || (a ^ b) >> (128 - bits) == 0
}

impl FromStr for TrustedProxy {
    type Err = Error;

    /// # Errors
    /// When the text is neither an address nor a range.
    fn from_str(text: &str) -> Result<Self, Error> {
        let must = format!("must be an address such as 10.0.0.1 or a range such as 10.0.0.0/8, not \"{text}\"");
        let invalid = |reason| Error::Invalid { what: "a trusted proxy", reason };
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let network = address.parse::<IpAddr>().map_err(|e| invalid(Reason::caused_by(&must, e)))?.to_canonical();
        let max_bits = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(max_bits), str::parse).map_err(|e| invalid(Reason::caused_by(&must, e)))?;
        if bits > max_bits { Err(invalid(must.into())) } else { Ok(TrustedProxy { network, bits }) }
    }
}

/// Origin and addressing of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo<'r> {
    /// The client's address: the last address in the chain of trusted proxies.
    pub client: IpAddr,
    /// Whether the client used TLS, as a trusted proxy reports it, or else its connection shows.
    pub secure: bool,
    /// The host that the client addressed; `X-Forwarded-Host` of a trusted proxy takes precedence over `Host`.
    pub host: Option<&'r str>,
    /// Whether the client runs on the hub's own machine. False for a request that an untrusted local proxy forwarded,
    /// since its client is unknown.
    pub local: bool,
}

/// The client behind a request.
pub fn client_info<'r>(exchange: &'r Exchange<'_>, trusted_proxies: &[TrustedProxy]) -> ClientInfo<'r> {
    let connection = (exchange.peer(), exchange.is_encrypted());
    resolve_client(connection, exchange.header("host"), |name| exchange.header_lines(name), trusted_proxies)
}

/// The address of the client behind a request, as in [`ClientInfo`].
pub fn client_address(exchange: &Exchange<'_>, trusted_proxies: &[TrustedProxy]) -> IpAddr {
    let peer = exchange.peer();
    if is_trusted(peer, trusted_proxies) { client_info(exchange, trusted_proxies).client } else { peer }
}

fn is_trusted(address: IpAddr, trusted_proxies: &[TrustedProxy]) -> bool {
    trusted_proxies.iter().any(|proxy| proxy.covers(address))
}

/// `peer` is the address at the other end of the connection, with whether that is encrypted; `host` is the `Host` header. `lines`
/// returns all values of another header, in the order of their lines.
fn resolve_client<'r>(
    (peer, encrypted): (IpAddr, bool),
    host: Option<&'r str>,
    lines: impl Fn(&str) -> Vec<&'r str>,
    trusted_proxies: &[TrustedProxy],
) -> ClientInfo<'r> {
    let chain = lines("x-forwarded-for");
    let host = host.filter(|host| !host.is_empty());
    if !is_trusted(peer, trusted_proxies) {
        let local = peer.is_loopback() && chain.is_empty() && lines("forwarded").is_empty();
        return ClientInfo { client: peer, secure: encrypted, host, local };
    }
    // Several lines form one list (RFC 9110, section 5.3). Each proxy appends the address of its peer, so the last
    // address that is not a trusted proxy is the client. The elements before it are under the client's control.
    let elements = |name: &str| lines(name).into_iter().rev().flat_map(|line| line.rsplit(',')).map(trim_blanks);
    let mut client = peer;
    for hop in elements("x-forwarded-for").map_while(address) {
        client = hop;
        if !is_trusted(hop, trusted_proxies) {
            break;
        }
    }
    // The trusted proxy appended the last element; earlier ones came from the client.
    let forwarded_host = elements("x-forwarded-host").next().filter(|host| !host.is_empty());
    ClientInfo {
        client,
        secure: elements("x-forwarded-proto").next().map_or(encrypted, |proto| proto.eq_ignore_ascii_case("https")),
        host: forwarded_host.or(host),
        local: client.is_loopback(),
    }
}

/// Strips the optional white space around a list element (RFC 9110, section 5.6.1).
fn trim_blanks(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Parses an address as proxies write it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(peer: &str, headers: &[(&str, &'static str)], trusted_proxies: &[&str]) -> ClientInfo<'static> {
        let trusted_proxies: Vec<TrustedProxy> = trusted_proxies.iter().map(|text| text.parse().unwrap()).collect();
        let header = |name: &str| headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect();
        let host = headers.iter().find(|(n, _)| *n == "host").map(|(_, value)| *value);
        resolve_client((peer.parse().unwrap(), false), host, header, &trusted_proxies)
    }

    #[test]
    fn ranges_cover_their_addresses() {
        let covers =
            |range: &str, address: &str| range.parse::<TrustedProxy>().unwrap().covers(address.parse().unwrap());
        assert!(covers("10.0.0.0/8", "10.255.0.1") && !covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("10.0.0.1", "10.0.0.1") && !covers("10.0.0.1", "10.0.0.2"));
        assert!(covers("0.0.0.0/0", "8.8.8.8") && !covers("0.0.0.0/0", "::1"));
        assert!(covers("fd00::/8", "fdff::1") && !covers("fd00::/8", "fe00::1"));
        assert!(covers("127.0.0.1", "::ffff:127.0.0.1"));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.0/", "10.0.0"] {
            assert!(bad.parse::<TrustedProxy>().is_err(), "{bad}");
        }
        let error = std::error::Error::source(&"x".parse::<TrustedProxy>().unwrap_err()).map(ToString::to_string);
        assert_eq!(error, "x".parse::<IpAddr>().err().map(|error| error.to_string()));
    }

    #[test]
    fn only_trusted_proxies_may_name_the_client() {
        let headers = [
            ("x-forwarded-for", "1.1.1.1, 9.9.9.9, 10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "hub.example"),
            ("host", "inside:3000"),
        ];
        let untrusted = resolve("127.0.0.1", &headers, &[]);
        assert_eq!(
            (untrusted.client.to_string().as_str(), untrusted.secure, untrusted.local),
            ("127.0.0.1", false, false)
        );
        assert_eq!(untrusted.host, Some("inside:3000"));
        let trusted = resolve("127.0.0.1", &headers, &["127.0.0.1", "10.0.0.0/8"]);
        assert_eq!((trusted.client.to_string().as_str(), trusted.secure), ("9.9.9.9", true));
        assert_eq!(trusted.host, Some("hub.example"));
        assert!(resolve("127.0.0.1", &[], &[]).local);
        assert!(!resolve("127.0.0.1", &[("x-forwarded-for", "9.9.9.9")], &["127.0.0.1"]).local);
    }

    #[test]
    fn several_lines_are_one_list_whose_last_element_the_proxy_wrote() {
        let headers = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "9.9.9.9, 10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-host", "hub.example"),
        ];
        let trusted = resolve("10.0.0.1", &headers, &["10.0.0.0/8"]);
        assert_eq!((trusted.client.to_string().as_str(), trusted.secure), ("9.9.9.9", false));
        assert_eq!(trusted.host, Some("hub.example"));
        let first =
            resolve("10.0.0.1", &[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "10.0.0.7")], &["10.0.0.0/8"]);
        assert_eq!(first.client.to_string(), "9.9.9.9");
    }

    #[test]
    fn an_unreadable_address_ends_the_chain() {
        let client = |chain| resolve("10.0.0.1", &[("x-forwarded-for", chain)], &["10.0.0.0/8"]).client.to_string();
        assert_eq!(client("6.6.6.6, rubbish, 10.0.0.3"), "10.0.0.3");
        assert_eq!(client("[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(client("1.2.3.4:80"), "1.2.3.4");
        assert_eq!(client(""), "10.0.0.1");
    }
}
