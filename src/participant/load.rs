//! A bound on the requests of a session and their bytes, so that a hub that ignores the registered concurrency can't fill
//! the participant's memory.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::proto::management::MAX_CONCURRENCY;
use crate::sync::lock;

/// Requests at a time of a participant with a small concurrency.
const MIN_REQUESTS: usize = 512;
/// Bytes of all their heads and bodies together. One message has up to 64 MiB.
const MAX_BYTES: usize = 256 << 20;

/// The requests in progress of a session.
pub struct Load {
    totals: Mutex<LoadTotals>,
    max_requests: usize,
}

#[derive(Default)]
struct LoadTotals {
    requests: usize,
    bytes: usize,
}

/// A request's share of a [`Load`], returned on drop.
pub struct LoadShare {
    load: Arc<Load>,
    bytes: usize,
}

impl Load {
    /// The load of a participant with this concurrency. Twice as many requests are allowed, since one that was cancelled or
    /// has just been answered counts until its worker has finished.
    pub fn new(concurrency: u32) -> Self {
        let max_requests = MIN_REQUESTS.max(2 * concurrency.min(MAX_CONCURRENCY) as usize);
        Load { totals: Mutex::default(), max_requests }
    }

    fn lock(&self) -> MutexGuard<'_, LoadTotals> {
        lock(&self.totals)
    }

    /// A share for one more request of this size; `None` where it exceeds a limit.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<LoadShare> {
        let mut totals = self.lock();
        let fits = totals.requests < self.max_requests && totals.bytes.saturating_add(bytes) <= MAX_BYTES;
        fits.then(|| {
            totals.requests += 1;
            totals.bytes += bytes;
            LoadShare { load: self.clone(), bytes }
        })
    }
}

impl Drop for LoadShare {
    fn drop(&mut self) {
        let mut totals = self.load.lock();
        totals.requests -= 1;
        totals.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_their_bytes_are_bounded_and_released() {
        let load = Arc::new(Load::new(300));
        let half = load.take(MAX_BYTES / 2).unwrap();
        let other = load.take(MAX_BYTES / 2).unwrap();
        assert!(load.take(1).is_none());
        drop((half, other));
        let many: Vec<_> = (0..600).map(|_| load.take(1).unwrap()).collect();
        assert!(load.take(1).is_none());
        drop(many);
        assert!(load.take(MAX_BYTES).is_some());
    }
}
