//! What is shown of the requests that wait for a participant: those of one room, and how many there are in each.

use std::collections::HashMap;

use super::super::Now;
use super::super::id::RoomCode;
use super::super::selector::Caller;
use super::registration::Missing;
use super::rooms::Registry;
use crate::proto::management::MAX_TEXT;
use crate::proto::queue::{MAX_SHOWN, RoomQueue, WaitingRequest};
use crate::proto::text::cut;

impl Registry {
    /// The requests that wait in a room, in the order in which they would get slots now, as `reader` sees them. Addresses of
    /// clients are not shown: a number tells them apart.
    ///
    /// # Errors
    /// [`Missing::Room`] where there is no such room.
    pub fn queue(&self, code: &str, reader: &Caller, now: Now) -> Result<RoomQueue, Missing> {
        let room = self.room(code)?;
        let mut clients = HashMap::new();
        let order = room.shares.order(&room.queue, now.mono);
        let requests = (1..).zip(order.into_iter().take(MAX_SHOWN)).map(|(place, waiting)| {
            let (caller, client) = match &waiting.want.caller {
                Caller::Person(name) => (Some(name.to_string()), None),
                network @ Caller::Network(_) => {
                    let next = clients.len() as u64 + 1;
                    (None, Some(*clients.entry(network.clone()).or_insert(next)))
                }
            };
            WaitingRequest {
                place,
                caller,
                client,
                own: waiting.want.caller == *reader,
                model: cut(&waiting.want.model, MAX_TEXT).to_owned(),
                since: now.wall.saturating_sub(now.mono.saturating_sub(waiting.since)),
            }
        });
        let requests = requests.collect();
        let queued = room.queue.len() as u64;
        Ok(RoomQueue { room_code: room.code.to_string(), timestamp: now.wall, queued, requests })
    }

    /// How many requests wait, of each room where some do.
    pub fn queue_lengths(&self) -> Vec<(RoomCode, usize)> {
        if self.waiting() == 0 {
            return Vec::new();
        }
        let waiting = self.waiting_rooms.iter().filter_map(|code| self.rooms.get(code));
        let waiting = waiting.filter(|room| !room.queue.is_empty());
        waiting.map(|room| (room.code.clone(), room.queue.len())).collect()
    }
}
