//! The body of the echo provider's successful responses.

use serde_json::Value;

/// The body of a successful response.
pub enum Reply {
    /// One JSON document.
    Whole(Value),
    /// A stream of server-sent events, each complete with its blank line.
    Stream(Vec<String>),
}
