//! The hub's open tunnels, by member. Whether a member is connected is decided by `state::registry`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::hub::tunnels::tunnel::Tunnel;
use crate::proto::management::TIMEOUT_SECS;
use crate::proto::tunnel::{CLOSE_GOING_AWAY, CLOSE_NORMAL, CLOSE_TIMEOUT};
use crate::state::Now;
use crate::sync::lock;
use crate::tunnel::{LostReason, close_deadline};

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

    /// Removes and closes the tunnels of members that have left.
    pub(crate) fn close_of(&self, serials: &[u64], reason: &str) {
        let tunnels: Vec<_> = {
            let mut open = self.lock();
            serials.iter().filter_map(|serial| open.remove(serial)).collect()
        };
        close(&tunnels, CLOSE_NORMAL, reason, LostReason::Closed);
    }

    /// Closes the tunnels whose last message is longer ago than the tunnel timeout.
    pub(crate) fn close_silent(&self, now: Now) {
        let silent: Vec<_> = self.lock().values().filter(|tunnel| tunnel.is_silent(now)).cloned().collect();
        close(&silent, CLOSE_TIMEOUT, &format!("No message for {TIMEOUT_SECS} s"), LostReason::TimedOut);
    }

    /// Closes all of them, since the hub is going down.
    pub(crate) fn close_all(&self) {
        let open: Vec<_> = self.lock().values().cloned().collect();
        close(&open, CLOSE_GOING_AWAY, "The hub is going down", LostReason::Closed);
    }

    /// The number of open tunnels.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }
}

/// Closes tunnels, by one deadline: however many have peers that do not read, it takes no longer than for one of them.
fn close(tunnels: &[Arc<Tunnel>], code: u16, reason: &str, lost: LostReason) {
    let deadline = close_deadline();
    for tunnel in tunnels {
        tunnel.close_until(code, reason, lost, deadline);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::budget::Budget;
    use crate::hub::maintenance::clock::Clock;
    use crate::hub::tunnels::tunnel::TunnelFeatures;
    use crate::net::io::socket_pair;
    use crate::state::registry::Opened;
    use crate::tunnel::{TunnelEnds, TunnelLimits, Writer, serve};

    /// A tunnel with this number, its writer, and the participant's end.
    fn tunnel(number: u64) -> (Arc<Tunnel>, Writer, TcpStream) {
        let (participant, hub) = socket_pair();
        let TunnelEnds { reader, writer } = serve(Arc::new(hub.into()), Vec::new(), TunnelLimits::default()).unwrap();
        let opened = Opened { serial: number, tunnel: number, seen: Arc::default() };
        let features = TunnelFeatures { binary: true, bodies: true, pause: true };
        let ends = TunnelEnds { reader, writer: writer.clone() };
        let tunnel = Tunnel::new(&opened, ends, features, Arc::default(), Budget::new(1 << 20), Clock::default());
        (Arc::new(tunnel), writer, participant)
    }

    /// Calls `then` while all of these are in the middle of a message.
    fn while_writing(writers: &[Writer], then: &mut dyn FnMut()) {
        match writers {
            [] => then(),
            [first, rest @ ..] => drop(first.send_upgrade(b"", || while_writing(rest, then))),
        }
    }

    #[test]
    fn tunnels_whose_participants_do_not_read_delay_no_others() {
        let stuck: Vec<_> = (0..40).map(tunnel).collect();
        let (calm, _, mut participant) = tunnel(40);
        let tunnels: Vec<_> = stuck.iter().map(|(tunnel, ..)| tunnel.clone()).chain([calm]).collect();
        let writers: Vec<_> = stuck.iter().map(|(_, writer, _)| writer.clone()).collect();
        // One after the other they would take longer than this.
        participant.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        while_writing(&writers, &mut || {
            thread::scope(|scope| {
                scope.spawn(|| close(&tunnels, CLOSE_GOING_AWAY, "", LostReason::Closed));
                let mut frame = [0; 4];
                participant.read_exact(&mut frame).unwrap();
                assert_eq!(frame, [0x88, 2, 0x03, 0xe9], "a close frame with the status 1001");
            });
        });
    }
}
