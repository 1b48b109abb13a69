//! Limits of one connection, and of all connections together.

use std::time::Duration;

use crate::machine;

/// Limits of size, time, number and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest head in bytes; a longer one is answered with 431.
    pub head_bytes: usize,
    /// The most header lines; more are answered with 431.
    pub headers: usize,
    /// The longest body in bytes; a longer one is answered with 413.
    pub body_bytes: u64,
    /// The time for a whole head from its first byte; past it 408.
    pub head_time: Duration,
    /// The longest silence within a body, and the time for a whole body beyond one second for each KiB of it; past it
    /// 408.
    pub body_gap: Duration,
    /// The longest wait for the next request; past it the connection is closed.
    pub idle: Duration,
    /// The time for one write; past it the connection is closed.
    pub write: Duration,
    /// The most connections at a time. Past it an idle connection is closed for each new one; without an idle one, the
    /// new one is answered with 503. One address (or IPv6 /64) has fifteen in sixteen of them at most. The descriptor
    /// limit may allow fewer: see [`Limits::max_connections`].
    pub connections: usize,
    /// The most memory in bytes for everything that peers make the server hold: the bodies of all requests, responses
    /// that are assembled or held back, and what is stored about them. Past it 503, or a response that breaks off. One
    /// address (or IPv6 /64) has half of it at most, and a single body a quarter. By default a quarter of the machine's
    /// memory (or of its control group's limit), at most 256 MiB.
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
    /// The connections that a server with these limits accepts: `connections`, or fewer if the process's descriptor
    /// limit (`ulimit -n`) does not allow as many. Without `/proc` the limit is not known, and not considered.
    pub fn max_connections(&self) -> usize {
        machine::max_connections(self.connections)
    }
}
