//! Writes a Responses stream, or one response object, from the deltas of a chat answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::super::json_parts::escaped_length;
use super::super::super::sse;
use super::super::answer_writer::{AnswerState, AnswerWriter};
use super::super::delta::{ChatDelta, Finish, TokenCounts};
use super::freeform::FreeformInput;
use super::items::{OpenItem, PartKind, Payload, ToolCall};
use super::snapshot::Snapshot;
use super::template::ResponseTemplate;

/// Memory of an item or a part beside its texts, in bytes.
const PART: usize = 256;

/// A response as far as it has been written.
#[derive(Debug)]
pub struct ResponseWriter {
    template: ResponseTemplate,
    model: String,
    state: AnswerState,
    sequence: u64,
    /// Completed items by their index; null where an item is still open.
    output: Vec<Value>,
    open: Option<OpenItem>,
    calls: Vec<ToolCall>,
    finish: Option<Finish>,
    usage: Option<TokenCounts>,
    /// The latest time passed to `set_time`, in seconds since the epoch.
    completed_at: u64,
    /// Items, and parts of items, so far.
    parts: usize,
}

impl ResponseWriter {
    /// Starts a response, one object or a stream. `model` is the provider's name for it.
    pub fn new(template: ResponseTemplate, model: &str, stream: bool) -> Self {
        ResponseWriter {
            completed_at: template.created_at,
            template,
            model: model.to_owned(),
            state: AnswerState::new(stream),
            sequence: 0,
            output: Vec::new(),
            open: None,
            calls: Vec::new(),
            finish: None,
            usage: None,
            parts: 0,
        }
    }

    /// Writes the first two events, unless they have been written. Not before anything else is: they repeat the request,
    /// and would be held until the provider answers.
    fn start(&mut self) {
        if self.sequence == 0 {
            for kind in ["response.created", "response.in_progress"] {
                self.emit_snapshot(kind, "in_progress");
            }
        }
    }

    fn append_text(&mut self, kind: PartKind, text: &str) {
        if !self.reserve(escaped_length(text)) {
            return;
        }
        let same_item = |open: &OpenItem| (open.kind == PartKind::Reasoning) == (kind == PartKind::Reasoning);
        if self.open.as_ref().is_some_and(|open| !same_item(open)) {
            self.finish_open("completed");
        }
        if self.open.is_none() {
            self.begin_item(kind);
        } else if self.open.as_ref().is_some_and(|open| open.kind != kind) {
            self.finish_part();
            self.parts += 1;
            if let Some(open) = &mut self.open {
                open.kind = kind;
            }
            self.begin_part();
        }
        let Some(open) = &mut self.open else { return };
        open.text.push_str(text);
        let at = (open.id.clone(), open.index, open.parts.len());
        let mut body = json!({ "item_id": at.0, "output_index": at.1, "content_index": at.2, "delta": text });
        if kind == PartKind::Text {
            body["logprobs"] = json!([]);
        }
        self.emit(&format!("response.{}.delta", kind.event().0), body);
    }

