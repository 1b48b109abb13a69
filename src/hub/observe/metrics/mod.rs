//! What the hub counts: who counts calls in here, with one short lock for each request and an atomic add for each tunnel
//! message. How it is shown is told by this folder's other files.
//!
//! Figures are kept of whoever has answered a request and is still there, up to [`KEPT`]; all others are counted together.

mod exposition;
mod process;
pub mod room;
pub mod scrape;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::state::stats::{Ended, Histogram, Recent, Totals};

/// Participants with figures of their own.
const KEPT: usize = 1024;

/// What a hub has counted since it began.
pub struct Metrics {
    /// When that was, milliseconds since the epoch.
    started: u64,
    /// Written at each request's end.
    counted: Mutex<Counted>,
    /// How long requests waited in line, whether or not their turn came.
    waits: Mutex<Histogram>,
    /// What goes over all tunnels; written by their threads.
    pub traffic: Arc<Traffic>,
    /// By status and code, whose sets are small.
    refused: Mutex<BTreeMap<(u16, String), u64>>,
    failovers: AtomicU64,
    hung_up: [AtomicU64; HangUpPhase::ALL.len()],
}

#[derive(Default)]
pub struct Counted {
    /// By the member's number.
    members: HashMap<u64, Box<Kept>>,
    /// Those for whom there was no room, and those who had left by then.
    others: Totals,
}

impl Counted {
    /// Counts a request of a participant that has figures. False where it has none.
    pub(crate) fn add(&mut self, serial: u64, model: &str, ended: &Ended, now: u64) -> bool {
        let kept = self.members.get_mut(&serial);
        kept.map(|kept| kept.add(model, ended, now)).is_some()
    }

    /// Counts the first request of a participant, which so gets figures: unless it has left, or too many have some.
    pub(crate) fn begin(&mut self, known: bool, serial: u64, model: &str, ended: &Ended, now: u64) {
        if self.add(serial, model, ended, now) {
            return;
        }
        if !known || self.members.len() >= KEPT {
            return self.others.add(ended);
        }
        let mut new = Kept { model: model.to_owned(), recent: Recent::default(), totals: Totals::default() };
        new.add(model, ended, now);
        self.members.insert(serial, Box::new(new));
    }
}

/// A participant's figures.
struct Kept {
    /// The one that `recent` is about.
    model: String,
    recent: Recent,
    totals: Totals,
}

impl Kept {
    fn add(&mut self, model: &str, ended: &Ended, now: u64) {
        if self.model != model {
            self.model = model.to_owned();
            self.recent = Recent::default();
        }
        self.recent.add(ended, now);
        self.totals.add(ended);
    }
}

/// What a client did not wait for when it hung up.
#[derive(Debug, Clone, Copy)]
pub enum HangUpPhase {
    /// Its turn.
    Queue,
    /// The answer's first byte.
    Waiting,
    /// The rest of the answer.
    Answering,
}

impl HangUpPhase {
    const ALL: [HangUpPhase; 3] = [HangUpPhase::Queue, HangUpPhase::Waiting, HangUpPhase::Answering];

    fn name(self) -> &'static str {
        match self {
            HangUpPhase::Queue => "queue",
            HangUpPhase::Waiting => "waiting",
            HangUpPhase::Answering => "answering",
        }
    }
}

/// Messages and bytes in both directions.
#[derive(Default)]
pub struct Traffic {
    /// From participants.
    pub received: Messages,
    /// To participants.
    pub sent: Messages,
}

/// Messages in one direction. Each has a cache line of its own: readers and writers are different threads.
#[derive(Default)]
#[repr(align(64))]
pub struct Messages {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Messages {
    /// Counts one.
    pub fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Nothing yet, at some time in milliseconds since the epoch.
    pub fn new(started: u64) -> Self {
        Metrics {
            started,
            counted: Mutex::default(),
            waits: Mutex::new(Histogram::new(&[10, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000])),
            traffic: Arc::default(),
            refused: Mutex::default(),
            failovers: AtomicU64::default(),
            hung_up: Default::default(),
        }
    }

    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has left the line.
    pub fn waited(&self, time: Duration) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).add(time);
    }

    /// A request was refused.
    pub fn refused(&self, status: u16, code: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry((status, code.to_owned())).or_insert(0) += 1;
    }

    /// A request goes to another participant.
    pub fn failed_over(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    /// A client hung up.
    pub fn hung_up(&self, left: HangUpPhase) {
        self.hung_up[left as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go of what is too old to be told.
    pub fn tidy(&self, now: u64) {
        self.counted().members.values_mut().for_each(|kept| kept.recent.forget(now));
    }

    /// Forgets a participant that has left.
    pub fn forget(&self, serial: u64) {
        self.counted().members.remove(&serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::usage::Usage;
    use crate::state::stats::Ending;

    fn ended() -> Ended {
        let time = Duration::from_millis(5);
        Ended { protocol: "messages", ending: Ending::Complete, ttft: time, duration: time, usage: Usage::default() }
    }

    fn others(counted: &Counted) -> u64 {
        counted.others.requests().map(|(_, _, count)| count).sum()
    }

    #[test]
    fn so_many_have_figures_and_the_rest_are_counted_together() {
        let mut counted = Counted::default();
        let most = KEPT as u64;
        for serial in 0..most + 10 {
            assert!(!counted.add(serial, "m", &ended(), 0));
            counted.begin(true, serial, "m", &ended(), 0);
        }
        assert_eq!((counted.members.len(), others(&counted)), (KEPT, 10));
        assert!(counted.add(3, "m", &ended(), 0) && !counted.add(most, "m", &ended(), 0));
        counted.members.remove(&3);
        counted.begin(true, most, "m", &ended(), 0);
        assert_eq!((counted.members.len(), others(&counted)), (KEPT, 10), "who leaves makes room");
    }

    #[test]
    fn who_has_left_leaves_nothing_behind() {
        let mut counted = Counted::default();
        counted.begin(false, 1, "m", &ended(), 0);
        assert_eq!((counted.members.len(), others(&counted)), (0, 1));
    }
}
