//! The client's side of a request: what has been sent so far, whether the client is still connected, and the comment lines
//! that keep a silent stream alive. Where the response comes from is out of scope.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::Share;
use crate::http::{BodyEnd, Exchange, LentStream, StreamBody};
use crate::hub::relay::headers::{Headers, content_type, is_coded};
use crate::hub::relay::stream_error::ErrorForm;
use crate::hub::respond::STREAM_HEADERS;
use crate::hub::respond::{Plane, Rejection};
use crate::proto::api_answer::has_type;
use crate::proto::management::ErrorCode;
use crate::proto::sse::ANSWERED_BY;

/// The comment that keeps a silent stream alive. It ends in one newline, since an event follows: clients that take every
/// blank line for the end of an event (openai-go) would otherwise see an empty one.
const COMMENT: &str = "keep-alive";

/// The header that names the participant.
pub const PARTICIPANT: &str = "X-Gambi-Participant";

/// The client disconnected, or its connection cannot be written to.
#[derive(Debug)]
pub struct Disconnected;

/// The response to a client, as far as it has been sent.
pub struct ClientResponse<'e, 'c> {
    state: SendState<'e, 'c>,
    /// What another thread may send with, once the stream is open.
    lent: Option<Arc<LentStream>>,
    /// The pause after which a stream is sent a comment; `None` if the client did not request a stream.
    comment_interval: Option<Duration>,
    last_sent: Instant,
    /// How the body ends so far, without the hub's comments.
    end: BodyEnd,
    /// Whether the provider's head or a byte of its body has been sent.
    committed: bool,
    /// The participant that the client was told last, as the header has it.
    participant: Option<String>,
    /// How the stream tells an error, and whether its head allows that: it is of that form, and not compressed.
    error_form: ErrorForm,
    takes_events: bool,
    /// The error that the stream ended with, after the status had been sent.
    error_code: Option<ErrorCode>,
    /// Memory of the part of the response that is buffered or being translated.
    buffered: Share,
}

/// How far the response has been sent.
enum SendState<'e, 'c> {
    /// Nothing has been sent.
    Unsent(&'e mut Exchange<'c>),
    /// The status and headers have been sent.
    Open(StreamBody<'e>),
    /// The response is complete, or the connection is broken.
    Ended,
}

impl<'e, 'c> ClientResponse<'e, 'c> {
    /// Nothing sent yet. See the field for `comment_interval`.
    pub fn new(exchange: &'e mut Exchange<'c>, comment_interval: Option<Duration>, error_form: ErrorForm) -> Self {
        ClientResponse {
            buffered: exchange.share(),
            state: SendState::Unsent(exchange),
            lent: None,
            comment_interval,
            last_sent: Instant::now(),
            end: BodyEnd::default(),
            committed: false,
            participant: None,
            error_form,
            takes_events: false,
            error_code: None,
        }
    }

    /// Reserves memory for `bytes` of buffered response in total. False if the budget does not suffice.
    #[must_use]
    pub fn reserve(&mut self, bytes: usize) -> bool {
        self.buffered.shrink_to(bytes as u64);
        self.buffered.grow_to(bytes as u64)
    }

    /// Releases what [`ClientResponse::reserve`] has reserved.
    pub fn release(&mut self) {
        self.buffered.shrink_to(0);
    }

    /// Whether the status has been sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, SendState::Open(_))
    }

    /// How the client's stream is made.
    pub fn form(&self) -> ErrorForm {
        self.error_form
    }

    /// The headers of the client's stream, with these of the provider.
    pub fn stream_headers(&self, provider: Headers) -> Headers {
        stream_headers(self.error_form.content_type(), provider)
    }

    /// Checks that the client is still connected, and sends what is unsent, and a comment if one is due. Called while waiting.
    ///
    /// # Errors
    /// When it is not.
    pub fn poll_disconnect(&mut self) -> Result<(), Disconnected> {
        self.poll_waiting(|| COMMENT.to_owned())
    }

