//! What the monitor knows of a hub, and how each update changes it. Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use gambi::proto::history::RoomHistory;
use gambi::proto::management::{EventEnvelope, Metrics, Participant, RoomSummary, Status};
use gambi::proto::metrics::RoomMetrics;
use gambi::proto::queue::{MAX_SHOWN, RoomQueue};
use gambi::proto::read_json::from_value;

use super::model::{Health, Member, Room};
use super::stats::Stats;
use super::text::clean;

/// The number of rooms that are watched if none was requested.
pub const MAX_WATCHED: usize = 20;
/// The most requests in flight whose ids are remembered; those beyond are only counted.
const MAX_FOLLOWED: usize = 10_000;
/// The most rooms, and participants of one room, that are kept: a hostile hub may invent more.
const MAX_LISTED: usize = 10_000;
/// The most minutes of a participant that are kept.
const MAX_MINUTES: usize = 60;

/// An update from the feed's threads.
#[derive(Debug)]
pub enum Update {
    /// The event stream is open, for the first time or again.
    Linked,
    /// The event stream broke, or could not be opened.
    Lost {
        /// The error as one sentence, not yet safe to print.
        reason: String,
        /// Milliseconds until the next attempt; `None` for never.
        retry_in: Option<u64>,
    },
    /// An event.
    Event(EventEnvelope),
    /// The data that the hub lacks because it is older, one line; `None` if it lacks none.
    Limited(Option<&'static str>),
    /// That many events were dropped because they came faster than they were read.
    Skipped(u64),
    /// All rooms, and how far the hub's clock is ahead of the local one, milliseconds.
    Rooms(Vec<RoomSummary>, i64),
    /// All participants of the room with that code.
    Members(String, Vec<Participant>),
    /// The hub's metrics of one room.
    Measured(Box<RoomMetrics>),
    /// The requests that wait in one room.
    Queue(RoomQueue),
    /// The last minutes of one room.
    History(Box<RoomHistory>),
    /// The hub refuses to list a room's participants: the room's code, and the reason.
    Refused(String, String),
}

/// The state of the hub's event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not open yet.
    Connecting,
    /// Open.
    Up,
    /// Broken.
    Lost {
        /// The error as one sentence, safe to print.
        reason: String,
        /// When the next attempt is made, milliseconds since the epoch; `None` for never.
        retry_at: Option<u64>,
    },
}

/// Numbers of participants.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Online, and degraded ones.
    pub online: usize,
    /// With requests in flight.
    pub busy: usize,
    /// Those that get no requests.
    pub offline: usize,
    /// All of them while the hub is lost.
    pub unknown: usize,
}

impl Tally {
    /// The numbers in words, with these words for online and offline.
    pub fn words(&self, online: &str, offline: &str, gap: &str) -> String {
        match self.unknown {
            0 => format!("{} {online}{gap}{} busy{gap}{} {offline}", self.online, self.busy, self.offline),
            unknown => format!("{unknown} unknown"),
        }
    }
}

/// What the monitor knows.
#[derive(Debug)]
pub struct MonitorState {
    /// The hub's URL.
    pub url: String,
    /// The state of its event stream.
    pub link: Link,
    /// The data that the hub lacks because it is older, one line.
    pub limits: Option<&'static str>,
    /// Its rooms by code.
    pub rooms: BTreeMap<String, Room>,
    /// Events dropped because they came faster than they were read.
    pub skipped: u64,
    /// How far the hub's clock is ahead of the local one, milliseconds.
    clock_offset: i64,
    /// Codes of the rooms that the user asked for; if empty, the first `MAX_WATCHED` rooms are watched.
    requested: BTreeSet<String>,
    /// Ids of the requests in flight.
    requests: HashSet<String>,
}

impl MonitorState {
    /// The state before any update. `requested`: codes of the rooms to watch.
    pub fn new(url: &str, requested: &[String]) -> Self {
        MonitorState {
            url: url.to_owned(),
            link: Link::Connecting,
            limits: None,
            rooms: BTreeMap::new(),
            skipped: 0,
            clock_offset: 0,
            requested: requested.iter().map(|code| code.to_uppercase()).collect(),
            requests: HashSet::new(),
        }
    }

