//! A real hub started by a test, and helpers to call it.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use gambi::client::Client;
use gambi::hub::{Clock, Hub, HubOptions, Limits};
use gambi::participant::Session;
use gambi::proto::management::{CreateRoom, Registration};
use serde_json::{Value, json};

use super::raw::{Conn, Response, request};
use super::scripted::FakeProvider;
use super::{PATIENCE, wait_until};

/// A hub on a port of its own. It stops when dropped.
pub struct TestHub {
    pub hub: Hub,
    pub clock: Clock,
    pub client: Client,
}

impl TestHub {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with(|options| change(&mut options.limits))
    }

    pub fn with(change: impl FnOnce(&mut HubOptions)) -> Self {
        let mut options = HubOptions { host: "127.0.0.1".into(), port: 0, ..HubOptions::default() };
        change(&mut options);
        let clock = options.clock.clone();
        let hub = Hub::bind(options).expect("a hub");
        let client = Client::new(&format!("http://{}", hub.addr())).expect("a client");
        TestHub { hub, clock, client }
    }

    pub fn addr(&self) -> SocketAddr {
        self.hub.addr()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Creates a room. Returns its code.
    pub fn room(&self) -> String {
        self.room_with(&CreateRoom { name: "Lab".into(), ..CreateRoom::default() })
    }

    pub fn room_with(&self, room: &CreateRoom) -> String {
        self.client.rooms().create(room).expect("a room").room.code
    }

    /// Joins a room with a participant of the provider's model `m`. It leaves when the session is dropped.
    pub fn join(&self, room: &str, id: &str, provider: &FakeProvider) -> Session {
        let session = Session::builder(self.url(), room).participant_id(id).model("m").endpoint(provider.url());
        session.start().expect("a participant")
    }

    pub fn get(&self, path: &str) -> Response {
        request(self.addr(), "GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        request(self.addr(), "POST", path, Some(&body.to_string()))
    }

    pub fn put(&self, path: &str, body: &Value) -> Response {
        request(self.addr(), "PUT", path, Some(&body.to_string()))
    }

    pub fn delete(&self, path: &str) -> Response {
        request(self.addr(), "DELETE", path, None)
    }

    /// Sends a chat to any participant of a room.
    pub fn chat(&self, room: &str, model: &str) -> Response {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] });
        self.post(&format!("/rooms/{room}/v1/chat/completions"), &body)
    }

    /// Sends a streamed chat. The response is left to be read.
    pub fn stream(&self, room: &str, model: &str) -> Conn {
        let body = json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
        let mut conn = Conn::open(self.addr());
        conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body.to_string()));
        conn
    }

    pub fn participant(&self, room: &str, id: &str) -> Value {
        let list = self.get(&format!("/v1/rooms/{room}/participants")).expect(200).json();
        let found = list["data"].as_array().unwrap().iter().find(|p| p["id"] == id).cloned();
        found.unwrap_or(Value::Null)
    }

    pub fn wait_for_status(&self, room: &str, id: &str, status: &str) {
        wait_until(&format!("{id} to be {status}"), || self.participant(room, id)["status"] == status);
    }

    /// Watches an event stream. The watcher is registered when this returns.
    pub fn watch(&self, path: &str) -> Watcher {
        let mut conn = Conn::open(self.addr());
        conn.ask("GET", path, &[], None);
        let head = conn.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let (sender, events) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            while let Some(chunk) = conn.chunk().filter(|chunk| !chunk.is_empty()) {
                text += &String::from_utf8(chunk).expect("events in UTF-8");
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    if !event.starts_with(':') && sender.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        let watcher = Watcher { events, bare: path.starts_with("/rooms/") };
        watcher.next("connected");
        watcher
    }

    pub fn watch_legacy(&self, room: &str) -> Watcher {
        self.watch(&format!("/rooms/{room}/events"))
    }

    pub fn watch_room(&self, room: &str) -> Watcher {
        self.watch(&format!("/v1/rooms/{room}/events"))
    }
}

/// A registration with only the required fields.
pub fn registration() -> Registration {
    Registration {
        nickname: "Ann".into(),
        model: "m".into(),
        endpoint: "http://localhost:1".into(),
        ..Registration::default()
    }
}

/// A watcher of an event stream.
pub struct Watcher {
    events: Receiver<String>,
    /// Whether events have no envelope, as on the legacy plane.
    bare: bool,
}

impl Watcher {
    /// The next event's raw lines.
    pub fn raw(&self) -> String {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("no event came"),
            Err(RecvTimeoutError::Disconnected) => panic!("the stream of events ended"),
        }
    }

    /// Skips to the next event of a type. Returns its data.
    pub fn next(&self, kind: &str) -> Value {
        loop {
            let raw = self.raw();
            let (line, data) = raw.split_once('\n').expect("two lines");
            if line != format!("event: {kind}") {
                continue;
            }
            let data = data.strip_prefix("data: ").and_then(|d| d.strip_suffix("\n\n")).expect("one data line");
            let event: Value = serde_json::from_str(data).expect("JSON");
            if self.bare {
                return event;
            }
            assert_eq!(event["type"], kind);
            assert!(event["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
            return event["data"].clone();
        }
    }

    /// Waits until the stream has ended.
    pub fn wait_for_end(&self) {
        while self.events.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Disconnected) {}
    }
}