    /// As [`ClientResponse::poll_disconnect`], with the comment's text, which has no newline.
    ///
    /// # Errors
    /// When the client is not connected.
    pub fn poll_waiting(&mut self, comment: impl FnOnce() -> String) -> Result<(), Disconnected> {
        let disconnected = match &mut self.state {
            SendState::Unsent(exchange) => exchange.client_gone(),
            SendState::Open(stream) => stream.client_gone() || stream.flush().is_err(),
            SendState::Ended => true,
        };
        if disconnected {
            return Err(Disconnected);
        }
        if self.comment_interval.is_some_and(|interval| self.last_sent.elapsed() >= interval)
            && self.is_between_events()
        {
            self.open(200, &self.stream_headers(Headers::new()))?;
            self.send(&[format!(": {}\n", comment())])?;
        }
        Ok(())
    }

    /// Begins with this status and these headers, unless a comment has caused that already: then another one names the participant.
    /// They are sent with the first piece, or by [`ClientResponse::flush`].
    ///
    /// # Errors
    /// When the client's connection is broken.
    pub fn open(&mut self, status: u16, headers: &Headers) -> Result<(), Disconnected> {
        let participant = headers.iter().find(|(name, _)| name == PARTICIPANT).map(|(_, id)| id.clone());
        let renamed = participant.is_some() && participant != self.participant;
        if renamed {
            self.participant = participant;
        }
        if self.is_open() {
            let can_comment = self.takes_events && self.is_between_events() && self.error_form.begins_early();
            return match &self.participant {
                Some(id) if renamed && can_comment => self.send(&[format!(": {ANSWERED_BY}{id}\n")]),
                _ => Ok(()),
            };
        }
        let SendState::Unsent(exchange) = std::mem::replace(&mut self.state, SendState::Ended) else {
            return Err(Disconnected);
        };
        self.takes_events = has_type(content_type(headers), self.error_form.content_type()) && !is_coded(headers);
        let mut stream = exchange.stream(status, &borrowed(headers));
        self.lent = stream.lend();
        self.state = SendState::Open(stream);
        Ok(())
    }

    /// Marks that the provider's head has been sent: no other participant can answer from here on.
    pub fn commit(&mut self) {
        self.committed = true;
    }

    /// Whether the provider's head or a byte of its body has been sent.
    pub fn is_committed(&self) -> bool {
        self.committed
    }

    /// What another thread can send pieces of the body with; `None` where that is not possible.
    pub fn lend(&self) -> Option<Arc<LentStream>> {
        self.lent.clone()
    }

    /// Records that another thread has sent pieces of the body, the last one at this time.
    pub fn record_sent(&mut self, at: Instant) {
        self.last_sent = at;
        if let Some(lent) = &self.lent {
            self.end.push(lent.take_end().bytes());
        }
    }

    /// Whether the last event that was sent is complete: a comment inside an event would corrupt it.
    fn is_between_events(&self) -> bool {
        let end = self.end.bytes();
        end.is_empty() || end.ends_with(self.error_form.boundary().as_bytes()) || end.ends_with(b"\r\n\r\n")
    }

