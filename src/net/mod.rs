//! Sockets, without a meaning: addresses of names, TLS roots, chunked framing, and HTTP calls that can be cancelled, on
//! connections that are kept.

pub mod chunked;
pub mod client;
pub mod io;
pub mod pool;
pub mod request;
pub mod resolve;
pub mod tls_roots;
