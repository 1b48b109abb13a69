//! Which participant made which response, so that later requests about a response are routed to it. The oldest entries are
//! evicted: first those of a room with too many, so that no room can evict those of all others.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::budget::{Budget, Share};
use crate::state::registry::Picked;
use crate::sync::lock;

/// The most responses that are recorded of one room.
const MAX_ROOM_ENTRIES: usize = 10_000;
/// A room takes at most this fraction of the table: one in so many entries and bytes.
const ROOM_FRACTION: usize = 4;
/// The most responses that are recorded of all rooms.
const MAX_ENTRIES: usize = ROOM_FRACTION * MAX_ROOM_ENTRIES;
/// The longest id that is recorded, in bytes. Providers' ids have about fifty.
const MAX_ID: usize = 256;
/// The table takes at most this fraction of the memory budget: one in so many bytes.
const BUDGET_FRACTION: u64 = 8;
/// Memory of an entry beside its texts, in bytes.
const ENTRY: usize = 256;

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
    rooms: HashMap<RoomNumber, RoomOwners>,
    /// The rooms of all entries, by the entries' numbers; older entries have lower ones.
    by_age: BTreeMap<u64, RoomNumber>,
    /// The number of the newest entry.
    last: u64,
    /// Memory that the entries take.
    share: Share,
    /// The most that they may take, in bytes.
    max_bytes: u64,
}

/// A room's code as a number.
type RoomNumber = u64;

#[derive(Default)]
struct RoomOwners {
    /// By response id.
    owners: HashMap<Arc<str>, ResponseOwner>,
    /// Numbers and ids, the oldest first.
    order: VecDeque<(u64, Arc<str>)>,
    /// Memory that they take.
    bytes: u64,
}

impl ResponseOwners {
    /// An empty table, whose entries take memory of the budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let table = OwnerTable {
            rooms: HashMap::new(),
            by_age: BTreeMap::new(),
            last: 0,
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
        let room = number(picked.code.as_str());
        let mut table = self.lock();
        match table.rooms.get_mut(&room).and_then(|entries| entries.owners.get_mut(response)) {
            Some(first) if first.serial == owner.serial => *first = owner,
            Some(_) => {}
            None => table.add(room, response.into(), owner),
        }
    }

    fn owner(&self, picked: &Picked, translated: bool) -> ResponseOwner {
        let (serial, endpoint) = (picked.serial, self.hasher.hash_one(&picked.profile.endpoint));
        ResponseOwner { serial, participant: picked.id.shared(), endpoint, translated }
    }

    /// The owner of a room's response.
    pub(crate) fn of(&self, room: &str, response: &str) -> Option<ResponseOwner> {
        self.lock().rooms.get(&number(room))?.owners.get(response).cloned()
    }

    /// Whether the participant is the owner, and still has the same provider.
    pub(crate) fn is_by(&self, owner: &ResponseOwner, picked: &Picked) -> bool {
        *owner == self.owner(picked, owner.translated)
    }

    /// Removes the entries of members that have left.
    pub(crate) fn forget(&self, serials: &[u64]) {
        if serials.is_empty() {
            return;
        }
        let gone: HashSet<u64> = serials.iter().copied().collect();
        let mut table = self.lock();
        let OwnerTable { rooms, by_age, share, .. } = &mut *table;
        rooms.retain(|_, room| {
            let before = room.owners.len();
            room.owners.retain(|_, owner| !gone.contains(&owner.serial));
            if room.owners.len() < before {
                room.forget_removed(by_age);
            }
            !room.owners.is_empty()
        });
        share.shrink_to(rooms.values().map(|room| room.bytes).sum());
    }
}

impl RoomOwners {
    /// Follows the removal of some owners.
    fn forget_removed(&mut self, by_age: &mut BTreeMap<u64, RoomNumber>) {
        let RoomOwners { owners, order, bytes } = self;
        order.retain(|(number, id)| owners.contains_key(id) || by_age.remove(number).is_none());
        *bytes = owners.iter().map(|(id, owner)| weight(id, owner)).sum();
    }
}

impl OwnerTable {
    /// Adds a new entry. The oldest are evicted past the limits: the room's own where it takes too much, or else the oldest of all.
    /// Where even that frees too little memory, nothing is added.
    fn add(&mut self, room: RoomNumber, id: Arc<str>, owner: ResponseOwner) {
        let more = weight(&id, &owner);
        loop {
            let evicted = if self.is_room_full(room, more) {
                room
            } else if self.reserve(more) {
                break;
            } else {
                let Some((_, &oldest)) = self.by_age.first_key_value() else { return };
                oldest
            };
            self.evict(evicted);
        }
        self.last += 1;
        self.by_age.insert(self.last, room);
        let entries = self.rooms.entry(room).or_default();
        entries.order.push_back((self.last, id.clone()));
        entries.owners.insert(id, owner);
        entries.bytes += more;
    }

