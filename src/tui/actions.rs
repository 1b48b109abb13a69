//! The actions a user can start: creating rooms, joining and leaving with participants. Each runs on a thread of its
//! own, so that the screen never waits; outcomes arrive on a channel.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use gambi::Error;
use gambi::client::Client;
use gambi::participant::{Builder, Reconnect, ReconnectEvent, ReconnectHandle, Session, fresh_id, machine_specs};
use gambi::proto::management::CreateRoom;

use super::app::{JoinRequest, Outcome};

/// How long the answers in progress of a participant that leaves may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for participants to leave when the program ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What joining needs besides the form's fields.
#[derive(Clone, Default)]
pub struct JoinCredentials {
    /// The hub's key, if it has one.
    pub key: Option<String>,
    /// Headers sent to the provider only, never to the hub.
    pub headers: Vec<(String, String)>,
}

/// Runs actions.
pub struct Actions {
    client: Client,
    credentials: JoinCredentials,
    outcomes: Sender<Outcome>,
    /// Handles of the participants that run in this process, by room and id.
    own: HashMap<(String, String), ReconnectHandle>,
}

impl Actions {
    /// Returns the runner, and the channel on which outcomes arrive.
    pub fn new(client: Client, credentials: JoinCredentials) -> (Self, Receiver<Outcome>) {
        let (outcomes, outcome_receiver) = unbounded();
        (Actions { client, credentials, outcomes, own: HashMap::new() }, outcome_receiver)
    }

    fn spawn(&self, work: impl FnOnce(&Sender<Outcome>) + Send + 'static) {
        let outcomes = self.outcomes.clone();
        let started = thread::Builder::new().name("actions".into()).spawn(move || work(&outcomes));
        if let Err(error) = started {
            let _ = self.outcomes.send(Outcome::NotJoined(format!("no thread can be started: {error}"), Vec::new()));
        }
    }

    /// Creates a room.
    pub fn create(&self, name: String, password: Option<String>, private: bool) {
        let client = self.client.clone();
        self.spawn(move |outcomes| {
            let room = CreateRoom { name, password: password.clone(), private, ..CreateRoom::default() };
            let made = client.rooms().create(&room).map(|created| created.room).map_err(|error| message(&error));
            let _ = outcomes.send(Outcome::Created(made, password));
        });
    }

    /// Joins with a participant, and reconnects whenever the connection is lost.
    pub fn join(&mut self, request: JoinRequest) {
        let id = match fresh_id() {
            Ok(id) => format!("monitor-{}", id.chars().take(8).collect::<String>()),
            Err(error) => return drop(self.outcomes.send(Outcome::NotJoined(message(&error), Vec::new()))),
        };
        let builder = self.builder(&request, &id);
        let reconnect = Reconnect::new(builder.clone());
        self.own.insert((request.room.clone(), id.clone()), reconnect.handle());
        let room = request.room;
        self.spawn(move |outcomes| {
            // Errors of the first attempt are final: they are shown in the dialog, not retried.
            if let Err(error) = builder.prepare().map(drop) {
                let models = match &error {
                    Error::ModelMissing { available, .. } => available.clone(),
                    _ => Vec::new(),
                };
                return drop(outcomes.send(Outcome::NotJoined(message(&error), models)));
            }
            run_session(&reconnect, &room, &id, outcomes);
        });
    }

    fn builder(&self, request: &JoinRequest, id: &str) -> Builder {
        // A model named "?" exists nowhere, so the provider's error lists the models that do.
        let model = if request.model.is_empty() { "?" } else { &request.model };
        let short: String = id.chars().skip("monitor-".len()).take(6).collect();
        let nickname = if request.nickname.is_empty() { format!("{model}@{short}") } else { request.nickname.clone() };
        let mut builder = Session::builder(self.client.hub_url(), &request.room)
            .participant_id(id)
            .model(model)
            .nickname(nickname)
            .endpoint(&request.endpoint)
            .specs(machine_specs());
        for (name, value) in &self.credentials.headers {
            builder = builder.auth_header(name, value);
        }
        if let Some(key) = &self.credentials.key {
            builder = builder.hub_key(key);
        }
        if let Some(fingerprint) = self.client.fingerprint() {
            builder = builder.hub_fingerprint(fingerprint);
        }
        if let Some(password) = &request.password {
            builder = builder.password(password);
        }
        builder
    }

    /// Makes a participant of this process leave, once its answers in progress have ended.
    pub fn leave(&mut self, room: String, id: String) {
        if let Some(handle) = self.own.remove(&(room, id)) {
            // The thread that runs the session sends the outcome.
            self.spawn(move |_| {
                handle.drain();
                handle.wait_until_drained(DRAIN_TIMEOUT);
                handle.close();
            });
        }
    }

    /// Makes all participants of this process leave, and waits up to `LEAVE_TIMEOUT`.
    pub fn close(mut self) {
        let (done, finished) = unbounded::<()>();
        for (_, handle) in self.own.drain() {
            let done = done.clone();
            let _ = thread::Builder::new().name("leave".into()).spawn(move || {
                handle.close();
                drop(done);
            });
        }
        drop(done);
        // Nothing is ever sent: the receive ends when the last thread drops its sender.
        let _ = finished.recv_deadline(Instant::now() + LEAVE_TIMEOUT);
    }
}

fn run_session(reconnect: &Reconnect, room: &str, id: &str, outcomes: &Sender<Outcome>) {
    let (handle, key) = (reconnect.handle(), || (room.to_owned(), id.to_owned()));
    let mut been_in = false;
    let mut refused = None;
    let ended = reconnect.run(|step| {
        let (room, id) = key();
        match step {
            ReconnectEvent::Joined(_) => {
                been_in = true;
                let _ = outcomes.send(Outcome::Joined(room, id));
            }
            ReconnectEvent::Waiting { error, .. } if !been_in => {
                refused = Some(message(&error));
                handle.close();
            }
            ReconnectEvent::Waiting { error, .. } => drop(outcomes.send(Outcome::Waiting(room, id, error.to_string()))),
            ReconnectEvent::Lost(end) => {
                let why = end.error.map_or_else(|| end.reason.to_string(), |error| error.to_string());
                let _ = outcomes.send(Outcome::Waiting(room, id, why));
            }
            _ => {}
        }
    });
    let why = refused.or(ended.err().map(|error| message(&error)));
    let (room, id) = key();
    let _ = outcomes.send(match why {
        Some(why) if !been_in => Outcome::NotJoined(why, Vec::new()),
        why => Outcome::Left(room, id, why),
    });
}

/// An error and its hint in one line.
pub fn message(error: &Error) -> String {
    // Hints that name command line flags do not help in a dialog.
    let text = error.to_string();
    match error.hint().filter(|hint| !hint.contains("--")) {
        Some(hint) => format!("{}. {hint}", text.trim_end_matches('.')),
        None => text,
    }
}
