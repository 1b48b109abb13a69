//! Requests of other APIs for providers that only speak OpenAI's, and their answers back. State machines over events: no I/O,
//! no clock, no randomness.

mod answer_writer;
pub mod anthropic;
mod calls;
mod chat;
mod chat_messages;
mod chat_request;
mod delta;
mod json;
mod limits;
pub mod ollama;
mod responses;
mod translator;

pub use chat::{CUT_SHORT, error_text};
pub use limits::MAX_HELD;
pub use responses::{ResponseTemplate, can_be_chat, to_chat, tool_name_bytes};
pub use translator::ChatTranslator;
