//! An open tunnel at the hub: how messages are written to it, and how it is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::budget::Budget;
use crate::hub::maintenance::clock::Clock;
use crate::hub::observe::metrics::Traffic;
use crate::hub::tunnels::incoming::{Incoming, Route};
use crate::proto::management::TIMEOUT_SECS;
use crate::proto::tunnel as wire;
use crate::state::Now;
use crate::state::registry::Opened;
use crate::tunnel::{
    FlowSignal, LostReason, Passed, Piece, Progress, QueueLimits, Reader, Received, Routed, Router, SendSignal,
    SharedReader, SharedTunnel, TunnelEnds, TunnelError, Writer, close_deadline,
};

/// The longest time that one read of a request takes: how often it looks whether it is to poll its client.
const READ_FOR: Duration = Duration::from_millis(100);
/// As [`READ_FOR`], of the tunnel's own thread.
const OWN_READ_FOR: Duration = Duration::from_secs(2);

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
    reading: SharedReader<Reading>,
    /// Requests in flight. Filled by the thread that reads the tunnel, drained by the requests' threads.
    pub(crate) router: Router,
    pub(crate) features: TunnelFeatures,
    /// Time of the last message, in milliseconds since the epoch; shared with the registry, for display.
    last_seen: Arc<AtomicU64>,
    /// Time of the last message on the monotonic clock, in milliseconds; read by the monitor.
    last_message: AtomicU64,
    clock: Clock,
    /// Why it has ended, where that is not the participant's doing.
    lost: OnceLock<LostReason>,
}

/// How the pieces of a request are put into its queue.
type PutPieces = fn(&Router, &str, Vec<Piece>) -> Routed;

/// What a thread needs that reads the tunnel.
struct Reading {
    reader: Reader,
    incoming: Incoming,
}

impl Tunnel {
    pub(crate) fn new(
        opened: &Opened,
        TunnelEnds { reader, writer }: TunnelEnds,
        features: TunnelFeatures,
        traffic: Arc<Traffic>,
        memory: Arc<Budget>,
        clock: Clock,
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
            reading: SharedReader::new(Reading { reader, incoming: Incoming::default() }),
            router,
            features,
            last_seen: opened.seen.clone(),
            last_message: AtomicU64::new(clock.now().mono),
            clock,
            lost: OnceLock::new(),
        }
    }

    /// Reads the tunnel until it has ended, on its own thread.
    pub(crate) fn read(&self) {
        let read = |reading: &mut Reading| self.read_batch(reading, OWN_READ_FOR, Router::route_all);
        self.reading.run(read, || self.router.may_request_read(), || self.router.wake_all());
    }

    /// Reads what comes next, with what came along with it for the same response, and hands it over by `put`. If the request
    /// has ended, the participant is sent a cancel.
    fn read_batch(&self, Reading { reader, incoming }: &mut Reading, timeout: Duration, put: PutPieces) -> Progress {
        let mut route = RouteHere { tunnel: self, put, has_put: false, has_delivered: false };
        // The clock is read once: what comes along with the first message has been waiting already.
        let mut now = None;
        loop {
            let goes_on = match reader.read_within(timeout) {
                Ok(Some(received)) => {
                    let now = *now.get_or_insert_with(|| self.clock.now());
                    self.take_in(received, now, incoming, &mut route)
                }
                Ok(None) => true,
                Err(error) => {
                    self.record_end(&error);
                    false
                }
            };
            // A request that reads must take what is in its queue before more is put there.
            if !goes_on || route.has_put || !reader.has_buffered_frame() {
                incoming.hand_over(&mut route);
                return match goes_on {
                    false => Progress::Ended,
                    true if route.has_delivered => Progress::Delivered,
                    true => Progress::Continues,
                };
            }
        }
    }

    /// Takes in a message or a control frame. False if the tunnel is closed.
    fn take_in(&self, received: Received<'_>, now: Now, incoming: &mut Incoming, route: &mut RouteHere<'_>) -> bool {
        match received {
            Received::Text(text) => {
                self.record_message(text.len(), now);
                if incoming.text(text, route) {
                    // After a write error the writer aborts the tunnel, and the next read fails.
                    let pong = wire::encode(&wire::ToParticipant::Pong { timestamp: now.wall });
                    self.traffic.sent.add(pong.len());
                    let _ = self.writer.answer(&pong);
                }
            }
            Received::Binary(bytes) => {
                self.record_message(bytes.len(), now);
                if self.features.binary {
                    incoming.binary(bytes, route);
                }
            }
            // A hub expects no bodies.
            Received::Body(_) | Received::KeepAlive => self.record_message(0, now),
            Received::Closed { .. } => return false,
        }
        true
    }

    /// Records why the tunnel cannot be read any more.
    fn record_end(&self, error: &TunnelError) {
        if matches!(error, TunnelError::NoMemory) {
            let _ = self.lost.set(LostReason::NoMemory);
        }
    }

    /// Fails its requests in flight, once it has ended.
    pub(crate) fn fail_requests(&self) {
        self.router.fail_all(*self.lost.get().unwrap_or(&LostReason::Closed));
    }

    /// Whether the last message is longer ago than the tunnel timeout.
    pub(crate) fn is_silent(&self, now: Now) -> bool {
        now.mono.saturating_sub(self.last_message.load(Ordering::Relaxed)) > TIMEOUT_SECS * 1000
    }

    /// Whether both are the same tunnel.
    pub(crate) fn is(&self, other: &Tunnel) -> bool {
        self.number == other.number
    }

    /// Records that a message of so many bytes has come.
    fn record_message(&self, bytes: usize, now: Now) {
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
        self.close_until(code, reason, lost, close_deadline());
    }

    /// As [`Tunnel::close`], by this deadline.
    pub(super) fn close_until(&self, code: u16, reason: &str, lost: LostReason, deadline: Instant) {
        self.router.fail_all(lost);
        self.writer.close_until(code, reason, deadline);
        self.leave_reading();
    }
}

