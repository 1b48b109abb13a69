//! Which participant made which response, so that later requests about a response are routed to it. The oldest entries are
//! evicted.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::budget::{Budget, Share};
use crate::state::registry::Picked;
use crate::sync::lock;

/// The most responses that are recorded.
const MAX_ENTRIES: usize = 10_000;
/// The longest id that is recorded, in bytes. Providers' ids have about fifty.
const MAX_ID: usize = 256;
/// The table takes at most this fraction of the memory budget: one in so many bytes.
const BUDGET_FRACTION: u64 = 8;
/// Memory of an entry beside its texts, in bytes.
const ENTRY: usize = 192;

/// The participant that made a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseOwner {
    /// The member's number. A participant that leaves and joins again gets another one.
    pub(crate) serial: u64,
    /// The participant's id.
    pub(crate) participant: Arc<str>,
    /// A keyed hash of its endpoint: after a change of provider, the response is not there any more.
    endpoint: u64,
    /// Whether the hub made the response from a chat completion, so that the provider does not have it.
    pub(crate) translated: bool,
}

/// The owners of responses, by room and response id.
pub struct ResponseOwners {
    table: Mutex<OwnerTable>,
    hasher: RandomState,
}

struct OwnerTable {
    owners: HashMap<Arc<str>, ResponseOwner>,
    /// Keys, the oldest first.
    order: VecDeque<Arc<str>>,
    /// Memory that the entries take.
    share: Share,
    /// The most that they may take, in bytes.
    max_bytes: u64,
}

impl ResponseOwners {
    /// An empty table, whose entries take memory of the budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let table = OwnerTable {
            owners: HashMap::new(),
            order: VecDeque::new(),
            share: budget.share(),
            max_bytes: budget.total() / BUDGET_FRACTION,
        };
        ResponseOwners { table: Mutex::new(table), hasher: RandomState::new() }
    }

    fn lock(&self) -> MutexGuard<'_, OwnerTable> {
        lock(&self.table)
    }

    /// Records which participant made a response. An id that is recorded already keeps its owner, so that no participant can
    /// take over another one's response.
    pub(crate) fn record(&self, picked: &Picked, response: &str, translated: bool) {
        if response.len() > MAX_ID {
            return;
        }
        let owner = self.owner(picked, translated);
        let key = key(picked.code.as_str(), response);
        let mut table = self.lock();
        match table.owners.get_mut(&*key) {
            Some(first) if first.serial == owner.serial => *first = owner,
            Some(_) => {}
            None => table.add(key.into(), owner),
        }
    }

    fn owner(&self, picked: &Picked, translated: bool) -> ResponseOwner {
        let (serial, endpoint) = (picked.serial, self.hasher.hash_one(&picked.profile.endpoint));
        ResponseOwner { serial, participant: picked.id.shared(), endpoint, translated }
    }

    /// The owner of a room's response.
    pub(crate) fn of(&self, room: &str, response: &str) -> Option<ResponseOwner> {
        self.lock().owners.get(&*key(room, response)).cloned()
    }

    /// Whether the participant is the owner, and still has the same provider.
    pub(crate) fn is_by(&self, owner: &ResponseOwner, picked: &Picked) -> bool {
        *owner == self.owner(picked, owner.translated)
    }

    /// Removes the entries of a member that has left.
    pub(crate) fn forget(&self, serial: u64) {
        let mut table = self.lock();
        let OwnerTable { owners, order, share, .. } = &mut *table;
        owners.retain(|_, owner| owner.serial != serial);
        order.retain(|key| owners.contains_key(key));
        let kept = owners.iter().map(|(key, owner)| weight(key, owner)).sum();
        share.shrink_to(kept);
    }
}

impl OwnerTable {
    /// Adds a new entry. The oldest are evicted past the limits; where even that frees too little memory, nothing is added.
    fn add(&mut self, key: Arc<str>, owner: ResponseOwner) {
        let more = weight(&key, &owner);
        let fits = |table: &Self| table.order.len() < MAX_ENTRIES && table.share.bytes() + more <= table.max_bytes;
        while !(fits(self) && self.share.grow_by(more)) {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(owner) = self.owners.remove(&oldest) {
                self.share.shrink_to(self.share.bytes() - weight(&oldest, &owner));
            }
        }
        self.order.push_back(key.clone());
        self.owners.insert(key, owner);
    }
}

/// The table's key. It is unambiguous, since room codes have no slash.
fn key(room: &str, response: &str) -> String {
    format!("{room}/{response}")
}

fn weight(key: &str, owner: &ResponseOwner) -> u64 {
    (ENTRY + key.len() + owner.participant.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64, budget: &Arc<Budget>) -> OwnerTable {
        let response_owners = ResponseOwners::new(budget);
        let mut table = response_owners.table.into_inner().unwrap();
        for n in 0..count {
            let owner = ResponseOwner { serial: n % 2, participant: "ann".into(), endpoint: 0, translated: false };
            table.add(key("ABC234", &format!("resp_{n}")).into(), owner);
        }
        table
    }

    #[test]
    fn the_oldest_responses_and_those_of_a_departed_owner_are_evicted() {
        let budget = Budget::new(u64::MAX);
        let table = filled(MAX_ENTRIES as u64 + 1, &budget);
        let response_owners = ResponseOwners { table: Mutex::new(table), hasher: RandomState::new() };
        assert!(response_owners.of("ABC234", "resp_0").is_none());
        assert!(response_owners.of("XYZ234", "resp_1").is_none(), "rooms do not share responses");
        let before = budget.used();
        response_owners.forget(1);
        assert!(response_owners.of("ABC234", "resp_1").is_none() && response_owners.of("ABC234", "resp_2").is_some());
        let table = response_owners.lock();
        assert_eq!(table.order.len(), table.owners.len());
        assert!(budget.used() > before / 3 && budget.used() < before * 2 / 3);
    }

    #[test]
    fn the_table_is_bounded_by_the_memory_budget_too() {
        let budget = Budget::new(80_000);
        let table = filled(1000, &budget);
        assert!(table.owners.len() > 20 && table.owners.len() < 60 && budget.used() <= 10_000);
        assert!(table.owners.contains_key("ABC234/resp_999") && !table.owners.contains_key("ABC234/resp_0"));
        drop(table);
        assert_eq!(budget.used(), 0);
    }
}
