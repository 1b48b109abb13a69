//! Events of rooms, and their form in the event stream of each plane.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::id::RoomCode;
use crate::proto::legacy;
use crate::proto::management::{EventEnvelope, Metrics, Participant, RoomSummary};
use crate::proto::sse;
use crate::proto::stage::Stage;

/// A change in a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// The room's code.
    pub room: RoomCode,
    /// The kind of event, with its data.
    pub kind: EventKind,
}

/// The kinds of event (PROTOCOL.md, "Events").
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A room was created.
    RoomCreated(RoomSummary),
    /// A room was deleted.
    RoomDeleted(RoomSummary),
    /// A participant registered for the first time.
    ParticipantJoined(Participant),
    /// A known participant registered again, possibly with another nickname or model, came back online, or opened its
    /// tunnel. v1 streams report it as an update. Legacy streams report it as a join, their only event that contains a
    /// participant.
    ParticipantRenewed(Participant),
    /// Something else that a participant tells of itself has changed, such as its models in memory.
    ParticipantUpdated(Participant),
    /// A participant was removed.
    ParticipantLeft(String),
    /// A participant's heartbeats stopped, or its tunnel closed.
    ParticipantOffline(String),
    /// A request was sent to a participant.
    LlmRequest(Dispatch),
    /// A request was answered.
    LlmComplete(Dispatch, Metrics),
    /// A request failed.
    LlmError(Dispatch, Failure),
}

/// A request that was sent to a participant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispatch {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The id of the participant that got it.
    pub participant_id: Arc<str>,
    /// In `llm.request` the model that the client requested; in `llm.complete` and `llm.error` the participant's own
    /// model, where one was chosen.
    pub model: Arc<str>,
    /// `openResponses` or `chatCompletions`.
    pub protocol: &'static str,
    /// The name of the person who asked, if they have a key of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

/// How a request failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The participant's nickname.
    pub nickname: String,
    /// The participant's endpoint, as registered.
    pub endpoint: String,
    /// The stage at which it failed, such as `connect`, `stream` or `cancelled`.
    pub stage: Stage,
    /// One sentence.
    pub error: String,
}

impl Event {
    /// Whether the event goes to all watchers of the hub, not only to those of the room.
    pub fn concerns_all(&self) -> bool {
        matches!(self.kind, EventKind::RoomCreated(_) | EventKind::RoomDeleted(_))
    }

    /// The event in the v1 stream's format.
    pub fn to_v1(&self) -> String {
        envelope(self.name(), self.at, self.room.as_str(), self.v1_data())
    }

    /// The event in the legacy stream's format, which has no envelope. `None` where the legacy plane has no such event.
    pub fn to_legacy(&self) -> Option<String> {
        let (name, data) = match &self.kind {
            EventKind::RoomCreated(room) => ("room:created", json!(legacy::Room::new(room))),
            EventKind::RoomDeleted(room) => ("room:deleted", json!(legacy::Room::new(room))),
            EventKind::ParticipantJoined(participant) | EventKind::ParticipantRenewed(participant) => {
                ("participant:joined", json!(legacy::Member::new(participant)))
            }
            EventKind::ParticipantUpdated(_) => return None,
            EventKind::ParticipantLeft(id) => ("participant:left", json!({ "participantId": id })),
            EventKind::ParticipantOffline(id) => ("participant:offline", json!({ "participantId": id })),
            EventKind::LlmRequest(d) => ("llm:request", json!({ "participantId": d.participant_id, "model": d.model })),
            EventKind::LlmComplete(d, metrics) => {
                ("llm:complete", json!({ "participantId": d.participant_id, "model": d.model, "metrics": metrics }))
            }
            EventKind::LlmError(d, failure) => {
                ("llm:error", json!({ "participantId": d.participant_id, "error": failure.error }))
            }
        };
        Some(sse::encode(name, &data.to_string()))
    }

    /// The event's name in the v1 stream.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            EventKind::RoomCreated(_) => "room.created",
            EventKind::RoomDeleted(_) => "room.deleted",
            EventKind::ParticipantJoined(_) => "participant.joined",
            EventKind::ParticipantRenewed(_) | EventKind::ParticipantUpdated(_) => "participant.updated",
            EventKind::ParticipantLeft(_) => "participant.left",
            EventKind::ParticipantOffline(_) => "participant.offline",
            EventKind::LlmRequest(_) => "llm.request",
            EventKind::LlmComplete(..) => "llm.complete",
            EventKind::LlmError(..) => "llm.error",
        }
    }

    fn v1_data(&self) -> Value {
        match &self.kind {
            EventKind::RoomCreated(room) | EventKind::RoomDeleted(room) => json!(room),
            EventKind::ParticipantJoined(participant)
            | EventKind::ParticipantRenewed(participant)
            | EventKind::ParticipantUpdated(participant) => json!(participant),
            EventKind::ParticipantLeft(id) | EventKind::ParticipantOffline(id) => json!({ "participantId": id }),
            EventKind::LlmRequest(dispatch) => json!(dispatch),
            EventKind::LlmComplete(dispatch, metrics) => with(json!(dispatch), json!({ "metrics": metrics })),
            EventKind::LlmError(dispatch, failure) => with(
                json!(dispatch),
                json!({
                    "nickname": failure.nickname,
                    "endpoint": failure.endpoint,
                    "stage": failure.stage.as_str(),
                    "error": failure.error,
                }),
            ),
        }
    }
}

/// The first event of every v1 stream.
pub fn connected(client_id: &str, room: &str, at: u64) -> String {
    envelope("connected", at, room, json!({ "clientId": client_id }))
}

/// The first event of every legacy stream.
pub fn connected_legacy(client_id: &str) -> String {
    sse::encode("connected", &json!({ "clientId": client_id }).to_string())
}

fn envelope(kind: &str, at: u64, room: &str, data: Value) -> String {
    let envelope = EventEnvelope { kind: kind.to_owned(), timestamp: at, room_code: room.to_owned(), data };
    sse::encode(kind, &serde_json::to_string(&envelope).unwrap_or_default())
}

fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { at: 5, room: RoomCode::parse("ABC234").unwrap(), kind }
    }

    fn data(text: &str) -> Value {
        serde_json::from_str(text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap()).unwrap()
    }

    #[test]
    fn an_event_is_two_lines_and_a_blank_one() {
        let text = event(EventKind::ParticipantLeft("w".into())).to_v1();
        assert!(text.starts_with("event: participant.left\ndata: {"), "{text}");
        assert!(text.ends_with("}\n\n") && text.lines().count() == 3, "{text}");
        assert_eq!(
            data(&text),
            json!({"type": "participant.left", "timestamp": 5, "roomCode": "ABC234", "data": {"participantId": "w"}})
        );
    }

    #[test]
    fn an_error_event_names_the_participant_the_stage_and_the_reason() {
        let dispatch = Dispatch {
            request_id: "r".into(),
            participant_id: "w".into(),
            model: "any".into(),
            protocol: "chatCompletions",
            caller: Some("ann".into()),
        };
        let failure = Failure {
            nickname: "n".into(),
            endpoint: "http://x".into(),
            stage: Stage::Stream,
            error: "it broke".into(),
        };
        assert_eq!(
            data(&event(EventKind::LlmError(dispatch, failure)).to_v1())["data"],
            json!({"requestId": "r", "participantId": "w", "model": "any", "protocol": "chatCompletions", "caller": "ann",
                "nickname": "n", "endpoint": "http://x", "stage": "stream", "error": "it broke"})
        );
    }
}
