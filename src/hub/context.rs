//! What every thread of a hub shares: the registry, the tunnels, the watchers, the clock. The types of the fields live in
//! modules that do not import this one. The lock order is in ARCHITECTURE.md, "Locks".

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::access::client_info::TrustedProxy;
use super::options::{HubKey, HubOptions, Timeouts};
use crate::budget::Budget;
use crate::http::{ConnectionTable, Listener};
use crate::hub::access::auth::PasswordHashing;
use crate::hub::access::key_ring::KeyRing;
use crate::hub::access::keys::is_name;
use crate::hub::access::origin_policy::OriginPolicy;
use crate::hub::access::throttle::Throttle;
use crate::hub::maintenance::clock::Clock;
use crate::hub::maintenance::drain::Drain;
use crate::hub::observe::log::Logger;
use crate::hub::observe::log::line::LogLine;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::observe::metrics::Metrics;
use crate::hub::observe::metrics::history::Happening;
use crate::hub::observe::traces::RequestTraces;
use crate::hub::observe::usage_file::{UsageFile, UsageLog};
use crate::hub::observe::usage_past::tokens_since;
use crate::hub::observe::watchers::Watchers;
use crate::hub::random::{fresh_uuid, random};
use crate::hub::relay::allowance::Allowances;
use crate::hub::relay::conversation::ConversationMemory;
use crate::hub::relay::direct_upstream::DirectUpstreams;
use crate::hub::relay::response_owners::ResponseOwners;
use crate::hub::relay::wait_queue::WaitQueue;
use crate::hub::tunnels::registry::TunnelRegistry;
use crate::proto::time::millis;
use crate::proto::usage::Usage;
use crate::state::Now;
use crate::state::event::Event;
use crate::state::id::RoomCode;
use crate::state::limits::DAY;
use crate::state::registry::{Deleted, PickError, Picked, Registry, RoomExpiry};
use crate::state::selector::Refusal;
use crate::state::stats::Ended;
use crate::sync::lock;

/// A hub's shared state.
pub struct HubContext {
    pub(crate) clock: Clock,
    /// Rooms and participants. Any thread; short locks.
    registry: Mutex<Registry>,
    pub(crate) tunnels: TunnelRegistry,
    pub(crate) watchers: Watchers,
    /// Counters, gauges and statistics.
    pub(crate) metrics: Metrics,
    /// How recent requests went.
    pub(crate) traces: RequestTraces,
    /// The request log.
    pub(crate) log: Logger,
    /// The file of usage.
    pub(crate) usage: UsageLog,
    /// Open connections.
    pub(crate) connections: Arc<ConnectionTable>,
    /// The memory budget for what peers make the hub hold.
    pub(crate) memory: Arc<Budget>,
    /// Connections to direct participants.
    pub(crate) direct: DirectUpstreams,
    pub(crate) passwords: PasswordHashing,
    /// Failed password attempts, by client.
    pub(crate) throttle: Throttle,
    /// Requests that wait for a slot.
    pub(crate) wait_queue: WaitQueue,
    /// Which participant made which response.
    pub(crate) response_owners: ResponseOwners,
    /// Who answered which conversation.
    pub(crate) conversations: ConversationMemory,
    pub(crate) timeouts: Timeouts,
    /// The shortest silence after which a request is sent to a second participant; `None` where none is.
    pub(crate) hedge_after_min: Option<Duration>,
    /// Requests in flight, and whether new ones are accepted.
    pub(crate) drain: Drain,
    /// After how long an offline participant is removed, in milliseconds.
    pub(crate) offline_ttl: Option<u64>,
    /// After how long unused and empty rooms are removed.
    pub(crate) room_ttl: RoomExpiry,
    /// The bearer token that every request must have, if one is set.
    pub(crate) key: Option<HubKey>,
    /// The keys of people.
    pub(crate) keys: KeyRing,
    /// What people with keys have used.
    pub(crate) allowances: Arc<Allowances>,
    /// Whether requests on behalf of a participant must have its token.
    pub(crate) strict: bool,
    /// Whether the dashboard is served at `/`.
    pub(crate) dashboard: bool,
    /// The room whose inference routes are served at the root too.
    pub(crate) default_room: Option<RoomCode>,
    /// The longest duration of an event stream.
    pub(crate) max_stream_duration: Option<Duration>,
    /// The origins whose pages may use the hub; `None` where the hub has a key, which then decides.
    pub(crate) origin_policy: Option<OriginPolicy>,
    /// The proxies whose forwarding headers are used.
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// The value of `Access-Control-Allow-Origin`; `*` by default.
    pub(crate) cors: String,
    /// This hub's name in the hops header (`relay::hops`); a new one at each start.
    pub(crate) hop: String,
    /// The hub's URL as clients see it, if it is behind a proxy. Without a trailing slash.
    pub(crate) public_url: Option<String>,
    /// The address that it listens on.
    pub(crate) bound: SocketAddr,
}

