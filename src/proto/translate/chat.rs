//! Reads the answer of a Chat Completions provider, whole or chunk by chunk, as a sequence of deltas. Servers differ in many
//! ways; what comes out is the same. In which form the deltas are passed on is out of scope.

use std::borrow::Cow;

use serde_json::Value;

use super::super::parsed::parse_within;
use super::super::read_json::lenient;
use super::super::text::cut;
use super::super::tunnel::MAX_ERROR_TEXT;
use super::calls::{CallPiece, OpenCall, owner};
use super::delta::{ChatDelta, Finish, Sink, TokenCounts};
use super::limits::MAX_CALLS;

/// The most bytes of ids, names and arguments that are held until their calls can be announced.
pub const MAX_PENDING: usize = 16 << 20;
/// The longest name of a model that is taken from a provider, in bytes.
const MAX_NAME: usize = 256;

/// The most memory that a provider's error takes once it is parsed, in bytes. Of a larger one the text is passed on.
const MAX_PARSED_ERROR: usize = 4 << 20;

/// The error of an answer that is over the limits.
pub const TOO_LONG: &str = "the provider's answer is too long to be put into another form";
/// The error of a stream that has neither a `finish_reason` nor `[DONE]`.
pub const CUT_SHORT: &str = "the provider's stream ended before its answer did";

/// The error of a stream with an event that is no JSON.
const UNREADABLE: &str = "the provider's stream has an event that cannot be read";

/// What a text of the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextKind {
    Text,
    Refusal,
    Reasoning,
    Image,
}

impl TextKind {
    fn delta(self, text: &str) -> ChatDelta<'_> {
        match self {
            TextKind::Text => ChatDelta::Text(text),
            TextKind::Refusal => ChatDelta::Refusal(text),
            TextKind::Reasoning => ChatDelta::Reasoning(text),
            TextKind::Image => ChatDelta::Image(text),
        }
    }
}

/// The texts of one chunk. Those of one kind that follow each other are one delta: a list may have a part for each
/// character, and a delta becomes an event of a few hundred bytes.
struct Texts<'v, 's> {
    kind: TextKind,
    text: Cow<'v, str>,
    sink: Sink<'s>,
}

impl<'v, 's> Texts<'v, 's> {
    fn new(sink: Sink<'s>) -> Self {
        Texts { kind: TextKind::Text, text: Cow::Borrowed(""), sink }
    }

    fn push(&mut self, kind: TextKind, text: &'v str) {
        if self.kind != kind || kind == TextKind::Image {
            self.send();
            self.kind = kind;
        }
        if self.text.is_empty() {
            self.text = Cow::Borrowed(text);
        } else {
            self.text.to_mut().push_str(text);
        }
    }

    fn send(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            (self.sink)(self.kind.delta(&text));
        }
    }
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct ChatDecoder {
    calls: Vec<OpenCall>,
    /// How many of the calls have been announced: the first ones.
    announced: usize,
    /// Bytes that the calls hold.
    held: usize,
    chunks: u64,
    /// Whether a chunk with a choice has come.
    begun: bool,
    finished: bool,
    done: bool,
    failed: bool,
}

impl ChatDecoder {
    /// Reads the data of one event of a stream. Data that is no object is ignored. Where an object cannot be read, some of the
    /// answer would be missing, so that it fails, unless it was complete before.
    pub fn push(&mut self, data: &str, sink: Sink<'_>) {
        if self.done || self.failed {
            return;
        }
        if data.trim_ascii() == "[DONE]" {
            self.done = true;
        } else if let Ok(chunk) = lenient::<Value>(data) {
            self.apply(&chunk, false, sink);
        } else if data.trim_ascii_start().starts_with('{') && !self.finished {
            self.fail(UNREADABLE, sink);
        }
    }

    /// Reads a whole answer. False where it is not one; an error that the provider reports in its place is a delta.
    pub fn push_whole(&mut self, body: &[u8], sink: Sink<'_>) -> bool {
        let Ok(answer) = lenient::<Value>(&String::from_utf8_lossy(body)) else { return false };
        let has_message = answer["choices"].get(0).is_some_and(|choice| choice["message"].is_object());
        if !has_message && error_of(&answer).is_none() {
            return false;
        }
        self.apply(&answer, true, sink);
        self.done = true;
        true
    }

    /// Ends the answer: announces what was held back. A stream that was cut short ends with an error.
    pub fn end(&mut self, sink: Sink<'_>) {
        if self.failed {
            return;
        }
        self.announce(true, true, sink);
        if !self.is_whole() {
            self.fail(CUT_SHORT, sink);
        }
    }

