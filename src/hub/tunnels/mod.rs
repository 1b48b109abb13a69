//! Participants' tunnels: how one is opened, and which are open.

pub mod attach;
pub mod registry;
