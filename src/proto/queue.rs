//! The answer of `GET /v1/rooms/{code}/queue`: which requests wait for a participant, in the order in which they get one.

use serde::{Deserialize, Serialize};

/// The most requests in an answer; `queued` counts all.
pub const MAX_SHOWN: usize = 100;

/// The requests that wait in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomQueue {
    /// The room's code, in upper case.
    pub room_code: String,
    /// When this was so, milliseconds since the epoch.
    pub timestamp: u64,
    /// How many wait.
    pub queued: u64,
    /// The first of them, up to [`MAX_SHOWN`], the next one first.
    pub requests: Vec<WaitingRequest>,
}

/// A request that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRequest {
    /// Its place, from 1.
    pub place: u64,
    /// The name of the person whose key it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Without such a name, a number that tells the clients of this answer apart, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u64>,
    /// Whether it counts as a request of the one who reads this.
    pub own: bool,
    /// The model that it asks for.
    pub model: String,
    /// Since when it waits, milliseconds since the epoch.
    pub since: u64,
}
