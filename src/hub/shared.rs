//! What every thread of a hub works with: the registry, the tunnels, the watchers, the clock.
//!
//! Locks, in the order in which they may be held together: registry, then tunnels, watchers, lines, metrics or the log's.
//! None is held across I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::auth::Passwords;
use super::clock::{Clock, millis};
use super::direct::Directs;
use super::drain::Drain;
use super::leg::{Carrier, End};
use super::log::Logger;
use super::metrics::Metrics;
use super::place::Lines;
use super::responses::Makers;
use super::sites::Sites;
use super::throttle::Throttle;
use super::tunnels::Tunnels;
use super::watchers::Watchers;
use super::{HubKey, HubOptions, Patience, Proxy};
use crate::budget::Budget;
use crate::http::{Guests, Listener};
use crate::proto::tunnel::CLOSE_NORMAL;
use crate::state::event::Event;
use crate::state::pick::Refusal;
use crate::state::registry::{Deleted, Picked, Registry, RoomLives};
use crate::state::room::Reach;
use crate::state::{Now, id};
use crate::tunnel::LostReason;

/// A hub's inside.
pub struct Shared {
    pub(super) clock: Clock,
    /// Rooms and participants. Any thread; short locks.
    registry: Mutex<Registry>,
    pub(super) tunnels: Tunnels,
    pub(super) watchers: Watchers,
    /// What is counted.
    pub(super) metrics: Metrics,
    /// What is told of requests.
    pub(super) log: Logger,
    /// Whoever is connected.
    pub(super) guests: Arc<Guests>,
    /// For all that peers make the hub hold.
    pub(super) memory: Arc<Budget>,
    /// Participants that are called at their endpoints.
    pub(super) direct: Directs,
    pub(super) passwords: Passwords,
    /// Who has guessed passwords wrong.
    pub(super) throttle: Throttle,
    /// Requests that wait for a participant.
    pub(super) lines: Lines,
    /// Who made which response.
    pub(super) makers: Makers,
    pub(super) patience: Patience,
    /// Requests under way.
    pub(super) drain: Drain,
    /// How long participants stay that are offline, milliseconds.
    pub(super) offline_life: Option<u64>,
    /// How long rooms stay that nobody needs.
    pub(super) lives: RoomLives,
    /// What every request must show, where it is set.
    pub(super) key: Option<HubKey>,
    /// Whether nobody speaks for a participant without its token.
    pub(super) strict: bool,
    /// Whether there is a page at `/`.
    pub(super) dashboard: bool,
    /// How long a stream of events lasts at most.
    pub(super) watch_time: Option<Duration>,
    /// Which pages may use the hub; `None` where it has a key, which a page must show.
    pub(super) sites: Option<Sites>,
    /// Whose forwarding headers are believed.
    pub(super) trusted: Vec<Proxy>,
    /// Allowed origin; `*` unless told otherwise.
    pub(super) cors: String,
    /// Names this hub, since it was started, to itself and to hubs behind it.
    pub(super) hop: String,
    /// How the hub is reached from outside, where it stands behind something.
    pub(super) public_url: Option<String>,
}

impl Shared {
    pub(super) fn new(options: &HubOptions, listener: &Listener, log: Logger) -> Self {
        let bound = listener.addr();
        let (public_url, loopback) = (options.public_url.as_deref(), bound.ip().to_canonical().is_loopback());
        let sites = || Sites::new(&options.known_as, public_url, options.cors.as_deref(), loopback);
        Shared {
            clock: options.clock.clone(),
            registry: Mutex::new(Registry::with_space(options.registry_memory)),
            tunnels: Tunnels::default(),
            watchers: Watchers::default(),
            metrics: Metrics::new(options.clock.now().wall),
            log,
            guests: listener.guests(),
            memory: listener.memory(),
            direct: Directs::new(options.direct, bound, listener.memory()),
            passwords: Passwords::default(),
            throttle: Throttle::default(),
            lines: Lines::default(),
            makers: Makers::new(&listener.memory()),
            patience: options.patience.clone(),
            drain: Drain::default(),
            offline_life: options.offline_ttl.map(millis),
            lives: RoomLives { unused: options.room_ttl.map(millis), empty: options.empty_room_ttl.map(millis) },
            key: options.key.clone(),
            strict: options.strict,
            dashboard: options.dashboard,
            watch_time: options.watch_time,
            sites: options.key.is_none().then(sites),
            trusted: options.trusted_proxies.clone(),
            cors: options.cors.clone().unwrap_or_else(|| "*".to_owned()),
            hop: fresh_uuid(),
            public_url: options.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the registry and tells the watchers, who so hear of changes in the order in which they were made.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Registry, Now) -> (T, Vec<Event>)) -> T {
        let mut registry = self.registry();
        let (value, events) = change(&mut registry, self.clock.now());
        events.iter().for_each(|event| self.tell(event));
        self.settle(&mut registry);
        value
    }

    /// Tells the watchers, and the log where it wants to know.
    pub(super) fn tell(&self, event: &Event) {
        self.watchers.tell(event);
        self.log.event(event);
    }

    /// As [`Shared::change`], for a change that may be refused and then causes nothing.
    pub(super) fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut Registry, Now) -> Result<(T, Vec<Event>), E>,
    ) -> Result<T, E> {
        self.change(|registry, now| match change(registry, now) {
            Ok((value, events)) => (Ok(value), events),
            Err(refused) => (Err(refused), Vec::new()),
        })
    }

    /// The way to a participant.
    ///
    /// # Errors
    /// When its tunnel has just closed.
    pub(super) fn carrier(&self, picked: &Picked) -> Result<Box<dyn Carrier>, End> {
        if picked.reach != Reach::Tunnel {
            return Ok(Box::new(self.direct.carrier(picked)));
        }
        match self.tunnels.get(picked.serial) {
            Some(tunnel) => Ok(Box::new(tunnel)),
            None => Err(End::tunnel("dispatch", "the participant's tunnel has closed")),
        }
    }

    /// Lets go of all that a participant had which has left.
    pub(super) fn forget(&self, serial: u64, reason: &str) {
        self.makers.forget(serial);
        self.metrics.forget(serial);
        self.direct.forget(serial);
        if let Some(tunnel) = self.tunnels.take(serial) {
            tunnel.close(CLOSE_NORMAL, reason, LostReason::Closed);
        }
    }

    /// Lets go of all that a deleted room had.
    pub(super) fn clear_away(&self, deleted: &Deleted) {
        for &serial in &deleted.serials {
            self.forget(serial, "The room was deleted");
        }
        for &number in &deleted.waiting {
            self.lines.call(number, Err(Refusal::NoneAvailable));
        }
        self.watchers.close_room(&deleted.code);
    }

    /// Gives those who wait in line their turn, after a change that may have freed a place or taken somebody away.
    pub(super) fn settle(&self, registry: &mut Registry) {
        for (number, turn) in registry.settle(self.clock.now(), &mut random) {
            self.lines.call(number, turn);
        }
    }
}

/// Fills a buffer from the system's source of randomness.
///
/// # Panics
/// When the system has none: then no secret can be drawn, and whoever asked for one must not go on. Only the
/// connection that asked ends.
pub fn random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system gives no random numbers: {error}");
    }
}

/// A fresh UUID.
pub fn fresh_uuid() -> String {
    id::uuid(&mut random)
}
