//! Rate limit for wrong secrets. After a few wrong secrets from one network in one scope (a room, the hub's key), the
//! network has to wait in that scope, with exponential back-off. Repeating a known wrong secret delays only that secret:
//! a script with an outdated password does not block other clients behind the same address.
//!
//! A leaky bucket limits the wrong secrets of a network over all scopes. It cannot be evaded by spreading attempts over
//! scopes, nor by filling the table with other scopes to have entries evicted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use crate::http::network_of;
use crate::sync::lock;

/// Wrong secrets without a delay.
const FREE_FAILURES: u32 = 5;
/// The first delay, milliseconds. Doubled with each further failure.
const FIRST_DELAY_MS: u64 = 1_000;
/// The longest delay, milliseconds.
const MAX_DELAY_MS: u64 = 300_000;
/// An entry expires this long after its last failure, milliseconds.
const ENTRY_TTL_MS: u64 = 900_000;
/// Wrong secrets of an entry that are recognised when they are repeated.
const KNOWN_SECRETS: usize = 8;
/// Entries in the table.
const MAX_ENTRIES: usize = 10_000;
/// Entries of one network.
const MAX_ENTRIES_PER_NETWORK: usize = 256;
/// Capacity of a network's leaky bucket: failures in all scopes that may come at once.
const BUCKET_CAPACITY: u32 = 60;
/// The bucket leaks one failure in this time, milliseconds.
const LEAK_INTERVAL_MS: u64 = 6_000;

/// Counts wrong secrets and computes delays. Times are on the monotonic clock, in milliseconds.
#[derive(Default)]
pub struct Throttle {
    table: Mutex<FailureTable>,
    hasher: RandomState,
}

type Key = (IpAddr, String);

#[derive(Default)]
struct FailureTable {
    /// Failures by network and scope.
    entries: HashMap<Key, ScopeFailures>,
    /// Failures by network, in all scopes.
    buckets: HashMap<IpAddr, LeakyBucket>,
}

/// Delays its network while it is full.
#[derive(Debug, Clone, Copy, Default)]
struct LeakyBucket {
    level: u32,
    /// When the bucket had this level, milliseconds.
    at: u64,
}

impl LeakyBucket {
    /// The bucket after leaking until `now`.
    fn leaked(self, now: u64) -> LeakyBucket {
        let leaked = now.saturating_sub(self.at) / LEAK_INTERVAL_MS;
        let level = self.level.saturating_sub(u32::try_from(leaked).unwrap_or(u32::MAX));
        LeakyBucket { level, at: if level == 0 { now } else { self.at + leaked * LEAK_INTERVAL_MS } }
    }

    /// Milliseconds until there is room for one more failure.
    fn wait(self, now: u64) -> u64 {
        let LeakyBucket { level, at } = self.leaked(now);
        let excess = level.checked_sub(BUCKET_CAPACITY);
        excess.map_or(0, |excess| (at + LEAK_INTERVAL_MS * u64::from(excess + 1)).saturating_sub(now))
    }

    fn add(&mut self, now: u64) {
        let LeakyBucket { level, at } = self.leaked(now);
        // Wrong tokens are added even while the network waits; the cap keeps the wait within MAX_DELAY_MS.
        let max_level = BUCKET_CAPACITY + u32::try_from(MAX_DELAY_MS / LEAK_INTERVAL_MS).unwrap_or(u32::MAX);
        *self = LeakyBucket { level: (level + 1).min(max_level), at };
    }
}

/// The failures of one network in one scope.
#[derive(Default)]
struct ScopeFailures {
    /// Wrong secrets, without repetitions of known ones.
    distinct: FailureCount,
    /// The last distinct secrets, as hashes, with their repetitions. A ring, indexed by `distinct.count`.
    known: [(u64, FailureCount); KNOWN_SECRETS],
}

/// A number of failures with back-off.
#[derive(Debug, Clone, Copy, Default)]
struct FailureCount {
    count: u32,
    /// Time of the last failure, milliseconds.
    last: u64,
}

impl FailureCount {
    /// Milliseconds until the next attempt is allowed.
    fn wait(self, now: u64) -> u64 {
        let backoff = |doublings: u32| FIRST_DELAY_MS.saturating_mul(1 << doublings.min(20)).min(MAX_DELAY_MS);
        let delay = self.count.checked_sub(FREE_FAILURES).map_or(0, backoff);
        (self.last + delay).saturating_sub(now)
    }

    fn add(&mut self, now: u64) {
        *self = FailureCount { count: self.count.saturating_add(1), last: now };
    }
}

impl ScopeFailures {
    /// The index of a secret in `known`.
    fn position(&self, secret: u64) -> Option<usize> {
        self.known.iter().position(|(known, failures)| *known == secret && failures.count > 0)
    }

