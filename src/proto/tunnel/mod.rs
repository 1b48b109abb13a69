//! The tunnel's messages in both directions, and their codec. Sockets and the routing of requests are out of scope.
//!
//! The messages on one WebSocket (PROTOCOL.md, "Tunnel"):
//!
//! ```text
//! participant                                   hub
//!    | GET .../tunnel?token=T[&frames=binary[&bodies=binary]][&pause=1]
//!    |------------------------------------------->|   consumes the token
//!    |  101 [Gambi-Frames: binary] [Gambi-Bodies: binary] [Gambi-Pause: 1]
//!    |<-------------------------------------------|
//!    | tunnel.ping             (every 10 s)       |   any message shows that the peer is alive;
//!    |------------------------------------------->|   30 s without one: close 4001
//!    |                             tunnel.pong    |
//!    |<-------------------------------------------|
//!    |                  tunnel.request  id=A      |   a client's request (its body may be a binary message
//!    |                                            |   behind it, see below)
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
//! A binary message to the hub, where both sides have agreed to them, is one chunk: the length of the request id in one
//! byte, the id, then the chunk's bytes. One to the participant, likewise, is the body of the request in front of it, which
//! has `bodyBytes` in place of `body`.

mod chunk;
mod constants;
mod decode;
mod encode;
mod message;

pub use chunk::{PlainChunk, binary_head, decode_binary, encode_chunk, plain_chunk, plain_end};
pub use constants::{
    BODIES_BINARY, BODIES_HEADER, CLOSE_GOING_AWAY, CLOSE_NORMAL, CLOSE_TIMEOUT, FRAMES_BINARY, FRAMES_HEADER,
    MAX_ERROR_TEXT, MAX_HEAD, MAX_HEAD_LINES, MAX_REQUEST_ID, MAX_STAGE, MAX_TO_HUB, MAX_TO_PARTICIPANT, PAUSE_HEADER,
    PAUSE_ON, SUPERSEDED, is_superseded,
};
pub use decode::{decode_from_hub, decode_from_participant};
pub use encode::{encode, encode_end, encode_error, encode_ping, encode_request, encode_start};
pub use message::{BadMessage, BodyForm, FromHub, FromParticipant, IncomingRequest, Request, ToParticipant};

#[cfg(test)]
mod tests;
