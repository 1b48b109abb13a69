//! The items of a response's output while they are being written.

use serde_json::{Value, json};

/// A part of a message that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Text,
    Refusal,
    Reasoning,
}

impl Part {
    pub fn json(self, text: &str) -> Value {
        match self {
            Part::Text => json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }),
            Part::Refusal => json!({ "type": "refusal", "refusal": text }),
            Part::Reasoning => json!({ "type": "reasoning_text", "text": text }),
        }
    }

    /// What its events are called, and where they hold its text.
    pub fn event(self) -> (&'static str, &'static str) {
        match self {
            Part::Text => ("output_text", "text"),
            Part::Refusal => ("refusal", "refusal"),
            Part::Reasoning => ("reasoning_text", "text"),
        }
    }
}

/// The item of the output that is being written: a message, or what the model thinks.
#[derive(Debug)]
pub struct Writing {
    pub id: String,
    pub index: usize,
    /// Parts that are whole.
    pub parts: Vec<Value>,
    pub part: Part,
    pub text: String,
}

impl Writing {
    pub fn item(&self, status: &str, content: &[Value]) -> Value {
        match self.part {
            Part::Reasoning => {
                json!({ "id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status })
            }
            _ => json!({ "id": self.id, "type": "message", "status": status, "role": "assistant", "content": content }),
        }
    }
}

/// A function call that is being written. Several may be at once.
#[derive(Debug)]
pub struct Call {
    /// As the provider counts them.
    pub number: Option<u64>,
    pub index: usize,
    pub id: String,
    pub call_id: String,
    pub name: String,
    pub arguments: String,
}

impl Call {
    pub fn item(&self, status: &str) -> Value {
        json!({
            "id": self.id, "type": "function_call", "status": status, "call_id": self.call_id, "name": self.name,
            "arguments": self.arguments,
        })
    }
}
