//! What a hub is asked that was found. It is not trusted, so that each request has a short time limit, and the key is kept back.

use std::time::{Duration, Instant};

use super::found::FoundHub;
use crate::client::Client;
use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::proto::management::RoomSummary;

/// The longest answer that is read, in bytes: several thousand rooms fit. Many hubs may be announced, and are asked at once.
const MAX_ANSWER: u64 = 1 << 20;

/// The rooms that a hub lists, or why it does not.
pub type Rooms = Result<Vec<RoomSummary>, Error>;

/// What is asked of a hub that answers.
#[derive(Clone)]
pub enum Wanted {
    Nothing,
    /// Its rooms; the key is for a hub that requires one.
    Rooms(Option<String>),
}

/// What a hub answers at a URL; `None` if it does not until then.
pub fn ask(url: &str, fingerprint: Option<Fingerprint>, wanted: &Wanted, until: Instant) -> Option<Rooms> {
    client(url, fingerprint, until).and_then(|client| client.health()).ok()?;
    Some(match wanted {
        Wanted::Nothing => Ok(Vec::new()),
        Wanted::Rooms(key) => list(url, fingerprint, key.as_deref(), until),
    })
}

/// The hub's rooms.
///
/// # Errors
/// When the hub refuses, or does not answer any more.
pub fn rooms(hub: &FoundHub, key: Option<&str>, within: Duration) -> Rooms {
    list(&hub.url, hub.fingerprint, key, Instant::now() + within)
}

/// Anyone on the network can announce a hub, so the key is sent only to one that refuses to list its rooms without.
fn list(url: &str, fingerprint: Option<Fingerprint>, key: Option<&str>, until: Instant) -> Rooms {
    let client = client(url, fingerprint, until)?;
    match (client.rooms().list(), key) {
        (Err(error), Some(key)) if error.status() == Some(401) => client.with_key(key).rooms().list(),
        (listed, _) => listed,
    }
}

/// A client each of whose requests ends by then. Zero would be no time limit.
fn client(url: &str, fingerprint: Option<Fingerprint>, until: Instant) -> Result<Client, Error> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    Ok(Client::new(url)?.with_fingerprint(fingerprint)?.with_timeout(left).with_max_answer(MAX_ANSWER))
}
