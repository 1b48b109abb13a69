//! The hub's one clock. Liveness goes by a clock that only goes forward; tests can push both hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::state::Now;

/// A clock. Copies show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    /// Milliseconds by which tests have pushed it.
    pushed: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now(), pushed: Arc::default() }
    }
}

impl Clock {
    /// The moment it is.
    pub fn now(&self) -> Now {
        let pushed = self.pushed.load(Ordering::Relaxed);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall: millis(since_epoch) + pushed, mono: millis(self.start.elapsed()) + pushed }
    }

    /// Pushes the clock forward: for tests, which cannot wait half a minute for somebody to fall silent.
    pub fn advance(&self, by: Duration) {
        self.pushed.fetch_add(millis(by), Ordering::Relaxed);
    }
}

/// Whole milliseconds; a duration that does not fit lasts for ever anyway.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
