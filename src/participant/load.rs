//! A bound on the requests of a session and their bytes, so that a hub that ignores the registered concurrency can't fill
//! the participant's memory.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::proto::management::MAX_CONCURRENCY;
use crate::sync::lock;

/// Requests at a time: twice the largest registered concurrency, since a request that was cancelled or has just been answered
/// counts until its worker has finished.
const MAX_REQUESTS: usize = 2 * MAX_CONCURRENCY as usize;
/// Bytes of all their heads and bodies together. One message has up to 64 MiB.
const MAX_BYTES: usize = 256 << 20;

/// The requests in progress of a session.
#[derive(Default)]
pub struct Load(Mutex<LoadTotals>);

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
    fn lock(&self) -> MutexGuard<'_, LoadTotals> {
        lock(&self.0)
    }

    /// A share for one more request of this size; `None` where it exceeds a limit.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<LoadShare> {
        let mut totals = self.lock();
        let fits = totals.requests < MAX_REQUESTS && totals.bytes.saturating_add(bytes) <= MAX_BYTES;
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
