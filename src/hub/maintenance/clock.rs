//! The hub's clock: wall time for display, monotonic time for deadlines. Tests can advance both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::proto::time::millis;
use crate::state::Now;

/// A clock. Clones share the time, including what tests advanced it by.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    /// By how much tests have advanced it, in milliseconds.
    advanced: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now(), advanced: Arc::default() }
    }
}

impl Clock {
    /// The current time, in milliseconds.
    pub fn now(&self) -> Now {
        let advanced = self.advanced.load(Ordering::Relaxed);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall: millis(since_epoch) + advanced, mono: millis(self.start.elapsed()) + advanced }
    }

    /// Advances the clock, for tests of what takes half a minute or more.
    pub fn advance(&self, by: Duration) {
        self.advanced.fetch_add(millis(by), Ordering::Relaxed);
    }
}
