//! The SDK: a hub's management routes as methods. Blocking calls over ureq, each with a deadline.

mod chat;
mod events;
pub(crate) mod http;
mod watch;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use chat::{Answer, Chat, ChatStream, Model, Room};
pub use events::{EventStopper, EventStream};
use http::Http;
pub(crate) use watch::pause;
pub use watch::{Watch, WatchStopper, Watched};

use crate::error::Error;
use crate::proto::management::{
    CreateRoom, Envelope, Health, Heartbeat, PARTICIPANT_TOKEN, Participant, ROOM_PASSWORD, Registered, Registration,
    RoomCreated, RoomSummary, Success,
};
use crate::proto::metrics::RoomMetrics;
use crate::proto::web::percent_encode;

/// A hub, seen from outside. Copies share their connections.
///
/// ```no_run
/// let client = gambi::client::Client::new("http://localhost:3000")?;
/// for room in client.rooms().list()? {
///     println!("{} {}", room.code, room.name);
/// }
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
}

impl Client {
    /// A client of the hub at `hub_url`, an absolute http or https URL.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(hub_url: &str) -> Result<Self, Error> {
        Ok(Client { http: Http::new(hub_url)? })
    }

    /// Adds a header to every request, for a hub that stands behind something that wants one.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.http.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The hub's key, where it asks for one.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {key}"))
    }

    /// The password of the private room that is to be listed, watched or talked to.
    #[must_use]
    pub fn with_room_password(self, password: &str) -> Self {
        self.with_header(ROOM_PASSWORD, password)
    }

    /// What registering a participant returned as its token, to speak for it.
    #[must_use]
    pub fn with_participant_token(self, token: &str) -> Self {
        self.with_header(PARTICIPANT_TOKEN, token)
    }

    /// How long a whole call may take; thirty seconds unless told otherwise. Streams have none.
    #[must_use]
    pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.http = self.http.with_timeout(timeout);
        self
    }

    /// The hub's URL, without a trailing slash.
    pub fn hub_url(&self) -> &str {
        &self.http.base
    }

    /// Asks whether the hub is up.
    ///
    /// # Errors
    /// When it is not.
    pub fn health(&self) -> Result<Health, Error> {
        self.get("/v1/health")
    }

    /// The hub's rooms.
    pub fn rooms(&self) -> Rooms<'_> {
        Rooms(self)
    }

    /// A room's participants.
    pub fn participants(&self, room: &str) -> Participants<'_> {
        Participants { client: self, path: format!("/v1/rooms/{}/participants", percent_encode(room)) }
    }

    /// A room, to talk to whoever is in it.
    pub fn room(&self, code: &str) -> Room {
        Room::new(self.http.clone(), code)
    }

    /// Watches the events of a room, or with `None` of the whole hub, and connects again when the stream breaks.
    pub fn watch(&self, room: Option<&str>) -> Watch {
        Watch::new(self.clone(), room.map(str::to_owned))
    }

    /// Watches the events of a room, or with `None` of the whole hub, until the stream breaks.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn events(&self, room: Option<&str>) -> Result<EventStream, Error> {
        let path = match room {
            Some(room) => format!("/v1/rooms/{}/events", percent_encode(room)),
            None => "/v1/events".to_owned(),
        };
        events::open(&self.http, &path)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call("GET", path, None).map(|(_, data)| data)
    }

    /// One request; the status and the envelope's `data`.
    fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, T), Error> {
        let (status, text) = self.http.call(method, path, body.as_ref())?;
        let envelope: Envelope<T> =
            serde_json::from_slice(&text).map_err(|e| self.http.bad_answer(path, &e.to_string()))?;
        Ok((status, envelope.data))
    }
}

/// The hub's rooms.
#[derive(Debug)]
pub struct Rooms<'c>(&'c Client);

impl Rooms<'_> {
    /// Makes a room.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn create(&self, room: &CreateRoom) -> Result<RoomCreated, Error> {
        self.0.call("POST", "/v1/rooms", Some(json!(room))).map(|(_, data)| data)
    }

    /// All rooms.
    ///
    /// # Errors
    /// When the hub can't be reached.
    pub fn list(&self) -> Result<Vec<RoomSummary>, Error> {
        self.0.get("/v1/rooms")
    }

    /// One room.
    ///
    /// # Errors
    /// When there is none with that code, or the hub can't be reached.
    pub fn get(&self, code: &str) -> Result<RoomSummary, Error> {
        self.0.get(&format!("/v1/rooms/{}", percent_encode(code)))
    }

    /// What a room has done in the last minutes, and what goes on in it.
    ///
    /// # Errors
    /// When there is none with that code, it is private and its password was not shown, or the hub can't be reached.
    pub fn metrics(&self, code: &str) -> Result<RoomMetrics, Error> {
        self.0.get(&format!("/v1/rooms/{}/metrics", percent_encode(code)))
    }

    /// Deletes a room. `host_id` is what making it returned.
    ///
    /// # Errors
    /// When there is none with that code, the host is another, or the hub can't be reached.
    pub fn delete(&self, code: &str, host_id: &str) -> Result<(), Error> {
        let client = self.0.clone().with_header("X-Gambi-Host-Id", host_id);
        client.call::<Success>("DELETE", &format!("/v1/rooms/{}", percent_encode(code)), None).map(drop)
    }
}

/// A room's participants.
#[derive(Debug)]
pub struct Participants<'c> {
    client: &'c Client,
    path: String,
}

impl Participants<'_> {
    /// All of them.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn list(&self) -> Result<Vec<Participant>, Error> {
        self.client.get(&self.path)
    }

    /// Registers one, or renews its registration. True when it was new.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn upsert(&self, id: &str, registration: &Registration) -> Result<(Registered, bool), Error> {
        let (status, data) = self.client.call("PUT", &self.one(id), Some(json!(registration)))?;
        Ok((data, status == 201))
    }

    /// Removes one.
    ///
    /// # Errors
    /// When the hub does not know it, or can't be reached.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        self.client.call::<Success>("DELETE", &self.one(id), None).map(drop)
    }

    /// Says that one is alive.
    ///
    /// # Errors
    /// When the hub does not know it, or can't be reached.
    pub fn heartbeat(&self, id: &str) -> Result<Heartbeat, Error> {
        self.client.call("POST", &format!("{}/heartbeat", self.one(id)), None).map(|(_, data)| data)
    }

    fn one(&self, id: &str) -> String {
        format!("{}/{}", self.path, percent_encode(id))
    }
}
