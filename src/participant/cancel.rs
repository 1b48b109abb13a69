//! Cancelling and pausing one request from the thread that reads the tunnel, while a worker waits for the provider.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::net::stream::Stream;
use crate::sync::lock;

/// Cancels and pauses one request. Shared by the tunnel's reader and the request's worker.
#[derive(Default)]
pub struct CancelHandle {
    connection: Mutex<ProviderConnection>,
    /// Whether the hub's client reads too slowly. Set by the tunnel's reader, read by the worker.
    paused: Mutex<bool>,
    resumed: Condvar,
}

/// The state of a request's connection to the provider.
#[derive(Default)]
enum ProviderConnection {
    /// Not opened yet, or released after the response.
    #[default]
    None,
    /// In use; cancelling shuts it down.
    Open(Arc<Stream>),
    /// The request was cancelled and must not open one.
    Cancelled,
}

impl CancelHandle {
    fn lock(&self) -> MutexGuard<'_, ProviderConnection> {
        lock(&self.connection)
    }

    /// Pauses or resumes reading the provider's response.
    pub fn set_paused(&self, paused: bool) {
        *lock(&self.paused) = paused;
        self.resumed.notify_one();
    }

    /// Whether the request is paused.
    pub fn is_paused(&self) -> bool {
        *lock(&self.paused)
    }

    /// Blocks while the request is paused. What is not read from the provider's socket meanwhile slows the provider down.
    pub fn wait_while_paused(&self) {
        let paused = lock(&self.paused);
        drop(self.resumed.wait_while(paused, |paused| *paused));
    }

    /// Cancels the request: shuts its connection down, which wakes a worker that reads from it, and resumes it.
    pub fn cancel(&self) {
        if let ProviderConnection::Open(stream) = std::mem::replace(&mut *self.lock(), ProviderConnection::Cancelled) {
            stream.abort();
        }
        self.set_paused(false);
    }

    /// Sets the connection that cancelling shuts down. False when the request is cancelled already.
    pub fn attach(&self, stream: Arc<Stream>) -> bool {
        self.set_unless_cancelled(ProviderConnection::Open(stream))
    }

    /// Releases the connection, so that a late cancel does not shut down the next request's. False when the request was
    /// cancelled before.
    pub fn detach(&self) -> bool {
        self.set_unless_cancelled(ProviderConnection::None)
    }

    fn set_unless_cancelled(&self, next: ProviderConnection) -> bool {
        let mut connection = self.lock();
        let active = !matches!(*connection, ProviderConnection::Cancelled);
        if active {
            *connection = next;
        }
        active
    }

    /// Whether the request was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), ProviderConnection::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::io::Peek;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_cancelled_request_gets_no_connection_and_a_released_one_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Arc::new(Stream::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        let (served, cancelled) = (CancelHandle::default(), CancelHandle::default());
        assert!(served.attach(stream.clone()) && served.detach());
        served.cancel();
        assert_eq!(stream.peek(), Peek::Nothing, "still open");
        cancelled.set_paused(true);
        cancelled.cancel();
        cancelled.wait_while_paused();
        assert!(cancelled.is_cancelled() && !cancelled.attach(stream) && !cancelled.detach());
    }
}
