//! The legacy plane's routes for reading, for hubs that have no v1 plane. Answers and events are returned in the v1 plane's
//! types. A hub that has a v1 plane should be read through [`Client`](super::Client).

use serde::de::DeserializeOwned;

use super::events::{self, EventStream};
use super::http::Http;
use crate::error::{Error, Reason};
use crate::proto::legacy::{read_member, read_room};
use crate::proto::management::{Health, Participant, RoomSummary};
use crate::proto::read_json::from_bytes;
use crate::proto::web::percent_encode;

/// A hub's legacy routes. Made by [`Client::legacy`](super::Client::legacy).
#[derive(Debug)]
pub struct Legacy<'c>(pub(super) &'c Http);

impl Legacy<'_> {
    /// Checks that the hub is up.
    ///
    /// # Errors
    /// When the hub can't be reached or reports an error.
    pub fn health(&self) -> Result<Health, Error> {
        self.get("/health")
    }

    /// Lists all rooms. Whether a room has a password is not known: `password_protected` is false.
    ///
    /// # Errors
    /// When the hub can't be reached.
    pub fn rooms(&self) -> Result<Vec<RoomSummary>, Error> {
        let mut rooms = Vec::new();
        self.0.each_object("/rooms", "\"rooms\"", &mut |room| rooms.extend(read_room(room)))?;
        Ok(rooms)
    }

    /// Lists a room's participants.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn participants(&self, room: &str) -> Result<Vec<Participant>, Error> {
        let path = format!("/rooms/{}/participants", percent_encode(room));
        let mut members = Vec::new();
        self.0.each_object(&path, "\"participants\"", &mut |member| members.extend(read_member(member)))?;
        Ok(members)
    }

    /// Watches a room's events until the stream breaks.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn events(&self, room: &str) -> Result<EventStream, Error> {
        let stream = events::open(self.0, &format!("/rooms/{}/events", percent_encode(room)))?;
        Ok(stream.of_legacy_room(room))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let (_, text) = self.0.call("GET", path, None)?;
        from_bytes(&text).map_err(|e| self.0.bad_answer(path, Reason::of(e)))
    }
}
