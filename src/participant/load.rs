//! What the requests of a session may hold together. A hub that sends more than a participant registered for is not one of
//! ours, and must not fill the participant's memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proto::management::MAX_CONCURRENCY;

/// Requests at a time: twice as many as a participant can register for, since one that was cancelled or has just been answered
/// counts until its work has ended.
const MAX_REQUESTS: usize = 2 * MAX_CONCURRENCY as usize;
/// Bytes of all their bodies and heads together. One message is 64 MiB at most.
const MAX_BYTES: usize = 256 << 20;

/// The requests that a session works at.
#[derive(Default)]
pub struct Load(Mutex<Held>);

#[derive(Default)]
struct Held {
    requests: usize,
    bytes: usize,
}

/// A request's share of a [`Load`], given back on drop.
pub struct Share {
    load: Arc<Load>,
    bytes: usize,
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share for one more request of so many bytes; `None` where that is too much.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut held = self.lock();
        let fits = held.requests < MAX_REQUESTS && held.bytes.saturating_add(bytes) <= MAX_BYTES;
        fits.then(|| {
            held.requests += 1;
            held.bytes += bytes;
            Share { load: self.clone(), bytes }
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.load.lock();
        held.requests -= 1;
        held.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_their_bytes_are_bounded_together_and_given_back() {
        let load = Arc::new(Load::default());
        let half = load.take(MAX_BYTES / 2).unwrap();
        let other = load.take(MAX_BYTES / 2).unwrap();
        assert!(load.take(1).is_none());
        drop((half, other));
        let many: Vec<_> = (0..MAX_REQUESTS).map(|_| load.take(1).unwrap()).collect();
        assert!(load.take(1).is_none());
        drop(many);
        assert!(load.take(MAX_BYTES).is_some());
    }
}
