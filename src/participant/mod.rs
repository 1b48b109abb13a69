//! The participant's runtime: probe a provider, register it, and serve its room through a tunnel.
//!
//! The provider's credentials are seen in `provider` and nowhere else.

mod join;
mod probe;
mod provider;
mod reconnect;
mod serve;
mod session;
mod specs;

pub use join::{Builder, Joined, Prepared};
pub use probe::{Probe, probe};
pub use reconnect::{Reconnect, ReconnectHandle, Step};
pub use session::{CloseEvent, CloseReason, Session, SessionHandle};
pub use specs::machine_specs;

use crate::error::Error;

/// A participant id that nobody has: a random UUID.
///
/// # Errors
/// When the system gives no random numbers.
pub fn fresh_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::System { what: "reading randomness", reason: e.to_string() })?;
    // RFC 9562, section 5.4: version 4, variant 10.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
