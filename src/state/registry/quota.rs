//! How much a registry may hold. Rooms and participants cost whoever makes them nothing, so that together they have a
//! bound; and when it comes near, those that nobody needs go first.

use std::net::IpAddr;

use super::super::Now;
use super::super::event::{Event, EventKind};
use super::super::id::ParticipantId;
use super::super::room::{Member, Profile, Room};
use super::registration::NewRoom;
use super::rooms::Registry;
use crate::budget::{Budget, Share};
use crate::proto::management::RuntimeConfig;

/// What a room or a participant takes beside its texts, bytes: about what the hub's structures do.
const BASE: usize = 1024;
/// What each further model takes beside its name, bytes.
const NAME_BASE: usize = 64;
/// One client's network has one part in so many of the space.
const PARTS: u64 = 4;
/// A room that nobody has been in or used for so long goes when space is short, milliseconds.
pub(super) const ROOM_MAY_GO: u64 = 600_000;
/// A participant that has been offline for so long goes when space is short, milliseconds.
const MEMBER_MAY_GO: u64 = 60_000;

impl NewRoom {
    /// The space that it needs, bytes.
    pub fn weight(&self) -> u64 {
        (BASE + escaped(&self.name) + self.defaults.as_ref().map_or(0, of_config)) as u64
    }
}

impl Profile {
    /// The space that it needs, bytes.
    pub fn weight(&self) -> u64 {
        let names = self.models.all();
        let texts = [&self.nickname, &self.endpoint].into_iter().chain(&self.aliases).chain(names);
        let specs = [&self.specs.gpu, &self.specs.cpu].into_iter().flatten();
        let texts = texts.chain(specs).map(|text| escaped(text)).sum::<usize>();
        (BASE + NAME_BASE * (names.len() - 1) + texts + of_config(&self.config)) as u64
    }
}

fn of_config(config: &RuntimeConfig) -> usize {
    let stops = config.sampling.stop.iter().flatten().map(|text| escaped(text)).sum::<usize>();
    stops + config.instructions.as_deref().map_or(0, escaped)
}

/// The length of a text as JSON has it, which is how lists and events repeat it: a control character is six bytes there.
fn escaped(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

impl Registry {
    /// A registry whose rooms and participants may need so many bytes together; those of one client's network a quarter of
    /// it.
    pub fn with_space(bytes: usize) -> Self {
        Registry { space: Budget::in_parts(bytes as u64, PARTS), ..Registry::default() }
    }

    /// Whether there is space for so many bytes more, of somebody's.
    pub fn has_space(&self, owner: Option<IpAddr>, bytes: u64) -> bool {
        self.space_of(owner).grow_to(bytes)
    }

    pub(super) fn space_of(&self, owner: Option<IpAddr>) -> Share {
        owner.map_or_else(|| self.space.share(), |owner| self.space.share_of(owner))
    }

    /// Removes participants that have been offline for `after` milliseconds, and sooner where space is short. Their
    /// numbers, for whoever lets go of what they had.
    pub fn expire_members(&mut self, after: Option<u64>, now: Now) -> (Vec<u64>, Vec<Event>) {
        let gone = |member: &Member| {
            let past = |life: u64| now.mono.saturating_sub(member.last_seen.mono) >= life;
            !member.is_up() && (after.is_some_and(past) || (past(MEMBER_MAY_GO) && member.space.is_tight()))
        };
        // Whether space is short is asked of all before the first is removed.
        let ids = |room: &Room| -> Vec<ParticipantId> {
            room.members.values().filter(|member| gone(member)).map(|member| member.id.clone()).collect()
        };
        let gone: Vec<_> = self.rooms.values().map(|room| (room.code.clone(), ids(room))).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_weighed_as_json_has_them() {
        for text in ["", "Lab", "größe", "a\"b\\c", "\u{1}\u{1f}\u{7f}\u{8}\u{c}\n\r\t", "\u{2028}"] {
            assert_eq!(escaped(text), serde_json::to_string(text).unwrap().len() - 2, "{text:?}");
        }
    }
}