    /// Whether the answer has come to its end, with `[DONE]` or a `finish_reason`.
    pub fn is_whole(&self) -> bool {
        self.done || self.finished
    }

    /// Whether `[DONE]` has come, after which nothing is read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes in memory.
    pub fn held_bytes(&self) -> usize {
        self.held + self.calls.len() * size_of::<OpenCall>()
    }

    fn fail(&mut self, message: &str, sink: Sink<'_>) {
        self.failed = true;
        (self.calls, self.held) = (Vec::new(), 0);
        sink(ChatDelta::Error(cut(message, MAX_ERROR_TEXT)));
    }

    fn apply(&mut self, chunk: &Value, whole: bool, sink: Sink<'_>) {
        if self.failed {
            return;
        }
        self.chunks += 1;
        if let Some(message) = error_of(chunk) {
            return self.fail(message, sink);
        }
        if let Some(model) = chunk["model"].as_str().filter(|model| (1..=MAX_NAME).contains(&model.len())) {
            sink(ChatDelta::Model(model));
        }
        // Only the first of several choices: an answer has one output.
        let first = |choice: &&Value| whole || choice["index"].as_u64().unwrap_or(0) == 0;
        let choice = chunk["choices"].as_array().and_then(|choices| choices.iter().find(first));
        let choice = choice.unwrap_or(&Value::Null);
        for usage in [&chunk["usage"], &choice["usage"], &chunk["x_groq"]["usage"]] {
            if let Some(counts) = token_counts(usage) {
                sink(ChatDelta::Usage(counts));
                break;
            }
        }
        // Some servers stream an answer as one event that holds the whole of it.
        let whole = whole || !self.begun && choice["delta"].is_null() && choice["message"].is_object();
        self.begun |= !choice.is_null();
        let delta = if whole { &choice["message"] } else { &choice["delta"] };
        self.texts(delta, sink);
        self.tool_calls(delta, whole, sink);
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty() && !self.failed) {
            self.finish(reason, sink);
        }
    }

    fn finish(&mut self, reason: &str, sink: Sink<'_>) {
        self.announce(true, false, sink);
        let finish = match reason {
            "error" | "abort" => return self.fail("the provider ended its answer with an error", sink),
            "length" | "max_tokens" | "model_length" => Finish::Length,
            "content_filter" => Finish::ContentFilter,
            "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
            _ => Finish::Stop,
        };
        self.finished = true;
        sink(ChatDelta::Finish(finish));
    }

    fn texts(&mut self, delta: &Value, sink: Sink<'_>) {
        let mut texts = Texts::new(sink);
        let reasoning = ["reasoning_content", "reasoning", "thinking", "reasoning_details"];
        if let Some(key) = reasoning.into_iter().find(|key| has_text(&delta[*key])) {
            self.text(&delta[key], TextKind::Reasoning, &mut texts);
        }
        let text = if has_text(&delta["content"]) { &delta["content"] } else { &delta["text"] };
        self.text(text, TextKind::Text, &mut texts);
        self.text(&delta["refusal"], TextKind::Refusal, &mut texts);
        for image in delta["images"].as_array().into_iter().flatten() {
            part(image, TextKind::Text, &mut texts);
        }
        texts.send();
    }

    /// Text, a part, or a list of parts. `kind` is what text counts as that does not say so itself.
    fn text<'v>(&mut self, value: &'v Value, kind: TextKind, texts: &mut Texts<'v, '_>) {
        if !has_text(value) {
            return;
        }
        self.announce(true, false, texts.sink);
        match value {
            Value::Array(parts) => parts.iter().for_each(|value| part(value, kind, texts)),
            value => part(value, kind, texts),
        }
    }

    fn tool_calls(&mut self, delta: &Value, whole: bool, sink: Sink<'_>) {
        let listed = &delta["tool_calls"];
        // Some servers send the one call in place of a list.
        let entries = listed.as_array().map_or(std::slice::from_ref(listed), Vec::as_slice);
        // The older form, of one call.
        for piece in entries.iter().chain([&delta["function_call"]]).filter_map(CallPiece::read) {
            // A whole answer lists its calls, whatever ids they have.
            let known = if whole { None } else { owner(&self.calls, &piece, self.chunks) };
            let at = known.unwrap_or_else(|| {
                self.calls.push(OpenCall::begin(&piece));
                self.calls.len() - 1
            });
            let call = &mut self.calls[at];
            let before = call.held();
            let arguments = call.take(&piece, self.chunks);
            if at < self.announced {
                if !arguments.is_empty() {
                    sink(ChatDelta::CallArguments { call: at, text: arguments });
                }
            } else {
                call.pending.push_str(arguments);
            }
            self.held = (self.held + call.held()).saturating_sub(before);
            if self.calls.len() > MAX_CALLS || self.held > MAX_PENDING {
                return self.fail(TOO_LONG, sink);
            }
            self.announce(false, false, sink);
        }
    }

    /// Announces the calls whose names are known, in their order. `followed`: whether something else has come after the
    /// last one. `ended`: whether nothing follows, so that a name which has not come never will.
    fn announce(&mut self, followed: bool, ended: bool, sink: Sink<'_>) {
        for at in self.announced..self.calls.len() {
            let is_last = at + 1 == self.calls.len();
            let (earlier, rest) = self.calls.split_at_mut(at);
            let Some(call) = rest.first_mut().filter(|call| ended || call.is_named(followed || !is_last)) else {
                break;
            };
            self.announced = at + 1;
            let pending = std::mem::take(&mut call.pending);
            self.held = self.held.saturating_sub(pending.len());
            if call.name.is_empty() && pending.is_empty() {
                continue;
            }
            // Results are assigned by the id: one that an earlier call has is none.
            let id = call.id.as_deref().filter(|id| earlier.iter().all(|other| other.id.as_deref() != Some(*id)));
            sink(ChatDelta::CallStart { call: at, id, name: &call.name });
            if !pending.is_empty() {
                sink(ChatDelta::CallArguments { call: at, text: &pending });
            }
        }
    }
}

