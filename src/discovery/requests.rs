//! What a hub is asked that was found. It is not trusted, so that each request has a short time limit, and the key is kept back.

use std::time::Duration;

use super::found::FoundHub;
use crate::client::Client;
use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::proto::management::RoomSummary;

fn client(url: &str, fingerprint: Option<Fingerprint>, within: Duration) -> Result<Client, Error> {
    Ok(Client::new(url)?.with_fingerprint(fingerprint)?.with_timeout(within))
}

/// Whether a hub answers at the URL.
pub fn is_up(url: &str, fingerprint: Option<Fingerprint>, within: Duration) -> bool {
    client(url, fingerprint, within).and_then(|client| client.health()).is_ok()
}

/// The hub's rooms. Anyone on the network can announce a hub, so the key is sent only to one that refuses to list its rooms
/// without.
///
/// # Errors
/// When the hub refuses, or does not answer any more.
pub fn rooms(hub: &FoundHub, key: Option<&str>, within: Duration) -> Result<Vec<RoomSummary>, Error> {
    let client = client(&hub.url, hub.fingerprint, within)?;
    match (client.rooms().list(), key) {
        (Err(error), Some(key)) if error.status() == Some(401) => client.with_key(key).rooms().list(),
        (listed, _) => listed,
    }
}