    /// Converts a local time to the hub's, milliseconds since the epoch.
    pub fn hub_time(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.clock_offset)
    }

    /// Codes of the rooms whose participants should be polled.
    pub fn watched(&self) -> BTreeSet<String> {
        let watched = self.rooms.values().filter(|room| room.watched && room.refused.is_none());
        watched.map(|room| room.info.code.clone()).collect()
    }

    /// Starts or stops watching a room.
    #[cfg(feature = "tui")]
    pub fn watch(&mut self, code: &str, wanted: bool) {
        if let Some(room) = self.rooms.get_mut(code) {
            (room.watched, room.refused) = (wanted, None);
            if !wanted {
                room.listed = false;
                room.members.clear();
            }
        }
    }

    /// Adds a room that was created here, and watches it.
    #[cfg(feature = "tui")]
    pub fn add(&mut self, info: RoomSummary) {
        let code = info.code.clone();
        self.add_room(info);
        self.watch(&code, true);
    }

    /// Whether the user asked for the room by its code.
    #[cfg(feature = "tui")]
    pub fn is_requested(&self, code: &str) -> bool {
        self.requested.contains(code)
    }

    /// A participant's health at `now` by the hub's clock.
    pub fn health(&self, member: &Member, now: u64) -> Health {
        if matches!(self.link, Link::Lost { .. }) { Health::Unknown } else { member.health(now) }
    }

    /// The participants of all watched rooms by health.
    pub fn tally(&self, now: u64) -> Tally {
        let now = self.hub_time(now);
        let mut tally = Tally::default();
        for member in self.rooms.values().flat_map(|room| room.members.values()) {
            let count = match self.health(member, now) {
                Health::Online | Health::Degraded => &mut tally.online,
                Health::Busy => &mut tally.busy,
                Health::Draining | Health::ProviderDown | Health::NoTunnel | Health::Offline => &mut tally.offline,
                Health::Unknown => &mut tally.unknown,
            };
            *count += 1;
        }
        tally
    }

    /// Applies an update at `now`, milliseconds since the epoch by the local clock.
    pub fn on_update(&mut self, update: Update, now: u64) {
        match update {
            Update::Linked => {
                self.link = Link::Up;
                self.forget_requests();
            }
            Update::Lost { reason, retry_in } => {
                self.link =
                    Link::Lost { reason: clean(&reason), retry_at: retry_in.map(|millis| now.saturating_add(millis)) };
            }
            Update::Limited(limits) => self.limits = limits,
            Update::Event(event) => self.on_event(event, self.hub_time(now)),
            // The next poll returns the state that the dropped events described.
            Update::Skipped(events) => {
                self.skipped += events;
                self.forget_requests();
            }
            Update::Rooms(rooms, clock_offset) => {
                self.clock_offset = clock_offset;
                self.list_rooms(rooms);
            }
            Update::Members(code, members) => self.list_members(&code, members, self.hub_time(now)),
            Update::Measured(metrics) => self.measured(*metrics),
            Update::Queue(queue) => self.queue(queue),
            Update::History(history) => self.history(*history),
            Update::Refused(code, why) => {
                if let Some(room) = self.rooms.get_mut(&code) {
                    room.refused = Some(clean(&why));
                    room.listed = false;
                    room.members.clear();
                }
            }
        }
    }

    fn list_rooms(&mut self, rooms: Vec<RoomSummary>) {
        let there: BTreeSet<&str> = rooms.iter().map(|room| room.code.as_str()).collect();
        self.rooms.retain(|code, _| there.contains(code.as_str()));
        rooms.into_iter().for_each(|room| self.add_room(room));
    }

    fn add_room(&mut self, info: RoomSummary) {
        // Codes are displayed unchanged, so a code that is not safe to print is rejected.
        if clean(&info.code) != info.code {
            return;
        }
        let full = self.rooms.len() >= MAX_LISTED;
        match self.rooms.get_mut(&info.code) {
            // The room was deleted and created again with the same code.
            Some(room) if room.info.id != info.id => *room = Room::new(info, room.watched),
            Some(room) => room.info = info,
            None if full => {}
            None => {
                let watched_rooms = self.rooms.values().filter(|room| room.watched);
                let few = watched_rooms.take(MAX_WATCHED).count() < MAX_WATCHED;
                let watched = if self.requested.is_empty() { few } else { self.requested.contains(&info.code) };
                self.rooms.insert(info.code.clone(), Room::new(info, watched));
            }
        }
    }

    fn list_members(&mut self, code: &str, members: Vec<Participant>, at: u64) {
        let Some(room) = self.rooms.get_mut(code).filter(|room| room.watched) else { return };
        let mut before = std::mem::take(&mut room.members);
        room.listed = true;
        for info in members.into_iter().take(MAX_LISTED) {
            let id = info.id.clone();
            let stats = before.remove(&id).map(|member| member.stats).unwrap_or_default();
            room.members.insert(id, Member::new(info, stats, at));
        }
    }

    fn measured(&mut self, metrics: RoomMetrics) {
        let Some(room) = self.rooms.get_mut(&metrics.room_code) else { return };
        room.queued = metrics.queued;
        if room.queued == 0 {
            room.queue.clear();
        }
        room.stats.measured(metrics.windows.five_minutes, metrics.in_flight);
        for info in metrics.participants {
            if let Some(member) = room.members.get_mut(&info.participant_id) {
                member.stats.measured(info.windows.five_minutes, info.in_flight);
            }
        }
    }

    fn queue(&mut self, queue: RoomQueue) {
        let Some(room) = self.rooms.get_mut(&queue.room_code) else { return };
        (room.queued, room.queue) = (queue.queued, queue.requests);
        room.queue.truncate(MAX_SHOWN);
    }

    fn history(&mut self, history: RoomHistory) {
        let Some(room) = self.rooms.get_mut(&history.room_code) else { return };
        for past in history.participants {
            if let Some(member) = room.members.get_mut(&past.participant_id) {
                let has_tokens = past.output_tokens.iter().any(|tokens| *tokens > 0);
                member.stats.minutes = if has_tokens { past.output_tokens } else { past.requests };
                member.stats.minutes.truncate(MAX_MINUTES);
            }
        }
    }

    fn forget_requests(&mut self) {
        self.requests.clear();
        for room in self.rooms.values_mut() {
            room.stats.forget_in_flight();
            room.members.values_mut().for_each(|member| member.stats.forget_in_flight());
        }
    }

    fn on_event(&mut self, event: EventEnvelope, at: u64) {
        let EventEnvelope { kind, timestamp, room_code, data } = event;
        match kind.as_str() {
            "room.created" => drop(typed(&data).map(|room| self.add_room(room))),
            "room.deleted" => drop(self.rooms.remove(&room_code)),
            "participant.joined" | "participant.updated" => {
                let Some(room) = self.rooms.get_mut(&room_code).filter(|room| room.watched) else { return };
                let Some(info) = typed::<Participant>(&data) else { return };
                let stats = room.members.remove(&info.id).map(|member| member.stats).unwrap_or_default();
                if room.members.len() < MAX_LISTED {
                    room.members.insert(info.id.clone(), Member::new(info, stats, at));
                }
            }
            "participant.left" => {
                let Some(room) = self.rooms.get_mut(&room_code) else { return };
                room.members.remove(text(&data, "participantId"));
            }
            "participant.offline" => {
                let Some(info) = self.member(&room_code, text(&data, "participantId")) else { return };
                info.info.status = Status::Offline;
                info.info.connection.connected = info.info.connection.is_direct();
            }
            "llm.request" => self.began(&room_code, &data),
            "llm.complete" | "llm.error" => self.ended(&room_code, &data, timestamp),
            _ => {}
        }
    }

    fn member(&mut self, room: &str, id: &str) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.members.get_mut(id)
    }

    fn began(&mut self, code: &str, data: &Value) {
        // Older hubs give requests no ids. Their starts and ends can't be matched.
        let id = text(data, "requestId");
        let followed = !id.is_empty() && self.requests.len() < MAX_FOLLOWED && self.requests.insert(id.to_owned());
        if let Some(room) = self.rooms.get_mut(code) {
            room.stats.began(followed);
        }
        if let Some(member) = self.member(code, text(data, "participantId")) {
            member.stats.began(followed);
            if member.info.status == Status::Online {
                member.info.status = Status::Busy;
            }
        }
    }

    fn ended(&mut self, code: &str, data: &Value, at: u64) {
        let followed = self.requests.remove(text(data, "requestId"));
        let metrics = typed::<Metrics>(&data["metrics"]);
        let cancelled = data["stage"] == "cancelled";
        let record = |stats: &mut Stats| {
            stats.ended(followed);
            match &metrics {
                Some(metrics) => stats.answered(metrics, at),
                None if !cancelled => stats.failed(at),
                None => {}
            }
        };
        if let Some(room) = self.rooms.get_mut(code) {
            record(&mut room.stats);
        }
        if let Some(member) = self.member(code, text(data, "participantId")) {
            record(&mut member.stats);
            if member.stats.in_flight() == 0 && member.info.status == Status::Busy {
                member.info.status = Status::Online;
            }
        }
    }
}

/// Deserializes an event's data; `None` if it has another shape.
pub fn typed<T: DeserializeOwned>(data: &Value) -> Option<T> {
    from_value(data).ok()
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data[key].as_str().unwrap_or_default()
}
