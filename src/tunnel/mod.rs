//! The WebSocket carrier, used by both ends of a tunnel. What the messages say is `proto::tunnel`'s business.
//!
//! `handshake` is the only user of tungstenite. What follows it is read and written here: one reader and many writers share
//! a connection from threads of their own, a message is lent from the buffer that it was read into, and what is ready goes out
//! in one write. `frames`, `queue` and `router` know of no socket.

pub(crate) mod frames;
mod handshake;
#[cfg(test)]
mod properties;
mod queue;
mod reader;
mod router;
mod tls;
mod writer;

pub use handshake::{ConnectError, Connected, HandshakeError, accept, connect, secured, serve};
pub use queue::QueueLimits;
pub use reader::{Incoming, Reader};
pub use router::{FlowSignal, LostReason, PendingResponse, Piece, Routed, Router, SendSignal};
pub use writer::{Limits, TunnelError, Writer};
