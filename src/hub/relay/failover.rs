//! The attempts at one request: at one participant, and at others where the first fails before it has answered.

use std::io;

use crate::http::Exchange;
use crate::hub::context::HubContext;
use crate::hub::observe::log::request::RequestLog;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::relay::adapters::{self, ResponsesAdapter};
use crate::hub::relay::attempt::{Attempt, AttemptSummary};
use crate::hub::relay::client_response::{ClientResponse, Headers, cut_short};
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::passthrough;
use crate::hub::relay::slots::Slot;
use crate::hub::relay::upstream::{OutgoingRequest, Transport, UpstreamError, UpstreamRequest};
use crate::hub::respond::Rejection;
use crate::proto::management::{ErrorCode, Support};
use crate::proto::openai::BadRequest;
use crate::proto::operations;
use crate::proto::translate::to_chat;
use crate::proto::web::header_text;
use crate::state::event::{Dispatch, Event, EventKind, Failure};
use crate::state::id::RoomCode;
use crate::state::registry::{Outcome, Picked};
use crate::state::room::Reach;
use crate::state::selector::Want;
use crate::tunnel::Piece;

/// Participants that are tried after the first.
const OTHERS: usize = 2;
/// Answers after which another participant is asked, if there is one.
const TRY_ANOTHER: [u16; 3] = [429, 502, 503];
/// Answers by which a provider says that it has no Responses API (WIRE.md, "Responses on a chat-only provider").
const NO_RESPONSES: [u16; 3] = [404, 405, 501];

/// Whether an answer sends its client elsewhere. A 304 (RFC 9110, section 15.4.5) does not.
fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status) && status != 304
}

/// Clients follow redirects with all that they sent: the prompt, and in headers of their own the room's password.
fn redirected(status: u16) -> String {
    format!(
        "the provider answered {status}, a redirect, which is neither followed nor passed on: \
         give the participant the address that it leads to as its endpoint"
    )
}

/// The tries at one request.
pub struct Failover<'s, 'a> {
    hub: &'s HubContext,
    ask: &'a RelayRequest<'a>,
    /// Names the request in events and to the client.
    id: String,
    pub(crate) want: Want,
    /// How many there were.
    count: usize,
    /// Whether the provider has turned out to have no Responses API.
    learned: bool,
    /// What is told of the last that is over.
    last: Option<AttemptSummary>,
}

