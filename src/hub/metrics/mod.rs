//! What the hub counts: who counts calls in here, with one short lock for each request and an atomic add for each tunnel
//! message. How it is shown is told by this folder's other files.
//!
//! Figures are kept of whoever has answered a request and is still there, up to [`KEPT`]; all others are counted together.

mod exposition;
mod process;
mod room;
mod scrape;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use room::room_metrics;
pub use scrape::scrape;

use super::shared::Shared;
use crate::state::figures::{Ended, Histogram, Recent, Totals};
use crate::state::registry::Picked;

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
    hung_up: [AtomicU64; Left::ALL.len()],
}

#[derive(Default)]
struct Counted {
    /// By the member's number.
    members: HashMap<u64, Box<Kept>>,
    /// Those for whom there was no room, and those who had left by then.
    others: Totals,
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
pub enum Left {
    /// Its turn.
    Queue,
    /// The answer's first byte.
    Waiting,
    /// The rest of the answer.
    Answering,
}

impl Left {
    const ALL: [Left; 3] = [Left::Queue, Left::Waiting, Left::Answering];

    fn name(self) -> &'static str {
        match self {
            Left::Queue => "queue",
            Left::Waiting => "waiting",
            Left::Answering => "answering",
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

    fn counted(&self) -> MutexGuard<'_, Counted> {
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
    pub fn hung_up(&self, left: Left) {
        self.hung_up[left as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets a participant that has left.
    pub fn forget(&self, serial: u64) {
        self.counted().members.remove(&serial);
    }
}

impl Shared {
    /// Counts a request that has ended at a participant.
    pub(super) fn count(&self, picked: &Picked, ended: &Ended) {
        let (now, model) = (self.clock.now().mono, picked.profile.model.as_str());
        if let Some(kept) = self.metrics.counted().members.get_mut(&picked.serial) {
            return kept.add(model, ended, now);
        }
        // Under the registry's lock: whoever leaves is forgotten after that, and so leaves nothing behind.
        let registry = self.registry();
        let known = registry.has(picked);
        let mut counted = self.metrics.counted();
        if !known || counted.members.len() >= KEPT {
            return counted.others.add(ended);
        }
        let new = || Kept { model: model.to_owned(), recent: Recent::default(), totals: Totals::default() };
        counted.members.entry(picked.serial).or_insert_with(|| Box::new(new())).add(model, ended, now);
    }
}
