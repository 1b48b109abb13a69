//! The hub's open tunnels, by the member they belong to. Which tunnel is a member's is the registry's word.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::budget::Budget;
use crate::hub::observe::metrics::Traffic;
use crate::proto::management::TIMEOUT_SECS;
use crate::proto::tunnel as wire;
use crate::state::Now;
use crate::state::registry::Opened;
use crate::tunnel::{FlowSignal, LostReason, QueueLimits, Router, SendSignal, TunnelError, Writer};

/// Past so many bytes that its client has not read a request ends. Any one message fits, and whatever can be under way
/// between a participant that pauses and the hub.
const MOST: usize = wire::MAX_TO_HUB;
/// Queues of a participant that knows no `tunnel.pause`: one slow client delays the tunnel's other requests by a fifth of a
/// second in any ten at most.
const WAITING: QueueLimits = QueueLimits {
    high: 1 << 20,
    low: 0,
    most: MOST,
    wait: Duration::from_millis(200),
    within: Duration::from_secs(10),
};
/// Queues of a participant that pauses when it is told to: nobody waits for it.
const PAUSING: QueueLimits =
    QueueLimits { high: 256 << 10, low: 64 << 10, most: MOST, wait: Duration::ZERO, within: Duration::ZERO };

/// What hub and participant agreed on when the tunnel was opened.
#[derive(Debug, Clone, Copy)]
pub struct Agreed {
    /// Whether chunks may come as binary messages.
    pub binary: bool,
    /// Whether the participant honours `tunnel.pause`.
    pub pause: bool,
}

/// One participant's tunnel, as requests see it.
pub struct Tunnel {
    /// A later tunnel of the same member has a higher number.
    number: u64,
    /// Shared by all who write; has its own lock and deadline.
    writer: Writer,
    /// What goes over all tunnels.
    traffic: Arc<Traffic>,
    /// Requests in flight. Filled by the tunnel's own thread, emptied by the requests'.
    pub(crate) router: Router,
    /// What its participant can do beyond the contract.
    pub(crate) agreed: Agreed,
    /// Last message, milliseconds since the epoch; shown to people.
    seen: Arc<AtomicU64>,
    /// Last message on the forward-only clock; read by the monitor.
    alive: AtomicU64,
}

impl Tunnel {
    pub(crate) fn new(
        opened: &Opened,
        writer: Writer,
        traffic: Arc<Traffic>,
        (agreed, memory): (Agreed, Arc<Budget>),
        now: Now,
    ) -> Self {
        let router = if agreed.pause {
            Router::with_signal(PAUSING, memory, Some(flow_signal(writer.clone(), traffic.clone())))
        } else {
            Router::new(WAITING, memory)
        };
        Tunnel {
            number: opened.tunnel,
            writer,
            traffic,
            router,
            agreed,
            seen: opened.seen.clone(),
            alive: AtomicU64::new(now.mono),
        }
    }

    /// Notes a message of so many bytes.
    pub(crate) fn note(&self, bytes: usize, now: Now) {
        self.traffic.received.add(bytes);
        self.seen.store(now.wall, Ordering::Relaxed);
        self.alive.store(now.mono, Ordering::Relaxed);
    }

    /// Sends a text message, put together from its parts.
    ///
    /// # Errors
    /// When it can't be written to; it is on its way out then.
    pub(crate) fn write(&self, json: &[&[u8]]) -> Result<(), TunnelError> {
        write(&self.writer, &self.traffic, json)
    }

    /// Says that a client hung up. A tunnel that cannot be written to is on its way out already.
    pub(crate) fn cancel(&self, request_id: &str) {
        let _ = self.write(&[&wire::encode(&wire::ToParticipant::Cancel { request_id })]);
    }

    /// Closes it, and fails what is in flight.
    pub(crate) fn close(&self, code: u16, reason: &str, lost: LostReason) {
        self.router.fail_all(lost);
        self.writer.close(code, reason);
    }
}

fn write(writer: &Writer, traffic: &Traffic, json: &[&[u8]]) -> Result<(), TunnelError> {
    traffic.sent.add(json.iter().map(|part| part.len()).sum());
    writer.text(json)
}

/// Tells a participant to pause and to go on. A tunnel that cannot be written to is on its way out already.
fn flow_signal(writer: Writer, traffic: Arc<Traffic>) -> SendSignal {
    Box::new(move |request_id, signal| {
        let message = match signal {
            FlowSignal::Pause => wire::ToParticipant::Pause { request_id },
            FlowSignal::Resume => wire::ToParticipant::Resume { request_id },
        };
        let _ = write(&writer, &traffic, &[&wire::encode(&message)]);
    })
}

/// All open tunnels.
#[derive(Default)]
pub struct TunnelRegistry {
    open: Mutex<HashMap<u64, Arc<Tunnel>>>,
}

impl TunnelRegistry {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Tunnel>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel of a member.
    pub(crate) fn get(&self, serial: u64) -> Option<Arc<Tunnel>> {
        self.lock().get(&serial).cloned()
    }

    /// Puts a member's new tunnel in place, and gives back the one that it supersedes.
    #[must_use = "a superseded tunnel must be closed"]
    pub(crate) fn insert(&self, serial: u64, tunnel: Arc<Tunnel>) -> Option<Arc<Tunnel>> {
        self.lock().insert(serial, tunnel)
    }

    /// Takes a tunnel away, unless a later one has taken its place.
    pub(crate) fn remove(&self, serial: u64, tunnel: &Tunnel) {
        let mut open = self.lock();
        if open.get(&serial).is_some_and(|current| current.number == tunnel.number) {
            open.remove(&serial);
        }
    }

    /// Takes a member's tunnel away, whichever it is.
    pub(crate) fn take(&self, serial: u64) -> Option<Arc<Tunnel>> {
        self.lock().remove(&serial)
    }

    /// Those on which nothing has been heard for too long.
    pub(crate) fn silent(&self, now: Now) -> Vec<Arc<Tunnel>> {
        let silent = |t: &Tunnel| now.mono.saturating_sub(t.alive.load(Ordering::Relaxed)) > TIMEOUT_SECS * 1000;
        self.lock().values().filter(|tunnel| silent(tunnel)).cloned().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Tunnel>> {
        self.lock().values().cloned().collect()
    }
}
