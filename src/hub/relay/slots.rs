//! A participant's place: taken for one request, waited for in line, and given back once.

use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use crate::hub::context::HubContext;
use crate::hub::random::random;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::upstream::POLL_INTERVAL;
use crate::hub::relay::wait_queue::Grant;
use crate::state::registry::{PickError, Picked};
use crate::state::selector::{Refusal, Want};

/// A participant's place, held for one request and given back once: when the answer is over, or on drop.
pub struct Slot<'s> {
    hub: &'s HubContext,
    /// Who was picked.
    pub picked: Picked,
    held: bool,
}

/// Why there is no place.
pub enum NoSlot {
    /// Nobody takes the request.
    Rejection(PickError),
    /// The client did not wait for its turn.
    HungUp,
}

impl<'s> Slot<'s> {
    /// A place that is free now.
    pub fn take(hub: &'s HubContext, code: &str, want: &Want) -> Result<Self, PickError> {
        let picked = hub.registry().pick(code, want, hub.clock.now(), &mut random)?;
        Ok(Slot { hub, picked, held: true })
    }

    /// Somebody to whom a request goes that takes no place.
    pub fn beside(hub: &'s HubContext, picked: Picked) -> Self {
        Slot { hub, picked, held: false }
    }

    /// A place that is free now, or becomes free in time.
    pub fn wait(
        hub: &'s HubContext,
        code: &str,
        want: &Want,
        out: &mut ClientResponse<'_, '_>,
    ) -> Result<Self, NoSlot> {
        let waiting = {
            let mut registry = hub.registry();
            match registry.pick(code, want, hub.clock.now(), &mut random) {
                Ok(picked) => return Ok(Slot { hub, picked, held: true }),
                Err(PickError::Refused(Refusal::Busy)) if !hub.timeouts.queue.is_zero() => {}
                Err(error) => return Err(NoSlot::Rejection(error)),
            }
            let limit = hub.timeouts.queue_limit;
            let number = registry.wait(code, want.clone(), limit).map_err(NoSlot::Rejection)?;
            let (sender, turn) = bounded(1);
            // Under the registry's lock: a turn can't come before there is somebody to tell.
            hub.wait_queue.lock().insert(number, sender);
            Waiter { hub, code, number, turn, since: Instant::now() }
        };
        let deadline = Instant::now() + hub.timeouts.queue;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match waiting.turn.recv_timeout(left.min(POLL_INTERVAL)) {
                Ok(Ok(picked)) => return Ok(Slot { hub, picked, held: true }),
                Ok(Err(refusal)) => return Err(NoSlot::Rejection(PickError::Refused(refusal))),
                Err(_) if out.poll_disconnect().is_err() => return Err(NoSlot::HungUp),
                Err(_) if left.is_zero() => return Err(NoSlot::Rejection(PickError::Refused(Refusal::Busy))),
                Err(_) => {}
            }
        }
    }

    /// Gives the place back before the answer's last byte is sent: a client that has its answer may ask again at once.
    pub fn free(&mut self) {
        if std::mem::take(&mut self.held) {
            release(self.hub, &self.picked);
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.free();
    }
}

fn release(hub: &HubContext, picked: &Picked) {
    let mut registry = hub.registry();
    registry.release(picked);
    hub.grant_waiting(&mut registry);
}

/// Standing in line. Leaving it gives back a turn that came too late.
struct Waiter<'s> {
    hub: &'s HubContext,
    code: &'s str,
    number: u64,
    turn: Receiver<Grant>,
    since: Instant,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.hub.metrics.waited(self.since.elapsed());
        if self.hub.registry().leave_queue(self.code, self.number) {
            self.hub.wait_queue.lock().remove(&self.number);
        } else if let Ok(Ok(picked)) = self.turn.try_recv() {
            release(self.hub, &picked);
        }
    }
}
