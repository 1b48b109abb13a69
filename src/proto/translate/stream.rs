//! The answer of a Chat Completions provider as the events of a Responses stream, or as one response object. A whole chat
//! answer is handled as a stream of one chunk.

use serde_json::{Value, json};

use super::super::members::cut;
use super::super::sse;
use super::super::tunnel::MAX_ERROR_TEXT;
use super::items::{FunctionCall, OpenItem, PartKind};
use super::snapshot::{Snapshot, usage};
use super::template::ResponseTemplate;

/// The most bytes of texts, names and arguments in one answer. The last events take several times as much (`COPIES`).
pub const MAX_HELD: usize = 16 << 20;
/// How many copies of a text exist when the response ends: in its item, in the events that repeat it, in the last event.
const COPIES: usize = 8;
/// Memory of an item or a part beside its texts, in bytes.
const PART: usize = 256;
/// The most items, and parts of items, that an answer may have.
pub const MAX_PARTS: usize = 1024;
/// The longest name of a model, or reason of an end, that is taken from a provider, in bytes.
const MAX_NAME: usize = 256;

/// Builds a response from the chunks of a chat.
#[derive(Debug)]
pub struct ResponsesTranslator {
    template: ResponseTemplate,
    model: String,
    sequence: u64,
    /// Completed items by their index; null where an item is still open.
    output: Vec<Value>,
    open: Option<OpenItem>,
    calls: Vec<FunctionCall>,
    finish: Option<String>,
    usage: Option<Value>,
    done: bool,
    over: bool,
    failed: bool,
    events: String,
    /// The latest time passed to `set_time`, in seconds since the epoch.
    completed_at: u64,
    /// Bytes of texts, names and arguments so far.
    held: usize,
    /// Items, and parts of items, so far.
    parts: usize,
}

impl ResponsesTranslator {
    /// Starts a response, with its first two events. `model` is the provider's name for it.
    pub fn new(template: ResponseTemplate, model: &str) -> Self {
        let mut answer = ResponsesTranslator {
            completed_at: template.created_at,
            template,
            model: model.to_owned(),
            sequence: 0,
            output: Vec::new(),
            open: None,
            calls: Vec::new(),
            finish: None,
            usage: None,
            done: false,
            over: false,
            failed: false,
            events: String::new(),
            held: 0,
            parts: 0,
        };
        for kind in ["response.created", "response.in_progress"] {
            answer.emit_snapshot(kind, "in_progress");
        }
        answer
    }

    /// The whole response, for a client that asked for no stream.
    pub fn into_response(mut self) -> String {
        self.finish_items();
        let (status, _) = self.ending();
        self.snapshot(status, None)
    }

    /// Sets the time that becomes `completed_at`, in seconds since the epoch. An earlier time than the last is ignored.
    pub fn set_time(&mut self, now: u64) {
        self.completed_at = self.completed_at.max(now);
    }

    /// Bytes in memory: the answer so far, and the events that have not been taken.
    pub fn held_bytes(&self) -> usize {
        self.held + self.events.capacity()
    }

    /// Applies a whole chat answer. False where it is not one, or is over the limits.
    pub fn push_whole(&mut self, chat: &[u8]) -> bool {
        let Ok(mut chat) = serde_json::from_slice::<Value>(chat) else { return false };
        let Some(choice) =
            chat.get_mut("choices").and_then(|c| c.get_mut(0)).filter(|choice| choice["message"].is_object())
        else {
            return false;
        };
        choice["delta"] = choice["message"].take();
        // A whole answer's calls are complete, whatever ids they have, and not numbered.
        if let Some(calls) = choice["delta"]["tool_calls"].as_array_mut() {
            for (number, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.is_object()) {
                call["index"] = json!(number);
            }
        }
        self.apply(&chat);
        self.done = true;
        !self.failed
    }

    /// Applies the data of one event of the chat's stream. Data that is not JSON is ignored.
    pub fn push(&mut self, data: &str) {
        if self.over {
            return;
        }
        if data.trim() == "[DONE]" {
            self.done = true;
            self.end();
        } else if let Ok(chunk) = serde_json::from_str::<Value>(data) {
            self.apply(&chunk);
        }
    }

    /// Ends the response. A stream that ended without `[DONE]` or a `finish_reason` makes it fail.
    pub fn end(&mut self) {
        if self.over {
            return;
        }
        if !self.done && self.finish.is_none() {
            return self.fail("the provider's stream ended before its answer did");
        }
        self.finish_items();
        let (status, kind) = self.ending();
        self.emit_snapshot(kind, status);
        self.events.push_str("data: [DONE]\n\n");
        self.over = true;
    }

