//! Requests of Ollama's own API for providers that only speak OpenAI's, and their answers back (PROTOCOL.md, "Ollama's API
//! on another provider").

mod embeddings;
mod fields;
mod messages;
mod request;
mod settings;
mod writer;

pub use embeddings::{EmbeddingForm, embeddings_answer, no_embeddings, to_embeddings};
pub use request::{Translated, to_chat};
pub use writer::{AnswerForm, OllamaWriter, load_answer};
