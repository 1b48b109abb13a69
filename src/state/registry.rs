//! All rooms of a hub. Every change returns the events that it caused; whoever holds the registry tells the watchers.
//!
//! Passwords are not checked here: hashing takes too long for anything that is held under a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::config::merge;
use super::event::{Event, EventKind};
use super::health::Health;
use super::id::{self, ParticipantId, RoomCode, Secret};
use super::pick::{self, Refusal, Want};
use super::room::{Member, Profile, Reach, Room, Ticket, Tunnel, Waiting};
use super::{Now, Random};
use crate::proto::management::{Heartbeat, Participant, RoomSummary, RuntimeConfig, Status, TIMEOUT_SECS, TOKEN_SECS};

/// The rooms of a hub.
#[derive(Debug, Default)]
pub struct Registry {
    rooms: HashMap<RoomCode, Room>,
    members_so_far: u64,
    tunnels_so_far: u64,
    waiting_so_far: u64,
    /// Requests that wait now, in all rooms.
    waiting: usize,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No room has that code.
    Room,
    /// The room has no such participant.
    Participant,
}

/// A room to be made.
#[derive(Debug)]
pub struct NewRoom {
    /// What to call it.
    pub name: String,
    /// Argon2id in PHC form.
    pub password_hash: Option<String>,
    /// Settings for every request in it.
    pub defaults: Option<RuntimeConfig>,
    /// Its code, where the operator declared it.
    pub code: Option<RoomCode>,
}

/// How long rooms stay that nobody needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomLives {
    /// After their last use, milliseconds.
    pub unused: Option<u64>,
    /// After their last participant, milliseconds.
    pub empty: Option<u64>,
}

/// A room that was deleted, for whoever closes its tunnels.
#[derive(Debug)]
pub struct Deleted {
    /// Its code.
    pub code: RoomCode,
    /// Numbers of its members.
    pub serials: Vec<u64>,
    /// Numbers of those who waited in its line.
    pub waiting: Vec<u64>,
}

/// Why a room is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDeleted {
    /// There is none.
    Missing,
    /// Only its host may.
    NotHost,
}

/// Why a participant can't register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRegistered {
    /// There is no such room.
    Missing(Missing),
    /// Its id is that of a participant that is up and reached in another way.
    Taken,
}

/// A participant that has just registered.
#[derive(Debug)]
pub struct Upserted {
    /// Whether it was new.
    pub created: bool,
    /// As clients see it.
    pub participant: Participant,
    /// Its room's id.
    pub room_id: String,
    /// Its room's code.
    pub code: RoomCode,
    /// Buys one tunnel.
    pub token: Secret,
}

/// A participant's new tunnel.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The member's number.
    pub serial: u64,
    /// The tunnel's number: a later one of the same member is higher.
    pub tunnel: u64,
    /// Where the tunnel's thread notes each message: milliseconds since the epoch.
    pub seen: Arc<AtomicU64>,
}

/// A participant that has been given a request. The place must be given back with [`Registry::release`].
#[derive(Debug, Clone)]
pub struct Picked {
    /// Its room.
    pub code: RoomCode,
    /// Its id.
    pub id: ParticipantId,
    /// The member's number.
    pub serial: u64,
    /// What it said of itself.
    pub profile: Profile,
    /// Its config over its room's.
    pub config: RuntimeConfig,
    /// Whether the request named it, and so can go to nobody else.
    pub named: bool,
    /// Whether Responses requests must be put into chat completions for it.
    pub wants_chat: bool,
    /// How the hub reaches it.
    pub reach: Reach,
}

/// A participant that was removed, for whoever closes its tunnel.
#[derive(Debug)]
pub struct Removed {
    /// The member's number.
    pub serial: u64,
}