    fn is_room_full(&self, room: RoomNumber, more: u64) -> bool {
        self.rooms.get(&room).is_some_and(|entries| {
            entries.order.len() >= MAX_ROOM_ENTRIES || entries.bytes + more > self.max_bytes / ROOM_FRACTION as u64
        })
    }

    /// Takes memory for one more entry; false past the limits.
    fn reserve(&mut self, more: u64) -> bool {
        let fits = self.by_age.len() < MAX_ENTRIES && self.share.bytes() + more <= self.max_bytes;
        fits && self.share.grow_by(more)
    }

    /// Removes a room's oldest entry.
    fn evict(&mut self, room: RoomNumber) {
        let Some(entries) = self.rooms.get_mut(&room) else { return };
        if let Some((number, id)) = entries.order.pop_front() {
            self.by_age.remove(&number);
            let freed = entries.owners.remove(&id).map_or(0, |owner| weight(&id, &owner));
            entries.bytes -= freed;
            self.share.shrink_to(self.share.bytes() - freed);
        }
        if entries.order.is_empty() {
            self.rooms.remove(&room);
        }
    }
}

/// A room's code as a number: it has six bytes.
fn number(room: &str) -> RoomNumber {
    room.bytes().fold(0, |number, byte| number << 8 | u64::from(byte))
}

fn weight(id: &str, owner: &ResponseOwner) -> u64 {
    (ENTRY + id.len() + owner.participant.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "ABC234";

    fn fill(table: &mut OwnerTable, room: &str, count: usize) {
        for n in 0..count {
            let owner =
                ResponseOwner { serial: n as u64 % 2, participant: "ann".into(), endpoint: 0, translated: false };
            table.add(number(room), format!("resp_{n}").into(), owner);
        }
        check(table);
    }

    fn check(table: &OwnerTable) {
        let rooms = table.rooms.values();
        assert!(rooms.clone().all(|room| room.order.len() == room.owners.len() && !room.order.is_empty()));
        assert_eq!(rooms.clone().map(|room| room.order.len()).sum::<usize>(), table.by_age.len());
        assert_eq!(rooms.map(|room| room.bytes).sum::<u64>(), table.share.bytes());
    }

    #[test]
    fn the_oldest_responses_and_those_of_a_departed_owner_are_evicted() {
        let budget = Budget::new(u64::MAX);
        let response_owners = ResponseOwners::new(&budget);
        fill(&mut response_owners.lock(), ROOM, MAX_ROOM_ENTRIES + 1);
        assert!(response_owners.of(ROOM, "resp_0").is_none());
        assert!(response_owners.of("XYZ234", "resp_1").is_none(), "rooms do not share responses");
        let before = budget.used();
        response_owners.forget(&[1]);
        assert!(response_owners.of(ROOM, "resp_1").is_none() && response_owners.of(ROOM, "resp_2").is_some());
        check(&response_owners.lock());
        assert!(budget.used() > before / 3 && budget.used() < before * 2 / 3);
        response_owners.forget(&[0]);
        assert!(response_owners.lock().rooms.is_empty() && budget.used() == 0);
    }

    #[test]
    fn a_room_with_many_responses_evicts_no_other_rooms() {
        let budget = Budget::new(u64::MAX);
        let response_owners = ResponseOwners::new(&budget);
        fill(&mut response_owners.lock(), "XYZ234", 1);
        fill(&mut response_owners.lock(), ROOM, MAX_ENTRIES + 1);
        assert!(response_owners.of("XYZ234", "resp_0").is_some());
        assert!(response_owners.of(ROOM, &format!("resp_{MAX_ENTRIES}")).is_some());
        for room in ["AAA234", "BBB234", "CCC234"] {
            fill(&mut response_owners.lock(), room, MAX_ROOM_ENTRIES);
        }
        assert!(response_owners.of("XYZ234", "resp_0").is_none(), "the oldest one of all");
        assert_eq!(response_owners.lock().by_age.len(), MAX_ENTRIES);
    }

    #[test]
    fn the_table_is_bounded_by_the_memory_budget_too() {
        let budget = Budget::new(80_000);
        let response_owners = ResponseOwners::new(&budget);
        fill(&mut response_owners.lock(), "XYZ234", 1);
        fill(&mut response_owners.lock(), ROOM, 1000);
        assert!(response_owners.of(ROOM, "resp_999").is_some() && response_owners.of(ROOM, "resp_0").is_none());
        assert!(response_owners.of("XYZ234", "resp_0").is_some());
        assert!(budget.used() > 2_000 && budget.used() <= 10_000 / 4 + 300, "{}", budget.used());
        drop(response_owners);
        assert_eq!(budget.used(), 0);
    }
}
