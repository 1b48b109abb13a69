//! Rooms for the local LLMs of a network: a hub, participants on tunnels, and one OpenAI-compatible address for all.
//!
//! What lives where: [`hub`] is the server, [`proto`] what goes over the wire, [`state`] the rules of rooms and
//! participants.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
#[cfg(feature = "mdns")]
pub mod discovery;
pub mod error;
mod http;
pub mod hub;
pub mod participant;
pub mod proto;
pub mod provider;
pub mod state;
mod tunnel;

pub use error::Error;
