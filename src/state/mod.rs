//! The rules: rooms, participants, which participant gets a request, and which events a change causes.
//!
//! Time and randomness are arguments. Nothing in here does I/O, starts a thread or takes a lock.

pub mod balancer;
pub mod config;
pub mod event;
pub mod health;
pub mod id;
pub mod models;
mod page;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod registry;
pub mod room;
pub mod selector;
pub mod stats;

/// A moment, on both of the hub's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, for display: milliseconds since the epoch. May jump when the clock is set.
    pub wall: u64,
    /// Monotonic clock, for deadlines: milliseconds.
    pub mono: u64,
}

/// Fills a buffer with random bytes. Tests pass a deterministic one.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);
