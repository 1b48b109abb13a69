//! The tunnel's messages in both directions, and their codec. Sockets and the routing of requests are out of scope.
//!
//! The messages on one WebSocket (PROTOCOL.md, "Tunnel"):
//!
//! ```text
//! participant                                   hub
//!    | GET .../tunnel?token=T[&frames=binary][&pause=1]
//!    |------------------------------------------->|   consumes the token
//!    |  101 [Gambi-Frames: binary] [Gambi-Pause: 1]
//!    |<-------------------------------------------|
//!    | tunnel.ping             (every 10 s)       |   any message shows that the peer is alive;
//!    |------------------------------------------->|   30 s without one: close 4001
//!    |                             tunnel.pong    |
//!    |<-------------------------------------------|
//!    |                  tunnel.request  id=A      |   a client's request
//!    |<-------------------------------------------|
//!    | tunnel.response.start   id=A status        |   the provider's head has arrived
//!    |------------------------------------------->|
//!    | tunnel.response.chunk   id=A base64        |   for each piece of the body
//!    |------------------------------------------->|   (or one binary message, see below)
//!    | tunnel.response.end     id=A               |   or tunnel.response.error, at any stage
//!    |------------------------------------------->|
//!    |                  tunnel.pause    id=A      |   the client reads more slowly than the provider
//!    |<-------------------------------------------|   writes: stop reading this answer
//!    |                  tunnel.resume   id=A      |   continue
//!    |<-------------------------------------------|
//!    |                  tunnel.cancel   id=A      |   the client disconnected: stop the provider
//!    |<-------------------------------------------|   (also while paused)
//! ```
//!
//! A participant that supports `tunnel.pause` announces it with `pause=1`: the hub then queues the pieces that are
//! still in transit for a slow client, and never waits for that client. Any other participant is sent neither message;
//! the hub's reader waits for a client for up to 200 ms in any 10 s, and only the request that falls too far behind
//! ends. When a new tunnel of the same participant replaces one, the hub closes the old one with 1000 and a reason that
//! begins with `superseded`. Its participant then neither unregisters nor reconnects.
//!
//! Requests overlap freely; only the order of messages with the same id is significant. Both sides ignore messages of
//! an unknown type, or with an id that is not in use.
//!
//! A binary message, where both sides have agreed to them, is one chunk: the length of the request id in one byte, the
//! id, then the chunk's bytes.

mod chunk;
mod decode;
mod encode;
mod message;

use std::fmt;

pub use chunk::{PlainChunk, binary_head, decode_binary, encode_chunk, plain_chunk};
pub use decode::{decode_from_hub, decode_from_participant};
pub use encode::{encode, encode_end, encode_error, encode_ping, encode_request, encode_start};
pub use message::{FromHub, FromParticipant, Incoming, Request, ToParticipant};

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
/// Close code: the participant was removed, superseded, or left.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close code: the hub is shutting down.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// Close code: no message for 30 s.
pub const CLOSE_TIMEOUT: u16 = 4001;
/// The response header that, with the query parameter `frames`, negotiates binary chunks.
pub const FRAMES_HEADER: &str = "Gambi-Frames";
/// The value of the header and of the query parameter.
pub const FRAMES_BINARY: &str = "binary";
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

/// A message that does not follow the protocol.
#[derive(Debug)]
pub struct BadMessage(String);

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel message cannot be read: {}", self.0)
    }
}

impl std::error::Error for BadMessage {}

#[cfg(test)]
mod tests;
