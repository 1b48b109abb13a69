//! The last hour of each room, and what its callers have used. Memory is taken from the hub's budget: where that does not
//! suffice, a room's history gets shorter. A room has a history from its first request or queue until it is deleted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::budget::{Budget, Share};
use crate::proto::history::{CallerUse, HistoryMinute};
use crate::proto::usage::Usage;
use crate::state::Now;
use crate::state::id::RoomCode;
use crate::state::selector::Caller;
use crate::state::stats::{Course, Ended, Ending};

/// The number of rooms with a history.
const MAX_ROOMS: usize = 1024;
/// The number of people of a room that are counted one by one.
const MAX_CALLERS: usize = 100;
/// The name under which the others are counted.
const OTHERS: &str = "*";
/// All histories take at most this fraction of the memory budget: one in so many bytes.
const BUDGET_FRACTION: u64 = 16;
/// Memory of a room, of a minute (with two histograms of the most buckets), and of a caller, in bytes.
const ROOM: u64 = 256;
const MINUTE: u64 = 2_560;
const CALLER: u64 = 256;

/// The histories of rooms.
pub struct HistoryTable {
    rooms: HashMap<RoomCode, History>,
    /// Memory that they take.
    share: Share,
    /// The most that they may take, in bytes.
    max_bytes: u64,
}

/// The history of one room.
#[derive(Default)]
struct History {
    course: Course,
    /// By the names of people with keys.
    people: BTreeMap<Arc<str>, Counts>,
    /// Clients without such a key.
    unnamed: Counts,
}

/// What a caller has used.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    input: u64,
    output: u64,
}

/// Something that is counted.
#[derive(Clone, Copy)]
pub enum Happening<'a> {
    /// A request that ended at a participant, of a caller, with its tokens.
    Ended(&'a Ended, &'a Caller, Usage),
    /// The number of requests in the queue.
    Queue(usize),
}

impl HistoryTable {
    /// No histories, which will take memory of the budget.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        HistoryTable { rooms: HashMap::new(), share: budget.share(), max_bytes: budget.total() / BUDGET_FRACTION }
    }

    /// Counts something in a room that has a history. False where it has none. `now` is in milliseconds on the monotonic
    /// clock.
    pub(crate) fn add(&mut self, room: &RoomCode, happening: Happening<'_>, now: u64) -> bool {
        let Some(history) = self.rooms.get_mut(room) else { return false };
        let mut reserve = |bytes| self.share.bytes() + bytes <= self.max_bytes && self.share.grow_by(bytes);
        let course = &mut history.course;
        // Where memory is short, the new minute takes that of the oldest one.
        let fits = !course.begins_minute(now) || reserve(MINUTE) || course.drop_oldest();
        match happening {
            Happening::Ended(ended, caller, tokens) => {
                if fits {
                    course.add(ended, now);
                }
                history.counts(caller, reserve).add(ended, tokens);
            }
            Happening::Queue(queued) if fits => course.add_queue(queued as u64, now),
            Happening::Queue(_) => {}
        }
        true
    }

    /// Counts something in a room, and begins its history unless there are too many. Callers hold the registry's lock, so
    /// that the room is there.
    pub(crate) fn begin(&mut self, room: &RoomCode, happening: Happening<'_>, now: u64) {
        if self.add(room, happening, now) {
            return;
        }
        if self.rooms.len() >= MAX_ROOMS || self.share.bytes() + ROOM > self.max_bytes {
            self.forget_idle();
        }
        let fits = self.rooms.len() < MAX_ROOMS && self.share.bytes() + ROOM <= self.max_bytes;
        if fits && self.share.grow_by(ROOM) {
            self.rooms.insert(room.clone(), History::default());
            self.add(room, happening, now);
        }
    }

    /// Removes the histories of rooms in which nothing has happened for an hour.
    fn forget_idle(&mut self) {
        self.rooms.retain(|_, history| !history.course.is_empty());
        self.settle();
    }

    /// Removes the history of a room that was deleted.
    pub(crate) fn forget(&mut self, room: &RoomCode) {
        if self.rooms.remove(room).is_some() {
            self.settle();
        }
    }

    /// Drops what is older than an hour. `now` is in milliseconds on the monotonic clock.
    pub(crate) fn evict_old(&mut self, now: u64) {
        self.rooms.values_mut().for_each(|history| history.course.evict_old(now));
        self.settle();
    }

    /// The last hour of a room by minutes, and what its callers have used.
    pub(crate) fn of(&self, room: &RoomCode, now: Now) -> (Vec<HistoryMinute>, Vec<CallerUse>) {
        let history = self.rooms.get(room);
        history.map(|history| (history.course.minutes(now), history.callers())).unwrap_or_default()
    }

    /// Returns the memory of what has been removed.
    fn settle(&mut self) {
        let kept = self.rooms.values().map(History::weight).sum();
        self.share.shrink_to(kept);
    }
}