impl HubContext {
    pub(crate) fn new(options: &HubOptions, listener: &Listener, log: Logger, usage: UsageLog) -> Self {
        let bound = listener.addr();
        let (public_url, loopback) = (options.public_url.as_deref(), bound.ip().to_canonical().is_loopback());
        let origin_policy = || OriginPolicy::new(&options.allowed_hosts, public_url, options.cors.as_deref(), loopback);
        HubContext {
            bound,
            clock: options.clock.clone(),
            registry: Mutex::new(
                Registry::with_space(options.registry_memory).with_code_prefix(options.code_prefix.clone()),
            ),
            tunnels: TunnelRegistry::default(),
            watchers: Watchers::new(listener.memory()),
            metrics: Metrics::new(options.clock.now().wall, &listener.memory()),
            traces: RequestTraces::new(&listener.memory()),
            log,
            usage,
            connections: listener.connections(),
            memory: listener.memory(),
            direct: DirectUpstreams::new(options.direct, bound, listener.memory(), options.limits.max_connections()),
            passwords: PasswordHashing::default(),
            throttle: Throttle::default(),
            wait_queue: WaitQueue::default(),
            response_owners: ResponseOwners::new(&listener.memory()),
            conversations: ConversationMemory::default(),
            timeouts: options.timeouts.clone(),
            hedge_after_min: options.hedge_after_min,
            drain: Drain::default(),
            offline_ttl: options.offline_ttl.map(millis),
            room_ttl: RoomExpiry { unused: options.room_ttl.map(millis), empty: options.empty_room_ttl.map(millis) },
            key: options.key.clone(),
            keys: KeyRing::new(options.keys.clone()),
            allowances: Arc::default(),
            strict: options.strict,
            dashboard: options.dashboard,
            default_room: options.default_room.as_deref().and_then(RoomCode::parse),
            max_stream_duration: options.max_stream_duration,
            origin_policy: (options.key.is_none() && options.keys.is_none()).then(origin_policy),
            trusted_proxies: options.trusted_proxies.clone(),
            cors: options.cors.clone().unwrap_or_else(|| "*".to_owned()),
            hop: fresh_uuid(),
            public_url: options.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    /// Whether requests need the hub's key, or a person's.
    pub(crate) fn requires_key(&self) -> bool {
        self.key.is_some() || self.keys.is_set()
    }

    /// Reads the file of people's keys again if it has changed, or in any case, and logs what came of it.
    pub(crate) fn reload_keys(&self, in_any_case: bool) {
        let Some(outcome) = self.keys.reload(in_any_case) else { return };
        let (level, about) =
            if outcome.is_ok() { (LogLevel::Info, "keys_loaded") } else { (LogLevel::Error, "keys_kept") };
        self.log_line(level, about, |line| match outcome {
            Ok(count) => line.number("count", count as u64),
            Err(error) => line.text("error", &error),
        });
    }

    /// Counts what people have used since midnight, as the file of usage tells, against their limits of a day.
    pub(crate) fn restore_allowances(&self, file: &UsageFile) {
        let now = self.clock.now();
        match tokens_since(file, now.wall - now.wall % DAY, is_name) {
            Ok(tokens) => self.allowances.restore(tokens, now),
            Err(error) => {
                self.log_line(LogLevel::Error, "usage_unread", |line| line.text("error", &error.to_string()));
            }
        }
    }

    /// Logs whether the usage can be written, if that has changed.
    pub(crate) fn report_usage(&self) {
        let Some(change) = self.usage.take_change() else { return };
        let (level, about) =
            if change.is_ok() { (LogLevel::Warn, "usage_written") } else { (LogLevel::Error, "usage_lost") };
        self.log_line(level, about, |line| {
            line.number("dropped", self.usage.dropped());
            line.optional_text("error", change.err().as_deref());
        });
    }

    /// Writes a line to the log, where lines of its level are written; `fill` adds its fields.
    pub(crate) fn log_line(&self, level: LogLevel, about: &str, fill: impl FnOnce(&mut LogLine)) {
        if self.log.is_enabled(level) {
            let mut line = self.log.line(level, self.clock.now().wall, about);
            fill(&mut line);
            self.log.write(line);
        }
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Changes the registry and emits the events of the change. Both under the registry's lock, so that watchers receive
    /// events in the order of the changes.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Registry, Now) -> (T, Vec<Event>)) -> T {
        let mut registry = self.registry();
        let (value, events) = change(&mut registry, self.clock.now());
        events.iter().for_each(|event| self.emit(event));
        self.grant_waiting(&mut registry);
        value
    }

    /// Emits an event to the watchers and to the log.
    pub(crate) fn emit(&self, event: &Event) {
        self.watchers.emit(event);
        self.log.event(event);
    }

    /// Whether anybody is told of a request's events.
    pub(crate) fn has_listeners(&self) -> bool {
        self.watchers.count().0 > 0 || self.log.is_enabled(LogLevel::Debug)
    }

    /// As [`HubContext::change`], for a change that may fail. A failed one emits no events.
    pub(crate) fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut Registry, Now) -> Result<(T, Vec<Event>), E>,
    ) -> Result<T, E> {
        self.change(|registry, now| match change(registry, now) {
            Ok((value, events)) => (Ok(value), events),
            Err(error) => (Err(error), Vec::new()),
        })
    }

