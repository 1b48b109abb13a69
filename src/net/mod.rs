//! Sockets, without a meaning: addresses of names, TLS roots, chunked framing, and HTTP calls that can be cancelled.

pub mod chunked;
pub mod client;
pub mod io;
pub mod resolve;
pub mod tls_roots;
