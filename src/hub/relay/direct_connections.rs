//! Connections to direct participants: opened to addresses that the rule allows, and kept for the next request.
//!
//! The rule is applied to the address that is connected to, at each connection. A name that resolves to another address
//! later cannot get around it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::address_rule::AddressRule;
use crate::net::client::ClientConnection;
use crate::net::pool::Pool;
use crate::net::resolve::Server;
use crate::net::tls::dial;
use crate::sync::lock;

/// The time for looking up the name, connecting and the TLS handshake together. The system's lookup cannot be cut short.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections, by member.
#[derive(Default)]
pub struct ConnectionPools(Mutex<HashMap<u64, Arc<Pool>>>);

impl ConnectionPools {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pool>>> {
        lock(&self.0)
    }

    fn pool(&self, serial: u64) -> Option<Arc<Pool>> {
        self.lock().get(&serial).cloned()
    }

    /// Creates a member's pool, unless it has one. Only then are its connections kept.
    pub(super) fn open(&self, serial: u64) {
        self.lock().entry(serial).or_default();
    }

    /// Closes a member's idle connections, and those that are in use when they become idle.
    pub(super) fn close(&self, serial: u64) {
        self.lock().remove(&serial);
    }

    /// An idle connection to the member, if there is one that is still open.
    pub(super) fn take(&self, serial: u64) -> Option<ClientConnection> {
        self.pool(serial)?.take()
    }

    /// Keeps a connection for the member's next request, if it can serve one.
    pub(super) fn put(&self, serial: u64, connection: ClientConnection) {
        if let Some(pool) = self.pool(serial) {
            pool.put(connection);
        }
    }
}

/// Opens a connection to the first of the server's allowed addresses that accepts it.
///
/// # Errors
/// When no address is allowed, or none accepts the connection in time.
pub fn connect(server: &Server, rule: AddressRule, from_loopback: bool) -> io::Result<ClientConnection> {
    let allow = |address| {
        let allowed = rule.check(address, from_loopback);
        allowed.map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why.to_string()))
    };
    ClientConnection::new(dial(server, None, Instant::now() + CONNECT_TIMEOUT, allow)?)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::state::policy::DirectPolicy;

    #[test]
    fn a_server_is_called_at_allowed_addresses_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = Server::of(&url.parse().unwrap()).unwrap();
        let rule = AddressRule::new(DirectPolicy::Private, "127.0.0.1:1".parse().unwrap());
        assert!(connect(&server, rule, true).is_ok());
        let refused = connect(&server, rule, false).map(drop).unwrap_err();
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
}
