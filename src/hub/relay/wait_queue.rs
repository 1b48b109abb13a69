//! Requests that wait for a slot: the channel over which each is granted one. The order is the registry's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::state::registry::{PickError, Picked};
use crate::sync::lock;

/// A slot at a participant, or why there will be none.
pub type Grant = Result<Picked, PickError>;

/// The waiting requests, by their number in the registry's queue.
#[derive(Default)]
pub struct WaitQueue {
    waiting: Mutex<HashMap<u64, Sender<Grant>>>,
}

impl WaitQueue {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Sender<Grant>>> {
        lock(&self.waiting)
    }

    /// Adds a request; its grant comes over the channel.
    pub(crate) fn add(&self, number: u64) -> Receiver<Grant> {
        let (sender, grant) = bounded(1);
        self.lock().insert(number, sender);
        grant
    }

    /// Removes a request that waits no longer.
    pub(crate) fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Grants a request its slot, and removes it. Never blocks: each channel is used once.
    pub(crate) fn grant(&self, number: u64, grant: Grant) {
        if let Some(waiting) = self.lock().remove(&number) {
            let _ = waiting.send(grant);
        }
    }
}
