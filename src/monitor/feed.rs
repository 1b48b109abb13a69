//! The threads that watch a hub: one follows its event stream, one polls what events do not carry, and each private
//! room has an event stream of its own. Their updates go into one bounded channel.
//!
//! Older hubs have no event stream of all rooms, and some have only the legacy plane. Of such a hub each watched room's own
//! stream is followed, and the polls determine whether the hub is up.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use gambi::Error;
use gambi::client::{Client, Watched};
use gambi::error::Reason;
use gambi::proto::management::RoomSummary;

use super::clock;
use super::state::Update;

/// Capacity of the update channel. Events beyond it are counted and dropped; the next poll repairs the state.
const MAX_QUEUED: usize = 10_000;
/// The pause between two polls, for up to `ROOMS_PER_INTERVAL` rooms. Each further such group of rooms adds one more
/// pause.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
const ROOMS_PER_INTERVAL: u32 = 4;
/// The pause while somebody waits in a queue that is shown.
const QUEUE_INTERVAL: Duration = Duration::from_secs(2);
/// The least time between two readings of the rooms' histories, whose finest part is a minute.
const HISTORY_INTERVAL: Duration = Duration::from_secs(15);
/// A poll that takes long extends the next pause to this multiple of its own duration, so that polling takes at most 5
/// % of a slow hub's time.
const PAUSE_PER_POLL: u32 = 20;
/// The pause after the hub has refused its event stream.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The limits of a hub without an event stream of all its rooms. Fits a terminal of 80 columns.
const LIMITS: &str = "Older hub: new rooms show after a poll; queues and earlier figures unknown.";
/// The limits of a person's key, which opens no event stream of all rooms.
const KEY_LIMITS: &str = "A person's key: shows only the rooms that it opens, new ones after a poll.";
/// The limits of a hub with only the legacy plane.
const LEGACY_LIMITS: &str = "Older hub: queues, passwords, tunnels and requests in flight are unknown.";

/// Watches a hub. Its threads run until the process ends or the receiver of the updates is dropped.
pub struct Feed {
    context: Arc<FeedContext>,
}

struct FeedContext {
    client: Client,
    updates: Sender<Update>,
    subscriptions: Mutex<Subscriptions>,
    /// Whether the hub has no event stream of all its rooms, so that each room's own stream is followed.
    per_room: AtomicBool,
    /// Whether queues and histories are polled too, which only the terminal interface shows.
    details: AtomicBool,
    /// Requests a poll now. Holds one request: a second one before the poll adds nothing.
    wake: Sender<()>,
}

#[derive(Default)]
struct Subscriptions {
    /// Codes of the rooms whose participants are polled.
    rooms: BTreeSet<String>,
    /// Clients with the password of a private room, by the room's code.
    keys: HashMap<String, Client>,
    /// Codes of the rooms whose own event stream is being followed.
    streams: BTreeSet<String>,
}

/// The answer of the v1 plane or, if the hub has no such route, of the legacy plane.
fn or_legacy<T>(answer: Result<T, Error>, legacy: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    match answer {
        Err(error) if error.is_missing_route() => legacy(),
        answer => answer,
    }
}

/// Checks that the hub has a room.
///
/// # Errors
/// When it has no such room, refuses, or can't be reached.
pub fn check_room(client: &Client, code: &str) -> Result<(), Error> {
    or_legacy(client.rooms().get(code).map(drop), || client.legacy().participants(code).map(drop))
}

/// Whether the hub refuses a room's participants until another password or key is given. A 429 is one only if a password
/// was sent: it is the hub's limit of wrong passwords then, else some other limit, which passes.
fn is_refusal(error: &Error, password_sent: bool) -> bool {
    match error.status() {
        Some(401 | 403) => true,
        Some(429) => password_sent,
        _ => false,
    }
}

