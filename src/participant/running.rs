//! The requests of a session that are in progress, for the thread that reads the tunnel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::cancel::CancelHandle;
use crate::sync::lock;

/// The requests in progress, by their ids.
#[derive(Default)]
pub struct RunningRequests(Mutex<HashMap<String, Arc<CancelHandle>>>);

impl RunningRequests {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<CancelHandle>>> {
        lock(&self.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Adds one.
    pub fn add(&self, id: &str, cancel: Arc<CancelHandle>) {
        self.lock().insert(id.to_owned(), cancel);
    }

    /// Removes one that has ended.
    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Cancels one, even while its provider is silent.
    pub fn cancel(&self, id: &str) {
        let handle = self.lock().remove(id);
        if let Some(handle) = handle {
            handle.cancel();
        }
    }

    /// Pauses or resumes one.
    pub fn set_paused(&self, id: &str, paused: bool) {
        let handle = self.lock().get(id).cloned();
        if let Some(handle) = handle {
            handle.set_paused(paused);
        }
    }

    /// Cancels all of them.
    pub fn cancel_all(&self) {
        let running = std::mem::take(&mut *self.lock());
        for handle in running.values() {
            handle.cancel();
        }
    }
}
