//! A participant's session, from probe to close.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::probe::{Probe, probe};
use super::provider::Provider;
use super::serve::Workers;
use crate::client::Client;
use crate::error::Error;
use crate::proto::management::{
    Capabilities, DEFAULT_ENDPOINT, ErrorCode, HEARTBEAT_SECS, Participant, Registered, Registration, RuntimeConfig,
    Specs, TIMEOUT_SECS,
};
use crate::proto::tunnel::{
    CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, FromHub, MAX_TO_PARTICIPANT, decode_from_hub, encode_ping,
};
use crate::tunnel::{self, ConnectError, Connected, Incoming, Limits, Reader, Writer};

/// Heartbeats that may fail in a row.
const MAX_FAILED: u32 = 3;
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What a session needs to know. Made by [`Session::builder`].
#[derive(Clone)]
pub struct Builder {
    hub_url: String,
    room: String,
    id: String,
    registration: Registration,
    auth: Vec<(String, String)>,
    hub_headers: Vec<(String, String)>,
    timing: Timing,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
struct Timing {
    beat: Duration,
    silence: Duration,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was asked to.
    Closed,
    /// Three heartbeats in a row failed, or the hub does not know the participant any more.
    HeartbeatFailed,
    /// The tunnel closed, from either side, or the hub fell silent for 30 s.
    TunnelClosed,
}

impl CloseReason {
    /// As seed 000 spells it: `closed`, `heartbeat_failed`, `tunnel_closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::HeartbeatFailed => "heartbeat_failed",
            CloseReason::TunnelClosed => "tunnel_closed",
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

impl Builder {
    /// The participant's id; the same one makes a retry safe.
    #[must_use]
    pub fn participant_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Its name for people; its id unless told otherwise.
    #[must_use]
    pub fn nickname(mut self, nickname: impl Into<String>) -> Self {
        self.registration.nickname = nickname.into();
        self
    }

    /// The model, by the name that the provider knows it by.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.registration.model = model.into();
        self
    }

    /// The provider's base URL; `http://localhost:11434` unless told otherwise.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.registration.endpoint = endpoint.into();
        self
    }

    /// The room's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.registration.password = Some(password.into());
        self
    }

    /// A header for the provider, such as its API key. It is sent to nobody else.
    #[must_use]
    pub fn auth_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.auth.push((name.into(), value.into()));
        self
    }

    /// A header for the hub, for one that stands behind something that wants it.
    #[must_use]
    pub fn hub_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.hub_headers.push((name.into(), value.into()));
        self
    }

    /// The machine.
    #[must_use]
    pub fn specs(mut self, specs: Specs) -> Self {
        self.registration.specs = Some(specs);
        self
    }

    /// Generation settings.
    #[must_use]
    pub fn config(mut self, config: RuntimeConfig) -> Self {
        self.registration.config = Some(config);
        self
    }

    /// What the provider can do, in place of what the probe finds.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.registration.capabilities = Some(capabilities);
        self
    }

    /// Requests that it takes at once, 1 to [`MAX_CONCURRENCY`](crate::proto::management::MAX_CONCURRENCY); 1 unless told
    /// otherwise.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.registration.concurrency = Some(requests);
        self
    }

    /// Another name that the model answers to.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.registration.aliases.push(name.into());
        self
    }

    /// How often the hub is told that the participant is alive, by heartbeat and by ping; every ten seconds unless told
    /// otherwise. The hub gives up on a participant after thirty.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.beat = interval;
        self
    }

    /// How long the hub may be silent before the session ends; thirty seconds unless told otherwise.
    #[must_use]
    pub fn hub_timeout(mut self, timeout: Duration) -> Self {
        self.timing.silence = timeout;
        self
    }

    /// Probes the provider; nothing is registered yet.
    ///
    /// # Errors
    /// When a value is wrong, the provider does not answer, or does not have the model.
    pub fn prepare(mut self) -> Result<Prepared, Error> {
        let client = Client::new(&self.hub_url)?;
        let client = self.hub_headers.iter().fold(client, |client, (name, value)| client.with_header(name, value));
        let provider = Provider::new(&self.registration.endpoint, &self.auth)?;
        self.registration.endpoint.clone_from(&provider.endpoint);
        for (what, value) in [("the participant id", &self.id), ("the model", &self.registration.model)] {
            if value.is_empty() {
                return Err(Error::Invalid { what, reason: "must be given".into() });
            }
        }
        if self.registration.nickname.is_empty() {
            self.registration.nickname.clone_from(&self.id);
        }
        let endpoint = provider.endpoint.clone();
        let probe = probe(&provider).map_err(|reason| Error::Provider { endpoint: endpoint.clone(), reason })?;
        if !probe.has(&self.registration.model) {
            let model = self.registration.model.clone();
            return Err(Error::ModelMissing { endpoint, model, available: probe.models });
        }
        self.registration.capabilities.get_or_insert(probe.capabilities);
        Ok(Prepared { builder: self, client, provider, probe })
    }

    /// Probes, registers, opens the tunnel and starts the loops.
    ///
    /// # Errors
    /// As [`Builder::prepare`]; when the hub refuses or can't be reached; when the tunnel can't be opened, in which
    /// case the registration has been removed.
    pub fn start(self) -> Result<Session, Error> {
        self.prepare()?.register()?.open_tunnel()
    }
}

