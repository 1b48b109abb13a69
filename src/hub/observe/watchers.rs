//! The watchers of events. An event is put into the ring of its stream (`event_ring.rs`), which all that watch it share; the
//! notifier thread wakes them, together and at most every 20 ms. So neither what an event costs whoever emits it nor how long
//! that takes depends on the number of watchers. One that falls behind is dropped.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::budget::Budget;
use crate::hub::observe::event_ring::{EventRing, Events, Next};
use crate::state::event::{Event, EventKind};
use crate::state::id::RoomCode;
use crate::sync::{lock, wait, wait_timeout};

/// The shortest time between two wake-ups of watchers. After a quiet time they are woken at once.
const WAKE_EVERY: Duration = Duration::from_millis(20);

/// The encoding of events, by API plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventFormat {
    /// v1: an envelope with type, time, room and data.
    V1,
    /// Legacy: the data alone.
    Legacy,
}

impl EventFormat {
    fn encode(self, event: &Event) -> Option<String> {
        match self {
            EventFormat::V1 => Some(event.to_v1()),
            EventFormat::Legacy => event.to_legacy(),
        }
    }
}

/// The watchers of a hub.
pub struct Watchers {
    table: Mutex<WatcherTable>,
    /// Wakes the notifier.
    work: Condvar,
    /// Charged with the rings.
    memory: Arc<Budget>,
}

#[derive(Default)]
struct WatcherTable {
    watchers: usize,
    /// Watchers dropped because they fell behind, since the start.
    dropped: u64,
    closed: bool,
    /// Private rooms: their events go to their own watchers only.
    private_rooms: HashSet<RoomCode>,
    /// The streams that are watched, by format. The room is `None` for the whole hub.
    v1: HashMap<Option<RoomCode>, Arc<WatchedStream>>,
    legacy: HashMap<Option<RoomCode>, Arc<WatchedStream>>,
    /// Streams with events of which their watchers have not been woken.
    to_wake: Vec<Arc<WatchedStream>>,
    notifier: Notifier,
}

/// What the notifier waits for.
#[derive(Default, PartialEq, Eq)]
enum Notifier {
    /// The end of the pause between two wake-ups, or it is at work.
    #[default]
    Busy,
    /// Any event.
    Idle,
    /// Nothing: watchers are to be woken now.
    Called,
}

/// One stream of events, in one format.
struct WatchedStream {
    ring: Mutex<StreamRing>,
    woken: Condvar,
}

struct StreamRing {
    events: EventRing,
    /// Whether the stream is in [`WatcherTable::to_wake`].
    to_wake: bool,
}

impl WatchedStream {
    fn lock(&self) -> MutexGuard<'_, StreamRing> {
        lock(&self.ring)
    }

    /// Wakes the watchers of the stream: the first one, which wakes the next one before it writes, and so on. A thousand that
    /// were woken together would keep requests from the processors for milliseconds.
    fn wake(&self) {
        let mut ring = self.lock();
        ring.to_wake = false;
        ring.events.seal();
        drop(ring);
        self.woken.notify_one();
    }

    /// Ends the stream: its watchers get what was emitted before.
    fn close(&self) {
        self.lock().events.close();
        self.woken.notify_all();
    }
}

/// A watcher's place in its stream. The stream ends when the hub shuts down, the room is deleted, or the watcher has fallen
/// behind.
pub struct Subscription<'w> {
    watchers: &'w Watchers,
    room: Option<RoomCode>,
    format: EventFormat,
    stream: Arc<WatchedStream>,
    cursor: u64,
}

impl Subscription<'_> {
    /// The next encoded events.
    ///
    /// # Errors
    /// `Timeout` when no event comes in time, `Disconnected` when the stream has ended.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Arc<Events>, RecvTimeoutError> {
        let deadline = Instant::now() + timeout;
        let mut ring = self.stream.lock();
        loop {
            match ring.events.read(&mut self.cursor) {
                Next::Batch(events) => {
                    drop(ring);
                    // Those that have not read it have waited longer than those that have, and are woken first.
                    self.stream.woken.notify_one();
                    return Ok(events);
                }
                Next::End => return Err(RecvTimeoutError::Disconnected),
                Next::Empty => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            ring = wait_timeout(&self.stream.woken, ring, left);
        }
    }
}

impl Watchers {
    /// No watchers yet, of a hub with this memory budget.
    pub fn new(memory: Arc<Budget>) -> Self {
        Watchers { table: Mutex::default(), work: Condvar::new(), memory }
    }