    /// Ends the response with `response.failed`.
    pub fn fail(&mut self, message: &str) {
        if self.over {
            return;
        }
        (self.over, self.failed) = (true, true);
        let response = self.snapshot("failed", Some(cut(message, MAX_ERROR_TEXT)));
        self.emit_raw("response.failed", &format!(r#""response":{response}"#));
        // Not needed any more: frees the memory.
        (self.output, self.calls, self.open, self.held) = (Vec::new(), Vec::new(), None, 0);
    }

    /// Whether the chat has ended as it should, with `[DONE]` or a `finish_reason`.
    pub fn is_whole(&self) -> bool {
        !self.failed && (self.done || self.finish.is_some())
    }

    /// Whether the response has failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Estimate of its peak memory until it has ended, in bytes.
    pub fn weight(&self) -> usize {
        self.held.saturating_add(self.parts.saturating_mul(PART)).saturating_mul(COPIES)
    }

    /// Returns and clears the events since the last call, in wire format.
    pub fn take_events(&mut self) -> String {
        std::mem::take(&mut self.events)
    }

    fn apply(&mut self, chunk: &Value) {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let message = error["message"].as_str().or(error.as_str()).unwrap_or("the provider failed");
            return self.fail(message);
        }
        if let Some(model) = chunk["model"].as_str().filter(|model| (1..=MAX_NAME).contains(&model.len())) {
            model.clone_into(&mut self.model);
        }
        if chunk["usage"].is_object() {
            self.usage = Some(usage(&chunk["usage"]));
        }
        // Only the first of several choices: a response has one output.
        let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        let Some(choice) = chunk["choices"].as_array().and_then(|choices| choices.iter().find(first)) else { return };
        let delta = &choice["delta"];
        for (keys, kind) in [
            (["reasoning_content", "reasoning"], PartKind::Reasoning),
            (["content", "text"], PartKind::Text),
            (["refusal", ""], PartKind::Refusal),
        ] {
            if let Some(text) = keys.iter().find_map(|key| delta[*key].as_str()).filter(|text| !text.is_empty()) {
                self.append_text(kind, text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten().filter(|call| call.is_object()) {
            self.append_call(call);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(cut(reason, MAX_NAME).to_owned());
        }
    }

    /// Counts bytes against the limits. False where the answer has failed or fails now.
    fn reserve(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        if self.held > MAX_HELD || self.parts > MAX_PARTS {
            self.fail("the provider's answer is too long to be put into another form");
        }
        !self.over
    }

    fn append_text(&mut self, kind: PartKind, text: &str) {
        if !self.reserve(text.len()) {
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

    /// A piece of a function call. Providers identify a call by its number or, without numbers, by its id; a piece
    /// without either continues the last call. The search begins there too: its cost is bounded by [`MAX_PARTS`] calls,
    /// and a stream of one call after another costs one comparison a piece.
    fn append_call(&mut self, piece: &Value) {
        if !self.reserve(0) {
            return;
        }
        let number = piece["index"].as_u64();
        let id = piece["id"].as_str().filter(|id| !id.is_empty());
        let known = self.calls.iter().rposition(|call| match (number, id) {
            (Some(number), _) => call.number == Some(number),
            (None, Some(id)) => call.call_id == id,
            (None, None) => true,
        });
        let at = known.unwrap_or_else(|| self.begin_call(number, id, piece["function"]["name"].as_str().unwrap_or("")));
        let arguments = match &piece["function"]["arguments"] {
            Value::String(text) => text.clone(),
            // Some servers send the object itself.
            Value::Object(map) => Value::Object(map.clone()).to_string(),
            _ => String::new(),
        };
        if arguments.is_empty() || !self.reserve(arguments.len()) {
            return;
        }
        let call = &mut self.calls[at];
        call.arguments.push_str(&arguments);
        let body = json!({ "item_id": call.id, "output_index": call.index, "delta": arguments });
        self.emit("response.function_call_arguments.delta", body);
    }

    fn begin_call(&mut self, number: Option<u64>, id: Option<&str>, name: &str) -> usize {
        if self.open.is_some() {
            self.finish_open("completed");
        }
        self.held += name.len() + id.map_or(0, str::len);
        let index = self.next_index();
        let key = &self.template.key;
        let call = FunctionCall {
            number,
            index,
            id: format!("fc_{key}_{index}"),
            call_id: id.map_or_else(|| format!("call_{key}_{index}"), str::to_owned),
            name: name.to_owned(),
            arguments: String::new(),
        };
        let item = call.json("in_progress");
        self.calls.push(call);
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
        self.calls.len() - 1
    }

    fn finish_items(&mut self) {
        let status = if self.ending().0 == "completed" { "completed" } else { "incomplete" };
        if self.open.is_some() {
            self.finish_open(status);
        }
        for call in std::mem::take(&mut self.calls) {
            let body = json!({
                "item_id": call.id, "output_index": call.index, "name": call.name, "arguments": call.arguments,
            });
            self.emit("response.function_call_arguments.done", body);
            self.finish_item(call.index, call.json(status));
        }
    }

    /// The final status, and the type of the event that reports it.
    fn ending(&self) -> (&'static str, &'static str) {
        match self.finish.as_deref() {
            Some("length" | "content_filter") => ("incomplete", "response.incomplete"),
            _ => ("completed", "response.completed"),
        }
    }

    fn emit_snapshot(&mut self, kind: &str, status: &'static str) {
        let response = self.snapshot(status, None);
        self.emit_raw(kind, &format!(r#""response":{response}"#));
    }

    /// The response object as it stands. Its output and usage are shown once it has ended.
    fn snapshot(&self, status: &'static str, error: Option<&str>) -> String {
        let ended = status != "in_progress";
        let snapshot = Snapshot {
            status,
            error,
            finish: self.finish.as_deref(),
            model: &self.model,
            completed_at: self.completed_at,
            output: self.output.iter().filter(|item| ended && !item.is_null()).collect(),
            usage: self.usage.as_ref().filter(|_| ended),
        };
        snapshot.to_json(&self.template)
    }

    fn emit(&mut self, kind: &str, body: Value) {
        let body = body.to_string();
        self.emit_raw(kind, &body[1..body.len() - 1]);
    }

    /// Appends an event. `members` are its data's other members, as JSON without the braces.
    fn emit_raw(&mut self, kind: &str, members: &str) {
        let data = format!(r#"{{"type":"{kind}","sequence_number":{},{members}}}"#, self.sequence);
        self.sequence += 1;
        self.events.push_str(&sse::encode(kind, &data));
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
