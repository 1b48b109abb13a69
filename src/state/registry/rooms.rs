//! The registry: rooms and their members, and the operations that change them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::super::event::{Event, EventKind};
use super::super::fair_shares::FairShares;
use super::super::health::MemberHealth;
use super::super::id::{self, CodePrefix, ParticipantId, RoomCode, Secret};
use super::super::missing_routes::MissingRoutes;
use super::super::queue::Queue;
use super::super::room::{Member, Profile, Reach, Room, TunnelState, TunnelToken};
use super::super::{Now, Random, page};
use super::registration::{Missing, NewRoom, NotRegistered, Opened, Registering, Removed, Upserted};
use crate::budget::{Budget, Share};
use crate::proto::management::{Heartbeat, HeartbeatBody, Participant, RoomSummary, TIMEOUT_SECS, TOKEN_SECS};

/// The rooms of a hub.
#[derive(Debug)]
pub struct Registry {
    pub(super) rooms: HashMap<RoomCode, Room>,
    pub(super) rooms_so_far: u64,
    pub(super) members_so_far: u64,
    pub(super) tunnels_so_far: u64,
    pub(super) waiting_so_far: u64,
    /// What drawn codes begin with.
    pub(super) code_prefix: CodePrefix,
    /// Requests that wait for a slot now, in all rooms.
    pub(super) waiting: usize,
    /// The rooms in which any wait, and some in which none do any more.
    pub(super) waiting_rooms: BTreeSet<RoomCode>,
    /// The bound on the size of rooms and participants, and their present size.
    pub(super) space: Arc<Budget>,
}

impl Default for Registry {
    /// A registry without a bound on its size.
    fn default() -> Self {
        Registry {
            rooms: HashMap::new(),
            rooms_so_far: 0,
            members_so_far: 0,
            tunnels_so_far: 0,
            waiting_so_far: 0,
            code_prefix: CodePrefix::default(),
            waiting: 0,
            waiting_rooms: BTreeSet::new(),
            space: Budget::new(u64::MAX),
        }
    }
}

impl Registry {
    /// The same registry, whose drawn codes begin with a prefix.
    pub fn with_code_prefix(self, code_prefix: CodePrefix) -> Self {
        Registry { code_prefix, ..self }
    }

