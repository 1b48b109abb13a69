//! Hubs as older versions are, each with one room, `ABC234`, and one participant, `ann`.

use serde_json::{Value, json};

use super::scripted::{FakeProvider, Script};

/// What an older hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldHub {
    /// The v1 plane without a stream of the whole hub's events.
    RoomStreams,
    /// The same, with room events on the legacy plane only.
    LegacyStreams,
    /// The legacy plane only.
    LegacyPlane,
}

impl OldHub {
    /// Starts the hub. Each watcher of the room sees one answered request of `ann`, and one that failed.
    pub fn start(self) -> FakeProvider {
        let hub = FakeProvider::start(Script::Missing);
        let room =
            json!({ "id": "i", "code": "ABC234", "name": "Lab", "hostId": "h", "createdAt": 1, "participantCount": 1 });
        let ann = json!({
            "id": "ann", "nickname": "Ann", "model": "m", "endpoint": "http://e", "specs": {}, "config": {},
            "status": "online", "joinedAt": 1, "lastSeen": now(),
        });
        let health = json!({ "status": "ok", "timestamp": now() });
        if self == OldHub::LegacyPlane {
            hub.set_path("/health", answer(&health));
            hub.set_path("/rooms", answer(&json!({ "rooms": [room] })));
            hub.set_path("/rooms/ABC234/participants", answer(&json!({ "participants": [ann] })));
        } else {
            let data = |data: Value| answer(&json!({ "data": data, "meta": { "requestId": "r" } }));
            let room = with(room, json!({ "passwordProtected": false }));
            let connection = json!({ "kind": "tunnel", "connected": true, "lastTunnelSeenAt": now() });
            let ann = with(ann, json!({ "connection": connection, "updatedAt": 1 }));
            hub.set_path("/v1/health", data(health));
            hub.set_path("/v1/rooms", data(json!([room])));
            hub.set_path("/v1/rooms/ABC234", data(room));
            hub.set_path("/v1/rooms/ABC234/participants", data(json!([ann])));
        }
        match self {
            OldHub::RoomStreams => hub.set_path("/v1/rooms/ABC234/events", Script::StreamAndHang(events(v1_event))),
            _ => hub.set_path("/rooms/ABC234/events", Script::StreamAndHang(events(legacy_event))),
        }
        hub
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

fn answer(body: &Value) -> Script {
    Script::json(200, body)
}

fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object") };
    object.as_object_mut().unwrap().extend(more);
    object
}

fn events(encode: fn(&str, &Value) -> String) -> Vec<String> {
    let request = json!({ "participantId": "ann", "model": "m" });
    let metrics = json!({ "ttftMs": 120, "durationMs": 1000, "outputTokens": 40 });
    vec![
        encode("connected", &json!({ "clientId": "c" })),
        encode("llm:request", &request),
        encode("llm:complete", &with(request.clone(), json!({ "metrics": metrics }))),
        encode("llm:request", &request),
        encode("llm:error", &with(request.clone(), json!({ "error": "it broke" }))),
    ]
}

fn legacy_event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn v1_event(name: &str, data: &Value) -> String {
    let name = name.replace(':', ".");
    let envelope = json!({ "type": name, "timestamp": now(), "roomCode": "ABC234", "data": data });
    format!("event: {name}\ndata: {envelope}\n\n")
}
