//! A chat completion that is passed on as a response of the Responses API, whole or as a stream. The translation itself is
//! `proto::translate`.

use std::io;

use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::{ClientResponse, Headers, cut_short, stream_headers};
use crate::hub::relay::passthrough::ResponseHead;
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::proto::openai::Members;
use crate::proto::sse::Decoder;
use crate::proto::translate::{ResponseTemplate, ResponsesTranslator};
use crate::tunnel::Piece;

/// The most memory that parsed JSON takes for each byte of its text: an empty list is two bytes and a comma.
const PARSED_FACTOR: usize = 12;

const TOO_LONG: &str = "its answer is longer than the hub has memory for to put it into another form";

/// Turns one chat completion into a response.
pub struct ResponsesAdapter {
    id: String,
    answer: ResponsesTranslator,
}

impl ResponsesAdapter {
    /// `body` is the request's, as the client sent it; `key` makes the response's id; `created_at` is in seconds since the
    /// epoch; `model` is the participant's.
    pub fn new(body: &Members<'_>, key: &str, created_at: u64, model: &str) -> Self {
        let template = ResponseTemplate::new(body, key, created_at);
        ResponsesAdapter { id: template.id(), answer: ResponsesTranslator::new(template, model) }
    }
}

/// Passes a successful chat completion on as a response. The inner result says whether the client's connection can be kept.
///
/// # Errors
/// Why the response is incomplete.
pub fn forward(
    attempt: &mut Attempt<'_>,
    client: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    head: ResponseHead,
    ResponsesAdapter { id, mut answer }: ResponsesAdapter,
) -> Result<io::Result<()>, UpstreamError> {
    attempt.record_owner(Some(id), true);
    let events = head.is_event_stream();
    let passes =
        |name: &str| !name.eq_ignore_ascii_case("content-type") && !name.eq_ignore_ascii_case("content-encoding");
    let mut headers: Headers = head.headers.iter().filter(|(name, _)| passes(name)).cloned().collect();
    if events && head.stream {
        return stream(attempt, client, upstream, &stream_headers(headers), &mut answer);
    }
    collect(attempt, client, upstream, events, &mut answer)?;
    attempt.complete(head.status);
    if head.stream {
        answer.end();
        let sent =
            client.open(200, &stream_headers(headers)).and_then(|()| client.write(answer.take_events().as_bytes()));
        return Ok(sent.map_err(|_| cut_short()).and_then(|()| client.finish()));
    }
    headers.push(("Content-Type".into(), "application/json; charset=utf-8".into()));
    Ok(client.respond(200, &headers, answer.into_response().as_bytes()))
}

fn stream(
    attempt: &mut Attempt<'_>,
    client: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    headers: &Headers,
    answer: &mut ResponsesTranslator,
) -> Result<io::Result<()>, UpstreamError> {
    client.open(200, headers)?;
    client.write(answer.take_events().as_bytes())?;
    let mut decoder = Decoder::new();
    loop {
        let mut bytes = Vec::new();
        let piece = match upstream.next("stream", client, &attempt.hub.timeouts) {
            Ok(piece) => piece,
            Err(error) => {
                // An event says why, then the stream is cut short.
                answer.fail("the participant's answer broke off");
                let _ = client.write(answer.take_events().as_bytes());
                return Err(error);
            }
        };
        match piece {
            Piece::Chunk(chunk) => attempt.receive(&mut bytes, chunk),
            Piece::End => break,
            _ => {}
        }
        answer.set_time(now(attempt));
        if let Err(error) = feed(&mut decoder, answer, &bytes, client) {
            upstream.cancel();
            answer.fail(TOO_LONG);
            let _ = client.write(answer.take_events().as_bytes());
            return Err(error);
        }
        if answer.failure().is_some() {
            upstream.cancel();
            break;
        }
        client.write(answer.take_events().as_bytes())?;
    }
    answer.set_time(now(attempt));
    answer.end();
    if answer.failure().is_some() {
        attempt.fail("stream", "the provider broke its answer off");
    } else {
        attempt.complete(200);
    }
    let sent = client.write(answer.take_events().as_bytes());
    Ok(sent.map_err(|_| cut_short()).and_then(|()| client.finish()))
}

/// Seconds since the epoch.
fn now(attempt: &Attempt<'_>) -> u64 {
    attempt.hub.clock.now().wall / 1000
}

/// Translates some of an event stream, as long as there is memory for the result.
fn feed(
    decoder: &mut Decoder,
    answer: &mut ResponsesTranslator,
    bytes: &[u8],
    client: &mut ClientResponse<'_, '_>,
) -> Result<(), UpstreamError> {
    // A chunk may hold a long event: the memory for parsing it is reserved before it is parsed.
    let parsed = (decoder.held_bytes() + bytes.len()).saturating_mul(PARSED_FACTOR);
    reserve(client, answer.weight().saturating_add(parsed))?;
    decoder.push(bytes);
    while let Some(event) = decoder.next_event() {
        answer.push(&event.data);
        reserve(client, answer.weight().saturating_add(parsed))?;
    }
    reserve(client, answer.weight() + decoder.held_bytes())
}

fn reserve(client: &mut ClientResponse<'_, '_>, bytes: usize) -> Result<(), UpstreamError> {
    if client.reserve(bytes) { Ok(()) } else { Err(UpstreamError::provider(TOO_LONG)) }
}

/// Receives a complete chat completion, an event stream or a JSON object.
fn collect(
    attempt: &mut Attempt<'_>,
    client: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    events: bool,
    answer: &mut ResponsesTranslator,
) -> Result<(), UpstreamError> {
    let (mut body, mut decoder) = (Vec::new(), Decoder::new());
    loop {
        match upstream.next("stream", client, &attempt.hub.timeouts)? {
            Piece::Chunk(bytes) => attempt.receive(&mut body, bytes),
            Piece::End => break,
            _ => {}
        }
        let reserved = match events {
            true => feed(&mut decoder, answer, &std::mem::take(&mut body), client),
            false => reserve(client, body.len().saturating_mul(PARSED_FACTOR)),
        };
        if reserved.is_err() {
            upstream.cancel();
            return reserved;
        }
    }
    answer.set_time(now(attempt));
    let complete = if events { answer.is_whole() } else { answer.push_whole(&body) };
    if complete { Ok(()) } else { Err(UpstreamError::provider("the provider's answer is no chat completion")) }
}
