//! The participant's runtime: probe a provider, register it, and serve its room through a tunnel.
//!
//! The provider's credentials are seen in `provider` and nowhere else.

mod address;
mod join;
mod load;
mod probe;
mod provider;
mod reconnect;
mod serve;
mod session;
mod specs;

pub use join::{Builder, Joined, Prepared};
pub use probe::{Probe, probe};
pub use reconnect::{Reconnect, ReconnectEvent, ReconnectHandle};
pub use session::{CloseEvent, CloseReason, Session, SessionHandle};
pub use specs::machine_specs;

use crate::error::Error;
use crate::proto::management::uuid_of;

/// A participant id that nobody has: a random UUID.
///
/// # Errors
/// When the system gives no random numbers.
pub fn fresh_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::System { what: "reading randomness", reason: e.to_string() })?;
    Ok(uuid_of(bytes))
}
