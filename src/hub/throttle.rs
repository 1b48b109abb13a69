//! Guessing is slowed: after a few wrong passwords from one address for one room, that address waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Wrong guesses that cost nothing: people mistype.
const FREE: u32 = 5;
/// The first wait, milliseconds; doubled with each wrong guess that follows.
const FIRST: u64 = 1_000;
/// The longest wait, milliseconds.
const LONGEST: u64 = 300_000;
/// How long after its last guess an address is forgotten, milliseconds.
const FORGET: u64 = 900_000;
/// Addresses and rooms that are remembered. Beyond, those that guessed longest ago are forgotten.
const MOST: usize = 10_000;

/// Who has guessed wrong, where.
#[derive(Default)]
pub struct Throttle {
    guesses: Mutex<HashMap<(IpAddr, String), Guesses>>,
}

#[derive(Clone, Copy)]
struct Guesses {
    wrong: u32,
    /// On the forward-only clock, milliseconds.
    last: u64,
}

impl Guesses {
    fn wait(self) -> u64 {
        let doubled = |n: u32| FIRST.saturating_mul(1 << n.min(20)).min(LONGEST);
        self.wrong.checked_sub(FREE).map_or(0, doubled)
    }
}

impl Throttle {
    fn lock(&self) -> MutexGuard<'_, HashMap<(IpAddr, String), Guesses>> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an address must wait before it may guess again, in whole seconds, at least one; `None` when it may now.
    pub fn wait(&self, address: IpAddr, room: &str, now: u64) -> Option<u32> {
        let guesses = *self.lock().get(&(address, room.to_owned()))?;
        let left = (guesses.last + guesses.wait()).saturating_sub(now);
        (left > 0).then(|| u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Notes a wrong guess.
    pub fn wrong(&self, address: IpAddr, room: &str, now: u64) {
        let mut guesses = self.lock();
        if guesses.len() >= MOST {
            guesses.retain(|_, guesses| now.saturating_sub(guesses.last) < FORGET);
        }
        if guesses.len() >= MOST
            && let Some(oldest) = guesses.iter().min_by_key(|(_, guesses)| guesses.last).map(|(key, _)| key.clone())
        {
            guesses.remove(&oldest);
        }
        let entry = guesses.entry((address, room.to_owned())).or_insert(Guesses { wrong: 0, last: now });
        if now.saturating_sub(entry.last) >= FORGET {
            entry.wrong = 0;
        }
        entry.wrong += 1;
        entry.last = now;
    }

    /// Forgets an address that knew the password after all.
    pub fn right(&self, address: IpAddr, room: &str) {
        self.lock().remove(&(address, room.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_guesses_are_free_and_then_each_costs_twice_as_long() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        for _ in 0..FREE - 1 {
            throttle.wrong(me, "LAB001", 0);
            assert_eq!(throttle.wait(me, "LAB001", 0), None);
        }
        throttle.wrong(me, "LAB001", 0);
        assert_eq!(throttle.wait(me, "LAB001", 0), Some(1));
        assert_eq!(throttle.wait(me, "LAB001", 1000), None);
        throttle.wrong(me, "LAB001", 1000);
        assert_eq!(throttle.wait(me, "LAB001", 1001), Some(2));
        assert_eq!(throttle.wait(me, "LAB002", 1001), None);
        assert_eq!(throttle.wait(IpAddr::from([10, 0, 0, 2]), "LAB001", 1001), None);
        for _ in 0..100 {
            throttle.wrong(me, "LAB001", 2000);
        }
        assert_eq!(throttle.wait(me, "LAB001", 2000), Some(300));
        throttle.right(me, "LAB001");
        assert_eq!(throttle.wait(me, "LAB001", 2000), None);
    }

    #[test]
    fn who_guessed_long_ago_begins_anew_and_memory_is_bounded() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        for _ in 0..20 {
            throttle.wrong(me, "LAB001", 0);
        }
        throttle.wrong(me, "LAB001", FORGET);
        assert_eq!(throttle.wait(me, "LAB001", FORGET), None);
        for n in 0..MOST as u64 + 10 {
            throttle.wrong(me, &n.to_string(), n);
        }
        assert!(throttle.lock().len() <= MOST);
    }
}
