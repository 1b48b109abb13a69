//! Draining at shutdown: new requests are rejected, and those in flight get time to end.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::sync::{lock, wait_while};

/// The requests in flight, and whether new ones are accepted.
#[derive(Default)]
pub struct Drain {
    state: Mutex<DrainState>,
    /// Notified at each end of a request while the hub drains.
    request_ended: Condvar,
}

#[derive(Default)]
struct DrainState {
    active: usize,
    draining: bool,
}

/// A request in flight. It ends when this is dropped.
pub struct Active<'d>(&'d Drain);

impl Drain {
    fn lock(&self) -> MutexGuard<'_, DrainState> {
        lock(&self.state)
    }

    /// Admits a request.
    ///
    /// # Errors
    /// 503 once the hub drains.
    pub fn admit(&self) -> Result<Active<'_>, Rejection> {
        let going_down =
            || Rejection::new(ErrorCode::InternalError, "The hub is going down").status(503).retry_after(5);
        self.enter().ok_or_else(going_down)
    }

    /// Admits a request; `None` once the hub drains.
    fn enter(&self) -> Option<Active<'_>> {
        let mut state = self.lock();
        if state.draining {
            return None;
        }
        state.active += 1;
        Some(Active(self))
    }

    /// Stops admitting requests, and waits for those in flight to end. False when some did not within the timeout.
    pub fn run(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.draining = true;
        wait_while(&self.request_ended, state, timeout, |state| state.active > 0)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.active -= 1;
        // `run` waits only while the hub drains.
        if state.draining {
            self.0.request_ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn requests_in_flight_are_waited_for_and_new_ones_are_rejected() {
        let drain = Drain::default();
        let active = drain.enter().unwrap();
        assert!(!drain.run(Duration::from_millis(1)));
        assert!(drain.enter().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| drain.run(Duration::from_secs(30)));
            drop(active);
            assert!(waiting.join().unwrap());
        });
    }
}