    /// Sends some of the response's body.
    ///
    /// # Errors
    /// When the client's connection is broken.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Disconnected> {
        self.write_all(&[piece])
    }

    /// Sends some pieces of the response's body together.
    ///
    /// # Errors
    /// When the client's connection is broken.
    pub fn write_all(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<(), Disconnected> {
        if pieces.iter().all(|piece| piece.as_ref().is_empty()) {
            return self.flush();
        }
        self.committed = true;
        pieces.iter().for_each(|piece| self.end.push(piece.as_ref()));
        self.send(pieces)
    }

    fn send(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<(), Disconnected> {
        self.last_sent = Instant::now();
        match &mut self.state {
            SendState::Open(stream) => stream.write_all(pieces).map_err(|_| Disconnected),
            _ => Err(Disconnected),
        }
    }

    /// Sends what of a stream has been left unsent: its head, or what another thread could not send.
    ///
    /// # Errors
    /// When the client's connection is broken.
    pub fn flush(&mut self) -> Result<(), Disconnected> {
        match &mut self.state {
            SendState::Open(stream) => stream.flush().map_err(|_| Disconnected),
            _ => Ok(()),
        }
    }

    /// Ends a complete stream with these pieces.
    ///
    /// # Errors
    /// When the client's connection is broken.
    pub fn finish(&mut self, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
        match std::mem::replace(&mut self.state, SendState::Ended) {
            SendState::Open(stream) => stream.finish_with(pieces),
            _ => Err(cut_short()),
        }
    }

    /// Sends a complete response. A stream that comments have begun can only be sent it as an error event.
    ///
    /// # Errors
    /// When the client's connection is broken, or has to be closed.
    pub fn respond(&mut self, status: u16, headers: &Headers, body: &[u8]) -> io::Result<()> {
        match std::mem::replace(&mut self.state, SendState::Ended) {
            SendState::Unsent(exchange) => exchange.respond(status, &borrowed(headers), body),
            SendState::Open(stream) => {
                self.state = SendState::Open(stream);
                let code = ErrorCode::EndpointNotReachable;
                if status >= 400 {
                    self.error_code = Some(code);
                    return self.break_off(&self.error_form.event_of_answer(status, body, code));
                }
                let excerpt = String::from_utf8_lossy(&body[..body.len().min(2000)]);
                self.send_error(&format!("The provider answered {status} without a stream: {excerpt}"), code)
            }
            SendState::Ended => Err(cut_short()),
        }
    }

    /// Rejects the request: with a status, or, once that has been sent, with an error event and a stream without its last
    /// chunk.
    ///
    /// # Errors
    /// When the client's connection is broken, or has to be closed.
    pub fn reject(&mut self, rejection: Rejection) -> io::Result<()> {
        if self.is_open() {
            let (message, code) = rejection.into_message();
            return self.send_error(&message, code);
        }
        match std::mem::replace(&mut self.state, SendState::Ended) {
            SendState::Unsent(exchange) => rejection.send(exchange, Plane::Inference),
            _ => Err(cut_short()),
        }
    }

    /// The error that a stream ended with after status 200 had been sent.
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.error_code
    }

    fn send_error(&mut self, message: &str, code: ErrorCode) -> io::Result<()> {
        self.error_code = Some(code);
        self.break_off(&self.error_form.event(message, code))
    }

    /// Ends a stream that has failed: with an event that says so, and without its last chunk. An event that was cut off is
    /// closed first, so that the two do not become one.
    ///
    /// # Errors
    /// Always: the connection has to be closed.
    pub fn break_off(&mut self, event: &str) -> io::Result<()> {
        // The stream is cut short whether or not this can be written.
        let _ = if self.takes_events {
            let boundary = if self.is_between_events() { "" } else { self.error_form.boundary() };
            self.send(&[format!("{boundary}{event}")])
        } else {
            self.flush()
        };
        Err(cut_short())
    }
}

/// The error that closes a connection without the last chunk.
pub fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the answer was cut short")
}

fn borrowed(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The headers of a stream with this content type: the hub's own (PROTOCOL.md, "Inference plane"), then the provider's
/// others.
fn stream_headers(content_type: &str, provider: Headers) -> Headers {
    let own = |name: &str| STREAM_HEADERS.iter().any(|(own, _)| name.eq_ignore_ascii_case(own));
    let mut out: Headers = STREAM_HEADERS.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    out[0].1 = content_type.to_owned();
    out.extend(provider.into_iter().filter(|(name, _)| !own(name)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_head_is_that_of_the_protocol() {
        let given = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "private"), ("x-a", "1")];
        let out = stream_headers("text/event-stream", given.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec());
        assert_eq!(out.len(), STREAM_HEADERS.len() + 1);
        assert_eq!(out[0].1, "text/event-stream");
    }
}