    /// An image whose bytes are in its URL is an item of its own. One that lies elsewhere becomes a link in the text.
    fn append_image(&mut self, url: &str) {
        let Some((_, bytes)) = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) else {
            return self.append_text(PartKind::Text, &format!("![image]({url})"));
        };
        if !self.reserve(escaped_length(bytes)) {
            return;
        }
        self.finish_open("completed");
        let index = self.next_index();
        let id = format!("ig_{}_{index}", self.template.key);
        let mut item = json!({ "id": id, "type": "image_generation_call", "status": "in_progress", "result": null });
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
        (item["status"], item["result"]) = (json!("completed"), json!(bytes));
        self.finish_item(index, item);
    }

    fn next_index(&mut self) -> usize {
        self.parts += 1;
        self.output.push(Value::Null);
        self.output.len() - 1
    }

    fn begin_item(&mut self, kind: PartKind) {
        let index = self.next_index();
        let prefix = if kind == PartKind::Reasoning { "rs" } else { "msg" };
        let id = format!("{prefix}_{}_{index}", self.template.key);
        let opened = OpenItem { id, index, parts: Vec::new(), kind, text: String::new() };
        let item = opened.json("in_progress", &[]);
        self.open = Some(opened);
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
        self.begin_part();
    }

    fn begin_part(&mut self) {
        let Some(open) = &self.open else { return };
        let body = json!({
            "item_id": open.id, "output_index": open.index, "content_index": open.parts.len(), "part": open.kind.json(""),
        });
        self.emit("response.content_part.added", body);
    }

    fn finish_part(&mut self) {
        let Some(open) = &mut self.open else { return };
        let text = std::mem::take(&mut open.text);
        let part = open.kind.json(&text);
        let at = json!({ "item_id": open.id, "output_index": open.index, "content_index": open.parts.len() });
        let (name, key) = open.kind.event();
        let is_text = open.kind == PartKind::Text;
        open.parts.push(part.clone());
        let mut done = at.clone();
        done[key] = json!(text);
        if is_text {
            done["logprobs"] = json!([]);
        }
        self.emit(&format!("response.{name}.done"), done);
        let mut body = at;
        body["part"] = part;
        self.emit("response.content_part.done", body);
    }

    fn finish_open(&mut self, status: &str) {
        self.finish_part();
        let Some(open) = self.open.take() else { return };
        self.finish_item(open.index, open.json(status, &open.parts));
    }

    fn finish_item(&mut self, index: usize, item: Value) {
        self.output[index] = item.clone();
        self.emit("response.output_item.done", json!({ "output_index": index, "item": item }));
    }

    fn begin_call(&mut self, number: usize, id: Option<&str>, name: &str) {
        if !self.reserve(escaped_length(name) + id.map_or(0, escaped_length)) {
            return;
        }
        self.finish_open("completed");
        let index = self.next_index();
        let key = &self.template.key;
        let call_id = id.map_or_else(|| format!("call_{key}_{index}"), str::to_owned);
        let tool = self.template.tools.by_chat_name(name);
        let custom = tool.is_some_and(|tool| tool.custom);
        let payload = if custom { Payload::Input(FreeformInput::default()) } else { Payload::Arguments(String::new()) };
        let call = ToolCall {
            number,
            index,
            id: format!("{}_{key}_{index}", payload.names()[3]),
            call_id,
            name: tool.map_or(name, |tool| &tool.name).to_owned(),
            namespace: tool.and_then(|tool| tool.namespace.clone()),
            payload,
        };
        let item = call.json("in_progress");
        self.calls.push(call);
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
    }

    fn append_arguments(&mut self, number: usize, arguments: &str) {
        if !self.reserve(escaped_length(arguments)) {
            return;
        }
        // Numbers rise, though not by one.
        let Ok(at) = self.calls.binary_search_by_key(&number, |call| call.number) else { return };
        let delta = self.calls[at].payload.push(arguments);
        self.emit_call_delta(at, &delta);
    }

    fn emit_call_delta(&mut self, at: usize, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let call = &self.calls[at];
        let body = json!({ "item_id": call.id, "output_index": call.index, "delta": delta });
        let [event, ..] = call.payload.names();
        self.emit(&format!("response.{event}.delta"), body);
    }

    fn finish_items(&mut self) {
        let whole = self.ending().0 == "completed";
        let status = if whole { "completed" } else { "incomplete" };
        self.finish_open(status);
        for at in 0..self.calls.len() {
            let rest = self.calls[at].payload.finish(whole);
            self.emit_call_delta(at, &rest);
            let call = &self.calls[at];
            let [event, member, ..] = call.payload.names();
            let (index, item) = (call.index, call.json(status));
            let mut body = json!({ "item_id": call.id, "output_index": index });
            if matches!(call.payload, Payload::Arguments(_)) {
                body["name"] = json!(call.name);
            }
            body[member] = item[member].clone();
            self.emit(&format!("response.{event}.done"), body);
            self.finish_item(index, item);
        }
        self.calls = Vec::new();
    }

    /// The final status, and the type of the event that reports it.
    fn ending(&self) -> (&'static str, &'static str) {
        match self.finish {
            Some(Finish::Length | Finish::ContentFilter) => ("incomplete", "response.incomplete"),
            _ => ("completed", "response.completed"),
        }
    }

    fn emit_snapshot(&mut self, kind: &str, status: &'static str) {
        if !self.state.stream {
            return;
        }
        let response = self.snapshot(status);
        self.emit_raw(kind, &["\"response\":", &response]);
    }

    /// The response object as it stands. Its output and usage are shown once it has ended.
    fn snapshot(&self, status: &'static str) -> String {
        let ended = status != "in_progress";
        let snapshot = Snapshot {
            status,
            error: self.state.failure().filter(|_| status == "failed"),
            finish: self.finish,
            model: &self.model,
            completed_at: self.completed_at,
            output: self.output.iter().filter(|item| ended && !item.is_null()).collect(),
            usage: self.usage.filter(|_| ended),
        };
        snapshot.to_json(&self.template)
    }

    fn emit(&mut self, kind: &str, body: Value) {
        if !self.state.stream {
            return;
        }
        let body = body.to_string();
        self.emit_raw(kind, &[&body[1..body.len() - 1]]);
    }

    /// Appends an event. `members` are its data's other members, as JSON without the braces.
    fn emit_raw(&mut self, kind: &str, members: &[&str]) {
        let start = format!(r#"{{"type":"{kind}","sequence_number":{},"#, self.sequence);
        self.sequence += 1;
        let data = [&[start.as_str()], members, &["}"]].concat();
        sse::push(&mut self.state.events, kind, &data);
    }
}