/// The update for an error after which the next attempt follows in `pause`.
fn lost(error: &Error, pause: Duration) -> Update {
    Update::Lost { reason: error.to_string(), retry_in: u64::try_from(pause.as_millis()).ok() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Polls once, so that an unreachable hub is an error here, then starts the threads.
    ///
    /// # Errors
    /// When the hub can't be reached or refuses, or no thread can be started.
    pub fn start(client: Client) -> Result<(Feed, Receiver<Update>), Error> {
        let (updates, received) = bounded(MAX_QUEUED);
        let (wake, wakeups) = bounded(1);
        let context = Arc::new(FeedContext {
            client,
            updates,
            subscriptions: Mutex::default(),
            per_room: AtomicBool::new(false),
            details: AtomicBool::new(false),
            wake,
        });
        let (rooms, clock_offset) = context.rooms()?;
        let _ = context.updates.send(Update::Rooms(rooms, clock_offset));
        let failed = |e: io::Error| Error::System { what: "starting a thread", reason: Reason::of(e) };
        let follower = context.clone();
        thread::Builder::new().name("events".into()).spawn(move || follower.follow()).map_err(failed)?;
        let poller = context.clone();
        thread::Builder::new().name("poll".into()).spawn(move || poller.poll_loop(&wakeups)).map_err(failed)?;
        Ok((Feed { context }, received))
    }

    /// Replaces the set of rooms whose participants are polled.
    pub fn watch(&self, rooms: BTreeSet<String>) {
        let mut subscriptions = lock(&self.context.subscriptions);
        if subscriptions.rooms != rooms {
            subscriptions.rooms = rooms;
            drop(subscriptions);
            self.poll();
        }
    }

    /// Sets the password of a private room.
    pub fn unlock(&self, room: &str, password: &str) {
        let client = self.context.client.clone().with_room_password(password);
        lock(&self.context.subscriptions).keys.insert(room.to_uppercase(), client);
        self.poll();
    }

    /// Polls queues and histories too from now on.
    #[cfg(feature = "tui")]
    pub fn poll_details(&self) {
        self.context.details.store(true, Ordering::SeqCst);
        self.poll();
    }

    /// A client for a room: with its password, if that is known.
    #[cfg(feature = "tui")]
    pub fn client(&self, room: &str) -> Client {
        lock(&self.context.subscriptions).keys.get(room).unwrap_or(&self.context.client).clone()
    }

    /// Polls now rather than at the end of the pause.
    pub fn poll(&self) {
        let _ = self.context.wake.try_send(());
    }
}

impl FeedContext {
    /// All rooms, and how far the hub's clock is ahead of the local one, milliseconds.
    fn rooms(&self) -> Result<(Vec<RoomSummary>, i64), Error> {
        let before = clock::now();
        let legacy = self.client.legacy();
        let theirs = or_legacy(self.client.health(), || legacy.health())?.timestamp;
        let ours = before + clock::now().saturating_sub(before) / 2;
        let clock_offset = i64::try_from(i128::from(theirs) - i128::from(ours)).unwrap_or_default();
        Ok((or_legacy(self.client.rooms().list(), || legacy.rooms())?, clock_offset))
    }

    /// False when the receiver is gone and the thread should end.
    fn send(&self, update: Update) -> bool {
        self.updates.send(update).is_ok()
    }

    fn poll_loop(self: Arc<Self>, wakeups: &Receiver<()>) {
        let mut linked = false;
        let mut history_read: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let polled = self.rooms();
            let details = self.details.load(Ordering::SeqCst);
            let histories = details && history_read.is_none_or(|read| read.elapsed() >= HISTORY_INTERVAL);
            if histories {
                history_read = Some(began);
            }
            let mut queued = 0;
            if !self.report_link(&polled, &mut linked) {
                return;
            }
            if let Ok((rooms, clock_offset)) = polled {
                let listed = rooms.clone();
                if !self.send(Update::Rooms(rooms, clock_offset)) {
                    return;
                }
                for room in &listed {
                    queued += self.poll_room(room, details, histories);
                }
            }
            let rooms = u32::try_from(lock(&self.subscriptions).rooms.len()).unwrap_or(u32::MAX);
            let interval = if details && queued > 0 { QUEUE_INTERVAL } else { POLL_INTERVAL };
            let pause = (interval * (1 + rooms / ROOMS_PER_INTERVAL)).max(began.elapsed() * PAUSE_PER_POLL);
            let _ = wakeups.recv_timeout(pause);
        }
    }

    /// Reports whether the hub is up, if no event stream of all rooms does. `linked`: what was reported before. False when
    /// the receiver is gone.
    fn report_link<T>(&self, polled: &Result<T, Error>, linked: &mut bool) -> bool {
        if !self.per_room.load(Ordering::SeqCst) {
            *linked = false;
            return true;
        }
        let was_linked = std::mem::replace(linked, polled.is_ok());
        match polled {
            Ok(_) if was_linked => true,
            Ok(_) => self.send(Update::Linked),
            Err(error) => self.send(lost(error, POLL_INTERVAL)),
        }
    }

    /// Polls a room if it is watched. Returns how many requests wait in it.
    fn poll_room(self: &Arc<Self>, room: &RoomSummary, details: bool, history: bool) -> u64 {
        let subscriptions = lock(&self.subscriptions);
        if !subscriptions.rooms.contains(&room.code) {
            return 0;
        }
        let key = subscriptions.keys.get(&room.code).cloned();
        drop(subscriptions);
        let code = room.code.clone();
        if room.private && key.is_none() {
            self.send(Update::Refused(code, "private: its password is needed".into()));
            return 0;
        }
        let private = room.private;
        let mut queued = 0;
        let client = key.as_ref().unwrap_or(&self.client);
        match or_legacy(client.participants(&code).list(), || client.legacy().participants(&code)) {
            Ok(members) => {
                self.send(Update::Members(code.clone(), members));
                // Older hubs have no metrics route.
                if let Ok(metrics) = client.rooms().metrics(&code) {
                    queued = metrics.queued;
                    self.send(Update::Measured(Box::new(metrics)));
                    self.poll_details(client, &code, details && queued > 0, history);
                }
                if private || self.per_room.load(Ordering::SeqCst) {
                    self.follow_room(&code, key.unwrap_or_else(|| self.client.clone()));
                }
            }
            Err(error) if is_refusal(&error, key.is_some()) => {
                // The hub throttles an address that keeps sending a wrong password, so it is not sent again.
                lock(&self.subscriptions).keys.remove(&code);
                self.send(Update::Refused(code, error.to_string()));
            }
            // The room may be gone or the hub be busy: the next poll shows.
            Err(_) => {}
        }
        queued
    }

    /// Polls what only the terminal interface shows. Older hubs have no such routes.
    fn poll_details(&self, client: &Client, code: &str, queue: bool, history: bool) {
        if queue && let Ok(queue) = client.rooms().queue(code) {
            self.send(Update::Queue(queue));
        }
        if history && let Ok(history) = client.rooms().history(code) {
            self.send(Update::History(Box::new(history)));
        }
    }

    /// Follows a room's own event stream while the room is watched: that of a private room, because the hub's stream leaves
    /// private rooms out, or that of any room if the hub has no stream of all.
    fn follow_room(self: &Arc<Self>, code: &str, client: Client) {
        if !lock(&self.subscriptions).streams.insert(code.to_owned()) {
            return;
        }
        let (context, code) = (self.clone(), code.to_owned());
        let private_only = !self.per_room.load(Ordering::SeqCst);
        let follow = move || {
            for item in client.watch(Some(&code)) {
                let watched = lock(&context.subscriptions).rooms.contains(&code);
                // Once the hub has a stream of all rooms, it carries these events.
                let superseded = !private_only && !context.per_room.load(Ordering::SeqCst);
                match item {
                    _ if !watched || superseded => break,
                    // The hub's stream carries these for all rooms.
                    Ok(Watched::Event(event)) if private_only && event.kind.starts_with("room.") => {}
                    Ok(Watched::Event(event)) if event.kind == "connected" => {}
                    Ok(Watched::Event(event)) => {
                        if context.updates.send(Update::Event(event)).is_err() {
                            return;
                        }
                    }
                    // The next poll determines whether the hub is up.
                    Ok(_) => drop(context.wake.try_send(())),
                    Err(_) => break,
                }
            }
            lock(&context.subscriptions).streams.remove(&code);
        };
        // If no thread can be started, polling still covers the room.
        let _ = thread::Builder::new().name("room events".into()).spawn(follow);
    }

    fn follow(&self) {
        // A refusal can be temporary: too many connections, or a restart.
        while self.follow_until_refused() {
            thread::sleep(REFUSED_PAUSE);
        }
    }

    /// Follows each room's own stream from now on, and reports the limits of such a hub. False when the receiver is gone.
    fn follow_rooms(&self, limits: &'static str) -> bool {
        if self.per_room.load(Ordering::SeqCst) {
            return true;
        }
        let is_legacy = self.client.rooms().list().is_err_and(|error| error.is_missing_route());
        let limits = if is_legacy { LEGACY_LIMITS } else { limits };
        let listening = self.send(Update::Limited(Some(limits)));
        // Set only now: the next poll reports that the hub is up, and its limits should be known by then.
        self.per_room.store(true, Ordering::SeqCst);
        let _ = self.wake.try_send(());
        listening
    }

    /// Follows the hub's stream until the hub refuses it. False when the receiver is gone.
    fn follow_until_refused(&self) -> bool {
        let mut skipped = 0;
        for item in self.client.watch(None) {
            let update = match item {
                Ok(Watched::Event(event)) if event.kind == "connected" => {
                    if self.per_room.swap(false, Ordering::SeqCst) && !self.send(Update::Limited(None)) {
                        return false;
                    }
                    let _ = self.wake.try_send(());
                    Update::Linked
                }
                Ok(Watched::Event(event)) => match self.updates.try_send(Update::Event(event)) {
                    Ok(()) if skipped > 0 => Update::Skipped(std::mem::take(&mut skipped)),
                    Ok(()) => continue,
                    Err(TrySendError::Full(_)) => {
                        skipped += 1;
                        continue;
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                },
                Ok(Watched::Broken { error, .. }) | Err(error) if error.is_missing_route() => {
                    return self.follow_rooms(LIMITS);
                }
                Ok(Watched::Broken { error, .. }) | Err(error) if error.status() == Some(403) => {
                    return self.follow_rooms(KEY_LIMITS);
                }
                // The polls report it.
                Ok(Watched::Broken { .. }) if self.per_room.load(Ordering::SeqCst) => continue,
                Ok(Watched::Broken { error, pause }) => lost(&error, pause),
                Ok(_) => continue,
                Err(error) => lost(&error, REFUSED_PAUSE),
            };
            if !self.send(update) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use gambi::error::HubError;

    use super::*;

    #[test]
    fn only_a_secret_that_is_missing_or_wrong_is_a_refusal() {
        let is_refusal = |status, password_sent| {
            let message = "No.".to_owned();
            let error = HubError { status, code: None, message, hint: None, details: None, request_id: None };
            is_refusal(&Error::Hub(Box::new(error)), password_sent)
        };
        for status in [401, 403] {
            assert!(is_refusal(status, true) && is_refusal(status, false), "{status}");
        }
        assert!(is_refusal(429, true) && !is_refusal(429, false));
        for status in [404, 410, 500, 502, 503] {
            assert!(!is_refusal(status, true) && !is_refusal(status, false), "{status}");
        }
    }
}