/// A provider that has been probed.
pub struct Prepared {
    builder: Builder,
    client: Client,
    provider: Provider,
    probe: Probe,
}

impl Prepared {
    /// What the probe found.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// What will be registered. The password is in it.
    pub fn registration(&self) -> &Registration {
        &self.builder.registration
    }

    /// Registers the participant.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn register(self) -> Result<Joined, Error> {
        let participants = self.client.participants(&self.builder.room);
        let (registered, _) = participants.upsert(&self.builder.id, &self.builder.registration)?;
        Ok(Joined { prepared: self, registered })
    }
}

/// A participant that is registered, and has no tunnel yet.
pub struct Joined {
    prepared: Prepared,
    registered: Registered,
}

impl Joined {
    /// What the hub answered. The token in it is not printed.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Opens the tunnel and starts the loops.
    ///
    /// # Errors
    /// When it can't be opened. The registration is removed then.
    pub fn open_tunnel(self) -> Result<Session, Error> {
        let Joined { prepared, registered } = self;
        let Prepared { builder, client, provider, .. } = prepared;
        let opened = dial(&registered, &builder.hub_headers)
            .and_then(|tunnel| Session::run(&builder, &client, provider, &registered, tunnel));
        if opened.is_err() {
            let _ = client.participants(&builder.room).remove(&builder.id);
        }
        opened
    }
}

fn dial(registered: &Registered, headers: &[(String, String)]) -> Result<Connected, Error> {
    let ticket = &registered.tunnel;
    let url = format!("{}?token={}&frames={FRAMES_BINARY}", ticket.url, crate::client::http::encode(&ticket.token));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let limits = Limits { max_message: MAX_TO_PARTICIPANT, ..Limits::default() };
    tunnel::connect(&url, &headers, limits, OPEN_WITHIN).map_err(|error| match error {
        ConnectError::Io(error) => Error::Unreachable { url: ticket.url.clone(), reason: error.to_string() },
        other => Error::Tunnel { reason: other.to_string() },
    })
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
        Builder {
            hub_url: hub_url.into(),
            room: room.into(),
            id: String::new(),
            registration: Registration { endpoint: DEFAULT_ENDPOINT.into(), ..Registration::default() },
            auth: Vec::new(),
            hub_headers: Vec::new(),
            timing: Timing { beat: Duration::from_secs(HEARTBEAT_SECS), silence: Duration::from_secs(TIMEOUT_SECS) },
        }
    }

    fn run(
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
        let workers = Workers::new(provider, writer, binary);
        let mut session = Session {
            participant: registered.participant.clone(),
            room_id: registered.room_id.clone(),
            handle: SessionHandle(inner),
            threads: Mutex::default(),
        };
        session.spawn("tunnel", move |inner| inner.read(reader, &workers))?;
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

    /// Removes the participant from its room, closes the tunnel, and waits until all is still. Safe to call twice, and
    /// after the tunnel is gone.
    pub fn close(&self) {
        self.handle.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
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

    /// Removes the participant and closes the tunnel. After the first call it does nothing.
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

    fn read(&self, mut reader: Reader, workers: &Workers) {
        loop {
            match reader.read() {
                Ok(Incoming::Text(text)) => {
                    self.note();
                    match decode_from_hub(&text) {
                        Ok(FromHub::Request(request)) => workers.start(request),
                        Ok(FromHub::Cancel { request_id }) => workers.cancel(&request_id),
                        Ok(FromHub::Pong | FromHub::Unknown) | Err(_) => {}
                    }
                }
                Ok(Incoming::Binary(_) | Incoming::Alive) => self.note(),
                Ok(Incoming::Closed { code, reason }) => {
                    let with = code.map(|code| format!(" with {code}")).unwrap_or_default();
                    let reason = format!("the hub closed it{with}: {reason}");
                    self.end_with(CloseReason::TunnelClosed, Some(Error::Tunnel { reason }), code);
                    return;
                }
                Err(error) => {
                    self.end(CloseReason::TunnelClosed, Some(Error::Tunnel { reason: error.to_string() }));
                    return;
                }
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
            let sent = self.writer.text(encode_ping(u64::try_from(timestamp).unwrap_or(u64::MAX)).as_bytes());
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
