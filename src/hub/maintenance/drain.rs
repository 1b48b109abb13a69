//! Going down in order: no new requests, and time for those that are under way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;

/// Requests under way, and whether more are taken.
#[derive(Default)]
pub struct Drain {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    active: usize,
    draining: bool,
}

/// A request under way. It is over when this is dropped.
pub struct Active<'d>(&'d Drain);

impl Drain {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 503 once the hub is going down.
    pub fn admit(&self) -> Result<Active<'_>, Rejection> {
        let going_down =
            || Rejection::new(ErrorCode::InternalError, "The hub is going down").status(503).retry_after(5);
        self.enter().ok_or_else(going_down)
    }

    /// Lets a request in; `None` once the hub is going down.
    fn enter(&self) -> Option<Active<'_>> {
        let mut state = self.lock();
        if state.draining {
            return None;
        }
        state.active += 1;
        Some(Active(self))
    }

    /// Lets nobody in any more, and waits until all are out. False when some were not in time.
    pub fn run(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        state.draining = true;
        while state.active > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.active -= 1;
        // While nobody waits for the end of all, nobody need be told.
        if state.draining {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn those_inside_are_waited_for_and_nobody_comes_in() {
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
