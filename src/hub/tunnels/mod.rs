//! Participants' tunnels: opening and reading one (`attach`), and the set of open ones (`registry`).

pub mod attach;
pub mod registry;
