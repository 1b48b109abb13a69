//! The attempts at one request: at one participant, then at others if it fails before the client has been sent anything
//! of its response. If all others are busy, the request waits for one of them. What one attempt records is in `attempt`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::{BodyError, Exchange};
use crate::hub::context::HubContext;
use crate::hub::observe::log::request::{Hedge, RequestLog};
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::observe::traces::trace_millis;
use crate::hub::relay::adapters::Adapter;
use crate::hub::relay::attempt::{Arrival, Attempt, AttemptSummary};
use crate::hub::relay::client_response::{ClientResponse, cut_short};
use crate::hub::relay::delivery::Delivery;
use crate::hub::relay::operation::RelayRequest;
use crate::hub::relay::outgoing::{self, Body};
use crate::hub::relay::own_answer;
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::relay::provider_status::{is_redirect, redirect_error};
use crate::hub::relay::race::{Contender, Race, RaceEnd};
use crate::hub::relay::route_check::ResponseStart;
use crate::hub::relay::slots::{NoSlot, Slot};
use crate::hub::relay::upstream::{UpstreamError, UpstreamFailure, UpstreamRequest};
use crate::hub::relay::verdict::{self, TranslationReason, Verdict, judge};
use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::stage::Stage;
use crate::state::event::Dispatch;
use crate::state::registry::Outcome;
use crate::state::selector::Want;

/// A participant is silent for too long at this many times its slowest recent time to first token.
const HEDGE_FACTOR: u64 = 3;
/// The most memory, in bytes, that translating a request for a second participant may take.
const MAX_HEDGE_TRANSLATION_BYTES: usize = 1 << 20;
/// How often a request whose participant is silent for too long looks for another one that is free.
const HEDGE_INTERVAL: Duration = Duration::from_secs(1);

/// The attempts at one request.
pub struct Failover<'s> {
    pub(super) hub: &'s HubContext,
    pub(super) request: &'s RelayRequest<'s>,
    /// The request's id in events and for the client.
    pub(super) id: Arc<str>,
    /// The participants that it may go to.
    pub(super) want: Want,
    arrived: Arrival,
    /// When it must have an answer: the first-byte timeout after its arrival.
    pub(super) latest: Instant,
    /// Attempts so far.
    pub(super) count: usize,
    /// The participant, by its serial, that was asked beside one that was silent for too long.
    pub(super) hedge: Option<u64>,
    /// Whether that one answered first.
    pub(super) hedge_won: bool,
    /// When the request may look for such a participant again.
    pub(super) next_hedge: Instant,
    /// The last attempt that has ended, for the log.
    pub(super) last: Option<AttemptSummary>,
}

