//! The names of hubs in mDNS, which announcing and finding them share.

use std::time::Duration;

/// The type that hubs are announced as (PROTOCOL.md, "Constants").
pub const SERVICE_TYPE: &str = "_gambi._tcp.local.";
/// The time limit for ending mDNS, which may withdraw an announcement.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// The properties that say how a hub is reached.
pub const PROTOCOL: &str = "protocol";
pub const HTTPS: &str = "https";
pub const FINGERPRINT: &str = "fingerprint";