    fn lock(&self) -> MutexGuard<'_, WatcherTable> {
        lock(&self.table)
    }

    /// Starts watching a room, or the whole hub with `None`. Dropping the subscription ends it.
    pub fn subscribe(&self, room: Option<RoomCode>, format: EventFormat) -> Subscription<'_> {
        let mut table = self.lock();
        let closed = table.closed;
        let stream = table.streams(format).entry(room.clone()).or_insert_with(|| self.stream());
        let stream = stream.clone();
        let cursor = stream.lock().events.join();
        if closed {
            stream.close();
        }
        table.watchers += 1;
        Subscription { watchers: self, room, format, stream, cursor }
    }

    fn stream(&self) -> Arc<WatchedStream> {
        let ring = StreamRing { events: EventRing::new(self.memory.clone()), to_wake: false };
        Arc::new(WatchedStream { ring: Mutex::new(ring), woken: Condvar::new() })
    }

    /// Puts an event into the ring of each stream that has it. It is encoded only for those that are watched.
    pub fn emit(&self, event: &Event) {
        let mut table = self.lock();
        table.track_private_rooms(event);
        let called_before = table.notifier == Notifier::Called;
        for format in [EventFormat::V1, EventFormat::Legacy] {
            table.push(event, format);
        }
        if table.notifier == Notifier::Idle && !table.to_wake.is_empty() {
            table.notifier = Notifier::Called;
        }
        let call = table.notifier == Notifier::Called && !called_before;
        drop(table);
        if call {
            self.work.notify_one();
        }
    }

    /// Wakes watchers until [`Watchers::close`]. Sleeps while there are no events.
    pub fn notify(&self) {
        let mut table = self.lock();
        while !table.closed {
            if table.to_wake.is_empty() {
                table.notifier = Notifier::Idle;
                table = wait(&self.work, table);
                continue;
            }
            table.notifier = Notifier::Busy;
            let to_wake = mem::take(&mut table.to_wake);
            drop(table);
            to_wake.iter().for_each(|stream| stream.wake());
            drop(to_wake);
            table = self.pause();
        }
    }

    /// Waits until watchers may be woken again.
    fn pause(&self) -> MutexGuard<'_, WatcherTable> {
        let end = Instant::now() + WAKE_EVERY;
        let mut table = self.lock();
        while !table.closed && table.notifier != Notifier::Called {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            table = wait_timeout(&self.work, table, left);
        }
        table
    }

    /// How many watchers there are, and how many were dropped since the start because they fell behind.
    pub fn count(&self) -> (usize, u64) {
        let table = self.lock();
        (table.watchers, table.dropped)
    }

    /// Ends the streams of a room's watchers, as the room has been deleted.
    pub fn close_room(&self, code: &RoomCode) {
        let mut table = self.lock();
        let key = Some(code.clone());
        let streams = [table.v1.remove(&key), table.legacy.remove(&key)];
        drop(table);
        streams.iter().flatten().for_each(|stream| stream.close());
    }

    /// Ends the streams of all watchers, and the notifier. Later subscriptions end at once.
    pub fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        let streams = [mem::take(&mut table.v1), mem::take(&mut table.legacy)];
        drop(table);
        streams.iter().flat_map(HashMap::values).for_each(|stream| stream.close());
        self.work.notify_all();
    }
}

impl WatcherTable {
    fn streams(&mut self, format: EventFormat) -> &mut HashMap<Option<RoomCode>, Arc<WatchedStream>> {
        match format {
            EventFormat::V1 => &mut self.v1,
            EventFormat::Legacy => &mut self.legacy,
        }
    }

