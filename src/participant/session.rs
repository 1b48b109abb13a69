//! A participant's session: its threads, and the ways in which it ends.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::join::{Builder, Timing};
use super::provider::Provider;
use super::serve::{TunnelEvent, Workers};
use crate::client::Client;
use crate::error::Error;
use crate::proto::management::{ErrorCode, Participant, Registered};
use crate::proto::tunnel::{CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, encode_ping, is_superseded};
use crate::tunnel::{Connected, Writer};

/// Heartbeats that may fail in a row.
const MAX_FAILED: u32 = 3;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was asked to.
    Closed,
    /// Three heartbeats in a row failed, or the hub does not know the participant any more.
    HeartbeatFailed,
    /// The tunnel closed, from either side, or the hub fell silent for 30 s.
    TunnelClosed,
    /// Another start of the same participant took its place, which goes on serving: nothing is removed.
    Superseded,
}

impl CloseReason {
    /// As seed 000 spells it: `closed`, `heartbeat_failed`, `tunnel_closed`; and `superseded`.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::HeartbeatFailed => "heartbeat_failed",
            CloseReason::TunnelClosed => "tunnel_closed",
            CloseReason::Superseded => "superseded",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A session's end.
#[derive(Debug, Clone)]
pub struct CloseEvent {
    /// Why it ended.
    pub reason: CloseReason,
    /// The last error, where there was one.
    pub error: Option<Arc<Error>>,
    /// The code with which the hub closed the tunnel, where it did (RFC 6455, section 7.4). With 1000 it was deliberate:
    /// the participant was removed, its room deleted, or another tunnel took this one's place.
    pub code: Option<u16>,
}

impl CloseEvent {
    /// The end of a session that was asked to end.
    pub fn closed() -> Self {
        CloseEvent { reason: CloseReason::Closed, error: None, code: None }
    }
}

/// A participant that is serving its room. Dropping it closes it.
///
/// ```no_run
/// use gambi::participant::Session;
///
/// let session = Session::builder("http://localhost:3000", "ABC234").participant_id("worker-1").model("llama3").start()?;
/// println!("registered as {}", session.participant().id);
/// let end = session.wait_until_closed();
/// println!("session ended: {}", end.reason);
/// # Ok::<(), gambi::Error>(())
/// ```
pub struct Session {
    participant: Participant,
    room_id: String,
    handle: SessionHandle,
    /// Ends when nothing more is read from the tunnel.
    read_out: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Closes a session from elsewhere: a signal handler's thread, another part of a program. Copies mean the same session.
#[derive(Clone)]
pub struct SessionHandle(Arc<Inner>);

struct Inner {
    client: Client,
    room: String,
    id: String,
    writer: Writer,
    /// The first end counts; whoever waits for it holds the other end of `over`.
    end: Mutex<Option<CloseEvent>>,
    /// Dropped at the end, which everyone who waits can see.
    running: Mutex<Option<Sender<()>>>,
    over: Receiver<()>,
    /// Whether its registration has been removed, or somebody is at it.
    removed: AtomicBool,
    /// When the hub was last heard, milliseconds since `start`.
    heard: AtomicU64,
    start: Instant,
    timing: Timing,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// A session in a room of the hub at `hub_url`. A participant id and a model must be given before it starts.
    pub fn builder(hub_url: impl Into<String>, room: impl Into<String>) -> Builder {
        Builder::new(hub_url.into(), room.into())
    }

    pub(super) fn run(
        builder: &Builder,
        client: &Client,
        provider: Provider,
        registered: &Registered,
        tunnel: Connected,
    ) -> Result<Self, Error> {
        let (reader, writer, headers) = tunnel;
        let binary =
            headers.iter().any(|(name, value)| name.eq_ignore_ascii_case(FRAMES_HEADER) && value == FRAMES_BINARY);
        let (running, over) = bounded(0);
        let inner = Arc::new(Inner {
            client: client.clone(),
            room: builder.room.clone(),
            id: builder.id.clone(),
            writer: writer.clone(),
            end: Mutex::default(),
            running: Mutex::new(Some(running)),
            over,
            removed: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            start: Instant::now(),
            timing: builder.timing,
        });
        let no_thread = |e: io::Error| Error::System { what: "starting a thread", reason: e.to_string() };
        let ear = inner.clone();
        let read_out =
            Workers::start(provider, (reader, writer), binary, move |heard| ear.hear(heard)).map_err(no_thread)?;
        let mut session = Session {
            participant: registered.participant.clone(),
            room_id: registered.room_id.clone(),
            handle: SessionHandle(inner),
            read_out,
            threads: Mutex::default(),
        };
        session.spawn("ping", Inner::ping)?;
        session.spawn("heartbeat", Inner::heartbeat)?;
        Ok(session)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Inner) + Send + 'static) -> Result<(), Error> {
        let inner = self.handle.0.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || work(&inner));
        let thread = thread.map_err(|e| Error::System { what: "starting a thread", reason: e.to_string() })?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// The participant as the hub registered it.
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// Id (not code) of the room.
    pub fn room_id(&self) -> &str {
        &self.room_id
    }