impl Registry {
    /// Makes a room, under its own code or one that no live room has.
    pub fn create_room(&mut self, new: NewRoom, now: Now, random: Random<'_>) -> (RoomSummary, Vec<Event>) {
        let code = new.code.clone().unwrap_or_else(|| {
            loop {
                let code = RoomCode::draw(random);
                if !self.rooms.contains_key(&code) {
                    break code;
                }
            }
        });
        let room = Room {
            id: id::room_id(random),
            code: code.clone(),
            name: new.name,
            host_id: id::uuid(random),
            created_at: now.wall,
            password_hash: new.password_hash,
            defaults: new.defaults,
            members: HashMap::new(),
            line: Vec::new(),
            used: now.mono,
            inhabited: now.mono,
            declared: new.code.is_some(),
        };
        let summary = room.summary();
        self.rooms.insert(code.clone(), room);
        (summary.clone(), vec![Event { at: now.wall, room: code, kind: EventKind::RoomCreated(summary) }])
    }

    /// All rooms, oldest first.
    pub fn rooms(&self) -> Vec<RoomSummary> {
        let mut rooms: Vec<_> = self.rooms.values().map(Room::summary).collect();
        rooms.sort_by(|a, b| (a.created_at, &a.code).cmp(&(b.created_at, &b.code)));
        rooms
    }

    /// A room, by its code in any case.
    ///
    /// # Errors
    /// [`Missing::Room`].
    pub fn room(&self, code: &str) -> Result<&Room, Missing> {
        RoomCode::parse(code).and_then(|code| self.rooms.get(&code)).ok_or(Missing::Room)
    }

    fn room_mut(&mut self, code: &str) -> Result<&mut Room, Missing> {
        RoomCode::parse(code).and_then(|code| self.rooms.get_mut(&code)).ok_or(Missing::Room)
    }

    fn member_mut(&mut self, code: &str, id: &str) -> Result<(&RoomCode, &mut Member), Missing> {
        let room = self.room_mut(code)?;
        let id = ParticipantId::parse(id).ok_or(Missing::Participant)?;
        let member = room.members.get_mut(&id).ok_or(Missing::Participant)?;
        Ok((&room.code, member))
    }

