//! A chat's answer as a Responses answer, piece by piece. A whole answer is a stream of one piece.

use serde_json::{Value, json};

use super::super::openai::{Members, cut};
use super::super::sse;
use super::items::{Call, Part, Writing};
use super::skeleton::Skeleton;

/// The most that an answer may hold of texts, names and arguments, in bytes. To finish it takes several times as much for
/// a moment.
pub const MAX_HELD: usize = 16 << 20;
/// How often a text is held when the response ends: in its item, in the events that repeat it, in the last event.
const COPIES: usize = 8;
/// What an item or a part takes beside its texts, in bytes.
const PART: usize = 256;
/// The most items, and parts of items, that an answer may have.
pub const MAX_PARTS: usize = 1024;
/// The longest name of a model, or reason of an end, that is taken from a provider, in bytes.
const MAX_NAME: usize = 256;
/// The longest of a provider's error messages that is passed on, in bytes.
const MAX_ERROR: usize = 2 << 10;

/// A response that comes into being out of a chat's chunks.
#[derive(Debug)]
pub struct Answer {
    skeleton: Skeleton,
    model: String,
    sequence: u64,
    /// Finished items, by their place.
    output: Vec<Value>,
    writing: Option<Writing>,
    calls: Vec<Call>,
    finish: Option<String>,
    usage: Option<Value>,
    done: bool,
    over: bool,
    failed: bool,
    events: String,
    /// When it was last told the time, in seconds since the epoch.
    completed_at: u64,
    /// Bytes of texts, names and arguments so far.
    held: usize,
    /// Items, and parts of items, so far.
    parts: usize,
}

impl Answer {
    /// A response of which nothing has come yet; `model` as the participant's provider calls it.
    pub fn new(skeleton: Skeleton, model: &str) -> Self {
        let mut answer = Answer {
            completed_at: skeleton.created_at,
            skeleton,
            model: model.to_owned(),
            sequence: 0,
            output: Vec::new(),
            writing: None,
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
            answer.state(kind, "in_progress");
        }
        answer
    }

    /// The whole response, for a client that asked for no stream.
    pub fn into_response(mut self) -> String {
        self.finish_items();
        let (status, _) = self.ending();
        self.response(status, None)
    }

    /// Tells what time it is, in seconds since the epoch: a response says when it was completed.
    pub fn set_time(&mut self, now: u64) {
        self.completed_at = self.completed_at.max(now);
    }

    /// How many bytes it holds: the answer so far, and the events that nobody has taken yet.
    pub fn held_bytes(&self) -> usize {
        self.held + self.events.capacity()
    }

    /// Takes a whole chat answer as if it had been streamed. False where it is none, or one beyond the limits.
    pub fn push_whole(&mut self, chat: &[u8]) -> bool {
        let Ok(mut chat) = serde_json::from_slice::<Value>(chat) else { return false };
        let Some(choice) =
            chat.get_mut("choices").and_then(|c| c.get_mut(0)).filter(|choice| choice["message"].is_object())
        else {
            return false;
        };
        choice["delta"] = choice["message"].take();
        self.chunk(&chat);
        self.done = true;
        !self.failed
    }

    /// Takes the data of one of the chat's events.
    pub fn push(&mut self, data: &str) {
        if self.over {
            return;
        }
        if data.trim() == "[DONE]" {
            self.done = true;
            self.end();
        } else if let Ok(chunk) = serde_json::from_str::<Value>(data) {
            self.chunk(&chunk);
        }
    }

    /// The provider's stream has ended. Without having said so, it counts as broken.
    pub fn end(&mut self) {
        if self.over {
            return;
        }
        if !self.done && self.finish.is_none() {
            return self.fail("the provider's stream ended before its answer did");
        }
        self.finish_items();
        let (status, kind) = self.ending();
        self.state(kind, status);
        self.events.push_str("data: [DONE]\n\n");
        self.over = true;
    }

