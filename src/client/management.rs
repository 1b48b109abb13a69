//! A hub's management routes as methods.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::chat::Room;
use super::events::{self, EventStream};
use super::http::Http;
use super::legacy::Legacy;
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;
use crate::proto::history::RoomHistory;
use crate::proto::management::{
    CreateRoom, Envelope, Health, Heartbeat, HeartbeatBody, PARTICIPANT_TOKEN, Participant, ROOM_PASSWORD, Registered,
    Registration, RoomCreated, RoomSummary, Success,
};
use crate::proto::metrics::RoomMetrics;
use crate::proto::queue::RoomQueue;
use crate::proto::read_json::from_bytes;
use crate::proto::request_trace::RequestTrace;
use crate::proto::web::percent_encode;

/// A client of one hub. Clones share their connections.
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
    /// When the URL is not an absolute http or https URL.
    pub fn new(hub_url: &str) -> Result<Self, Error> {
        Ok(Client { http: Http::new(hub_url)? })
    }

    /// Adds a header to every request, for a hub behind a proxy that requires one.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.http.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The hub's key, for a hub that was started with one.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {key}"))
    }

    /// The password of a private room, for listing it, watching it and sending requests to it.
    #[must_use]
    pub fn with_room_password(self, password: &str) -> Self {
        self.with_header(ROOM_PASSWORD, password)
    }

    /// A participant's token: renews, sends heartbeats for and removes that participant on a strict hub. Registering returns it.
    #[must_use]
    pub fn with_participant_token(self, token: &str) -> Self {
        self.with_header(PARTICIPANT_TOKEN, token)
    }

    /// The fingerprint of the hub's certificate, which must then be that one, whoever vouches for it. Without one, or with
    /// `None`, an authority must vouch for the certificate.
    ///
    /// # Errors
    /// When the hub's URL is no https URL, or TLS cannot be set up.
    pub fn with_fingerprint(mut self, fingerprint: Option<Fingerprint>) -> Result<Self, Error> {
        self.http = self.http.with_pin(fingerprint)?;
        Ok(self)
    }

    /// The fingerprint that the hub's certificate must have, if one was given.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.http.pin
    }

    /// The time limit of a whole call; 30 seconds by default. Streams are not limited.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.with_timeout(timeout);
        self
    }

    /// The longest answer that is read, in bytes: for hubs that are not trusted.
    #[cfg(feature = "mdns")]
    pub(crate) fn with_max_answer(mut self, bytes: u64) -> Self {
        self.http.max_answer = bytes;
        self
    }

    /// Closes the connection after each call: for calls that are far between, as the hub has a thread for each open connection. One over
    /// TLS is kept, since another handshake costs more.
    pub(crate) fn without_kept_connections(self) -> Self {
        if self.hub_url().starts_with("https://") { self } else { self.with_header("Connection", "close") }
    }

    /// The hub's URL, without a trailing slash.
    pub fn hub_url(&self) -> &str {
        &self.http.base
    }

    /// The hub's id of the last management request that succeeded, of this client and its clones. The hub's log names the
    /// request by it.
    pub fn last_request_id(&self) -> Option<String> {
        self.http.request_id()
    }

    /// Checks that the hub is up.
    ///
    /// # Errors
    /// When the hub can't be reached or reports an error.
    pub fn health(&self) -> Result<Health, Error> {
        self.get("/v1/health")
    }

    /// The legacy plane's routes, for a hub that has no v1 plane.
    pub fn legacy(&self) -> Legacy<'_> {
        Legacy(&self.http)
    }

    /// The hub's room routes.
    pub fn rooms(&self) -> Rooms<'_> {
        Rooms(self)
    }

    /// A room's participant routes.
    pub fn participants(&self, room: &str) -> Participants<'_> {
        Participants { client: self, path: format!("/v1/rooms/{}/participants", percent_encode(room)) }
    }

    /// A room's inference routes.
    pub fn room(&self, code: &str) -> Room {
        Room::new(self.http.clone(), code)
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
        let (status, envelope) = self.envelope(method, path, body)?;
        let data = serde_json::from_str(envelope.data.get()).map_err(|e| self.http.bad_answer(path, Reason::of(e)))?;
        self.http.set_request_id(envelope.meta.request_id);
        Ok((status, data))
    }

    /// One request; `data` is not parsed yet. Apart from `call`, which is compiled for each type of `data`.
    fn envelope(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Envelope<Box<RawValue>>), Error> {
        let (status, text) = self.http.call(method, path, body.as_ref())?;
        let envelope = from_bytes(&text).map_err(|e| self.http.bad_answer(path, Reason::of(e)))?;
        Ok((status, envelope))
    }
}

