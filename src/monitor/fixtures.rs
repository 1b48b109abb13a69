//! Rooms and participants for the monitor's tests.

use serde_json::{Value, json};

use gambi::proto::management::{EventEnvelope, Participant, RoomSummary};

use super::state::{MonitorState, Update};

/// The time at which the tests take place, milliseconds since the epoch.
pub const NOW: u64 = 1_700_000_000_000;

pub fn room(code: &str, name: &str) -> RoomSummary {
    let room = json!({ "id": format!("id-{code}"), "code": code, "name": name, "hostId": "h", "createdAt": NOW,
        "passwordProtected": false, "participantCount": 0 });
    serde_json::from_value(room).unwrap()
}

pub fn participant(id: &str, nickname: &str) -> Participant {
    let participant = json!({ "id": id, "nickname": nickname, "model": "llama3", "endpoint": "http://localhost:11434",
        "connection": { "kind": "tunnel", "connected": true, "lastTunnelSeenAt": NOW }, "status": "online",
        "joinedAt": NOW, "lastSeen": NOW, "updatedAt": NOW });
    serde_json::from_value(participant).unwrap()
}

pub fn event(kind: &str, room: &str, data: Value) -> Update {
    Update::Event(EventEnvelope { kind: kind.into(), timestamp: NOW, room_code: room.into(), data })
}

pub fn began(room: &str, participant: &str, request: &str) -> Update {
    event("llm.request", room, json!({ "requestId": request, "participantId": participant, "model": "any" }))
}

pub fn answered(room: &str, participant: &str, request: &str) -> Update {
    let metrics = json!({ "ttftMs": 210, "durationMs": 1000, "outputTokens": 40 });
    let data = json!({ "requestId": request, "participantId": participant, "model": "llama3", "metrics": metrics });
    event("llm.complete", room, data)
}

pub fn failed(room: &str, participant: &str, request: &str, stage: &str) -> Update {
    let data = json!({ "requestId": request, "participantId": participant, "nickname": "Ann", "model": "llama3",
        "stage": stage, "error": "it broke" });
    event("llm.error", room, data)
}

/// A connected hub with one room, `LAB001`, that has these participants.
pub fn lab(participants: &[Participant]) -> MonitorState {
    let mut state = MonitorState::new("http://hub:3000", &[]);
    state.on_update(Update::Rooms(vec![room("LAB001", "Lab")], 0), NOW);
    state.on_update(Update::Linked, NOW);
    state.on_update(Update::Members("LAB001".into(), participants.to_vec()), NOW);
    state
}
