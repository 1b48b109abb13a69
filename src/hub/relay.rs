//! One request's way to its participant, and the answer's way back to the client, piece by piece.
//!
//! Hanging up is looked for while nothing comes: before the answer's head, and between its pieces.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::answer::{Plane, Refused};
use super::clock::millis;
use super::events::STREAM_HEADERS;
use super::inference::Place;
use super::shared::Shared;
use super::tunnels::Tunnel;
use crate::http::{Exchange, StreamBody};
use crate::proto::management::{ErrorCode, Metrics};
use crate::proto::tunnel::{Request, ToParticipant, encode};
use crate::proto::usage::UsageWatch;
use crate::state::event::{Dispatch, Event, EventKind, Failure};
use crate::tunnel::{Pending, Piece};

/// How often a waiting request looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much of a whole answer is kept back to send it with its length. A longer one goes out in chunks.
const WHOLE: usize = 256 << 10;

/// A request, ready to be sent.
pub struct Call {
    /// What the events say of it.
    pub dispatch: Dispatch,
    /// Such as `chat.completions.create`.
    pub operation: &'static str,
    /// Appended to the provider's base URL.
    pub path: &'static str,
    /// JSON.
    pub body: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// How a request ended before its time.
enum End {
    /// The tunnel or the provider failed.
    Failed { stage: String, error: String, code: ErrorCode },
    /// The client hung up.
    HungUp,
}

impl End {
    fn tunnel(stage: &str, error: impl ToString) -> Self {
        End::Failed { stage: stage.into(), error: error.to_string(), code: ErrorCode::ParticipantTunnelNotConnected }
    }
}

/// Sends a request to whoever was picked, and the answer to the client.
///
/// # Errors
/// When the client's connection is broken.
pub fn relay(shared: &Shared, exchange: &mut Exchange<'_>, place: Place<'_>, call: Call) -> io::Result<()> {
    exchange.add_header("X-Gambi-Participant", &header_text(&call.dispatch.participant_id));
    exchange.add_header("X-Gambi-Request-Id", &call.dispatch.request_id);
    let mut run = Run {
        shared,
        place,
        dispatch: call.dispatch.clone(),
        started: Instant::now(),
        usage: UsageWatch::default(),
        first: None,
        stream: call.stream,
    };
    run.tell(EventKind::LlmRequest(run.dispatch.clone()));
    let Some(tunnel) = shared.tunnels.get(run.place.picked.serial) else {
        return run.refuse(exchange, End::tunnel("dispatch", "the participant's tunnel has closed"));
    };
    match send(&tunnel, call) {
        Ok(pending) => run.answer(exchange, &Wait { tunnel, pending, request_id: run.dispatch.request_id.clone() }),
        Err(end) => run.refuse(exchange, end),
    }
}

/// Ids are any printable text, headers are ASCII.
fn header_text(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

fn send(tunnel: &Tunnel, call: Call) -> Result<Pending, End> {
    let body = RawValue::from_string(call.body).map_err(|e| End::tunnel("dispatch", e))?;
    let pending = tunnel.router.open(&call.dispatch.request_id).map_err(|e| End::tunnel("dispatch", e))?;
    let request = Request {
        request_id: &call.dispatch.request_id,
        operation: call.operation,
        method: "POST",
        path: call.path,
        headers: BTreeMap::from([("Content-Type", "application/json")]),
        body: Some(&body),
        stream: call.stream,
    };
    tunnel.writer.text(&encode(&ToParticipant::Request(request))).map_err(|e| End::tunnel("dispatch", e))?;
    Ok(pending)
}

/// A request that is waited for. Until the answer has come to its end, leaving it cancels it.
struct Wait {
    tunnel: Arc<Tunnel>,
    pending: Pending,
    request_id: String,
}

impl Wait {
    /// The next piece, unless the client hangs up first.
    fn next(&self, stage: &str, gone: &mut dyn FnMut() -> bool) -> Result<Piece, End> {
        loop {
            match self.pending.recv_timeout(LOOK_EVERY) {
                Ok(Piece::Error { stage: own, message }) => {
                    let stage = if own.is_empty() { stage.into() } else { own };
                    return Err(End::Failed { stage, error: message, code: ErrorCode::EndpointNotReachable });
                }
                Ok(Piece::Lost { reason }) => return Err(End::tunnel(stage, reason)),
                Ok(piece) => return Ok(piece),
                Err(_timeout) if gone() => return Err(End::HungUp),
                Err(_timeout) => {}
            }
        }
    }

    fn cancel(&self) {
        self.tunnel.cancel(&self.request_id);
    }
}

/// A request under way.
struct Run<'s> {
    shared: &'s Shared,
    place: Place<'s>,
    dispatch: Dispatch,
    started: Instant,
    usage: UsageWatch,
    first: Option<Instant>,
    /// Whether the client asked for a stream.
    stream: bool,
}

impl Run<'_> {
    fn answer(&mut self, exchange: &mut Exchange<'_>, wait: &Wait) -> io::Result<()> {
        let (status, headers) = match wait.next("dispatch", &mut || exchange.client_gone()) {
            Ok(Piece::Start { status, headers }) if status >= 200 => (status, headers),
            Ok(_) => {
                wait.cancel();
                return self.refuse(exchange, End::tunnel("dispatch", "the participant answered without a head"));
            }
            Err(end) => return self.give_up(exchange, wait, end),
        };
        let kind = content_type(&headers);
        let events = kind.map_or(self.stream, is_event_stream);
        let headers = passed_on(&headers);
        if status < 400 && (events || self.stream) {
            let headers = if events { stream_headers(headers) } else { headers };
            self.stream(exchange, wait, status, &headers, Vec::new())
        } else {
            self.whole(exchange, wait, status, &headers)
        }
    }

