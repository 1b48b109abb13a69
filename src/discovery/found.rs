//! What is found on the network.

use std::net::SocketAddr;

use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::proto::management::RoomSummary;

/// A hub that was found and answers requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundHub {
    /// Its name on the network, such as `gambi-hub-3000`.
    pub name: String,
    /// The URL at which it answers.
    pub url: String,
    /// All its announced addresses.
    pub addresses: Vec<SocketAddr>,
    /// The announced fingerprint of its certificate, if it serves TLS. Anyone can announce any.
    pub fingerprint: Option<Fingerprint>,
}

/// A room that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FoundRoom {
    /// Its hub.
    pub hub: FoundHub,
    /// The room.
    pub room: RoomSummary,
}

/// A hub that was found, with its rooms.
#[derive(Debug)]
#[non_exhaustive]
pub struct HubRooms {
    /// The hub.
    pub hub: FoundHub,
    /// Its rooms, or why it does not list them.
    pub rooms: Result<Vec<RoomSummary>, Error>,
}
