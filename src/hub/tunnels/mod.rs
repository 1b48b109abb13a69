//! Participants' tunnels: opening one (`attach`), writing and reading it (`tunnel`), its messages (`incoming`), and the set of
//! open ones (`registry`).

pub mod attach;
mod incoming;
pub mod registry;
pub mod tunnel;
