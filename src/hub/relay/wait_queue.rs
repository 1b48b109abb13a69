//! Requests that wait for a participant: how each is told that its turn has come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::state::registry::Picked;
use crate::state::selector::Refusal;

/// A slot at a participant, or why there will be none.
pub type Grant = Result<Picked, Refusal>;

/// Whoever waits in line, by number.
#[derive(Default)]
pub struct WaitQueue {
    waiting: Mutex<HashMap<u64, Sender<Grant>>>,
}

impl WaitQueue {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Sender<Grant>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells somebody that its turn has come. Never waits: each channel is used once.
    pub(crate) fn call(&self, number: u64, turn: Grant) {
        if let Some(waiting) = self.lock().remove(&number) {
            let _ = waiting.send(turn);
        }
    }
}
