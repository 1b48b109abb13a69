//! What the monitor knows of a hub, and what each piece of news changes in it. Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use gambi::proto::management::{ConnectionKind, EventEnvelope, Metrics, Participant, RoomSummary, Status};
use gambi::proto::metrics::RoomMetrics;

use super::figures::Figures;
use super::people::{Health, Member, Room};
use super::text::clean;

/// Rooms that are watched without having been asked for: the first so many.
const WATCHED: usize = 20;
/// Requests under way that are followed to their end; those beyond are only counted.
const REQUESTS: usize = 10_000;
/// Rooms, and participants of one, that are kept: a hub may make up more.
const MOST: usize = 10_000;

/// What the monitor hears.
#[derive(Debug)]
pub enum News {
    /// The stream of events is open, whether for the first time or again.
    Linked,
    /// It broke, or could not be opened.
    Lost {
        /// Why.
        reason: String,
        /// When it is tried again, milliseconds from now; `None` for never.
        again: Option<u64>,
    },
    /// Something happened.
    Event(EventEnvelope),
    /// So many events were more than could be read.
    Skipped(u64),
    /// All rooms, and how far the hub's clock is ahead of ours, milliseconds.
    Rooms(Vec<RoomSummary>, i64),
    /// Everybody in a room, by the room's code.
    Members(String, Vec<Participant>),
    /// What a room's hub has measured.
    Measured(Box<RoomMetrics>),
    /// A room does not let us in: its code, and why.
    Refused(String, String),
}

/// The hub's stream of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not yet open.
    Opening,
    /// Open.
    Up,
    /// Broken.
    Lost {
        /// Why.
        reason: String,
        /// When it is tried again, milliseconds since the epoch.
        again: Option<u64>,
    },
}

/// What the monitor knows.
#[derive(Debug)]
pub struct State {
    /// The hub's URL.
    pub url: String,
    /// Its stream of events.
    pub link: Link,
    /// Its rooms by code.
    pub rooms: BTreeMap<String, Room>,
    /// Events that were more than could be read.
    pub skipped: u64,
    /// How far the hub's clock is ahead of ours, milliseconds.
    ahead: i64,
    /// Rooms that were asked for; where there are none, the first few are watched.
    named: BTreeSet<String>,
    /// Requests under way, by id.
    requests: HashSet<String>,
}

impl State {
    /// What is known of a hub at first: nothing. `named`: the codes of the rooms that are to be watched.
    pub fn new(url: &str, named: &[String]) -> Self {
        State {
            url: url.to_owned(),
            link: Link::Opening,
            rooms: BTreeMap::new(),
            skipped: 0,
            ahead: 0,
            named: named.iter().map(|code| code.to_uppercase()).collect(),
            requests: HashSet::new(),
        }
    }

