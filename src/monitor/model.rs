//! Rooms and participants as the monitor knows them, and how they do. Pure: the time is an argument.

use std::collections::BTreeMap;

use gambi::proto::management::{Participant, RoomSummary, Status};

use super::stats::Stats;
use super::text::clean;

/// Silence after which somebody's health is in doubt, milliseconds: two heartbeats.
const MAX_SILENCE_MS: u64 = 20_000;
/// How long a failure casts doubt on somebody's health, milliseconds.
const FAILURE_MEMORY_MS: u64 = 60_000;

/// A participant.
#[derive(Debug)]
pub struct Member {
    /// As the hub told it: not fit for a terminal.
    pub info: Participant,
    /// Its nickname, fit for a terminal.
    pub name: String,
    /// Its model, likewise.
    pub model: String,
    /// Its requests.
    pub stats: Stats,
    /// When the hub told so, by its own clock.
    reported_at: u64,
}

/// How somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Ready.
    Online,
    /// At work.
    Busy,
    /// There, but silent for long, or a request has failed of late.
    Degraded,
    /// Registered, but its tunnel is not open.
    NoTunnel,
    /// Not there.
    Offline,
}

impl Health {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Busy => "busy",
            Health::Degraded => "shaky",
            Health::NoTunnel => "no tunnel",
            Health::Offline => "offline",
        }
    }
}

impl Member {
    /// As the hub told it at `reported_at`, by its own clock.
    pub fn new(info: Participant, stats: Stats, reported_at: u64) -> Self {
        let mut name = clean(&info.nickname);
        // Nothing of it may be left to be seen.
        if name.trim().is_empty() {
            name = clean(&info.id);
        }
        Member { name, model: clean(&info.model), info, stats, reported_at }
    }

    /// How it does at `now` by the hub's clock.
    pub fn health(&self, now: u64) -> Health {
        let since = |at: u64| now.saturating_sub(at);
        match self.info.status {
            Status::Offline => Health::Offline,
            _ if !self.info.connection.connected => Health::NoTunnel,
            // Not since then: we may be slow to look.
            _ if self.reported_at.saturating_sub(self.info.last_seen) > MAX_SILENCE_MS => Health::Degraded,
            _ if self.stats.failed_at.is_some_and(|at| since(at) <= FAILURE_MEMORY_MS) => Health::Degraded,
            Status::Busy => Health::Busy,
            Status::Online => Health::Online,
        }
    }

    /// Requests under way, those among them that began before anybody looked.
    pub fn in_flight(&self) -> u32 {
        self.stats.in_flight().max(u32::from(self.info.status == Status::Busy))
    }
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// As the hub told it: its name is not fit for a terminal.
    pub info: RoomSummary,
    /// Its name, fit for a terminal.
    pub name: String,
    /// Whether its participants are watched.
    pub watched: bool,
    /// Why it does not let us in, where it doesn't.
    pub refused: Option<String>,
    /// Whether its participants have been listed.
    pub listed: bool,
    /// Its participants by id.
    pub members: BTreeMap<String, Member>,
    /// Its requests.
    pub stats: Stats,
    /// Requests that wait in line, as the hub said last.
    pub queued: u64,
}

impl Room {
    /// A room in which nobody is known yet.
    pub fn new(info: RoomSummary, watched: bool) -> Self {
        Room {
            name: clean(&info.name),
            watched,
            refused: None,
            listed: false,
            members: BTreeMap::new(),
            stats: Stats::default(),
            queued: 0,
            info,
        }
    }

    /// Participants: as many as are known, else as many as the hub says.
    pub fn count(&self) -> usize {
        if self.listed { self.members.len() } else { self.info.participant_count }
    }
}