    fn wait(&self, secret: u64, now: u64) -> u64 {
        let repeated = self.position(secret).map_or(0, |index| self.known[index].1.wait(now));
        self.distinct.wait(now).max(repeated)
    }

    fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.distinct.last) >= ENTRY_TTL_MS
    }
}

impl FailureTable {
    fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.entries.is_empty()
    }

    /// Milliseconds until the next attempt is allowed. `secret` is the hash of the secret that is to be tried.
    fn wait(&self, key: &Key, secret: u64, now: u64) -> u64 {
        let over_all = self.buckets.get(&key.0).map_or(0, |bucket| bucket.wait(now));
        let in_scope = self.entries.get(key).map_or(0, |failures| failures.wait(secret, now));
        over_all.max(in_scope)
    }

    fn record_failure(&mut self, key: Key, secret: u64, now: u64) {
        if !self.entries.contains_key(&key) {
            self.make_room(key.0, now);
        }
        let network = key.0;
        let entry = self.entries.entry(key).or_default();
        if entry.is_expired(now) {
            *entry = ScopeFailures::default();
        }
        if let Some(index) = entry.position(secret) {
            entry.known[index].1.add(now);
            return;
        }
        entry.known[entry.distinct.count as usize % KNOWN_SECRETS] = (secret, FailureCount { count: 1, last: now });
        entry.distinct.add(now);
        self.buckets.entry(network).or_default().add(now);
    }

    /// Makes room for another entry of a network. Evicts expired entries, then the network's own entry with the fewest
    /// failures, and the oldest of the table only if the network has none.
    fn make_room(&mut self, network: IpAddr, now: u64) {
        let own = |table: &FailureTable| table.entries.keys().filter(|(owner, _)| *owner == network).count();
        if self.entries.len() < MAX_ENTRIES && own(self) < MAX_ENTRIES_PER_NETWORK {
            return;
        }
        self.entries.retain(|_, failures| !failures.is_expired(now));
        self.buckets.retain(|_, bucket| bucket.leaked(now).level > 0);
        let (own, full) = (own(self), self.entries.len() >= MAX_ENTRIES);
        let evicted = if own >= MAX_ENTRIES_PER_NETWORK || (own > 0 && full) {
            let own = self.entries.iter().filter(|((owner, _), _)| *owner == network);
            own.min_by_key(|(_, failures)| (failures.distinct.count, failures.distinct.last))
        } else if full {
            self.entries.iter().min_by_key(|(_, failures)| failures.distinct.last)
        } else {
            None
        };
        if let Some(key) = evicted.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }
}

impl Throttle {
    fn lock(&self) -> MutexGuard<'_, FailureTable> {
        lock(&self.table)
    }

    /// Seconds, rounded up, until an address may try a secret in a scope; `None` when it may now.
    pub fn wait(&self, address: IpAddr, scope: &str, secret: &str, now: u64) -> Option<u32> {
        let table = self.lock();
        // The usual case: no failures at all.
        if table.is_empty() {
            return None;
        }
        whole_seconds(table.wait(&key(address, scope), self.hasher.hash_one(secret), now))
    }

    /// Records whether a secret was right, unless its address has to wait by now. A caller must not reveal the result on
    /// an error: concurrent attempts so learn no more than consecutive ones. A right secret removes the failures in its
    /// scope.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn record_result(&self, address: IpAddr, scope: &str, secret: &str, right: bool, now: u64) -> Result<(), u32> {
        let mut table = self.lock();
        if right && table.is_empty() {
            return Ok(());
        }
        let (key, secret) = (key(address, scope), self.hasher.hash_one(secret));
        if let Some(seconds) = whole_seconds(table.wait(&key, secret, now)) {
            return Err(seconds);
        }
        if right {
            table.entries.remove(&key);
        } else {
            table.record_failure(key, secret, now);
        }
        Ok(())
    }

    /// Records a wrong secret.
    pub fn record_failure(&self, address: IpAddr, scope: &str, secret: &str, now: u64) {
        let secret = self.hasher.hash_one(secret);
        self.lock().record_failure(key(address, scope), secret, now);
    }
}

fn whole_seconds(millis: u64) -> Option<u32> {
    (millis > 0).then(|| u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX))
}