/// The hub's room routes.
#[derive(Debug)]
pub struct Rooms<'c>(&'c Client);

impl Rooms<'_> {
    /// Creates a room.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn create(&self, room: &CreateRoom) -> Result<RoomCreated, Error> {
        self.0.call("POST", "/v1/rooms", Some(json!(room))).map(|(_, data)| data)
    }

    /// Lists all rooms.
    ///
    /// # Errors
    /// When the hub can't be reached.
    pub fn list(&self) -> Result<Vec<RoomSummary>, Error> {
        self.0.get("/v1/rooms")
    }

    /// Reads one room.
    ///
    /// # Errors
    /// When no room has that code, or the hub can't be reached.
    pub fn get(&self, code: &str) -> Result<RoomSummary, Error> {
        self.0.get(&format!("/v1/rooms/{}", percent_encode(code)))
    }

    /// A room's metrics: its current requests, and its statistics over the last 1, 5 and 15 minutes.
    ///
    /// # Errors
    /// When no room has that code, the room is private and its password was not sent, or the hub can't be reached.
    pub fn metrics(&self, code: &str) -> Result<RoomMetrics, Error> {
        self.0.get(&format!("/v1/rooms/{}/metrics", percent_encode(code)))
    }

    /// A room's last hour by minutes, and what its callers have used.
    ///
    /// # Errors
    /// As [`Rooms::metrics`].
    pub fn history(&self, code: &str) -> Result<RoomHistory, Error> {
        self.0.get(&format!("/v1/rooms/{}/history", percent_encode(code)))
    }

    /// The requests that wait in a room, the next one first.
    ///
    /// # Errors
    /// As [`Rooms::metrics`].
    pub fn queue(&self, code: &str) -> Result<RoomQueue, Error> {
        self.0.get(&format!("/v1/rooms/{}/queue", percent_encode(code)))
    }

    /// How a request of this client went. `id` is the `X-Gambi-Request-Id` of its response.
    ///
    /// # Errors
    /// As [`Rooms::metrics`], and when the hub remembers no such request of this client.
    pub fn request(&self, code: &str, id: &str) -> Result<RequestTrace, Error> {
        self.0.get(&format!("/v1/rooms/{}/requests/{}", percent_encode(code), percent_encode(id)))
    }

    /// Deletes a room. `host_id` is the `hostId` that [`Rooms::create`] returned.
    ///
    /// # Errors
    /// When no room has that code, `host_id` is wrong, or the hub can't be reached.
    pub fn delete(&self, code: &str, host_id: &str) -> Result<(), Error> {
        let client = self.0.clone().with_header("X-Gambi-Host-Id", host_id);
        client.call::<Success>("DELETE", &format!("/v1/rooms/{}", percent_encode(code)), None).map(drop)
    }
}

/// A room's participant routes.
#[derive(Debug)]
pub struct Participants<'c> {
    client: &'c Client,
    path: String,
}

impl Participants<'_> {
    /// Lists all participants.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn list(&self) -> Result<Vec<Participant>, Error> {
        self.client.get(&self.path)
    }

    /// Registers a participant, or renews its registration. True when its id was new.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn upsert(&self, id: &str, registration: &Registration) -> Result<(Registered, bool), Error> {
        let (status, data) = self.client.call("PUT", &self.participant_path(id), Some(json!(registration)))?;
        Ok((data, status == 201))
    }

    /// Removes a participant.
    ///
    /// # Errors
    /// When the hub does not know it, or can't be reached.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        self.client.call::<Success>("DELETE", &self.participant_path(id), None).map(drop)
    }

    /// Sends a participant's heartbeat.
    ///
    /// # Errors
    /// When the hub does not know it, or can't be reached.
    pub fn heartbeat(&self, id: &str) -> Result<Heartbeat, Error> {
        self.heartbeat_with(id, &HeartbeatBody::default())
    }

    /// Sends a participant's heartbeat, with a report on its provider.
    ///
    /// # Errors
    /// As [`Participants::heartbeat`].
    pub fn heartbeat_with(&self, id: &str, report: &HeartbeatBody) -> Result<Heartbeat, Error> {
        let body = (*report != HeartbeatBody::default()).then(|| json!(report));
        self.client.call("POST", &format!("{}/heartbeat", self.participant_path(id)), body).map(|(_, data)| data)
    }

    fn participant_path(&self, id: &str) -> String {
        format!("{}/{}", self.path, percent_encode(id))
    }
}
