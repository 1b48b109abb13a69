//! The hub's open tunnels, by member, and how messages are written to one. Whether a member is connected is decided by
//! `state::registry`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::budget::Budget;
use crate::hub::observe::metrics::Traffic;
use crate::proto::management::TIMEOUT_SECS;
use crate::proto::tunnel as wire;
use crate::state::Now;
use crate::state::registry::Opened;
use crate::sync::lock;
use crate::tunnel::{FlowSignal, LostReason, QueueLimits, Router, SendSignal, TunnelError, Writer};

/// The most bytes that wait for a request's client, past which the request ends. Any single message fits, and so does what can
/// be in transit between a participant that pauses and the hub.
const MAX_QUEUED: usize = wire::MAX_TO_HUB;
/// Queues of a participant without `tunnel.pause`: the reader waits for a slow client, but delays the tunnel's other requests by
/// at most a fifth of a second in any ten seconds.
const WAITING: QueueLimits = QueueLimits {
    high: 1 << 20,
    low: 0,
    most: MAX_QUEUED,
    wait: Duration::from_millis(200),
    within: Duration::from_secs(10),
};
/// Queues of a participant that honours `tunnel.pause`: the reader never waits.
const PAUSING: QueueLimits =
    QueueLimits { high: 256 << 10, low: 64 << 10, most: MAX_QUEUED, wait: Duration::ZERO, within: Duration::ZERO };

/// The optional features that were negotiated when the tunnel was opened (PROTOCOL.md, "Tunnel").
#[derive(Debug, Clone, Copy)]
pub struct TunnelFeatures {
    /// Whether chunks may come as binary messages.
    pub binary: bool,
    /// Whether the participant reads bodies of requests as binary messages.
    pub bodies: bool,
    /// Whether the participant honours `tunnel.pause`.
    pub pause: bool,
}

/// An open tunnel.
pub struct Tunnel {
    /// Its number in the registry. A later tunnel of the same member has a higher one.
    number: u64,
    /// Used by all threads that write; has its own lock and write deadline.
    writer: Writer,
    /// Byte counters of all tunnels together.
    traffic: Arc<Traffic>,
    /// Requests in flight. Filled by the tunnel's reader thread, drained by the requests' threads.
    pub(crate) router: Router,
    pub(crate) features: TunnelFeatures,
    /// Time of the last message, in milliseconds since the epoch; shared with the registry, for display.
    last_seen: Arc<AtomicU64>,
    /// Time of the last message on the monotonic clock, in milliseconds; read by the monitor.
    last_message: AtomicU64,
}

impl Tunnel {
    pub(crate) fn new(
        opened: &Opened,
        writer: Writer,
        traffic: Arc<Traffic>,
        (features, memory): (TunnelFeatures, Arc<Budget>),
        now: Now,
    ) -> Self {
        let router = if features.pause {
            Router::with_signal(PAUSING, memory, Some(flow_signal(writer.clone(), traffic.clone())))
        } else {
            Router::new(WAITING, memory)
        };
        Tunnel {
            number: opened.tunnel,
            writer,
            traffic,
            router,
            features,
            last_seen: opened.seen.clone(),
            last_message: AtomicU64::new(now.mono),
        }
    }

    /// Records that a message of so many bytes has come.
    pub(crate) fn record_message(&self, bytes: usize, now: Now) {
        self.traffic.received.add(bytes);
        self.last_seen.store(now.wall, Ordering::Relaxed);
        self.last_message.store(now.mono, Ordering::Relaxed);
    }

    /// Sends a text message that is made of these parts.
    ///
    /// # Errors
    /// When the tunnel cannot be written to. Its reader ends it then.
    pub(crate) fn write(&self, json: &[&[u8]]) -> Result<(), TunnelError> {
        write(&self.writer, &self.traffic, json)
    }

    /// Sends a request of these parts, with its body, as a binary message of its own, right behind it.
    ///
    /// # Errors
    /// As [`Tunnel::write`].
    pub(crate) fn write_with_body(&self, json: &[&[u8]], body: &[&[u8]]) -> Result<(), TunnelError> {
        self.traffic.sent.add(json.iter().chain(body).map(|part| part.len()).sum());
        self.writer.text_with_binary(json, body)
    }

    /// Sends `tunnel.cancel` for a request whose client has disconnected. Write errors are ignored: the reader ends such a tunnel.
    pub(crate) fn cancel(&self, request_id: &str) {
        let _ = self.write(&[&wire::encode(&wire::ToParticipant::Cancel { request_id })]);
    }

    /// Closes the tunnel, and fails its requests in flight.
    pub(crate) fn close(&self, code: u16, reason: &str, lost: LostReason) {
        self.router.fail_all(lost);
        self.writer.close(code, reason);
    }
}

fn write(writer: &Writer, traffic: &Traffic, json: &[&[u8]]) -> Result<(), TunnelError> {
    traffic.sent.add(json.iter().map(|part| part.len()).sum());
    writer.text(json)
}

/// Sends `tunnel.pause` and `tunnel.resume`. Write errors are ignored: the reader ends such a tunnel.
fn flow_signal(writer: Writer, traffic: Arc<Traffic>) -> SendSignal {
    Box::new(move |request_id, signal| {
        let message = match signal {
            FlowSignal::Pause => wire::ToParticipant::Pause { request_id },
            FlowSignal::Resume => wire::ToParticipant::Resume { request_id },
        };
        let _ = write(&writer, &traffic, &[&wire::encode(&message)]);
    })
}

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
        if open.get(&serial).is_some_and(|current| current.number == tunnel.number) {
            open.remove(&serial);
        }
    }

    /// Removes and returns a member's tunnel.
    pub(crate) fn take(&self, serial: u64) -> Option<Arc<Tunnel>> {
        self.lock().remove(&serial)
    }

    /// The tunnels whose last message is longer ago than the tunnel timeout.
    pub(crate) fn silent(&self, now: Now) -> Vec<Arc<Tunnel>> {
        let silent = |t: &Tunnel| now.mono.saturating_sub(t.last_message.load(Ordering::Relaxed)) > TIMEOUT_SECS * 1000;
        self.lock().values().filter(|tunnel| silent(tunnel)).cloned().collect()
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
