//! The legacy plane's routes for reading, for hubs that have no v1 plane. Answers and events are returned in the v1 plane's
//! types. A hub that has a v1 plane should be read through [`Client`](super::Client).

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::events::{self, EventStream};
use super::http::Http;
use crate::error::{Error, Reason};
use crate::proto::legacy::{read_member, read_room};
use crate::proto::management::{Health, Participant, RoomSummary};
use crate::proto::openai::MAX_LIST;
use crate::proto::parsed::parse_within;
use crate::proto::read_json::from_bytes;
use crate::proto::scan;
use crate::proto::web::percent_encode;

/// The most memory that an entry of a list takes once it is parsed; a longer one is skipped.
const MAX_ENTRY: usize = 4 << 20;

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
        self.list("/rooms", "\"rooms\"", read_room)
    }

    /// Lists a room's participants.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn participants(&self, room: &str) -> Result<Vec<Participant>, Error> {
        let path = format!("/rooms/{}/participants", percent_encode(room));
        self.list(&path, "\"participants\"", read_member)
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

    /// What `read` makes of the objects under a key of an answer; the key is given with its quotes. One of them is parsed at a time: the
    /// values of a long list can take a hundred times its memory.
    fn list<T>(&self, path: &str, key: &str, read: fn(Value) -> Option<T>) -> Result<Vec<T>, Error> {
        let (_, text) = self.0.call("GET", path, None)?;
        let mut objects = None;
        let is_read = str::from_utf8(&text).ok().and_then(|text| {
            scan::members(text, |name, value| {
                if name != key {
                    return value.text().map(drop);
                }
                objects = value.objects(MAX_LIST, |_, _, _| Some(()))?.1;
                Some(())
            })
        });
        match objects.filter(|_| is_read.is_some()) {
            Some(objects) => Ok(objects
                .into_iter()
                .filter_map(|object| parse_within(object.as_bytes(), MAX_ENTRY))
                .filter_map(read)
                .collect()),
            None => Err(self.0.bad_answer(path, format!("it has no list {key}").as_str().into())),
        }
    }
}
