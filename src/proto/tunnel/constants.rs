//! Limits, close codes and header names of the tunnel.

/// The largest message that the hub reads from a participant, in bytes.
pub const MAX_TO_HUB: usize = 16 << 20;
/// The largest message that a participant reads from the hub, in bytes: the largest request body, and its overhead.
pub const MAX_TO_PARTICIPANT: usize = 64 << 20;
/// The longest request id, in bytes.
pub const MAX_REQUEST_ID: usize = 256;
/// The longest head of a provider's answer, in bytes of its JSON.
pub const MAX_HEAD: usize = 32 << 10;
/// The most header lines of a provider's answer.
pub const MAX_HEAD_LINES: usize = 100;
/// The longest name of the stage at which a request failed, in bytes; the rest is truncated.
pub const MAX_STAGE: usize = 64;
/// The longest message of a failed request, in bytes; the rest is truncated.
pub const MAX_ERROR_TEXT: usize = 2 << 10;
/// The text before the id in a `tunnel.response.end`.
pub(super) const END: &str = r#"{"type":"tunnel.response.end","requestId":"#;
/// Close code: the participant was removed, superseded, or left.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close code: the hub is shutting down.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// Close code: no message for 30 s.
pub const CLOSE_TIMEOUT: u16 = 4001;
/// The response header that, with the query parameter `frames`, negotiates binary messages with chunks.
pub const FRAMES_HEADER: &str = "Gambi-Frames";
/// The value of the header and of the query parameter.
pub const FRAMES_BINARY: &str = "binary";
/// The response header that, with the query parameter `bodies`, negotiates bodies of requests as binary messages.
pub const BODIES_HEADER: &str = "Gambi-Bodies";
/// The value of the header and of the query parameter.
pub const BODIES_BINARY: &str = "binary";
/// The response header that, with the query parameter `pause`, negotiates `tunnel.pause`.
pub const PAUSE_HEADER: &str = "Gambi-Pause";
/// The value of the header and of the query parameter.
pub const PAUSE_ON: &str = "1";
/// The prefix of the reason in a close frame with [`CLOSE_NORMAL`] when another tunnel has replaced this one.
pub const SUPERSEDED: &str = "superseded";

/// Whether a close frame means that another tunnel has replaced this one.
pub fn is_superseded(code: Option<u16>, reason: &str) -> bool {
    let beginning = reason.get(..SUPERSEDED.len());
    code == Some(CLOSE_NORMAL) && beginning.is_some_and(|text| text.eq_ignore_ascii_case(SUPERSEDED))
}
