//! The interface between the server and the code that answers its requests.

use std::io;
use std::net::IpAddr;

use super::exchange::Exchange;

/// Answers requests. Called from the threads of all connections at the same time.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// If the connection is broken; the server closes it then.
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()>;

    /// Called for a request that was rejected before it could be handled, such as one whose head is malformed, with the
    /// status of the response.
    fn on_rejected(&self, _status: u16, _peer: IpAddr) {}
}
