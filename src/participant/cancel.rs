//! Cancelling and pausing one request from the thread that reads the tunnel, while a worker waits for the provider.

use std::sync::{Arc, Condvar, Mutex};

use crate::net::cancellation::Cancellation;
use crate::net::stream::Stream;
use crate::sync::lock;

/// Cancels and pauses one request. Shared by the tunnel's reader and the request's worker.
#[derive(Default)]
pub struct CancelHandle {
    call: Cancellation,
    /// Whether the hub's client reads too slowly. Set by the tunnel's reader, read by the worker.
    paused: Mutex<bool>,
    resumed: Condvar,
}

impl CancelHandle {
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
        self.call.cancel();
        self.set_paused(false);
    }

    /// As [`Cancellation::attach`].
    pub fn attach(&self, stream: Arc<Stream>) -> bool {
        self.call.attach(stream)
    }

    /// As [`Cancellation::detach`].
    pub fn detach(&self) -> bool {
        self.call.detach()
    }

    /// Whether the request was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_request_that_is_cancelled_goes_on_to_its_end() {
        let handle = CancelHandle::default();
        handle.set_paused(true);
        assert!(handle.is_paused() && !handle.is_cancelled());
        handle.cancel();
        handle.wait_while_paused();
        assert!(handle.is_cancelled());
    }
}
