//! Writes an answer of Ollama's API, as one object or as lines of JSON, from the deltas of a chat answer.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use super::super::super::json_parts::escaped_length;
use super::super::super::members::{Members, json_text};
use super::super::super::time::{millis, rfc3339};
use super::super::answer_writer::{AnswerState, AnswerWriter, ObjectCall};
use super::super::delta::{ChatDelta, Finish, TokenCounts};

/// Memory of a call beside its texts, in bytes.
const CALL: usize = 256;

/// Which of Ollama's routes for texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// `/api/chat`: the answer is a message.
    Chat,
    /// `/api/generate`: the answer is a text.
    Generate,
}

/// An answer as far as it has been written. Only a whole one holds its text; a stream holds its calls until it ends, since
/// their arguments are written as objects.
#[derive(Debug)]
pub struct OllamaWriter {
    form: AnswerForm,
    model: String,
    state: AnswerState,
    /// Times are since the epoch.
    started: Duration,
    /// When the answer began.
    begun: Option<Duration>,
    now: Duration,
    text: String,
    thinking: String,
    calls: Vec<ObjectCall>,
    finish: Option<Finish>,
    usage: Option<TokenCounts>,
    /// How many pieces of text have come: providers send about a token in each.
    pieces: u64,
}

/// A call as it is shown, the `index`-th of the answer.
fn call_json(call: &ObjectCall, index: usize) -> String {
    let mut function = Members::default();
    function.set("index", index.to_string());
    function.set("name", json_text(&call.name));
    function.set("arguments", call.object());
    let mut shown = Members::default();
    shown.set("id", json_text(&call.id));
    shown.set("function", function.to_json());
    shown.to_json()
}

/// An answer, or a line of one: its members up to `done`. `calls` are JSON texts.
fn part(
    (form, model, now): (AnswerForm, &str, Duration),
    text: &str,
    thinking: &str,
    calls: &[String],
    done: bool,
) -> Members<'static> {
    let mut said = Members::default();
    if form == AnswerForm::Chat {
        said.set("role", r#""assistant""#.into());
    }
    said.set(if form == AnswerForm::Chat { "content" } else { "response" }, json_text(text));
    if !thinking.is_empty() {
        said.set("thinking", json_text(thinking));
    }
    if !calls.is_empty() {
        said.set("tool_calls", format!("[{}]", calls.join(",")));
    }
    let mut part = Members::default();
    part.set("model", json_text(model));
    part.set("created_at", json_text(&rfc3339(millis(now))));
    match form {
        AnswerForm::Chat => part.set("message", said.to_json()),
        AnswerForm::Generate => said.iter().for_each(|(key, value)| part.push(key, value)),
    }
    part.set("done", done.to_string());
    part
}

/// The answer to a request without messages or without a prompt, which only asks that the model be loaded, or with a
/// `keep_alive` of 0 that it be unloaded. It says that this is done. `now` is since the epoch.
#[must_use]
pub fn load_answer(form: AnswerForm, request: &Members<'_>, model: &str, now: Duration) -> String {
    // A number of seconds, or a text such as "5m".
    let is_zero = |raw: &str| {
        let text = serde_json::from_str(raw).unwrap_or(Cow::Borrowed(raw));
        text.trim_end_matches(char::is_alphabetic).parse() == Ok(0.0)
    };
    let unloads = request.get("keep_alive").is_some_and(is_zero);
    let mut answer = part((form, model, now), "", "", &[], true);
    answer.set("done_reason", json_text(if unloads { "unload" } else { "load" }));
    answer.to_json()
}

impl OllamaWriter {
    /// Starts an answer. `model` is the client's name for the model; `started` is when the request was sent, since the epoch.
    pub fn new(form: AnswerForm, model: &str, started: Duration, stream: bool) -> Self {
        OllamaWriter {
            form,
            model: model.to_owned(),
            state: AnswerState::new(stream),
            started,
            begun: None,
            now: started,
            text: String::new(),
            thinking: String::new(),
            calls: Vec::new(),
            finish: None,
            usage: None,
            pieces: 0,
        }
    }

    fn push_text(&mut self, text: &str) {
        if self.state.stream {
            self.write_line(text, "", &[]);
        } else if self.reserve(escaped_length(text)) {
            self.text.push_str(text);
        }
    }

    fn push_reasoning(&mut self, text: &str) {
        if self.state.stream {
            self.write_line("", text, &[]);
        } else if self.reserve(escaped_length(text)) {
            self.thinking.push_str(text);
        }
    }

