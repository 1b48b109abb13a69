//! Network primitives without knowledge of rooms: name resolution, TLS roots, chunked framing, and cancellable HTTP
//! calls on persistent connections.

pub mod chunked;
pub mod client;
pub mod io;
pub mod pool;
pub mod request;
pub mod resolve;
pub mod stream;
pub mod tls;
pub mod tls_roots;
pub mod tls_server;
mod tls_session;
