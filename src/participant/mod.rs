//! The participant's runtime: probe a provider, register it, and serve its room through a tunnel.
//!
//! The provider's credentials are seen in `provider` and nowhere else.

mod probe;
mod provider;
mod serve;
mod session;
mod specs;

pub use probe::{Probe, probe};
pub use session::{Builder, CloseEvent, CloseReason, Joined, Prepared, Session, SessionHandle};
pub use specs::machine_specs;
