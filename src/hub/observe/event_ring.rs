//! The recent events of one stream, for all that watch it: one bounded ring of batches, read by cursor. No I/O, no waiting.
//!
//! Events are gathered into a batch, which is sealed before watchers are woken; so an event is encoded once, and each watcher
//! writes whole batches. A batch is kept until all who may read it have read it, or the ring is full: a watcher whose next
//! batch is gone has fallen behind.

use std::collections::VecDeque;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use crate::budget::{Budget, Share};

/// The size of a ring, bytes. A batch that is alone may be longer.
const MAX_BYTES: usize = 1 << 20;
/// The size of a batch, bytes. A single event may be longer. Watchers are woken early once a batch has this size, which leaves
/// them most of the ring to catch up.
const MAX_BATCH: usize = 64 << 10;

/// A ring of batches.
pub struct EventRing {
    /// Events that were added since the last batch was sealed.
    open: String,
    /// Sealed batches, oldest first.
    batches: VecDeque<Batch>,
    /// The number of the oldest batch.
    first: u64,
    /// Bytes of the sealed batches.
    bytes: usize,
    readers: usize,
    closed: bool,
    /// Charged with the sealed batches.
    memory: Arc<Budget>,
}

/// Encoded events that are written together. They are charged to the memory budget until the last watcher has written them:
/// one that does not read holds them longer than the ring does.
#[derive(Debug)]
pub struct Events {
    text: String,
    _share: Share,
}

impl Deref for Events {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Events {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Events {}

struct Batch {
    events: Arc<Events>,
    /// Readers that have yet to read it.
    unread: usize,
}

/// What a reader finds at its cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The next batch; the cursor is behind it now.
    Batch(Arc<Events>),
    /// Nothing yet.
    Empty,
    /// Nothing any more: the ring was closed, or the reader has fallen behind.
    End,
}

impl EventRing {
    /// An empty ring that charges the memory budget.
    pub fn new(memory: Arc<Budget>) -> Self {
        EventRing {
            open: String::new(),
            batches: VecDeque::new(),
            first: 0,
            bytes: 0,
            readers: 0,
            closed: false,
            memory,
        }
    }

    /// Adds a reader. Its cursor, from which it reads the events that are added later.
    pub fn join(&mut self) -> u64 {
        self.seal();
        self.readers += 1;
        self.end()
    }

    /// Removes a reader. Whether it had fallen behind.
    pub fn leave(&mut self, cursor: u64) -> bool {
        self.readers -= 1;
        let behind = cursor < self.first;
        let read = usize::try_from(cursor.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.batches.iter_mut().skip(read).for_each(|batch| batch.unread -= 1);
        self.drop_read();
        behind
    }

    /// The number of readers.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// Adds an event. Whether so many wait that readers should be woken now.
    pub fn push(&mut self, event: &str) -> bool {
        let full = !self.open.is_empty() && self.open.len() + event.len() > MAX_BATCH;
        if full {
            self.seal();
        }
        self.open.push_str(event);
        full
    }

    /// Makes the events that were added readable.
    pub fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (text, mut share) = (mem::take(&mut self.open), self.memory.share());
        let length = text.len();
        while self.bytes > 0 && (self.bytes + length > MAX_BYTES || !share.grow_to(length as u64)) {
            self.drop_oldest();
        }
        if share.grow_to(length as u64) {
            self.bytes += length;
            self.batches.push_back(Batch { events: Arc::new(Events { text, _share: share }), unread: self.readers });
        } else {
            // There is no memory for it: who has not read it has fallen behind.
            self.first += 1;
        }
    }

    /// Reads the next batch.
    pub fn read(&mut self, cursor: &mut u64) -> Next {
        let index = cursor.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index else { return Next::End };
        let Some(batch) = self.batches.get_mut(index) else {
            return if self.closed { Next::End } else { Next::Empty };
        };
        batch.unread -= 1;
        let events = batch.events.clone();
        *cursor += 1;
        self.drop_read();
        Next::Batch(events)
    }

    /// Ends the ring: readers get what it holds, and then its end.
    pub fn close(&mut self) {
        self.seal();
        self.closed = true;
    }

    /// The number of the next batch.
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    fn drop_read(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.unread == 0) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.events.text.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> EventRing {
        EventRing::new(Budget::new(64 << 20))
    }