    /// A handle that closes the session from elsewhere.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Waits until the session is over, whatever the reason.
    pub fn wait_until_closed(&self) -> CloseEvent {
        self.handle.wait_until_closed()
    }

    /// Ends a session that is lost already, without removing the participant: it is about to come back.
    pub(super) fn abandon(&self) {
        self.handle.0.removed.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Removes the participant from its room, unless another start of it took its place; closes the tunnel, and waits until
    /// all is still. Safe to call twice, and
    /// after the tunnel is gone.
    pub fn close(&self) {
        self.handle.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
        let _ = self.read_out.recv();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

impl SessionHandle {
    /// Waits until the session is over.
    pub fn wait_until_closed(&self) -> CloseEvent {
        let _ = self.0.over.recv();
        lock(&self.0.end).clone().unwrap_or(CloseEvent::closed())
    }

    /// Removes the participant, unless another start of it took its place, and closes the tunnel. After the first call it does
    /// nothing.
    pub fn close(&self) {
        self.0.end(CloseReason::Closed, None);
        if !self.0.removed.swap(true, Ordering::SeqCst) {
            // Best effort: without a hub there is nothing left to be removed from.
            let _ = self.0.client.participants(&self.0.room).remove(&self.0.id);
        }
    }
}

impl Inner {
    /// Notes how the session ended, wakes everybody and closes the tunnel. The first end counts.
    fn end(&self, reason: CloseReason, error: Option<Error>) {
        self.end_with(reason, error, None);
    }

    fn end_with(&self, reason: CloseReason, error: Option<Error>, code: Option<u16>) {
        lock(&self.end).get_or_insert_with(|| CloseEvent { reason, error: error.map(Arc::new), code });
        lock(&self.running).take();
        self.writer.close(CLOSE_NORMAL, reason.as_str());
    }

    fn is_over(&self) -> bool {
        lock(&self.end).is_some()
    }

    fn note(&self) {
        self.heard.store(elapsed(self.start), Ordering::Relaxed);
    }

    /// What is heard on the tunnel.
    fn hear(&self, heard: TunnelEvent) {
        match heard {
            TunnelEvent::Alive => self.note(),
            TunnelEvent::Closed { code, reason } if is_superseded(code, &reason) => {
                // The registration is the newcomer's from now on.
                self.removed.store(true, Ordering::SeqCst);
                let reason = format!("another start of the participant \"{}\" took this one's place", self.id);
                self.end_with(CloseReason::Superseded, Some(Error::Tunnel { reason }), code);
            }
            TunnelEvent::Closed { code, reason } => {
                let with = code.map(|code| format!(" with {code}")).unwrap_or_default();
                let reason = format!("the hub closed it{with}: {reason}");
                self.end_with(CloseReason::TunnelClosed, Some(Error::Tunnel { reason }), code);
            }
            TunnelEvent::Lost(error) => {
                self.end(CloseReason::TunnelClosed, Some(Error::Tunnel { reason: error.to_string() }));
            }
        }
    }

    /// Waits for the next beat; false when the session is over.
    fn wait(&self) -> bool {
        self.over.recv_timeout(self.timing.beat) == Err(RecvTimeoutError::Timeout)
    }

    fn ping(&self) {
        loop {
            let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let sent = self.writer.text(&[encode_ping(u64::try_from(timestamp).unwrap_or(u64::MAX)).as_bytes()]);
            let silent = elapsed(self.start).saturating_sub(self.heard.load(Ordering::Relaxed));
            let error = match sent {
                Err(error) => Some(error.to_string()),
                Ok(()) if u128::from(silent) > self.timing.silence.as_millis() => {
                    Some("the hub has fallen silent".into())
                }
                Ok(()) => None,
            };
            if let Some(reason) = error {
                self.end(CloseReason::TunnelClosed, Some(Error::Tunnel { reason }));
                return;
            }
            if !self.wait() {
                return;
            }
        }
    }

    fn heartbeat(&self) {
        let mut failed = 0;
        while self.wait() {
            match self.client.participants(&self.room).heartbeat(&self.id) {
                Ok(_) => failed = 0,
                Err(error) => {
                    failed += 1;
                    let unknown =
                        matches!(error.code(), Some(ErrorCode::RoomNotFound | ErrorCode::ParticipantNotFound));
                    if (unknown || failed >= MAX_FAILED) && !self.is_over() {
                        self.end(CloseReason::HeartbeatFailed, Some(error));
                        return;
                    }
                }
            }
        }
    }
}

fn elapsed(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
