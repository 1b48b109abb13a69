//! The JSON types of the v1 management plane. `state` validates values, `hub` has the routes, and `envelope` the
//! envelope of answers.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

pub use super::envelope::{Envelope, ErrorBody, ErrorCode, ErrorEnvelope, Meta};

/// The interval of heartbeats on both planes and of tunnel pings, in seconds.
pub const HEARTBEAT_SECS: u64 = 10;
/// The time without a heartbeat or message after which a participant or its tunnel counts as lost, in seconds.
pub const TIMEOUT_SECS: u64 = 30;
/// The lifetime of a tunnel token, in seconds.
pub const TOKEN_SECS: u64 = 60;
/// The largest number of concurrent requests of a participant.
pub const MAX_CONCURRENCY: u32 = 256;
/// The header with a participant's token.
pub const PARTICIPANT_TOKEN: &str = "X-Gambi-Participant-Token";
/// The header with a room's password, where it is not sent as the bearer token.
pub const ROOM_PASSWORD: &str = "X-Gambi-Room-Password";
/// The default URL of the hub.
pub const DEFAULT_HUB: &str = "http://localhost:3000";
/// The default URL of the provider.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:11434";

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

/// The public form of a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Unique in its room.
    pub id: String,
    /// The display name.
    pub nickname: String,
    /// The provider's name of the model.
    pub model: String,
    /// Its provider's base URL, from the participant's point of view.
    pub endpoint: String,
    /// Its generation settings.
    #[serde(default)]
    pub config: ShownConfig,
    /// Its hardware.
    #[serde(default)]
    pub specs: Specs,
    /// Its provider's APIs.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How the hub reaches it.
    pub connection: Connection,
    /// Whether it can accept a request.
    pub status: Status,
    /// Milliseconds since the epoch.
    pub joined_at: u64,
    /// Last heartbeat or registration, milliseconds since the epoch.
    pub last_seen: u64,
    /// Last change, milliseconds since the epoch.
    pub updated_at: u64,
    /// Alternative names of its model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The number of concurrent requests that it accepts; omitted where it is one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub concurrency: u32,
}

fn one() -> u32 {
    1
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

// As above.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// A participant's hardware. All members are optional; unknown ones are dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Specs {
    /// Graphics card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Graphics memory, GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram: Option<Number>,
    /// Main memory, GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram: Option<Number>,
    /// Main memory, GB; the newer name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb: Option<Number>,
    /// Processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// The OpenAI APIs that a provider serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// `/v1/responses`.
    #[serde(default)]
    pub open_responses: Support,
    /// `/v1/chat/completions`.
    #[serde(default)]
    pub chat_completions: Support,
}

/// Whether a provider serves an API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// It serves the API.
    Supported,
    /// It does not serve the API.
    Unsupported,
    /// Not known.
    #[default]
    Unknown,
}

/// How the hub reaches a participant, and whether it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Always `tunnel`: older clients reject participants with any other value.
    pub kind: ConnectionKind,
    /// Whether the tunnel is open; always true for a direct one.
    pub connected: bool,
    /// Time of the last message on the tunnel, milliseconds since the epoch; `null` while there is no tunnel.
    pub last_tunnel_seen_at: Option<u64>,
    /// Present where the hub reaches the participant without a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<ConnectionTransport>,
}

impl Connection {
    /// Whether the hub calls the participant's endpoint.
    pub fn is_direct(&self) -> bool {
        self.transport == Some(ConnectionTransport::Direct)
    }
}

/// The only kind of connection in the v1 plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// The participant opens a WebSocket to the hub.
    Tunnel,
}

/// A way to reach a participant without a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionTransport {
    /// The hub calls the participant's endpoint.
    Direct,
}

/// Whether a participant can accept a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can accept a request.
    Online,
    /// It has requests in progress.
    Busy,
    /// It is not reachable, or its heartbeats have stopped.
    Offline,
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

/// Body of `PUT /v1/rooms/{code}/participants/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The display name; not empty.
    pub nickname: String,
    /// The provider's name of the model; not empty.
    pub model: String,
    /// Absolute http or https URL. The hub publishes it and never calls it.
    pub endpoint: String,
    /// The room's password, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Its hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specs: Option<Specs>,
    /// Its generation settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RuntimeConfig>,
    /// Its provider's APIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Alternative names of its model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The number of concurrent requests that it accepts, 1 to [`MAX_CONCURRENCY`]; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// Answer to the upsert of a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The participant after the registration.
    pub participant: Participant,
    /// Id (not code) of its room.
    pub room_id: String,
    /// Where to open the tunnel.
    pub tunnel: TunnelTicket,
    /// The secret that authorises changes of the registration. Omitted by older hubs, and where the participant was
    /// registered already and the request did not have its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_token: Option<ParticipantToken>,
}

/// A participant's secret, to be sent in [`PARTICIPANT_TOKEN`]. Debug output hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantToken(pub String);

impl std::fmt::Debug for ParticipantToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The URL and the token of a tunnel.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelTicket {
    /// Absolute `ws://` or `wss://` URL without a query.
    pub url: String,
    /// Secret, single use, expires after 60 s; sent as `?token=`.
    pub token: String,
}

impl std::fmt::Debug for TunnelTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelTicket").field("url", &self.url).field("token", &"[redacted]").finish()
    }
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Always true.
    pub success: bool,
    /// The participant's status after the heartbeat.
    pub status: Status,
    /// Milliseconds since the epoch.
    pub last_seen: u64,
}

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
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        text.push(digit(byte >> 4));
        text.push(digit(byte));
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
