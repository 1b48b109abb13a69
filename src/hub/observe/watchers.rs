//! The watchers of events. Each has a queue that is bounded in events and in bytes; one that falls behind is dropped, so that
//! emitting an event never waits.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::state::event::{Event, EventKind};
use crate::state::id::RoomCode;
use crate::sync::lock;

/// The longest queue of a watcher, in events. A watcher whose queue is full is dropped.
const MAX_QUEUED_EVENTS: usize = 256;
/// The longest queue of a watcher, in bytes. An event that is alone in the queue may be longer.
const MAX_QUEUED_BYTES: usize = 256 << 10;

/// The encoding of events, by API plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// v1: an envelope with type, time, room and data.
    V1,
    /// Legacy: the data alone.
    Legacy,
}

/// The watchers of a hub.
#[derive(Default)]
pub struct Watchers {
    table: Mutex<WatcherTable>,
}

#[derive(Default)]
struct WatcherTable {
    /// The number of the newest watcher.
    last_number: u64,
    /// Watchers dropped because they fell behind, since the start.
    dropped: u64,
    closed: bool,
    /// Private rooms: their events go to their own watchers only.
    private_rooms: HashSet<RoomCode>,
    /// By number. `emit` removes those that fell behind.
    watchers: HashMap<u64, Watcher>,
}

struct Watcher {
    /// The room that is watched; `None` for the whole hub.
    room: Option<RoomCode>,
    format: EventFormat,
    queue: Sender<Arc<str>>,
    /// Bytes in the queue: increased by `emit`, decreased by the watcher's thread.
    bytes: Arc<AtomicUsize>,
}

impl Watcher {
    /// Queues an event; false when the queue is full or the watcher has disconnected.
    fn push(&self, text: Arc<str>) -> bool {
        let queued = self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let fits = queued == 0 || queued + text.len() <= MAX_QUEUED_BYTES;
        fits && self.queue.len() < MAX_QUEUED_EVENTS && self.queue.send(text).is_ok()
    }
}

/// A watcher's end of its queue. The queue ends when the hub shuts down, the room is deleted, or the watcher was dropped.
pub struct Subscription<'w> {
    watchers: &'w Watchers,
    number: u64,
    events: Receiver<Arc<str>>,
    bytes: Arc<AtomicUsize>,
}

impl Subscription<'_> {
    /// The next encoded event.
    ///
    /// # Errors
    /// `Timeout` when no event comes in time, `Disconnected` when the queue has ended.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Arc<str>, RecvTimeoutError> {
        self.events.recv_timeout(timeout).inspect(|event| self.release(event))
    }

    /// The next encoded event, if one is queued.
    pub fn try_recv(&self) -> Option<Arc<str>> {
        self.events.try_recv().ok().inspect(|event| self.release(event))
    }

    /// Accounts for an event that left the queue.
    fn release(&self, event: &str) {
        self.bytes.fetch_sub(event.len(), Ordering::Relaxed);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, WatcherTable> {
        lock(&self.table)
    }

    /// Starts watching a room, or the whole hub with `None`. Dropping the subscription ends it.
    pub fn subscribe(&self, room: Option<RoomCode>, format: EventFormat) -> Subscription<'_> {
        // Unbounded, as a bounded channel allocates its whole capacity at once: 6 KiB a watcher. `push` bounds it.
        let (queue, events) = unbounded();
        let bytes = Arc::<AtomicUsize>::default();
        let mut table = self.lock();
        table.last_number += 1;
        let number = table.last_number;
        if !table.closed {
            table.watchers.insert(number, Watcher { room, format, queue, bytes: bytes.clone() });
        }
        Subscription { watchers: self, number, events, bytes }
    }

    /// Queues an event for every watcher that may see it. It is encoded only if there is one.
    pub fn emit(&self, event: &Event) {
        let mut table = self.lock();
        table.track_private_rooms(event);
        let WatcherTable { watchers, private_rooms, dropped, .. } = &mut *table;
        let hidden = !event.concerns_all() && private_rooms.contains(&event.room);
        // Each encoding is made once, for the first watcher that needs it.
        let (mut v1, mut legacy): (Option<Arc<str>>, Option<Option<Arc<str>>>) = (None, None);
        watchers.retain(|_, watcher| {
            let visible = match &watcher.room {
                Some(room) => event.concerns_all() || *room == event.room,
                None => !hidden,
            };
            if !visible {
                return true;
            }
            let text = match watcher.format {
                EventFormat::V1 => Some(v1.get_or_insert_with(|| event.to_v1().into()).clone()),
                EventFormat::Legacy => legacy.get_or_insert_with(|| event.to_legacy().map(Into::into)).clone(),
            };
            let keeps_up = text.is_none_or(|text| watcher.push(text));
            *dropped += u64::from(!keeps_up);
            keeps_up
        });
    }

    /// How many watchers there are, and how many were dropped since the start because they fell behind.
    pub fn count(&self) -> (usize, u64) {
        let table = self.lock();
        (table.watchers.len(), table.dropped)
    }

    /// Ends the streams of a room's watchers, as the room has been deleted.
    pub fn close_room(&self, code: &RoomCode) {
        self.lock().watchers.retain(|_, watcher| watcher.room.as_ref() != Some(code));
    }

    /// Ends the streams of all watchers. Later subscriptions end at once.
    pub fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        table.watchers.clear();
    }
}

