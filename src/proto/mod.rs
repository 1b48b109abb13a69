//! Wire formats: serde types and codecs of every plane.
//!
//! Nothing in here does I/O, reads a clock or draws a random number, and nothing imports another part of the crate.

pub mod api_answer;
pub mod chat_events;
pub mod data_watch;
pub mod envelope;
pub mod hex;
pub mod history;
pub mod invitation;
pub mod json_parts;
pub mod legacy;
pub mod management;
pub mod members;
pub mod metrics;
pub mod names;
pub mod ollama_counts;
pub mod openai;
pub mod operations;
pub mod parsed;
#[cfg(test)]
mod properties;
pub mod queue;
pub mod read_json;
pub mod request_trace;
pub mod response_id;
pub mod room_invitation;
pub mod scan;
pub mod sequence;
pub mod sse;
pub mod stage;
pub mod text;
pub mod time;
pub mod translate;
pub mod tunnel;
pub mod usage;
pub mod usage_record;
pub mod web;