    /// Collects a short answer to send it with its length; a long one goes on as a stream of chunks.
    fn whole(&mut self, exchange: &mut Exchange<'_>, wait: &Wait, status: u16, headers: &Headers) -> io::Result<()> {
        let mut body = Vec::new();
        loop {
            match wait.next("stream", &mut || exchange.client_gone()) {
                Ok(Piece::Chunk(bytes)) => self.take(&mut body, bytes),
                Ok(Piece::Start { .. }) => {}
                Ok(_) => {
                    self.complete(status);
                    return exchange.respond(status, &borrowed(headers), &body);
                }
                Err(end) => return self.give_up(exchange, wait, end),
            }
            if body.len() > WHOLE {
                return self.stream(exchange, wait, status, headers, body);
            }
        }
    }

    /// Passes pieces on as they come; what is ready goes out together, what is alone goes at once.
    fn stream(
        &mut self,
        exchange: &mut Exchange<'_>,
        wait: &Wait,
        status: u16,
        headers: &Headers,
        mut piece: Vec<u8>,
    ) -> io::Result<()> {
        let Ok(mut stream) = exchange.stream(status, &borrowed(headers)) else {
            return self.broken(wait, End::HungUp);
        };
        loop {
            if !piece.is_empty() && stream.write(&piece).is_err() {
                return self.broken(wait, End::HungUp);
            }
            piece.clear();
            match self.ready(wait, &mut stream, &mut piece) {
                Ok(false) => {}
                Ok(true) => {
                    self.complete(status);
                    if !piece.is_empty() {
                        stream.write(&piece)?;
                    }
                    return stream.finish();
                }
                Err(end) => {
                    // What came before the break still belongs to the client.
                    let _ = stream.write(&piece);
                    return self.broken(wait, end);
                }
            }
        }
    }

