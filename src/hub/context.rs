//! What every thread of a hub works with: the registry, the tunnels, the watchers, the clock.
//!
//! Locks, in the order in which they may be held together: registry, then tunnels, watchers, lines, metrics or the log's.
//! None is held across I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access::client_info::TrustedProxy;
use super::options::{HubKey, HubOptions, Timeouts};
use crate::budget::Budget;
use crate::http::{ConnectionTable, Listener};
use crate::hub::access::auth::PasswordHashing;
use crate::hub::access::origin_policy::OriginPolicy;
use crate::hub::access::throttle::Throttle;
use crate::hub::maintenance::clock::{Clock, millis};
use crate::hub::maintenance::drain::Drain;
use crate::hub::observe::log::Logger;
use crate::hub::observe::metrics::Metrics;
use crate::hub::observe::watchers::Watchers;
use crate::hub::random::{fresh_uuid, random};
use crate::hub::relay::direct_upstream::DirectUpstreams;
use crate::hub::relay::response_owners::ResponseOwners;
use crate::hub::relay::wait_queue::WaitQueue;
use crate::hub::tunnels::registry::TunnelRegistry;
use crate::proto::tunnel::CLOSE_NORMAL;
use crate::state::Now;
use crate::state::event::Event;
use crate::state::registry::{Deleted, Picked, Registry, RoomLives};
use crate::state::selector::Refusal;
use crate::state::stats::Ended;
use crate::tunnel::LostReason;

/// A hub's inside.
pub struct HubContext {
    pub(crate) clock: Clock,
    /// Rooms and participants. Any thread; short locks.
    registry: Mutex<Registry>,
    pub(crate) tunnels: TunnelRegistry,
    pub(crate) watchers: Watchers,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What is told of requests.
    pub(crate) log: Logger,
    /// Whoever is connected.
    pub(crate) connections: Arc<ConnectionTable>,
    /// For all that peers make the hub hold.
    pub(crate) memory: Arc<Budget>,
    /// Participants that are called at their endpoints.
    pub(crate) direct: DirectUpstreams,
    pub(crate) passwords: PasswordHashing,
    /// Who has guessed passwords wrong.
    pub(crate) throttle: Throttle,
    /// Requests that wait for a participant.
    pub(crate) wait_queue: WaitQueue,
    /// Who made which response.
    pub(crate) response_owners: ResponseOwners,
    pub(crate) timeouts: Timeouts,
    /// Requests under way.
    pub(crate) drain: Drain,
    /// How long participants stay that are offline, milliseconds.
    pub(crate) offline_ttl: Option<u64>,
    /// How long rooms stay that nobody needs.
    pub(crate) room_ttl: RoomLives,
    /// What every request must show, where it is set.
    pub(crate) key: Option<HubKey>,
    /// Whether nobody speaks for a participant without its token.
    pub(crate) strict: bool,
    /// Whether there is a page at `/`.
    pub(crate) dashboard: bool,
    /// How long a stream of events lasts at most.
    pub(crate) max_stream_duration: Option<Duration>,
    /// Which pages may use the hub; `None` where it has a key, which a page must show.
    pub(crate) origin_policy: Option<OriginPolicy>,
    /// Whose forwarding headers are believed.
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// Allowed origin; `*` unless told otherwise.
    pub(crate) cors: String,
    /// Names this hub, since it was started, to itself and to hubs behind it.
    pub(crate) hop: String,
    /// How the hub is reached from outside, where it stands behind something.
    pub(crate) public_url: Option<String>,
}

impl HubContext {
    pub(crate) fn new(options: &HubOptions, listener: &Listener, log: Logger) -> Self {
        let bound = listener.addr();
        let (public_url, loopback) = (options.public_url.as_deref(), bound.ip().to_canonical().is_loopback());
        let origin_policy = || OriginPolicy::new(&options.allowed_hosts, public_url, options.cors.as_deref(), loopback);
        HubContext {
            clock: options.clock.clone(),
            registry: Mutex::new(Registry::with_space(options.registry_memory)),
            tunnels: TunnelRegistry::default(),
            watchers: Watchers::default(),
            metrics: Metrics::new(options.clock.now().wall),
            log,
            connections: listener.connections(),
            memory: listener.memory(),
            direct: DirectUpstreams::new(options.direct, bound, listener.memory()),
            passwords: PasswordHashing::default(),
            throttle: Throttle::default(),
            wait_queue: WaitQueue::default(),
            response_owners: ResponseOwners::new(&listener.memory()),
            timeouts: options.timeouts.clone(),
            drain: Drain::default(),
            offline_ttl: options.offline_ttl.map(millis),
            room_ttl: RoomLives { unused: options.room_ttl.map(millis), empty: options.empty_room_ttl.map(millis) },
            key: options.key.clone(),
            strict: options.strict,
            dashboard: options.dashboard,
            max_stream_duration: options.max_stream_duration,
            origin_policy: options.key.is_none().then(origin_policy),
            trusted_proxies: options.trusted_proxies.clone(),
            cors: options.cors.clone().unwrap_or_else(|| "*".to_owned()),
            hop: fresh_uuid(),
            public_url: options.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the registry and tells the watchers, who so hear of changes in the order in which they were made.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Registry, Now) -> (T, Vec<Event>)) -> T {
        let mut registry = self.registry();
        let (value, events) = change(&mut registry, self.clock.now());
        events.iter().for_each(|event| self.tell(event));
        self.grant_waiting(&mut registry);
        value
    }

    /// Tells the watchers, and the log where it wants to know.
    pub(crate) fn tell(&self, event: &Event) {
        self.watchers.tell(event);
        self.log.event(event);
    }

    /// As [`HubContext::change`], for a change that may be refused and then causes nothing.
    pub(crate) fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut Registry, Now) -> Result<(T, Vec<Event>), E>,
    ) -> Result<T, E> {
        self.change(|registry, now| match change(registry, now) {
            Ok((value, events)) => (Ok(value), events),
            Err(refused) => (Err(refused), Vec::new()),
        })
    }

    /// Counts a request that has ended at a participant.
    pub(crate) fn count(&self, picked: &Picked, ended: &Ended) {
        let (now, model) = (self.clock.now().mono, picked.profile.model.as_str());
        if self.metrics.counted().add(picked.serial, model, ended, now) {
            return;
        }
        // Under the registry's lock: whoever leaves is forgotten after that, and so leaves nothing behind.
        let registry = self.registry();
        self.metrics.counted().begin(registry.has(picked), picked.serial, model, ended, now);
    }

    /// Lets go of all that a participant had which has left.
    pub(crate) fn forget(&self, serial: u64, reason: &str) {
        self.response_owners.forget(serial);
        self.metrics.forget(serial);
        self.direct.forget(serial);
        if let Some(tunnel) = self.tunnels.take(serial) {
            tunnel.close(CLOSE_NORMAL, reason, LostReason::Closed);
        }
    }

    /// Lets go of all that a deleted room had.
    pub(crate) fn clear_away(&self, deleted: &Deleted) {
        for &serial in &deleted.serials {
            self.forget(serial, "The room was deleted");
        }
        for &number in &deleted.waiting {
            self.wait_queue.call(number, Err(Refusal::NoneAvailable));
        }
        self.watchers.close_room(&deleted.code);
    }

    /// Gives those who wait in line their turn, after a change that may have freed a place or taken somebody away.
    pub(crate) fn grant_waiting(&self, registry: &mut Registry) {
        for (number, turn) in registry.grant_waiting(self.clock.now(), &mut random) {
            self.wait_queue.call(number, turn);
        }
    }
}
