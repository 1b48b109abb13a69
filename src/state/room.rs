//! One room and its participants: their public form, and when a participant counts as up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::config::shown;
use super::fair_shares::FairShares;
use super::health::MemberHealth;
use super::id::{ParticipantId, RoomCode, Secret};
use super::missing_routes::MissingRoutes;
use super::models::Models;
use super::queue::Queue;
use super::{Now, page};
use crate::budget::Share;
use crate::proto::management::{
    Capabilities, Connection, ConnectionKind, ConnectionTransport, Participant, RoomSummary, RuntimeConfig, Specs,
    Status,
};

/// A room.
#[derive(Debug)]
pub struct Room {
    /// Sequence number, unique while the hub runs; older rooms have lower ones.
    pub number: u64,
    /// Internal id: 21 URL-safe characters.
    pub id: String,
    /// The public code.
    pub code: RoomCode,
    /// The name that its host chose.
    pub name: String,
    /// UUID that authorises its host.
    pub host_id: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// Required to join, and for everything in a private room. Never leaves the hub.
    pub password: Option<Password>,
    /// Whether inference, lists and events need the password too.
    pub private: bool,
    /// Default settings of its requests.
    pub defaults: Option<RuntimeConfig>,
    /// Its participants, by id.
    pub members: HashMap<ParticipantId, Member>,
    /// Requests that wait for a slot.
    pub queue: Queue,
    /// What each caller has used of the room's slots: the order in which waiting requests are granted.
    pub(super) shares: FairShares,
    /// Time of its last use (creation, registration, request or heartbeat): milliseconds on the monotonic clock.
    pub last_used: u64,
    /// When it last had a participant: milliseconds on the monotonic clock.
    pub last_occupied: u64,
    /// Whether the operator declared it; such a room never expires.
    pub declared: bool,
    /// Its size without its participants.
    pub(super) space: Share,
}

/// The verifier of a room's password. Clones share the cached hash.
#[derive(Debug, Clone)]
pub struct Password {
    /// Argon2id in PHC form.
    pub hash: Arc<str>,
    /// A keyed hash of the password, set when it is first verified, so that later checks need no argon2.
    pub known: Arc<OnceLock<[u8; 32]>>,
}

impl Password {
    /// A password of which only the Argon2id hash is known.
    pub fn hashed(hash: &str) -> Self {
        Password { hash: hash.into(), known: Arc::default() }
    }
}

impl Room {
    /// The room's public form.
    pub fn summary(&self) -> RoomSummary {
        RoomSummary {
            id: self.id.clone(),
            code: self.code.to_string(),
            name: self.name.clone(),
            host_id: self.host_id.clone(),
            created_at: self.created_at,
            password_protected: self.password.is_some(),
            private: self.private,
            participant_count: self.members.len(),
            defaults: self.defaults.as_ref().map(shown),
        }
    }

    /// Its next participants whose serial is above `serial`, oldest first; at most `count`.
    pub fn members_after(&self, serial: Option<u64>, count: usize) -> Vec<&Member> {
        page::next(self.members.values(), |member| member.serial, serial, count)
    }

    /// Its participants, oldest first.
    pub fn members_in_order(&self) -> Vec<&Member> {
        let mut members: Vec<_> = self.members.values().collect();
        members.sort_by_key(|m| m.serial);
        members
    }
}

/// The properties that a participant registered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The display name.
    pub nickname: String,
    /// The provider's names of its models.
    pub models: Models,
    /// Its provider's base URL.
    pub endpoint: String,
    /// Its hardware.
    pub specs: Specs,
    /// Its generation settings.
    pub config: RuntimeConfig,
    /// What its provider can do.
    pub capabilities: Capabilities,
    /// Alternative names of its model.
    pub aliases: Vec<String>,
    /// The number of concurrent requests that it accepts.
    pub concurrency: u32,
    /// Its share of the requests in proportion to others.
    pub weight: u32,
    /// Whether it gets requests only where no other can take them.
    pub fallback: bool,
}

