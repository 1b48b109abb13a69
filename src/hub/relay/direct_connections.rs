//! Connections to direct participants: opened to addresses that the rule allows, and kept for the next request.
//!
//! The rule is applied to the address that is connected to, at each connection. A name that resolves to another address
//! later cannot get around it.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::address_rule::AddressRule;
use crate::net::client::ClientConnection;
use crate::net::resolve;
use crate::sync::lock;
use crate::tunnel::connect_tls;

/// The time for looking up the name, connecting and the TLS handshake together. The system's lookup cannot be cut short.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// A connection and since when it has been idle.
type Idle = (Instant, ClientConnection);

/// Idle connections, by member.
#[derive(Default)]
pub struct ConnectionPools(Mutex<HashMap<u64, Vec<Idle>>>);

impl ConnectionPools {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Idle>>> {
        lock(&self.0)
    }

    /// Creates a member's pool, unless it has one. Only then are its connections kept.
    pub(super) fn open(&self, serial: u64) {
        self.lock().entry(serial).or_default();
    }

    /// Closes a member's idle connections, and those that are in use when they become idle.
    pub(super) fn close(&self, serial: u64) {
        self.lock().remove(&serial);
    }

    /// The connection that was used last, if it is still open. Those that have been idle for too long are closed.
    pub(super) fn take(&self, serial: u64) -> Option<ClientConnection> {
        loop {
            let (_, connection) = {
                let mut pools = self.lock();
                let idle = pools.get_mut(&serial)?;
                idle.retain(|(since, _)| since.elapsed() <= MAX_IDLE);
                idle.pop()?
            };
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the member's next request, if it can serve one.
    pub(super) fn put(&self, serial: u64, connection: ClientConnection) {
        if connection.can_be_kept()
            && let Some(idle) = self.lock().get_mut(&serial)
        {
            idle.push((Instant::now(), connection));
        }
    }
}

/// The server of an absolute http or https URL.
pub struct Server {
    secure: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

impl Server {
    /// `None` where the URL names no host.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let secure = url.scheme_str() == Some("https");
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Server { secure, host, port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }) })
    }

    /// Opens a connection to the first of the server's allowed addresses that accepts it.
    ///
    /// # Errors
    /// When no address is allowed, or none accepts the connection in time.
    pub(super) fn connect(&self, rule: AddressRule, from_loopback: bool) -> io::Result<ClientConnection> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in resolve::addresses(&self.host, self.port)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let allowed = rule.check(address, from_loopback);
            let allowed = allowed.map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why.to_string()));
            match allowed.and_then(|()| TcpStream::connect_timeout(&address, left)) {
                Ok(stream) if self.secure => return ClientConnection::new(connect_tls(stream, &self.host, deadline)?),
                Ok(stream) => return ClientConnection::new(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::state::policy::DirectPolicy;

    #[test]
    fn a_server_is_called_at_allowed_addresses_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = Server::of(&url.parse().unwrap()).unwrap();
        let rule = AddressRule::new(DirectPolicy::Private, "127.0.0.1:1".parse().unwrap());
        assert!(server.connect(rule, true).is_ok());
        let refused = server.connect(rule, false).map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("loopback"), "{refused}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_ok());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "the refused one never connected");
    }

    #[test]
    fn a_departed_members_connections_are_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let pools = ConnectionPools::default();
        pools.open(1);
        pools.put(1, connect());
        pools.put(2, connect());
        assert!(pools.take(2).is_none() && pools.take(1).is_some() && pools.take(1).is_none());
        pools.close(1);
        pools.put(1, connect());
        assert!(pools.take(1).is_none());
    }

    #[test]
    fn a_connection_that_the_server_closed_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pools = ConnectionPools::default();
        pools.open(1);
        let connection = ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let socket = connection.stream();
        drop(listener.accept().unwrap());
        // Returns when the server's end has arrived.
        assert_eq!(socket.peek(&mut [0]).unwrap(), 0);
        pools.put(1, connection);
        assert!(pools.take(1).is_none());
    }

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
}