    /// The hub's time when ours is `now`.
    pub fn hub_time(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead)
    }

    /// Codes of the rooms whose participants are to be listed.
    pub fn watched(&self) -> BTreeSet<String> {
        let watched = self.rooms.values().filter(|room| room.watched && room.refused.is_none());
        watched.map(|room| room.told.code.clone()).collect()
    }

    /// Watches a room from now on, or no more.
    #[cfg(feature = "tui")]
    pub fn watch(&mut self, code: &str, wanted: bool) {
        if let Some(room) = self.rooms.get_mut(code) {
            (room.watched, room.refused) = (wanted, None);
            if !wanted {
                room.looked = false;
                room.members.clear();
            }
        }
    }

    /// Takes in a room that was made from here; it is watched.
    #[cfg(feature = "tui")]
    pub fn add(&mut self, told: RoomSummary) {
        let code = told.code.clone();
        self.found_room(told);
        self.watch(&code, true);
    }

    /// Whether a room was asked for by its code.
    #[cfg(feature = "tui")]
    pub fn is_named(&self, code: &str) -> bool {
        self.named.contains(code)
    }

    /// Participants that are online, busy (or shaky), and neither, of all rooms that are watched.
    pub fn tally(&self, now: u64) -> (usize, usize, usize) {
        let now = self.hub_time(now);
        let everybody = self.rooms.values().flat_map(|room| room.members.values());
        everybody.fold((0, 0, 0), |(up, busy, down), member| match member.health(now) {
            Health::Online | Health::Doubtful => (up + 1, busy, down),
            Health::Busy => (up, busy + 1, down),
            Health::Unreached | Health::Offline => (up, busy, down + 1),
        })
    }

    /// Takes news in at `now`, milliseconds since the epoch.
    pub fn hear(&mut self, news: News, now: u64) {
        match news {
            News::Linked => {
                self.link = Link::Up;
                self.forget_requests();
            }
            News::Lost { reason, again } => {
                self.link =
                    Link::Lost { reason: clean(&reason), again: again.map(|millis| now.saturating_add(millis)) };
            }
            News::Event(event) => self.happened(event, self.hub_time(now)),
            // What they said is in the next lists.
            News::Skipped(events) => {
                self.skipped += events;
                self.forget_requests();
            }
            News::Rooms(rooms, ahead) => {
                self.ahead = ahead;
                self.list_rooms(rooms);
            }
            News::Members(code, members) => self.list_members(&code, members, self.hub_time(now)),
            News::Measured(metrics) => self.measured(*metrics),
            News::Refused(code, why) => {
                if let Some(room) = self.rooms.get_mut(&code) {
                    room.refused = Some(clean(&why));
                    room.looked = false;
                    room.members.clear();
                }
            }
        }
    }

    fn list_rooms(&mut self, rooms: Vec<RoomSummary>) {
        let there: BTreeSet<&str> = rooms.iter().map(|room| room.code.as_str()).collect();
        self.rooms.retain(|code, _| there.contains(code.as_str()));
        rooms.into_iter().for_each(|room| self.found_room(room));
    }

    fn found_room(&mut self, told: RoomSummary) {
        // Codes are shown as they are: one that is not fit for a terminal is no code.
        if clean(&told.code) != told.code {
            return;
        }
        let full = self.rooms.len() >= MOST;
        match self.rooms.get_mut(&told.code) {
            // Deleted and made again under its code.
            Some(room) if room.told.id != told.id => *room = Room::new(told, room.watched),
            Some(room) => room.told = told,
            None if full => {}
            None => {
                let few = self.rooms.values().filter(|room| room.watched).take(WATCHED).count() < WATCHED;
                let watched = if self.named.is_empty() { few } else { self.named.contains(&told.code) };
                self.rooms.insert(told.code.clone(), Room::new(told, watched));
            }
        }
    }

    fn list_members(&mut self, code: &str, members: Vec<Participant>, at: u64) {
        let Some(room) = self.rooms.get_mut(code).filter(|room| room.watched) else { return };
        let mut before = std::mem::take(&mut room.members);
        room.looked = true;
        for told in members.into_iter().take(MOST) {
            let id = told.id.clone();
            let figures = before.remove(&id).map(|member| member.figures).unwrap_or_default();
            room.members.insert(id, Member::new(told, figures, at));
        }
    }

    fn measured(&mut self, metrics: RoomMetrics) {
        let Some(room) = self.rooms.get_mut(&metrics.room_code) else { return };
        room.queued = metrics.queued;
        room.figures.measured(metrics.windows.five_minutes, metrics.in_flight);
        for told in metrics.participants {
            if let Some(member) = room.members.get_mut(&told.participant_id) {
                member.figures.measured(told.windows.five_minutes, told.in_flight);
            }
        }
    }

    fn forget_requests(&mut self) {
        self.requests.clear();
        for room in self.rooms.values_mut() {
            room.figures.forget_in_flight();
            room.members.values_mut().for_each(|member| member.figures.forget_in_flight());
        }
    }

    fn happened(&mut self, event: EventEnvelope, at: u64) {
        let EventEnvelope { kind, timestamp, room_code, data } = event;
        match kind.as_str() {
            "room.created" => drop(typed(&data).map(|room| self.found_room(room))),
            "room.deleted" => drop(self.rooms.remove(&room_code)),
            "participant.joined" | "participant.updated" => {
                let Some(room) = self.rooms.get_mut(&room_code).filter(|room| room.watched) else { return };
                let Some(told) = typed::<Participant>(&data) else { return };
                let figures = room.members.remove(&told.id).map(|member| member.figures).unwrap_or_default();
                if room.members.len() < MOST {
                    room.members.insert(told.id.clone(), Member::new(told, figures, at));
                }
            }
            "participant.left" => {
                let Some(room) = self.rooms.get_mut(&room_code) else { return };
                room.members.remove(text(&data, "participantId"));
            }
            "participant.offline" => {
                let Some(told) = self.member(&room_code, text(&data, "participantId")) else { return };
                told.told.status = Status::Offline;
                told.told.connection.connected = told.told.connection.kind == ConnectionKind::Direct;
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
        let followed = self.requests.len() < REQUESTS && self.requests.insert(text(data, "requestId").to_owned());
        if let Some(room) = self.rooms.get_mut(code) {
            room.figures.began(followed);
        }
        if let Some(member) = self.member(code, text(data, "participantId")) {
            member.figures.began(followed);
            if member.told.status == Status::Online {
                member.told.status = Status::Busy;
            }
        }
    }

    fn ended(&mut self, code: &str, data: &Value, at: u64) {
        let followed = self.requests.remove(text(data, "requestId"));
        let metrics = typed::<Metrics>(&data["metrics"]);
        let cancelled = data["stage"] == "cancelled";
        let note = |figures: &mut Figures| {
            figures.ended(followed);
            match &metrics {
                Some(metrics) => figures.answered(metrics, at),
                None if !cancelled => figures.failed(at),
                None => {}
            }
        };
        if let Some(room) = self.rooms.get_mut(code) {
            note(&mut room.figures);
        }
        if let Some(member) = self.member(code, text(data, "participantId")) {
            note(&mut member.figures);
            if member.figures.in_flight() == 0 && member.told.status == Status::Busy {
                member.told.status = Status::Online;
            }
        }
    }
}

/// An event's data as what it is, where it is that.
pub fn typed<T: DeserializeOwned>(data: &Value) -> Option<T> {
    T::deserialize(data).ok()
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data[key].as_str().unwrap_or_default()
}
