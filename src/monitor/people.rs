//! Rooms and participants as the monitor knows them, and how they do. Pure: the time is an argument.

use std::collections::BTreeMap;

use gambi::proto::management::{Participant, RoomSummary, Status};

use super::figures::Figures;
use super::text::clean;

/// Silence after which somebody's health is in doubt, milliseconds: two heartbeats.
const SILENT: u64 = 20_000;
/// How long a failure casts doubt on somebody's health, milliseconds.
const DOUBT: u64 = 60_000;

/// A participant.
#[derive(Debug)]
pub struct Member {
    /// As the hub told it: not fit for a terminal.
    pub told: Participant,
    /// Its nickname, fit for a terminal.
    pub name: String,
    /// Its model, likewise.
    pub model: String,
    /// Its requests.
    pub figures: Figures,
    /// When the hub told so, by its own clock.
    told_at: u64,
}

/// How somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Ready.
    Online,
    /// At work.
    Busy,
    /// There, but silent for long, or a request has failed of late.
    Doubtful,
    /// Registered, but its tunnel is not open.
    Unreached,
    /// Not there.
    Offline,
}

impl Health {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Busy => "busy",
            Health::Doubtful => "shaky",
            Health::Unreached => "no tunnel",
            Health::Offline => "offline",
        }
    }
}

impl Member {
    /// As the hub told it at `told_at`, by its own clock.
    pub fn new(told: Participant, figures: Figures, told_at: u64) -> Self {
        let mut name = clean(&told.nickname);
        // Nothing of it may be left to be seen.
        if name.trim().is_empty() {
            name = clean(&told.id);
        }
        Member { name, model: clean(&told.model), told, figures, told_at }
    }

    /// How it does at `now` by the hub's clock.
    pub fn health(&self, now: u64) -> Health {
        let since = |at: u64| now.saturating_sub(at);
        match self.told.status {
            Status::Offline => Health::Offline,
            _ if !self.told.connection.connected => Health::Unreached,
            // Not since then: we may be slow to look.
            _ if self.told_at.saturating_sub(self.told.last_seen) > SILENT => Health::Doubtful,
            _ if self.figures.failed_at.is_some_and(|at| since(at) <= DOUBT) => Health::Doubtful,
            Status::Busy => Health::Busy,
            Status::Online => Health::Online,
        }
    }

    /// Requests under way, those among them that began before anybody looked.
    pub fn in_flight(&self) -> u32 {
        self.figures.in_flight().max(u32::from(self.told.status == Status::Busy))
    }
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// As the hub told it: its name is not fit for a terminal.
    pub told: RoomSummary,
    /// Its name, fit for a terminal.
    pub name: String,
    /// Whether its participants are watched.
    pub watched: bool,
    /// Why it does not let us in, where it doesn't.
    pub refused: Option<String>,
    /// Whether its participants have been listed.
    pub looked: bool,
    /// Its participants by id.
    pub members: BTreeMap<String, Member>,
    /// Its requests.
    pub figures: Figures,
    /// Requests that wait in line, as the hub said last.
    pub queued: u64,
}

impl Room {
    /// A room in which nobody is known yet.
    pub fn new(told: RoomSummary, watched: bool) -> Self {
        Room {
            name: clean(&told.name),
            watched,
            refused: None,
            looked: false,
            members: BTreeMap::new(),
            figures: Figures::default(),
            queued: 0,
            told,
        }
    }

    /// Participants: as many as are known, else as many as the hub says.
    pub fn count(&self) -> usize {
        if self.looked { self.members.len() } else { self.told.participant_count }
    }
}
