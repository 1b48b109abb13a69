//! A line of the file of `hub serve --usage`: who used what, and how much of it.

use serde::{Deserialize, Serialize};

/// A finished request of the inference plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    /// When it ended, milliseconds since the epoch.
    pub timestamp: u64,
    /// The request's id.
    pub request_id: String,
    /// The name of the person who asked, if they have a key of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The room's code.
    pub room: String,
    /// The participant that answered last, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// The participant's model; without a participant, the one that the client asked for.
    pub model: String,
    /// As in events, such as `chatCompletions`.
    pub protocol: String,
    /// The status of the answer; 499 where the client disconnected first.
    pub status: u16,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Whether the tokens are an estimate of the hub.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// From the request's arrival to the end of its answer, milliseconds.
    pub duration_ms: u64,
}
