//! Which participant answered a conversation last, so that its next turn finds the earlier ones in that participant's
//! cache. Only hashes are kept, of a fixed number of requests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

/// The most requests that are kept of all rooms; an entry takes about 100 bytes.
const MAX_ENTRIES: usize = 16_384;
/// The most requests that are kept of one room.
const MAX_ROOM_ENTRIES: usize = 2048;
/// How many messages of a request, counted from its end, may be new since the request that it continues.
const MAX_NEW: usize = 64;
/// How much of each end of a message is hashed, in bytes. Of a longer one its length stands for the rest: two that differ in nothing
/// else would at worst be sent to the same participant.
const HASHED_END: usize = 2 << 10;

/// The hashes of a request's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// Of all of them; `None` where there is nothing that a later request can continue.
    whole: Option<u64>,
    /// Of those without the last one, without the last two, and so on.
    earlier: Vec<u64>,
}

impl Turns {
    /// Hashes messages, each as the client spelled it in JSON. `hasher` has taken in what else two requests of one conversation
    /// have in common.
    pub fn of(messages: &[&str], mut hasher: impl Hasher) -> Self {
        let first = messages.len().saturating_sub(MAX_NEW + 1);
        let mut earlier = VecDeque::new();
        for (index, message) in messages.iter().enumerate() {
            hash_message(message.as_bytes(), &mut hasher);
            if index >= first {
                earlier.push_front(hasher.finish());
            }
        }
        Turns { whole: earlier.pop_front(), earlier: earlier.into() }
    }
}

fn hash_message(message: &[u8], hasher: &mut impl Hasher) {
    hasher.write_usize(message.len());
    if message.len() <= 2 * HASHED_END {
        return hasher.write(message);
    }
    hasher.write(&message[..HASHED_END]);
    hasher.write(&message[message.len() - HASHED_END..]);
}

/// The participant and the model that answered a conversation last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    serial: u64,
    /// A hash of the model's name.
    model: u64,
}

impl Previous {
    /// The member with this serial and its provider's name of the model.
    pub fn new(serial: u64, model: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(model.as_bytes());
        Previous { serial, model: hasher.finish() }
    }
}

/// Who answered which conversation, by room. The oldest entries are evicted: first those of a room with too many.
#[derive(Debug, Default)]
pub struct Conversations {
    /// By the room's number.
    rooms: HashMap<u64, RoomEntries>,
    /// The rooms of all entries, by the entries' numbers; older entries have lower ones.
    by_age: BTreeMap<u64, u64>,
    /// The number of the newest entry.
    last: u64,
}

#[derive(Debug, Default)]
struct RoomEntries {
    /// By the hash of the request's messages.
    answered: HashMap<u64, Previous>,
    /// Numbers and hashes, the oldest first.
    order: VecDeque<(u64, u64)>,
}

impl Conversations {
    /// Records who answered a request in the room with this number.
    pub fn record(&mut self, room: u64, turns: &Turns, by: Previous) {
        let Some(hash) = turns.whole else { return };
        let entries = self.rooms.entry(room).or_default();
        if entries.answered.insert(hash, by).is_some() {
            return;
        }
        self.last += 1;
        entries.order.push_back((self.last, hash));
        let is_full = entries.order.len() > MAX_ROOM_ENTRIES;
        self.by_age.insert(self.last, room);
        if is_full {
            self.evict(room);
        } else if self.by_age.len() > MAX_ENTRIES {
            // The oldest entry of all is the oldest one of its room.
            let oldest = self.by_age.first_key_value().map(|(_, &room)| room);
            oldest.into_iter().for_each(|room| self.evict(room));
        }
    }

    /// Who answered the longest part of a request's messages that was a request itself.
    pub fn previous(&self, room: u64, turns: &Turns) -> Option<Previous> {
        let entries = self.rooms.get(&room)?;
        turns.earlier.iter().find_map(|hash| entries.answered.get(hash)).copied()
    }

