//! One room and its participants: how they look from outside, and when a participant counts as up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::config::shown;
use super::health::Health;
use super::id::{ParticipantId, RoomCode, Secret};
use super::models::Models;
use super::selector::Want;
use super::{Now, page};
use crate::budget::Share;
use crate::proto::management::{
    Capabilities, Connection, ConnectionKind, ConnectionTransport, Participant, RoomSummary, RuntimeConfig, Specs,
    Status,
};

/// A room.
#[derive(Debug)]
pub struct Room {
    /// Counts rooms up over the hub's life: the older of two has the lower one.
    pub number: u64,
    /// Internal id: 21 URL-safe characters.
    pub id: String,
    /// What people type.
    pub code: RoomCode,
    /// As its host called it.
    pub name: String,
    /// UUID of whoever made it.
    pub host_id: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// Asked for when joining, and for everything in a private room. Never leaves the hub.
    pub password: Option<Password>,
    /// Whether talking, listing and watching need the password too.
    pub private: bool,
    /// Settings for every request in it.
    pub defaults: Option<RuntimeConfig>,
    /// Its participants, by id.
    pub members: HashMap<ParticipantId, Member>,
    /// Requests that wait for a participant, first come first.
    pub line: Vec<Waiting>,
    /// When it was used last: made, joined, asked, or told that a participant is alive. Forward-only, milliseconds.
    pub used: u64,
    /// When somebody was in it last. Forward-only, milliseconds.
    pub inhabited: u64,
    /// Whether the operator declared it: it stays for as long as the hub does.
    pub declared: bool,
    /// The space that it needs without its participants.
    pub(super) space: Share,
}

/// What a hub keeps of a room's password. Copies share what has been learnt.
#[derive(Debug, Clone)]
pub struct Password {
    /// Argon2id in PHC form.
    pub hash: Arc<str>,
    /// A keyed hash of the password, once somebody has shown it: the next time costs no argon2.
    pub known: Arc<OnceLock<[u8; 32]>>,
}

impl Password {
    /// A password of which only the hash is known yet.
    pub fn hashed(hash: &str) -> Self {
        Password { hash: hash.into(), known: Arc::default() }
    }
}

/// A request that waits for a participant.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Names it among all that wait in the hub.
    pub number: u64,
    /// Whom it waits for.
    pub want: Want,
}

impl Room {
    /// The room as clients see it.
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

    /// The next of its participants behind the one with a number, first come first; `count` of them at most.
    pub fn members_after(&self, serial: Option<u64>, count: usize) -> Vec<&Member> {
        page::next(self.members.values(), |member| member.serial, serial, count)
    }

    /// Its participants, first come first.
    pub fn members_in_order(&self) -> Vec<&Member> {
        let mut members: Vec<_> = self.members.values().collect();
        members.sort_by_key(|m| m.serial);
        members
    }
}

/// What a participant said of itself when it registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// For people.
    pub nickname: String,
    /// The names its provider knows its models by.
    pub models: Models,
    /// Its provider's base URL.
    pub endpoint: String,
    /// Its machine.
    pub specs: Specs,
    /// Its generation settings.
    pub config: RuntimeConfig,
    /// What its provider can do.
    pub capabilities: Capabilities,
    /// Other names of its model.
    pub aliases: Vec<String>,
    /// Requests that it takes at once.
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
    /// Counts members up over the hub's life: one who leaves and comes back is another member.
    pub serial: u64,
    /// What it said of itself.
    pub profile: Arc<Profile>,
    /// How the hub reaches it.
    pub reach: Reach,
    /// Its tunnel; never open for one that is called directly.
    pub tunnel: Tunnel,
    /// Whether its last heartbeat is too old.
    pub silent: bool,
    /// Requests that it is working on.
    pub in_flight: u32,
    /// How it has served lately.
    pub health: Health,
    /// Indexes of its models that are in memory, in ascending order; `None` where it does not tell.
    pub loaded: Option<Vec<u16>>,
    /// Whether its provider turned out to have no Responses API, whatever was said when it registered.
    pub no_responses: bool,
    /// Whether its provider has turned out to have no Messages API.
    pub no_messages: bool,
    /// When it registered first.
    pub joined_at: u64,
    /// Its last heartbeat or registration.
    pub last_seen: Now,
    /// Its last change, milliseconds since the epoch.
    pub updated_at: u64,
    /// Buys one tunnel.
    pub ticket: Option<Ticket>,
    /// Tells it from others that use its id.
    pub token: Secret,
    /// The space that it needs.
    pub(super) space: Share,
}

/// How the hub reaches a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the tunnel that it opens.
    Tunnel,
    /// By calling its endpoint.
    Direct {
        /// Whether it registered from the hub's own machine, whose loopback then is its own.
        from_loopback: bool,
    },
}

/// A single-use token, until it is spent or dead.
#[derive(Debug)]
pub struct Ticket {
    /// What the participant must show.
    pub token: Secret,
    /// On the forward-only clock, milliseconds.
    pub dies_at: u64,
}

/// What is known of a participant's tunnel.
#[derive(Debug, Default)]
pub struct Tunnel {
    /// Which of the hub's tunnels is this participant's now; `None` while there is none.
    pub open: Option<u64>,
    /// Last message, milliseconds since the epoch. Shared with the tunnel's own thread, which writes it without asking
    /// anybody for a lock.
    pub seen: Arc<AtomicU64>,
}

impl Member {
    /// Whether it can be sent a request, but for those that it has already.
    pub fn is_up(&self) -> bool {
        self.is_connected() && !self.silent
    }

    /// Whether there is a way to reach it.
    pub fn is_connected(&self) -> bool {
        self.reach != Reach::Tunnel || self.tunnel.open.is_some()
    }

    /// Whether it can take one request more.
    pub fn is_free(&self) -> bool {
        self.is_up() && self.in_flight < self.profile.concurrency
    }

    /// Its status, derived and never stored: `status` follows heartbeats, `connection` the tunnel, and a tunnel
    /// participant is offline without either.
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

    /// Notes which of its models are in memory. Names that it has not registered are dropped.
    pub(super) fn set_loaded(&mut self, names: Option<&[String]>) {
        self.loaded = names.map(|names| {
            let mut indexes: Vec<u16> = names.iter().filter_map(|name| self.profile.models.find(name)).collect();
            indexes.sort_unstable();
            indexes.dedup();
            indexes
        });
    }

    /// The participant as clients see it.
    pub fn shown(&self) -> Participant {
        let models = &self.profile.models;
        Participant {
            id: self.id.to_string(),
            nickname: self.profile.nickname.clone(),
            model: models.first().to_owned(),
            models: if models.are_several() { models.all().to_vec() } else { Vec::new() },
            loaded: self.loaded.iter().flatten().map(|&index| models.name(index).to_owned()).collect(),
            endpoint: self.profile.endpoint.clone(),
            config: shown(&self.profile.config),
            specs: self.profile.specs.clone(),
            capabilities: self.profile.capabilities,
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
