//! Participants: their public form, registration, and connection.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::room::{RuntimeConfig, ShownConfig};

/// The public form of a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Unique in its room.
    pub id: String,
    /// The display name.
    pub nickname: String,
    /// The provider's name of the model; of the first one, where it has several.
    pub model: String,
    /// The provider's names of all its models; omitted where there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Those of its models that are in memory; omitted where there is none, or it does not report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
    /// Whether its provider does not answer. It is offline then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provider_down: bool,
    /// Whether it is about to leave: it finishes its requests in progress, and is offline for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
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
    /// Alternative names of its first model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The number of concurrent requests that it accepts; omitted where it is one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub concurrency: u32,
    /// Its share of the requests in proportion to others; omitted where it is one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Whether it gets only requests that no other participant can handle; omitted where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

fn one() -> u32 {
    1
}

// serde passes a reference.
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

/// The APIs that a provider serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// `/v1/responses`.
    #[serde(default)]
    pub open_responses: Support,
    /// `/v1/chat/completions`.
    #[serde(default)]
    pub chat_completions: Support,
    /// Ollama's own API, `/api/chat` and others; omitted where it is not known.
    #[serde(default, skip_serializing_if = "Support::is_unknown")]
    pub ollama: Support,
}

impl Capabilities {
    /// As lists show them: `ollama` only where it is supported. Clients that do not know it may compare the whole.
    #[must_use]
    pub fn shown(self) -> Self {
        let ollama = if self.ollama == Support::Supported { self.ollama } else { Support::Unknown };
        Capabilities { ollama, ..self }
    }
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

impl Support {
    // serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_unknown(&self) -> bool {
        *self == Support::Unknown
    }
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

/// Body of `PUT /v1/rooms/{code}/participants/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The display name; not empty.
    pub nickname: String,
    /// The provider's name of the model; of the first one, where it has several. Not empty.
    pub model: String,
    /// The provider's names of all its models, [`MAX_MODELS`](super::MAX_MODELS) at most, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Those of its models that are in memory; `None` where the provider does not report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Vec<String>>,
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
    /// Alternative names of its first model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The number of concurrent requests that it accepts, 1 to [`MAX_CONCURRENCY`](super::MAX_CONCURRENCY); 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Its share of the requests in proportion to others, 1 to [`MAX_WEIGHT`](super::MAX_WEIGHT); 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it gets only requests that no other participant can handle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// Body of a heartbeat; may be omitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatBody {
    /// The participant's models that are in memory; `None` leaves those of the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Vec<String>>,
    /// Whether the participant's provider does not answer; `None` leaves what the last report said.
    #[serde(default, rename = "providerDown", skip_serializing_if = "Option::is_none")]
    pub provider_down: Option<bool>,
    /// Whether the participant is about to leave and takes no further requests; `None` leaves what the last report said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
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

/// A participant's secret, to be sent in [`PARTICIPANT_TOKEN`](super::PARTICIPANT_TOKEN). Debug output hides it.
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
