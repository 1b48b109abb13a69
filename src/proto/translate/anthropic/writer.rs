//! Writes a message of Anthropic's Messages API, whole or as its stream's events, from the deltas of a chat answer.

use serde_json::{Value, json};

use super::super::super::json_parts::escaped_length;
use super::super::super::members::{Members, json_text};
use super::super::super::sse;
use super::super::answer_writer::{AnswerState, AnswerWriter, ObjectCall};
use super::super::chat_request::typed;
use super::super::delta::{ChatDelta, Finish, TokenCounts};

/// Memory of a block beside its texts, in bytes.
const BLOCK: usize = 256;

/// A message as far as it has been written. Only a whole one holds its text; a stream holds the calls that wait for the
/// block before them to end, since blocks of a stream follow one another.
#[derive(Debug)]
pub struct MessageWriter {
    id: String,
    model: String,
    state: AnswerState,
    started: bool,
    /// Finished blocks of a whole message, each as JSON text: parsed, a call's input could take a hundred times as much.
    content: Vec<String>,
    /// How many blocks have begun in all.
    blocks: usize,
    open: Option<OpenBlock>,
    waiting: Vec<ObjectCall>,
    called: bool,
    finish: Option<Finish>,
    usage: TokenCounts,
}

/// The block that is being written.
#[derive(Debug)]
enum OpenBlock {
    Text(String),
    Thinking(String),
    Tool(ObjectCall),
}

impl OpenBlock {
    /// The block as it is shown when it begins.
    fn start(&self) -> Value {
        match self {
            OpenBlock::Text(_) => json!({ "type": "text", "text": "" }),
            OpenBlock::Thinking(_) => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            OpenBlock::Tool(tool) => json!({ "type": "tool_use", "id": tool.id, "name": tool.name, "input": {} }),
        }
    }

