//! Writes a message of Anthropic's Messages API, whole or as its stream's events, from the deltas of a chat answer.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::super::super::json_parts::escaped_length;
use super::super::super::members::cut;
use super::super::super::sse;
use super::super::super::tunnel::MAX_ERROR_TEXT;
use super::super::answer_writer::AnswerWriter;
use super::super::chat::TOO_LONG;
use super::super::delta::{ChatDelta, Finish, TokenCounts};
use super::super::writer::{MAX_HELD, MAX_PARTS};

/// Memory of a block beside its texts, in bytes.
const BLOCK: usize = 256;

/// A message as far as it has been written. Only a whole one holds its text; a stream holds the calls that wait for the
/// block before them to end, since blocks of a stream follow one another.
#[derive(Debug)]
pub struct MessageWriter {
    id: String,
    model: String,
    stream: bool,
    started: bool,
    /// Finished blocks of a whole message, each as JSON text: parsed, a call's input could take a hundred times as much.
    content: Vec<Box<RawValue>>,
    /// How many blocks have begun in all.
    blocks: usize,
    open: Option<OpenBlock>,
    waiting: Vec<ToolUse>,
    called: bool,
    finish: Option<Finish>,
    usage: TokenCounts,
    over: bool,
    failure: Option<String>,
    events: String,
    held: usize,
}

/// The block that is being written.
#[derive(Debug)]
enum OpenBlock {
    Text(String),
    Thinking(String),
    Tool(ToolUse),
}

/// A call of a tool.
#[derive(Debug)]
struct ToolUse {
    /// The chat's number of the call.
    number: usize,
    id: String,
    name: String,
    /// JSON text; of a stream, what has not been sent.
    arguments: String,
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

    fn whole(&self) -> WholeBlock<'_> {
        match self {
            OpenBlock::Text(text) => WholeBlock::Text { text },
            OpenBlock::Thinking(thinking) => WholeBlock::Thinking { thinking, signature: "" },
            OpenBlock::Tool(tool) => {
                WholeBlock::ToolUse { id: &tool.id, name: &tool.name, input: input(&tool.arguments) }
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

/// A finished block.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WholeBlock<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Input<'a> },
}

/// What a tool is called with.
#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    /// An object, as the model wrote it.
    Object(&'a RawValue),
    Other {
        #[serde(skip_serializing_if = "str::is_empty")]
        arguments: &'a str,
    },
}

/// A call's input is an object. Arguments that are none stay readable.
fn input(arguments: &str) -> Input<'_> {
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(raw) if raw.get().starts_with('{') => Input::Object(raw),
        _ => Input::Other { arguments: arguments.trim() },
    }
}

/// A message as it is shown.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    role: &'a str,
    model: &'a str,
    content: &'a [Box<RawValue>],
    stop_reason: Option<&'a str>,
    stop_sequence: Option<&'a str>,
    usage: Value,
}

impl MessageWriter {
    /// Starts a message; `key` makes its id unique, `model` is the provider's name for the model.
    pub fn new(key: &str, model: &str, stream: bool) -> Self {
        MessageWriter {
            id: format!("msg_{key}"),
            model: model.to_owned(),
            stream,
            started: false,
            content: Vec::new(),
            blocks: 0,
            open: None,
            waiting: Vec::new(),
            called: false,
            finish: None,
            usage: TokenCounts::default(),
            over: false,
            failure: None,
            events: String::new(),
            held: 0,
        }
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        if self.held > MAX_HELD || self.blocks + self.waiting.len() > MAX_PARTS {
            self.fail(TOO_LONG);
        }
        !self.over
    }

    /// Appends to the open block if it is of the same kind as `block`, else to `block`, which begins.
    fn append(&mut self, block: OpenBlock, text: &str) {
        if !self.reserve(if self.stream { 0 } else { escaped_length(text) }) {
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
        if !self.stream {
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
        if self.stream {
            let stop = json!({ "type": "content_block_stop", "index": self.blocks - 1 });
            self.emit(&stop);
        } else {
            self.content.extend(to_raw_value(&open.whole()));
        }
    }

    /// Ends the open block, and writes the calls that waited for that.
    fn close_all(&mut self) {
        self.close();
        for mut tool in std::mem::take(&mut self.waiting) {
            let arguments = std::mem::take(&mut tool.arguments);
            self.held = self.held.saturating_sub(if self.stream { arguments.len() } else { 0 });
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
        let tool = ToolUse { number, id, name: name.to_owned(), arguments: String::new() };
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
        if !self.reserve(if open && self.stream { 0 } else { escaped_length(text) }) {
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

    fn message<'a>(&'a self, content: &'a [Box<RawValue>], stop_reason: Option<&'a str>) -> Message<'a> {
        Message {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: &self.model,
            content,
            stop_reason,
            stop_sequence: None,
            usage: self.usage(),
        }
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            let start = json!({ "type": "message_start", "message": self.message(&[], None) });
            self.emit(&start);
        }
    }

    fn emit(&mut self, data: &Value) {
        if self.stream {
            self.events.push_str(&sse::encode(data["type"].as_str().unwrap_or_default(), &data.to_string()));
        }
    }
}

impl AnswerWriter for MessageWriter {
    fn apply(&mut self, delta: ChatDelta<'_>) {
        if self.over {
            return;
        }
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

    fn end(&mut self) {
        if self.over {
            return;
        }
        self.start();
        self.close_all();
        let delta = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        let usage = self.usage();
        self.emit(&json!({ "type": "message_delta", "delta": delta, "usage": usage }));
        self.emit(&json!({ "type": "message_stop" }));
        self.over = true;
    }

    fn fail(&mut self, message: &str) {
        if self.over {
            return;
        }
        self.over = true;
        let message = cut(message, MAX_ERROR_TEXT);
        self.failure = Some(message.to_owned());
        self.emit(&json!({ "type": "error", "error": { "type": "api_error", "message": message } }));
        // Not needed any more: frees the memory.
        (self.content, self.waiting, self.open, self.held) = (Vec::new(), Vec::new(), None, 0);
    }

    fn into_body(mut self: Box<Self>) -> String {
        self.close_all();
        serde_json::to_string(&self.message(&self.content, Some(self.stop_reason()))).unwrap_or_default()
    }

    fn events_len(&self) -> usize {
        self.events.len()
    }

    fn take_events(&mut self) -> String {
        std::mem::take(&mut self.events)
    }

    fn weight(&self) -> usize {
        self.held.saturating_add((self.content.len() + self.waiting.len()).saturating_mul(BLOCK))
    }

    fn held_bytes(&self) -> usize {
        self.held + self.events.capacity()
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
