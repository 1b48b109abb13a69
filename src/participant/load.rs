//! A bound on the requests of a session and their bytes, so that a hub that ignores the registered concurrency can't fill
//! the participant's memory. A session that is about to leave takes no more of them, and waits for those that it has.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::proto::management::MAX_CONCURRENCY;
use crate::sync::{lock, wait_while};

/// Requests at a time of a participant with a small concurrency.
const MIN_REQUESTS: usize = 512;
/// Bytes of all their heads and bodies together. One message has up to 64 MiB.
const MAX_BYTES: usize = 256 << 20;

/// The requests in progress of a session.
pub struct Load {
    totals: Mutex<LoadTotals>,
    max_requests: usize,
    /// Notified at each end of a request while the session drains.
    request_ended: Condvar,
}

#[derive(Default)]
struct LoadTotals {
    requests: usize,
    bytes: usize,
    draining: bool,
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
        Load { totals: Mutex::default(), max_requests, request_ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, LoadTotals> {
        lock(&self.totals)
    }

    /// A share for one more request of this size.
    ///
    /// # Errors
    /// Why the request is refused: it exceeds a limit, or the session drains.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<LoadShare, &'static str> {
        let mut totals = self.lock();
        if totals.draining {
            return Err("the participant is leaving the room");
        }
        if totals.requests >= self.max_requests || totals.bytes.saturating_add(bytes) > MAX_BYTES {
            return Err("the participant works at too many requests, or too large ones, already");
        }
        totals.requests += 1;
        totals.bytes += bytes;
        Ok(LoadShare { load: self.clone(), bytes })
    }

    /// Whether no request is in progress.
    pub fn is_idle(&self) -> bool {
        self.lock().requests == 0
    }

    /// Refuses all further requests. Returns the number of those in progress.
    pub fn drain(&self) -> usize {
        let mut totals = self.lock();
        totals.draining = true;
        totals.requests
    }

    /// Whether further requests are refused.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Waits until the requests in progress have ended. False when some have not within the timeout.
    pub fn wait_until_drained(&self, timeout: Duration) -> bool {
        wait_while(&self.request_ended, self.lock(), timeout, |totals| totals.requests > 0)
    }
}

impl Drop for LoadShare {
    fn drop(&mut self) {
        let mut totals = self.load.lock();
        totals.requests -= 1;
        totals.bytes -= self.bytes;
        if totals.draining {
            self.load.request_ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn requests_and_their_bytes_are_bounded_and_released() {
        let load = Arc::new(Load::new(300));
        let half = load.take(MAX_BYTES / 2).unwrap();
        let other = load.take(MAX_BYTES / 2).unwrap();
        assert!(load.take(1).is_err());
        drop((half, other));
        let many: Vec<_> = (0..600).map(|_| load.take(1).unwrap()).collect();
        assert!(load.take(1).is_err());
        drop(many);
        assert!(load.take(MAX_BYTES).is_ok());
    }

    #[test]
    fn a_load_that_drains_takes_nothing_more_and_waits_for_what_it_has() {
        let load = Arc::new(Load::new(1));
        let share = load.take(1).unwrap();
        assert!(!load.is_draining() && load.drain() == 1 && load.is_draining());
        assert!(load.take(1).is_err() && !load.wait_until_drained(Duration::from_millis(1)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| load.wait_until_drained(Duration::from_secs(600)));
            drop(share);
            assert!(waiting.join().unwrap());
        });
        assert_eq!(load.drain(), 0);
    }
}
