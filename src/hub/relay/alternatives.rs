//! Another participant for a request that one has failed or refused: who may be tried, and the wait for one while all are
//! busy.

use std::io;
use std::sync::Arc;

use crate::hub::observe::metrics::HangUpPhase;
use crate::hub::relay::attempt::{Attempt, AttemptSummary};
use crate::hub::relay::client_response::{ClientResponse, cut_short};
use crate::hub::relay::delivery::Delivery;
use crate::hub::relay::failover::{Alternative, Failover, NextStep};
use crate::hub::relay::passthrough::{Collected, RelayedHead};
use crate::hub::relay::slots::{NoSlot, Slot};
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::hub::relay::verdict::Verdict;
use crate::proto::stage::Stage;
use crate::state::event::{Event, EventKind, Failure};
use crate::state::registry::{PickError, Picked};
use crate::state::selector::Refusal;

/// The most participants that are tried after the first.
const MAX_FAILOVERS: usize = 2;

impl<'s> Failover<'s> {
    /// Who else can serve the request, if the response calls for another attempt.
    pub(super) fn alternative(&mut self, picked: &Picked, verdict: Verdict) -> Alternative<'s> {
        if verdict == Verdict::Answer || !self.may_try_another(picked) {
            return Alternative::None;
        }
        match Slot::try_acquire(self.hub, self.request.code.as_str(), &self.want) {
            Ok(other) => Alternative::Free(Box::new(other)),
            Err(PickError::Refused(Refusal::Busy)) if !self.hub.timeouts.queue.is_zero() => Alternative::Busy,
            Err(_) => Alternative::None,
        }
    }

    /// Whether another participant may be tried after this one, which is not tried again: unless the request named it, or
    /// enough have been tried.
    pub(super) fn may_try_another(&mut self, picked: &Picked) -> bool {
        let others = self.want.tried.iter().filter(|&&serial| serial != picked.serial).count();
        let may = !picked.named && others < MAX_FAILOVERS;
        if may && others == self.want.tried.len() {
            self.want.tried.push(picked.serial);
        }
        may
    }

    /// Waits for a slot at a participant that has not been tried.
    pub(crate) fn wait_for_slot(&self, client: &mut ClientResponse<'_, '_>) -> Result<Slot<'s>, NoSlot> {
        Slot::acquire(self.hub, self.request.code.as_str(), &self.want, self.latest, client)
    }

    /// Ends an attempt whose provider has refused the request while all others are busy, and waits for one of them. The
    /// participant is free meanwhile: its refusal is held, and passed on if the wait is in vain.
    pub(super) fn wait_after_refusal(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        mut attempt: Box<Attempt<'s>>,
        mut upstream: UpstreamRequest,
        head: &RelayedHead,
    ) -> NextStep<'s> {
        let mut delivery = Delivery { attempt: &mut attempt, client, upstream: &mut upstream };
        let body = match delivery.collect() {
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

    /// The client disconnected while its request waited in the queue.
    pub(crate) fn abandon_queue(&mut self) -> io::Result<()> {
        self.hub.metrics.record_hang_up(HangUpPhase::Queue);
        self.last = Some(AttemptSummary::without_participant(Stage::Cancelled));
        let failure = Failure {
            nickname: String::new(),
            endpoint: String::new(),
            stage: Stage::Cancelled,
            error: "the client hung up while it waited in line".into(),
        };
        let kind = EventKind::LlmError(self.dispatch(Arc::default()), failure);
        self.hub.emit(&Event { at: self.hub.clock.now().wall, room: self.request.code.clone(), kind });
        Err(cut_short())
    }
}
