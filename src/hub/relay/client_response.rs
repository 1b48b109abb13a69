//! The client's side of a request: what it has been sent so far, whether it is still there, and the comment lines that
//! keep it waiting.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::budget::Share;
use crate::http::{Exchange, StreamBody};
use crate::hub::respond::STREAM_HEADERS;
use crate::hub::respond::{Plane, Rejection};
use crate::proto::management::ErrorCode;
use crate::proto::sse::KEEP_ALIVE;

/// A head's lines.
pub type Headers = Vec<(String, String)>;

/// The client hung up, or can't be written to.
#[derive(Debug)]
pub struct Disconnected;

/// The client's side of a request.
pub struct ClientResponse<'e, 'c> {
    state: State<'e, 'c>,
    /// How often a silent stream gets a comment; `None` where no stream was asked for.
    every: Option<Duration>,
    last: Instant,
    /// Whether the last event that was passed on is whole: a comment within one would tear it.
    between_events: bool,
    /// Whether a byte of the provider has been passed on.
    passed: bool,
    /// What an error event told, or would have told, once the status had been sent.
    told: Option<ErrorCode>,
    /// Memory that the answer takes while it is held back or put together.
    held: Share,
}

enum State<'e, 'c> {
    Silent(&'e mut Exchange<'c>),
    Open(StreamBody<'e>),
    Over,
}

impl<'e, 'c> ClientResponse<'e, 'c> {
    /// A client that has been sent nothing yet.
    pub fn new(exchange: &'e mut Exchange<'c>, every: Option<Duration>) -> Self {
        ClientResponse {
            held: exchange.share(),
            state: State::Silent(exchange),
            every,
            last: Instant::now(),
            between_events: true,
            passed: false,
            told: None,
        }
    }

    /// Says how many bytes of the answer are held now. False where the memory does not suffice for them.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        self.held.shrink_to(bytes as u64);
        self.held.grow_to(bytes as u64)
    }

    /// Whether the status has been sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// To be called while waiting: notices a client that hung up, and sends a comment where one is due.
    pub fn poll_disconnect(&mut self) -> Result<(), Disconnected> {
        let gone = match &mut self.state {
            State::Silent(exchange) => exchange.client_gone(),
            State::Open(stream) => stream.client_gone(),
            State::Over => true,
        };
        if gone {
            return Err(Disconnected);
        }
        if self.every.is_some_and(|every| self.last.elapsed() >= every) && self.between_events {
            self.open(200, &stream_headers(Headers::new()))?;
            self.send(KEEP_ALIVE.as_bytes())?;
        }
        Ok(())
    }

    /// Begins a stream, unless a comment has done so already.
    pub fn open(&mut self, status: u16, headers: &Headers) -> Result<(), Disconnected> {
        if self.is_open() {
            return Ok(());
        }
        let State::Silent(exchange) = std::mem::replace(&mut self.state, State::Over) else { return Err(Disconnected) };
        self.state = State::Open(exchange.stream(status, &borrowed(headers)).map_err(|_| Disconnected)?);
        Ok(())
    }

    /// The provider's own head has been sent: from here on nobody else can answer.
    pub fn passing(&mut self) {
        self.passed = true;
    }

    /// Whether something of the provider has been passed on.
    pub fn has_passed(&self) -> bool {
        self.passed
    }

    /// Passes a piece on.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Disconnected> {
        if piece.is_empty() {
            return Ok(());
        }
        self.passed = true;
        self.between_events = piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
        self.send(piece)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        self.last = Instant::now();
        match &mut self.state {
            State::Open(stream) => stream.write(bytes).map_err(|_| Disconnected),
            _ => Err(Disconnected),
        }
    }

    /// The stream is over as it should be.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Open(stream) => stream.finish(),
            _ => Ok(()),
        }
    }

    /// Sends a whole answer. To a stream that comments have begun it can only be told as an error.
    pub fn respond(&mut self, status: u16, headers: &Headers, body: &[u8]) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Silent(exchange) => exchange.respond(status, &borrowed(headers), body),
            State::Open(stream) => {
                let excerpt = String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned();
                let message = format!("The provider answered {status} without a stream: {excerpt}");
                self.state = State::Open(stream);
                self.tell_error(&message, ErrorCode::EndpointNotReachable)
            }
            State::Over => Err(cut_short()),
        }
    }

    /// Refuses the request: with a status, or, once that has been sent, with an error event and a broken end.
    pub fn refuse(&mut self, refused: Rejection) -> io::Result<()> {
        if self.is_open() {
            let (message, code) = refused.told();
            return self.tell_error(&message, code);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Silent(exchange) => refused.send(exchange, Plane::Inference),
            _ => Err(cut_short()),
        }
    }

    /// The error that a stream ended with which had begun as a good one.
    pub fn told(&self) -> Option<ErrorCode> {
        self.told
    }

    fn tell_error(&mut self, message: &str, code: ErrorCode) -> io::Result<()> {
        self.told = Some(code);
        if !self.passed {
            let event = json!({ "error": { "message": message, "code": code } });
            // The end is broken anyway, whether or not this arrives.
            let _ = self.send(format!("data: {event}\n\n").as_bytes());
        }
        Err(cut_short())
    }
}

/// What ends a connection without the last chunk.
pub fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the answer was cut short")
}

fn borrowed(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A stream's head: the contract's own lines, and whatever else the provider said.
pub fn stream_headers(passed_on: Headers) -> Headers {
    let own = |name: &str| STREAM_HEADERS.iter().any(|(own, _)| name.eq_ignore_ascii_case(own));
    let mut out: Headers = STREAM_HEADERS.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    out.extend(passed_on.into_iter().filter(|(name, _)| !own(name)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_head_is_the_contracts() {
        let given = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "private"), ("x-a", "1")];
        let out = stream_headers(given.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec());
        assert_eq!(out.len(), STREAM_HEADERS.len() + 1);
        assert_eq!(out[0].1, "text/event-stream");
    }
}
