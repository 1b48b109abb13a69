//! A session that comes back: after the hub restarts, after the network returns, for as long as it may heal (seed 001,
//! "Always Handle Rejoin").

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::join::Builder;
use super::session::{CloseEvent, CloseReason, Session, SessionHandle};
use crate::client::pause;
use crate::error::Error;
use crate::proto::tunnel::CLOSE_NORMAL;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);
/// Attempts in a row that may find no such room: the hub may have restarted, and its host not yet made the room again.
const ROOM_GONE: u32 = 20;

/// What a [`Reconnect`] tells.
#[non_exhaustive]
pub enum ReconnectEvent<'s> {
    /// It is in.
    Joined(&'s Session),
    /// The session was lost.
    Lost(CloseEvent),
    /// It could not join, and will try again.
    Waiting {
        /// Why not.
        error: Error,
        /// How long it waits.
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
    shared: Arc<Shared>,
    stopped: Receiver<()>,
}

struct Shared {
    /// Dropped when it is stopped.
    running: Mutex<Option<Sender<()>>>,
    session: Mutex<Option<SessionHandle>>,
}

/// Ends a [`Reconnect`] from another thread.
#[derive(Clone)]
pub struct ReconnectHandle(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReconnectHandle {
    /// Leaves the room and does not come back.
    pub fn close(&self) {
        lock(&self.0.running).take();
        let session = lock(&self.0.session).take();
        if let Some(session) = session {
            session.close();
        }
    }
}

impl Reconnect {
    /// For the session that a builder describes.
    pub fn new(builder: Builder) -> Self {
        let (running, stopped) = bounded(0);
        let shared = Shared { running: Mutex::new(Some(running)), session: Mutex::default() };
        Reconnect { builder, shared: Arc::new(shared), stopped }
    }

    /// A handle that ends it from another thread.
    pub fn handle(&self) -> ReconnectHandle {
        ReconnectHandle(self.shared.clone())
    }

    /// Joins, serves, and joins again whenever the session is lost, until it is closed.
    ///
    /// # Errors
    /// An error that won't heal: a wrong password, a value that is refused, a model that is missing, a room that stays
    /// gone, a participant that was removed.
    pub fn run(&self, mut tell: impl FnMut(ReconnectEvent<'_>)) -> Result<(), Error> {
        let builder = self.builder.clone().with_token()?;
        let (mut attempt, mut room_gone) = (0, 0);
        loop {
            match builder.clone().start() {
                Ok(session) => {
                    (attempt, room_gone) = (0, 0);
                    *lock(&self.shared.session) = Some(session.handle());
                    if self.is_closed() {
                        session.close();
                        return Ok(());
                    }
                    tell(ReconnectEvent::Joined(&session));
                    let end = session.wait_until_closed();
                    if end.reason == CloseReason::Closed || self.is_closed() {
                        return Ok(());
                    }
                    if end.code == Some(CLOSE_NORMAL) {
                        // Coming back would undo what somebody meant, or fight another process over the id.
                        let reason = end.error.as_ref().map_or_else(|| end.reason.to_string(), ToString::to_string);
                        return Err(Error::Tunnel { reason });
                    }
                    session.abandon();
                    tell(ReconnectEvent::Lost(end));
                }
                Err(error) => {
                    room_gone = if error.status() == Some(404) { room_gone + 1 } else { 0 };
                    if !may_heal(&error) || room_gone >= ROOM_GONE {
                        return Err(error);
                    }
                    let pause = pause(attempt, FIRST, LONGEST);
                    tell(ReconnectEvent::Waiting { error, pause });
                    attempt += 1;
                    if self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                        return Ok(());
                    }
                }
            }
            if self.is_closed() {
                return Ok(());
            }
        }
    }

    fn is_closed(&self) -> bool {
        lock(&self.shared.running).is_none()
    }
}

/// Whether trying again can help.
fn may_heal(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Tunnel { .. } | Error::Provider { .. } | Error::BadAnswer { .. } => true,
        Error::Hub(error) => error.status == 404 || error.status == 429 || error.status >= 500,
        _ => false,
    }
}