impl History {
    /// The counts of a caller. `reserve` tells whether there is memory for one more.
    fn counts(&mut self, caller: &Caller, mut reserve: impl FnMut(u64) -> bool) -> &mut Counts {
        let Caller::Person(name) = caller else { return &mut self.unnamed };
        let is_new = !self.people.contains_key(name);
        let name = if is_new && (self.people.len() >= MAX_CALLERS || !reserve(CALLER)) {
            Arc::from(OTHERS)
        } else {
            name.clone()
        };
        self.people.entry(name).or_default()
    }

    fn weight(&self) -> u64 {
        ROOM + self.course.len() as u64 * MINUTE + self.people.len() as u64 * CALLER
    }

    /// What each caller has used, the one with the most tokens first.
    fn callers(&self) -> Vec<CallerUse> {
        let people = self.people.iter().map(|(name, counts)| counts.shown(Some(name)));
        let unnamed = (self.unnamed.requests > 0).then(|| self.unnamed.shown(None));
        let mut callers: Vec<CallerUse> = people.chain(unnamed).collect();
        let tokens = |caller: &CallerUse| caller.input_tokens.saturating_add(caller.output_tokens);
        callers.sort_by_key(|caller| std::cmp::Reverse((tokens(caller), caller.requests)));
        callers
    }
}

impl Counts {
    fn add(&mut self, ended: &Ended, tokens: Usage) {
        self.requests += 1;
        self.errors += u64::from(matches!(ended.ending, Ending::Failed | Ending::Rejected));
        self.input = self.input.saturating_add(tokens.input.unwrap_or(0));
        self.output = self.output.saturating_add(tokens.output.unwrap_or(0));
    }

    fn shown(&self, name: Option<&Arc<str>>) -> CallerUse {
        CallerUse {
            caller: name.map(ToString::to_string),
            requests: self.requests,
            errors: self.errors,
            input_tokens: self.input,
            output_tokens: self.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn ended() -> Ended {
        let time = Duration::from_millis(5);
        Ended { protocol: "messages", ending: Ending::Complete, ttft: time, duration: time, usage: Usage::default() }
    }

    fn room(number: usize) -> RoomCode {
        RoomCode::parse(&format!("{number:06}")).unwrap()
    }

    fn person(number: usize) -> Caller {
        Caller::Person(format!("p{number}").into())
    }

    fn request(table: &mut HistoryTable, code: &RoomCode, caller: &Caller, now: u64) {
        let tokens = Usage { input: Some(1), output: Some(2), total: None };
        table.begin(code, Happening::Ended(&ended(), caller, tokens), now);
    }

    #[test]
    fn callers_past_the_limit_are_counted_together() {
        let budget = Budget::new(1 << 24);
        let mut table = HistoryTable::new(&budget);
        for number in 0..MAX_CALLERS + 10 {
            request(&mut table, &room(1), &person(number), 0);
        }
        request(&mut table, &room(1), &Caller::Network([10, 0, 0, 1].into()), 0);
        let callers = table.rooms[&room(1)].callers();
        assert_eq!(
            (callers.len(), callers[0].caller.as_deref(), callers[0].requests),
            (MAX_CALLERS + 2, Some("*"), 10)
        );
        assert_eq!((callers[0].input_tokens, callers[0].output_tokens), (10, 20));
        assert!(callers.iter().any(|caller| caller.caller.is_none() && caller.requests == 1));
    }

    #[test]
    fn rooms_past_the_limit_have_no_history_until_another_is_idle_for_an_hour() {
        let budget = Budget::new(1 << 40);
        let mut table = HistoryTable::new(&budget);
        for number in 0..MAX_ROOMS + 10 {
            request(&mut table, &room(number), &person(1), 0);
        }
        assert_eq!(table.rooms.len(), MAX_ROOMS);
        let later = 70 * MINUTE_MS;
        request(&mut table, &room(5), &person(1), later);
        table.evict_old(later);
        request(&mut table, &room(MAX_ROOMS), &person(1), later);
        assert_eq!(table.rooms.len(), 2, "the idle ones have made place");
        table.forget(&room(5));
        table.forget(&room(MAX_ROOMS));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn where_memory_is_short_the_oldest_minutes_go() {
        let budget = Budget::new(BUDGET_FRACTION * 20 * MINUTE);
        let mut table = HistoryTable::new(&budget);
        for minute in 0..60 {
            for number in 0..100 {
                request(&mut table, &room(number), &person(number), minute * MINUTE_MS);
                table.begin(&room(number), Happening::Queue(3), minute * MINUTE_MS);
            }
            assert!(budget.used() <= 20 * MINUTE, "{} bytes", budget.used());
        }
        let minutes: usize = table.rooms.values().map(|history| history.course.len()).sum();
        assert!((5..20).contains(&minutes), "{minutes} minutes");
    }
}
