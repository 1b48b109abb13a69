//! A participant's place: taken for one request, waited for in line, and given back once.

use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use crate::hub::context::Shared;
use crate::hub::random::random;
use crate::hub::relay::client_response::Out;
use crate::hub::relay::upstream::LOOK_EVERY;
use crate::hub::relay::wait_queue::Turn;
use crate::state::registry::{PickError, Picked};
use crate::state::selector::{Refusal, Want};

/// A participant's place, held for one request and given back once: when the answer is over, or on drop.
pub struct Place<'s> {
    shared: &'s Shared,
    /// Who was picked.
    pub picked: Picked,
    held: bool,
}

/// Why there is no place.
pub enum NoPlace {
    /// Nobody takes the request.
    Refused(PickError),
    /// The client did not wait for its turn.
    HungUp,
}

impl<'s> Place<'s> {
    /// A place that is free now.
    pub fn take(shared: &'s Shared, code: &str, want: &Want) -> Result<Self, PickError> {
        let picked = shared.registry().pick(code, want, shared.clock.now(), &mut random)?;
        Ok(Place { shared, picked, held: true })
    }

    /// Somebody to whom a request goes that takes no place.
    pub fn beside(shared: &'s Shared, picked: Picked) -> Self {
        Place { shared, picked, held: false }
    }

    /// A place that is free now, or becomes free in time.
    pub fn wait(shared: &'s Shared, code: &str, want: &Want, out: &mut Out<'_, '_>) -> Result<Self, NoPlace> {
        let waiting = {
            let mut registry = shared.registry();
            match registry.pick(code, want, shared.clock.now(), &mut random) {
                Ok(picked) => return Ok(Place { shared, picked, held: true }),
                Err(PickError::Refused(Refusal::Busy)) if !shared.patience.queue.is_zero() => {}
                Err(error) => return Err(NoPlace::Refused(error)),
            }
            let limit = shared.patience.queue_limit;
            let number = registry.wait(code, want.clone(), limit).map_err(NoPlace::Refused)?;
            let (sender, turn) = bounded(1);
            // Under the registry's lock: a turn can't come before there is somebody to tell.
            shared.lines.lock().insert(number, sender);
            InLine { shared, code, number, turn, since: Instant::now() }
        };
        let deadline = Instant::now() + shared.patience.queue;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match waiting.turn.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(Ok(picked)) => return Ok(Place { shared, picked, held: true }),
                Ok(Err(refusal)) => return Err(NoPlace::Refused(PickError::Refused(refusal))),
                Err(_) if out.look().is_err() => return Err(NoPlace::HungUp),
                Err(_) if left.is_zero() => return Err(NoPlace::Refused(PickError::Refused(Refusal::Busy))),
                Err(_) => {}
            }
        }
    }

    /// Gives the place back before the answer's last byte is sent: a client that has its answer may ask again at once.
    pub fn free(&mut self) {
        if std::mem::take(&mut self.held) {
            release(self.shared, &self.picked);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.free();
    }
}

fn release(shared: &Shared, picked: &Picked) {
    let mut registry = shared.registry();
    registry.release(picked);
    shared.settle(&mut registry);
}

/// Standing in line. Leaving it gives back a turn that came too late.
struct InLine<'s> {
    shared: &'s Shared,
    code: &'s str,
    number: u64,
    turn: Receiver<Turn>,
    since: Instant,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.shared.metrics.waited(self.since.elapsed());
        if self.shared.registry().leave_line(self.code, self.number) {
            self.shared.lines.lock().remove(&self.number);
        } else if let Ok(Ok(picked)) = self.turn.try_recv() {
            release(self.shared, &picked);
        }
    }
}
