//! A running session: its threads, and the reasons for which it ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, select};

use super::close_event::{CloseEvent, CloseReason};
use super::follow::{Follower, Offer, OnProviderChange, ProviderState};
use super::forward::Forwarder;
use super::load::Load;
use super::provider::ProviderClient;
use super::serve::{TunnelEvent, Workers};
use crate::client::Client;
use crate::client::backoff::StopSignal;
use crate::error::{Error, Reason};
use crate::proto::management::{ErrorCode, Participant, Registered};
use crate::proto::time::millis;
use crate::proto::tunnel::{
    BODIES_BINARY, BODIES_HEADER, CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, encode_ping, is_superseded,
};
use crate::sync::lock;
use crate::tunnel::{Connected, Reader, TunnelEnds, Writer};

/// How long the reader may take to handle the close frame of a tunnel on which a write has failed.
const CLOSE_FRAME_TIME: Duration = Duration::from_secs(2);
/// How long a session that has drained waits for the hub to have read its last answers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the hub may take to answer that the participant leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time that the hub has to answer a heartbeat, where they follow each other quickly.
const MIN_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of failed heartbeats in a row that ends a session.
const MAX_FAILED_HEARTBEATS: u32 = 3;

/// The intervals of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// The interval of heartbeats and of pings.
    pub(super) heartbeat_interval: Duration,
    /// The time without a message from the hub after which the session ends.
    pub(super) hub_timeout: Duration,
    /// Between two looks at the provider's list of models.
    pub(super) refresh_interval: Duration,
}

