//! Network primitives without knowledge of rooms: name resolution, connections plain and over TLS, chunked framing, and
//! cancellable HTTP calls on persistent connections.

pub mod cancellation;
pub mod chunked;
pub mod client;
pub mod framing;
pub mod header_list;
pub mod io;
pub mod network_address;
pub mod poll_set;
pub mod pool;
pub mod request;
pub mod resolve;
mod response_head;
mod self_signed;
pub mod stream;
pub mod tls;
mod tls_pin;
mod tls_roots;
pub mod tls_server;
mod tls_session;
pub mod ureq_tls;
