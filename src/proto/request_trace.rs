//! The answer of `GET /v1/rooms/{code}/requests/{requestId}`: how one request went, attempt by attempt.

use serde::{Deserialize, Serialize};

/// How a request went, as far as it has. Times are milliseconds since it arrived.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestTrace {
    /// The request's id.
    pub request_id: String,
    /// The room's code, in upper case.
    pub room_code: String,
    /// When it arrived, milliseconds since the epoch.
    pub timestamp: u64,
    /// The model that it asked for.
    pub model: String,
    /// The protocol, as events name it.
    pub protocol: String,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// The attempts that have ended, in the order of their ends.
    pub attempts: Vec<AttemptTrace>,
    /// Where no participant got it at all: the error's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When its last attempt ended, or it was refused.
    pub ended_ms: f64,
}

/// One attempt at a participant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptTrace {
    /// The participant.
    pub participant_id: String,
    /// Its model.
    pub model: String,
    /// `complete`, `rejected`, `failed` or `cancelled`.
    pub outcome: String,
    /// Where it failed, as in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The provider's status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When it had its slot and was sent. Before the first attempt the request waited until then.
    pub started_ms: f64,
    /// When the head of the answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<f64>,
    /// When the first byte of the answer's body came; of a stream, its first event with data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// When it ended.
    pub ended_ms: f64,
    /// Tokens of the prompt, as the provider reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, as the provider reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}