/// What the body of a provider's error response says: its message, or its start as it is.
pub fn error_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let answer = parse_within(body, MAX_PARSED_ERROR).unwrap_or_default();
    let other = || answer["message"].as_str().or(answer["detail"].as_str());
    let message = error_of(&answer).or_else(other).unwrap_or(text.trim());
    cut(if message.is_empty() { "the provider gave no reason" } else { message }, MAX_ERROR_TEXT).to_owned()
}

/// The message of an answer or a chunk that reports an error.
fn error_of(answer: &Value) -> Option<&str> {
    let within = answer["choices"].get(0).map_or(&Value::Null, |choice| &choice["error"]);
    let is_none = |error: &Value| match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    let error = [&answer["error"], within].into_iter().find(|error| !is_none(error));
    // The older form of vLLM.
    let error = error.or_else(|| (answer["object"] == "error").then_some(answer))?;
    Some(error["message"].as_str().or(error.as_str()).unwrap_or("the provider failed"))
}

fn has_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        Value::Object(_) => true,
        _ => false,
    }
}

/// One part of a content list, or a text. Parts that are neither text, thinking nor an image are left out.
fn part<'v>(value: &'v Value, kind: TextKind, texts: &mut Texts<'v, '_>) {
    let mut send = |text: Option<&'v str>, kind: TextKind| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            texts.push(kind, text);
        }
    };
    if value.is_string() {
        return send(value.as_str(), kind);
    }
    match value["type"].as_str().unwrap_or("text") {
        "thinking" | "reasoning" | "reasoning.text" | "reasoning_text" | "reasoning.summary" => {
            let keys = ["thinking", "reasoning", "text", "content", "summary"];
            match keys.into_iter().map(|key| &value[key]).find(|inner| has_text(inner)) {
                // Mistral's form: a list of parts within the part.
                Some(Value::Array(inner)) => {
                    inner.iter().for_each(|inner| send(inner["text"].as_str(), TextKind::Reasoning));
                }
                Some(inner) => send(inner.as_str(), TextKind::Reasoning),
                None => {}
            }
        }
        "refusal" => send(value["refusal"].as_str(), TextKind::Refusal),
        "image_url" | "output_image" | "image" => {
            let url = &value["image_url"];
            send(url["url"].as_str().or(url.as_str()), TextKind::Image);
        }
        _ => send(value["text"].as_str().or(value["content"].as_str()), kind),
    }
}

/// A `usage` that has counts, in the names of Chat Completions or of Responses.
fn token_counts(usage: &Value) -> Option<TokenCounts> {
    let count = |keys: [&str; 2]| keys.iter().find_map(|key| usage[*key].as_u64());
    let (input, output) = (count(["prompt_tokens", "input_tokens"]), count(["completion_tokens", "output_tokens"]));
    let total = usage["total_tokens"].as_u64();
    input.or(output).or(total)?;
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    let detail = |keys: [&str; 2], name: &str| keys.iter().find_map(|key| usage[*key][name].as_u64()).unwrap_or(0);
    Some(TokenCounts {
        input,
        cached: detail(["prompt_tokens_details", "input_tokens_details"], "cached_tokens"),
        output,
        reasoning: detail(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens"),
        total: total.unwrap_or_else(|| input.saturating_add(output)),
    })
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
