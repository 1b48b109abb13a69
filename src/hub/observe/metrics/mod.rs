//! The hub's counters. A request takes one short lock to be counted, a tunnel message two atomic additions. `scrape` and
//! `room` present them, as Prometheus text and as JSON.
//!
//! A participant has statistics of its own from its first request until it leaves its room, up to [`MAX_PARTICIPANTS`] of
//! them; the requests of all others are counted together.

mod exposition;
pub mod history;
mod process;
pub mod room;
pub mod scrape;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::history::HistoryTable;
use crate::budget::Budget;
use crate::proto::management::ErrorCode;
use crate::state::stats::{Ended, Histogram, Recent, Totals};
use crate::sync::lock;

/// The number of participants with statistics of their own.
const MAX_PARTICIPANTS: usize = 1024;

/// The counters of a hub since it started.
pub struct Metrics {
    /// When the hub started, milliseconds since the epoch.
    started: u64,
    /// Updated when a request ends at a participant.
    counted: Mutex<ParticipantTable>,
    /// The last hour of each room; updated when a request ends.
    history: Mutex<HistoryTable>,
    /// How long requests waited in the queue, whether or not they got a slot.
    queue_waits: Mutex<Histogram>,
    /// The traffic of all tunnels; updated by their readers and writers.
    pub traffic: Arc<Traffic>,
    /// Rejected requests by status and error code, of which there are few.
    rejected: Mutex<BTreeMap<(u16, &'static str), u64>>,
    failovers: AtomicU64,
    hedges: AtomicU64,
    hung_up: [AtomicU64; HangUpPhase::ALL.len()],
}

/// The statistics of the hub's participants.
#[derive(Default)]
pub struct ParticipantTable {
    /// By the participant's serial number.
    members: HashMap<u64, Box<ParticipantStats>>,
    /// Requests of participants past [`MAX_PARTICIPANTS`], and of those that had left when the request ended.
    others: Totals,
}

impl ParticipantTable {
    /// Counts a request of a participant that has statistics. False where it has none. `now` is in milliseconds on the
    /// monotonic clock.
    pub(crate) fn add(&mut self, serial: u64, model: &str, ended: &Ended, now: u64) -> bool {
        match self.members.get_mut(&serial) {
            Some(stats) => {
                stats.add(model, ended, now);
                true
            }
            None => false,
        }
    }

    /// Counts the first request of a participant and creates its statistics, unless it has left (`present` is false) or
    /// the table is full. Callers hold the registry's lock, so that the participant cannot leave in between.
    pub(crate) fn begin(&mut self, present: bool, serial: u64, model: &str, ended: &Ended, now: u64) {
        if self.add(serial, model, ended, now) {
            return;
        }
        if !present || self.members.len() >= MAX_PARTICIPANTS {
            return self.others.add(ended);
        }
        let mut stats =
            ParticipantStats { model: model.to_owned(), recent: Recent::default(), totals: Totals::default() };
        stats.add(model, ended, now);
        self.members.insert(serial, Box::new(stats));
    }
}

/// The statistics of one participant.
struct ParticipantStats {
    /// The model that `recent` counts; a change of it clears `recent`.
    model: String,
    recent: Recent,
    totals: Totals,
}

impl ParticipantStats {
    fn add(&mut self, model: &str, ended: &Ended, now: u64) {
        if self.model != model {
            self.model = model.to_owned();
            self.recent = Recent::default();
        }
        self.recent.add(ended, now);
        self.totals.add(ended);
    }
}

/// The phase of a request in which its client disconnected.
#[derive(Debug, Clone, Copy)]
pub enum HangUpPhase {
    /// In the queue for a slot.
    Queue,
    /// After dispatch, before the first byte of the answer.
    Waiting,
    /// After the first byte of the answer.
    Answering,
}

impl HangUpPhase {
    /// All phases, in the order of their discriminants.
    const ALL: [HangUpPhase; 3] = [HangUpPhase::Queue, HangUpPhase::Waiting, HangUpPhase::Answering];