    /// Registers a participant, or renews its registration: its tunnel, its requests and its status stay as they are.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub fn upsert(
        &mut self,
        code: &str,
        id: ParticipantId,
        profile: Profile,
        reach: Reach,
        now: Now,
        random: Random<'_>,
    ) -> Result<(Upserted, Vec<Event>), NotRegistered> {
        let serial = self.members_so_far + 1;
        let room = self.room_mut(code).map_err(NotRegistered::Missing)?;
        let same = |a: Reach, b: Reach| (a == Reach::Tunnel) == (b == Reach::Tunnel);
        if room.members.get(&id).is_some_and(|known| !same(known.reach, reach) && known.is_up()) {
            return Err(NotRegistered::Taken);
        }
        let created = !room.members.contains_key(&id);
        let token = Secret::draw(random);
        let ticket = Ticket { token: token.clone(), dies_at: now.mono + TOKEN_SECS * 1000 };
        let member = room.members.entry(id.clone()).or_insert_with(|| Member::new(id, serial, profile.clone(), now));
        member.profile = profile;
        member.reach = reach;
        member.no_responses = false;
        member.ticket = Some(ticket).filter(|_| reach == Reach::Tunnel);
        member.touch(now);
        let participant = member.shown();
        let upserted = Upserted {
            created,
            participant: participant.clone(),
            room_id: room.id.clone(),
            code: room.code.clone(),
            token,
        };
        let kind = if created {
            EventKind::ParticipantJoined(participant)
        } else {
            EventKind::ParticipantUpdated(participant)
        };
        let event = Event { at: now.wall, room: room.code.clone(), kind };
        (room.used, room.inhabited) = (now.mono, now.mono);
        self.members_so_far += u64::from(created);
        Ok((upserted, vec![event]))
    }

    /// Removes a participant.
    ///
    /// # Errors
    /// What is missing.
    pub fn remove(&mut self, code: &str, id: &str, now: Now) -> Result<(Removed, Vec<Event>), Missing> {
        let room = self.room_mut(code)?;
        let id = ParticipantId::parse(id).ok_or(Missing::Participant)?;
        let member = room.members.remove(&id).ok_or(Missing::Participant)?;
        let kind = EventKind::ParticipantLeft(id.to_string());
        Ok((Removed { serial: member.serial }, vec![Event { at: now.wall, room: room.code.clone(), kind }]))
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// What is missing.
    pub fn heartbeat(&mut self, code: &str, id: &str, now: Now) -> Result<(Heartbeat, Vec<Event>), Missing> {
        self.room_mut(code)?.used = now.mono;
        let (code, member) = self.member_mut(code, id)?;
        let before = member.status();
        member.touch(now);
        let status = member.status();
        let back = before == Status::Offline && status != Status::Offline;
        let events = back.then(|| member.event(code, now, EventKind::ParticipantUpdated)).into_iter().collect();
        Ok((Heartbeat { success: true, status, last_seen: now.wall }, events))
    }

    /// Spends a tunnel token: true once for a live token, never again.
    ///
    /// # Errors
    /// What is missing.
    pub fn spend_token(&mut self, code: &str, id: &str, token: &str, now: Now) -> Result<bool, Missing> {
        let (_, member) = self.member_mut(code, id)?;
        let good = member.ticket.as_ref().is_some_and(|t| t.token.matches(token) && now.mono < t.dies_at);
        if good {
            member.ticket = None;
        }
        Ok(good)
    }

    /// Notes that a participant's tunnel is open. One that was open before is superseded.
    ///
    /// # Errors
    /// What is missing.
    pub fn open_tunnel(&mut self, code: &str, id: &str, now: Now) -> Result<(Opened, Vec<Event>), Missing> {
        let tunnel = self.tunnels_so_far + 1;
        let (code, member) = self.member_mut(code, id)?;
        member.tunnel = Tunnel { open: Some(tunnel), seen: Arc::new(AtomicU64::new(now.wall)) };
        member.touch(now);
        let opened = Opened { serial: member.serial, tunnel, seen: member.tunnel.seen.clone() };
        let events = vec![member.event(code, now, EventKind::ParticipantUpdated)];
        self.tunnels_so_far = tunnel;
        Ok((opened, events))
    }

    /// Notes that a tunnel is closed. Of a superseded tunnel, or one whose participant is gone, it notes nothing.
    pub fn close_tunnel(&mut self, code: &str, id: &str, tunnel: u64, now: Now) -> Vec<Event> {
        let Ok((code, member)) = self.member_mut(code, id) else {
            return Vec::new();
        };
        if member.tunnel.open != Some(tunnel) {
            return Vec::new();
        }
        let was_up = member.is_up();
        member.tunnel.open = None;
        member.updated_at = now.wall;
        let gone = was_up.then(|| member.offline_event(code, now));
        gone.into_iter().collect()
    }

    /// Marks participants that have been silent for too long, and drops dead tokens. One event for each change.
    pub fn expire(&mut self, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        for room in self.rooms.values_mut() {
            for member in room.members.values_mut() {
                member.ticket.take_if(|ticket| ticket.dies_at <= now.mono);
                let stale = now.mono.saturating_sub(member.last_seen.mono) > TIMEOUT_SECS * 1000;
                if stale && !member.silent {
                    let was_up = member.is_up();
                    member.silent = true;
                    member.updated_at = now.wall;
                    events.extend(was_up.then(|| member.offline_event(&room.code, now)));
                }
            }
        }
        events
    }

    /// Deletes a room, for whoever can name its host.
    ///
    /// # Errors
    /// [`NotDeleted`].
    pub fn delete_room(&mut self, code: &str, host_id: &str, now: Now) -> Result<(Deleted, Vec<Event>), NotDeleted> {
        let room = self.room(code).map_err(|_| NotDeleted::Missing)?;
        if room.host_id != host_id {
            return Err(NotDeleted::NotHost);
        }
        let code = room.code.clone();
        self.take_room(&code, now).ok_or(NotDeleted::Missing)
    }

    fn take_room(&mut self, code: &RoomCode, now: Now) -> Option<(Deleted, Vec<Event>)> {
        let room = self.rooms.remove(code)?;
        self.waiting -= room.line.len();
        let deleted = Deleted {
            code: code.clone(),
            serials: room.members.values().map(|member| member.serial).collect(),
            waiting: room.line.iter().map(|waiting| waiting.number).collect(),
        };
        let kind = EventKind::RoomDeleted(room.summary());
        Some((deleted, vec![Event { at: now.wall, room: code.clone(), kind }]))
    }

    /// Deletes the rooms that nobody has needed for as long as `lives` says.
    pub fn expire_rooms(&mut self, lives: RoomLives, now: Now) -> (Vec<Deleted>, Vec<Event>) {
        if lives == RoomLives::default() {
            return (Vec::new(), Vec::new());
        }
        for room in self.rooms.values_mut().filter(|room| !room.members.is_empty()) {
            room.inhabited = now.mono;
        }
        let past = |since: u64, life: Option<u64>| life.is_some_and(|life| now.mono.saturating_sub(since) >= life);
        let over =
            |room: &&Room| !room.declared && (past(room.used, lives.unused) || past(room.inhabited, lives.empty));
        let codes: Vec<RoomCode> = self.rooms.values().filter(over).map(|room| room.code.clone()).collect();
        let (mut deleted, mut events) = (Vec::new(), Vec::new());
        for (room, event) in codes.iter().filter_map(|code| self.take_room(code, now)) {
            deleted.push(room);
            events.extend(event);
        }
        (deleted, events)
    }

    /// Finds a participant for a request, and gives it a place there.
    ///
    /// # Errors
    /// [`PickError`].
    pub fn pick(&mut self, code: &str, want: &Want, now: Now, random: Random<'_>) -> Result<Picked, PickError> {
        let room = self.room_mut(code).map_err(PickError::Missing)?;
        room.used = now.mono;
        room.take_place(want, now, random).map_err(PickError::Refused)
    }

    /// A participant that a request goes to beside those that take a place.
    ///
    /// # Errors
    /// [`PickError`]; a member with another number is another participant, and so missing.
    pub fn peek(&self, code: &str, id: &str, serial: u64) -> Result<Picked, PickError> {
        let room = self.room(code).map_err(PickError::Missing)?;
        let member = room.members.values().find(|m| m.id.as_str() == id && m.serial == serial);
        let member = member.ok_or(PickError::Missing(Missing::Participant))?;
        match (member.is_connected(), member.is_up()) {
            (false, _) => Err(PickError::Refused(Refusal::NoTunnel)),
            (_, false) => Err(PickError::Refused(Refusal::Offline)),
            _ => Ok(room.picked(member, true)),
        }
    }

    /// Puts a request in its room's line, unless `limit` wait there already. Its number comes with its turn, out of
    /// [`Registry::settle`].
    ///
    /// # Errors
    /// [`PickError`].
    pub fn wait(&mut self, code: &str, want: Want, limit: usize) -> Result<u64, PickError> {
        let number = self.waiting_so_far + 1;
        let room = self.room_mut(code).map_err(PickError::Missing)?;
        if room.line.len() >= limit {
            return Err(PickError::LineFull);
        }
        room.line.push(Waiting { number, want });
        self.waiting_so_far = number;
        self.waiting += 1;
        Ok(number)
    }

    /// Requests that wait now, in all rooms.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a request out of the line. False when its turn has come already.
    pub fn leave_line(&mut self, code: &str, number: u64) -> bool {
        let Ok(room) = self.room_mut(code) else { return false };
        let before = room.line.len();
        room.line.retain(|waiting| waiting.number != number);
        let left = room.line.len() < before;
        self.waiting -= usize::from(left);
        left
    }

    /// Gives those who wait their turn, first come first served: a place, or the reason why they need not wait any
    /// longer. To be called after every change that may have freed a place or taken somebody away.
    pub fn settle(&mut self, now: Now, random: Random<'_>) -> Vec<(u64, Result<Picked, Refusal>)> {
        let mut turns = Vec::new();
        if self.waiting == 0 {
            return turns;
        }
        for room in self.rooms.values_mut().filter(|room| !room.line.is_empty()) {
            for waiting in std::mem::take(&mut room.line) {
                match room.take_place(&waiting.want, now, random) {
                    Err(Refusal::Busy) => room.line.push(waiting),
                    turn => turns.push((waiting.number, turn)),
                }
            }
        }
        self.waiting -= turns.len();
        turns
    }

    /// Gives a place back. Of a participant that has left meanwhile there is none.
    pub fn release(&mut self, picked: &Picked) {
        if let Some(member) = self.picked_mut(picked) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// Notes how a participant has served a request.
    pub fn note(&mut self, picked: &Picked, outcome: Outcome, now: Now) {
        if let Some(member) = self.picked_mut(picked) {
            match outcome {
                Outcome::Served { ttft_ms } => member.health.served(ttft_ms),
                Outcome::Failed => member.health.failed(now.mono),
                Outcome::NoResponses => member.no_responses = true,
            }
        }
    }

    fn picked_mut(&mut self, picked: &Picked) -> Option<&mut Member> {
        let room = self.rooms.get_mut(&picked.code);
        room.and_then(|room| room.members.get_mut(&picked.id)).filter(|member| member.serial == picked.serial)
    }
}

impl Room {
    fn take_place(&mut self, want: &Want, now: Now, random: Random<'_>) -> Result<Picked, Refusal> {
        let (member, named) = pick::pick(self, want, now.mono, random)?;
        let picked = self.picked(member, named);
        if let Some(member) = self.members.get_mut(&picked.id) {
            member.in_flight += 1;
        }
        Ok(picked)
    }

    fn picked(&self, member: &Member, named: bool) -> Picked {
        let none = RuntimeConfig::default();
        Picked {
            code: self.code.clone(),
            id: member.id.clone(),
            serial: member.serial,
            profile: member.profile.clone(),
            config: merge(&member.profile.config, self.defaults.as_ref().unwrap_or(&none)),
            named,
            wants_chat: member.wants_chat(),
            reach: member.reach,
        }
    }
}

/// How a participant has served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Served {
        /// Time to first token, milliseconds.
        ttft_ms: u64,
    },
    /// It failed, and it was not the client's doing.
    Failed,
    /// Its provider has no Responses API.
    NoResponses,
}

/// Why a request goes to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// There is no such room.
    Missing(Missing),
    /// Nobody in it takes the request.
    Refused(Refusal),
    /// Nobody in it takes the request now, and too many wait already.
    LineFull,
}

impl Member {
    fn new(id: ParticipantId, serial: u64, profile: Profile, now: Now) -> Self {
        Member {
            id,
            serial,
            profile,
            reach: Reach::Tunnel,
            tunnel: Tunnel::default(),
            silent: false,
            in_flight: 0,
            health: Health::default(),
            no_responses: false,
            joined_at: now.wall,
            last_seen: now,
            updated_at: now.wall,
            ticket: None,
        }
    }

    fn touch(&mut self, now: Now) {
        self.last_seen = now;
        self.updated_at = now.wall;
        self.silent = false;
    }

    fn event(&self, code: &RoomCode, now: Now, kind: impl FnOnce(Participant) -> EventKind) -> Event {
        Event { at: now.wall, room: code.clone(), kind: kind(self.shown()) }
    }

    fn offline_event(&self, code: &RoomCode, now: Now) -> Event {
        Event { at: now.wall, room: code.clone(), kind: EventKind::ParticipantOffline(self.id.to_string()) }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