    /// Creates a room, with the given code or an unused random one.
    pub fn create_room(&mut self, new: NewRoom, now: Now, random: Random<'_>) -> (RoomSummary, Vec<Event>) {
        let code = new.code.clone().unwrap_or_else(|| {
            loop {
                let code = RoomCode::draw(&self.code_prefix, random);
                if !self.rooms.contains_key(&code) {
                    break code;
                }
            }
        });
        // Rooms that the operator declares exist even when space is used up.
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
            queue: Queue::default(),
            shares: FairShares::default(),
            last_used: now.mono,
            last_occupied: now.mono,
            declared: new.code.is_some(),
        };
        let summary = room.summary();
        self.rooms.insert(code.clone(), room);
        (summary.clone(), vec![Event { at: now.wall, room: code, kind: EventKind::RoomCreated(summary) }])
    }

    /// The next rooms whose number is above `after`, oldest first; at most `count`.
    pub fn rooms_after(&self, after: Option<u64>, count: usize) -> Vec<&Room> {
        page::next(self.rooms.values(), |room| room.number, after, count)
    }

    /// All rooms, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values()
    }

    /// A room by its code, in any letter case.
    ///
    /// # Errors
    /// [`Missing::Room`].
    pub fn room(&self, code: &str) -> Result<&Room, Missing> {
        RoomCode::parse(code).and_then(|code| self.rooms.get(&code)).ok_or(Missing::Room)
    }

    pub(super) fn room_mut(&mut self, code: &str) -> Result<&mut Room, Missing> {
        RoomCode::parse(code).and_then(|code| self.rooms.get_mut(&code)).ok_or(Missing::Room)
    }

    pub(super) fn member_mut(&mut self, code: &str, id: &str) -> Result<(&RoomCode, &mut Member), Missing> {
        let room = self.room_mut(code)?;
        let member = room.members.get_mut(id).ok_or(Missing::Participant)?;
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
        let Registering { id, profile, loaded, reach, proof, owner } = new;
        let serial = self.members_so_far + 1;
        let (mut space, weight) = (self.space_of(owner), profile.weight());
        let room = self.room_mut(code).map_err(NotRegistered::Missing)?;
        let known = room.members.get(&id);
        if known.is_some_and(|known| known.is_up() && (known.reach == Reach::Tunnel) != (reach == Reach::Tunnel)) {
            return Err(NotRegistered::Taken);
        }
        let created = known.is_none();
        let (own_token, show_token) = proof.token_for(known, now, random)?;
        let share = room.members.get_mut(&id).map_or(&mut space, |known| &mut known.space);
        if !share.grow_to(weight) {
            return Err(NotRegistered::Full);
        }
        let token = Secret::draw(random);
        let profile = Arc::new(profile);
        let member = || Member::new(id.clone(), serial, profile.clone(), own_token.clone(), space, now);
        let member = room.members.entry(id.clone()).or_insert_with(member);
        member.space.shrink_to(weight);
        member.token = own_token.clone();
        member.renew(profile, reach, token.clone(), now);
        member.set_loaded(loaded.as_deref());
        // A registration follows a probe of the provider, and starts a session.
        (member.provider_down, member.draining) = (false, false);
        let participant = member.shown();
        (room.last_used, room.last_occupied) = (now.mono, now.mono);
        let upserted = Upserted {
            created,
            participant: participant.clone(),
            room_id: room.id.clone(),
            code: room.code.clone(),
            token,
            participant_token: show_token.then_some(own_token),
        };
        self.members_so_far += u64::from(created);
        let kind = if created { EventKind::ParticipantJoined } else { EventKind::ParticipantRenewed };
        let event = Event { at: now.wall, room: upserted.code.clone(), kind: kind(participant) };
        Ok((upserted, vec![event]))
    }

    /// Removes a participant.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn remove(&mut self, code: &str, id: &str, now: Now) -> Result<(Removed, Vec<Event>), Missing> {
        let room = self.room_mut(code)?;
        let member = room.members.remove(id).ok_or(Missing::Participant)?;
        let kind = EventKind::ParticipantLeft(id.to_owned());
        let event = Event { at: now.wall, room: room.code.clone(), kind };
        Ok((Removed { serial: member.serial }, vec![event]))
    }

    /// Records a heartbeat, and what it reports.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn heartbeat(
        &mut self,
        code: &str,
        id: &str,
        report: &HeartbeatBody,
        now: Now,
    ) -> Result<(Heartbeat, Vec<Event>), Missing> {
        self.room_mut(code)?.last_used = now.mono;
        let (code, member) = self.member_mut(code, id)?;
        let shown = |member: &Member| (member.is_up(), member.draining, member.loaded.clone());
        let before = shown(member);
        member.touch(now);
        if report.loaded.is_some() {
            member.set_loaded(report.loaded.as_deref());
        }
        member.provider_down = report.provider_down.unwrap_or(member.provider_down);
        member.draining = report.draining.unwrap_or(member.draining);
        let after = shown(member);
        let kind = if after.0 && !before.0 { EventKind::ParticipantRenewed } else { EventKind::ParticipantUpdated };
        let beat = Heartbeat { success: true, status: member.status(), last_seen: now.wall };
        let events = (after != before).then(|| member.event(code, now, kind)).into_iter().collect();
        Ok((beat, events))
    }

    /// What a participant has last reported of whether its provider is down, and whether it drains.
    pub fn reported(&self, code: &str, id: &str) -> (bool, bool) {
        let member = self.room(code).ok().and_then(|room| room.members.get(id));
        member.map_or((false, false), |member| (member.provider_down, member.draining))
    }

    /// Consumes a tunnel token: true once, where the token is right and has not expired.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn spend_token(&mut self, code: &str, id: &str, token: &str, now: Now) -> Result<bool, Missing> {
        let (_, member) = self.member_mut(code, id)?;
        let is_valid = |known: &mut TunnelToken| known.token.matches(token) && now.mono < known.expires_at;
        Ok(member.tunnel_token.take_if(is_valid).is_some())
    }

    /// Records that a participant's tunnel is open. A tunnel that was open before is superseded.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn open_tunnel(&mut self, code: &str, id: &str, now: Now) -> Result<(Opened, Vec<Event>), Missing> {
        let tunnel = self.tunnels_so_far + 1;
        let (code, member) = self.member_mut(code, id)?;
        member.tunnel = TunnelState { open: Some(tunnel), seen: Arc::new(AtomicU64::new(now.wall)) };
        member.touch(now);
        let opened = Opened { serial: member.serial, tunnel, seen: member.tunnel.seen.clone() };
        let events = vec![member.event(code, now, EventKind::ParticipantRenewed)];
        self.tunnels_so_far = tunnel;
        Ok((opened, events))
    }

    /// Records that a tunnel is closed. Does nothing for a superseded tunnel, or where the participant was removed.
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
        was_up.then(|| member.offline_event(code, now)).into_iter().collect()
    }

    /// Marks participants whose heartbeats have stopped, and drops expired tokens. Returns one event for each change.
    pub fn expire(&mut self, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        for room in self.rooms.values_mut() {
            for member in room.members.values_mut() {
                member.tunnel_token.take_if(|tunnel_token| tunnel_token.expires_at <= now.mono);
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
            missing: MissingRoutes::default(),
            profile,
            reach: Reach::Tunnel,
            tunnel: TunnelState::default(),
            silent: false,
            provider_down: false,
            draining: false,
            in_flight: 0,
            health: MemberHealth::default(),
            loaded: None,
            joined_at: now.wall,
            last_seen: now,
            updated_at: now.wall,
            tunnel_token: None,
            token,
            space,
        }
    }

    /// Replaces its registered properties, with a new token for a tunnel. What was learnt about its provider is reset.
    fn renew(&mut self, profile: Arc<Profile>, reach: Reach, token: Secret, now: Now) {
        let tunnel_token = TunnelToken { token, expires_at: now.mono + TOKEN_SECS * 1000 };
        self.missing = MissingRoutes::registered(&profile.capabilities);
        self.profile = profile;
        self.reach = reach;
        self.tunnel_token = Some(tunnel_token).filter(|_| reach == Reach::Tunnel);
        self.touch(now);
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