    fn texts(ring: &mut EventRing, cursor: &mut u64) -> Vec<String> {
        let mut texts = Vec::new();
        while let Next::Batch(events) = ring.read(cursor) {
            texts.push(events.text.clone());
        }
        texts
    }

    #[test]
    fn readers_get_what_was_added_after_they_joined_in_shared_batches() {
        let mut ring = ring();
        let mut early = ring.join();
        ring.push("a");
        ring.push("b");
        assert_eq!(ring.read(&mut early), Next::Empty, "the batch is not sealed yet");
        let mut late = ring.join();
        ring.push("c");
        ring.seal();
        ring.seal();
        assert_eq!(texts(&mut ring, &mut early), ["ab", "c"]);
        assert_eq!(texts(&mut ring, &mut late), ["c"]);
        assert_eq!(ring.read(&mut late), Next::Empty);
    }

    #[test]
    fn a_batch_is_kept_until_all_have_read_it_or_left() {
        let mut ring = ring();
        let (mut one, mut two, three) = (ring.join(), ring.join(), ring.join());
        ring.push("a");
        ring.seal();
        texts(&mut ring, &mut one);
        texts(&mut ring, &mut two);
        assert_eq!((ring.batches.len(), ring.memory.used()), (1, 1));
        assert!(!ring.leave(three), "it was not behind");
        assert_eq!((ring.batches.len(), ring.memory.used(), ring.readers()), (0, 0, 2));
        assert_eq!(ring.read(&mut one), Next::Empty);
    }

    #[test]
    fn one_that_falls_behind_ends_and_others_read_on() {
        let mut ring = ring();
        let (mut slow, mut quick) = (ring.join(), ring.join());
        let event = "x".repeat(1 << 10);
        for number in 0..=MAX_BYTES >> 10 {
            ring.push(&event);
            ring.seal();
            assert_eq!(texts(&mut ring, &mut quick).len(), 1, "{number}");
        }
        assert!(ring.bytes <= MAX_BYTES && ring.memory.used() == ring.bytes as u64);
        assert_eq!(ring.read(&mut slow), Next::End);
        assert!(ring.leave(slow) && !ring.leave(quick));
        assert_eq!((ring.bytes, ring.memory.used()), (0, 0));
    }

    #[test]
    fn a_full_batch_is_sealed_and_asks_for_readers() {
        let mut ring = ring();
        let mut reader = ring.join();
        let half = "x".repeat(MAX_BATCH / 2);
        assert_eq!([ring.push(&half), ring.push(&half), ring.push("y")], [false, false, true]);
        assert_eq!(texts(&mut ring, &mut reader), [half.repeat(2)]);
    }

    #[test]
    fn an_event_that_is_alone_may_be_longer_than_the_ring() {
        let mut ring = ring();
        let mut reader = ring.join();
        let long = "x".repeat(MAX_BYTES + 1);
        ring.push("a");
        ring.push(&long);
        assert_eq!(texts(&mut ring, &mut reader), ["a"]);
        ring.seal();
        assert_eq!(texts(&mut ring, &mut reader), [long]);
    }

    #[test]
    fn what_the_budget_cannot_hold_is_lost_with_its_readers() {
        let budget = Budget::in_parts(10, 1);
        let mut ring = EventRing::new(budget.clone());
        let mut reader = ring.join();
        ring.push("12345678901");
        ring.seal();
        assert_eq!((ring.read(&mut reader), budget.used()), (Next::End, 0));
        let mut next = ring.join();
        ring.push("1");
        ring.seal();
        assert_eq!(texts(&mut ring, &mut next), ["1"]);
    }

    #[test]
    fn what_a_reader_still_writes_stays_charged() {
        let mut ring = ring();
        let mut reader = ring.join();
        ring.push("abc");
        ring.seal();
        let events = ring.read(&mut reader);
        assert_eq!((ring.bytes, ring.memory.used()), (0, 3));
        drop(events);
        assert_eq!(ring.memory.used(), 0);
    }

    #[test]
    fn a_closed_ring_is_read_to_its_end() {
        let mut ring = ring();
        let mut reader = ring.join();
        ring.push("a");
        ring.close();
        assert_eq!(texts(&mut ring, &mut reader), ["a"]);
        assert_eq!(ring.read(&mut reader), Next::End);
    }
}
