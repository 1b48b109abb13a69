//! The rules: rooms, participants, which participant gets a request, and which events a change causes.
//!
//! Time and randomness are arguments. This module does no I/O, starts no threads and takes no locks.

pub mod balancer;
pub mod config;
pub mod conversations;
pub mod event;
pub mod fair_shares;
pub mod health;
pub mod id;
pub mod limits;
pub mod missing_routes;
pub mod models;
mod page;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod queue;
pub mod registry;
pub mod room;
pub mod selector;
pub mod stats;

/// A point in time, on both clocks of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, for display: milliseconds since the epoch. May jump when the clock is set.
    pub wall: u64,
    /// Monotonic clock, for deadlines: milliseconds.
    pub mono: u64,
}

/// Fills a buffer with random bytes. Tests pass a deterministic one.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);