/// A participant of a room.
#[derive(Debug)]
pub struct Member {
    /// Unique in its room.
    pub id: ParticipantId,
    /// Sequence number, unique while the hub runs. A participant that is removed and registers again gets a new one.
    pub serial: u64,
    /// Its registered properties.
    pub profile: Arc<Profile>,
    /// How the hub reaches it.
    pub reach: Reach,
    /// Its tunnel; never open for a direct participant.
    pub tunnel: TunnelState,
    /// Whether its last heartbeat is older than `TIMEOUT_SECS`.
    pub silent: bool,
    /// Whether it has reported that its provider does not answer.
    pub provider_down: bool,
    /// Whether it has reported that it finishes its requests and leaves.
    pub draining: bool,
    /// Requests in progress.
    pub in_flight: u32,
    /// How it has served recent requests.
    pub health: MemberHealth,
    /// Indexes of its models that are in memory, in ascending order; `None` where it does not report them.
    pub loaded: Option<Vec<u16>>,
    /// The routes of its provider that something else must take the place of: those that it has registered as not supported, and
    /// those that were found to be missing since.
    pub missing: MissingRoutes,
    /// When it first registered, milliseconds since the epoch.
    pub joined_at: u64,
    /// Time of its last heartbeat or registration.
    pub last_seen: Now,
    /// Time of its last change, milliseconds since the epoch.
    pub updated_at: u64,
    /// The single-use token that opens its tunnel.
    pub tunnel_token: Option<TunnelToken>,
    /// Its own secret, which authorises changes of its registration.
    pub token: Secret,
    /// Its size.
    pub(super) space: Share,
}

/// How the hub reaches a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the tunnel that it opens.
    Tunnel,
    /// By calling its endpoint.
    Direct {
        /// Whether it registered from the hub's own machine, so that both have the same loopback.
        from_loopback: bool,
    },
}

/// A single-use tunnel token, until it is used or expires.
#[derive(Debug)]
pub struct TunnelToken {
    /// The token, sent as `?token=`.
    pub token: Secret,
    /// Expiry, milliseconds on the monotonic clock.
    pub expires_at: u64,
}

/// The state of a participant's tunnel.
#[derive(Debug, Default)]
pub struct TunnelState {
    /// The number of the participant's current tunnel; `None` while there is none.
    pub open: Option<u64>,
    /// Time of the last message, milliseconds since the epoch. The tunnel's thread writes it without a lock.
    pub seen: Arc<AtomicU64>,
}

impl Member {
    /// Whether it is reachable, its heartbeats arrive, it is not about to leave, and its provider answers as far as it tells.
    pub fn is_up(&self) -> bool {
        self.is_connected() && !self.silent && !self.provider_down && !self.draining
    }

    /// Whether it has an open tunnel, or is called directly.
    pub fn is_connected(&self) -> bool {
        self.reach != Reach::Tunnel || self.tunnel.open.is_some()
    }

    /// Whether it can accept another request.
    pub fn is_free(&self) -> bool {
        self.is_up() && self.in_flight < self.profile.concurrency
    }

    /// Its status, derived and never stored. A tunnel participant is offline without heartbeats or without a tunnel.
    pub fn status(&self) -> Status {
        if !self.is_up() {
            Status::Offline
        } else if self.in_flight > 0 {
            Status::Busy
        } else {
            Status::Online
        }
    }

    /// How the hub reaches it.
    pub fn connection(&self) -> Connection {
        let seen = || self.tunnel.seen.load(Ordering::Relaxed);
        Connection {
            kind: ConnectionKind::Tunnel,
            connected: self.is_connected(),
            last_tunnel_seen_at: self.tunnel.open.map(|_| seen()),
            transport: (self.reach != Reach::Tunnel).then_some(ConnectionTransport::Direct),
        }
    }

    /// Records which of its models are in memory. Names that it has not registered are dropped.
    pub(super) fn set_loaded(&mut self, names: Option<&[String]>) {
        self.loaded = names.map(|names| {
            let mut indexes: Vec<u16> = names.iter().filter_map(|name| self.profile.models.find(name)).collect();
            indexes.sort_unstable();
            indexes.dedup();
            indexes
        });
    }

    /// The participant's public form.
    pub fn shown(&self) -> Participant {
        let models = &self.profile.models;
        Participant {
            id: self.id.to_string(),
            nickname: self.profile.nickname.clone(),
            model: models.first().to_owned(),
            models: if models.are_several() { models.all().to_vec() } else { Vec::new() },
            loaded: self.loaded.iter().flatten().map(|&index| models.name(index).to_owned()).collect(),
            provider_down: self.provider_down,
            draining: self.draining,
            endpoint: self.profile.endpoint.clone(),
            config: shown(&self.profile.config),
            specs: self.profile.specs.clone(),
            capabilities: self.profile.capabilities.shown(),
            connection: self.connection(),
            status: self.status(),
            joined_at: self.joined_at,
            last_seen: self.last_seen.wall,
            updated_at: self.updated_at,
            aliases: self.profile.aliases.clone(),
            concurrency: self.profile.concurrency,
            weight: self.profile.weight,
            fallback: self.profile.fallback,
        }
    }
}
