//! Which participant made which response, so that later requests about it find the way.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::{Budget, Share};
use crate::state::registry::Picked;

/// Responses that a hub remembers; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// The longest id that is remembered, in bytes. Providers' own have about fifty.
const LONGEST_ID: usize = 256;
/// The part of the budget that they may take.
const PART: u64 = 8;
/// What remembering one takes beside its texts, in bytes.
const ENTRY: usize = 192;

/// Who made a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseOwner {
    /// The member's number: one who left and came back does not know it any more.
    pub(crate) serial: u64,
    /// Its id.
    pub(crate) participant: Arc<str>,
    /// A keyed hash of the endpoint that it had: whoever joins again with another provider does not know it any more.
    endpoint: u64,
    /// Whether the hub put it together from a chat, so that the provider knows nothing of it.
    pub(crate) translated: bool,
}

/// Who made which response, by room and response id.
pub struct ResponseOwners {
    known: Mutex<Known>,
    hasher: RandomState,
}

struct Known {
    response_owners: HashMap<Arc<str>, ResponseOwner>,
    order: VecDeque<Arc<str>>,
    /// Memory that they take.
    share: Share,
    /// The most that they may take, bytes.
    most: u64,
}

impl ResponseOwners {
    /// Nobody yet; what is remembered takes memory of the budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let known = Known {
            response_owners: HashMap::new(),
            order: VecDeque::new(),
            share: budget.share(),
            most: budget.total() / PART,
        };
        ResponseOwners { known: Mutex::new(known), hasher: RandomState::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers who made a response. One that is known stays with whoever made it, as long as that one is there.
    pub(crate) fn remember(&self, picked: &Picked, response: &str, translated: bool) {
        if response.len() > LONGEST_ID {
            return;
        }
        let owner = self.owner(picked, translated);
        let key = key(picked.code.as_str(), response);
        let mut known = self.lock();
        match known.response_owners.get_mut(&*key) {
            Some(first) if first.serial == owner.serial => *first = owner,
            Some(_) => {}
            None => known.add(key.into(), owner),
        }
    }

    fn owner(&self, picked: &Picked, translated: bool) -> ResponseOwner {
        let (serial, endpoint) = (picked.serial, self.hasher.hash_one(&picked.profile.endpoint));
        ResponseOwner { serial, participant: picked.id.as_str().into(), endpoint, translated }
    }

    pub(crate) fn of(&self, room: &str, response: &str) -> Option<ResponseOwner> {
        self.lock().response_owners.get(&*key(room, response)).cloned()
    }

    /// Whether a participant still has the provider that made a response.
    pub(crate) fn is_by(&self, owner: &ResponseOwner, picked: &Picked) -> bool {
        *owner == self.owner(picked, owner.translated)
    }

    /// Forgets what a member made that has left.
    pub(crate) fn forget(&self, serial: u64) {
        let mut known = self.lock();
        let Known { response_owners, order, share, .. } = &mut *known;
        response_owners.retain(|_, owner| owner.serial != serial);
        order.retain(|key| response_owners.contains_key(key));
        let kept = response_owners.iter().map(|(key, owner)| weight(key, owner)).sum();
        share.shrink_to(kept);
    }
}

impl Known {
    /// Adds one that is new, in the place of the oldest where there are as many as may be, or no memory for more.
    fn add(&mut self, key: Arc<str>, owner: ResponseOwner) {
        let more = weight(&key, &owner);
        let fits = |known: &Self| known.order.len() < REMEMBERED && known.share.bytes() + more <= known.most;
        while !(fits(self) && self.share.grow_by(more)) {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(owner) = self.response_owners.remove(&oldest) {
                self.share.shrink_to(self.share.bytes() - weight(&oldest, &owner));
            }
        }
        self.order.push_back(key.clone());
        self.response_owners.insert(key, owner);
    }
}

/// Room codes have no slash.
fn key(room: &str, response: &str) -> String {
    format!("{room}/{response}")
}

fn weight(key: &str, owner: &ResponseOwner) -> u64 {
    (ENTRY + key.len() + owner.participant.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(count: u64, budget: &Arc<Budget>) -> Known {
        let response_owners = ResponseOwners::new(budget);
        let mut known = response_owners.known.into_inner().unwrap();
        for n in 0..count {
            let owner = ResponseOwner { serial: n % 2, participant: "ann".into(), endpoint: 0, translated: false };
            known.add(key("ABC234", &format!("resp_{n}")).into(), owner);
        }
        known
    }

    #[test]
    fn the_oldest_are_forgotten_and_those_whose_maker_left() {
        let budget = Budget::new(u64::MAX);
        let known = known(REMEMBERED as u64 + 1, &budget);
        let response_owners = ResponseOwners { known: Mutex::new(known), hasher: RandomState::new() };
        assert!(response_owners.of("ABC234", "resp_0").is_none());
        assert!(response_owners.of("XYZ234", "resp_1").is_none(), "rooms do not share responses");
        let before = budget.used();
        response_owners.forget(1);
        assert!(response_owners.of("ABC234", "resp_1").is_none() && response_owners.of("ABC234", "resp_2").is_some());
        let known = response_owners.lock();
        assert_eq!(known.order.len(), known.response_owners.len());
        assert!(budget.used() > before / 3 && budget.used() < before * 2 / 3);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_memory_too() {
        let budget = Budget::new(80_000);
        let known = known(1000, &budget);
        assert!(known.response_owners.len() > 20 && known.response_owners.len() < 60 && budget.used() <= 10_000);
        assert!(
            known.response_owners.contains_key("ABC234/resp_999")
                && !known.response_owners.contains_key("ABC234/resp_0")
        );
        drop(known);
        assert_eq!(budget.used(), 0);
    }
}
