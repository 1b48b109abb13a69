//! Slots: permits for one of a participant's concurrent requests. Acquired at once or after a wait, released exactly once.
//! Which participant is picked is the registry's decision.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::hub::context::HubContext;
use crate::hub::random::random;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::wait_queue::Grant;
use crate::state::registry::{PickError, Picked};
use crate::state::selector::{Refusal, Want};

/// How often a waiting request looks whether its client is still there. Each one looks for itself, so with a long line these
/// looks are what the hub does most.
const CLIENT_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A permit for one request at a participant, released once: by [`Slot::release`] or on drop.
pub struct Slot<'s> {
    hub: &'s HubContext,
    /// The participant.
    pub picked: Picked,
    held: bool,
}

/// Why no slot was acquired.
pub enum NoSlot {
    /// No participant takes the request.
    Rejection(PickError),
    /// The client disconnected while it waited.
    Disconnected,
}

impl<'s> Slot<'s> {
    /// A slot that is free now.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_acquire(hub: &'s HubContext, code: &str, want: &Want) -> Result<Self, PickError> {
        let picked = hub.registry().pick(code, want, hub.clock.now(), &mut random)?;
        Ok(Slot { hub, picked, held: true })
    }

    /// For a request that takes no slot of its participant.
    pub fn unlimited(hub: &'s HubContext, picked: Picked) -> Self {
        Slot { hub, picked, held: false }
    }

    /// A slot that is free now, or becomes free within the queue timeout and before `latest`.
    ///
    /// # Errors
    /// When there is none, or the client disconnects.
    pub fn acquire(
        hub: &'s HubContext,
        code: &str,
        want: &Want,
        latest: Instant,
        client: &mut ClientResponse<'_, '_>,
    ) -> Result<Self, NoSlot> {
        let waiter = {
            let mut registry = hub.registry();
            match registry.pick(code, want, hub.clock.now(), &mut random) {
                Ok(picked) => return Ok(Slot { hub, picked, held: true }),
                Err(PickError::Refused(Refusal::Busy)) if !hub.timeouts.queue.is_zero() => {}
                Err(error) => return Err(NoSlot::Rejection(error)),
            }
            let limit = hub.timeouts.queue_limit;
            let queued = registry.wait(code, want.clone(), limit, hub.clock.now()).map_err(NoSlot::Rejection)?;
            if let Some(evicted) = queued.evicted {
                hub.wait_queue.grant(evicted, Err(PickError::QueueFull));
            }
            let number = queued.number;
            // Under the registry's lock: no grant can be made before its channel is in place.
            let grant = hub.wait_queue.add(number);
            Waiter { hub, code, number, grant, since: Instant::now() }
        };
        let deadline = latest.min(Instant::now() + hub.timeouts.queue);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match waiter.grant.recv_timeout(left.min(CLIENT_POLL_INTERVAL)) {
                Ok(Ok(picked)) => return Ok(Slot { hub, picked, held: true }),
                Ok(Err(error)) => return Err(NoSlot::Rejection(error)),
                Err(_) if client.poll_waiting(|| waiter.place()).is_err() => return Err(NoSlot::Disconnected),
                Err(_) if left.is_zero() => return Err(NoSlot::Rejection(PickError::Refused(Refusal::Busy))),
                Err(_) => {}
            }
        }
    }

    /// Releases the slot, unless that has been done. To be called before the response's last byte is sent, so that the
    /// client's next request finds it free.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            release(self.hub, &self.picked);
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

fn release(hub: &HubContext, picked: &Picked) {
    let mut registry = hub.registry();
    registry.release(picked, hub.clock.now());
    hub.grant_waiting(&mut registry);
}

/// A request in the queue. Dropping it leaves the queue, and releases a slot that was granted too late.
struct Waiter<'s> {
    hub: &'s HubContext,
    code: &'s str,
    number: u64,
    grant: Receiver<Grant>,
    since: Instant,
}

impl Waiter<'_> {
    /// Its place in the line, for a comment.
    fn place(&self) -> String {
        match self.hub.registry().place(self.code, self.number, self.hub.clock.now()) {
            Some((place, count)) => format!("waiting in line, {place} of {count}"),
            None => "waiting in line".into(),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.hub.metrics.record_wait(self.since.elapsed());
        if self.hub.registry().leave_queue(self.code, self.number, self.hub.clock.now()) {
            self.hub.wait_queue.remove(self.number);
        } else if let Ok(Ok(picked)) = self.grant.try_recv() {
            release(self.hub, &picked);
        }
    }
}
