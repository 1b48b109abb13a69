//! Name resolution for outgoing connections, by the system's resolver. `localhost` resolves to loopback even without
//! `/etc/hosts`, as in a container with an empty root.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::io::remaining;

/// The system's hosts file.
const HOSTS: &str = "/etc/hosts";

/// Whether a URL requires TLS.
pub fn is_secure(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("https" | "wss"))
}

/// The port of a URL: that of its scheme if it names none.
pub fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if is_secure(url) { 443 } else { 80 })
}

/// The server of a URL.
pub struct Server {
    /// Whether the URL's scheme requires TLS.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// `None` where the URL has no host.
    pub fn of(url: &Uri) -> Option<Self> {
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Server { secure: is_secure(url), host, port: port(url) })
    }

    /// Its addresses.
    ///
    /// # Errors
    /// If the system cannot resolve its name.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match local(&self.host, self.port, Path::new(HOSTS)) {
            Some(found) => Ok(found.into()),
            None => Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }

    /// Connects to the first of its addresses that `allow` accepts and that answers. The lookup of its name cannot be cut short,
    /// so it may last past the deadline, and the connection then fails.
    ///
    /// # Errors
    /// If it has no address, none is allowed, or none accepts the connection before the deadline.
    pub fn connect(&self, deadline: Instant, allow: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<TcpStream> {
        connect_to_any(&self.addresses()?, deadline, allow)
    }
}

fn connect_to_any(
    addresses: &[SocketAddr],
    deadline: Instant,
    allow: impl Fn(SocketAddr) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (address, untried) in addresses.iter().zip((1..=addresses.len()).rev()) {
        // A share for each address: one that never answers, as where IPv6 leads nowhere, must leave time for the others.
        let share = remaining(deadline)?.div_f64(untried as f64).max(Duration::from_nanos(1));
        match allow(*address).and_then(|()| TcpStream::connect_timeout(address, share)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
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
        let Some(found) = local(uri.host().unwrap_or(""), port(uri), Path::new(HOSTS)) else {
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
        let addresses = |url: &str| Server::of(&url.parse().unwrap()).unwrap().addresses().unwrap();
        assert_eq!(addresses("http://127.0.0.1:7"), [(Ipv4Addr::LOCALHOST, 7).into()]);
        assert_eq!(addresses("http://[::1]:7"), [(Ipv6Addr::LOCALHOST, 7).into()]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_never_answers_leaves_time_for_the_next() {
        let (full, _listener, _waiting) = full_listener();
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [full, full, open.local_addr().unwrap()];
        let connected = connect_to_any(&addresses, Instant::now() + Duration::from_secs(3), |_| Ok(())).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), addresses[2]);
    }

    /// A listener, with its address, that answers no further attempt: on Linux, one on which as many connections wait to be
    /// accepted as it allows.
    #[cfg(target_os = "linux")]
    fn full_listener() -> (SocketAddr, socket2::Socket, Vec<TcpStream>) {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let attempt = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let waiting = std::iter::from_fn(attempt).collect();
        (address, listener, waiting)
    }
}