    /// Records in the statistics that a request has ended at a participant. `tokens` are its caller's.
    pub(crate) fn record_ended(&self, picked: &Picked, ended: &Ended, tokens: Usage) {
        let (now, model) = (self.clock.now().mono, picked.profile.models.first());
        let happening = Happening::Ended(ended, &picked.caller, tokens);
        let has_stats = self.metrics.participants().add(picked.serial, model, ended, now);
        let has_history = self.metrics.history().add(&picked.code, happening, now);
        if has_stats && has_history {
            return;
        }
        // Under the registry's lock: a participant that leaves is removed from the statistics afterwards, so no entry of a
        // departed one is created.
        let registry = self.registry();
        let present = registry.has(picked);
        if !has_stats {
            self.metrics.participants().begin(present, picked.serial, model, ended, now);
        }
        if !has_history && present {
            self.metrics.history().begin(&picked.code, happening, now);
        }
    }

    /// Records how many requests wait in each room.
    pub(crate) fn record_queues(&self) {
        let (registry, now) = (self.registry(), self.clock.now().mono);
        for (room, queued) in registry.queue_lengths() {
            self.metrics.history().begin(&room, Happening::Queue(queued), now);
        }
    }

    /// Removes all that is kept of members that have left, and closes their tunnels for this reason.
    pub(crate) fn forget(&self, serials: &[u64], reason: &str) {
        self.response_owners.forget(serials);
        for &serial in serials {
            self.metrics.forget(serial);
            self.direct.forget(serial);
        }
        self.tunnels.close_of(serials, reason);
    }

    /// Removes all that is kept of a deleted room: its members, its waiting requests, its watchers.
    pub(crate) fn forget_room(&self, deleted: &Deleted) {
        self.forget(&deleted.serials, "The room was deleted");
        for &number in &deleted.waiting {
            self.wait_queue.grant(number, Err(PickError::Refused(Refusal::NoneAvailable)));
        }
        self.metrics.history().forget(&deleted.code);
        self.traces.forget_room(&deleted.code);
        self.watchers.close_room(&deleted.code);
    }

    /// Grants slots to waiting requests. Called after each change that may have freed a slot or removed a participant.
    pub(crate) fn grant_waiting(&self, registry: &mut Registry) {
        // Most changes find nobody waiting: then not even the clock is read.
        if registry.waiting() == 0 {
            return;
        }
        for (number, grant) in registry.grant_waiting(self.clock.now(), &mut random) {
            self.wait_queue.grant(number, grant.map_err(PickError::Refused));
        }
    }
}
