//! The messages of a chat, put together from the turns of a conversation.

use super::super::members::{json_list, json_text};
use super::chat_request::typed;

/// What separates the texts of the system message.
pub const PARAGRAPH: &str = "\n\n";

/// Content of a message. It is text where all of it is, since not every server takes a list of parts.
#[derive(Default)]
pub struct Content {
    /// All text of it.
    text: String,
    parts: Vec<Part>,
    has_media: bool,
}

/// A part of a message's content.
pub enum Part {
    Text(String),
    /// An image, a sound or a file, as JSON.
    Media(String),
}

impl Content {
    /// Adds a part. `separator` stands between its text and the text before.
    pub fn push(&mut self, separator: &str, part: Part) {
        match &part {
            Part::Text(text) => append(&mut self.text, separator, text),
            Part::Media(_) => self.has_media = true,
        }
        self.parts.push(part);
    }

    /// The text, where it has nothing else.
    pub fn only_text(&self) -> Option<&str> {
        (!self.has_media).then_some(&self.text)
    }

    /// What has been added.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// As JSON.
    pub fn json(&self) -> String {
        match self.only_text() {
            Some(text) => json_text(text),
            None => json_list(self.parts.iter().map(Part::json).collect()),
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content { text, ..Content::default() }
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
pub struct ChatMessages {
    /// All that a system message says, wherever it stood: many chat templates take one only, at the start.
    pub system: String,
    messages: Vec<String>,
    turn: Turn,
    /// What has been shown since the last message that is no result.
    shown: Content,
}

/// Appends a text behind a separator, unless it is the first.
pub fn append(all: &mut String, separator: &str, text: &str) {
    if !all.is_empty() && !text.is_empty() {
        all.push_str(separator);
    }
    all.push_str(text);
}

impl ChatMessages {
    /// Adds a message with content as JSON.
    pub fn push(&mut self, role: &str, content: &str) {
        self.end_turn();
        self.end_results();
        self.messages.push(format!(r#"{{"role":{},"content":{content}}}"#, json_text(role)));
    }

    /// Adds the result of a call. Many servers let a tool answer with text only.
    pub fn result(&mut self, call_id: &str, output: Content) {
        self.end_turn();
        let (id, text) = (json_text(call_id), json_text(&output.text));
        self.messages.push(format!(r#"{{"role":"tool","tool_call_id":{id},"content":{text}}}"#));
        output.parts.into_iter().filter(|part| matches!(part, Part::Media(_))).for_each(|media| self.show(media));
    }

    /// Adds what only a user's message can have, though it came with another one. It follows behind the results of calls:
    /// templates want them right behind the calls.
    pub fn show(&mut self, part: Part) {
        self.end_turn();
        self.shown.push("\n", part);
    }

    fn end_results(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if !shown.parts.is_empty() {
            self.messages.push(format!(r#"{{"role":"user","content":{}}}"#, shown.json()));
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
        self.end_results();
        let content = text.map_or_else(|| "null".into(), |text| json_text(&text));
        let mut message = format!(r#"{{"role":"assistant","content":{content}"#);
        if !reasoning.is_empty() {
            message.push_str(&format!(r#","reasoning_content":{}"#, json_text(&reasoning)));
        }
        if !calls.is_empty() {
            message.push_str(&format!(r#","tool_calls":{}"#, json_list(calls)));
        }
        self.messages.push(message + "}");
    }

    /// The messages, each as JSON.
    pub fn into_messages(mut self) -> Vec<String> {
        self.end_turn();
        self.end_results();
        if !self.system.is_empty() {
            self.messages.insert(0, format!(r#"{{"role":"system","content":{}}}"#, json_text(&self.system)));
        }
        self.messages
    }
}
