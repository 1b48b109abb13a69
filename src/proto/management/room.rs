//! Rooms and generation settings.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Generation settings of a room (`defaults`) or a participant (`config`), as they are sent to the hub.
///
/// Numbers are preserved verbatim, so that `1` is not returned as `1.0`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuntimeConfig {
    /// The public settings.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// A leading system message; non-empty. Never shown to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

/// The public part of a [`RuntimeConfig`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Number>,
    /// Any integer. Some servers take 0 or -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<Number>,
    /// Sequences that end the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<Number>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<Number>,
    /// Any integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Number>,
}

/// The public form of a runtime config: whether it has instructions, but not their text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShownConfig {
    /// The public settings.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Whether instructions are set.
    #[serde(rename = "hasInstructions", default)]
    pub has_instructions: bool,
}

/// The public form of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomSummary {
    /// 21 URL-safe random characters.
    pub id: String,
    /// Six characters, upper case.
    pub code: String,
    /// The name that its host chose.
    pub name: String,
    /// UUID of the room's host.
    pub host_id: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// Whether joining requires a password.
    pub password_protected: bool,
    /// Whether inference, lists and events require the password too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// The number of registered participants, including offline ones.
    pub participant_count: usize,
    /// Default settings of requests in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ShownConfig>,
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Body of `POST /v1/rooms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateRoom {
    /// The display name; not empty.
    pub name: String,
    /// Required to join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether inference, lists and events require the password too. It must be printable ASCII then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// Default settings of requests in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<RuntimeConfig>,
}

/// Answer to `POST /v1/rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomCreated {
    /// The new room.
    pub room: RoomSummary,
    /// The host's id, a secret that authorises the deletion of the room.
    pub host_id: String,
}
