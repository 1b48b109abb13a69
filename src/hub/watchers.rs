//! Whoever watches events: a bounded queue for each, and the rule that nobody is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::state::event::Event;
use crate::state::id::RoomCode;

/// Events that a watcher may be behind. One that falls further back is dropped.
const QUEUE: usize = 256;

/// The watchers of a hub.
#[derive(Default)]
pub struct Watchers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    closed: bool,
    /// Owned by the broadcaster: it alone removes those that fell behind.
    watchers: HashMap<u64, Watcher>,
}

struct Watcher {
    /// `None` watches the whole hub.
    room: Option<RoomCode>,
    queue: Sender<Arc<str>>,
}

/// A watcher's end of its queue. The channel ends when the hub goes down or the watcher fell behind.
pub struct Subscription<'w> {
    watchers: &'w Watchers,
    number: u64,
    /// Encoded events.
    pub events: Receiver<Arc<str>>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts watching a room, or with `None` the whole hub.
    pub fn subscribe(&self, room: Option<RoomCode>) -> Subscription<'_> {
        let (queue, events) = bounded(QUEUE);
        let mut inner = self.lock();
        inner.next += 1;
        let number = inner.next;
        if !inner.closed {
            inner.watchers.insert(number, Watcher { room, queue });
        }
        Subscription { watchers: self, number, events }
    }

    /// Tells an event to everyone whom it concerns. Nobody watching costs a lock and nothing else.
    pub fn tell(&self, event: &Event) {
        let mut inner = self.lock();
        let mut encoded: Option<Arc<str>> = None;
        inner.watchers.retain(|_, watcher| {
            if !event.concerns_all() && watcher.room.as_ref().is_some_and(|room| *room != event.room) {
                return true;
            }
            let text = encoded.get_or_insert_with(|| event.to_v1().into());
            watcher.queue.try_send(text.clone()).is_ok()
        });
    }

    /// Ends every watcher's stream, now and later.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.watchers.clear();
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
        let one = watchers.subscribe(RoomCode::parse("aaaaaa"));
        let all = watchers.subscribe(None);
        watchers.tell(&event("AAAAAA"));
        watchers.tell(&event("BBBBBB"));
        assert_eq!((one.events.len(), all.events.len()), (1, 2));
    }

    #[test]
    fn one_that_does_not_keep_up_is_dropped_and_the_others_are_not() {
        let watchers = Watchers::default();
        let slow = watchers.subscribe(None);
        let quick = watchers.subscribe(None);
        for _ in 0..QUEUE + 1 {
            watchers.tell(&event("AAAAAA"));
            quick.events.recv().unwrap();
        }
        assert_eq!(slow.events.iter().count(), QUEUE, "then its channel has ended");
        watchers.tell(&event("AAAAAA"));
        assert_eq!(quick.events.len(), 1);
    }

    #[test]
    fn closing_ends_every_stream() {
        let watchers = Watchers::default();
        let early = watchers.subscribe(None);
        watchers.close();
        let late = watchers.subscribe(None);
        assert_eq!((early.events.iter().count(), late.events.iter().count()), (0, 0));
    }
}