fn key(address: IpAddr, scope: &str) -> Key {
    (network_of(address), scope.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "LAB001";
    const BUCKET_DRAINED: u64 = BUCKET_CAPACITY as u64 * LEAK_INTERVAL_MS;

    /// Records this many distinct wrong secrets.
    fn fail(throttle: &Throttle, address: IpAddr, times: usize, now: u64) {
        for n in 0..times {
            throttle.record_failure(address, ROOM, &format!("{n} at {now}"), now);
        }
    }

    #[test]
    fn after_a_few_free_failures_each_doubles_the_delay() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        fail(&throttle, me, 4, 0);
        assert_eq!(throttle.wait(me, ROOM, "pw", 0), None);
        fail(&throttle, me, 1, 1);
        assert_eq!(throttle.wait(me, ROOM, "pw", 1), Some(1));
        assert_eq!(throttle.wait(me, ROOM, "pw", 1001), None);
        fail(&throttle, me, 1, 1001);
        assert_eq!(throttle.wait(me, ROOM, "pw", 1002), Some(2));
        assert_eq!(throttle.wait(me, "LAB002", "pw", 1002), None);
        assert_eq!(throttle.wait(IpAddr::from([10, 0, 0, 2]), ROOM, "pw", 1002), None);
        fail(&throttle, me, 100, 2000);
        assert_eq!(throttle.wait(me, ROOM, "pw", 2000), Some(300));
        assert_eq!(throttle.record_result(me, ROOM, "pw", true, 301_999), Err(1));
        assert_eq!(throttle.record_result(me, ROOM, "pw", true, 302_000 + BUCKET_DRAINED), Ok(()));
        fail(&throttle, me, 4, 302_000 + BUCKET_DRAINED);
        assert_eq!(throttle.wait(me, ROOM, "pw", 302_000 + BUCKET_DRAINED), None, "a right secret clears its scope");
    }

    #[test]
    fn a_repeated_secret_delays_only_itself_and_a_network_counts_as_one_client() {
        let (throttle, me) = (Throttle::default(), "2001:db8::1".parse().unwrap());
        for _ in 0..6 {
            throttle.record_failure(me, ROOM, "last year's", 0);
        }
        assert_eq!(throttle.wait(me, ROOM, "last year's", 0), Some(2));
        assert_eq!(throttle.wait(me, ROOM, "pw", 0), None);
        fail(&throttle, "2001:db8::2".parse().unwrap(), 4, 0);
        assert!(throttle.wait(me, ROOM, "pw", 0).is_some());
        assert!(throttle.wait("2001:db8:0:1::1".parse().unwrap(), ROOM, "pw", 0).is_none());
    }

    #[test]
    fn entries_expire_and_memory_is_bounded() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        fail(&throttle, me, 20, 0);
        fail(&throttle, me, 1, ENTRY_TTL_MS);
        assert_eq!(throttle.wait(me, ROOM, "pw", ENTRY_TTL_MS), None);
        for n in 0..MAX_ENTRIES_PER_NETWORK as u64 + 10 {
            throttle.record_failure(me, &n.to_string(), "x", n);
        }
        assert!(throttle.lock().entries.len() <= MAX_ENTRIES_PER_NETWORK);
        for n in 0..MAX_ENTRIES as u32 + 10 {
            throttle.record_failure(IpAddr::from(n.to_be_bytes()), ROOM, "x", n.into());
        }
        assert!(throttle.lock().entries.len() <= MAX_ENTRIES);
        fail(&throttle, me, 1, 2 * ENTRY_TTL_MS);
        throttle.lock().make_room(IpAddr::from([1, 1, 1, 1]), 2 * ENTRY_TTL_MS + MAX_ENTRIES as u64);
        assert!(throttle.lock().buckets.len() <= MAX_ENTRIES);
    }

    #[test]
    fn filling_the_table_neither_evicts_ones_failures_nor_allows_more_attempts() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        fail(&throttle, me, 6, 0);
        for n in 0..MAX_ENTRIES + 10 {
            throttle.record_failure(me, &format!("own {n}"), "x", 1);
        }
        assert!(throttle.wait(me, ROOM, "pw", 1).is_some_and(|seconds| seconds > 1), "the failures are remembered");
        let (throttle, mut learned) = (Throttle::default(), 0);
        for second in 0..3600 {
            for n in 0..20 {
                learned +=
                    u32::from(throttle.record_result(me, &format!("{n} {second}"), "x", false, second * 1000).is_ok());
            }
        }
        assert!(learned <= BUCKET_CAPACITY + 3_600_000 / LEAK_INTERVAL_MS as u32 + 1, "{learned}");
        let other = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(throttle.record_result(other, ROOM, "pw", true, 3_600_000), Ok(()), "others do not wait with it");
    }

    #[test]
    fn concurrent_attempts_learn_no_more_than_consecutive_ones() {
        let (throttle, me) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        // All passed `wait` before the first result is recorded.
        let results: Vec<_> = (0..200).map(|n| throttle.record_result(me, ROOM, &n.to_string(), n == 150, 0)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), FREE_FAILURES as usize);
        assert!(results[150].is_err());
    }
}
