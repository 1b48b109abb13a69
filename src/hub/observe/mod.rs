//! How the hub can be observed: events for watchers, the log, the file of usage, and metrics. Each is bounded in memory and
//! never waited for.

mod event_ring;
pub mod log;
pub mod metrics;
pub mod traces;
pub mod usage_file;
pub mod usage_past;
pub mod watchers;