    /// Waits for a piece and takes all others that are ready too. True when the answer is over.
    fn ready(&mut self, wait: &Wait, stream: &mut StreamBody<'_>, piece: &mut Vec<u8>) -> Result<bool, End> {
        loop {
            match wait.next("stream", &mut || stream.client_gone())? {
                Piece::Chunk(bytes) => self.take(piece, bytes),
                Piece::End => return Ok(true),
                _ => {}
            }
            if wait.pending.is_empty() || piece.len() > WHOLE {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, body: &mut Vec<u8>, bytes: Vec<u8>) {
        self.first.get_or_insert_with(Instant::now);
        self.usage.push(&bytes);
        if body.is_empty() { *body = bytes } else { body.extend_from_slice(&bytes) }
    }

    /// The answer is whole: the place is free, and the watchers are told, before the client has the last byte.
    fn complete(&mut self, status: u16) {
        self.place.free();
        let ttft = self.first.unwrap_or_else(Instant::now) - self.started;
        let metrics = Metrics::new(millis(ttft), millis(self.started.elapsed()), self.usage.usage());
        let kind = if status < 400 {
            EventKind::LlmComplete(self.dispatch.clone(), metrics)
        } else {
            self.failure("provider", format!("the provider answered {status}"))
        };
        self.tell(kind);
    }

    /// Gives up a request of which the client has seen nothing.
    fn give_up(&mut self, exchange: &mut Exchange<'_>, wait: &Wait, end: End) -> io::Result<()> {
        match end {
            End::HungUp => self.broken(wait, end),
            End::Failed { .. } => self.refuse(exchange, end),
        }
    }

    fn refuse(&mut self, exchange: &mut Exchange<'_>, end: End) -> io::Result<()> {
        self.place.free();
        let End::Failed { stage, error, code } = end else {
            return Err(hung_up());
        };
        self.tell(self.failure(&stage, error.clone()));
        Refused::new(code, format!("Failed to proxy request: {error}")).status(502).send(exchange, Plane::Inference)
    }

    /// Ends a request whose client has seen a part, or is gone: the connection closes without the last chunk.
    fn broken(&mut self, wait: &Wait, end: End) -> io::Result<()> {
        self.place.free();
        let kind = match end {
            End::HungUp => {
                wait.cancel();
                self.failure("cancelled", "the client hung up".to_owned())
            }
            End::Failed { error, .. } => self.failure("stream", error),
        };
        self.tell(kind);
        Err(hung_up())
    }

    fn failure(&self, stage: &str, error: String) -> EventKind {
        let profile = &self.place.picked.profile;
        let failure = Failure {
            nickname: profile.nickname.clone(),
            endpoint: profile.endpoint.clone(),
            stage: stage.to_owned(),
            error,
        };
        EventKind::LlmError(self.dispatch.clone(), failure)
    }

    fn tell(&self, kind: EventKind) {
        let at = self.shared.clock.now().wall;
        self.shared.watchers.tell(&Event { at, room: self.place.picked.code.clone(), kind });
    }
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the answer was cut short")
}

type Headers = Vec<(String, String)>;

fn borrowed(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn content_type(headers: &Headers) -> Option<&str> {
    let line = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    line.map(|(_, value)| value.trim())
}

fn is_event_stream(content_type: &str) -> bool {
    content_type.to_ascii_lowercase().starts_with("text/event-stream")
}

/// A stream's head: the contract's own lines, and whatever else the provider said.
fn stream_headers(passed_on: Headers) -> Headers {
    let own = |name: &str| STREAM_HEADERS.iter().any(|(own, _)| name.eq_ignore_ascii_case(own));
    let mut out: Headers = STREAM_HEADERS.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    out.extend(passed_on.into_iter().filter(|(name, _)| !own(name)));
    out
}

/// The provider's headers without those that concern its own connection (RFC 9110, section 7.6.1), its body's framing,
/// or what the hub says itself.
fn passed_on(headers: &Headers) -> Headers {
    const DROPPED: [&str; 12] = [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let dropped =
        |name: &str| DROPPED.contains(&name) || name.starts_with("access-control-") || name.starts_with("x-gambi-");
    headers.iter().filter(|(name, _)| !dropped(&name.to_ascii_lowercase())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_concerns_a_connection_stays_on_it() {
        let given = headers(&[
            ("Transfer-Encoding", "chunked"),
            ("content-type", "text/plain"),
            ("Date", "x"),
            ("X-Own", "1"),
            ("access-control-allow-origin", "http://evil"),
        ]);
        assert_eq!(passed_on(&given), headers(&[("content-type", "text/plain"), ("X-Own", "1")]));
    }

    #[test]
    fn a_streams_head_is_the_contracts() {
        let given = headers(&[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "private"),
            ("x-a", "1"),
        ]);
        assert!(content_type(&given).is_some_and(is_event_stream));
        let out = stream_headers(given);
        assert_eq!(out.len(), STREAM_HEADERS.len() + 1);
        assert_eq!(out[0].1, "text/event-stream");
    }

    #[test]
    fn ids_in_headers_are_ascii() {
        assert_eq!(header_text("größe-1"), "gr??e-1");
    }
}