impl AnswerWriter for ResponseWriter {
    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut AnswerState {
        &mut self.state
    }

    fn into_body(mut self: Box<Self>) -> String {
        self.finish_items();
        let (status, _) = self.ending();
        self.snapshot(status)
    }

    fn set_time(&mut self, now: Duration) {
        self.completed_at = self.completed_at.max(now.as_secs());
    }

    fn weight(&self) -> usize {
        self.state.held.saturating_add(self.parts.saturating_mul(PART)).saturating_add(self.template.repeated_bytes())
    }

    fn parts(&self) -> usize {
        self.parts
    }

    fn take_events(&mut self) -> String {
        self.start();
        std::mem::take(&mut self.state.events)
    }

    fn write(&mut self, delta: ChatDelta<'_>) {
        self.start();
        match delta {
            ChatDelta::Model(model) => model.clone_into(&mut self.model),
            ChatDelta::Text(text) => self.append_text(PartKind::Text, text),
            ChatDelta::Refusal(text) => self.append_text(PartKind::Refusal, text),
            ChatDelta::Reasoning(text) => self.append_text(PartKind::Reasoning, text),
            ChatDelta::Image(url) => self.append_image(url),
            ChatDelta::CallStart { call, id, name } => self.begin_call(call, id, name),
            ChatDelta::CallArguments { call, text } => self.append_arguments(call, text),
            ChatDelta::Usage(counts) => self.usage = Some(counts),
            ChatDelta::Finish(finish) => self.finish = Some(finish),
            ChatDelta::Error(message) => self.fail(message),
        }
    }

    fn write_end(&mut self) {
        self.start();
        self.finish_items();
        let (status, kind) = self.ending();
        self.emit_snapshot(kind, status);
        if self.state.stream {
            self.state.events.push_str("data: [DONE]\n\n");
        }
    }

    fn write_failure(&mut self, _message: &str) {
        self.start();
        self.emit_snapshot("response.failed", "failed");
        // Not needed any more: frees the memory.
        (self.output, self.calls, self.open) = (Vec::new(), Vec::new(), None);
    }
}