/// What follows a try.
enum Next<'s> {
    /// Nothing: the client has its answer, or is gone.
    Over(io::Result<()>),
    /// A try at another participant.
    Other(Slot<'s>),
    /// The same participant, asked for a chat.
    AsChat(Slot<'s>),
}

impl<'s, 'a> Failover<'s, 'a> {
    pub(crate) fn new(hub: &'s HubContext, exchange: &Exchange<'_>, ask: &'a RelayRequest<'a>) -> Self {
        let want = Want { model: ask.model.clone(), need: ask.kind.need(), tried: Vec::new() };
        Failover { hub, ask, id: exchange.id().to_owned(), want, count: 0, learned: false, last: None }
    }

    pub(crate) fn run(&mut self, out: &mut ClientResponse<'_, '_>, mut slot: Slot<'s>) -> io::Result<()> {
        loop {
            match self.attempt(out, slot) {
                Next::Over(result) => return result,
                Next::Other(other) => {
                    self.hub.metrics.failed_over();
                    self.learned = false;
                    slot = other;
                }
                Next::AsChat(mut same) => {
                    same.picked.wants_chat = true;
                    self.learned = true;
                    slot = same;
                }
            }
        }
    }

    fn attempt(&mut self, out: &mut ClientResponse<'_, '_>, slot: Slot<'s>) -> Next<'s> {
        self.count += 1;
        let (body, translation) = match self.body(&slot.picked) {
            Ok(body) => body,
            Err(bad) => return Next::Over(out.refuse(bad.into())),
        };
        let dispatch = self.dispatch(slot.picked.id.to_string());
        let run = Attempt::new(self.hub, slot, dispatch, self.ask.kind.shape != Shape::AboutResponse);
        if !self.learned {
            run.emit_request();
        }
        let transport = transport(self.hub, &run.slot.picked);
        match transport.and_then(|transport| {
            UpstreamRequest::send(&*transport, self.outgoing_request(body, translation.is_some()))
        }) {
            Ok(upstream) => self.answer(out, run, upstream, translation),
            Err(end) => self.failed(out, run, None, end),
        }
    }

    /// The body for a participant, and how its answer is to be put back where it was put into a chat.
    fn body(&self, picked: &Picked) -> Result<(Option<String>, Option<ResponsesAdapter>), BadRequest> {
        let kind = self.ask.kind;
        let Some(asked) = &self.ask.body else { return Ok((None, None)) };
        let mut body = asked.clone();
        kind.fill(&mut body, &picked.profile.model, &picked.config)?;
        if kind.shape != Shape::Responses || !picked.wants_chat {
            return Ok((Some(body.to_json()), None));
        }
        let key = format!("{}{:02x}", self.id.replace('-', ""), self.count);
        let translation = ResponsesAdapter::new(asked, &key, self.hub.clock.now().wall / 1000, &picked.profile.model);
        Ok((Some(to_chat(&body)?), Some(translation)))
    }

    fn outgoing_request(&self, body: Option<String>, chat: bool) -> OutgoingRequest<'_> {
        let (operation, path) = if chat {
            (operations::CHAT.name, operations::CHAT.path)
        } else {
            (self.ask.kind.operation, self.ask.path.as_str())
        };
        OutgoingRequest {
            // Later tries need names of their own on the wire, where the first may still be answered.
            id: if self.count == 1 { self.id.clone() } else { format!("{}.{}", self.id, self.count) },
            operation,
            method: self.ask.kind.method,
            path,
            headers: &self.ask.headers,
            hops: &self.ask.hops,
            body,
            stream: self.ask.stream,
        }
    }

    fn dispatch(&self, participant_id: String) -> Dispatch {
        Dispatch {
            request_id: self.id.clone(),
            participant_id,
            model: self.ask.model.clone(),
            protocol: self.ask.kind.protocol,
        }
    }

    fn answer(
        &mut self,
        out: &mut ClientResponse<'_, '_>,
        mut run: Attempt<'s>,
        mut upstream: UpstreamRequest,
        translation: Option<ResponsesAdapter>,
    ) -> Next<'s> {
        let (status, headers) = match self.head(out, &mut upstream) {
            Ok(head) => head,
            Err(end) => return self.failed(out, run, Some(upstream), end),
        };
        if self.ask.kind.shape == Shape::Responses && translation.is_none() && NO_RESPONSES.contains(&status) {
            let chats = run.slot.picked.profile.capabilities.chat_completions != Support::Unsupported;
            if chats && !self.learned {
                upstream.cancel();
                return Next::AsChat(run.slot);
            }
        }
        if TRY_ANOTHER.contains(&status)
            && let Some(other) = self.another(&run.slot.picked)
        {
            upstream.cancel();
            run.failed("provider", &format!("the provider answered {status}"));
            return Next::Other(other);
        }
        if self.learned && status < 400 {
            run.note(Outcome::NoResponses);
        }
        if is_redirect(status) {
            upstream.cancel();
            return self.failed(out, run, Some(upstream), UpstreamError::provider(&redirected(status)));
        }
        let mut headers = passthrough::passed_on(&headers);
        headers.push(("X-Gambi-Participant".into(), header_text(run.slot.picked.id.as_str())));
        headers.push(("X-Gambi-Request-Id".into(), self.id.clone()));
        let head = passthrough::Head { status, headers, stream: self.ask.stream };
        let passed = match translation.filter(|_| status < 400) {
            Some(translation) => adapters::pass(&mut run, out, &mut upstream, head, translation),
            None => {
                if self.ask.kind.shape == Shape::Responses && status < 400 {
                    run.watch_for_id(head.is_event_stream());
                }
                passthrough::pass(&mut run, out, &mut upstream, head)
            }
        };
        match passed {
            Ok(result) => {
                self.remember(&run);
                Next::Over(result)
            }
            Err(end) => self.failed(out, run, Some(upstream), end),
        }
    }

    fn head(
        &self,
        out: &mut ClientResponse<'_, '_>,
        upstream: &mut UpstreamRequest,
    ) -> Result<(u16, Headers), UpstreamError> {
        loop {
            match upstream.next("dispatch", out, &self.hub.timeouts)? {
                Piece::Start { status, headers } if (200..600).contains(&status) => return Ok((status, headers)),
                // Interim answers (RFC 9110, section 15.2) are the provider's and its participant's own affair.
                Piece::Start { status, .. } if (100..200).contains(&status) => {}
                _ => {
                    upstream.cancel();
                    return Err(UpstreamError::provider("the participant answered without a head"));
                }
            }
        }
    }

    /// What follows a try that failed.
    fn failed(
        &mut self,
        out: &mut ClientResponse<'_, '_>,
        mut run: Attempt<'s>,
        upstream: Option<UpstreamRequest>,
        end: UpstreamError,
    ) -> Next<'s> {
        let timed_out = matches!(end, UpstreamError::TimedOut { .. });
        if let Some(upstream) = upstream.filter(|_| timed_out || matches!(end, UpstreamError::HungUp)) {
            upstream.cancel();
        }
        let Some((stage, error, code)) = end.told() else {
            run.cancelled();
            self.remember(&run);
            return Next::Over(Err(cut_short()));
        };
        if out.has_passed() {
            run.failed("stream", &error);
            self.remember(&run);
            return Next::Over(Err(cut_short()));
        }
        run.failed(&stage, &error);
        self.remember(&run);
        if !timed_out && let Some(other) = self.another(&run.slot.picked) {
            return Next::Other(other);
        }
        let status = if timed_out { 504 } else { 502 };
        Next::Over(out.refuse(Rejection::new(code, format!("Failed to proxy request: {error}")).status(status)))
    }

    /// Whether somebody tells of requests.
    fn is_told(&self) -> bool {
        self.hub.log.tells(LogLevel::Error)
    }

    /// Keeps what is told of a try that is over.
    fn remember(&mut self, run: &Attempt<'_>) {
        self.last = self.is_told().then(|| run.summary());
    }

    /// Notes what came of it.
    pub(crate) fn note(self, exchange: &mut Exchange<'_>, told: Option<ErrorCode>) {
        let is_told = self.is_told();
        let log = RequestLog::of(exchange);
        log.code = told.or(log.code);
        if is_told {
            log.model = Some(self.ask.model.clone());
            log.protocol = Some(self.ask.kind.protocol);
            if let Some(last) = self.last {
                last.note(log);
            }
        }
    }

    /// Another participant that is free now, unless the request named this one or enough have been tried.
    fn another(&mut self, picked: &Picked) -> Option<Slot<'s>> {
        if picked.named || self.want.tried.len() >= OTHERS {
            return None;
        }
        self.want.tried.push(picked.serial);
        Slot::take(self.hub, &self.ask.code, &self.want).ok()
    }

    /// The client hung up before anybody was asked.
    pub(crate) fn emit_queue_abandoned(&mut self) {
        self.last = Some(AttemptSummary::none("cancelled"));
        let failure = Failure {
            nickname: String::new(),
            endpoint: String::new(),
            stage: "cancelled".into(),
            error: "the client hung up while it waited in line".into(),
        };
        if let Some(room) = RoomCode::parse(&self.ask.code) {
            let kind = EventKind::LlmError(self.dispatch(String::new()), failure);
            self.hub.tell(&Event { at: self.hub.clock.now().wall, room, kind });
        }
    }
}

/// The way to a participant.
///
/// # Errors
/// When its tunnel has just closed.
fn transport(hub: &HubContext, picked: &Picked) -> Result<Box<dyn Transport>, UpstreamError> {
    if picked.reach != Reach::Tunnel {
        return Ok(Box::new(hub.direct.transport(picked)));
    }
    match hub.tunnels.get(picked.serial) {
        Some(tunnel) => Ok(Box::new(tunnel)),
        None => Err(UpstreamError::tunnel("dispatch", "the participant's tunnel has closed")),
    }
}
