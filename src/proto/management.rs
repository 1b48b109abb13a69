//! The v1 management plane: what rooms and participants look like in JSON.
//!
//! Shapes only. What makes a value valid is `state`'s business, which route answers with which shape is `hub`'s, and what
//! stands around every answer is in `envelope`.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

pub use super::envelope::{Envelope, ErrorBody, ErrorCode, ErrorEnvelope, Meta};

/// How often a participant tells the hub that it is alive, in seconds (both planes, and tunnel pings).
pub const HEARTBEAT_SECS: u64 = 10;
/// Silence after which a participant or its tunnel counts as lost, in seconds.
pub const TIMEOUT_SECS: u64 = 30;
/// Life of a tunnel token, in seconds.
pub const TOKEN_SECS: u64 = 60;
/// The most requests that a participant may take at once.
pub const MAX_CONCURRENCY: u32 = 4096;
/// The most models that a participant may have.
pub const MAX_MODELS: usize = 512;
/// The largest weight of a participant.
pub const MAX_WEIGHT: u32 = 100;
/// The longest name, model or nickname, in bytes. Two hundred emoji fit.
pub const MAX_TEXT: usize = 1024;
/// The header in which a participant shows its token.
pub const PARTICIPANT_TOKEN: &str = "X-Gambi-Participant-Token";
/// The header in which a room's password is shown, where it is not the bearer token.
pub const ROOM_PASSWORD: &str = "X-Gambi-Room-Password";
/// Where a hub is looked for when nobody says.
pub const DEFAULT_HUB: &str = "http://localhost:3000";
/// Where a provider is looked for when nobody says.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:11434";

/// Generation settings of a room (`defaults`) or a participant (`config`), as they are sent to the hub.
///
/// Numbers are kept as they were written, so that `1` does not come back as `1.0`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuntimeConfig {
    /// The settings that may be shown to everyone.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// A leading system message; non-empty. Never shown to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

/// The part of a [`RuntimeConfig`] that is no secret.
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

/// A runtime config as clients are shown it: whether there are instructions, but not what they say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShownConfig {
    /// The settings that may be shown to everyone.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Whether instructions are set.
    #[serde(rename = "hasInstructions", default)]
    pub has_instructions: bool,
}

/// What a room looks like from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomSummary {
    /// 21 URL-safe random characters.
    pub id: String,
    /// Six characters, upper case.
    pub code: String,
    /// As its host called it.
    pub name: String,
    /// UUID of whoever made the room.
    pub host_id: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// Whether joining needs a password.
    pub password_protected: bool,
    /// Whether talking, listing and watching need the password too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// Registered participants, offline ones too.
    pub participant_count: usize,
    /// Settings for every request in the room that brings none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ShownConfig>,
}

/// What a participant looks like from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Unique in its room.
    pub id: String,
    /// For people.
    pub nickname: String,
    /// The name its provider knows the model by; the first of `models` where it has several.
    pub model: String,
    /// All of its models, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Those of its models that are in memory, where it tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
    /// Its provider's base URL, as the participant sees it.
    pub endpoint: String,
    /// Its generation settings.
    #[serde(default)]
    pub config: ShownConfig,
    /// Its machine.
    #[serde(default)]
    pub specs: Specs,
    /// What its provider can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How the hub reaches it.
    pub connection: Connection,
    /// Whether it can take a request.
    pub status: Status,
    /// Milliseconds since the epoch.
    pub joined_at: u64,
    /// Last heartbeat or registration, milliseconds since the epoch.
    pub last_seen: u64,
    /// Last change, milliseconds since the epoch.
    pub updated_at: u64,
    /// Other names of its model, where it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Requests that it takes at once, where it is more than one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub concurrency: u32,
    /// Its share of the requests in proportion to others, where it is not 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Whether it gets requests only where no other participant can take them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fallback: bool,
}

fn one() -> u32 {
    1
}

// serde calls it with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

// As above.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// A participant's machine. All parts are optional; unknown keys are dropped.
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
    /// Memory, GB, as newer clients spell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb: Option<Number>,
    /// Processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// Which of OpenAI's surfaces a provider serves.
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