/// What a session is started with: a registered participant and its open tunnel.
pub(super) struct SessionParams {
    pub(super) client: Client,
    pub(super) room: String,
    pub(super) id: String,
    pub(super) timing: Timing,
    pub(super) provider: ProviderClient,
    pub(super) offer: Offer,
    pub(super) on_change: Option<OnProviderChange>,
    pub(super) registered: Registered,
    pub(super) tunnel: Connected,
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
    /// Disconnected when no worker reads the tunnel any more.
    reading: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Closes a session from another thread. Clones refer to the same session.
#[derive(Clone)]
pub struct SessionHandle(Arc<SessionState>);

/// What a session's threads and handles share.
struct SessionState {
    client: Client,
    room: String,
    id: String,
    writer: Writer,
    /// Set once, by the first thread that ends the session, before `ended`.
    end: Mutex<Option<CloseEvent>>,
    ended: StopSignal,
    /// Set when the tunnel is not read any more.
    tunnel_ended: StopSignal,
    /// The requests in progress.
    load: Arc<Load>,
    /// Whether this session must not remove the registration: it has done so, or the registration is another session's.
    deregistered: AtomicBool,
    /// When the hub's latest message arrived, in milliseconds since `start`.
    last_message: AtomicU64,
    start: Instant,
    timing: Timing,
    provider: Arc<ProviderState>,
}

impl Session {
    /// Starts the threads of a session.
    pub(super) fn start(params: SessionParams) -> Result<Self, Error> {
        let SessionParams { client, room, id, timing, provider, offer, on_change, registered, tunnel } = params;
        let Connected { ends: TunnelEnds { reader, writer }, headers } = tunnel;
        let state = Arc::new(SessionState {
            client,
            room,
            id,
            writer,
            end: Mutex::default(),
            ended: StopSignal::new(),
            tunnel_ended: StopSignal::new(),
            load: Arc::new(Load::new(registered.participant.concurrency)),
            deregistered: AtomicBool::new(false),
            last_message: AtomicU64::new(0),
            start: Instant::now(),
            timing,
            provider: Arc::new(ProviderState::new(offer.registration.loaded.clone())),
        });
        let follower = state.follower(provider.clone(), offer, on_change);
        let reading = SessionState::serve(&state, provider, reader, &headers)?;
        let mut session = Session {
            participant: registered.participant,
            room_id: registered.room_id,
            handle: SessionHandle(state),
            reading,
            threads: Mutex::default(),
        };
        session.spawn("ping", SessionState::send_pings)?;
        session.spawn("heartbeat", SessionState::send_heartbeats)?;
        session.spawn("provider", move |state| follower.run(&state.provider, &state.ended))?;
        Ok(session)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&SessionState) + Send + 'static) -> Result<(), Error> {
        let state = self.handle.0.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || work(&state));
        lock(&self.threads).push(thread.map_err(Error::no_thread)?);
        Ok(())
    }

    /// The participant as the hub registered it.
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// The room's id, which is not its code.
    pub fn room_id(&self) -> &str {
        &self.room_id
    }

    /// A handle that closes the session from another thread.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Waits until the session ends.
    pub fn wait_until_closed(&self) -> CloseEvent {
        self.handle.wait_until_closed()
    }

    /// Closes a lost session without removing its registration, which the next session renews.
    pub(super) fn abandon(&self) {
        self.handle.0.deregistered.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Removes the participant from its room, unless the session was superseded; closes the tunnel, and waits for the
    /// session's threads to stop reading. May be called again, and after the tunnel is lost.
    pub fn close(&self) {
        self.handle.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
        let _ = self.reading.recv();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

impl SessionHandle {
    /// Looks at the provider's list of models now, and renews the registration if it has changed.
    pub fn refresh_models(&self) {
        self.0.provider.refresh();
    }

    /// Waits until the session ends.
    pub fn wait_until_closed(&self) -> CloseEvent {
        self.0.ended.wait();
        lock(&self.0.end).clone().unwrap_or(CloseEvent::closed())
    }

    /// Takes no further requests, and tells the hub, which sends them to other participants. Returns the number of those in
    /// progress.
    /// [`SessionHandle::wait_until_drained`] and [`SessionHandle::close`] should follow.
    pub fn drain(&self) -> usize {
        let requests = self.0.load.drain();
        if requests > 0 {
            // With none, the participant leaves at once.
            self.0.provider.report_now();
        }
        requests
    }

    /// Waits until the requests in progress have ended. False when some have not within the timeout.
    pub fn wait_until_drained(&self, timeout: Duration) -> bool {
        self.0.load.wait_until_drained(timeout)
    }

    /// Removes the participant, unless the session was superseded, and closes the tunnel. Further calls do nothing.
    pub fn close(&self) {
        self.0.end(CloseReason::Closed, None);
        if self.0.load.is_draining() {
            // Removing the participant would cut off answers that the hub has not read from the tunnel yet.
            self.0.tunnel_ended.wait_timeout(CLOSE_TIMEOUT);
        }
        if !self.0.deregistered.swap(true, Ordering::SeqCst) {
            // Best effort: a hub that can't be reached expires the registration by itself.
            let client = self.0.client.clone().with_timeout(LEAVE_TIMEOUT);
            let _ = client.participants(&self.0.room).remove(&self.0.id);
        }
    }
}

impl SessionState {
    /// What follows the provider.
    fn follower(&self, provider: ProviderClient, offer: Offer, on_change: Option<OnProviderChange>) -> Follower {
        Follower {
            client: self.client.clone(),
            room: self.room.clone(),
            id: self.id.clone(),
            provider,
            offer,
            load: self.load.clone(),
            on_change,
            tick: self.timing.heartbeat_interval,
            interval: self.timing.refresh_interval,
        }
    }

    /// Starts to serve the tunnel in the form that its handshake's headers agree to. What is returned is disconnected when
    /// no worker reads it any more.
    fn serve(
        state: &Arc<Self>,
        provider: ProviderClient,
        reader: Reader,
        headers: &[(String, String)],
    ) -> Result<Receiver<()>, Error> {
        let agreed = |header: &str, value: &str| {
            headers.iter().any(|(name, given)| name.eq_ignore_ascii_case(header) && given == value)
        };
        let (binary, bodies) = (agreed(FRAMES_HEADER, FRAMES_BINARY), agreed(BODIES_HEADER, BODIES_BINARY));
        let forwarder = Forwarder::new(provider, state.provider.clone(), state.writer.clone(), binary);
        let events = state.clone();
        let load = state.load.clone();
        Workers::start(forwarder, (reader, bodies), load, move |event| events.on_event(event)).map_err(Error::no_thread)
    }

    /// Records how the session ended, wakes all waiting threads and closes the tunnel. Only the first call counts.
    fn end(&self, reason: CloseReason, error: Option<Error>) {
        self.end_with(reason, error, None);
    }

    fn end_with(&self, reason: CloseReason, error: Option<Error>, code: Option<u16>) {
        lock(&self.end).get_or_insert_with(|| CloseEvent { reason, error: error.map(Arc::new), code });
        self.ended.stop();
        self.writer.close(CLOSE_NORMAL, reason.as_str());
    }

    /// Handles an event of the tunnel.
    fn on_event(&self, event: TunnelEvent) {
        if !matches!(event, TunnelEvent::Alive) {
            self.tunnel_ended.stop();
        }
        match event {
            TunnelEvent::Alive => self.last_message.store(millis(self.start.elapsed()), Ordering::Relaxed),
            TunnelEvent::Closed { code, reason } if is_superseded(code, &reason) => {
                // The registration now belongs to the newer session.
                self.deregistered.store(true, Ordering::SeqCst);
                let reason = format!("another start of the participant \"{}\" took this one's place", self.id);
                self.end_with(CloseReason::Superseded, Some(Error::Tunnel { reason: reason.into() }), code);
            }
            TunnelEvent::Closed { code, reason } => {
                let with = code.map(|code| format!(" with {code}")).unwrap_or_default();
                let reason = format!("the hub closed it{with}: {reason}");
                self.end_with(CloseReason::TunnelClosed, Some(Error::Tunnel { reason: reason.into() }), code);
            }
            TunnelEvent::Lost(error) => {
                self.end(CloseReason::TunnelClosed, Some(Error::Tunnel { reason: error.into() }));
            }
        }
    }

    /// Waits for one heartbeat interval. True when the session has ended.
    fn wait_interval(&self) -> bool {
        self.ended.wait_timeout(self.timing.heartbeat_interval)
    }

    fn send_pings(&self) {
        loop {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let sent = self.writer.text(&[encode_ping(millis(since_epoch)).as_bytes()]);
            let silent = millis(self.start.elapsed()).saturating_sub(self.last_message.load(Ordering::Relaxed));
            let error = match sent {
                // A tunnel that the hub closes fails writes before its close frame, which says why, has been handled.
                Err(_) if self.ended.wait_timeout(CLOSE_FRAME_TIME) => return,
                Err(error) => Some(Reason::from(error)),
                Ok(()) if silent > millis(self.timing.hub_timeout) => Some("the hub has fallen silent".into()),
                Ok(()) => None,
            };
            if let Some(reason) = error {
                self.end(CloseReason::TunnelClosed, Some(Error::Tunnel { reason }));
                return;
            }
            if self.wait_interval() {
                return;
            }
        }
    }

    fn send_heartbeats(&self) {
        let interval = self.timing.heartbeat_interval;
        // One that gets no answer must not delay the next: the hub takes a participant that sends none for offline.
        let client = self.client.clone().with_timeout(interval.max(MIN_HEARTBEAT_TIMEOUT));
        let (mut last_sent, mut failed) = (Instant::now(), 0);
        loop {
            select! {
                recv(self.ended.stopped()) -> _ => return,
                recv(self.provider.changed()) -> _ => {}
                default(interval.saturating_sub(last_sent.elapsed())) => {}
            }
            last_sent = Instant::now();
            match client.participants(&self.room).heartbeat_with(&self.id, &self.provider.report(&self.load)) {
                Ok(_) => failed = 0,
                Err(error) => {
                    failed += 1;
                    let unknown =
                        matches!(error.code(), Some(ErrorCode::RoomNotFound | ErrorCode::ParticipantNotFound));
                    if !unknown && failed < MAX_FAILED_HEARTBEATS {
                        continue;
                    }
                    // The close frame of the tunnel says more about a removal.
                    if !self.ended.wait_timeout(CLOSE_FRAME_TIME) {
                        self.end(CloseReason::HeartbeatFailed, Some(error));
                        return;
                    }
                }
            }
        }
    }
}
