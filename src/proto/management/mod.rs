//! The JSON types of the v1 management plane. `state` validates values, `hub` has the routes, and `envelope` the
//! envelope of answers.

mod participant;
mod room;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hex::push;

pub use super::envelope::{Envelope, ErrorBody, ErrorCode, ErrorEnvelope, Meta};
pub use participant::{
    Capabilities, Connection, ConnectionKind, ConnectionTransport, Heartbeat, HeartbeatBody, Participant,
    ParticipantToken, Registered, Registration, Specs, Status, Support, TunnelTicket,
};
pub use room::{CreateRoom, RoomCreated, RoomSummary, RuntimeConfig, Sampling, ShownConfig};

/// The interval of heartbeats on both planes and of tunnel pings, in seconds.
pub const HEARTBEAT_SECS: u64 = 10;
/// The time without a heartbeat or message after which a participant or its tunnel counts as lost, in seconds.
pub const TIMEOUT_SECS: u64 = 30;
/// The lifetime of a tunnel token, in seconds.
pub const TOKEN_SECS: u64 = 60;
/// The largest number of concurrent requests of a participant.
pub const MAX_CONCURRENCY: u32 = 4096;
/// The most models that a participant may have.
pub const MAX_MODELS: usize = 512;
/// The largest weight of a participant.
pub const MAX_WEIGHT: u32 = 100;
/// The highest priority of a person's requests; the lowest is its negative.
pub const MAX_PRIORITY: i32 = 100;
/// The longest name, model or nickname, in bytes.
pub const MAX_TEXT: usize = 1024;
/// The header with a participant's token.
pub const PARTICIPANT_TOKEN: &str = "X-Gambi-Participant-Token";
/// The header with a room's password, where it is not sent as the bearer token.
pub const ROOM_PASSWORD: &str = "X-Gambi-Room-Password";
/// The default URL of the hub.
pub const DEFAULT_HUB: &str = "http://localhost:3000";
/// The default URL of the provider.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:11434";

/// `{"success": true}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Always true.
    pub success: bool,
}

/// Answer to `GET /v1/health` and `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
}

/// One event of the v1 stream, as its `data:` line holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventEnvelope<T = Value> {
    /// Such as `participant.joined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    /// The room's code; empty for events of the hub.
    pub room_code: String,
    /// Data that depends on the type.
    pub data: T,
}

/// Measurements of a finished request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Time from dispatch to the answer's first byte, milliseconds.
    pub ttft_ms: u64,
    /// Time from dispatch to the answer's last byte, milliseconds.
    pub duration_ms: u64,
    /// Tokens of the prompt, if the provider reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, if the provider reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens of both, if the provider reports any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Output tokens over the whole duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

/// Formats random bytes as a version 4 UUID (RFC 9562).
pub fn uuid_of(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        push(&mut text, byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_preserves_its_numbers_verbatim() {
        let text = r#"{"temperature":1,"seed":18446744073709551615,"instructions":"Be brief."}"#;
        let config: RuntimeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        assert_eq!(uuid_of([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let bytes = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
        assert_eq!(uuid_of(bytes), "01234567-89ab-4def-9032-547698badcfe");
    }

    #[test]
    fn absent_values_are_left_out_but_the_tunnel_time_is_null() {
        let transport = Some(ConnectionTransport::Direct);
        let kind = ConnectionKind::Tunnel;
        let direct = Connection { kind, connected: true, last_tunnel_seen_at: None, transport };
        assert_eq!(
            serde_json::to_string(&direct).unwrap(),
            r#"{"kind":"tunnel","connected":true,"lastTunnelSeenAt":null,"transport":"direct"}"#
        );
        let tunnel = serde_json::to_string(&Connection { transport: None, ..direct }).unwrap();
        assert_eq!(tunnel, r#"{"kind":"tunnel","connected":true,"lastTunnelSeenAt":null}"#);
        assert_eq!(serde_json::to_string(&Specs::default()).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&ShownConfig::default()).unwrap(), r#"{"hasInstructions":false}"#);
    }

    #[test]
    fn the_debug_output_of_a_ticket_hides_its_token() {
        let ticket = TunnelTicket { url: "ws://h/".into(), token: "s3cret".into() };
        assert!(!format!("{ticket:?}").contains("s3cret"));
    }
}