    /// Puts an event into the rings of one format.
    fn push(&mut self, event: &Event, format: EventFormat) {
        let hidden = !event.concerns_all() && self.private_rooms.contains(&event.room);
        let WatcherTable { v1, legacy, to_wake, notifier, .. } = self;
        let streams = match format {
            EventFormat::V1 => v1,
            EventFormat::Legacy => legacy,
        };
        if streams.is_empty() {
            return;
        }
        let mut text = None;
        let push = |stream: &Arc<WatchedStream>| {
            let Some(text) = text.get_or_insert_with(|| format.encode(event)) else { return };
            let mut ring = stream.lock();
            if ring.events.push(text) {
                *notifier = Notifier::Called;
            }
            if !mem::replace(&mut ring.to_wake, true) {
                to_wake.push(stream.clone());
            }
        };
        if event.concerns_all() {
            streams.values().for_each(push);
        } else {
            let whole_hub = streams.get(&None).filter(|_| !hidden);
            let room = (streams.len() > usize::from(whole_hub.is_some())).then(|| Some(event.room.clone()));
            whole_hub.into_iter().chain(room.and_then(|room| streams.get(&room))).for_each(push);
        }
    }

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
        let mut table = self.watchers.lock();
        let mut ring = self.stream.lock();
        table.watchers -= 1;
        table.dropped += u64::from(ring.events.leave(self.cursor));
        let unwatched = ring.events.readers() == 0;
        drop(ring);
        let streams = table.streams(self.format);
        if unwatched && streams.get(&self.room).is_some_and(|stream| Arc::ptr_eq(stream, &self.stream)) {
            streams.remove(&self.room);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::state::event::EventKind;

    const NO_WAIT: Duration = Duration::ZERO;
    const PATIENCE: Duration = Duration::from_secs(60);

    fn event(room: &str) -> Event {
        let kind = EventKind::ParticipantLeft("w".into());
        Event { at: 1, room: RoomCode::parse(room).unwrap(), kind }
    }

    fn watchers() -> Watchers {
        Watchers::new(Budget::new(64 << 20))
    }

    /// Does the notifier's work once.
    fn notify_once(watchers: &Watchers) {
        let to_wake = mem::take(&mut watchers.lock().to_wake);
        to_wake.iter().for_each(|stream| stream.wake());
    }

    /// How many events a watcher has yet to read.
    fn unread(watcher: &mut Subscription<'_>) -> usize {
        let mut events = 0;
        while let Ok(text) = watcher.recv_timeout(NO_WAIT) {
            events += text.matches("event: ").count();
        }
        events
    }

    #[test]
    fn a_watcher_gets_the_events_of_its_room_and_a_hubs_watcher_all() {
        let watchers = watchers();
        let mut one = watchers.subscribe(RoomCode::parse("aaaaaa"), EventFormat::V1);
        let mut all = watchers.subscribe(None, EventFormat::V1);
        watchers.emit(&event("AAAAAA"));
        watchers.emit(&event("BBBBBB"));
        notify_once(&watchers);
        assert_eq!((unread(&mut one), unread(&mut all)), (1, 2));
    }

    #[test]
    fn a_watcher_that_falls_behind_is_dropped_and_others_are_not() {
        let watchers = watchers();
        let mut slow = watchers.subscribe(None, EventFormat::V1);
        let mut quick = watchers.subscribe(None, EventFormat::V1);
        let long = Event { kind: EventKind::ParticipantLeft("x".repeat(32 << 10)), ..event("AAAAAA") };
        for _ in 0..33 {
            watchers.emit(&long);
            notify_once(&watchers);
            assert_eq!(unread(&mut quick), 1);
        }
        assert_eq!(slow.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        drop(slow);
        assert_eq!(watchers.count(), (1, 1));
    }

    #[test]
    fn each_watcher_gets_the_encoding_of_its_plane() {
        let watchers = watchers();
        let mut v1 = watchers.subscribe(None, EventFormat::V1);
        let mut old = watchers.subscribe(None, EventFormat::Legacy);
        watchers.emit(&event("AAAAAA"));
        notify_once(&watchers);
        assert!(v1.recv_timeout(PATIENCE).unwrap().starts_with("event: participant.left\ndata: {\"type\""));
        let text = old.recv_timeout(PATIENCE).unwrap();
        assert_eq!(&**text, "event: participant:left\ndata: {\"participantId\":\"w\"}\n\n");
    }

    #[test]
    fn a_deleted_room_ends_its_watchers_behind_its_last_event_and_a_new_one_has_none_of_them() {
        let watchers = watchers();
        let code = RoomCode::parse("AAAAAA");
        let mut old = watchers.subscribe(code.clone(), EventFormat::V1);
        watchers.emit(&event("AAAAAA"));
        watchers.close_room(code.as_ref().unwrap());
        let mut new = watchers.subscribe(code, EventFormat::V1);
        assert_eq!(unread(&mut old), 1);
        assert_eq!(old.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        drop(old);
        watchers.emit(&event("AAAAAA"));
        notify_once(&watchers);
        assert_eq!(unread(&mut new), 1);
    }

    #[test]
    fn streams_are_kept_while_they_are_watched() {
        let watchers = watchers();
        let one = watchers.subscribe(RoomCode::parse("aaaaaa"), EventFormat::V1);
        let two = watchers.subscribe(RoomCode::parse("aaaaaa"), EventFormat::V1);
        drop(one);
        assert_eq!(watchers.lock().v1.len(), 1);
        watchers.emit(&event("AAAAAA"));
        drop(two);
        assert!(watchers.lock().v1.is_empty());
        notify_once(&watchers);
        assert_eq!((watchers.count(), watchers.memory.used()), ((0, 0), 0));
    }

    #[test]
    fn closing_ends_every_stream_and_the_notifier() {
        let watchers = watchers();
        thread::scope(|scope| {
            let notifier = scope.spawn(|| watchers.notify());
            let mut early = watchers.subscribe(None, EventFormat::V1);
            watchers.emit(&event("AAAAAA"));
            assert!(early.recv_timeout(PATIENCE).is_ok(), "the notifier tells");
            watchers.close();
            let mut late = watchers.subscribe(None, EventFormat::V1);
            for watcher in [&mut early, &mut late] {
                assert_eq!(watcher.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
            }
            notifier.join().unwrap();
        });
    }
}
