//! Rooms and participants as the monitor knows them, and their health. Pure: the time is an argument.

use std::collections::BTreeMap;

use gambi::proto::management::{Participant, RoomSummary, Status};
use gambi::proto::queue::WaitingRequest;

use super::stats::Stats;
use super::text::clean;

/// Silence after which a participant counts as degraded, milliseconds: two heartbeat intervals.
const MAX_SILENCE_MS: u64 = 20_000;
/// How long a failed request makes a participant count as degraded, milliseconds.
const FAILURE_MEMORY_MS: u64 = 60_000;

/// A participant.
#[derive(Debug)]
pub struct Member {
    /// As the hub sent it: not safe to print on a terminal.
    pub info: Participant,
    /// Its nickname, safe to print; its id if nothing visible is left of the nickname.
    pub name: String,
    /// Its model, safe to print.
    pub model: String,
    /// Statistics of its requests.
    pub stats: Stats,
    /// When the hub sent `info`, by the hub's clock, milliseconds since the epoch.
    reported_at: u64,
}

/// A participant's health, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Connected and idle.
    Online,
    /// Connected, with requests in flight.
    Busy,
    /// Connected, but silent for too long, or a request failed recently.
    Degraded,
    /// Connected, but about to leave: it finishes its requests.
    Draining,
    /// Connected, but its provider does not answer.
    ProviderDown,
    /// Registered, but its tunnel is not open.
    NoTunnel,
    /// Offline, as the hub reports it.
    Offline,
    /// Not known, since the hub is lost.
    Unknown,
}

impl Health {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Health; 8] = [
        Health::Online,
        Health::Busy,
        Health::Degraded,
        Health::Draining,
        Health::ProviderDown,
        Health::NoTunnel,
        Health::Offline,
        Health::Unknown,
    ];
    /// Width of the longest word, in columns.
    pub const WIDTH: usize = "provider down".len();

    /// Whether requests are sent to a participant of this health.
    #[cfg(feature = "tui")]
    pub fn is_up(self) -> bool {
        self <= Health::Degraded
    }

    /// The word that is displayed.
    pub fn word(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Busy => "busy",
            Health::Degraded => "shaky",
            Health::Draining => "draining",
            Health::ProviderDown => "provider down",
            Health::NoTunnel => "no tunnel",
            Health::Offline => "offline",
            Health::Unknown => "unknown",
        }
    }
}

impl Member {
    /// A participant as the hub sent it at `reported_at`, by the hub's clock.
    pub fn new(info: Participant, stats: Stats, reported_at: u64) -> Self {
        let mut name = clean(&info.nickname);
        // A nickname can consist of invisible characters only.
        if name.trim().is_empty() {
            name = clean(&info.id);
        }
        Member { name, model: clean(&info.model), info, stats, reported_at }
    }

    /// Its health at `now` by the hub's clock, as far as the hub last reported it.
    pub fn health(&self, now: u64) -> Health {
        let since = |at: u64| now.saturating_sub(at);
        match self.info.status {
            Status::Offline if self.info.draining && self.info.connection.connected => Health::Draining,
            Status::Offline if self.info.provider_down && self.info.connection.connected => Health::ProviderDown,
            Status::Offline => Health::Offline,
            _ if !self.info.connection.connected => Health::NoTunnel,
            // Measured up to the report, not up to now: the next poll may be late.
            _ if self.reported_at.saturating_sub(self.info.last_seen) > MAX_SILENCE_MS => Health::Degraded,
            _ if self.stats.failed_at.is_some_and(|at| since(at) <= FAILURE_MEMORY_MS) => Health::Degraded,
            Status::Busy => Health::Busy,
            Status::Online => Health::Online,
        }
    }

    /// Requests in flight, including those that started before the monitor did.
    pub fn in_flight(&self) -> u32 {
        self.stats.in_flight().max(u32::from(self.info.status == Status::Busy))
    }
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// As the hub sent it: the name is not safe to print on a terminal.
    pub info: RoomSummary,
    /// Its name, safe to print.
    pub name: String,
    /// Whether its participants are watched.
    pub watched: bool,
    /// Why the hub refuses to list its participants, if it does.
    pub refused: Option<String>,
    /// Whether its participants have been listed.
    pub listed: bool,
    /// Its participants by id.
    pub members: BTreeMap<String, Member>,
    /// Statistics of its requests.
    pub stats: Stats,
    /// Queued requests, as the hub last reported.
    pub queued: u64,
    /// The first of them, the next one first. The names are not safe to print on a terminal.
    pub queue: Vec<WaitingRequest>,
}

impl Room {
    /// A room whose participants are not known yet.
    pub fn new(info: RoomSummary, watched: bool) -> Self {
        Room {
            name: clean(&info.name),
            watched,
            refused: None,
            listed: false,
            members: BTreeMap::new(),
            stats: Stats::default(),
            queued: 0,
            queue: Vec::new(),
            info,
        }
    }

    /// The number of participants: of those listed or, before that, as the hub reports it.
    pub fn count(&self) -> usize {
        if self.listed { self.members.len() } else { self.info.participant_count }
    }
}
