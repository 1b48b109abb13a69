//! A session that is started again when it is lost: after the hub restarts, or after the network returns. It gives up on
//! errors that a retry cannot mend.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::builder::{Builder, Joined, Prepared};
use super::close_event::{CloseEvent, CloseReason};
use super::session::{Session, SessionHandle};
use crate::client::backoff::{Backoff, StopSignal};
use crate::error::{Error, Reason};
use crate::proto::tunnel::CLOSE_NORMAL;
use crate::sync::lock;

/// The pause before the first retry; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The number of attempts in a row that may find no such room. A restarted hub has no room until its host creates it again.
const MAX_ROOM_MISSING: u32 = 20;

/// What happens to a [`Reconnect`].
#[non_exhaustive]
pub enum ReconnectEvent<'s> {
    /// The provider has been probed, and has the model.
    Prepared(&'s Prepared),
    /// The participant is registered. The tunnel is opened next.
    Registered(&'s Joined),
    /// The tunnel could not be opened. `Waiting` follows, or the end if a retry cannot mend the error.
    TunnelFailed(&'s Error),
    /// A session has started.
    Joined(&'s Session),
    /// The session was lost. The next attempt follows at once.
    Lost(CloseEvent),
    /// The hub ended the session on purpose. No further attempt follows.
    Ended(CloseEvent),
    /// An attempt failed, and another follows after a pause.
    Waiting {
        /// The reason.
        error: Error,
        /// The time until the next attempt.
        pause: Duration,
    },
}

/// Keeps a participant in its room.
///
/// ```no_run
/// use gambi::participant::{Reconnect, Session, ReconnectEvent};
///
/// let session = Session::builder("http://localhost:3000", "ABC234").participant_id("worker-1").model("llama3");
/// Reconnect::new(session).run(|step| match step {
///     ReconnectEvent::Joined(session) => println!("in, as {}", session.participant().id),
///     ReconnectEvent::Lost(end) => println!("lost: {}", end.reason),
///     ReconnectEvent::Waiting { error, pause } => println!("{error}; again in {pause:?}"),
///     _ => {}
/// })?;
/// # Ok::<(), gambi::Error>(())
/// ```
pub struct Reconnect {
    builder: Builder,
    control: Arc<ReconnectControl>,
}

/// What a reconnecting session shares with its handles.
struct ReconnectControl {
    stop: StopSignal,
    /// The session that runs now.
    session: Mutex<Option<SessionHandle>>,
}

impl ReconnectControl {
    fn session(&self) -> MutexGuard<'_, Option<SessionHandle>> {
        lock(&self.session)
    }
}

/// Ends a [`Reconnect`] from another thread.
#[derive(Clone)]
pub struct ReconnectHandle(Arc<ReconnectControl>);

impl ReconnectHandle {
    /// Leaves the room for good.
    pub fn close(&self) {
        self.0.stop.stop();
        let session = self.0.session().take();
        if let Some(session) = session {
            session.close();
        }
    }

    /// Starts no further session, and takes no further requests, which the hub is told. Returns the
    /// number of those in progress. [`ReconnectHandle::wait_until_drained`] and [`ReconnectHandle::close`] should follow.
    pub fn drain(&self) -> usize {
        self.0.stop.stop();
        self.0.session().as_ref().map_or(0, SessionHandle::drain)
    }

    /// Waits until the requests in progress have ended. False when some have not within the timeout.
    pub fn wait_until_drained(&self, timeout: Duration) -> bool {
        let session = self.0.session().clone();
        session.is_none_or(|session| session.wait_until_drained(timeout))
    }

    /// Looks at the provider's list of models now, if a session runs.
    pub fn refresh_models(&self) {
        if let Some(session) = &*self.0.session() {
            session.refresh_models();
        }
    }
}

impl Reconnect {
    /// Keeps the session that `builder` describes.
    pub fn new(builder: Builder) -> Self {
        let control = ReconnectControl { stop: StopSignal::new(), session: Mutex::default() };
        Reconnect { builder, control: Arc::new(control) }
    }

    /// A handle that ends it from another thread.
    pub fn handle(&self) -> ReconnectHandle {
        ReconnectHandle(self.control.clone())
    }

    /// Joins and serves, and joins again whenever the session is lost, until it is closed.
    ///
    /// # Errors
    /// An error that a retry cannot mend: a wrong password, an invalid setting, a missing model, a room that stays missing,
    /// a participant that was removed or superseded.
    pub fn run(&self, mut on_event: impl FnMut(ReconnectEvent<'_>)) -> Result<(), Error> {
        let builder = self.builder.clone().with_token()?;
        let (mut backoff, mut room_missing) = (Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), 0);
        while !self.control.stop.is_stopped() {
            match join(builder.clone(), &mut on_event) {
                Ok(session) => {
                    backoff.reset();
                    room_missing = 0;
                    if !self.serve(&session, &mut on_event)? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    room_missing = if error.status() == Some(404) { room_missing + 1 } else { 0 };
                    if !is_temporary(&error) || room_missing >= MAX_ROOM_MISSING {
                        return Err(error);
                    }
                    let pause = backoff.next_pause();
                    on_event(ReconnectEvent::Waiting { error, pause });
                    self.control.stop.wait_timeout(pause);
                }
            }
        }
        Ok(())
    }

    /// Waits for the end of a session. True when it was lost and is to be started again; an error when the hub ended it on
    /// purpose.
    fn serve(&self, session: &Session, on_event: &mut impl FnMut(ReconnectEvent<'_>)) -> Result<bool, Error> {
        *self.control.session() = Some(session.handle());
        // `close` may have missed the handle that has just been stored.
        if self.control.stop.is_stopped() {
            session.close();
            return Ok(false);
        }
        on_event(ReconnectEvent::Joined(session));
        let end = session.wait_until_closed();
        if end.reason == CloseReason::Closed || self.control.stop.is_stopped() {
            return Ok(false);
        }
        if end.code == Some(CLOSE_NORMAL) {
            // Joining again would undo a removal, or fight another process over the id.
            let reason = end.error.clone().map_or_else(|| end.reason.as_str().into(), Reason::of);
            on_event(ReconnectEvent::Ended(end));
            return Err(Error::Tunnel { reason });
        }
        session.abandon();
        on_event(ReconnectEvent::Lost(end));
        Ok(true)
    }
}

/// Starts a session, and reports each step.
fn join(builder: Builder, on_event: &mut impl FnMut(ReconnectEvent<'_>)) -> Result<Session, Error> {
    let prepared = builder.prepare()?;
    on_event(ReconnectEvent::Prepared(&prepared));
    let joined = prepared.register()?;
    on_event(ReconnectEvent::Registered(&joined));
    joined.open_tunnel().inspect_err(|error| on_event(ReconnectEvent::TunnelFailed(error)))
}

/// Whether a retry can succeed.
fn is_temporary(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Tunnel { .. } | Error::Provider { .. } | Error::BadAnswer { .. } => true,
        Error::Hub(error) => error.status == 404 || error.status == 429 || error.status >= 500,
        _ => false,
    }
}
