//! The legacy plane's JSON types, without an envelope, built from the v1 plane's types. `capabilities` and
//! `hasInstructions` are always present: newer legacy clients require them, older ones ignore them.
//!
//! The `read_` functions convert in the other direction, for clients of hubs that have no v1 plane.

use serde::Serialize;
use serde_json::{Value, json};

use super::management::{
    Capabilities, Connection, ConnectionKind, ConnectionTransport, EventEnvelope, Participant, RoomSummary,
    ShownConfig, Specs, Status,
};
use super::read_json::from_value;

/// A room in the legacy format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room<'a> {
    id: &'a str,
    code: &'a str,
    name: &'a str,
    host_id: &'a str,
    created_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    defaults: Option<&'a ShownConfig>,
}

impl<'a> Room<'a> {
    /// For the answer to its creation, and for events.
    pub fn new(room: &'a RoomSummary) -> Self {
        Room {
            id: &room.id,
            code: &room.code,
            name: &room.name,
            host_id: &room.host_id,
            created_at: room.created_at,
            participant_count: None,
            defaults: room.defaults.as_ref(),
        }
    }

    /// For a list.
    pub fn listed(room: &'a RoomSummary) -> Self {
        Room { participant_count: Some(room.participant_count), ..Room::new(room) }
    }
}

/// A participant in the legacy format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member<'a> {
    id: &'a str,
    nickname: &'a str,
    model: &'a str,
    endpoint: &'a str,
    specs: &'a Specs,
    config: &'a ShownConfig,
    capabilities: Capabilities,
    status: Status,
    joined_at: u64,
    last_seen: u64,
}

impl<'a> Member<'a> {
    /// Converts a participant.
    pub fn new(participant: &'a Participant) -> Self {
        Member {
            id: &participant.id,
            nickname: &participant.nickname,
            model: &participant.model,
            endpoint: &participant.endpoint,
            specs: &participant.specs,
            config: &participant.config,
            capabilities: participant.capabilities,
            status: participant.status,
            joined_at: participant.joined_at,
            last_seen: participant.last_seen,
        }
    }
}

/// Parses a room. Older hubs do not report whether it has a password. `None` if it has another shape.
pub fn read_room(mut room: Value) -> Option<RoomSummary> {
    add_missing(&mut room, json!({ "passwordProtected": false, "participantCount": 0 }));
    from_value(&room).ok()
}

/// Parses a participant, which such a hub calls directly. `None` if it has another shape.
pub fn read_member(mut member: Value) -> Option<Participant> {
    let transport = Some(ConnectionTransport::Direct);
    let connection = Connection { kind: ConnectionKind::Tunnel, connected: true, last_tunnel_seen_at: None, transport };
    let last_seen = member["lastSeen"].clone();
    add_missing(&mut member, json!({ "connection": connection, "updatedAt": last_seen }));
    from_value(&member).ok()
}

/// Converts an event of a room's stream to the v1 plane's shape. `None` if its data has another shape.
pub fn read_event(name: &str, data: &str, room_code: &str, timestamp: u64) -> Option<EventEnvelope> {
    let data: Value = serde_json::from_str(data).ok()?;
    let data = match name {
        "room:created" => json!(read_room(data)?),
        "participant:joined" => json!(read_member(data)?),
        _ => data,
    };
    Some(EventEnvelope { kind: name.replace(':', "."), timestamp, room_code: room_code.to_owned(), data })
}

fn add_missing(object: &mut Value, defaults: Value) {
    if let (Value::Object(object), Value::Object(defaults)) = (object, defaults) {
        for (key, value) in defaults {
            object.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_older_hubs_are_converted_to_the_v1_plane() {
        let room = json!({ "id": "i", "code": "ABC234", "name": "Lab", "hostId": "h", "createdAt": 1 });
        let created = read_event("room:created", &room.to_string(), "ABC234", 7).unwrap();
        assert_eq!((created.kind.as_str(), created.timestamp), ("room.created", 7));
        assert_eq!(read_room(room).unwrap().code, "ABC234");
        let ann = json!({
            "id": "ann", "nickname": "Ann", "model": "m", "endpoint": "http://e", "specs": { "gpu": "g", "vram": 24 },
            "config": { "temperature": 0.7 }, "status": "online", "joinedAt": 1, "lastSeen": 2,
        });
        let joined = read_event("participant:joined", &ann.to_string(), "ABC234", 7).unwrap();
        assert_eq!(serde_json::from_value::<Participant>(joined.data).unwrap(), read_member(ann.clone()).unwrap());
        let ann = read_member(ann).unwrap();
        assert!(ann.connection.connected && ann.connection.is_direct() && ann.updated_at == 2);
        let left = read_event("participant:left", r#"{"participantId":"ann"}"#, "ABC234", 7).unwrap();
        assert_eq!((left.kind.as_str(), &left.data["participantId"]), ("participant.left", &json!("ann")));
        for bad in ["", "7", "[]", "null", "{}"] {
            assert!(read_event("participant:joined", bad, "ABC234", 7).is_none(), "{bad}");
        }
    }
}