impl WatcherTable {
    /// Keeps the set of private rooms up to date.
    fn track_private_rooms(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RoomCreated(room) if room.private => {
                self.private_rooms.insert(event.room.clone());
            }
            EventKind::RoomDeleted(_) => {
                self.private_rooms.remove(&event.room);
            }
            _ => {}
        }
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        self.watchers.lock().watchers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::event::EventKind;

    fn event(room: &str) -> Event {
        let kind = EventKind::ParticipantLeft("w".into());
        Event { at: 1, room: RoomCode::parse(room).unwrap(), kind }
    }

    #[test]
    fn a_watcher_gets_the_events_of_its_room_and_a_hubs_watcher_all() {
        let watchers = Watchers::default();
        let one = watchers.subscribe(RoomCode::parse("aaaaaa"), EventFormat::V1);
        let all = watchers.subscribe(None, EventFormat::V1);
        watchers.emit(&event("AAAAAA"));
        watchers.emit(&event("BBBBBB"));
        assert_eq!((one.events.len(), all.events.len()), (1, 2));
    }

    #[test]
    fn a_watcher_that_falls_behind_is_dropped_and_others_are_not() {
        let watchers = Watchers::default();
        let slow = watchers.subscribe(None, EventFormat::V1);
        let quick = watchers.subscribe(None, EventFormat::V1);
        for _ in 0..MAX_QUEUED_EVENTS + 1 {
            watchers.emit(&event("AAAAAA"));
            quick.try_recv().unwrap();
        }
        assert_eq!(slow.events.iter().count(), MAX_QUEUED_EVENTS, "then its channel has ended");
        assert_eq!(watchers.count(), (1, 1));
        watchers.emit(&event("AAAAAA"));
        assert_eq!(quick.events.len(), 1);
    }

    #[test]
    fn a_watcher_that_is_too_many_bytes_behind_is_dropped() {
        let watchers = Watchers::default();
        let (slow, quick) = (watchers.subscribe(None, EventFormat::V1), watchers.subscribe(None, EventFormat::V1));
        let long = Event { kind: EventKind::ParticipantLeft("x".repeat(2 << 10)), ..event("AAAAAA") };
        for _ in 0..MAX_QUEUED_EVENTS - 1 {
            watchers.emit(&long);
            assert!(quick.try_recv().is_some());
        }
        let queued: usize = slow.events.iter().map(|event| event.len()).sum();
        assert!(queued <= MAX_QUEUED_BYTES && queued > MAX_QUEUED_BYTES / 2, "{queued}");
        assert_eq!(watchers.count(), (1, 1));
        let longest = Event { kind: EventKind::ParticipantLeft("x".repeat(MAX_QUEUED_BYTES)), ..event("AAAAAA") };
        watchers.emit(&longest);
        assert!(quick.try_recv().is_some(), "an event that is alone always fits");
    }

    #[test]
    fn each_watcher_gets_the_encoding_of_its_plane() {
        let watchers = Watchers::default();
        let (v1, old) = (watchers.subscribe(None, EventFormat::V1), watchers.subscribe(None, EventFormat::Legacy));
        watchers.emit(&event("AAAAAA"));
        assert!(v1.events.recv().unwrap().starts_with("event: participant.left\ndata: {\"type\""));
        assert_eq!(&*old.events.recv().unwrap(), "event: participant:left\ndata: {\"participantId\":\"w\"}\n\n");
        watchers.close_room(&RoomCode::parse("AAAAAA").unwrap());
        assert!(watchers.subscribe(None, EventFormat::V1).events.is_empty());
    }

    #[test]
    fn closing_ends_every_stream() {
        let watchers = Watchers::default();
        let early = watchers.subscribe(None, EventFormat::V1);
        watchers.close();
        let late = watchers.subscribe(None, EventFormat::V1);
        assert_eq!((early.events.iter().count(), late.events.iter().count()), (0, 0));
    }
}