/// Why a participant was not sent the request.
enum NotSent<'s> {
    /// The request's body does not allow it.
    Bad(Box<Rejection>),
    /// The participant cannot be reached.
    Failed(Box<Attempt<'s>>, UpstreamError),
    /// There is nothing to send: the hub has the answer.
    Answered(Box<Slot<'s>>, String),
}

/// Another participant for a request that a provider has refused.
pub enum Alternative<'s> {
    /// It has a free slot.
    Free(Box<Slot<'s>>),
    /// All others are busy.
    Busy,
    /// There is none, or the response is final.
    None,
}

/// What follows an attempt.
pub enum NextStep<'s> {
    /// Nothing: the client has its response, or has disconnected.
    Done(io::Result<()>),
    /// An attempt at another participant.
    Other(Slot<'s>),
    /// An attempt at the same participant, through another API.
    Translate(Slot<'s>, TranslationReason),
}

impl<'s> Failover<'s> {
    pub(crate) fn new(hub: &'s HubContext, exchange: &Exchange<'_>, request: &'s RelayRequest<'s>) -> Self {
        let previous = request.conversation.as_ref().and_then(|conversation| hub.conversations.previous(conversation));
        let want = Want {
            model: request.model.clone(),
            need: request.kind.need(),
            caller: request.caller.clone(),
            priority: request.priority,
            tried: Vec::new(),
            previous,
            owner: request.owner(),
        };
        let id = exchange.id().clone();
        let now = Instant::now();
        Failover {
            hub,
            request,
            id,
            want,
            arrived: Arrival { time: now, wall: hub.clock.now().wall },
            latest: now + hub.timeouts.first_byte,
            count: 0,
            hedge: None,
            hedge_won: false,
            next_hedge: now,
            last: None,
        }
    }

    /// Makes attempts, the first one with this slot, until the client has a response or no participant is left.
    pub(crate) fn run(&mut self, client: &mut ClientResponse<'_, '_>, mut slot: Slot<'s>) -> io::Result<()> {
        let mut reason = None;
        loop {
            match self.attempt(client, slot, reason) {
                NextStep::Done(result) => return result,
                NextStep::Other(other) => {
                    self.hub.metrics.record_failover();
                    reason = None;
                    slot = other;
                }
                NextStep::Translate(mut same, why) => {
                    reason = Some(why);
                    // Of this request's copy.
                    if let Some(route) = self.request.kind.replaceable() {
                        same.picked.missing.insert(route);
                    }
                    slot = same;
                }
            }
        }
    }

    /// Sends the request to a participant, and passes on its response, or that of another one that answers first.
    fn attempt(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        slot: Slot<'s>,
        reason: Option<TranslationReason>,
    ) -> NextStep<'s> {
        let response_bytes = outgoing::response_translation_bytes(self.request, &slot.picked);
        let request_bytes = outgoing::request_translation_bytes(self.request, &slot.picked);
        if !client.reserve(response_bytes.saturating_add(request_bytes)) {
            return NextStep::Done(client.reject(BodyError::NoMemory.into()));
        }
        if own_answer::is_due(self.request, &slot.picked) {
            return NextStep::Done(own_answer::answer(self.hub, client, self.request, &self.id, &slot.picked));
        }
        let sent = self.send(slot, reason);
        // Less than before: always granted.
        let _ = client.reserve(response_bytes);
        let first = match sent {
            Ok(first) => first,
            Err(NotSent::Bad(bad)) => return NextStep::Done(client.reject(*bad)),
            Err(NotSent::Answered(slot, text)) => {
                return NextStep::Done(own_answer::send(client, self.request, &self.id, &slot.picked, text));
            }
            Err(NotSent::Failed(attempt, error)) => return self.fail(client, attempt, None, error),
        };
        let id = self.id.clone();
        let race = Race { hub: self.hub, request_id: &id, stream: self.request.stream };
        let outcome = race.run(client, first, &mut |only| self.hedge(only));
        match outcome {
            RaceEnd::Spoke(contender, head) => {
                self.hedge_won = self.hedge == Some(contender.attempt.slot.picked.serial);
                self.relay_response(client, contender, head)
            }
            RaceEnd::Failed(contender, error) if self.refuses_operation(&contender, &error) => {
                NextStep::Translate(contender.attempt.slot, TranslationReason::LacksRoute)
            }
            RaceEnd::Failed(contender, error) => self.fail(client, contender.attempt, Some(contender.upstream), error),
        }
    }

    fn refuses_operation(&self, contender: &Contender<'_>, error: &UpstreamError) -> bool {
        verdict::refuses_operation(self.request, &contender.attempt.slot.picked, contender.is_translated(), error)
    }

    /// Sends the request to the participant of a slot.
    fn send(&mut self, slot: Slot<'s>, reason: Option<TranslationReason>) -> Result<Contender<'s>, NotSent<'s>> {
        self.count += 1;
        let key = || format!("{}{:02x}", self.id.replace('-', ""), self.count);
        let now = Duration::from_millis(self.hub.clock.now().wall);
        let (body, adapter) = match outgoing::body(self.request, &slot.picked, &key, now).map_err(NotSent::Bad)? {
            Body::Request(body, adapter) => (body, adapter),
            Body::Nothing(text) => return Err(NotSent::Answered(Box::new(slot), text)),
        };
        let dispatch = self.dispatch(slot.picked.id.shared());
        let attempt = Box::new(Attempt::new(self.hub, slot, self.request, dispatch, self.arrived));
        if reason.is_none() {
            attempt.emit_request();
        }
        // Later attempts need ids of their own: a tunnel may still carry pieces of the first one's response.
        let id = if self.count == 1 { self.id.clone() } else { format!("{}.{}", self.id, self.count).into() };
        let translated = adapter.as_ref().map(Adapter::operation);
        let outgoing_request = outgoing::outgoing_request(self.request, id, body, translated);
        let sent = outgoing::transport(self.hub, &attempt.slot.picked)
            .and_then(|transport| UpstreamRequest::send(&*transport, outgoing_request));
        match sent {
            Ok(upstream) => Ok(Contender::new(attempt, upstream, adapter, reason)),
            Err(error) => Err(NotSent::Failed(attempt, error)),
        }
    }

    /// Sends the request to a second participant, once, if the only one that has it is silent for longer than it ever was
    /// lately, and another one is free.
    fn hedge(&mut self, only: &Contender<'s>) -> Option<Contender<'s>> {
        let picked = &only.attempt.slot.picked;
        let slowest_ms = if self.request.stream { picked.slowest_streamed_ms } else { picked.slowest_whole_ms };
        let usual = Duration::from_millis(slowest_ms.saturating_mul(HEDGE_FACTOR));
        let due = only.upstream.time_since_last_piece() >= self.hub.hedge_after_min?.max(usual);
        if !due || self.hedge.is_some() || Instant::now() < self.next_hedge || !self.may_try_another(picked) {
            return None;
        }
        self.next_hedge = Instant::now() + HEDGE_INTERVAL;
        let slot = Slot::try_acquire(self.hub, self.request.code.as_str(), &self.want).ok()?;
        // Memory for a translation was reserved for the first participant only.
        let translates = outgoing::request_translation_bytes(self.request, &slot.picked) > MAX_HEDGE_TRANSLATION_BYTES
            || outgoing::response_translation_bytes(self.request, &slot.picked) > 0 && only.adapter.is_none();
        if translates || own_answer::is_due(self.request, &slot.picked) {
            return None;
        }
        self.hedge = Some(slot.picked.serial);
        self.want.tried.push(slot.picked.serial);
        self.hub.metrics.record_hedge();
        match self.send(slot, None) {
            Ok(second) => Some(second),
            Err(NotSent::Bad(_) | NotSent::Answered(..)) => None,
            Err(NotSent::Failed(mut attempt, error)) => {
                attempt.fail_with(&error.into_failure()?);
                None
            }
        }
    }

    pub(super) fn dispatch(&self, participant_id: Arc<str>) -> Dispatch {
        Dispatch {
            request_id: self.id.clone(),
            participant_id,
            model: self.request.model.clone(),
            protocol: self.request.kind.protocol,
            caller: self.request.permit.as_ref().map(|permit| permit.name().to_string()),
        }
    }

    /// Passes the provider's response on, unless it calls for another attempt.
    fn relay_response(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut contender: Contender<'s>,
        head: RelayedHead,
    ) -> NextStep<'s> {
        let translated = contender.is_translated();
        let (picked, upstream) = (&contender.attempt.slot.picked, &mut contender.upstream);
        let mut start = ResponseStart { client, upstream, head: &head, timeouts: &self.hub.timeouts };
        let verdict = match judge(self.request, picked, translated, &mut start) {
            Ok(Verdict::Translate(reason)) => {
                contender.upstream.cancel();
                return NextStep::Translate(contender.attempt.slot, reason);
            }
            Ok(verdict) => verdict,
            Err(error) => return self.fail(client, contender.attempt, Some(contender.upstream), error),
        };
        match self.alternative(&contender.attempt.slot.picked, verdict) {
            Alternative::Free(other) => {
                contender.upstream.cancel();
                match verdict {
                    // No failure of the participant: it still serves its other models.
                    Verdict::LacksModel => contender.attempt.complete(head.status),
                    _ => contender.attempt.fail(Stage::Provider, &format!("the provider answered {}", head.status)),
                }
                NextStep::Other(*other)
            }
            Alternative::Busy => self.wait_after_refusal(client, contender.attempt, contender.upstream, &head),
            Alternative::None => self.deliver(client, contender, head),
        }
    }

    /// Passes a response on that is the answer.
    fn deliver(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        contender: Contender<'s>,
        head: RelayedHead,
    ) -> NextStep<'s> {
        let Contender { mut attempt, mut upstream, adapter, reason, .. } = contender;
        if reason == Some(TranslationReason::LacksRoute)
            && head.status < 400
            && let Some(route) = self.request.kind.replaceable()
        {
            attempt.record_outcome(Outcome::Lacks(route));
        }
        if is_redirect(head.status) {
            upstream.cancel();
            return self.fail(client, attempt, Some(upstream), redirect_error(head.status));
        }
        if let Some(conversation) = self.request.conversation.as_ref().filter(|_| head.status < 400) {
            // Before the client can send the next turn.
            self.hub.conversations.record(conversation, &attempt.slot.picked);
        }
        let mut delivery = Delivery { attempt: &mut attempt, client, upstream: &mut upstream };
        match delivery.pass_on(self.request, head, adapter) {
            Ok(result) => {
                self.retain_summary(&attempt);
                NextStep::Done(result)
            }
            Err(error) => self.fail(client, attempt, Some(upstream), error),
        }
    }

    /// Ends a failed attempt, and returns the next step.
    pub(super) fn fail(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut attempt: Box<Attempt<'s>>,
        upstream: Option<UpstreamRequest>,
        error: UpstreamError,
    ) -> NextStep<'s> {
        let timed_out = matches!(error, UpstreamError::TimedOut { .. });
        let failure = error.into_failure();
        if let Some(upstream) = upstream.filter(|_| timed_out || failure.is_none()) {
            upstream.cancel();
        }
        let Some(failure) = failure else {
            attempt.abandon();
            self.retain_summary(&attempt);
            return NextStep::Done(Err(cut_short()));
        };
        if client.is_committed() {
            let failure = UpstreamFailure { stage: Stage::Stream, ..failure };
            attempt.fail_with(&failure);
            self.retain_summary(&attempt);
            return NextStep::Done(self.break_off(client, &attempt, &failure.message, failure.code));
        }
        attempt.fail_with(&failure);
        self.retain_summary(&attempt);
        if !timed_out && self.may_try_another(&attempt.slot.picked) {
            match self.wait_for_slot(client) {
                Ok(other) => return NextStep::Other(other),
                Err(NoSlot::Disconnected) => return NextStep::Done(self.abandon_queue()),
                Err(NoSlot::Rejection(_)) => {}
            }
        }
        let status = if timed_out { 504 } else { 502 };
        let message = format!("Failed to proxy request: {}", failure.message);
        let rejection = Rejection::new(failure.code, message).status(status);
        NextStep::Done(client.reject(rejection))
    }

    /// Ends a stream of which some has been passed on. A translated one has told the failure itself.
    fn break_off(
        &self,
        client: &mut ClientResponse<'_, '_>,
        attempt: &Attempt<'_>,
        message: &str,
        code: ErrorCode,
    ) -> io::Result<()> {
        if attempt.translated {
            return Err(cut_short());
        }
        let message = format!("Failed to proxy request: {message}");
        let event = attempt.response_failed(&message);
        client.break_off(&event.unwrap_or_else(|| self.request.kind.error_form().event(&message, code)))
    }

    /// Records that no participant gets the request, for the one who made it.
    pub(crate) fn trace_refusal(&self, code: ErrorCode) {
        if !self.request.kind.is_observed() {
            return;
        }
        let request = self.request.traced(&self.id, self.arrived.wall);
        self.hub.traces.refuse(&request, code.as_str(), trace_millis(self.arrived.time.elapsed()));
    }

    /// Whether requests are logged or accounted for at all.
    fn is_logged(&self) -> bool {
        self.hub.log.is_enabled(LogLevel::Error) || self.hub.usage.is_on()
    }

    /// Retains what the log records of an attempt that has ended.
    pub(super) fn retain_summary(&mut self, attempt: &Attempt<'_>) {
        self.last = self.is_logged().then(|| attempt.summary());
    }

    /// Records the outcome for the log. `code` is the error that a stream ended with.
    pub(crate) fn record(self, exchange: &mut Exchange<'_>, code: Option<ErrorCode>) {
        let is_logged = self.is_logged();
        let log = RequestLog::of(exchange);
        log.code = code.or(log.code);
        log.is_use = self.request.kind.is_observed();
        if is_logged {
            log.model = Some(self.request.model.to_string());
            log.protocol = Some(self.request.kind.protocol);
            log.hedge = self.hedge.map(|_| if self.hedge_won { Hedge::Won } else { Hedge::Lost });
            if let Some(last) = self.last {
                last.record(log);
            }
        }
    }
}
