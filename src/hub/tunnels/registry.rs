//! The hub's open tunnels, by member. Whether a member is connected is decided by `state::registry`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::hub::tunnels::tunnel::Tunnel;
use crate::state::Now;
use crate::sync::lock;

/// All open tunnels, by the member's number.
#[derive(Default)]
pub struct TunnelRegistry {
    open: Mutex<HashMap<u64, Arc<Tunnel>>>,
}

impl TunnelRegistry {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Tunnel>>> {
        lock(&self.open)
    }

    /// A member's tunnel.
    pub(crate) fn get(&self, serial: u64) -> Option<Arc<Tunnel>> {
        self.lock().get(&serial).cloned()
    }

    /// Inserts a member's new tunnel, and returns the one that it supersedes.
    #[must_use = "a superseded tunnel must be closed"]
    pub(crate) fn insert(&self, serial: u64, tunnel: Arc<Tunnel>) -> Option<Arc<Tunnel>> {
        self.lock().insert(serial, tunnel)
    }

    /// Removes a tunnel, unless a later one has superseded it.
    pub(crate) fn remove(&self, serial: u64, tunnel: &Tunnel) {
        let mut open = self.lock();
        if open.get(&serial).is_some_and(|current| current.is(tunnel)) {
            open.remove(&serial);
        }
    }

    /// Removes and returns a member's tunnel.
    pub(crate) fn take(&self, serial: u64) -> Option<Arc<Tunnel>> {
        self.lock().remove(&serial)
    }

    /// The tunnels whose last message is longer ago than the tunnel timeout.
    pub(crate) fn silent(&self, now: Now) -> Vec<Arc<Tunnel>> {
        self.lock().values().filter(|tunnel| tunnel.is_silent(now)).cloned().collect()
    }

    /// The number of open tunnels.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Tunnel>> {
        self.lock().values().cloned().collect()
    }
}
