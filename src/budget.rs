//! A common bound on the memory that peers can make this process allocate.
//!
//! Code that buffers such bytes acquires a [`Share`] of the [`Budget`] and grows it as the bytes arrive; dropping the
//! share releases them. A share may have an owner, which is a client's network. Each owner is limited to a fraction of
//! the budget, by default half, so that one client cannot exhaust it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sync::lock;

/// The default limit of one owner is the budget divided by this.
const OWNER_PARTS: u64 = 2;

/// This fraction of the budget, 1/`RESERVE_PARTS`, is reserved for small holders, so that a few large requests cannot make
/// ordinary ones fail.
const RESERVE_PARTS: u64 = 4;
/// A small holder has at most 1/`SMALL_PARTS` of the budget.
const SMALL_PARTS: u64 = 16;

/// A number of bytes, and how many of them are in use.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    owner_limit: u64,
    /// Bytes reserved for small holders.
    reserved: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: u64,
    /// Bytes by owner. Owners without bytes have no entry.
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
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Budget {
            total: bytes,
            owner_limit: bytes / OWNER_PARTS,
            reserved: bytes / RESERVE_PARTS,
            used: Mutex::default(),
        })
    }

    /// A budget of `bytes`, of which one owner may hold 1/`parts`. Nothing is reserved for small holders.
    pub fn in_parts(bytes: u64, parts: u64) -> Arc<Self> {
        Arc::new(Budget { total: bytes, owner_limit: bytes / parts, reserved: 0, used: Mutex::default() })
    }

    /// An empty share without an owner. It can grow to the whole budget less the reserve for small holders.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), owner: None, bytes: 0 }
    }

    /// An empty share with an owner. The owner's limit applies to the sum of its shares.
    pub fn share_of(self: &Arc<Self>, owner: IpAddr) -> Share {
        Share { budget: self.clone(), owner: Some(owner), bytes: 0 }
    }

    /// The limit of one owner, bytes.
    pub fn owner_limit(&self) -> u64 {
        self.owner_limit
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
        lock(&self.used)
    }

    fn take(&self, owner: Option<IpAddr>, held: u64, bytes: u64) -> bool {
        let mut used = self.lock();
        let owned = owner.map(|owner| used.of(owner));
        let taken = self.fits(used.all, owned, held, bytes);
        if taken {
            used.all += bytes;
            if let Some(owner) = owner {
                *used.owned.entry(owner).or_default() += bytes;
            }
        }
        taken
    }

    /// Whether a holder of `held` bytes gets so many more. `owned`: what its owner holds, if it has one.
    fn fits(&self, all: u64, owned: Option<u64>, held: u64, bytes: u64) -> bool {
        let fits = |used: u64, most: u64| used.checked_add(bytes).is_some_and(|sum| sum <= most);
        let is_small = fits(owned.unwrap_or(held), self.total / SMALL_PARTS);
        let most = if is_small { self.total } else { self.total - self.reserved };
        fits(all, most) && owned.is_none_or(|owned| fits(owned, self.owner_limit))
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

impl Used {
    fn of(&self, owner: IpAddr) -> u64 {
        self.owned.get(&owner).copied().unwrap_or(0)
    }
}

impl Share {
    /// Whether more than three quarters of the budget, or of the owner's limit, are in use.
    pub fn is_tight(&self) -> bool {
        let used = self.budget.lock();
        let tight = |used: u64, most: u64| used > most / 4 * 3;
        let Budget { total, owner_limit, .. } = *self.budget;
        tight(used.all, total) || self.owner.is_some_and(|owner| tight(used.of(owner), owner_limit))
    }

    /// The size of the share, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows the share to at least `bytes`. Returns false, and changes nothing, where the budget does not suffice.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        self.grow_by(bytes.saturating_sub(self.bytes))
    }

    /// Grows the share by `bytes`. Returns false, and changes nothing, where the budget does not suffice.
    #[must_use]
    pub fn grow_by(&mut self, bytes: u64) -> bool {
        let grown = bytes == 0 || self.budget.take(self.owner, self.bytes, bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Releases what the share holds beyond `bytes`.
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
    fn shares_are_bounded_together_and_released() {
        let budget = Budget::in_parts(100, 2);
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
    fn no_owner_exceeds_its_limit() {
        let budget = Budget::in_parts(100, 2);
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

    #[test]
    fn the_last_quarter_is_reserved_for_small_holders() {
        let budget = Budget::new(160);
        let [ann, bob, eve] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let (mut one, mut two, mut three) = (budget.share_of(ann), budget.share_of(bob), budget.share());
        assert!(one.grow_to(80) && two.grow_to(30) && three.grow_to(10));
        assert!(!two.grow_by(1) && !three.grow_by(1), "they are no small holders");
        let mut small = [budget.share_of(eve), budget.share()];
        assert!(small.iter_mut().all(|share| share.grow_to(10) && !share.grow_by(1)));
        let mut others = budget.share_of(eve);
        assert!(!others.grow_to(1), "the shares of one owner count together");
    }

    #[test]
    fn a_share_is_tight_once_its_owner_has_used_most_of_its_part() {
        let budget = Budget::in_parts(100, 4);
        let (mut ann, bob) =
            (budget.share_of(IpAddr::from([10, 0, 0, 1])), budget.share_of(IpAddr::from([10, 0, 0, 2])));
        assert!(!ann.grow_to(26) && ann.grow_to(19));
        assert!(ann.is_tight() && !bob.is_tight() && !budget.share().is_tight());
        let mut rest = budget.share();
        assert!(rest.grow_to(60) && bob.is_tight());
    }
}
