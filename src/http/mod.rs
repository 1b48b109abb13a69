//! The front: sockets in, requests and answers out; and the same from the other side, for calls to a provider. The only
//! user of tiny_http and httparse.
//!
//! It knows nothing of rooms. tiny_http gives the vocabulary; accepting, reading, framing, deadlines, answers and streams
//! are ours, so that no client can take the hub down or make it grow.

mod authority;
mod connection;
mod connections;
mod exchange;
pub(crate) mod head;
mod listener;
mod notes;
#[cfg(test)]
mod properties;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub use connections::{ConnectionTable, network_of};
pub use exchange::{BodyError, Exchange, StreamBody, Upgrade};
pub use listener::{Listener, Running};
pub use notes::Note;
pub use tiny_http::Method;

use crate::machine;

/// What a connection may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest head, in bytes; past it 431.
    pub head_bytes: usize,
    /// The most header lines; past it 431.
    pub headers: usize,
    /// The longest body, in bytes; past it 413.
    pub body_bytes: u64,
    /// How long a whole head may take from its first byte; past it 408.
    pub head_time: Duration,
    /// The longest silence within a body, and how long a body may take beside a second for each KiB of it; past it 408.
    pub body_gap: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
    /// How long one write may take.
    pub write: Duration,
    /// The most connections at a time. Past it those that wait for no answer are closed, and where there are none 503. One
    /// address (or IPv6 /64) has fifteen in sixteen of them at most. The descriptor limit may allow fewer: see
    /// [`Limits::max_connections`].
    pub connections: usize,
    /// The most memory for whatever peers make the server hold: the bodies of all requests, answers that are put together
    /// or held back, and what is remembered of them, in bytes. Past it 503, or an answer that ends broken. One address (or
    /// IPv6 /64) has half of it at most, and a single body a quarter. A quarter of the machine's memory (or of what its
    /// control group allows) unless told otherwise, 256 MiB at most.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes: 32 << 10,
            headers: 100,
            body_bytes: 32 << 20,
            head_time: Duration::from_secs(10),
            body_gap: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            connections: 1024,
            memory: machine::budget(),
        }
    }
}

impl Limits {
    /// The connections that a server with these limits accepts: `connections`, or fewer if the process's descriptor limit
    /// (`ulimit -n`) does not allow as many. Without `/proc` the limit is not known, and not considered.
    pub fn max_connections(&self) -> usize {
        machine::max_connections(self.connections)
    }
}

/// Whoever answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// When the connection is broken; it is closed then.
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()>;

    /// Hears of a request that never became one, and of the status it was refused with.
    fn refused(&self, _status: u16, _peer: Option<IpAddr>) {}
}
