//! Slots of participants: acquired, queued for, and released; and how participants served the requests in them.

use std::cmp::Reverse;
use std::sync::Arc;

use super::super::balancer::{self, Choice};
use super::super::config::merge;
use super::super::id::{ParticipantId, RoomCode};
use super::super::missing_routes::{MissingRoutes, ReplaceableRoute};
use super::super::queue::Waiting;
use super::super::room::{Member, Profile, Reach, Room};
use super::super::selector::Caller;
use super::super::selector::{Refusal, Want};
use super::super::{Now, Random};
use super::registration::Missing;
use super::rooms::Registry;
use crate::proto::management::RuntimeConfig;

/// Callers that are remembered for all rooms together; one takes about 100 bytes.
const MAX_CALLERS: usize = 65_536;

/// A participant that was chosen for a request. Its slot must be released with [`Registry::release`].
#[derive(Debug, Clone)]
pub struct Picked {
    /// Its room.
    pub code: RoomCode,
    /// Its id.
    pub id: ParticipantId,
    /// The member's serial.
    pub serial: u64,
    /// Its registered properties.
    pub profile: Arc<Profile>,
    /// The model that the request is sent with, by its provider's name.
    pub model: String,
    /// Its config, merged over its room's defaults.
    pub config: RuntimeConfig,
    /// Who sent the request.
    pub caller: Caller,
    /// Whether the request named it by id, so that no other participant can serve it.
    pub named: bool,
    /// The routes of its provider that something else must take the place of.
    pub missing: MissingRoutes,
    /// How the hub reaches it.
    pub reach: Reach,
    /// The longest of its recent times to first token of streamed answers, milliseconds.
    pub slowest_streamed_ms: u64,
    /// The longest of its recent times to first token of whole answers, milliseconds.
    pub slowest_whole_ms: u64,
}

impl Registry {
    /// Chooses a participant for a request, and acquires one of its slots.
    ///
    /// # Errors
    /// [`PickError`].
    pub fn pick(&mut self, code: &str, want: &Want, now: Now, random: Random<'_>) -> Result<Picked, PickError> {
        let room = self.room_mut(code).map_err(PickError::Missing)?;
        room.last_used = now.mono;
        room.acquire_slot(want, now, random).map_err(PickError::Refused)
    }

    /// A given participant, without acquiring a slot.
    ///
    /// # Errors
    /// [`PickError`]; a member with another serial counts as missing.
    pub fn peek(&self, code: &str, id: &str, serial: u64, caller: &Caller) -> Result<Picked, PickError> {
        let room = self.room(code).map_err(PickError::Missing)?;
        let member = room.members.get(id).filter(|member| member.serial == serial);
        let member = member.ok_or(PickError::Missing(Missing::Participant))?;
        match (member.is_connected(), member.is_up()) {
            (false, _) => Err(PickError::Refused(Refusal::NoTunnel)),
            (_, false) => Err(PickError::Refused(Refusal::Offline)),
            _ => Ok(room.picked(&Choice::by_id(member), caller)),
        }
    }

    /// Queues a request in its room. Where `limit` requests wait there already, it takes the place of the newest request of
    /// the caller that has the most of them, unless that would leave its own caller with as many.
    ///
    /// A request that has failed over already is exempt from the limit.
    ///
    /// # Errors
    /// [`PickError`].
    pub fn wait(&mut self, code: &str, want: Want, limit: usize, now: Now) -> Result<Queued, PickError> {
        let number = self.waiting_so_far + 1;
        let room = self.room_mut(code).map_err(PickError::Missing)?;
        let is_full = want.tried.is_empty() && room.queue.len() >= limit;
        let evicted = if is_full { Some(room.evict(&want.caller, now).ok_or(PickError::QueueFull)?) } else { None };
        room.shares.enqueue(&want.caller, now.mono);
        room.queue.push(Waiting { number, want, since: now.mono });
        let first_code = (room.queue.len() == 1).then(|| room.code.clone());
        self.waiting_so_far = number;
        self.waiting += usize::from(evicted.is_none());
        self.waiting_rooms.extend(first_code);
        Ok(Queued { number, evicted })
    }

    /// The place of a waiting request, from 1, and how many wait in its room.
    pub fn place(&self, code: &str, number: u64, now: Now) -> Option<(usize, usize)> {
        let room = self.room(code).ok()?;
        let ahead = room.shares.ahead_of(number, &room.queue, now.mono)?;
        Some((ahead + 1, room.queue.len()))
    }

    /// Requests that wait for a slot now, in all rooms.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Removes a request from the queue. False where it has been granted already.
    pub fn leave_queue(&mut self, code: &str, number: u64, now: Now) -> bool {
        let Ok(room) = self.room_mut(code) else { return false };
        let Some((lane, index)) = room.queue.find(number) else { return false };
        let left = room.dequeue(lane, index, now).is_some();
        self.waiting -= usize::from(left);
        left
    }

    /// Grants waiting requests, by the shares of their callers: a slot, or the reason why they cannot get one. Must be called
    /// after every change that may have freed a slot or removed a participant.
    pub fn grant_waiting(&mut self, now: Now, random: Random<'_>) -> Vec<(u64, Result<Picked, Refusal>)> {
        let mut grants = Vec::new();
        let rooms = &mut self.rooms;
        self.waiting_rooms.retain(|code| {
            let Some(room) = rooms.get_mut(code) else { return false };
            while let Some(grant) = room.grant_next(now, random) {
                grants.push(grant);
            }
            !room.queue.is_empty()
        });
        self.waiting -= grants.len();
        grants
    }

