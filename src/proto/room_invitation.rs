//! The answer of `GET /v1/rooms/{code}/invitation`: where others find the room.

use serde::{Deserialize, Serialize};

/// Where a room is found. None of it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomInvitation {
    /// The room's base URL for clients of OpenAI's API.
    pub base_url: String,
    /// The room on the hub's page.
    pub page_url: String,
    /// The QR code of `page_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_qr: Option<QrImage>,
    /// The line that `gambi participant join --invite` takes, without a password or key.
    pub invitation: String,
}

/// A QR code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QrImage {
    /// Modules of a side, without a margin.
    pub size: u32,
    /// The dark modules as the data of an SVG path, a module a unit.
    pub path: String,
}
