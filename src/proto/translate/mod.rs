//! Responses requests for providers that only speak Chat Completions, and their answers back (PROTOCOL.md,
//! "Responses on a chat-only provider"). State machines over events: no I/O, no clock, no randomness.

mod items;
mod request;
mod snapshot;
mod stream;
mod template;

pub use request::to_chat;
pub use stream::{MAX_HELD, MAX_PARTS, ResponsesTranslator};
pub use template::ResponseTemplate;
