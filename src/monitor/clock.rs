//! The local clock, for printed events too. Everything else in the monitor takes the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use gambi::proto::time::millis;

/// Milliseconds since the Unix epoch; 0 if the clock is set before it.
pub fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
