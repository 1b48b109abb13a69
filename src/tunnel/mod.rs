//! The WebSocket transport of a tunnel, for both ends: handshake, frames, and the response queues of the hub. The messages
//! themselves are defined in `proto::tunnel`.
//!
//! tungstenite performs the handshake's parsing and codes frame headers. Its `WebSocket` is not used, because it cannot be read
//! and written by different threads and copies every message: here one reader and many writers share a connection, messages
//! are borrowed from the read buffer, and messages that are ready together are sent in one write. Only `handshake`, `reader` and
//! `writer` do I/O.

mod batch;
pub(crate) mod body;
pub(crate) mod codec;
mod error;
mod handshake;
mod pending_response;
mod piece;
#[cfg(test)]
mod properties;
mod queue;
mod read_buffer;
mod reader;
mod router;
mod router_state;
mod shared_reader;
mod writer;

pub use batch::Batch;
pub use error::TunnelError;
pub use handshake::{ConnectError, Connected, HandshakeError, TunnelEnds, TunnelLimits, accept, connect, serve};
pub use pending_response::{PendingResponse, SharedTunnel};
pub use piece::{LostReason, Piece};
pub use queue::{QueueLimits, SendToClient};
pub use reader::{Reader, Received};
pub use router::{Passed, Routed, Router};
pub use router_state::{FlowSignal, SendSignal};
pub use shared_reader::{Progress, SharedReader};
pub use writer::{Writer, close_deadline};
