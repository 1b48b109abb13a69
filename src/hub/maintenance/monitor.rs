//! The monitor thread. Twice a second it marks silent participants offline, closes silent tunnels, and removes expired
//! tokens, participants and rooms, and reads the file of keys when it has changed. The rules are the registry's.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::hub::context::HubContext;

const TICK: Duration = Duration::from_millis(500);

/// Runs until the channel's sender is dropped.
pub fn run(hub: &Arc<HubContext>, stop: &Receiver<()>) {
    while stop.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        tick(hub);
    }
}

fn tick(hub: &Arc<HubContext>) {
    hub.change(|registry, now| ((), registry.expire(now)));
    let gone = hub.change(|registry, now| registry.expire_members(hub.offline_ttl, now));
    hub.forget(&gone, "The participant was gone for too long");
    let deleted = hub.change(|registry, now| registry.expire_rooms(hub.room_ttl, now));
    deleted.iter().for_each(|room| hub.forget_room(room));
    hub.registry().forget_callers(hub.clock.now());
    hub.direct.close_idle();
    hub.reload_keys(false);
    hub.report_usage();
    hub.record_queues();
    hub.metrics.evict_old(hub.clock.now().mono);
    hub.tunnels.close_silent(hub.clock.now());
}
