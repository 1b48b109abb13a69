//! The items of a response's output while the chat that they come from is still arriving.

use serde_json::{Value, json};

use super::freeform::FreeformInput;

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

/// A tool call whose arguments are still arriving. Providers may interleave several.
#[derive(Debug)]
pub struct ToolCall {
    /// The chat's number of the call.
    pub number: usize,
    /// Its position in the output.
    pub index: usize,
    pub id: String,
    pub call_id: String,
    pub name: String,
    pub namespace: Option<String>,
    pub payload: Payload,
}

/// What a tool is called with.
#[derive(Debug)]
pub enum Payload {
    /// A function's arguments: JSON text, as far as it has arrived.
    Arguments(String),
    /// A custom tool's input.
    Input(FreeformInput),
}

impl Payload {
    /// Takes more of the chat's arguments, and gives what they add for the client.
    pub fn push(&mut self, arguments: &str) -> String {
        match self {
            Payload::Arguments(text) => {
                text.push_str(arguments);
                arguments.to_owned()
            }
            Payload::Input(input) => input.push(arguments).to_owned(),
        }
    }

    /// Ends it, and gives what had not been given. A function without arguments has an empty object: clients parse them.
    pub fn finish(&mut self, whole: bool) -> String {
        match self {
            Payload::Arguments(text) if whole && text.trim_ascii().is_empty() => {
                text.push_str("{}");
                "{}".to_owned()
            }
            Payload::Arguments(_) => String::new(),
            Payload::Input(input) => input.finish().to_owned(),
        }
    }

    /// What has arrived.
    pub fn text(&self) -> &str {
        match self {
            Payload::Arguments(text) => text,
            Payload::Input(input) => input.text(),
        }
    }

    /// The middle of its events' names (`response.NAME.delta`), its member in items and events, and its items' type and the
    /// beginning of their ids.
    pub fn names(&self) -> [&'static str; 4] {
        match self {
            Payload::Arguments(_) => ["function_call_arguments", "arguments", "function_call", "fc"],
            Payload::Input(_) => ["custom_tool_call_input", "input", "custom_tool_call", "ctc"],
        }
    }
}

impl ToolCall {
    /// The item as JSON.
    pub fn json(&self, status: &str) -> Value {
        let [_, member, kind, _] = self.payload.names();
        let mut item = json!({
            "id": self.id, "type": kind, "status": status, "call_id": self.call_id, "name": self.name,
        });
        if let Some(namespace) = &self.namespace {
            item["namespace"] = json!(namespace);
        }
        item[member] = json!(self.payload.text());
        item
    }
}
