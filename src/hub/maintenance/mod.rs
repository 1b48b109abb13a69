//! The hub's clock, the monitor thread that expires what is out of date, and draining at shutdown.

pub mod clock;
pub mod drain;
pub mod monitor;
