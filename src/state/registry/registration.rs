//! What changes of the registry take and return.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::super::id::{ParticipantId, RoomCode, Secret};
use super::super::room::{Password, Profile, Reach};
use crate::proto::management::{Participant, RuntimeConfig};

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No room has that code.
    Room,
    /// The room has no such participant.
    Participant,
}

/// A room to be made.
#[derive(Debug)]
pub struct NewRoom {
    /// What to call it.
    pub name: String,
    /// Asked for when joining.
    pub password: Option<Password>,
    /// Whether talking, listing and watching need it too.
    pub private: bool,
    /// Settings for every request in it.
    pub defaults: Option<RuntimeConfig>,
    /// Its code, where the operator declared it.
    pub code: Option<RoomCode>,
    /// The network of the client that makes it, on whose account its space is; the operator's own has none.
    pub owner: Option<IpAddr>,
}

/// Why a participant can't register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRegistered {
    /// There is no such room.
    Missing(Missing),
    /// Its id is that of a participant that is up and reached in another way.
    Taken,
    /// Its id is that of another participant, whose token it has not shown.
    NotTheirs,
    /// The hub holds as much as it may.
    Full,
}

/// A participant that registers.
#[derive(Debug)]
pub struct Registering<'p> {
    /// Unique in its room.
    pub id: ParticipantId,
    /// What it says of itself.
    pub profile: Profile,
    /// Its models that are in memory, where it tells.
    pub loaded: Option<Vec<String>>,
    /// How the hub reaches it.
    pub reach: Reach,
    /// What it shows of its token.
    pub proof: Proof<'p>,
    /// The network that it comes from, on whose account its space is.
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
    /// Buys one tunnel.
    pub token: Secret,
    /// The participant's own token, where whoever registered may know it.
    pub participant_token: Option<Secret>,
}

/// A participant's new tunnel.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The member's number.
    pub serial: u64,
    /// The tunnel's number: a later one of the same member is higher.
    pub tunnel: u64,
    /// Where the tunnel's thread notes each message: milliseconds since the epoch.
    pub seen: Arc<AtomicU64>,
}

/// A participant that was removed, for whoever closes its tunnel.
#[derive(Debug)]
pub struct Removed {
    /// The member's number.
    pub serial: u64,
}

/// What a request shows, and whether it must.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof<'p> {
    /// The token, as it was shown.
    pub token: Option<&'p str>,
    /// Whether nobody may speak for a participant without its token.
    pub demanded: bool,
}
