//! Arguments and results of the registry's operations.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::super::id::{ParticipantId, RoomCode, Secret};
use super::super::room::{Password, Profile, Reach};
use crate::proto::management::{Participant, RuntimeConfig};

/// The part of a path that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No room has that code.
    Room,
    /// The room has no such participant.
    Participant,
}

/// A room to be created.
#[derive(Debug)]
pub struct NewRoom {
    /// Its display name.
    pub name: String,
    /// Required to join.
    pub password: Option<Password>,
    /// Whether inference, lists and events need the password too.
    pub private: bool,
    /// Default settings of its requests.
    pub defaults: Option<RuntimeConfig>,
    /// Its code, where the operator declared the room.
    pub code: Option<RoomCode>,
    /// The network of the client that creates it, to which its size is charged; `None` for the operator's own rooms.
    pub owner: Option<IpAddr>,
}

/// Why a participant can't register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRegistered {
    /// There is no such room.
    Missing(Missing),
    /// Its id belongs to an online participant with the other kind of [`Reach`].
    Taken,
    /// Its id belongs to another participant, and the token is missing or wrong.
    NotTheirs,
    /// The registry's space is used up.
    Full,
}

/// A participant that registers.
#[derive(Debug)]
pub struct Registering<'p> {
    /// Unique in its room.
    pub id: ParticipantId,
    /// Its registered properties.
    pub profile: Profile,
    /// Its models that are in memory, where it tells.
    pub loaded: Option<Vec<String>>,
    /// How the hub reaches it.
    pub reach: Reach,
    /// The participant token of the request.
    pub proof: Proof<'p>,
    /// The client's network, to which its size is charged.
    pub owner: Option<IpAddr>,
}

/// A participant that has just registered.
#[derive(Debug)]
pub struct Upserted {
    /// Whether it was new.
    pub created: bool,
    /// As clients see it.
    pub participant: Participant,
    /// Its room's id.
    pub room_id: String,
    /// Its room's code.
    pub code: RoomCode,
    /// The single-use token that opens its tunnel.
    pub token: Secret,
    /// The participant's own token, where the client may know it.
    pub participant_token: Option<Secret>,
}

/// A participant's new tunnel.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The member's serial.
    pub serial: u64,
    /// The tunnel's number: a later one of the same member is higher.
    pub tunnel: u64,
    /// Time of the last message, milliseconds since the epoch. Written by the tunnel's thread.
    pub seen: Arc<AtomicU64>,
}

/// A participant that was removed. The caller closes its tunnel.
#[derive(Debug)]
pub struct Removed {
    /// The member's serial.
    pub serial: u64,
}

/// The participant token of a request, and whether it is required.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof<'p> {
    /// The token that the request contains.
    pub token: Option<&'p str>,
    /// Whether the hub requires the token.
    pub demanded: bool,
}
