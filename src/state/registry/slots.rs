//! Slots of participants: acquired, queued for, and released; and how participants served the requests in them.

use std::sync::Arc;

use super::super::balancer::{self, Choice};
use super::super::config::merge;
use super::super::id::{ParticipantId, RoomCode};
use super::super::room::{Member, Profile, Reach, Room, Waiting};
use super::super::selector::{Refusal, Want};
use super::super::{Now, Random};
use super::registration::Missing;
use super::rooms::Registry;
use crate::proto::management::RuntimeConfig;

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
    /// Whether the request named it by id, so that no other participant can serve it.
    pub named: bool,
    /// Whether Responses requests must be translated to chat completions for it.
    pub wants_chat: bool,
    /// Whether Messages requests must be translated to chat completions for it.
    pub no_messages: bool,
    /// Whether requests of Ollama's API must be translated for it.
    pub no_ollama: bool,
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
    pub fn peek(&self, code: &str, id: &str, serial: u64) -> Result<Picked, PickError> {
        let room = self.room(code).map_err(PickError::Missing)?;
        let member = room.members.values().find(|m| m.id.as_str() == id && m.serial == serial);
        let member = member.ok_or(PickError::Missing(Missing::Participant))?;
        match (member.is_connected(), member.is_up()) {
            (false, _) => Err(PickError::Refused(Refusal::NoTunnel)),
            (_, false) => Err(PickError::Refused(Refusal::Offline)),
            _ => Ok(room.picked(&Choice::by_id(member))),
        }
    }

    /// Queues a request in its room, unless `limit` requests wait there already. Returns its number, by which
    /// [`Registry::grant_waiting`] reports its grant.
    ///
    /// A request that has failed over already goes in front of new ones, behind others like it, and is exempt from the
    /// limit.
    ///
    /// # Errors
    /// [`PickError`].
    pub fn wait(&mut self, code: &str, want: Want, limit: usize) -> Result<u64, PickError> {
        let number = self.waiting_so_far + 1;
        let room = self.room_mut(code).map_err(PickError::Missing)?;
        if want.tried.is_empty() && room.queue.len() >= limit {
            return Err(PickError::QueueFull);
        }
        let tried = || room.queue.partition_point(|waiting| !waiting.want.tried.is_empty());
        let place = if want.tried.is_empty() { room.queue.len() } else { tried() };
        room.queue.insert(place, Waiting { number, want });
        self.waiting_so_far = number;
        self.waiting += 1;
        Ok(number)
    }

    /// Requests that wait for a slot now, in all rooms.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Removes a request from the queue. False where it has been granted already.
    pub fn leave_queue(&mut self, code: &str, number: u64) -> bool {
        let Ok(room) = self.room_mut(code) else { return false };
        let before = room.queue.len();
        room.queue.retain(|waiting| waiting.number != number);
        let left = room.queue.len() < before;
        self.waiting -= usize::from(left);
        left
    }

    /// Grants waiting requests in order: a slot, or the reason why they cannot get one. Must be called after every
    /// change that may have freed a slot or removed a participant.
    pub fn grant_waiting(&mut self, now: Now, random: Random<'_>) -> Vec<(u64, Result<Picked, Refusal>)> {
        let mut grants = Vec::new();
        if self.waiting == 0 {
            return grants;
        }
        for room in self.rooms.values_mut().filter(|room| !room.queue.is_empty()) {
            for waiting in std::mem::take(&mut room.queue) {
                match room.acquire_slot(&waiting.want, now, random) {
                    Err(Refusal::Busy) => room.queue.push(waiting),
                    grant => grants.push((waiting.number, grant)),
                }
            }
        }
        self.waiting -= grants.len();
        grants
    }

    /// Releases a slot. Does nothing where the participant was removed meanwhile.
    pub fn release(&mut self, picked: &Picked) {
        if let Some(member) = self.picked_mut(picked) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// Records how a participant has served a request.
    pub fn record_outcome(&mut self, picked: &Picked, outcome: Outcome, now: Now) {
        if let Some(member) = self.picked_mut(picked) {
            match outcome {
                Outcome::Served { ttft_ms, streamed } => member.health.served(ttft_ms, streamed),
                Outcome::Failed => member.health.failed(now.mono),
                Outcome::NoResponses => member.no_responses = true,
                Outcome::NoMessages => member.no_messages = true,
                Outcome::NoOllama => member.no_ollama = true,
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
        let picked = self.picked(&balancer::pick(self, want, now.mono, random)?);
        if let Some(member) = self.members.get_mut(&picked.id) {
            member.in_flight += 1;
        }
        Ok(picked)
    }

    fn picked(&self, choice: &Choice<'_>) -> Picked {
        let member = choice.member;
        let none = RuntimeConfig::default();
        Picked {
            code: self.code.clone(),
            id: member.id.clone(),
            serial: member.serial,
            profile: member.profile.clone(),
            config: merge(&member.profile.config, self.defaults.as_ref().unwrap_or(&none)),
            model: member.profile.models.name(choice.model).to_owned(),
            named: choice.named,
            wants_chat: member.wants_chat(),
            no_messages: member.no_messages,
            no_ollama: member.lacks_ollama(),
            reach: member.reach,
            slowest_streamed_ms: member.health.slowest(true),
            slowest_whole_ms: member.health.slowest(false),
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
        /// Whether the client asked for a stream.
        streamed: bool,
    },
    /// It failed, and the client did not cause it.
    Failed,
    /// Its provider has no Responses API.
    NoResponses,
    /// Its provider has no Messages API.
    NoMessages,
    /// Its provider lacks Ollama's API.
    NoOllama,
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
