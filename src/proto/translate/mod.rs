//! Responses requests for providers that only speak Chat Completions, and their answers back (PROTOCOL.md,
//! "Responses on a chat-only provider"). State machines over events: no I/O, no clock, no randomness.

mod items;
mod request;
mod skeleton;
mod snapshot;
mod stream;

pub use request::to_chat;
pub use skeleton::{Skeleton, repeated};
pub use stream::{Answer, MAX_HELD, MAX_PARTS};
