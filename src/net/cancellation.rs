//! Cancelling a call from another thread by shutting its connection down, which also ends a read that waits.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use super::stream::Stream;
use crate::sync::lock;

/// Cancels one call.
#[derive(Default)]
pub struct Cancellation(Mutex<CallState>);

#[derive(Default)]
enum CallState {
    /// No connection yet, or none any more.
    #[default]
    Unconnected,
    /// The call uses this connection.
    Connected(Arc<Stream>),
    /// Cancelled: it gets no connection.
    Cancelled,
}

impl Cancellation {
    fn lock(&self) -> MutexGuard<'_, CallState> {
        lock(&self.0)
    }

    /// Cancels the call.
    pub fn cancel(&self) {
        if let CallState::Connected(stream) = mem::replace(&mut *self.lock(), CallState::Cancelled) {
            stream.abort();
        }
    }

    /// Whether the call was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), CallState::Cancelled)
    }

    /// Sets the connection that cancelling shuts down. False when the call is cancelled already.
    pub fn attach(&self, stream: Arc<Stream>) -> bool {
        self.advance(CallState::Connected(stream))
    }

    /// Releases the connection, so that a late cancel does not shut down the next call's. False when this one was cancelled
    /// before.
    pub fn detach(&self) -> bool {
        self.advance(CallState::Unconnected)
    }

    fn advance(&self, next: CallState) -> bool {
        let mut state = self.lock();
        let active = !matches!(*state, CallState::Cancelled);
        if active {
            *state = next;
        }
        active
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::io::{Peek, socket_pair};

    #[test]
    fn a_cancelled_call_gets_no_connection_and_a_released_one_is_left_alone() {
        let (_peer, socket) = socket_pair();
        let stream = Arc::new(Stream::from(socket));
        let (served, cancelled) = (Cancellation::default(), Cancellation::default());
        assert!(served.attach(stream.clone()) && served.detach());
        served.cancel();
        assert_eq!(stream.peek(), Peek::Nothing, "still open");
        cancelled.cancel();
        assert!(cancelled.is_cancelled() && !cancelled.attach(stream) && !cancelled.detach());
    }
}
