//! Guessing is slowed: after a few wrong secrets from one address in one place (a room, the hub's key), that address
//! waits. The same wrong secret again is no new guess, and only makes itself wait: a script with an old password harms
//! nobody who shares its address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::network_of;

/// Wrong guesses that cost nothing: people mistype.
const FREE: u32 = 5;
/// The first wait, milliseconds; doubled with each wrong guess that follows.
const FIRST: u64 = 1_000;
/// The longest wait, milliseconds.
const LONGEST: u64 = 300_000;
/// How long after its last guess an address is forgotten, milliseconds.
const FORGET: u64 = 900_000;
/// Wrong secrets of an address that are recognised when they come again.
const RECOGNISED: usize = 8;
/// Addresses and places that are remembered. Beyond, those that guessed longest ago are forgotten.
const MOST: usize = 10_000;

/// Who has guessed wrong, where.
#[derive(Default)]
pub struct Throttle {
    guesses: Mutex<HashMap<(IpAddr, String), Guesses>>,
    hasher: RandomState,
}

/// What came from one address in one place.
#[derive(Default)]
struct Guesses {
    /// Different secrets, or those that were forgotten in between.
    all: Tries,
    /// The last of them by their hashes, which `all` counts round.
    known: [(u64, Tries); RECOGNISED],
}

/// How often something wrong came.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    times: u32,
    /// On the forward-only clock, milliseconds.
    last: u64,
}

impl Tries {
    /// How long it has to wait still, milliseconds.
    fn wait(self, now: u64) -> u64 {
        let doubled = |n: u32| FIRST.saturating_mul(1 << n.min(20)).min(LONGEST);
        let wait = self.times.checked_sub(FREE).map_or(0, doubled);
        (self.last + wait).saturating_sub(now)
    }

    fn more(&mut self, now: u64) {
        *self = Tries { times: self.times.saturating_add(1), last: now };
    }
}

impl Guesses {
    fn known(&self, guess: u64) -> Option<usize> {
        self.known.iter().position(|(known, tries)| *known == guess && tries.times > 0)
    }
}

impl Throttle {
    fn lock(&self) -> MutexGuard<'_, HashMap<(IpAddr, String), Guesses>> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an address must wait before it may show a secret, in whole seconds, at least one; `None` when it may now.
    pub fn wait(&self, address: IpAddr, place: &str, secret: &str, now: u64) -> Option<u32> {
        let guesses = self.lock();
        // So it is nearly always: who guesses wrong is rare.
        if guesses.is_empty() {
            return None;
        }
        let guesses = guesses.get(&key(address, place))?;
        let own = guesses.known(self.hasher.hash_one(secret)).map_or(0, |at| guesses.known[at].1.wait(now));
        let left = guesses.all.wait(now).max(own);
        (left > 0).then(|| u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Notes a wrong secret.
    pub fn wrong(&self, address: IpAddr, place: &str, secret: &str, now: u64) {
        let guess = self.hasher.hash_one(secret);
        let mut guesses = self.lock();
        if guesses.len() >= MOST {
            guesses.retain(|_, guesses| now.saturating_sub(guesses.all.last) < FORGET);
        }
        if guesses.len() >= MOST
            && let Some(oldest) = guesses.iter().min_by_key(|(_, guesses)| guesses.all.last).map(|(key, _)| key.clone())
        {
            guesses.remove(&oldest);
        }
        let entry = guesses.entry(key(address, place)).or_default();
        if now.saturating_sub(entry.all.last) >= FORGET {
            *entry = Guesses::default();
        }
        match entry.known(guess) {
            Some(at) => entry.known[at].1.more(now),
            None => {
                entry.known[entry.all.times as usize % RECOGNISED] = (guess, Tries { times: 1, last: now });
                entry.all.more(now);
            }
        }
    }

    /// Forgets an address that knew the secret after all.
    pub fn right(&self, address: IpAddr, place: &str) {
        let mut guesses = self.lock();
        if !guesses.is_empty() {
            guesses.remove(&key(address, place));
        }
    }
}

fn key(address: IpAddr, place: &str) -> (IpAddr, String) {
    (network_of(address), place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "LAB001";

    /// Guesses something new so many times.
    fn guess(throttle: &Throttle, address: IpAddr, times: usize, now: u64) {
        for n in 0..times {
            throttle.wrong(address, ROOM, &format!("{n} at {now}"), now);
        }
    }

    #[test]
    fn a_few_guesses_are_free_and_then_each_costs_twice_as_long() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        guess(&throttle, me, 4, 0);
        assert_eq!(throttle.wait(me, ROOM, "pw", 0), None);
        guess(&throttle, me, 1, 1);
        assert_eq!(throttle.wait(me, ROOM, "pw", 1), Some(1));
        assert_eq!(throttle.wait(me, ROOM, "pw", 1001), None);
        guess(&throttle, me, 1, 1001);
        assert_eq!(throttle.wait(me, ROOM, "pw", 1002), Some(2));
        assert_eq!(throttle.wait(me, "LAB002", "pw", 1002), None);
        assert_eq!(throttle.wait(IpAddr::from([10, 0, 0, 2]), ROOM, "pw", 1002), None);
        guess(&throttle, me, 100, 2000);
        assert_eq!(throttle.wait(me, ROOM, "pw", 2000), Some(300));
        throttle.right(me, ROOM);
        assert_eq!(throttle.wait(me, ROOM, "pw", 2000), None);
    }

    #[test]
    fn the_same_again_slows_itself_only_and_a_network_is_one_guesser() {
        let (throttle, me) = (Throttle::default(), "2001:db8::1".parse().unwrap());
        for _ in 0..6 {
            throttle.wrong(me, ROOM, "last year's", 0);
        }
        assert_eq!(throttle.wait(me, ROOM, "last year's", 0), Some(2));
        assert_eq!(throttle.wait(me, ROOM, "pw", 0), None);
        guess(&throttle, "2001:db8::2".parse().unwrap(), 4, 0);
        assert!(throttle.wait(me, ROOM, "pw", 0).is_some());
        assert!(throttle.wait("2001:db8:0:1::1".parse().unwrap(), ROOM, "pw", 0).is_none());
    }

    #[test]
    fn who_guessed_long_ago_begins_anew_and_memory_is_bounded() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        guess(&throttle, me, 20, 0);
        guess(&throttle, me, 1, FORGET);
        assert_eq!(throttle.wait(me, ROOM, "pw", FORGET), None);
        for n in 0..MOST as u64 + 10 {
            throttle.wrong(me, &n.to_string(), "x", n);
        }
        assert!(throttle.lock().len() <= MOST);
    }
}
