//! The bookkeeping of one attempt: its slot, its statistics, its events, and its outcome in the registry. What is sent to
//! the client is out of scope.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::hub::context::HubContext;
use crate::hub::observe::log::request::RequestLog;
use crate::hub::observe::metrics::HangUpPhase;
use crate::hub::observe::traces::{MAX_TEXT, trace_millis};
use crate::hub::relay::allowance::ExchangeSize;
use crate::hub::relay::content_watch::ContentWatch;
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::slots::Slot;
use crate::hub::relay::stream_error::{BrokenResponse, response_failed};
use crate::hub::relay::upstream::UpstreamFailure;
use crate::proto::management::Metrics;
use crate::proto::request_trace::AttemptTrace;
use crate::proto::response_id::IdWatch;
use crate::proto::stage::Stage;
use crate::proto::text::cut;
use crate::proto::time::millis;
use crate::proto::usage::{Tokens, Usage};
use crate::state::event::{Dispatch, Event, EventKind, Failure};
use crate::state::registry::Outcome;
use crate::state::stats::{Ended, Ending};
use crate::sync::lock;

/// Why an attempt of which the client has not waited for the end has failed.
const HUNG_UP: &str = "the client hung up";

/// When a request arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// For durations.
    pub time: Instant,
    /// On the hub's clock, in milliseconds since the epoch.
    pub wall: u64,
}

/// A request in flight at one participant.
pub struct Attempt<'s> {
    pub(crate) hub: &'s HubContext,
    pub(crate) slot: Slot<'s>,
    request: &'s RelayRequest<'s>,
    dispatch: Dispatch,
    /// When the request arrived.
    arrived: Arrival,
    started: Instant,
    /// Used by one thread at a time: by the one that reads the tunnel while the client's connection is lent to it.
    content: Arc<Mutex<ContentWatch>>,
    id_watch: IdWatch,
    /// Whether its response is translated: the adapter then tells failures itself.
    pub(crate) translated: bool,
    /// The response's id, where it is one of Responses.
    response_id: Option<String>,
    /// When the head of the response came, and its status.
    head: Option<(Instant, u16)>,
    /// When the first byte of the response's body came.
    first: Option<Instant>,
    /// The stage at which it failed, once it has.
    stage: Option<Stage>,
}

/// What the log records of a request's last attempt.
pub struct AttemptSummary {
    participant: String,
    ttft_ms: Option<u64>,
    usage: Usage,
    stage: Option<Stage>,
    /// The participant's model.
    model: Option<String>,
    tokens: Tokens,
}

impl AttemptSummary {
    /// Of a request that ended at `stage` before it had a participant.
    pub(crate) fn without_participant(stage: Stage) -> Self {
        AttemptSummary {
            participant: String::new(),
            ttft_ms: None,
            usage: Usage::default(),
            stage: Some(stage),
            model: None,
            tokens: Tokens::default(),
        }
    }

    /// Records it in the request's log record.
    pub(crate) fn record(self, log: &mut RequestLog) {
        log.participant = (!self.participant.is_empty()).then_some(self.participant);
        log.ttft_ms = self.ttft_ms;
        log.input_tokens = self.usage.input;
        log.output_tokens = self.usage.output;
        log.stage = self.stage;
        log.served_model = self.model;
        log.tokens = self.tokens;
    }
}

impl<'s> Attempt<'s> {
    pub(crate) fn new(
        hub: &'s HubContext,
        slot: Slot<'s>,
        request: &'s RelayRequest<'s>,
        dispatch: Dispatch,
        arrived: Arrival,
    ) -> Self {
        let started = Instant::now();
        let size = ExchangeSize::new(request.body_size(), request.kind.answers_in_text());
        let content = ContentWatch::new(size, matches!(request.kind.shape, Shape::Ollama(_)));
        Attempt {
            hub,
            slot,
            request,
            dispatch,
            arrived,
            started,
            content: Arc::new(Mutex::new(content)),
            id_watch: IdWatch::Over,
            translated: false,
            response_id: None,
            head: None,
            first: None,
            stage: None,
        }
    }

    /// How long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Emits the event that the request was dispatched.
    pub(crate) fn emit_request(&self) {
        self.emit(|| EventKind::LlmRequest(self.dispatch.clone()));
    }

    /// Records that the head of the final response has come.
    pub(crate) fn receive_head(&mut self, status: u16) {
        self.head = Some((Instant::now(), status));
    }

    /// Starts to look for the response's id in its body. `stream`: whether the body is an event stream.
    pub(crate) fn watch_for_id(&mut self, stream: bool) {
        self.id_watch = IdWatch::new(stream);
        if stream {
            lock(&self.content).watch_sequence();
        }
    }

