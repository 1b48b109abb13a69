//! The WebSocket carrier, used by both ends of a tunnel. What the messages say is `proto::tunnel`'s business.
//!
//! `handshake` is the only user of tungstenite. What follows it is read and written here: one reader and many writers share
//! a connection from threads of their own, a message is lent from the buffer that it was read into, and what is ready goes out
//! in one write. `frames` and `mux` know of no socket.

mod frames;
mod handshake;
mod mux;
#[cfg(test)]
mod properties;
mod reader;
mod tls;
mod writer;

pub use handshake::{ConnectError, Connected, HandshakeError, accept, connect, secured, serve};
pub use mux::{LostReason, Pending, Piece, Routed, Router};
pub use reader::{Incoming, Reader};
pub use writer::{Limits, TunnelError, Writer};
