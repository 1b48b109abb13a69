//! The legacy plane's shapes: bare JSON, made from what the v1 plane shows. Several generations of clients read them.
//! `capabilities` and `hasInstructions` are always there, as the later of them require; the earlier ignore both.

use serde::Serialize;

use super::management::{Capabilities, Participant, RoomSummary, ShownConfig, Specs, Status};

/// A room as older clients read it.
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
    /// As an answer to its making, and as an event.
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

    /// As one of a list.
    pub fn listed(room: &'a RoomSummary) -> Self {
        Room { participant_count: Some(room.participant_count), ..Room::new(room) }
    }
}

/// A participant as older clients read it.
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
    /// Of either plane's participant.
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
