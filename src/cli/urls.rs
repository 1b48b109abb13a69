//! A server's addresses, for display: what it listens on, and how this machine and others reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gambi::hub::network_address;
use gambi::proto::web::{host_of, is_loopback_name};

/// The scheme of a hub's URLs.
pub fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// A server's addresses, for display.
pub struct Urls {
    /// The address that it listens on.
    pub bind: String,
    /// The URL by which this machine reaches it, or the public URL if one is configured.
    pub hub: String,
    /// The URL by which other machines on the network probably reach it, unless a public URL is configured.
    pub network: Option<String>,
}

impl Urls {
    /// The addresses of a server that listens on `address`.
    pub fn new(scheme: &str, address: SocketAddr, public_url: Option<String>) -> Self {
        let everywhere = address.ip().is_unspecified();
        let here = if everywhere {
            format!("{scheme}://localhost:{}", address.port())
        } else {
            format!("{scheme}://{address}")
        };
        let network = network_address(address)
            .filter(|_| everywhere && public_url.is_none())
            .map(|ip| format!("{scheme}://{}", SocketAddr::new(ip, address.port())));
        Urls { bind: format!("{scheme}://{address}"), hub: public_url.unwrap_or(here), network }
    }

    /// The addresses of a server that has not been started. `host` may be a name.
    pub fn planned(scheme: &str, host: &str, port: u16, public_url: Option<&str>) -> Self {
        if let Ok(ip) = host.parse() {
            return Urls::new(scheme, SocketAddr::new(ip, port), public_url.map(str::to_owned));
        }
        let bind = format!("{scheme}://{host}:{port}");
        Urls { hub: public_url.unwrap_or(&bind).to_owned(), bind, network: None }
    }

    /// The URL by which this process reaches a server that listens on `address`. Uses no host name, since `localhost`
    /// may resolve to another address.
    pub fn own(scheme: &str, address: SocketAddr) -> String {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
    }

    /// The URL to give to others.
    pub fn for_others(&self) -> &str {
        self.network.as_ref().unwrap_or(&self.hub)
    }

    /// Whether only programs on this machine reach the server.
    pub fn are_local(&self) -> bool {
        is_local(self.for_others())
    }
}

/// Whether a URL's host is loopback.
pub fn is_local(url: &str) -> bool {
    host_of(url).is_some_and(is_loopback_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_what_can_be_reached() {
        let urls = Urls::new("http", "0.0.0.0:3000".parse().unwrap(), None);
        assert_eq!((urls.hub.as_str(), urls.bind.as_str()), ("http://localhost:3000", "http://0.0.0.0:3000"));
        assert_eq!(Urls::new("https", "[::1]:80".parse().unwrap(), None).hub, "https://[::1]:80");
        assert_eq!(Urls::new("http", "127.0.0.1:1".parse().unwrap(), Some("https://h".into())).hub, "https://h");
    }

    #[test]
    fn addresses_of_this_machine_only_are_known() {
        assert!(is_local("http://localhost:3000") && is_local("https://127.0.0.1:1") && is_local("http://[::1]:3"));
        assert!(!is_local("https://hub:3000") && !is_local("http://10.0.0.1"));
        assert!(!is_local("http://localhost.example.com") && !is_local("http://127.example.com"));
    }
}
