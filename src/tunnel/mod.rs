//! The WebSocket carrier, used by both ends of a tunnel. What the messages say is `proto::tunnel`'s business.
//!
//! `socket` is the only user of tungstenite; `mux` knows of no socket.

mod mux;
mod socket;
mod tls;

pub use mux::{LostReason, Pending, Piece, Routed, Router};
pub use socket::{
    ConnectError, Connected, HandshakeError, Incoming, Limits, Reader, TunnelError, Writer, accept, connect, secured,
    serve,
};
