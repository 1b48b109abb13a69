//! Guessing is slowed: after a few wrong secrets from one address in one place (a room, the hub's key), that address
//! waits there. The same wrong secret again is no new guess, and only makes itself wait: a script with an old password
//! harms nobody who shares its address.
//!
//! An address that guesses in many places is held to a steady rate in all of them together, so that nobody gets around
//! the waits by spreading guesses, or has the table forget them by filling it with places of its own.

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
/// Addresses and places that are remembered. Beyond, one of the address's own is forgotten, else the oldest.
const MOST: usize = 10_000;
/// Places that are remembered of one address.
const MOST_OF_ONE: usize = 256;
/// New wrong guesses of one address, in all places together, that may come at once.
const BURST: u32 = 60;
/// How long it takes until one of them is forgiven, milliseconds.
const FORGIVE: u64 = 6_000;

/// Who has guessed wrong, where.
#[derive(Default)]
pub struct Throttle {
    table: Mutex<Table>,
    hasher: RandomState,
}

#[derive(Default)]
struct Table {
    places: HashMap<(IpAddr, String), Guesses>,
    /// Guesses in all places together.
    addresses: HashMap<IpAddr, Bucket>,
}

/// A leaky bucket: full, its address waits.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    level: u32,
    /// When it was at that level, milliseconds.
    at: u64,
}

impl Bucket {
    /// What has not been forgiven yet.
    fn settled(self, now: u64) -> Bucket {
        let forgiven = now.saturating_sub(self.at) / FORGIVE;
        let level = self.level.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        Bucket { level, at: if level == 0 { now } else { self.at + forgiven * FORGIVE } }
    }

    fn wait(self, now: u64) -> u64 {
        let Bucket { level, at } = self.settled(now);
        if level < BURST { 0 } else { (at + FORGIVE * u64::from(level - BURST + 1)).saturating_sub(now) }
    }

    fn more(&mut self, now: u64) {
        let Bucket { level, at } = self.settled(now);
        // A flood of tokens, which are counted while they wait, costs no more than one wait of the longest.
        let most = BURST + u32::try_from(LONGEST / FORGIVE).unwrap_or(u32::MAX);
        *self = Bucket { level: (level + 1).min(most), at };
    }
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

impl Table {
    /// How long an address must wait, milliseconds.
    fn wait(&self, key: &(IpAddr, String), guess: u64, now: u64) -> u64 {
        let everywhere = self.addresses.get(&key.0).map_or(0, |bucket| bucket.wait(now));
        let here = self.places.get(key).map_or(0, |guesses| {
            let own = guesses.known(guess).map_or(0, |at| guesses.known[at].1.wait(now));
            guesses.all.wait(now).max(own)
        });
        everywhere.max(here)
    }

    fn wrong(&mut self, key: (IpAddr, String), guess: u64, now: u64) {
        if !self.places.contains_key(&key) {
            self.make_room(key.0, now);
        }
        let address = key.0;
        let entry = self.places.entry(key).or_default();
        if now.saturating_sub(entry.all.last) >= FORGET {
            *entry = Guesses::default();
        }
        if let Some(at) = entry.known(guess) {
            return entry.known[at].1.more(now);
        }
        entry.known[entry.all.times as usize % RECOGNISED] = (guess, Tries { times: 1, last: now });
        entry.all.more(now);
        self.addresses.entry(address).or_default().more(now);
    }

    /// Makes room for another place of an address: its own places go first, those with the fewest guesses before others.
    fn make_room(&mut self, address: IpAddr, now: u64) {
        let own = |table: &Table| table.places.keys().filter(|(of, _)| *of == address).count();
        if self.places.len() < MOST && own(self) < MOST_OF_ONE {
            return;
        }
        self.places.retain(|_, guesses| now.saturating_sub(guesses.all.last) < FORGET);
        self.addresses.retain(|_, bucket| bucket.settled(now).level > 0);
        let own = own(self);
        if own >= MOST_OF_ONE || (own > 0 && self.places.len() >= MOST) {
            let least = self.places.iter().filter(|((of, _), _)| *of == address);
            let least =
                least.min_by_key(|(_, guesses)| (guesses.all.times, guesses.all.last)).map(|(key, _)| key.clone());
            least.map(|key| self.places.remove(&key));
        } else if self.places.len() >= MOST {
            let oldest = self.places.iter().min_by_key(|(_, guesses)| guesses.all.last).map(|(key, _)| key.clone());
            oldest.map(|key| self.places.remove(&key));
        }
    }
}

impl Throttle {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an address must wait before it may show a secret, in whole seconds, at least one; `None` when it may now.
    pub fn wait(&self, address: IpAddr, place: &str, secret: &str, now: u64) -> Option<u32> {
        let table = self.lock();
        // So it is nearly always: who guesses wrong is rare.
        if table.addresses.is_empty() && table.places.is_empty() {
            return None;
        }
        whole_seconds(table.wait(&key(address, place), self.hasher.hash_one(secret), now))
    }

