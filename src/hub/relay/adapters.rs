//! A chat's answer on its way to a client that asked for a response. What it becomes is `proto::translate`'s business.

use std::io;

use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::{ClientResponse, Headers, cut_short, stream_headers};
use crate::hub::relay::passthrough::Head;
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::proto::openai::Members;
use crate::proto::sse::Decoder;
use crate::proto::translate::{Answer, Skeleton};
use crate::tunnel::Piece;

/// What a value parsed from JSON may take for each byte of its text: an empty list is two bytes and a comma.
const PARSED: usize = 12;

const TOO_LONG: &str = "its answer is longer than the hub has memory for to put it into another form";

/// A response that is to come out of a chat.
pub struct ResponsesAdapter {
    id: String,
    answer: Answer,
}

impl ResponsesAdapter {
    /// For a request, as the client sent it.
    pub fn new(asked: &Members<'_>, key: &str, created_at: u64, model: &str) -> Self {
        let skeleton = Skeleton::new(asked, key, created_at);
        ResponsesAdapter { id: skeleton.id(), answer: Answer::new(skeleton, model) }
    }
}

/// Passes a successful chat on as a response. What it gives back is whether the client's connection is still good.
///
/// # Errors
/// How the answer ended before its time.
pub fn pass(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    head: Head,
    ResponsesAdapter { id, mut answer }: ResponsesAdapter,
) -> Result<io::Result<()>, UpstreamError> {
    run.remember(Some(id), true);
    let events = head.is_event_stream();
    let kind =
        |name: &str| !name.eq_ignore_ascii_case("content-type") && !name.eq_ignore_ascii_case("content-encoding");
    let mut headers: Headers = head.headers.iter().filter(|(name, _)| kind(name)).cloned().collect();
    if events && head.stream {
        return stream(run, out, upstream, &stream_headers(headers), &mut answer);
    }
    collect(run, out, upstream, events, &mut answer)?;
    run.complete(head.status);
    if head.stream {
        answer.end();
        let sent = out.open(200, &stream_headers(headers)).and_then(|()| out.write(answer.take_events().as_bytes()));
        return Ok(sent.map_err(|_| cut_short()).and_then(|()| out.finish()));
    }
    headers.push(("Content-Type".into(), "application/json; charset=utf-8".into()));
    Ok(out.respond(200, &headers, answer.into_response().as_bytes()))
}

fn stream(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    headers: &Headers,
    answer: &mut Answer,
) -> Result<io::Result<()>, UpstreamError> {
    out.open(200, headers)?;
    out.write(answer.take_events().as_bytes())?;
    let mut decoder = Decoder::new();
    loop {
        let mut bytes = Vec::new();
        let piece = match upstream.next("stream", out, &run.hub.timeouts) {
            Ok(piece) => piece,
            Err(end) => {
                // The client learns why, and then that the end is broken.
                answer.fail("the participant's answer broke off");
                let _ = out.write(answer.take_events().as_bytes());
                return Err(end);
            }
        };
        match piece {
            Piece::Chunk(chunk) => run.take(&mut bytes, chunk),
            Piece::End => break,
            _ => {}
        }
        answer.set_time(now(run));
        if let Err(end) = feed(&mut decoder, answer, &bytes, out) {
            upstream.cancel();
            answer.fail(TOO_LONG);
            let _ = out.write(answer.take_events().as_bytes());
            return Err(end);
        }
        if answer.has_failed() {
            upstream.cancel();
            break;
        }
        out.write(answer.take_events().as_bytes())?;
    }
    answer.set_time(now(run));
    answer.end();
    let broke = answer.has_failed();
    if broke {
        run.failed("stream", "the provider broke its answer off")
    } else {
        run.complete(200)
    }
    let sent = out.write(answer.take_events().as_bytes());
    Ok(sent.map_err(|_| cut_short()).and_then(|()| out.finish()))
}

/// Seconds since the epoch.
fn now(run: &Attempt<'_>) -> u64 {
    run.hub.clock.now().wall / 1000
}

/// Takes a piece of a stream of events, as long as there is memory for what it becomes.
fn feed(
    decoder: &mut Decoder,
    answer: &mut Answer,
    bytes: &[u8],
    out: &mut ClientResponse<'_, '_>,
) -> Result<(), UpstreamError> {
    // A chunk of a tunnel may hold a long event: what it is parsed into is counted before it is.
    let parsed = (decoder.held_bytes() + bytes.len()).saturating_mul(PARSED);
    hold(out, answer.weight().saturating_add(parsed))?;
    decoder.push(bytes);
    while let Some(event) = decoder.next_event() {
        answer.push(&event.data);
        hold(out, answer.weight().saturating_add(parsed))?;
    }
    hold(out, answer.weight() + decoder.held_bytes())
}

fn hold(out: &mut ClientResponse<'_, '_>, bytes: usize) -> Result<(), UpstreamError> {
    if out.hold(bytes) { Ok(()) } else { Err(UpstreamError::provider(TOO_LONG)) }
}

/// Takes in a whole answer, of either kind.
fn collect(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    events: bool,
    answer: &mut Answer,
) -> Result<(), UpstreamError> {
    let (mut body, mut decoder) = (Vec::new(), Decoder::new());
    loop {
        match upstream.next("stream", out, &run.hub.timeouts)? {
            Piece::Chunk(bytes) => run.take(&mut body, bytes),
            Piece::End => break,
            _ => {}
        }
        let held = match events {
            true => feed(&mut decoder, answer, &std::mem::take(&mut body), out),
            false => hold(out, body.len().saturating_mul(PARSED)),
        };
        if held.is_err() {
            upstream.cancel();
            return held;
        }
    }
    answer.set_time(now(run));
    let whole = if events { answer.is_whole() } else { answer.push_whole(&body) };
    if whole { Ok(()) } else { Err(UpstreamError::provider("the provider's answer is no chat completion")) }
}