    /// Removes a room's oldest entry.
    fn evict(&mut self, room: u64) {
        let Some(entries) = self.rooms.get_mut(&room) else { return };
        if let Some((number, hash)) = entries.order.pop_front() {
            entries.answered.remove(&hash);
            self.by_age.remove(&number);
        }
        if entries.order.is_empty() {
            self.rooms.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use super::*;

    fn turns(caller: &str, messages: &[String]) -> Turns {
        let mut hasher = DefaultHasher::new();
        caller.hash(&mut hasher);
        Turns::of(&messages.iter().map(String::as_str).collect::<Vec<_>>(), hasher)
    }

    fn messages(count: usize) -> Vec<String> {
        (0..count).map(|n| format!(r#"{{"role":"user","content":"{n}, [\"x\"]"}}"#)).collect()
    }

    fn by(serial: u64) -> Previous {
        Previous::new(serial, "m")
    }

    #[test]
    fn a_request_continues_the_longest_of_those_that_it_begins_with() {
        let mut conversations = Conversations::default();
        for (count, serial) in [(1, 1), (3, 3), (5, 5)] {
            conversations.record(7, &turns("ann", &messages(count)), by(serial));
        }
        let previous = |room, caller, count| conversations.previous(room, &turns(caller, &messages(count)));
        let found = [1, 2, 3, 4, 5, 6, 5 + MAX_NEW].map(|count| previous(7, "ann", count).map(|by| by.serial));
        assert_eq!(found, [None, Some(1), Some(1), Some(3), Some(3), Some(5), Some(5)]);
        assert_eq!(previous(7, "bob", 6), None, "another caller");
        assert_eq!(previous(8, "ann", 6), None, "another room");
        assert_eq!(previous(7, "ann", 6 + MAX_NEW), None, "too many new messages");
        let mut edited = messages(2);
        edited[0] = edited[0].replace("user", "system");
        assert_eq!(conversations.previous(7, &turns("ann", &edited)), None);
    }

    #[test]
    fn a_long_message_is_known_by_its_length_and_its_ends() {
        let of = |text: &[u8]| turns("ann", &[String::from_utf8(text.to_vec()).unwrap()]);
        for length in [1, 2 * HASHED_END, 2 * HASHED_END + 1, 9 * HASHED_END] {
            let mut text = vec![b'x'; length];
            let same = of(&text);
            assert_ne!(same, of(&[&text[..], b"x"].concat()), "{length}");
            for at in [0, length.min(HASHED_END) - 1, length - length.min(HASHED_END), length - 1] {
                text[at] = b'y';
                assert_ne!(same, of(&text), "{at} of {length}");
                text[at] = b'x';
            }
            assert_eq!(same, of(&text));
        }
    }

    #[test]
    fn where_a_message_ends_counts() {
        let messages = |texts: [&str; 2]| turns("ann", &texts.map(str::to_owned));
        assert_ne!(messages(["ab", "c"]).whole, messages(["a", "bc"]).whole);
    }

    #[test]
    fn a_request_without_messages_is_never_continued() {
        let mut conversations = Conversations::default();
        assert_eq!(turns("ann", &[]), Turns::default());
        conversations.record(1, &turns("ann", &[]), by(1));
        assert!(conversations.by_age.is_empty() && conversations.rooms.is_empty());
    }

    #[test]
    fn a_request_has_a_fixed_number_of_hashes() {
        assert_eq!(turns("ann", &messages(1000)).earlier.len(), MAX_NEW);
    }

    fn one(hash: u64) -> Turns {
        Turns { whole: Some(hash), earlier: vec![hash] }
    }

    fn check(conversations: &Conversations) {
        let sizes = conversations.rooms.values().map(|room| (room.answered.len(), room.order.len()));
        assert!(sizes.clone().all(|(answered, order)| answered == order && (1..=MAX_ROOM_ENTRIES).contains(&order)));
        assert_eq!(sizes.map(|(_, order)| order).sum::<usize>(), conversations.by_age.len());
        assert!(conversations.by_age.len() <= MAX_ENTRIES);
    }

    #[test]
    fn a_room_evicts_its_own_oldest_entries() {
        let mut conversations = Conversations::default();
        conversations.record(2, &one(0), by(1));
        for hash in 0..MAX_ROOM_ENTRIES as u64 + 10 {
            conversations.record(1, &one(hash), by(1));
            conversations.record(1, &one(hash), by(2));
        }
        check(&conversations);
        assert_eq!((conversations.previous(1, &one(9)), conversations.previous(1, &one(10))), (None, Some(by(2))));
        assert_eq!(conversations.previous(2, &one(0)), Some(by(1)));
    }

    #[test]
    fn all_rooms_together_evict_the_oldest_entry() {
        let mut conversations = Conversations::default();
        for n in 0..MAX_ENTRIES as u64 + 10 {
            conversations.record(n % 100 * u64::from(n >= 5), &one(n), by(n));
        }
        check(&conversations);
        assert_eq!(conversations.by_age.len(), MAX_ENTRIES);
        assert_eq!((conversations.previous(9, &one(9)), conversations.previous(10, &one(10))), (None, Some(by(10))));
        assert!(conversations.previous(0, &one(0)).is_none());
    }
}
