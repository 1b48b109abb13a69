//! The rules: rooms, participants, who gets a request, and which events a change causes.
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
    /// What people are shown: milliseconds since the epoch. May jump when the clock is set.
    pub wall: u64,
    /// What deadlines are counted by: milliseconds on a clock that only goes forward.
    pub mono: u64,
}

/// Fills a buffer with random bytes. Real ones in the hub, chosen ones in tests.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);
