//! A bound on the memory that everything which peers make this process hold may take together.
//!
//! Whoever holds such bytes takes a [`Share`] of the [`Budget`] and lets it grow as the bytes arrive; it is given back on
//! drop. A share may have an owner, a client's network: no owner has more than half of the budget, so that nobody can
//! take all of it from the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One owner has at most one part in so many.
const OWNERS_PART: u64 = 2;

/// A number of bytes, and how many of them are in use.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: u64,
    /// Of it, by owner. Only those that have something are listed.
    owned: HashMap<IpAddr, u64>,
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    owner: Option<IpAddr>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Budget { total: bytes, used: Mutex::default() })
    }

    /// A share of nothing, which can grow up to the whole budget.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), owner: None, bytes: 0 }
    }

    /// A share of nothing, whose owner may have half of the budget in all of its shares together.
    pub fn share_of(self: &Arc<Self>, owner: IpAddr) -> Share {
        Share { budget: self.clone(), owner: Some(owner), bytes: 0 }
    }

    /// The most that one owner may have, bytes.
    pub fn most_of_one(&self) -> u64 {
        self.total / OWNERS_PART
    }

    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        self.lock().all
    }

    /// Bytes that may be in use.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, owner: Option<IpAddr>, bytes: u64) -> bool {
        let mut used = self.lock();
        let owned = owner.map_or(0, |owner| used.owned.get(&owner).copied().unwrap_or(0));
        let fits = |used: u64, most: u64| used.checked_add(bytes).is_some_and(|sum| sum <= most);
        let taken = fits(used.all, self.total) && (owner.is_none() || fits(owned, self.most_of_one()));
        if taken {
            used.all += bytes;
            if let Some(owner) = owner {
                used.owned.insert(owner, owned + bytes);
            }
        }
        taken
    }

    fn give_back(&self, owner: Option<IpAddr>, bytes: u64) {
        let mut used = self.lock();
        used.all -= bytes;
        let Some(owner) = owner else { return };
        if let Some(owned) = used.owned.get_mut(&owner) {
            *owned -= bytes;
            if *owned == 0 {
                used.owned.remove(&owner);
            }
        }
    }
}

impl Share {
    /// Bytes that it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it at least so many bytes large. False, and unchanged, where there is not enough left.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        self.grow_by(bytes.saturating_sub(self.bytes))
    }

    /// Makes it so many bytes larger. False, and unchanged, where there is not enough left.
    #[must_use]
    pub fn grow_by(&mut self, bytes: u64) -> bool {
        let grown = bytes == 0 || self.budget.take(self.owner, bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives back what it has beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus > 0 {
            self.budget.give_back(self.owner, surplus);
            self.bytes -= surplus;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow_to(60) && one.grow_to(50) && two.grow_by(40));
        assert!(!two.grow_by(1) && !one.grow_to(61) && !one.grow_by(u64::MAX));
        assert_eq!((budget.used(), budget.total()), (100, 100));
        one.shrink_to(10);
        one.shrink_to(20);
        assert_eq!((one.bytes(), budget.used()), (10, 50));
        drop(one);
        assert!(two.grow_to(100) && !two.grow_to(101));
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn no_owner_has_more_than_half() {
        let budget = Budget::new(100);
        let [ann, bob] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let (mut one, mut two) = (budget.share_of(ann), budget.share_of(ann));
        assert!(one.grow_to(30) && two.grow_to(20) && !two.grow_to(21));
        let mut other = budget.share_of(bob);
        assert!(other.grow_to(50) && !budget.share().grow_to(1));
        drop(one);
        assert!(two.grow_to(50));
        drop((two, other));
        assert!(budget.lock().owned.is_empty() && budget.used() == 0);
    }
}
