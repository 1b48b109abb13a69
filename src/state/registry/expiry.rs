//! Deletion of rooms: by their host, or when they expire.

use super::super::Now;
use super::super::event::{Event, EventKind};
use super::super::id::RoomCode;
use super::super::room::Room;
use super::quota::IDLE_ROOM_TTL;
use super::rooms::Registry;

/// Times after which unused and empty rooms expire; `None` means never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomExpiry {
    /// After their last use, milliseconds.
    pub unused: Option<u64>,
    /// After their last participant, milliseconds.
    pub empty: Option<u64>,
}

/// A deleted room. The caller closes its tunnels and rejects its waiting requests.
#[derive(Debug)]
pub struct Deleted {
    /// Its code.
    pub code: RoomCode,
    /// Serials of its members.
    pub serials: Vec<u64>,
    /// Numbers of the requests that waited in it.
    pub waiting: Vec<u64>,
}

/// Why a room is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDeleted {
    /// There is no such room.
    Missing,
    /// The host id is wrong.
    NotHost,
}

impl Registry {
    /// Deletes a room. `host_id` is what authorises it.
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
        self.waiting -= room.queue.len();
        self.waiting_rooms.remove(code);
        let deleted = Deleted {
            code: code.clone(),
            serials: room.members.values().map(|member| member.serial).collect(),
            waiting: room.queue.iter().map(|waiting| waiting.number).collect(),
        };
        let kind = EventKind::RoomDeleted(room.summary());
        Some((deleted, vec![Event { at: now.wall, room: code.clone(), kind }]))
    }

    /// Deletes the rooms that have been unused or empty for longer than `expiry` allows, or for [`IDLE_ROOM_TTL`] where
    /// space is short.
    pub fn expire_rooms(&mut self, expiry: RoomExpiry, now: Now) -> (Vec<Deleted>, Vec<Event>) {
        let past = |since: u64, life: Option<u64>| life.is_some_and(|life| now.mono.saturating_sub(since) >= life);
        let unneeded = |room: &Room| {
            let since = room.last_used.max(room.last_occupied);
            room.members.is_empty() && past(since, Some(IDLE_ROOM_TTL)) && room.space.is_tight()
        };
        let over = |room: &Room| {
            !room.declared
                && (past(room.last_used, expiry.unused) || past(room.last_occupied, expiry.empty) || unneeded(room))
        };
        let expired = |room: &mut Room| {
            if !room.members.is_empty() {
                room.last_occupied = now.mono;
            }
            over(room).then(|| room.code.clone())
        };
        let codes: Vec<RoomCode> = self.rooms.values_mut().filter_map(expired).collect();
        let (mut deleted, mut events) = (Vec::new(), Vec::new());
        for (room, event) in codes.iter().filter_map(|code| self.take_room(code, now)) {
            deleted.push(room);
            events.extend(event);
        }
        (deleted, events)
    }
}
