//! What keeps a hub in order over time: its clock, its monitor thread, draining.

pub mod clock;
pub mod drain;
pub mod monitor;
