//! The monitor thread: marks who has fallen silent, closes tunnels that have, lets dead tokens go, and removes what nobody
//! needs any more.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::hub::context::Shared;
use crate::proto::tunnel::CLOSE_TIMEOUT;
use crate::tunnel::LostReason;

const TICK: Duration = Duration::from_millis(500);

/// Runs until `stop` ends.
pub fn run(shared: &Arc<Shared>, stop: &Receiver<()>) {
    while stop.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        tick(shared);
    }
}

fn tick(shared: &Arc<Shared>) {
    shared.change(|registry, now| ((), registry.expire(now)));
    let gone = shared.change(|registry, now| registry.expire_members(shared.offline_life, now));
    gone.iter().for_each(|&serial| shared.forget(serial, "The participant was gone for too long"));
    let deleted = shared.change(|registry, now| registry.expire_rooms(shared.lives, now));
    deleted.iter().for_each(|room| shared.clear_away(room));
    shared.metrics.tidy(shared.clock.now().mono);
    for tunnel in shared.tunnels.silent(shared.clock.now()) {
        tunnel.close(CLOSE_TIMEOUT, "No message for 30 s", LostReason::TimedOut);
    }
}