    /// The answer can't be completed.
    pub fn fail(&mut self, message: &str) {
        if self.over {
            return;
        }
        (self.over, self.failed) = (true, true);
        let response = self.response("failed", Some(cut(message, MAX_ERROR)));
        self.emit_raw("response.failed", &format!(r#""response":{response}"#));
        // Nobody asks for them any more.
        (self.output, self.calls, self.writing, self.held) = (Vec::new(), Vec::new(), None, 0);
    }

    /// Whether the chat told that it has come to its end.
    pub fn is_whole(&self) -> bool {
        !self.failed && (self.done || self.finish.is_some())
    }

    /// Whether the response has failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// About the most memory that it takes until it is over, in bytes: at its end each text stands in its item, in the
    /// events that tell of it, and in the last event.
    pub fn weight(&self) -> usize {
        self.held.saturating_add(self.parts.saturating_mul(PART)).saturating_mul(COPIES)
    }

    /// The events made since the last time, as they go over the wire.
    pub fn take_events(&mut self) -> String {
        std::mem::take(&mut self.events)
    }

    fn chunk(&mut self, chunk: &Value) {
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
        for (keys, part) in [
            (["reasoning_content", "reasoning"], Part::Reasoning),
            (["content", "text"], Part::Text),
            (["refusal", ""], Part::Refusal),
        ] {
            if let Some(text) = keys.iter().find_map(|key| delta[*key].as_str()).filter(|text| !text.is_empty()) {
                self.write(part, text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten().filter(|call| call.is_object()) {
            self.call(call);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(cut(reason, MAX_NAME).to_owned());
        }
    }

    /// Makes room for so many bytes. False where the answer is over its limits, and failed.
    fn hold(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        if self.held > MAX_HELD || self.parts > MAX_PARTS {
            self.fail("the provider's answer is too long to be put into another form");
        }
        !self.over
    }

    fn write(&mut self, part: Part, text: &str) {
        if !self.hold(text.len()) {
            return;
        }
        let same_item = |open: &Writing| (open.part == Part::Reasoning) == (part == Part::Reasoning);
        if self.writing.as_ref().is_some_and(|open| !same_item(open)) {
            self.finish_writing("completed");
        }
        if self.writing.is_none() {
            self.begin_item(part);
        } else if self.writing.as_ref().is_some_and(|open| open.part != part) {
            self.finish_part();
            self.parts += 1;
            if let Some(open) = &mut self.writing {
                open.part = part;
            }
            self.begin_part();
        }
        let Some(open) = &mut self.writing else { return };
        open.text.push_str(text);
        let at = (open.id.clone(), open.index, open.parts.len());
        let mut body = json!({ "item_id": at.0, "output_index": at.1, "content_index": at.2, "delta": text });
        if part == Part::Text {
            body["logprobs"] = json!([]);
        }
        self.emit(&format!("response.{}.delta", part.event().0), body);
    }

    fn next_index(&mut self) -> usize {
        self.parts += 1;
        self.output.push(Value::Null);
        self.output.len() - 1
    }

    fn begin_item(&mut self, part: Part) {
        let index = self.next_index();
        let prefix = if part == Part::Reasoning { "rs" } else { "msg" };
        let id = format!("{prefix}_{}_{index}", self.skeleton.key);
        let writing = Writing { id, index, parts: Vec::new(), part, text: String::new() };
        let item = writing.item("in_progress", &[]);
        self.writing = Some(writing);
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
        self.begin_part();
    }

    fn begin_part(&mut self) {
        let Some(open) = &self.writing else { return };
        let body = json!({
            "item_id": open.id, "output_index": open.index, "content_index": open.parts.len(), "part": open.part.json(""),
        });
        self.emit("response.content_part.added", body);
    }

    fn finish_part(&mut self) {
        let Some(open) = &mut self.writing else { return };
        let text = std::mem::take(&mut open.text);
        let part = open.part.json(&text);
        let at = json!({ "item_id": open.id, "output_index": open.index, "content_index": open.parts.len() });
        let (name, key) = open.part.event();
        let is_text = open.part == Part::Text;
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

    fn finish_writing(&mut self, status: &str) {
        self.finish_part();
        let Some(open) = self.writing.take() else { return };
        self.finish_item(open.index, open.item(status, &open.parts));
    }

    fn finish_item(&mut self, index: usize, item: Value) {
        self.output[index] = item.clone();
        self.emit("response.output_item.done", json!({ "output_index": index, "item": item }));
    }

    /// A piece of a function call. Providers tell calls apart by number, or, where they send none, by id.
    fn call(&mut self, piece: &Value) {
        if !self.hold(0) {
            return;
        }
        let number = piece["index"].as_u64();
        let id = piece["id"].as_str().filter(|id| !id.is_empty());
        let known = self.calls.iter().position(|call| match (number, id) {
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
        if arguments.is_empty() || !self.hold(arguments.len()) {
            return;
        }
        let call = &mut self.calls[at];
        call.arguments.push_str(&arguments);
        let body = json!({ "item_id": call.id, "output_index": call.index, "delta": arguments });
        self.emit("response.function_call_arguments.delta", body);
    }

    fn begin_call(&mut self, number: Option<u64>, id: Option<&str>, name: &str) -> usize {
        if self.writing.is_some() {
            self.finish_writing("completed");
        }
        self.held += name.len() + id.map_or(0, str::len);
        let index = self.next_index();
        let key = &self.skeleton.key;
        let call = Call {
            number,
            index,
            id: format!("fc_{key}_{index}"),
            call_id: id.map_or_else(|| format!("call_{key}_{index}"), str::to_owned),
            name: name.to_owned(),
            arguments: String::new(),
        };
        let item = call.item("in_progress");
        self.calls.push(call);
        self.emit("response.output_item.added", json!({ "output_index": index, "item": item }));
        self.calls.len() - 1
    }

    fn finish_items(&mut self) {
        let status = if self.ending().0 == "completed" { "completed" } else { "incomplete" };
        if self.writing.is_some() {
            self.finish_writing(status);
        }
        for call in std::mem::take(&mut self.calls) {
            let body = json!({
                "item_id": call.id, "output_index": call.index, "name": call.name, "arguments": call.arguments,
            });
            self.emit("response.function_call_arguments.done", body);
            self.finish_item(call.index, call.item(status));
        }
    }

    /// The response's last status, and the event that tells it.
    fn ending(&self) -> (&'static str, &'static str) {
        match self.finish.as_deref() {
            Some("length" | "content_filter") => ("incomplete", "response.incomplete"),
            _ => ("completed", "response.completed"),
        }
    }

    fn state(&mut self, kind: &str, status: &str) {
        let response = self.response(status, None);
        self.emit_raw(kind, &format!(r#""response":{response}"#));
    }

    /// The response as it stands, as JSON.
    fn response(&self, status: &str, error: Option<&str>) -> String {
        let over = status != "in_progress";
        let incomplete = match (status, self.finish.as_deref()) {
            ("incomplete", Some("length")) => json!({ "reason": "max_output_tokens" }),
            ("incomplete", Some(reason)) => json!({ "reason": reason }),
            _ => Value::Null,
        };
        let error = error.map_or(Value::Null, |message| json!({ "code": "server_error", "message": message }));
        let output: Vec<&Value> = self.output.iter().filter(|item| over && !item.is_null()).collect();
        let mut members = Members::default();
        let mut put = |key: &'static str, value: &Value| members.set(key, value.to_string());
        put("id", &json!(self.skeleton.id()));
        put("object", &json!("response"));
        put("created_at", &json!(self.skeleton.created_at));
        put("completed_at", &json!((status == "completed").then_some(self.completed_at)));
        put("status", &json!(status));
        put("error", &error);
        put("incomplete_details", &incomplete);
        put("model", &json!(self.model));
        put("output", &json!(output));
        put("output_text", &json!(output_text(&output)));
        put("usage", self.usage.as_ref().filter(|_| over).unwrap_or(&Value::Null));
        for (key, value) in &self.skeleton.asked {
            members.set(key, value.clone());
        }
        members.to_json()
    }

    fn emit(&mut self, kind: &str, body: Value) {
        let body = body.to_string();
        self.emit_raw(kind, &body[1..body.len() - 1]);
    }

    /// An event, of whose data the members are given.
    fn emit_raw(&mut self, kind: &str, members: &str) {
        let data = format!(r#"{{"type":"{kind}","sequence_number":{},{members}}}"#, self.sequence);
        self.sequence += 1;
        self.events.push_str(&sse::encode(kind, &data));
    }
}

fn output_text(output: &[&Value]) -> String {
    let parts = output.iter().filter(|item| item["type"] == "message").filter_map(|item| item["content"].as_array());
    parts.flatten().filter_map(|part| part["text"].as_str()).collect()
}

fn usage(chat: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (input, output) = (count(&chat["prompt_tokens"]), count(&chat["completion_tokens"]));
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": count(&chat["prompt_tokens_details"]["cached_tokens"]) },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": count(&chat["completion_tokens_details"]["reasoning_tokens"]) },
        "total_tokens": chat["total_tokens"].as_u64().unwrap_or(input + output),
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
