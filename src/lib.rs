//! Rooms for the local LLMs of a network: a hub, participants on tunnels, and one OpenAI-compatible address for all.
//!
//! What lives where: [`proto`] is what goes over the wire, [`state`] the rules of rooms and participants.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod proto;
pub mod state;
