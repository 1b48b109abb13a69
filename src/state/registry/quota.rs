//! A bound on the memory of a registry. Clients create rooms and participants at no cost, so their total size is
//! bounded. When the bound is near, unused rooms and offline participants are removed early.

use std::net::IpAddr;

use super::super::Now;
use super::super::event::{Event, EventKind};
use super::super::id::ParticipantId;
use super::super::room::{Member, Profile, Room};
use super::registration::NewRoom;
use super::rooms::Registry;
use crate::budget::{Budget, Share};
use crate::proto::json_parts::escaped_length;
use crate::proto::management::RuntimeConfig;

/// The estimated size of a room or a participant without its texts, bytes.
const BASE: usize = 1024;
/// The estimated size of each further model without its name, bytes.
const NAME_BASE: usize = 64;
/// One client's network may use 1/`PARTS` of the space.
const PARTS: u64 = 4;
/// A room that has been empty and unused for this long is removed when space is short, milliseconds.
pub(super) const IDLE_ROOM_TTL: u64 = 600_000;
/// A participant that has been offline for this long is removed when space is short, milliseconds.
const OFFLINE_MEMBER_TTL: u64 = 60_000;

impl NewRoom {
    /// Its estimated size, bytes.
    pub fn weight(&self) -> u64 {
        (BASE + escaped_length(&self.name) + self.defaults.as_ref().map_or(0, config_length)) as u64
    }
}

impl Profile {
    /// Its estimated size, bytes.
    pub fn weight(&self) -> u64 {
        let names = self.models.all();
        let texts = [&self.nickname, &self.endpoint].into_iter().chain(&self.aliases).chain(names);
        let specs = [&self.specs.gpu, &self.specs.cpu].into_iter().flatten();
        let texts = texts.chain(specs).map(|text| escaped_length(text)).sum::<usize>();
        (BASE + NAME_BASE * (names.len() - 1) + texts + config_length(&self.config)) as u64
    }
}

fn config_length(config: &RuntimeConfig) -> usize {
    let stops = config.sampling.stop.iter().flatten().map(|text| escaped_length(text)).sum::<usize>();
    stops + config.instructions.as_deref().map_or(0, escaped_length)
}

impl Registry {
    /// A registry whose rooms and participants may take `bytes` in total, and those of one client's network a quarter
    /// of it.
    pub fn with_space(bytes: usize) -> Self {
        Registry { space: Budget::in_parts(bytes as u64, PARTS), ..Registry::default() }
    }

    /// Whether there is space for `bytes` more of `owner`.
    pub fn has_space(&self, owner: Option<IpAddr>, bytes: u64) -> bool {
        self.space_of(owner).grow_to(bytes)
    }

    pub(super) fn space_of(&self, owner: Option<IpAddr>) -> Share {
        owner.map_or_else(|| self.space.share(), |owner| self.space.share_of(owner))
    }

    /// Removes participants that have been offline for `after` milliseconds, or for [`OFFLINE_MEMBER_TTL`] where space is
    /// short. Returns their serials, so that the caller can release what it holds for them.
    pub fn expire_members(&mut self, after: Option<u64>, now: Now) -> (Vec<u64>, Vec<Event>) {
        let gone = |member: &Member| {
            let past = |life: u64| now.mono.saturating_sub(member.last_seen.mono) >= life;
            !member.is_up() && (after.is_some_and(past) || (past(OFFLINE_MEMBER_TTL) && member.space.is_tight()))
        };
        // Selects all of them before the first is removed, because removal changes whether space is short.
        let ids = |room: &Room| -> Vec<ParticipantId> {
            room.members.values().filter(|member| gone(member)).map(|member| member.id.clone()).collect()
        };
        let of_room = |room: &Room| Some((room.code.clone(), Some(ids(room)).filter(|ids| !ids.is_empty())?));
        let gone: Vec<_> = self.rooms.values().filter_map(of_room).collect();
        let (mut serials, mut events) = (Vec::new(), Vec::new());
        for (code, ids) in gone {
            let Some(room) = self.rooms.get_mut(&code) else { continue };
            for member in ids.iter().filter_map(|id| room.members.remove(id)) {
                serials.push(member.serial);
                let kind = EventKind::ParticipantLeft(member.id.to_string());
                events.push(Event { at: now.wall, room: code.clone(), kind });
            }
        }
        (serials, events)
    }
}
