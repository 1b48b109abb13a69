//! Name resolution for outgoing connections, by the system's resolver. `localhost` resolves to loopback even without
//! `/etc/hosts`, as in a container with an empty root.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::io::remaining;

/// The system's hosts file.
const HOSTS: &str = "/etc/hosts";

/// The addresses of a host: a name, or an address without brackets.
///
/// # Errors
/// If the system cannot resolve it.
fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match local(host, port, Path::new(HOSTS)) {
        Some(found) => Ok(found.into()),
        None => Ok((host, port).to_socket_addrs()?.collect()),
    }
}

/// The server of a URL.
pub struct Server {
    /// Whether the URL's scheme requires TLS.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    port: u16,
}

impl Server {
    /// `None` where the URL has no host.
    pub fn of(url: &Uri) -> Option<Self> {
        let secure = matches!(url.scheme_str(), Some("https" | "wss"));
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Server { secure, host, port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }) })
    }

    /// Connects to the first of its addresses that `allow` accepts and that answers.
    ///
    /// # Errors
    /// If it has no address, none is allowed, or none accepts the connection before the deadline.
    pub fn connect(&self, deadline: Instant, allow: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses(&self.host, self.port)? {
            let left = remaining(deadline)?;
            match allow(address).and_then(|()| TcpStream::connect_timeout(&address, left)) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The addresses of `localhost`, where the system has no hosts file.
fn local(host: &str, port: u16, hosts: &Path) -> Option<[SocketAddr; 2]> {
    let is_unknown = host.eq_ignore_ascii_case("localhost") && !hosts.exists();
    is_unknown.then(|| [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

/// The same as a resolver for ureq.
#[derive(Debug)]
pub struct Names;

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let Some(found) = local(uri.host().unwrap_or(""), port, Path::new(HOSTS)) else {
            return DefaultResolver::default().resolve(uri, config, timeout);
        };
        let mut addresses = self.empty();
        found.into_iter().for_each(|address| addresses.push(address));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urls_server_has_a_port_and_no_brackets() {
        let server = |url: &str| {
            let server = Server::of(&url.parse().unwrap()).unwrap();
            (server.secure, server.host, server.port)
        };
        assert_eq!(server("http://[::1]:8/v1"), (false, "::1".into(), 8));
        assert_eq!(server("https://box.local"), (true, "box.local".into(), 443));
        assert_eq!(server("http://box"), (false, "box".into(), 80));
        assert!(Server::of(&"/v1".parse().unwrap()).is_none());
    }

    #[test]
    fn localhost_is_loopback_without_a_hosts_file() {
        let nowhere = Path::new("/nonexistent/hosts");
        let found = local("LocalHost", 80, nowhere).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        assert_eq!(local("localhost.example", 80, nowhere), None);
        assert_eq!(local("localhost", 80, Path::new("/")), None, "a hosts file that exists is used");
        assert_eq!(addresses("127.0.0.1", 7).unwrap(), [(Ipv4Addr::LOCALHOST, 7).into()]);
        assert_eq!(addresses("::1", 7).unwrap(), [(Ipv6Addr::LOCALHOST, 7).into()]);
    }
}