    /// Appends a chunk of the response to `body`, and watches it.
    pub(crate) fn receive(&mut self, body: &mut Vec<u8>, bytes: Vec<u8>) {
        self.watch(&bytes);
        if body.is_empty() { *body = bytes } else { body.extend_from_slice(&bytes) }
    }

    /// Takes token counts and the response's id from a chunk of it.
    pub(crate) fn watch(&mut self, bytes: &[u8]) {
        self.first.get_or_insert_with(Instant::now);
        lock(&self.content).push(bytes);
        if let Some(id) = self.id_watch.push(bytes) {
            self.record_owner(Some(id.clone()), false);
            self.response_id = Some(id);
        }
    }

    /// Whether the response has said that nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        lock(&self.content).is_done()
    }

    /// What another thread watches chunks with that it has sent the client.
    pub(crate) fn content_watch(&self) -> Arc<Mutex<ContentWatch>> {
        self.content.clone()
    }

    /// Whether another thread may send the client chunks: neither the first one, whose time counts, nor one that may hold the
    /// response's id.
    pub(crate) fn may_lend(&self) -> bool {
        self.first.is_some() && matches!(self.id_watch, IdWatch::Over)
    }

    /// Records which participant made a response, before its client can request it. `translated`: whether it was made from
    /// a chat.
    pub(crate) fn record_owner(&self, id: Option<String>, translated: bool) {
        let picked = &self.slot.picked;
        if let Some(id) = id {
            self.hub.response_owners.record(picked, &id, translated);
        }
    }

    /// The event that tells that the response, as far as it was passed on, has failed. `None` where that is no stream of
    /// Responses, or has not told its id.
    pub(crate) fn response_failed(&self, message: &str) -> Option<String> {
        let response = BrokenResponse {
            id: self.response_id.as_deref()?,
            model: &self.slot.picked.model,
            sequence_number: lock(&self.content).next_sequence()?,
            created_at: self.hub.clock.now().wall / 1000,
        };
        Some(response_failed(&response, message))
    }

    /// Ends the attempt with a complete response. Called before the client is sent the last byte, so that its next request
    /// finds the slot free and the event emitted.
    pub(crate) fn complete(&mut self, status: u16) {
        let ttft_ms = millis(self.first.unwrap_or_else(Instant::now) - self.started);
        if status >= 500 || status == 429 {
            self.record_outcome(Outcome::Failed);
        } else if status < 400 {
            self.record_outcome(Outcome::Served { ttft_ms, streamed: self.request.stream });
        }
        self.slot.release();
        self.count_tokens();
        // A refused request may go on at another participant.
        if let Some(permit) = self.request.permit.as_ref().filter(|_| status < 400) {
            permit.end();
        }
        let ending = match status {
            ..400 => Ending::Complete,
            429 | 500.. => Ending::Failed,
            _ => Ending::Rejected,
        };
        let refusal = (status >= 400).then(|| format!("the provider answered {status}"));
        self.record_ended(ending, refusal.as_deref().map(|error| (&Stage::Provider, error)));
        match refusal {
            None => self.emit(|| {
                let metrics = Metrics::new(ttft_ms, millis(self.started.elapsed()), self.usage());
                EventKind::LlmComplete(self.served_dispatch(), metrics)
            }),
            Some(error) => self.emit_failure(Stage::Provider, error),
        }
    }

    /// Ends the attempt because the participant failed.
    pub(crate) fn fail(&mut self, stage: Stage, error: &str) {
        self.record_outcome(Outcome::Failed);
        self.break_off(Ending::Failed, stage, error);
    }

    /// Ends the attempt with a failure, which counts against the participant only if it was the cause.
    pub(crate) fn fail_with(&mut self, failure: &UpstreamFailure) {
        let stage = failure.stage.clone();
        if failure.by_participant {
            self.fail(stage, &failure.message);
        } else {
            self.break_off(Ending::Cancelled, stage, &failure.message);
        }
    }

    fn break_off(&mut self, ending: Ending, stage: Stage, error: &str) {
        self.slot.release();
        self.count_tokens();
        self.record_ended(ending, Some((&stage, error)));
        self.emit_failure(stage, error.to_owned());
    }

    /// Ends the attempt because the client disconnected.
    pub(crate) fn abandon(&mut self) {
        self.slot.release();
        self.count_tokens();
        self.record_ended(Ending::Cancelled, Some((&Stage::Cancelled, HUNG_UP)));
        self.hub.metrics.record_hang_up(if self.first.is_some() {
            HangUpPhase::Answering
        } else {
            HangUpPhase::Waiting
        });
        self.emit_failure(Stage::Cancelled, HUNG_UP.to_owned());
    }

    /// Ends the attempt because another participant, which was asked beside this one, has answered, or the client has disconnected.
    /// One that was silent for longer than it ever was has failed.
    pub(crate) fn lose(&mut self, was_silent: bool) {
        if was_silent {
            self.record_outcome(Outcome::Failed);
        }
        self.slot.release();
        let ending = if was_silent { Ending::Failed } else { Ending::Cancelled };
        let reason = if was_silent {
            "it was silent for too long: another participant, which was asked beside it, answered first"
        } else {
            "it was asked beside another participant, and is not needed any more"
        };
        self.record_ended(ending, Some((&Stage::Hedge, reason)));
        self.emit_failure(Stage::Hedge, reason.to_owned());
    }

    /// For the log.
    pub(crate) fn summary(&self) -> AttemptSummary {
        let ttft_ms = self.first.map(|first| millis(first - self.started));
        let (participant, usage) = (self.slot.picked.id.to_string(), self.usage());
        let (model, tokens) = (Some(self.slot.picked.model.clone()), self.tokens());
        AttemptSummary { participant, ttft_ms, usage, stage: self.stage.clone(), model, tokens }
    }

    /// Counts the tokens for the person who asked.
    fn count_tokens(&self) {
        if let Some(permit) = &self.request.permit {
            permit.add_tokens(self.tokens().usage, self.hub.clock.now());
        }
    }

    /// The tokens. An attempt without an answer has cost none.
    fn tokens(&self) -> Tokens {
        if self.first.is_some() { lock(&self.content).tokens() } else { Tokens::default() }
    }

    /// The token counts, as far as the answer has stated them.
    fn usage(&self) -> Usage {
        lock(&self.content).usage()
    }

    /// Counts the ended attempt in the statistics, and records it for the one who made the request. `failure`: the stage
    /// at which it failed, and why.
    fn record_ended(&self, ending: Ending, failure: Option<(&Stage, &str)>) {
        if self.request.kind.is_observed() {
            let duration = self.started.elapsed();
            let ttft = self.first.map_or(duration, |first| first - self.started);
            let (protocol, usage) = (self.dispatch.protocol, self.usage());
            let tokens = self.tokens().usage;
            self.hub.record_ended(&self.slot.picked, &Ended { protocol, ending, ttft, duration, usage }, tokens);
            self.trace(ending, failure, usage);
        }
    }

    fn trace(&self, ending: Ending, failure: Option<(&Stage, &str)>, usage: Usage) {
        let Arrival { time: arrived, wall } = self.arrived;
        let since = |time: Instant| trace_millis(time - arrived);
        let picked = &self.slot.picked;
        let attempt = AttemptTrace {
            participant_id: picked.id.as_str().to_owned(),
            model: cut(&picked.model, MAX_TEXT).to_owned(),
            outcome: ending.name().into(),
            stage: failure.map(|(stage, _)| cut(stage.as_str(), MAX_TEXT).to_owned()),
            error: failure.map(|(_, error)| cut(error, MAX_TEXT).to_owned()),
            status: self.head.map(|(_, status)| status),
            started_ms: since(self.started),
            head_ms: self.head.map(|(time, _)| since(time)),
            first_token_ms: self.first.map(since),
            ended_ms: trace_millis(arrived.elapsed()),
            input_tokens: usage.input,
            output_tokens: usage.output,
        };
        self.hub.traces.add_attempt(&self.request.traced(&self.dispatch.request_id, wall), attempt);
    }

    /// Records the outcome in the registry, where it steers the choice of participants.
    pub(crate) fn record_outcome(&self, outcome: Outcome) {
        self.hub.registry().record_outcome(&self.slot.picked, outcome, self.hub.clock.now());
    }

    fn emit_failure(&mut self, stage: Stage, error: String) {
        self.stage = Some(stage.clone());
        self.emit(|| {
            let profile = &self.slot.picked.profile;
            let (nickname, endpoint) = (profile.nickname.clone(), profile.endpoint.clone());
            let failure = Failure { nickname, endpoint, stage, error };
            EventKind::LlmError(self.served_dispatch(), failure)
        });
    }

    /// The dispatch with the participant's own model in place of the one that the client requested.
    fn served_dispatch(&self) -> Dispatch {
        Dispatch { model: self.slot.picked.model.as_str().into(), ..self.dispatch.clone() }
    }

    /// Emits an event, which is made only if anybody is told of it.
    fn emit(&self, kind: impl FnOnce() -> EventKind) {
        if self.request.kind.is_observed() && self.hub.has_listeners() {
            let at = self.hub.clock.now().wall;
            self.hub.emit(&Event { at, room: self.slot.picked.code.clone(), kind: kind() });
        }
    }
}