    /// Says whether a secret that has been looked at is right, unless its address has to wait by now: of guesses that come
    /// at the same time, only so many learn anything as if they had come one by one. A wrong one is counted; a right one
    /// has the others in its place forgotten.
    ///
    /// # Errors
    /// How many seconds it has to wait.
    pub fn resolve_client(
        &self,
        address: IpAddr,
        place: &str,
        secret: &str,
        right: bool,
        now: u64,
    ) -> Result<bool, u32> {
        let mut table = self.lock();
        if right && table.addresses.is_empty() && table.places.is_empty() {
            return Ok(true);
        }
        let (key, guess) = (key(address, place), self.hasher.hash_one(secret));
        if let Some(seconds) = whole_seconds(table.wait(&key, guess, now)) {
            return Err(seconds);
        }
        if right {
            table.places.remove(&key);
        } else {
            table.wrong(key, guess, now);
        }
        Ok(right)
    }

    /// Notes a wrong secret.
    pub fn wrong(&self, address: IpAddr, place: &str, secret: &str, now: u64) {
        let guess = self.hasher.hash_one(secret);
        self.lock().wrong(key(address, place), guess, now);
    }
}

fn whole_seconds(millis: u64) -> Option<u32> {
    (millis > 0).then(|| u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX))
}

fn key(address: IpAddr, place: &str) -> (IpAddr, String) {
    (network_of(address), place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "LAB001";
    const BURST_FORGIVEN: u64 = BURST as u64 * FORGIVE;

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
        assert_eq!(throttle.resolve_client(me, ROOM, "pw", true, 301_999), Err(1));
        assert_eq!(throttle.resolve_client(me, ROOM, "pw", true, 302_000 + BURST_FORGIVEN), Ok(true));
        guess(&throttle, me, 4, 302_000 + BURST_FORGIVEN);
        assert_eq!(throttle.wait(me, ROOM, "pw", 302_000 + BURST_FORGIVEN), None, "a right one clears its place");
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
        for n in 0..MOST_OF_ONE as u64 + 10 {
            throttle.wrong(me, &n.to_string(), "x", n);
        }
        assert!(throttle.lock().places.len() <= MOST_OF_ONE);
        for n in 0..MOST as u32 + 10 {
            throttle.wrong(IpAddr::from(n.to_be_bytes()), ROOM, "x", n.into());
        }
        assert!(throttle.lock().places.len() <= MOST);
        guess(&throttle, me, 1, 2 * FORGET);
        throttle.lock().make_room(IpAddr::from([1, 1, 1, 1]), 2 * FORGET + MOST as u64);
        assert!(throttle.lock().addresses.len() <= MOST);
    }

    #[test]
    fn places_of_ones_own_neither_flush_a_guess_nor_buy_more_of_them() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        guess(&throttle, me, 6, 0);
        for n in 0..MOST + 10 {
            throttle.wrong(me, &format!("own {n}"), "x", 1);
        }
        assert!(throttle.wait(me, ROOM, "pw", 1).is_some_and(|seconds| seconds > 1), "the guesses are remembered");
        let (throttle, mut learned) = (Throttle::default(), 0);
        for second in 0..3600 {
            for n in 0..20 {
                learned +=
                    u32::from(throttle.resolve_client(me, &format!("{n} {second}"), "x", false, second * 1000).is_ok());
            }
        }
        assert!(learned <= BURST + 3_600_000 / FORGIVE as u32 + 1, "{learned}");
        let other = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(throttle.resolve_client(other, ROOM, "pw", true, 3_600_000), Ok(true), "others do not wait with it");
    }

    #[test]
    fn guesses_at_the_same_time_learn_no_more_than_one_by_one() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        // All have been let in before the first is judged.
        let judged: Vec<_> = (0..200).map(|n| throttle.resolve_client(me, ROOM, &n.to_string(), n == 150, 0)).collect();
        assert_eq!(judged.iter().filter(|told| told.is_ok()).count(), FREE as usize);
        assert!(judged[150].is_err());
    }
}