    /// The value of the `stage` label.
    fn name(self) -> &'static str {
        match self {
            HangUpPhase::Queue => "queue",
            HangUpPhase::Waiting => "waiting",
            HangUpPhase::Answering => "answering",
        }
    }
}

/// Messages and bytes on tunnels, in both directions.
#[derive(Default)]
pub struct Traffic {
    /// From participants.
    pub received: MessageCounter,
    /// To participants.
    pub sent: MessageCounter,
}

/// Messages in one direction. Aligned to a cache line, as different threads update the two directions.
#[derive(Default)]
#[repr(align(64))]
pub struct MessageCounter {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl MessageCounter {
    /// Counts one message of so many bytes.
    pub fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counters at zero, of a hub that started at this time in milliseconds since the epoch. Histories take memory of the
    /// budget.
    pub fn new(started: u64, memory: &Arc<Budget>) -> Self {
        Metrics {
            started,
            counted: Mutex::default(),
            history: Mutex::new(HistoryTable::new(memory)),
            queue_waits: Mutex::new(Histogram::new(&[10, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000])),
            traffic: Arc::default(),
            rejected: Mutex::default(),
            failovers: AtomicU64::default(),
            hedges: AtomicU64::default(),
            hung_up: Default::default(),
        }
    }

    /// Locks the statistics of participants.
    pub(crate) fn participants(&self) -> MutexGuard<'_, ParticipantTable> {
        lock(&self.counted)
    }

    /// Locks the histories of rooms.
    pub(crate) fn history(&self) -> MutexGuard<'_, HistoryTable> {
        lock(&self.history)
    }

    /// Counts a request that left the queue, with the time that it waited.
    pub fn record_wait(&self, time: Duration) {
        lock(&self.queue_waits).add(time);
    }

    /// Counts a rejected request.
    pub fn record_rejection(&self, status: u16, code: ErrorCode) {
        let mut rejected = lock(&self.rejected);
        *rejected.entry((status, code.as_str())).or_insert(0) += 1;
    }

    /// Counts a request that is retried at another participant.
    pub fn record_failover(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is sent to a second participant beside a silent one.
    pub fn record_hedge(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a client that disconnected.
    pub fn record_hang_up(&self, phase: HangUpPhase) {
        self.hung_up[phase as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Drops statistics that are too old for any window. `now` is in milliseconds on the monotonic clock.
    pub fn evict_old(&self, now: u64) {
        for stats in self.participants().members.values_mut() {
            stats.recent.evict_old(now);
        }
        self.history().evict_old(now);
    }

    /// Removes the statistics of a participant that has left.
    pub fn forget(&self, serial: u64) {
        self.participants().members.remove(&serial);
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

    fn others(table: &ParticipantTable) -> u64 {
        table.others.requests().map(|(_, _, count)| count).sum()
    }

    #[test]
    fn past_the_limit_participants_are_counted_together() {
        let mut table = ParticipantTable::default();
        let most = MAX_PARTICIPANTS as u64;
        for serial in 0..most + 10 {
            assert!(!table.add(serial, "m", &ended(), 0));
            table.begin(true, serial, "m", &ended(), 0);
        }
        assert_eq!((table.members.len(), others(&table)), (MAX_PARTICIPANTS, 10));
        assert!(table.add(3, "m", &ended(), 0) && !table.add(most, "m", &ended(), 0));
        table.members.remove(&3);
        table.begin(true, most, "m", &ended(), 0);
        assert_eq!((table.members.len(), others(&table)), (MAX_PARTICIPANTS, 10), "one that leaves frees its entry");
    }

    #[test]
    fn a_participant_that_has_left_gets_no_entry() {
        let mut table = ParticipantTable::default();
        table.begin(false, 1, "m", &ended(), 0);
        assert_eq!((table.members.len(), others(&table)), (0, 1));
    }
}
