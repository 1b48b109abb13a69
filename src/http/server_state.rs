//! State that the accept thread and all connections of one server share.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::connections::ConnectionTable;
use super::limits::Limits;
use crate::budget::Budget;
use crate::net::stream::Stream;
use crate::net::tls_server::{AcceptError, ServerTls};

/// What the accept thread and all connections share.
pub struct ServerState {
    pub limits: Limits,
    pub connections: Arc<ConnectionTable>,
    /// For request bodies, and for what handlers hold for a request.
    pub memory: Arc<Budget>,
    /// The certificate, if connections are encrypted. Set before the server starts.
    pub tls: Option<ServerTls>,
    /// Headers of responses that the server makes itself, such as 431. Set before the server starts.
    pub default_headers: Vec<(String, String)>,
    /// The threads that are rejecting a connection. Written by the accept thread and these threads.
    pub rejecting: AtomicUsize,
    /// The reference point of the connections' clocks.
    pub start: Instant,
    /// Set once, by the shutdown.
    stopping: AtomicBool,
}

impl ServerState {
    pub fn new(limits: Limits) -> Self {
        ServerState {
            connections: Arc::new(ConnectionTable::new(limits.max_connections())),
            memory: Budget::new(limits.memory),
            limits,
            tls: None,
            default_headers: Vec::new(),
            rejecting: AtomicUsize::new(0),
            start: Instant::now(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The connection on an accepted socket, after the TLS handshake if the server has a certificate.
    ///
    /// # Errors
    /// If the handshake fails, or is not complete within `time`.
    pub fn open(&self, socket: Arc<TcpStream>, time: Duration) -> Result<Stream, AcceptError> {
        match &self.tls {
            Some(tls) => tls.accept(socket, Instant::now() + time),
            None => Ok(socket.into()),
        }
    }

    /// Whether the server is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes connections end after the request in progress, and the accept thread end with its next connection.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}
