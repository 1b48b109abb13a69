//! Connections to direct participants: opened to addresses that the rule allows, and kept for the next request.
//!
//! The rule is applied to the address that is connected to, at each connection. A name that resolves to another address
//! later cannot get around it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// The calls to direct participants that are in progress, and idle connections.
pub struct DirectConnections {
    most_requests: usize,
    members: Mutex<DirectMembers>,
}

#[derive(Default)]
struct DirectMembers {
    /// Calls in progress, also those whose requests have ended while they connect.
    calls: usize,
    by_serial: HashMap<u64, Arc<DirectMember>>,
}

#[derive(Default)]
struct DirectMember {
    pool: Pool,
    /// Changed under the lock of all members.
    calls: AtomicUsize,
}

impl DirectConnections {
    /// Without connections. A member's calls are limited to as many as there may be requests, and those of all members to twice
    /// that: what the requests of a member leave behind, while it does not connect, is not taken from the others.
    pub fn new(most_requests: usize) -> Self {
        DirectConnections { most_requests, members: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, DirectMembers> {
        lock(&self.members)
    }

    /// Begins a call to a member; `None` while too many are in progress.
    pub fn begin(self: &Arc<Self>, serial: u64) -> Option<CallPermit> {
        let mut members = self.lock();
        if members.calls >= self.most_requests.saturating_mul(2) {
            return None;
        }
        let member = members.by_serial.entry(serial).or_default().clone();
        if member.calls.load(Ordering::Relaxed) >= self.most_requests {
            return None;
        }
        member.calls.fetch_add(1, Ordering::Relaxed);
        members.calls += 1;
        Some(CallPermit { connections: self.clone(), serial, member })
    }

    /// Closes a member's idle connections, and those that are in use when they become idle.
    pub fn close(&self, serial: u64) {
        // Dropped once the lock is released.
        let _member = self.lock().by_serial.remove(&serial);
    }

    /// Closes connections that have been idle for too long at `now`.
    pub fn close_idle(&self, now: Instant) {
        let in_use = |member: &Arc<DirectMember>| member.pool.expire(now) || member.calls.load(Ordering::Relaxed) > 0;
        self.lock().by_serial.retain(|_, member| in_use(member));
    }
}

/// A call in progress, which ends when this is dropped.
pub struct CallPermit {
    connections: Arc<DirectConnections>,
    serial: u64,
    member: Arc<DirectMember>,
}

impl CallPermit {
    /// An idle connection to the member, if there is one that is still open.
    pub fn idle(&self) -> Option<ClientConnection> {
        self.member.pool.take()
    }

    /// Keeps a connection for the member's next request, if it can serve one, and the member has not left.
    pub fn keep(&self, connection: ClientConnection) {
        let members = self.connections.lock();
        if members.by_serial.get(&self.serial).is_some_and(|member| Arc::ptr_eq(member, &self.member)) {
            self.member.pool.put(connection);
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let mut members = self.connections.lock();
        members.calls -= 1;
        self.member.calls.fetch_sub(1, Ordering::Relaxed);
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
        let connections = Arc::new(DirectConnections::new(8));
        let begin = || connections.begin(1).unwrap();
        begin().keep(connect());
        assert!(begin().idle().is_some() && begin().idle().is_none());
        let call = begin();
        connections.close(1);
        call.keep(connect());
        assert!(call.idle().is_none() && begin().idle().is_none());
    }

    #[test]
    fn members_without_calls_and_connections_are_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = Arc::new(DirectConnections::new(8));
        let call = connections.begin(1).unwrap();
        call.keep(ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap());
        let later = Instant::now() + Duration::from_secs(3600);
        for (now, left) in [(Instant::now(), 1), (later, 1)] {
            connections.close_idle(now);
            assert_eq!(connections.lock().by_serial.len(), left);
        }
        drop(call);
        connections.close_idle(later);
        assert!(connections.lock().by_serial.is_empty());
    }

    #[test]
    fn calls_are_limited_for_all_members_and_for_each() {
        let connections = Arc::new(DirectConnections::new(2));
        let calls = |serial, count| (0..count).map(|_| connections.begin(serial)).collect::<Vec<_>>();
        let of_one = calls(1, 3);
        assert_eq!(of_one.iter().flatten().count(), 2);
        let of_others = [calls(2, 2), calls(3, 1)];
        assert_eq!(of_others.iter().flatten().flatten().count(), 2);
        drop((of_one, of_others));
        assert!(connections.begin(3).is_some() && connections.lock().calls == 0);
    }
}