    /// Releases a slot. Does nothing where the participant was removed meanwhile.
    pub fn release(&mut self, picked: &Picked, now: Now) {
        if let Some(room) = self.rooms.get_mut(&picked.code) {
            room.shares.finish(&picked.caller, now.mono);
        }
        if let Some(member) = self.picked_mut(picked) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// Forgets callers of all rooms if too many are remembered. Each call halves those that have no request, so it is to be
    /// called again and again.
    pub fn forget_callers(&mut self, now: Now) {
        if self.rooms.values().map(|room| room.shares.callers()).sum::<usize>() > MAX_CALLERS {
            self.rooms.values_mut().for_each(|room| room.shares.forget(now.mono));
        }
    }

    /// Records how a participant has served a request.
    pub fn record_outcome(&mut self, picked: &Picked, outcome: Outcome, now: Now) {
        if let Some(member) = self.picked_mut(picked) {
            match outcome {
                Outcome::Served { ttft_ms, streamed } => member.health.served(ttft_ms, streamed),
                Outcome::Failed => member.health.failed(now.mono),
                Outcome::Lacks(route) => member.missing.insert(route),
            }
        }
    }

    /// Whether the participant is still in its room.
    pub fn has(&self, picked: &Picked) -> bool {
        let member = self.rooms.get(&picked.code).and_then(|room| room.members.get(&picked.id));
        member.is_some_and(|member| member.serial == picked.serial)
    }

    fn picked_mut(&mut self, picked: &Picked) -> Option<&mut Member> {
        let room = self.rooms.get_mut(&picked.code);
        room.and_then(|room| room.members.get_mut(&picked.id)).filter(|member| member.serial == picked.serial)
    }
}

impl Room {
    fn acquire_slot(&mut self, want: &Want, now: Now, random: Random<'_>) -> Result<Picked, Refusal> {
        let picked = self.picked(&balancer::pick(self, want, now.mono, random)?, &want.caller);
        self.shares.start(&want.caller, now.mono);
        if let Some(member) = self.members.get_mut(&picked.id) {
            member.in_flight += 1;
        }
        Ok(picked)
    }

    /// Grants the next request that can be granted. Its number, and its slot or why it gets none.
    fn grant_next(&mut self, now: Now, random: Random<'_>) -> Option<(u64, Result<Picked, Refusal>)> {
        let mut busy: Vec<Want> = Vec::new();
        // Looked up before a slot is acquired: that ends the caller's wait.
        let starving = self.shares.starving(&self.queue, now.mono);
        let mut lanes = self.shares.lanes(&self.queue, starving, now.mono);
        while let Some(Reverse((.., lane))) = lanes.pop() {
            let want = self.queue.lanes()[lane].want();
            if busy.iter().any(|other| other.has_same_candidates(want)) {
                continue;
            }
            let want = want.clone();
            match self.acquire_slot(&want, now, random) {
                Err(Refusal::Busy) => busy.push(want),
                grant => {
                    let number = self.dequeue(lane, 0, now)?.number;
                    if starving == Some(number) && grant.is_ok() {
                        self.shares.record_rescue(now.mono);
                    }
                    return Some((number, grant));
                }
            }
        }
        None
    }

    fn dequeue(&mut self, lane: usize, index: usize, now: Now) -> Option<Waiting> {
        let waiting = self.queue.remove(lane, index)?;
        self.shares.dequeue(&waiting.want.caller, now.mono);
        Some(waiting)
    }

    /// Removes the newest request of the caller that has the most waiting, in favour of one of `caller`. Its number.
    fn evict(&mut self, caller: &Caller, now: Now) -> Option<u64> {
        let longest = self.shares.longest_queue(caller)?.clone();
        let waiting = self.queue.evict(&longest)?;
        self.shares.dequeue(&longest, now.mono);
        Some(waiting.number)
    }

    fn picked(&self, choice: &Choice<'_>, caller: &Caller) -> Picked {
        let member = choice.member;
        let none = RuntimeConfig::default();
        Picked {
            code: self.code.clone(),
            id: member.id.clone(),
            serial: member.serial,
            profile: member.profile.clone(),
            config: merge(&member.profile.config, self.defaults.as_ref().unwrap_or(&none)),
            model: member.profile.models.name(choice.model).to_owned(),
            caller: caller.clone(),
            named: choice.named,
            missing: member.missing,
            reach: member.reach,
            slowest_streamed_ms: member.health.slowest(true),
            slowest_whole_ms: member.health.slowest(false),
        }
    }
}

/// A request that was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Its number.
    pub number: u64,
    /// The number of the request that lost its place for it. It must be told [`PickError::QueueFull`].
    pub evicted: Option<u64>,
}

/// How a participant has served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Served {
        /// Time to first token, milliseconds.
        ttft_ms: u64,
        /// Whether the client asked for a stream.
        streamed: bool,
    },
    /// It failed, and the client did not cause it.
    Failed,
    /// Its provider lacks a route.
    Lacks(ReplaceableRoute),
}

/// Why no participant gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// There is no such room.
    Missing(Missing),
    /// No participant of the room can take the request.
    Refused(Refusal),
    /// All participants that could take the request are busy, and the queue is full.
    QueueFull,
}