    fn begin_call(&mut self, number: usize, id: Option<&str>, name: &str) {
        if self.reserve(escaped_length(name) + id.map_or(0, escaped_length)) {
            // Newer clients of Ollama rely on an id. No other answer of a conversation began at the same time.
            let id = id.map_or_else(|| format!("call_{:x}_{number}", self.started.as_millis()), str::to_owned);
            self.calls.push(ObjectCall { number, id, name: name.to_owned(), arguments: String::new() });
        }
    }

    fn append_arguments(&mut self, number: usize, text: &str) {
        if self.reserve(escaped_length(text))
            && let Some(call) = self.calls.iter_mut().rev().find(|call| call.number == number)
        {
            call.arguments.push_str(text);
        }
    }

    fn part(&self, text: &str, thinking: &str, calls: &[String], done: bool) -> Members<'static> {
        part((self.form, &self.model, self.now), text, thinking, calls, done)
    }

    fn write_line(&mut self, text: &str, thinking: &str, calls: &[String]) {
        let line = self.part(text, thinking, calls, false);
        self.push_line(&line.to_json());
    }

    fn push_line(&mut self, json: &str) {
        self.state.events.push_str(json);
        self.state.events.push('\n');
    }

    /// What the last line, or a whole answer, has beside its text. Numbers that are 0 are left out, as Ollama does; how long
    /// the model took to load is not known. Clients rely on what Ollama always tells: of an answer, its tokens and its times.
    fn finish(&self, mut answer: Members<'static>) -> String {
        let reason = if self.finish == Some(Finish::Length) { "length" } else { "stop" };
        answer.set("done_reason", json_text(reason));
        // When a whole answer began is not known. Clients divide its tokens by the time that it took.
        let begun = if self.state.stream { self.begun.unwrap_or(self.now) } else { self.started };
        let least = u64::from(self.pieces > 0);
        let counts = self.usage.unwrap_or(TokenCounts { output: self.pieces, ..TokenCounts::default() });
        let measured = [
            ("total_duration", nanoseconds(self.started, self.now).max(least)),
            ("prompt_eval_count", counts.input),
            ("prompt_eval_duration", nanoseconds(self.started, begun)),
            ("eval_count", counts.output),
            ("eval_duration", nanoseconds(begun, self.now).max(least)),
        ];
        for (key, number) in measured.into_iter().filter(|(_, number)| *number > 0) {
            answer.set(key, number.to_string());
        }
        answer.to_json()
    }
}

fn nanoseconds(from: Duration, to: Duration) -> u64 {
    u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX)
}

impl AnswerWriter for OllamaWriter {
    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut AnswerState {
        &mut self.state
    }

    fn write(&mut self, delta: ChatDelta<'_>) {
        match delta {
            // The client's name for the model stands.
            ChatDelta::Model(_) => return,
            ChatDelta::Text(text) | ChatDelta::Refusal(text) => self.push_text(text),
            ChatDelta::Reasoning(text) => self.push_reasoning(text),
            ChatDelta::Image(url) => self.push_text(&format!("![image]({url})")),
            ChatDelta::CallStart { call, id, name } => self.begin_call(call, id, name),
            ChatDelta::CallArguments { call, text } => self.append_arguments(call, text),
            ChatDelta::Usage(counts) => {
                self.usage = Some(counts);
                return;
            }
            ChatDelta::Finish(finish) => {
                self.finish = Some(finish);
                return;
            }
            ChatDelta::Error(message) => return self.fail(message),
        }
        self.pieces += 1;
        self.begun.get_or_insert(self.now);
    }

    fn write_end(&mut self) {
        if self.state.stream {
            for (index, call) in std::mem::take(&mut self.calls).iter().enumerate() {
                self.write_line("", "", &[call_json(call, index)]);
            }
            self.state.held = 0;
            let last = self.finish(self.part("", "", &[], true));
            self.push_line(&last);
        }
    }

    fn write_failure(&mut self, message: &str) {
        if self.state.stream {
            self.push_line(&json!({ "error": message }).to_string());
        }
        // Not needed any more: frees the memory.
        (self.text, self.thinking, self.calls) = (String::new(), String::new(), Vec::new());
    }

    fn into_body(self: Box<Self>) -> String {
        let calls: Vec<String> = self.calls.iter().enumerate().map(|(index, call)| call_json(call, index)).collect();
        self.finish(self.part(&self.text, &self.thinking, &calls, true))
    }

    fn parts(&self) -> usize {
        self.calls.len()
    }

    fn set_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    fn weight(&self) -> usize {
        self.state.held.saturating_add(self.calls.len().saturating_mul(CALL))
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
