//! How much a registry may hold. Rooms and participants cost whoever makes them nothing, so that together they have a
//! bound; and when it comes near, those that nobody needs go first.

use super::super::Now;
use super::super::event::{Event, EventKind};
use super::super::room::{Member, Profile};
use super::registration::NewRoom;
use super::rooms::Registry;
use crate::proto::management::RuntimeConfig;

/// What a room or a participant takes beside its texts, bytes: about what the hub's structures do.
const BASE: usize = 1024;
/// A room that nobody has been in or used for so long goes when space is short, milliseconds.
pub(super) const ROOM_MAY_GO: u64 = 600_000;
/// A participant that has been offline for so long goes when space is short, milliseconds.
const MEMBER_MAY_GO: u64 = 60_000;

impl NewRoom {
    /// The space that it needs, bytes.
    pub fn weight(&self) -> usize {
        BASE + self.name.len() + self.defaults.as_ref().map_or(0, of_config)
    }
}

impl Profile {
    /// The space that it needs, bytes.
    pub fn weight(&self) -> usize {
        let texts = [&self.nickname, &self.model, &self.endpoint].into_iter().chain(&self.aliases);
        let specs = [&self.specs.gpu, &self.specs.cpu].into_iter().flatten();
        BASE + texts.chain(specs).map(String::len).sum::<usize>() + of_config(&self.config)
    }
}

fn of_config(config: &RuntimeConfig) -> usize {
    let stops = config.sampling.stop.iter().flatten().map(String::len).sum::<usize>();
    stops + config.instructions.as_ref().map_or(0, String::len)
}

impl Registry {
    /// A registry whose rooms and participants may need so many bytes together.
    pub fn with_space(bytes: usize) -> Self {
        Registry { space: bytes, ..Registry::default() }
    }

    /// Whether there is space for so many bytes more.
    pub fn has_space(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.space
    }

    /// Whether space is short.
    pub(super) fn is_short(&self) -> bool {
        self.used > self.space / 4 * 3
    }

    /// Removes participants that have been offline for `after` milliseconds, and sooner where space is short. Their
    /// numbers, for whoever lets go of what they had.
    pub fn expire_members(&mut self, after: Option<u64>, now: Now) -> (Vec<u64>, Vec<Event>) {
        let after = if self.is_short() { Some(after.unwrap_or(u64::MAX).min(MEMBER_MAY_GO)) } else { after };
        let Some(after) = after else { return Default::default() };
        let gone = |member: &Member| !member.is_up() && now.mono.saturating_sub(member.last_seen.mono) >= after;
        let (mut serials, mut events, mut freed) = (Vec::new(), Vec::new(), 0);
        for room in self.rooms.values_mut() {
            let code = &room.code;
            for (id, member) in room.members.extract_if(|_, member| gone(member)) {
                freed += member.profile.weight();
                serials.push(member.serial);
                let kind = EventKind::ParticipantLeft(id.to_string());
                events.push(Event { at: now.wall, room: code.clone(), kind });
            }
        }
        self.used -= freed;
        (serials, events)
    }
}
