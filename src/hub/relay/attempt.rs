//! One try at a request: what is counted, and what watchers and the registry are told of it.

use std::time::Instant;

use crate::hub::context::HubContext;
use crate::hub::maintenance::clock::millis;
use crate::hub::observe::log::request::RequestLog;
use crate::hub::observe::metrics::HangUpPhase;
use crate::hub::relay::slots::Slot;
use crate::proto::management::Metrics;
use crate::proto::response_id::IdWatch;
use crate::proto::usage::{Usage, UsageWatch};
use crate::state::event::{Dispatch, Event, EventKind, Failure};
use crate::state::registry::Outcome;
use crate::state::stats::{Ended, Ending};

/// A request under way at one participant.
pub struct Attempt<'s> {
    pub(crate) hub: &'s HubContext,
    pub(crate) slot: Slot<'s>,
    dispatch: Dispatch,
    /// Whether watchers hear of it.
    told: bool,
    started: Instant,
    usage: UsageWatch,
    id_watch: IdWatch,
    first: Option<Instant>,
    /// Where it failed, once it has.
    stage: Option<String>,
}

/// What is told of a request's last try, once it is over.
pub struct AttemptSummary {
    participant: String,
    ttft_ms: Option<u64>,
    usage: Usage,
    stage: Option<String>,
}

impl AttemptSummary {
    /// There was none, for a reason.
    pub(crate) fn none(stage: &str) -> Self {
        AttemptSummary {
            participant: String::new(),
            ttft_ms: None,
            usage: Usage::default(),
            stage: Some(stage.to_owned()),
        }
    }

    /// Notes it for whoever tells of the request.
    pub(crate) fn note(self, log: &mut RequestLog) {
        log.participant = (!self.participant.is_empty()).then_some(self.participant);
        log.ttft_ms = self.ttft_ms;
        log.input_tokens = self.usage.input;
        log.output_tokens = self.usage.output;
        log.stage = self.stage;
    }
}

impl<'s> Attempt<'s> {
    pub(crate) fn new(hub: &'s HubContext, slot: Slot<'s>, dispatch: Dispatch, told: bool) -> Self {
        let started = Instant::now();
        let (usage, id_watch) = (UsageWatch::default(), IdWatch::Over);
        Attempt { hub, slot, dispatch, told, started, usage, id_watch, first: None, stage: None }
    }

    /// The request is on its way.
    pub(crate) fn emit_request(&self) {
        self.tell(EventKind::LlmRequest(self.dispatch.clone()));
    }

    /// From here on the answer's id is looked for.
    pub(crate) fn watch_for_id(&mut self, stream: bool) {
        self.id_watch = IdWatch::new(stream);
    }

    /// Counts a piece of the answer.
    pub(crate) fn take(&mut self, body: &mut Vec<u8>, bytes: Vec<u8>) {
        self.first.get_or_insert_with(Instant::now);
        self.usage.push(&bytes);
        let id = self.id_watch.push(&bytes);
        self.remember(id, false);
        if body.is_empty() { *body = bytes } else { body.extend_from_slice(&bytes) }
    }

    /// Remembers whose a response is, before its client can ask for it.
    pub(crate) fn remember(&self, id: Option<String>, translated: bool) {
        let picked = &self.slot.picked;
        if let Some(id) = id {
            self.hub.response_owners.remember(picked, &id, translated);
        }
    }

    /// The answer is whole: the place is free, and the watchers are told, before the client has the last byte.
    pub(crate) fn complete(&mut self, status: u16) {
        let ttft_ms = millis(self.first.unwrap_or_else(Instant::now) - self.started);
        if status >= 500 || status == 429 {
            self.note(Outcome::Failed);
        } else if status < 400 {
            self.note(Outcome::Served { ttft_ms });
        }
        self.slot.free();
        self.count(match status {
            ..400 => Ending::Complete,
            429 | 500.. => Ending::Failed,
            _ => Ending::Rejected,
        });
        let metrics = Metrics::new(ttft_ms, millis(self.started.elapsed()), self.usage.usage());
        if status < 400 {
            self.tell(EventKind::LlmComplete(self.dispatch.clone(), metrics));
        } else {
            self.tell_failure("provider", format!("the provider answered {status}"));
        }
    }

    /// The participant failed.
    pub(crate) fn failed(&mut self, stage: &str, error: &str) {
        self.note(Outcome::Failed);
        self.slot.free();
        self.count(Ending::Failed);
        self.tell_failure(stage, error.to_owned());
    }

    /// The client hung up.
    pub(crate) fn cancelled(&mut self) {
        self.slot.free();
        self.count(Ending::Cancelled);
        self.hub.metrics.hung_up(if self.first.is_some() { HangUpPhase::Answering } else { HangUpPhase::Waiting });
        self.tell_failure("cancelled", "the client hung up".to_owned());
    }

    /// What is told of it.
    pub(crate) fn summary(&self) -> AttemptSummary {
        let ttft_ms = self.first.map(|first| millis(first - self.started));
        let (participant, usage) = (self.slot.picked.id.to_string(), self.usage.usage());
        AttemptSummary { participant, ttft_ms, usage, stage: self.stage.clone() }
    }

    /// Counts it for those who ask for figures.
    fn count(&self, ending: Ending) {
        if self.told {
            let duration = self.started.elapsed();
            let ttft = self.first.map_or(duration, |first| first - self.started);
            let (protocol, usage) = (self.dispatch.protocol, self.usage.usage());
            self.hub.count(&self.slot.picked, &Ended { protocol, ending, ttft, duration, usage });
        }
    }

    /// Tells the registry how the participant does.
    pub(crate) fn note(&self, outcome: Outcome) {
        self.hub.registry().note(&self.slot.picked, outcome, self.hub.clock.now());
    }

    fn tell_failure(&mut self, stage: &str, error: String) {
        self.stage = Some(stage.to_owned());
        let profile = &self.slot.picked.profile;
        let failure = Failure {
            nickname: profile.nickname.clone(),
            endpoint: profile.endpoint.clone(),
            stage: stage.to_owned(),
            error,
        };
        self.tell(EventKind::LlmError(self.dispatch.clone(), failure));
    }

    fn tell(&self, kind: EventKind) {
        if self.told {
            let at = self.hub.clock.now().wall;
            self.hub.tell(&Event { at, room: self.slot.picked.code.clone(), kind });
        }
    }
}
