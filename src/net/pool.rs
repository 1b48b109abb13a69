//! A pool of idle connections to one server.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::ClientConnection;
use crate::sync::lock;

/// How long an idle connection is kept.
const MAX_IDLE: Duration = Duration::from_secs(15);
/// The most idle connections that are kept. The one that has been idle for the longest is closed for a further one.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// The idle connections to one server.
#[derive(Default)]
pub struct Pool {
    /// The most recently used last, each with the time of its last use.
    idle: Mutex<VecDeque<(Instant, ClientConnection)>>,
}

impl Pool {
    /// The most recently used connection that is still open. Those that have been idle for too long are closed.
    pub fn take(&self) -> Option<ClientConnection> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<ClientConnection> {
        self.expire(now);
        loop {
            let (_, connection) = lock(&self.idle).pop_back()?;
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Closes the connections that have been idle for too long at `now`. True if there are others.
    pub fn expire(&self, now: Instant) -> bool {
        let mut idle = lock(&self.idle);
        while idle.front().is_some_and(|(since, _)| now.duration_since(*since) > MAX_IDLE) {
            idle.pop_front();
        }
        !idle.is_empty()
    }

    /// Keeps a connection for the next request, if it can serve one. Those that have been idle for too long are closed.
    pub fn put(&self, connection: ClientConnection) {
        self.put_at(connection, Instant::now());
    }

    fn put_at(&self, mut connection: ClientConnection, now: Instant) {
        if connection.can_be_kept() {
            connection.release_memory();
            self.expire(now);
            let mut idle = lock(&self.idle);
            if idle.len() >= MAX_IDLE_CONNECTIONS {
                idle.pop_front();
            }
            idle.push_back((now, connection));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection(listener: &TcpListener) -> ClientConnection {
        ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_latest_connection_is_used_first_and_one_that_is_too_old_not_at_all() {
        let (listener, pool) = (TcpListener::bind("127.0.0.1:0").unwrap(), Pool::default());
        let connections = [connection(&listener), connection(&listener)];
        let latest = connections[1].stream().local_addr().unwrap();
        connections.into_iter().for_each(|connection| pool.put(connection));
        assert_eq!(pool.take().unwrap().stream().local_addr().unwrap(), latest);
        assert!(pool.take_at(Instant::now() + 2 * MAX_IDLE).is_none());
        assert!(pool.take().is_none(), "it was closed");
    }

    #[test]
    fn a_pool_that_is_only_added_to_does_not_grow() {
        let (listener, pool) = (TcpListener::bind("127.0.0.1:0").unwrap(), Pool::default());
        let start = Instant::now();
        for round in 0..10 {
            pool.put_at(connection(&listener), start + round * MAX_IDLE / 2);
            assert!(lock(&pool.idle).len() <= 3, "{round}");
        }
        assert!(pool.expire(start + 5 * MAX_IDLE) && !pool.expire(start + 6 * MAX_IDLE));
    }

    #[test]
    fn a_connection_that_the_server_closed_is_not_used_again() {
        let (listener, pool) = (TcpListener::bind("127.0.0.1:0").unwrap(), Pool::default());
        let connection = connection(&listener);
        drop(listener.accept().unwrap());
        while connection.is_open() {
            std::thread::yield_now();
        }
        pool.put(connection);
        assert!(pool.take().is_none());
    }

    #[test]
    fn the_number_of_idle_connections_is_limited() {
        let (listener, pool) = (TcpListener::bind("127.0.0.1:0").unwrap(), Pool::default());
        for _ in 0..=MAX_IDLE_CONNECTIONS {
            pool.put(connection(&listener));
            drop(listener.accept().unwrap());
        }
        assert_eq!(lock(&pool.idle).len(), MAX_IDLE_CONNECTIONS);
    }
}
