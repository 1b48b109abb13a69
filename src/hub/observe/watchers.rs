//! Whoever watches events: a queue for each, bounded in events and in bytes, and the rule that nobody is waited for.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::state::event::{Event, EventKind};
use crate::state::id::RoomCode;

/// Events that a watcher may be behind. One that falls further back is dropped.
const QUEUE: usize = 256;
/// Bytes that a watcher may be behind. A single event may be longer.
const QUEUE_BYTES: usize = 256 << 10;

/// In which plane's form a watcher reads events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An envelope.
    V1,
    /// Bare data.
    Legacy,
}

/// The watchers of a hub.
#[derive(Default)]
pub struct Watchers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// How many fell behind.
    dropped: u64,
    closed: bool,
    /// Rooms whose events those who watch the whole hub are not told.
    private: HashSet<RoomCode>,
    /// Owned by the broadcaster: it alone removes those that fell behind.
    watchers: HashMap<u64, Watcher>,
}

struct Watcher {
    /// `None` watches the whole hub.
    room: Option<RoomCode>,
    form: Form,
    queue: Sender<Arc<str>>,
    /// Bytes in the queue: added to by the broadcaster, taken off by the watcher.
    bytes: Arc<AtomicUsize>,
}

impl Watcher {
    /// Queues an event; false when the watcher has fallen too far behind, or is gone.
    fn push(&self, text: Arc<str>) -> bool {
        let behind = self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let fits = behind == 0 || behind + text.len() <= QUEUE_BYTES;
        fits && self.queue.len() < QUEUE && self.queue.send(text).is_ok()
    }
}

/// A watcher's end of its queue. The channel ends when the hub goes down or the watcher fell behind.
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
    /// When none comes in time, or none will come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Arc<str>, RecvTimeoutError> {
        self.events.recv_timeout(timeout).inspect(|event| self.taken(event))
    }

    /// The next encoded event, if it is there.
    pub fn try_recv(&self) -> Option<Arc<str>> {
        self.events.try_recv().ok().inspect(|event| self.taken(event))
    }

    fn taken(&self, event: &str) {
        self.bytes.fetch_sub(event.len(), Ordering::Relaxed);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts watching a room, or with `None` the whole hub.
    pub fn subscribe(&self, room: Option<RoomCode>, form: Form) -> Subscription<'_> {
        // A bounded channel takes all its room at once: 6 KiB for each watcher, most of whom wait for nothing.
        let (queue, events) = unbounded();
        let bytes = Arc::<AtomicUsize>::default();
        let mut inner = self.lock();
        inner.next += 1;
        let number = inner.next;
        if !inner.closed {
            inner.watchers.insert(number, Watcher { room, form, queue, bytes: bytes.clone() });
        }
        Subscription { watchers: self, number, events, bytes }
    }

    /// Tells an event to everyone whom it concerns. Nobody watching costs a lock and nothing else.
    pub fn tell(&self, event: &Event) {
        let mut inner = self.lock();
        inner.note_private(event);
        let Inner { watchers, private, dropped, .. } = &mut *inner;
        let hidden = !event.concerns_all() && private.contains(&event.room);
        // Each form is written once, for the first who reads it.
        let (mut v1, mut legacy): (Option<Arc<str>>, Option<Option<Arc<str>>>) = (None, None);
        watchers.retain(|_, watcher| {
            let concerned = match &watcher.room {
                Some(room) => event.concerns_all() || *room == event.room,
                None => !hidden,
            };
            if !concerned {
                return true;
            }
            let text = match watcher.form {
                Form::V1 => Some(v1.get_or_insert_with(|| event.to_v1().into()).clone()),
                Form::Legacy => legacy.get_or_insert_with(|| event.to_legacy().map(Into::into)).clone(),
            };
            let keeps_up = text.is_none_or(|text| watcher.push(text));
            *dropped += u64::from(!keeps_up);
            keeps_up
        });
    }

    /// How many there are, and how many were dropped because they fell behind.
    pub fn count(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.watchers.len(), inner.dropped)
    }

    /// Ends the streams of a room that is no more.
    pub fn close_room(&self, code: &RoomCode) {
        self.lock().watchers.retain(|_, watcher| watcher.room.as_ref() != Some(code));
    }

    /// Ends every watcher's stream, now and later.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.watchers.clear();
    }
}

impl Inner {
    fn note_private(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RoomCreated(room) if room.private => drop(self.private.insert(event.room.clone())),
            EventKind::RoomDeleted(_) => drop(self.private.remove(&event.room)),
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
    fn a_watcher_hears_of_its_own_room_and_a_hubs_watcher_of_all() {
        let watchers = Watchers::default();
        let one = watchers.subscribe(RoomCode::parse("aaaaaa"), Form::V1);
        let all = watchers.subscribe(None, Form::V1);
        watchers.tell(&event("AAAAAA"));
        watchers.tell(&event("BBBBBB"));
        assert_eq!((one.events.len(), all.events.len()), (1, 2));
    }

    #[test]
    fn one_that_does_not_keep_up_is_dropped_and_the_others_are_not() {
        let watchers = Watchers::default();
        let slow = watchers.subscribe(None, Form::V1);
        let quick = watchers.subscribe(None, Form::V1);
        for _ in 0..QUEUE + 1 {
            watchers.tell(&event("AAAAAA"));
            quick.try_recv().unwrap();
        }
        assert_eq!(slow.events.iter().count(), QUEUE, "then its channel has ended");
        assert_eq!(watchers.count(), (1, 1));
        watchers.tell(&event("AAAAAA"));
        assert_eq!(quick.events.len(), 1);
    }

    #[test]
    fn one_that_is_too_many_bytes_behind_is_dropped() {
        let watchers = Watchers::default();
        let (slow, quick) = (watchers.subscribe(None, Form::V1), watchers.subscribe(None, Form::V1));
        let long = Event { kind: EventKind::ParticipantLeft("x".repeat(2 << 10)), ..event("AAAAAA") };
        for _ in 0..QUEUE - 1 {
            watchers.tell(&long);
            assert!(quick.try_recv().is_some());
        }
        let queued: usize = slow.events.iter().map(|event| event.len()).sum();
        assert!(queued <= QUEUE_BYTES && queued > QUEUE_BYTES / 2, "{queued}");
        assert_eq!(watchers.count(), (1, 1));
        let longest = Event { kind: EventKind::ParticipantLeft("x".repeat(QUEUE_BYTES)), ..event("AAAAAA") };
        watchers.tell(&longest);
        assert!(quick.try_recv().is_some(), "an event that is alone always fits");
    }

    #[test]
    fn each_reads_its_own_planes_form() {
        let watchers = Watchers::default();
        let (v1, old) = (watchers.subscribe(None, Form::V1), watchers.subscribe(None, Form::Legacy));
        watchers.tell(&event("AAAAAA"));
        assert!(v1.events.recv().unwrap().starts_with("event: participant.left\ndata: {\"type\""));
        assert_eq!(&*old.events.recv().unwrap(), "event: participant:left\ndata: {\"participantId\":\"w\"}\n\n");
        watchers.close_room(&RoomCode::parse("AAAAAA").unwrap());
        assert!(watchers.subscribe(None, Form::V1).events.is_empty());
    }

    #[test]
    fn closing_ends_every_stream() {
        let watchers = Watchers::default();
        let early = watchers.subscribe(None, Form::V1);
        watchers.close();
        let late = watchers.subscribe(None, Form::V1);
        assert_eq!((early.events.iter().count(), late.events.iter().count()), (0, 0));
    }
}