/// Whether a provider serves a surface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// It does.
    Supported,
    /// It does not.
    Unsupported,
    /// Nobody has found out.
    #[default]
    Unknown,
}

/// How the hub reaches a participant, and whether it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Always `tunnel`: a client that reads another word here shows no participant at all.
    pub kind: ConnectionKind,
    /// Whether the tunnel is open; always true for a direct one.
    pub connected: bool,
    /// Last message on the tunnel, milliseconds since the epoch; `null` while there is no tunnel.
    pub last_tunnel_seen_at: Option<u64>,
    /// How the hub reaches the participant, where it is not by a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<ConnectionTransport>,
}

impl Connection {
    /// Whether the hub calls the participant's endpoint.
    pub fn is_direct(&self) -> bool {
        self.transport == Some(ConnectionTransport::Direct)
    }
}

/// The one kind of connection that clients of the v1 plane know.
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

/// Whether a participant can take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can.
    Online,
    /// It is working on one.
    Busy,
    /// It is not there.
    Offline,
}

/// Body of `POST /v1/rooms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateRoom {
    /// What to call the room; not empty.
    pub name: String,
    /// Asked for when joining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether talking, listing and watching need the password too. It must be printable ASCII then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// Settings for every request in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<RuntimeConfig>,
}

/// Answer to `POST /v1/rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomCreated {
    /// The new room.
    pub room: RoomSummary,
    /// Its host's id, which only the host is meant to keep.
    pub host_id: String,
}

/// Body of `PUT /v1/rooms/{code}/participants/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// For people; not empty.
    pub nickname: String,
    /// The name its provider knows the model by; not empty. The first one of several.
    pub model: String,
    /// All of its models by its provider's names, [`MAX_MODELS`] at most, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Those of its models that are in memory; `None` where the provider does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Vec<String>>,
    /// Absolute http or https URL. The hub shows it and never calls it.
    pub endpoint: String,
    /// The room's password, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specs: Option<Specs>,
    /// Its generation settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RuntimeConfig>,
    /// What its provider can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Other names that its model answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Requests that it takes at once, 1 to [`MAX_CONCURRENCY`]; 1 unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Its share of the requests in proportion to others, 1 to [`MAX_WEIGHT`]; 1 unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it gets requests only where no other participant can take them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fallback: bool,
}

/// Body of a heartbeat, which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatBody {
    /// The participant's models that are in memory; those that it told before stay where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Vec<String>>,
}

/// Answer to the upsert of a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// As the hub now knows it.
    pub participant: Participant,
    /// Id (not code) of its room.
    pub room_id: String,
    /// Where to open the tunnel.
    pub tunnel: TunnelTicket,
    /// Tells the participant from others that use its id. Left out by older hubs, and where the participant was known
    /// and its token was not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_token: Option<ParticipantToken>,
}

/// A participant's secret, to be sent back in [`PARTICIPANT_TOKEN`]. Debug output hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantToken(pub String);

impl std::fmt::Debug for ParticipantToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where and with what to open a tunnel.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelTicket {
    /// Absolute `ws://` or `wss://` URL without a query.
    pub url: String,
    /// Secret, single use, dead after 60 s; sent as `?token=`.
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
    /// The participant's status after it.
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
    /// The room it happened in; empty where it concerns no room.
    pub room_code: String,
    /// What its type says.
    pub data: T,
}

/// What a finished request is measured by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// From dispatch to the answer's first byte, milliseconds.
    pub ttft_ms: u64,
    /// From dispatch to the answer's last byte, milliseconds.
    pub duration_ms: u64,
    /// Tokens of the prompt, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Both, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Output tokens over the whole duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

/// A UUID out of random bytes (RFC 9562, version 4).
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
    fn a_config_keeps_its_numbers_as_written() {
        let text = r#"{"temperature":1,"seed":18446744073709551615,"instructions":"Be brief."}"#;
        let config: RuntimeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
    }

    #[test]
    fn a_uuid_tells_its_version() {
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
    fn a_ticket_is_never_printed() {
        let ticket = TunnelTicket { url: "ws://h/".into(), token: "s3cret".into() };
        assert!(!format!("{ticket:?}").contains("s3cret"));
    }
}
