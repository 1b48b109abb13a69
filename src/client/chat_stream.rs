//! The streamed answer of a chat.

use std::io::Read;

use ureq::BodyReader;

use super::http::Http;
use crate::error::{Error, Reason};
use crate::proto::openai::MAX_LIST;
use crate::proto::read_json::lenient;
use crate::proto::scan;
use crate::proto::sse::{ANSWERED_BY, Decoder};
use crate::proto::web::percent_decode;

/// What a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatEvent {
    /// The request waits for a free participant.
    Waiting {
        /// Its place in the line, from 1.
        place: usize,
        /// The number of requests in the line.
        of: usize,
    },
    /// An event of the answer: its JSON as the provider sent it.
    Json(String),
}

/// A streamed answer. Dropping it disconnects, which cancels the provider's work.
pub struct ChatStream {
    pub(super) http: Http,
    pub(super) path: String,
    pub(super) participant: String,
    pub(super) request_id: Option<String>,
    pub(super) body: BodyReader<'static>,
    pub(super) decoder: Decoder,
    /// Whether an event of the answer has come.
    pub(super) begun: bool,
    pub(super) over: bool,
}

impl ChatStream {
    /// The id of the participant that serves it; empty while the request waits.
    pub fn participant(&self) -> &str {
        &self.participant
    }

    /// The next event's JSON as the provider sent it; `None` at the regular end.
    pub fn next_json(&mut self) -> Option<Result<String, Error>> {
        loop {
            match self.next_event()? {
                Ok(ChatEvent::Waiting { .. }) => {}
                Ok(ChatEvent::Json(json)) => return Some(Ok(json)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next event, also of the time before the answer begins; `None` at the regular end.
    pub fn next_event(&mut self) -> Option<Result<ChatEvent, Error>> {
        if self.over {
            return None;
        }
        let next = self.read_event().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    /// Reads until an event is complete, or the hub has told the request's place in the line.
    fn read_event(&mut self) -> Result<Option<ChatEvent>, Error> {
        let mut buffer = [0; 4096];
        loop {
            let event = self.decoder.next_event();
            let comment = self.decoder.take_comment().unwrap_or_default();
            if let Some(id) = comment.strip_prefix(ANSWERED_BY) {
                self.participant = decoded(id);
            }
            if let Some(event) = event {
                return match event.data.as_str() {
                    "[DONE]" => Ok(None),
                    data if data.starts_with("{\"error\"") => Err(self.told_error(data)),
                    _ => {
                        self.begun = true;
                        Ok(Some(ChatEvent::Json(event.data)))
                    }
                };
            }
            if let Some((place, of)) = place_in_line(&comment) {
                return Ok(Some(ChatEvent::Waiting { place, of }));
            }
            match self.body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&buffer[..n]),
                Err(error) => return Err(self.broken_off(Reason::of(error))),
            }
        }
    }

    /// The error that an event of the stream tells: the request's refusal, or what ended the answer once that had begun.
    fn told_error(&self, data: &str) -> Error {
        let refusal = self.http.refusal(&self.path, 502, data.as_bytes());
        if !self.begun {
            return refusal;
        }
        let text = refusal.to_string();
        let told = text
            .trim_start_matches("Failed to proxy request: ")
            .trim_start_matches("the provider's answer broke off: ");
        self.broken_off(told.into())
    }

    fn broken_off(&self, reason: Reason) -> Error {
        broken_off(&self.participant, reason, &self.request_id)
    }
}

/// The text of the first choice of an answer, or of an event of one. Whatever else a provider sends takes no memory.
pub(super) fn content(json: &str) -> Option<String> {
    let (mut delta, mut message) = (None, None);
    scan::objects(scan::member(json, "\"choices\"")?, MAX_LIST, |index, key, value| {
        match (index, key) {
            (0, "\"delta\"") => delta = Some(value),
            // A whole answer has a message in place of the delta.
            (0, "\"message\"") => message = Some(value),
            _ => {}
        }
        Some(())
    })?;
    let text = |part: Option<&str>| lenient(scan::member(part?, "\"content\"")?).ok();
    text(delta).or_else(|| text(message))
}

impl Iterator for ChatStream {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_json()?.map(|json| content(&json).unwrap_or_default()) {
                Ok(piece) if piece.is_empty() => {}
                other => return Some(other),
            }
        }
    }
}

/// The place in the line that a comment tells, and the line's length.
fn place_in_line(comment: &str) -> Option<(usize, usize)> {
    let (place, of) = comment.strip_prefix("waiting in line, ")?.split_once(" of ")?;
    Some((place.parse().ok()?, of.parse().ok()?))
}

/// A participant's id. Older hubs do not percent-encode it.
pub(super) fn decoded(id: &str) -> String {
    percent_decode(id).unwrap_or_else(|| id.to_owned())
}

/// An answer ended before it was complete.
pub(super) fn broken_off(participant: &str, reason: Reason, request_id: &Option<String>) -> Error {
    Error::BrokenOff { participant: participant.to_owned(), reason, request_id: request_id.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_answer_is_that_of_its_first_choice() {
        for (json, expected) in [
            (r#"{"choices":[{"delta":{"content":"a\n"}},{"delta":{"content":"b"}}]}"#, Some("a\n")),
            (r#"{"x":[{}],"choices":[{"index":0,"message":{"role":"r","content":"a"}}]}"#, Some("a")),
            (r#"{"choices":[{"delta":{"content":null},"message":{"content":"a"}}]}"#, Some("a")),
            (r#"{"choices":[{"message":{"content":"a\ud83d"}}]}"#, Some("a\u{fffd}")),
            (r#"{"choices":[{"delta":{"content":["a"]}}]}"#, None),
            (r#"{"choices":[{},{"delta":{"content":"b"}}]}"#, None),
            (r#"{"choices":[]}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(content(json).as_deref(), expected, "{json}");
        }
        let many = format!(r#"{{"choices":[{{"delta":{{"content":"a"}}}}{}]}}"#, ",{}".repeat(MAX_LIST));
        assert_eq!(content(&many), None, "what would take more memory");
    }

    #[test]
    fn a_comment_tells_the_place_in_the_line() {
        assert_eq!(place_in_line("waiting in line, 2 of 7"), Some((2, 7)));
        for other in ["keep-alive", "waiting in line", "waiting in line, x of 7", "answered by ann"] {
            assert_eq!(place_in_line(other), None, "{other}");
        }
    }
}
