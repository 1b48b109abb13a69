//! The attempts at one request: at one participant, then at others if it fails before the client has been sent anything
//! of its response. If all others are busy, the request waits for one of them. What one attempt records is in `attempt`.

use std::io;
use std::time::Instant;

use serde_json::json;

use crate::http::Exchange;
use crate::hub::context::HubContext;
use crate::hub::observe::log::request::RequestLog;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::observe::metrics::HangUpPhase;
use crate::hub::relay::adapters::{self, Adapter};
use crate::hub::relay::attempt::{Attempt, AttemptSummary};
use crate::hub::relay::client_response::{ClientResponse, Headers, cut_short, stream_headers};
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::passthrough::{self, Collected, ResponseHead};
use crate::hub::relay::route_check::lacks_route;
use crate::hub::relay::slots::{NoSlot, Slot};
use crate::hub::relay::upstream::{OutgoingRequest, Transport, UpstreamError, UpstreamFailure, UpstreamRequest};
use crate::hub::respond::Rejection;
use crate::proto::management::{ErrorCode, Support};
use crate::proto::openai::{BadRequest, Members};
use crate::proto::operations;
use crate::proto::translate::{self, anthropic};
use crate::proto::web::header_text;
use crate::state::event::{Dispatch, Event, EventKind, Failure};
use crate::state::id::RoomCode;
use crate::state::registry::{Outcome, PickError, Picked};
use crate::state::room::Reach;
use crate::state::selector::{Refusal, Want};
use crate::tunnel::Piece;

/// The most participants that are tried after the first.
const MAX_FAILOVERS: usize = 2;
/// Statuses of a provider after which another participant is tried, if there is one.
const RETRY_STATUSES: [u16; 3] = [429, 502, 503];
/// Statuses that mean that the provider has no Responses API (PROTOCOL.md, "Responses on a chat-only provider").
const NO_RESPONSES_API: [u16; 3] = [404, 405, 501];

/// Whether a response sends its client to another address. A 304 (RFC 9110, section 15.4.5) does not.
fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status) && status != 304
}

/// A client that follows a redirect repeats all that it sent: the prompt, and the headers that hold the room's password.
fn redirect_error(status: u16) -> UpstreamError {
    UpstreamError::provider(&format!(
        "the provider answered {status}, a redirect, which is neither followed nor passed on: \
         give the participant the address that it leads to as its endpoint"
    ))
}

/// The attempts at one request.
pub struct Failover<'s, 'a> {
    hub: &'s HubContext,
    request: &'a RelayRequest<'a>,
    /// Names the request in events and to the client.
    id: String,
    /// Whom it is for.
    want: Want,
    /// When it has to have an answer: the first-byte timeout after it came.
    latest: Instant,
    /// Attempts so far.
    count: usize,
    /// Whether this participant's provider has turned out to lack the API, so that it is asked for a chat.
    as_chat: bool,
    /// The last attempt that has ended, for the log.
    last: Option<AttemptSummary>,
}