/// Where a thread that reads the tunnel puts what it has read. If a request ends by that, the participant is sent a cancel.
struct RouteHere<'t> {
    tunnel: &'t Tunnel,
    put: PutPieces,
    /// Whether something has been put into a queue.
    has_put: bool,
    /// Whether something was for a request that waits for it, or its client.
    has_delivered: bool,
}

impl RouteHere<'_> {
    fn put_here(&mut self, id: &str, pieces: Vec<Piece>) -> Routed {
        self.has_put = true;
        let routed = (self.put)(&self.tunnel.router, id, pieces);
        self.record(id, routed);
        routed
    }

    /// Records what has come of pieces for a request. One that they have ended is cancelled.
    fn record(&mut self, id: &str, routed: Routed) {
        match routed {
            Routed::Delivered => self.has_delivered = true,
            Routed::Ended(_) => self.tunnel.cancel(id),
            Routed::Unknown => {}
        }
    }
}

impl Route for RouteHere<'_> {
    fn pass(&mut self, id: &str, bytes: &[u8]) -> bool {
        match self.tunnel.router.pass(id, bytes) {
            Passed::Sent => {
                self.has_delivered = true;
                true
            }
            Passed::Partly(routed) => {
                self.has_put = true;
                self.record(id, routed);
                true
            }
            Passed::No => false,
        }
    }

    fn put(&mut self, id: &str, pieces: Vec<Piece>) {
        self.put_here(id, pieces);
    }

    fn fail(&mut self, id: &str, error: Piece) {
        if self.put_here(id, vec![error]) == Routed::Delivered {
            self.tunnel.cancel(id);
        }
    }
}

impl SharedTunnel for Tunnel {
    fn read_here(&self) -> bool {
        self.router.in_flight() == 1
            && self.reading.read_here(|reading| self.read_batch(reading, READ_FOR, Router::route_now))
    }

    fn leave_reading(&self) {
        self.reading.take_back();
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