    /// The finished block, as JSON.
    fn whole(&self) -> String {
        match self {
            OpenBlock::Text(text) => typed("text", &json_text(text)),
            OpenBlock::Thinking(text) => {
                format!(r#"{{"type":"thinking","thinking":{},"signature":""}}"#, json_text(text))
            }
            OpenBlock::Tool(call) => {
                let (id, name, input) = (json_text(&call.id), json_text(&call.name), call.object());
                format!(r#"{{"type":"tool_use","id":{id},"name":{name},"input":{input}}}"#)
            }
        }
    }

    fn delta(&self, text: &str) -> Value {
        match self {
            OpenBlock::Text(_) => json!({ "type": "text_delta", "text": text }),
            OpenBlock::Thinking(_) => json!({ "type": "thinking_delta", "thinking": text }),
            OpenBlock::Tool(_) => json!({ "type": "input_json_delta", "partial_json": text }),
        }
    }

    fn push(&mut self, text: &str) {
        match self {
            OpenBlock::Text(held) | OpenBlock::Thinking(held) => held.push_str(text),
            OpenBlock::Tool(tool) => tool.arguments.push_str(text),
        }
    }
}

impl MessageWriter {
    /// Starts a message; `key` makes its id unique, `model` is the provider's name for the model.
    pub fn new(key: &str, model: &str, stream: bool) -> Self {
        MessageWriter {
            id: format!("msg_{key}"),
            model: model.to_owned(),
            state: AnswerState::new(stream),
            started: false,
            content: Vec::new(),
            blocks: 0,
            open: None,
            waiting: Vec::new(),
            called: false,
            finish: None,
            usage: TokenCounts::default(),
        }
    }

    /// Appends to the open block if it is of the same kind as `block`, else to `block`, which begins.
    fn append(&mut self, block: OpenBlock, text: &str) {
        if !self.reserve(if self.state.stream { 0 } else { escaped_length(text) }) {
            return;
        }
        let same =
            self.open.as_ref().is_some_and(|open| std::mem::discriminant(open) == std::mem::discriminant(&block));
        if !same {
            self.close_all();
            self.begin(block);
        }
        self.push(text);
    }

    fn push(&mut self, text: &str) {
        let Some(open) = &mut self.open else { return };
        if !self.state.stream {
            return open.push(text);
        }
        let data = json!({ "type": "content_block_delta", "index": self.blocks - 1, "delta": open.delta(text) });
        self.emit(&data);
    }

    fn begin(&mut self, block: OpenBlock) {
        self.start();
        self.blocks += 1;
        let start = json!({ "type": "content_block_start", "index": self.blocks - 1, "content_block": block.start() });
        self.open = Some(block);
        self.emit(&start);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.state.stream {
            let stop = json!({ "type": "content_block_stop", "index": self.blocks - 1 });
            self.emit(&stop);
        } else {
            self.content.push(open.whole());
        }
    }

    /// Ends the open block, and writes the calls that waited for that.
    fn close_all(&mut self) {
        self.close();
        for mut tool in std::mem::take(&mut self.waiting) {
            let arguments = std::mem::take(&mut tool.arguments);
            let sent = if self.state.stream { escaped_length(&arguments) } else { 0 };
            self.state.held = self.state.held.saturating_sub(sent);
            self.begin(OpenBlock::Tool(tool));
            self.push(&arguments);
            self.close();
        }
    }

    fn begin_call(&mut self, number: usize, id: Option<&str>, name: &str) {
        if !self.reserve(escaped_length(name) + id.map_or(0, escaped_length)) {
            return;
        }
        let id = id.map_or_else(|| format!("toolu_{}_{number}", self.id), str::to_owned);
        let tool = ObjectCall { number, id, name: name.to_owned(), arguments: String::new() };
        self.called = true;
        if matches!(self.open, Some(OpenBlock::Tool(_))) {
            self.waiting.push(tool);
        } else {
            self.close();
            self.begin(OpenBlock::Tool(tool));
        }
    }

    fn append_arguments(&mut self, number: usize, text: &str) {
        let open = matches!(&self.open, Some(OpenBlock::Tool(tool)) if tool.number == number);
        if !self.reserve(if open && self.state.stream { 0 } else { escaped_length(text) }) {
            return;
        }
        if open {
            self.push(text);
        } else if let Some(tool) = self.waiting.iter_mut().find(|tool| tool.number == number) {
            tool.arguments.push_str(text);
        }
    }

    fn stop_reason(&self) -> &'static str {
        match self.finish {
            Some(Finish::Length) => "max_tokens",
            Some(Finish::ContentFilter) => "refusal",
            // Some servers say that they stopped where they called a tool.
            _ if self.called => "tool_use",
            _ => "end_turn",
        }
    }

    /// Tokens that a cache saved are not part of `input_tokens` here.
    fn usage(&self) -> Value {
        json!({
            "input_tokens": self.usage.input.saturating_sub(self.usage.cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.usage.cached,
            "output_tokens": self.usage.output,
        })
    }

    /// The message, as JSON.
    fn message(&self, stop_reason: Option<&str>) -> String {
        let mut message = Members::default();
        message.set("id", json_text(&self.id));
        message.set("type", json_text("message"));
        message.set("role", json_text("assistant"));
        message.set("model", json_text(&self.model));
        message.set("content", format!("[{}]", self.content.join(",")));
        message.set("stop_reason", stop_reason.map_or_else(|| "null".into(), json_text));
        message.set("stop_sequence", "null".into());
        message.set("usage", self.usage().to_string());
        message.to_json()
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) && self.state.stream {
            let message = self.message(None);
            let data = [r#"{"type":"message_start","message":"#, &message, "}"];
            sse::push(&mut self.state.events, "message_start", &data);
        }
    }

    fn emit(&mut self, data: &Value) {
        if self.state.stream {
            self.state.events.push_str(&sse::encode(data["type"].as_str().unwrap_or_default(), &data.to_string()));
        }
    }
}

impl AnswerWriter for MessageWriter {
    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut AnswerState {
        &mut self.state
    }

    fn write(&mut self, delta: ChatDelta<'_>) {
        match delta {
            ChatDelta::Model(model) => model.clone_into(&mut self.model),
            ChatDelta::Text(text) | ChatDelta::Refusal(text) => self.append(OpenBlock::Text(String::new()), text),
            ChatDelta::Reasoning(text) => self.append(OpenBlock::Thinking(String::new()), text),
            ChatDelta::Image(url) => self.append(OpenBlock::Text(String::new()), &format!("![image]({url})")),
            ChatDelta::CallStart { call, id, name } => self.begin_call(call, id, name),
            ChatDelta::CallArguments { call, text } => self.append_arguments(call, text),
            ChatDelta::Usage(counts) => self.usage = counts,
            ChatDelta::Finish(finish) => self.finish = Some(finish),
            ChatDelta::Error(message) => self.fail(message),
        }
    }

    fn write_end(&mut self) {
        self.start();
        self.close_all();
        let delta = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        let usage = self.usage();
        self.emit(&json!({ "type": "message_delta", "delta": delta, "usage": usage }));
        self.emit(&json!({ "type": "message_stop" }));
    }

    fn write_failure(&mut self, message: &str) {
        self.emit(&json!({ "type": "error", "error": { "type": "api_error", "message": message } }));
        // Not needed any more: frees the memory.
        (self.content, self.waiting, self.open) = (Vec::new(), Vec::new(), None);
    }

    fn into_body(mut self: Box<Self>) -> String {
        self.close_all();
        self.message(Some(self.stop_reason()))
    }

    fn parts(&self) -> usize {
        self.blocks + self.waiting.len()
    }

    fn weight(&self) -> usize {
        self.state.held.saturating_add((self.content.len() + self.waiting.len()).saturating_mul(BLOCK))
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
