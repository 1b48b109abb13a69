//! Rooms for the local LLMs of a network: a hub, participants on tunnels, and one OpenAI-compatible address for all.
//!
//! What lives where: [`hub`] is the server, [`participant`] the runtime beside a provider, [`client`] the calls to a hub
//! and the talk with a room, [`discovery`] the search for hubs, [`provider`] an echo to try things with; [`proto`] is what
//! goes over the wire.
//!
//! The contract on the wire is in [`protocol`]. The next part is the manual's page "library".
//!
#![doc = include_str!("manual/library.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod budget;
pub mod client;
#[cfg(feature = "mdns")]
pub mod discovery;
pub mod error;
mod fingerprint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod hub;
mod machine;
mod net;
pub mod participant;
pub mod proto;
#[doc = include_str!("proto/PROTOCOL.md")]
pub mod protocol {}
#[doc = include_str!("ARCHITECTURE.md")]
pub mod architecture {}
pub mod provider;
mod random;
mod state;
mod sync;
mod tunnel;

pub use error::Error;
pub use fingerprint::Fingerprint;
