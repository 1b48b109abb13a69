//! Responses requests for providers that only speak Chat Completions, and their answers back (PROTOCOL.md,
//! "Responses on a chat-only provider").

mod freeform;
mod input;
mod items;
mod request;
mod snapshot;
mod template;
mod tools;
mod writer;

pub use request::{can_be_chat, to_chat};
pub use template::ResponseTemplate;
pub use tools::tool_name_bytes;
pub use writer::ResponseWriter;
