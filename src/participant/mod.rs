//! The participant's runtime: probes a provider, registers it with a hub, and serves its room through a tunnel.
//!
//! Only `provider` handles the provider's credentials.

mod address;
mod builder;
mod cancel;
mod close_event;
mod find_providers;
mod follow;
mod forward;
mod id;
mod job;
mod load;
mod memory;
mod model_lists;
mod offer;
mod probe;
mod provider;
mod provider_call;
mod provider_health;
mod reconnect;
mod running;
mod serve;
mod session;
mod specs;
mod streams;

pub use builder::{Builder, Joined, Prepared};
pub use close_event::{CloseEvent, CloseReason};
pub use find_providers::{FoundProvider, ProviderKind, Providers, RefusingProvider, find_providers};
pub use id::fresh_id;
pub use probe::Probe;
pub use reconnect::{Reconnect, ReconnectEvent, ReconnectHandle};
pub use session::{Session, SessionHandle};
pub use specs::machine_specs;
