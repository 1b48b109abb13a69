//! All rooms of a hub. Every change returns the events that it caused; whoever holds the registry tells the watchers.
//!
//! Passwords are not checked here: hashing takes too long for anything that is held under a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::event::{Event, EventKind};
use super::health::Health;
use super::id::{self, ParticipantId, RoomCode, Secret};
use super::room::{Member, Password, Profile, Reach, Room, Ticket, Tunnel};
use super::{Now, Random, page};
use crate::budget::{Budget, Share};
use crate::proto::management::{Heartbeat, Participant, RoomSummary, RuntimeConfig, Status, TIMEOUT_SECS, TOKEN_SECS};

mod lives;
mod places;
mod proof;
mod space;

pub use lives::{Deleted, NotDeleted, RoomLives};
pub use places::{Outcome, PickError, Picked};
pub use proof::{Denied, Proof};

/// The rooms of a hub.
#[derive(Debug)]
pub struct Registry {
    rooms: HashMap<RoomCode, Room>,
    rooms_so_far: u64,
    members_so_far: u64,
    tunnels_so_far: u64,
    waiting_so_far: u64,
    /// Requests that wait now, in all rooms.
    waiting: usize,
    /// Bytes that rooms and participants may need, and do.
    space: Arc<Budget>,
}

impl Default for Registry {
    /// One without a bound.
    fn default() -> Self {
        Registry {
            rooms: HashMap::new(),
            rooms_so_far: 0,
            members_so_far: 0,
            tunnels_so_far: 0,
            waiting_so_far: 0,
            waiting: 0,
            space: Budget::new(u64::MAX),
        }
    }
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
    /// Asked for when joining.
    pub password: Option<Password>,
    /// Whether talking, listing and watching need it too.
    pub private: bool,
    /// Settings for every request in it.
    pub defaults: Option<RuntimeConfig>,
    /// Its code, where the operator declared it.
    pub code: Option<RoomCode>,
    /// The network of the client that makes it, on whose account its space is; the operator's own has none.
    pub owner: Option<IpAddr>,
}

/// Why a participant can't register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRegistered {
    /// There is no such room.
    Missing(Missing),
    /// Its id is that of a participant that is up and reached in another way.
    Taken,
    /// Its id is that of another participant, whose token it has not shown.
    NotTheirs,
    /// The hub holds as much as it may.
    Full,
}

/// A participant that registers.
#[derive(Debug)]
pub struct Registering<'p> {
    /// Unique in its room.
    pub id: ParticipantId,
    /// What it says of itself.
    pub profile: Profile,
    /// How the hub reaches it.
    pub reach: Reach,
    /// What it shows of its token.
    pub proof: Proof<'p>,
    /// The network that it comes from, on whose account its space is.
    pub owner: Option<IpAddr>,
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
    /// The participant's own token, where whoever registered may know it.
    pub participant_token: Option<Secret>,
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
        // What the operator declares is there in any case.
        let mut space = self.space_of(new.owner);
        let _ = space.grow_to(new.weight());
        self.rooms_so_far += 1;
        let room = Room {
            number: self.rooms_so_far,
            id: id::room_id(random),
            space,
            code: code.clone(),
            name: new.name,
            host_id: id::uuid(random),
            created_at: now.wall,
            password: new.password,
            private: new.private,
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

    /// The next rooms behind the one with a number, oldest first; `count` of them at most.
    pub fn rooms_after(&self, after: Option<u64>, count: usize) -> Vec<&Room> {
        page::next(self.rooms.values(), |room| room.number, after, count)
    }

    /// All rooms, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values()
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
        new: Registering<'_>,
        now: Now,
        random: Random<'_>,
    ) -> Result<(Upserted, Vec<Event>), NotRegistered> {
        let Registering { id, profile, reach, proof, owner } = new;
        let serial = self.members_so_far + 1;
        let (mut space, weight) = (self.space_of(owner), profile.weight());
        let room = self.room_mut(code).map_err(NotRegistered::Missing)?;
        let same = |a: Reach, b: Reach| (a == Reach::Tunnel) == (b == Reach::Tunnel);
        if room.members.get(&id).is_some_and(|known| !same(known.reach, reach) && known.is_up()) {
            return Err(NotRegistered::Taken);
        }
        let known = room.members.get(&id);
        let created = known.is_none();
        let (own_token, told) = proof.token_for(known, now, random)?;
        let fits = match room.members.get_mut(&id) {
            Some(known) => known.space.grow_to(weight),
            None => space.grow_to(weight),
        };
        if !fits {
            return Err(NotRegistered::Full);
        }
        let token = Secret::draw(random);
        let ticket = Ticket { token: token.clone(), dies_at: now.mono + TOKEN_SECS * 1000 };
        let profile = Arc::new(profile);
        let member = || Member::new(id.clone(), serial, profile.clone(), own_token.clone(), space, now);
        let member = room.members.entry(id.clone()).or_insert_with(member);
        member.space.shrink_to(weight);
        member.token = own_token.clone();
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
            participant_token: told.then_some(own_token),
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
        let event = Event { at: now.wall, room: room.code.clone(), kind };
        Ok((Removed { serial: member.serial }, vec![event]))
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
}

impl Member {
    fn new(id: ParticipantId, serial: u64, profile: Arc<Profile>, token: Secret, space: Share, now: Now) -> Self {
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
            token,
            space,
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
mod tests;
