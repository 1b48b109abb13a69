//! What every thread of a hub works with: the registry, the tunnels, the watchers, the clock.
//!
//! Locks, in the order in which they may be held together: registry, then tunnels, watchers or lines. None is held across
//! I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Patience;
use super::auth::Passwords;
use super::clock::Clock;
use super::place::Lines;
use super::responses::Makers;
use super::tunnels::Tunnels;
use super::watchers::Watchers;
use crate::state::event::Event;
use crate::state::registry::Registry;
use crate::state::{Now, id};

/// A hub's inside.
pub struct Shared {
    pub(super) clock: Clock,
    /// Rooms and participants. Any thread; short locks.
    registry: Mutex<Registry>,
    pub(super) tunnels: Tunnels,
    pub(super) watchers: Watchers,
    pub(super) passwords: Passwords,
    /// Requests that wait for a participant.
    pub(super) lines: Lines,
    /// Who made which response.
    pub(super) makers: Makers,
    pub(super) patience: Patience,
    /// Allowed origin; `*` unless told otherwise.
    pub(super) cors: String,
    /// How the hub is reached from outside, where it stands behind something.
    pub(super) public_url: Option<String>,
}

impl Shared {
    pub(super) fn new(clock: Clock, cors: Option<String>, public_url: Option<String>, patience: Patience) -> Self {
        Shared {
            clock,
            registry: Mutex::default(),
            tunnels: Tunnels::default(),
            watchers: Watchers::default(),
            passwords: Passwords::default(),
            lines: Lines::default(),
            makers: Makers::default(),
            patience,
            cors: cors.unwrap_or_else(|| "*".to_owned()),
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the registry and tells the watchers, who so hear of changes in the order in which they were made.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Registry, Now) -> (T, Vec<Event>)) -> T {
        let mut registry = self.registry();
        let (value, events) = change(&mut registry, self.clock.now());
        events.iter().for_each(|event| self.watchers.tell(event));
        self.settle(&mut registry);
        value
    }

    /// Gives those who wait in line their turn, after a change that may have freed a place or taken somebody away.
    pub(super) fn settle(&self, registry: &mut Registry) {
        for (number, turn) in registry.settle(self.clock.now(), &mut random) {
            self.lines.call(number, turn);
        }
    }
}

/// Fills a buffer from the system's source of randomness.
///
/// # Panics
/// When the system has none: then no secret can be drawn, and whoever asked for one must not go on. Only the
/// connection that asked ends.
pub fn random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system gives no random numbers: {error}");
    }
}

/// A fresh UUID.
pub fn fresh_uuid() -> String {
    id::uuid(&mut random)
}
