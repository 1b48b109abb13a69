//! The answer of a Chat Completions provider as an answer of another API, whole or as a stream's events: what the decoder
//! reads, the writer writes.

use std::time::Duration;

use super::super::members::Members;
use super::answer_writer::AnswerWriter;
use super::anthropic::MessageWriter;
use super::chat::ChatDecoder;
use super::ollama::{AnswerForm, OllamaWriter};
use super::responses::{ResponseTemplate, ResponseWriter, tool_name_bytes};

/// How many copies of a text exist when the response ends: in its item, in the events that repeat it, in the last event.
const COPIES: usize = 11;

/// Builds an answer from the chunks of a chat.
#[derive(Debug)]
pub struct ChatTranslator {
    decoder: ChatDecoder,
    writer: Box<dyn AnswerWriter>,
}

impl ChatTranslator {
    /// Starts a response of the Responses API. `model` is the provider's name for it.
    pub fn responses(template: ResponseTemplate, model: &str, stream: bool) -> Self {
        ChatTranslator {
            decoder: ChatDecoder::default(),
            writer: Box::new(ResponseWriter::new(template, model, stream)),
        }
    }

    /// Estimate of the memory of a response to this request beside its text, in bytes.
    pub fn response_overhead(request: &Members<'_>) -> usize {
        ResponseTemplate::repeated_of(request).saturating_mul(COPIES).saturating_add(tool_name_bytes(request))
    }

    /// Starts a message of the Messages API. `key` makes its id unique.
    pub fn messages(key: &str, model: &str, stream: bool) -> Self {
        ChatTranslator { decoder: ChatDecoder::default(), writer: Box::new(MessageWriter::new(key, model, stream)) }
    }

    /// Starts an answer of Ollama's API: one object, or lines of JSON. `model` is the client's name for the model, `started`
    /// when the request was sent, since the epoch.
    pub fn ollama(form: AnswerForm, model: &str, started: Duration, stream: bool) -> Self {
        ChatTranslator {
            decoder: ChatDecoder::default(),
            writer: Box::new(OllamaWriter::new(form, model, started, stream)),
        }
    }

    /// The whole answer, for a client that asked for no stream.
    pub fn into_body(mut self) -> String {
        self.finish_decoding();
        self.writer.into_body()
    }

    /// Sets the time of what is pushed next, since the epoch. An earlier time than the last is ignored.
    pub fn set_time(&mut self, now: Duration) {
        self.writer.set_time(now);
    }

    /// Bytes of the events that have not been taken.
    pub fn events_len(&self) -> usize {
        self.writer.state().events.len()
    }

    /// Applies a whole chat answer. False where it is not one, reports an error, or is over the limits.
    pub fn push_whole(&mut self, chat: &[u8]) -> bool {
        let read = self.decoder.push_whole(chat, &mut |delta| self.writer.apply(delta));
        self.finish_decoding();
        read && self.failure().is_none()
    }

    /// Applies the data of one event of the chat's stream. An object that cannot be read fails the answer; other data that is not
    /// JSON is ignored.
    pub fn push(&mut self, data: &str) {
        if self.writer.state().is_over() {
            return;
        }
        self.decoder.push(data, &mut |delta| self.writer.apply(delta));
        if self.failure().is_some() {
            // Not needed any more: frees the memory.
            self.decoder = ChatDecoder::default();
        } else if self.decoder.is_done() {
            self.end();
        }
    }

    /// Ends the answer. A stream that ended without `[DONE]` or a `finish_reason` makes it fail.
    pub fn end(&mut self) {
        self.finish_decoding();
        self.writer.end();
    }

    fn finish_decoding(&mut self) {
        self.decoder.end(&mut |delta| self.writer.apply(delta));
    }

    /// Ends the answer with an error.
    pub fn fail(&mut self, message: &str) {
        self.writer.fail(message);
    }

    /// Whether the chat has ended as it should, with `[DONE]` or a `finish_reason`.
    pub fn is_whole(&self) -> bool {
        self.failure().is_none() && self.decoder.is_whole()
    }

    /// Why the answer has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.writer.state().failure()
    }

    /// Estimate of its peak memory until it has ended, in bytes.
    pub fn weight(&self) -> usize {
        self.decoder.held_bytes().saturating_add(self.writer.weight()).saturating_mul(COPIES)
    }

    /// Returns and clears the events since the last call, in wire format.
    pub fn take_events(&mut self) -> String {
        self.writer.take_events()
    }
}

#[cfg(test)]
#[path = "translator_tests.rs"]
mod tests;
