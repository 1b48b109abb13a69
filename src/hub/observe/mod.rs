//! What the hub tells about itself: events, log, metrics.

pub mod log;
pub mod metrics;
pub mod watchers;