/// What follows an attempt.
enum NextStep<'s> {
    /// Nothing: the client has its response, or has disconnected.
    Done(io::Result<()>),
    /// An attempt at another participant.
    Other(Slot<'s>),
    /// An attempt at the same participant, through Chat Completions.
    AsChat(Slot<'s>),
}

impl<'s, 'a> Failover<'s, 'a> {
    pub(crate) fn new(hub: &'s HubContext, exchange: &Exchange<'_>, request: &'a RelayRequest<'a>) -> Self {
        let want = Want { model: request.model.clone(), need: request.kind.need(), tried: Vec::new() };
        let id = exchange.id().to_owned();
        let latest = Instant::now() + hub.timeouts.first_byte;
        Failover { hub, request, id, want, latest, count: 0, as_chat: false, last: None }
    }

    /// Makes attempts, the first one with this slot, until the client has a response or no participant is left.
    pub(crate) fn run(&mut self, client: &mut ClientResponse<'_, '_>, mut slot: Slot<'s>) -> io::Result<()> {
        loop {
            match self.attempt(client, slot) {
                NextStep::Done(result) => return result,
                NextStep::Other(other) => {
                    self.hub.metrics.record_failover();
                    self.as_chat = false;
                    slot = other;
                }
                NextStep::AsChat(mut same) => {
                    match self.request.kind.shape {
                        Shape::Responses => same.picked.wants_chat = true,
                        _ => same.picked.no_messages = true,
                    }
                    self.as_chat = true;
                    slot = same;
                }
            }
        }
    }

    fn attempt(&mut self, client: &mut ClientResponse<'_, '_>, slot: Slot<'s>) -> NextStep<'s> {
        self.count += 1;
        if self.request.kind.shape == Shape::CountTokens && slot.picked.no_messages {
            return NextStep::Done(self.estimate_tokens(client, &slot.picked));
        }
        let (body, adapter) = match self.body(&slot.picked) {
            Ok(body) => body,
            Err(bad) => return NextStep::Done(client.reject(bad.into())),
        };
        let dispatch = self.dispatch(slot.picked.id.to_string());
        let attempt = Attempt::new(self.hub, slot, dispatch, self.request.kind.shape != Shape::AboutResponse);
        if !self.as_chat {
            attempt.emit_request();
        }
        let outgoing_request = self.outgoing_request(body, adapter.is_some());
        let sent = transport(self.hub, &attempt.slot.picked)
            .and_then(|transport| UpstreamRequest::send(&*transport, outgoing_request));
        match sent {
            Ok(upstream) => self.relay_response(client, attempt, upstream, adapter),
            Err(error) => self.fail(client, attempt, None, error),
        }
    }

    /// The body for a participant, and the adapter for its response where the body was translated into a chat.
    fn body(&self, picked: &Picked) -> Result<(Option<String>, Option<Adapter>), BadRequest> {
        let kind = self.request.kind;
        let Some(original) = &self.request.body else { return Ok((None, None)) };
        let mut body = original.clone();
        kind.fill(&mut body, &picked.model, &picked.config)?;
        let key = format!("{}{:02x}", self.id.replace('-', ""), self.count);
        let model = &picked.model;
        match kind.shape {
            Shape::Responses if picked.wants_chat => {
                let created_at = self.hub.clock.now().wall / 1000;
                let adapter = Adapter::responses(original, &key, created_at, model);
                Ok((Some(translate::to_chat(&body)?), Some(adapter)))
            }
            Shape::Messages if picked.no_messages => {
                let chat = anthropic::to_chat(&body)?;
                let mut chat = Members::parse(chat.as_bytes())?;
                chat.fill_chat(&picked.config)?;
                Ok((Some(chat.to_json()), Some(Adapter::messages(&key, model, self.request.stream))))
            }
            _ => Ok((Some(body.to_json()), None)),
        }
    }

    /// Answers a count of tokens for a provider that has none of its own: an estimate, and marked as one.
    fn estimate_tokens(&self, client: &mut ClientResponse<'_, '_>, picked: &Picked) -> io::Result<()> {
        self.hub.registry().note(picked, Outcome::NoMessages, self.hub.clock.now());
        let body = self.request.body.as_ref().map(anthropic::to_chat).transpose();
        match body {
            Ok(chat) => {
                let count = anthropic::estimate_tokens(&chat.unwrap_or_default());
                let mut head = self.client_head(picked, 200, &Headers::new());
                head.headers.push(("Content-Type".into(), "application/json; charset=utf-8".into()));
                head.headers.push(("X-Gambi-Estimated".into(), "true".into()));
                client.respond(200, &head.headers, json!({ "input_tokens": count }).to_string().as_bytes())
            }
            Err(bad) => client.reject(bad.into()),
        }
    }

    fn outgoing_request(&self, body: Option<String>, chat: bool) -> OutgoingRequest<'_> {
        let (operation, path) = if chat {
            (operations::CHAT.name, operations::CHAT.path)
        } else {
            (self.request.kind.operation, self.request.path.as_str())
        };
        OutgoingRequest {
            // Later attempts need ids of their own: a tunnel may still carry pieces of the first one's response.
            id: if self.count == 1 { self.id.clone() } else { format!("{}.{}", self.id, self.count) },
            operation,
            method: self.request.kind.method,
            path,
            headers: &self.request.headers,
            hops: &self.request.hops,
            body,
            stream: self.request.stream,
        }
    }

    fn dispatch(&self, participant_id: String) -> Dispatch {
        Dispatch {
            request_id: self.id.clone(),
            participant_id,
            model: self.request.model.clone(),
            protocol: self.request.kind.protocol,
        }
    }

    /// Passes the provider's response on, unless its status calls for another attempt.
    fn relay_response(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut attempt: Attempt<'s>,
        mut upstream: UpstreamRequest,
        adapter: Option<Adapter>,
    ) -> NextStep<'s> {
        let (status, headers) = match self.await_head(client, &mut upstream) {
            Ok(head) => head,
            Err(error) => return self.fail(client, attempt, Some(upstream), error),
        };
        if adapter.is_none() && self.can_retry_as_chat(&attempt.slot.picked) {
            match self.lacks_api(client, &mut upstream, status, &headers) {
                Ok(false) => {}
                Ok(true) => {
                    upstream.cancel();
                    return NextStep::AsChat(attempt.slot);
                }
                Err(error) => return self.fail(client, attempt, Some(upstream), error),
            }
        }
        if RETRY_STATUSES.contains(&status) && self.may_try_another(&attempt.slot.picked) {
            match Slot::try_acquire(self.hub, &self.request.code, &self.want) {
                Ok(other) => {
                    upstream.cancel();
                    attempt.fail("provider", &format!("the provider answered {status}"));
                    return NextStep::Other(other);
                }
                Err(PickError::Refused(Refusal::Busy)) if !self.hub.timeouts.queue.is_zero() => {
                    let head = self.client_head(&attempt.slot.picked, status, &headers);
                    return self.wait_after_refusal(client, attempt, upstream, &head);
                }
                Err(_) => {}
            }
        }
        if self.as_chat && status < 400 {
            let responses = self.request.kind.shape == Shape::Responses;
            attempt.record_outcome(if responses { Outcome::NoResponses } else { Outcome::NoMessages });
        }
        if is_redirect(status) {
            upstream.cancel();
            return self.fail(client, attempt, Some(upstream), redirect_error(status));
        }
        let head = self.client_head(&attempt.slot.picked, status, &headers);
        let held_back = self.hold_back(client, &mut upstream, &head, adapter.is_some());
        match held_back.and_then(|()| self.pass_on(client, &mut attempt, &mut upstream, head, adapter)) {
            Ok(result) => {
                self.retain_summary(&attempt);
                NextStep::Done(result)
            }
            Err(error) => self.fail(client, attempt, Some(upstream), error),
        }
    }

    /// Waits for the head of the final response.
    fn await_head(
        &self,
        client: &mut ClientResponse<'_, '_>,
        upstream: &mut UpstreamRequest,
    ) -> Result<(u16, Headers), UpstreamError> {
        loop {
            match upstream.next("dispatch", client, &self.hub.timeouts)? {
                Piece::Start { status, headers } if (200..600).contains(&status) => return Ok((status, headers)),
                // Interim responses (RFC 9110, section 15.2) end at the participant.
                Piece::Start { status, .. } if (100..200).contains(&status) => {}
                _ => {
                    upstream.cancel();
                    return Err(UpstreamError::provider("the participant answered without a head"));
                }
            }
        }
    }

    /// Whether Chat Completions can take the place of an API that the provider lacks.
    fn can_retry_as_chat(&self, picked: &Picked) -> bool {
        let supports_chat = picked.profile.capabilities.chat_completions != Support::Unsupported;
        let translatable = matches!(self.request.kind.shape, Shape::Responses | Shape::Messages | Shape::CountTokens);
        translatable && supports_chat && !self.as_chat
    }

    /// Whether an answer shows that the provider lacks the API that was asked for: by its status, or, where that is a good one, by
    /// what has come.
    fn lacks_api(
        &self,
        client: &mut ClientResponse<'_, '_>,
        upstream: &mut UpstreamRequest,
        status: u16,
        headers: &Headers,
    ) -> Result<bool, UpstreamError> {
        if (200..300).contains(&status) {
            return lacks_route(client, upstream, &self.hub.timeouts, headers);
        }
        Ok(NO_RESPONSES_API.contains(&status))
    }

    /// The head for the client: the provider's, without what concerns its own connection, and the hub's headers.
    fn client_head(&self, picked: &Picked, status: u16, headers: &Headers) -> ResponseHead {
        let mut headers = passthrough::passed_on(headers);
        headers.push(("X-Gambi-Participant".into(), header_text(picked.id.as_str())));
        headers.push(("X-Gambi-Request-Id".into(), self.id.clone()));
        ResponseHead { status, headers, stream: self.request.stream }
    }

    /// Waits until a streamed response says something. Its head is passed on at once, as a stream's; that leaves the request
    /// free to go to another participant.
    fn hold_back(
        &self,
        client: &mut ClientResponse<'_, '_>,
        upstream: &mut UpstreamRequest,
        head: &ResponseHead,
        translated: bool,
    ) -> Result<(), UpstreamError> {
        let events = head.is_event_stream();
        if head.status >= 400 || !head.stream && (translated || !events) {
            return Ok(());
        }
        if events {
            let mut headers = head.headers.clone();
            headers.retain(|(name, _)| !translated || !name.eq_ignore_ascii_case("content-encoding"));
            client.open(head.status, &stream_headers(headers))?;
        }
        // Comments cannot be told from events where the body is compressed.
        let coded = head.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        upstream.hold_back(events && !coded, client, &self.hub.timeouts)
    }

    /// Passes the response on, through the adapter if the request was translated. An error response is never translated.
    fn pass_on(
        &self,
        client: &mut ClientResponse<'_, '_>,
        attempt: &mut Attempt<'s>,
        upstream: &mut UpstreamRequest,
        head: ResponseHead,
        adapter: Option<Adapter>,
    ) -> Result<io::Result<()>, UpstreamError> {
        if adapter.is_some() && head.status >= 400 && self.request.kind.shape == Shape::Messages {
            return adapters::forward_error(attempt, client, upstream, head);
        }
        if let Some(adapter) = adapter.filter(|_| head.status < 400) {
            return adapters::forward(attempt, client, upstream, head, adapter);
        }
        if self.request.kind.shape == Shape::Responses && head.status < 400 {
            attempt.watch_for_id(head.is_event_stream());
        }
        passthrough::forward(attempt, client, upstream, head)
    }

    /// Ends an attempt that failed, and says what follows.
    fn fail(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut attempt: Attempt<'s>,
        upstream: Option<UpstreamRequest>,
        error: UpstreamError,
    ) -> NextStep<'s> {
        let timed_out = matches!(error, UpstreamError::TimedOut { .. });
        let failure = error.into_failure();
        if let Some(upstream) = upstream.filter(|_| timed_out || failure.is_none()) {
            upstream.cancel();
        }
        let Some(UpstreamFailure { stage, message, code }) = failure else {
            attempt.abandon();
            self.retain_summary(&attempt);
            return NextStep::Done(Err(cut_short()));
        };
        if client.is_committed() {
            attempt.fail("stream", &message);
            self.retain_summary(&attempt);
            return NextStep::Done(Err(cut_short()));
        }
        attempt.fail(&stage, &message);
        self.retain_summary(&attempt);
        if !timed_out && self.may_try_another(&attempt.slot.picked) {
            match self.wait_for_slot(client) {
                Ok(other) => return NextStep::Other(other),
                Err(NoSlot::Disconnected) => return NextStep::Done(self.abandon_queue()),
                Err(NoSlot::Rejection(_)) => {}
            }
        }
        let status = if timed_out { 504 } else { 502 };
        let rejection = Rejection::new(code, format!("Failed to proxy request: {message}")).status(status);
        NextStep::Done(client.reject(rejection))
    }

    /// Whether requests are logged at all.
    fn is_logged(&self) -> bool {
        self.hub.log.is_enabled(LogLevel::Error)
    }

    /// Retains what the log records of an attempt that has ended.
    fn retain_summary(&mut self, attempt: &Attempt<'_>) {
        self.last = self.is_logged().then(|| attempt.summary());
    }

    /// Records the outcome for the log. `code` is the error that a stream ended with.
    pub(crate) fn record(self, exchange: &mut Exchange<'_>, code: Option<ErrorCode>) {
        let is_logged = self.is_logged();
        let log = RequestLog::of(exchange);
        log.code = code.or(log.code);
        if is_logged {
            log.model = Some(self.request.model.clone());
            log.protocol = Some(self.request.kind.protocol);
            if let Some(last) = self.last {
                last.record(log);
            }
        }
    }

    /// Whether another participant may be tried after this one, which is not tried again: unless the request named it, or
    /// enough have been tried.
    fn may_try_another(&mut self, picked: &Picked) -> bool {
        let may = !picked.named && self.want.tried.len() < MAX_FAILOVERS;
        if may {
            self.want.tried.push(picked.serial);
        }
        may
    }

    /// Waits for a slot at a participant that has not been tried.
    pub(crate) fn wait_for_slot(&self, client: &mut ClientResponse<'_, '_>) -> Result<Slot<'s>, NoSlot> {
        Slot::acquire(self.hub, &self.request.code, &self.want, self.latest, client)
    }

    /// Ends an attempt whose provider has refused the request while all others are busy, and waits for one of them. The
    /// participant is free meanwhile: its refusal is held, and passed on if the wait is in vain.
    fn wait_after_refusal(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut attempt: Attempt<'s>,
        mut upstream: UpstreamRequest,
        head: &ResponseHead,
    ) -> NextStep<'s> {
        let body = match passthrough::collect(&mut attempt, client, &mut upstream) {
            Ok(Collected { body, whole: true }) => body,
            Ok(_) => {
                upstream.cancel();
                let error = UpstreamError::provider(&format!("the provider answered {}, at length", head.status));
                return self.fail(client, attempt, Some(upstream), error);
            }
            Err(error) => return self.fail(client, attempt, Some(upstream), error),
        };
        drop(upstream);
        attempt.complete(head.status);
        self.retain_summary(&attempt);
        match self.wait_for_slot(client) {
            Ok(other) => NextStep::Other(other),
            Err(NoSlot::Disconnected) => NextStep::Done(self.abandon_queue()),
            Err(NoSlot::Rejection(_)) => NextStep::Done(client.respond(head.status, &head.headers, &body)),
        }
    }

    /// The client disconnected while its request waited in line.
    pub(crate) fn abandon_queue(&mut self) -> io::Result<()> {
        self.hub.metrics.record_hang_up(HangUpPhase::Queue);
        self.last = Some(AttemptSummary::without_participant("cancelled"));
        let failure = Failure {
            nickname: String::new(),
            endpoint: String::new(),
            stage: "cancelled".into(),
            error: "the client hung up while it waited in line".into(),
        };
        if let Some(room) = RoomCode::parse(&self.request.code) {
            let kind = EventKind::LlmError(self.dispatch(String::new()), failure);
            self.hub.emit(&Event { at: self.hub.clock.now().wall, room, kind });
        }
        Err(cut_short())
    }
}

/// The transport to a participant.
///
/// # Errors
/// When its tunnel has closed.
fn transport(hub: &HubContext, picked: &Picked) -> Result<Box<dyn Transport>, UpstreamError> {
    if picked.reach != Reach::Tunnel {
        return Ok(Box::new(hub.direct.transport(picked)));
    }
    match hub.tunnels.get(picked.serial) {
        Some(tunnel) => Ok(Box::new(tunnel)),
        None => Err(UpstreamError::tunnel("dispatch", "the participant's tunnel has closed")),
    }
}
