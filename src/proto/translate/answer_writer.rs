//! What turns the deltas of a chat answer into the answer of another API.

use std::time::Duration;

use serde_json::value::RawValue;

use super::super::members::json_text;
use super::super::text::cut;
use super::super::tunnel::MAX_ERROR_TEXT;
use super::chat::TOO_LONG;
use super::delta::ChatDelta;
use super::limits::{MAX_HELD, MAX_PARTS};

/// What is the same in the answers of all APIs.
#[derive(Debug, Default)]
pub struct AnswerState {
    /// Whether the answer is written as events. Without them it is one object.
    pub stream: bool,
    /// Events that have not been taken, in wire format.
    pub events: String,
    /// Bytes of texts, names and arguments in memory, as JSON has them.
    pub held: usize,
    is_over: bool,
    failure: Option<String>,
}

impl AnswerState {
    /// Of an answer of which nothing has been written.
    pub fn new(stream: bool) -> Self {
        AnswerState { stream, ..AnswerState::default() }
    }

    /// Whether the last event has been written.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Why the answer has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// Writes one answer: whole, or as the events of a stream.
pub trait AnswerWriter: std::fmt::Debug + Send {
    fn state(&self) -> &AnswerState;

    fn state_mut(&mut self) -> &mut AnswerState;

    /// Writes a part of the answer, which is not over.
    fn write(&mut self, delta: ChatDelta<'_>);

    /// Writes the answer's end.
    fn write_end(&mut self);

    /// Writes that the answer has failed, and frees what it holds.
    fn write_failure(&mut self, message: &str);

    /// The whole answer, for a client that asked for no stream.
    fn into_body(self: Box<Self>) -> String;

    /// How many items or parts the answer has.
    fn parts(&self) -> usize;

    /// Bytes of the answer so far, and of what is written around them.
    fn weight(&self) -> usize;

    /// Sets the time of what is applied next, since the epoch. An earlier time than the last is ignored.
    fn set_time(&mut self, _now: Duration) {}

    /// Returns and clears the events since the last call, in wire format.
    fn take_events(&mut self) -> String {
        std::mem::take(&mut self.state_mut().events)
    }

    /// Writes a part of the answer. After its end nothing more is written.
    fn apply(&mut self, delta: ChatDelta<'_>) {
        if !self.state().is_over {
            self.write(delta);
        }
    }

    /// Ends the answer.
    fn end(&mut self) {
        if !self.state().is_over {
            self.write_end();
            self.state_mut().is_over = true;
        }
    }

    /// Ends the answer with an error.
    fn fail(&mut self, message: &str) {
        if self.state().is_over {
            return;
        }
        let message = cut(message, MAX_ERROR_TEXT);
        let state = self.state_mut();
        (state.is_over, state.failure) = (true, Some(message.to_owned()));
        self.write_failure(message);
        self.state_mut().held = 0;
    }

    /// Counts bytes that are held against the limits. False where the answer has failed or fails now.
    fn reserve(&mut self, bytes: usize) -> bool {
        self.state_mut().held += bytes;
        if self.state().held > MAX_HELD || self.parts() > MAX_PARTS {
            self.fail(TOO_LONG);
        }
        !self.state().is_over
    }
}

/// A call of a tool in an API whose calls have objects.
#[derive(Debug)]
pub struct ObjectCall {
    /// The chat's number of the call.
    pub number: usize,
    pub id: String,
    pub name: String,
    /// JSON text, as far as it is held.
    pub arguments: String,
}

impl ObjectCall {
    /// The arguments as an object on one line. Those that are none stay readable, as its member `arguments`.
    pub fn object(&self) -> String {
        match serde_json::from_str::<&RawValue>(&self.arguments) {
            // A line end within JSON can only stand between tokens.
            Ok(raw) if raw.get().starts_with('{') => raw.get().replace(['\n', '\r'], " "),
            _ if self.arguments.trim().is_empty() => "{}".into(),
            _ => format!(r#"{{"arguments":{}}}"#, json_text(self.arguments.trim())),
        }
    }
}
