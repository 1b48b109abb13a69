//! Messages requests of Anthropic's API for providers that only speak Chat Completions, and their answers back
//! (PROTOCOL.md, "Messages on a chat-only provider").

mod request;
mod writer;

pub use request::{estimate_tokens, to_chat};
pub use writer::MessageWriter;
