//! The answer of `GET /v1/rooms/{code}/history`: a room's last hour by minutes, and who has used how much of it.

use serde::{Deserialize, Serialize};

use super::metrics::Figures;

/// What a room did lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomHistory {
    /// The room's code, in upper case.
    pub room_code: String,
    /// When this was so, milliseconds since the epoch.
    pub timestamp: u64,
    /// The minutes of the last hour in which something happened, oldest first.
    pub minutes: Vec<HistoryMinute>,
    /// What each caller has used since the hub counts this room, the one with the most tokens first.
    pub callers: Vec<CallerUse>,
    /// The last fifteen minutes of each participant that had requests.
    pub participants: Vec<ParticipantHistory>,
}

/// One minute of a room.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryMinute {
    /// When it began, milliseconds since the epoch.
    pub at: u64,
    /// The most requests that were seen in the queue at once.
    pub queued: u64,
    /// The requests that ended in it.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What one caller has used of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallerUse {
    /// The name of a person with a key; `*` for all people past a hundred. Absent for all clients without such a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Requests that ended. Each attempt at a participant counts.
    pub requests: u64,
    /// Failed ones of them.
    pub errors: u64,
    /// Tokens of prompts, estimated where a provider told none.
    pub input_tokens: u64,
    /// Tokens of answers, estimated where a provider told none.
    pub output_tokens: u64,
}

/// The last fifteen minutes of a participant, the last of which ends now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantHistory {
    /// Its id.
    pub participant_id: String,
    /// Requests that ended in each minute.
    pub requests: Vec<u64>,
    /// Tokens of their answers, as far as the provider reported them.
    pub output_tokens: Vec<u64>,
}
