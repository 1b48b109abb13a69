//! Responses requests for providers that only speak Chat Completions, and their answers back (PROTOCOL.md,
//! "Responses on a chat-only provider"). State machines over events: no I/O, no clock, no randomness.

mod answer_writer;
pub mod anthropic;
mod calls;
mod chat;
mod chat_request;
mod conversation;
mod delta;
mod freeform;
mod input;
mod items;
mod json;
pub mod ollama;
mod request;
mod snapshot;
mod stream;
mod template;
mod tools;
mod writer;

pub use chat::{CUT_SHORT, error_text};
pub use request::to_chat;
pub use stream::ChatTranslator;
pub use template::ResponseTemplate;
pub use tools::tool_name_bytes;
pub use writer::{MAX_HELD, MAX_PARTS};
