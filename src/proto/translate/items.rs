//! The items of a response's output while the chat that they come from is still arriving.

use serde_json::{Value, json};

/// The kind of a content part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Text,
    Refusal,
    Reasoning,
}

impl PartKind {
    /// The content part with this text, in the shape of its schema in Open Responses.
    pub fn json(self, text: &str) -> Value {
        match self {
            PartKind::Text => json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }),
            PartKind::Refusal => json!({ "type": "refusal", "refusal": text }),
            PartKind::Reasoning => json!({ "type": "reasoning_text", "text": text }),
        }
    }

    /// The middle of its events' names (`response.NAME.delta`), and the member that holds the whole text in
    /// `response.NAME.done`.
    ///
    /// Open Responses calls the events of reasoning `response.reasoning.*`. `response.reasoning_text.*` is the name of
    /// OpenAI's API, and the one that clients of both read.
    pub fn event(self) -> (&'static str, &'static str) {
        match self {
            PartKind::Text => ("output_text", "text"),
            PartKind::Refusal => ("refusal", "refusal"),
            PartKind::Reasoning => ("reasoning_text", "text"),
        }
    }
}

/// The message or reasoning item that receives text now. There is at most one.
#[derive(Debug)]
pub struct OpenItem {
    pub id: String,
    /// Its position in the output.
    pub index: usize,
    /// Completed content parts.
    pub parts: Vec<Value>,
    /// Kind and text so far of the last part.
    pub kind: PartKind,
    pub text: String,
}

impl OpenItem {
    /// The item as JSON, with `content` as its parts.
    pub fn json(&self, status: &str, content: &[Value]) -> Value {
        match self.kind {
            PartKind::Reasoning => {
                json!({ "id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status })
            }
            PartKind::Text | PartKind::Refusal => {
                json!({ "id": self.id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
        }
    }
}

/// A function call whose arguments are still arriving. Providers may interleave several.
#[derive(Debug)]
pub struct FunctionCall {
    /// The provider's `index`, where it sends one.
    pub number: Option<u64>,
    /// Its position in the output.
    pub index: usize,
    pub id: String,
    pub call_id: String,
    pub name: String,
    /// JSON text, as far as it has arrived.
    pub arguments: String,
}

impl FunctionCall {
    /// The item as JSON.
    pub fn json(&self, status: &str) -> Value {
        json!({
            "id": self.id, "type": "function_call", "status": status, "call_id": self.call_id, "name": self.name,
            "arguments": self.arguments,
        })
    }
}
