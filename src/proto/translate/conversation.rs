//! The messages of a chat, put together from the turns of a conversation.

use super::super::members::json_text;
use super::chat_request::typed;

/// What separates the texts of the system message.
pub const PARAGRAPH: &str = "\n\n";

/// Content of a message.
pub enum Content {
    Text(String),
    /// It has more than text.
    Parts(Vec<Part>),
}

/// A part of a message's content.
pub enum Part {
    Text(String),
    /// An image, a sound or a file, as JSON.
    Media(String),
}

impl Content {
    /// As JSON.
    pub fn json(&self) -> String {
        match self {
            Content::Text(text) => json_text(text),
            Content::Parts(parts) => format!("[{}]", parts.iter().map(Part::json).collect::<Vec<_>>().join(",")),
        }
    }
}

impl Part {
    fn json(&self) -> String {
        match self {
            Part::Text(text) => typed("text", &json_text(text)),
            Part::Media(json) => json.clone(),
        }
    }
}

/// What an assistant said, thought and called from one turn of the user to the next: one message of the chat.
#[derive(Default)]
struct Turn {
    reasoning: String,
    text: Option<String>,
    calls: Vec<String>,
}

/// The conversation so far.
#[derive(Default)]
pub struct Conversation {
    /// All that a system message says, wherever it stood: many chat templates take one only, at the start.
    pub system: String,
    messages: Vec<String>,
    turn: Turn,
    /// What results of calls have shown beside text. It follows behind them as the user's.
    shown: Vec<Part>,
}

/// Appends a text behind a separator, unless it is the first.
pub fn append(all: &mut String, separator: &str, text: &str) {
    if !all.is_empty() && !text.is_empty() {
        all.push_str(separator);
    }
    all.push_str(text);
}

impl Conversation {
    /// Adds a message with content as JSON.
    pub fn say(&mut self, role: &str, content: &str) {
        self.end_turn();
        self.show();
        self.messages.push(format!(r#"{{"role":{},"content":{content}}}"#, json_text(role)));
    }

    /// Adds the result of a call. Many servers let a tool answer with text only.
    pub fn result(&mut self, call_id: &str, output: Content) {
        self.end_turn();
        let mut all = String::new();
        match output {
            Content::Text(text) => all = text,
            Content::Parts(parts) => {
                for part in parts {
                    match part {
                        Part::Text(text) => append(&mut all, "\n", &text),
                        media => self.shown.push(media),
                    }
                }
            }
        }
        let (id, output) = (json_text(call_id), json_text(&all));
        self.messages.push(format!(r#"{{"role":"tool","tool_call_id":{id},"content":{output}}}"#));
    }

    /// Adds what results of calls have shown, once all results of a turn are there.
    fn show(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if !shown.is_empty() {
            self.messages.push(format!(r#"{{"role":"user","content":{}}}"#, Content::Parts(shown).json()));
        }
    }

    /// Adds a call to the assistant's turn; `arguments` is JSON text.
    pub fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let (id, name, arguments) = (json_text(id), json_text(name), json_text(arguments));
        self.turn
            .calls
            .push(format!(r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#));
    }

    /// Adds text to the assistant's turn.
    pub fn add_text(&mut self, text: &str) {
        append(self.turn.text.get_or_insert_default(), "\n", text);
    }

    /// Adds reasoning to the assistant's turn.
    pub fn add_reasoning(&mut self, text: &str) {
        append(&mut self.turn.reasoning, "\n", text);
    }

    /// Reasoning of which nothing came is left out: no server takes a message without content.
    fn end_turn(&mut self) {
        let Turn { reasoning, text, calls } = std::mem::take(&mut self.turn);
        if text.is_none() && calls.is_empty() {
            return;
        }
        self.show();
        let content = text.map_or_else(|| "null".into(), |text| json_text(&text));
        let mut message = format!(r#"{{"role":"assistant","content":{content}"#);
        if !reasoning.is_empty() {
            message.push_str(&format!(r#","reasoning_content":{}"#, json_text(&reasoning)));
        }
        if !calls.is_empty() {
            message.push_str(&format!(r#","tool_calls":[{}]"#, calls.join(",")));
        }
        self.messages.push(message + "}");
    }

    /// The messages, each as JSON.
    pub fn into_messages(mut self) -> Vec<String> {
        self.end_turn();
        self.show();
        if !self.system.is_empty() {
            self.messages.insert(0, format!(r#"{{"role":"system","content":{}}}"#, json_text(&self.system)));
        }
        self.messages
    }
}
