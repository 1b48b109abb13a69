//! Finds the hub that `--hub auto` stands for, by mDNS.

use std::fmt;
#[cfg(feature = "mdns")]
use std::time::Duration;

#[cfg(feature = "mdns")]
use gambi::Error;
use gambi::Fingerprint;
#[cfg(feature = "mdns")]
use gambi::discovery::{FoundHub, FoundRoom, choose_room, discover_hubs, rooms_of};
#[cfg(feature = "mdns")]
use gambi::proto::management::RoomSummary;

use super::context::Context;
use super::failure::Failure;
#[cfg(feature = "mdns")]
use super::trust::{Secret, may_send, withheld};

/// How long to listen for mDNS announcements.
#[cfg(feature = "mdns")]
pub const LISTEN: Duration = Duration::from_secs(2);
/// How often to listen for a hub that is not found. A hub may leave queries unanswered that come within a second of
/// another client's (RFC 6762, section 6), and multicast is lost on a busy network.
#[cfg(feature = "mdns")]
const ATTEMPTS: usize = 3;

/// A command's hub.
#[derive(Debug, Clone)]
pub struct Found {
    /// The name under which it was found by mDNS; `None` for one that was named.
    pub name: Option<String>,
    /// Its URL.
    pub url: String,
    /// The fingerprint of its certificate, if it announces one.
    pub fingerprint: Option<Fingerprint>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the hub {name} at {}", self.url),
            None => write!(f, "the hub at {}", self.url),
        }
    }
}

#[cfg(feature = "mdns")]
impl From<&FoundHub> for Found {
    fn from(hub: &FoundHub) -> Self {
        Found { name: Some(hub.name.clone()), url: hub.url.clone(), fingerprint: hub.fingerprint }
    }
}

/// The hub that has the room or, if no room is given, the only hub on the network.
///
/// # Errors
/// When no hub is found, or several are and no room tells them apart; when a hub lists its rooms only with the key, which it
/// must not be sent.
#[cfg(feature = "mdns")]
pub fn find_hub(context: &Context<'_>, room: Option<&str>) -> Result<Found, Failure> {
    until_found(|| match room {
        Some(room) => with_room(context, room),
        None => only_hub(context),
    })
}

#[cfg(feature = "mdns")]
fn only_hub(context: &Context<'_>) -> Result<Found, Failure> {
    match context.out.while_waiting("Looking for hubs...", || discover_hubs(LISTEN))?.as_slice() {
        [] => Err(Error::NoHub.into()),
        [one] => Ok(one.into()),
        several => {
            let urls: Vec<_> = several.iter().map(|hub| hub.url.as_str()).collect();
            Err(Failure::usage("several hubs were found").hint(format!("Name one with --hub: {}.", urls.join(", "))))
        }
    }
}

#[cfg(feature = "mdns")]
fn with_room(context: &Context<'_>, room: &str) -> Result<Found, Failure> {
    let list = || {
        let with_rooms = |hub: FoundHub| (rooms_of(&hub, None), hub);
        discover_hubs(LISTEN).map(|hubs| hubs.into_iter().map(with_rooms).collect::<Vec<_>>())
    };
    let hubs = context.out.while_waiting("Looking for the room...", list)?;
    let key = context.key()?;
    let (mut rooms, mut unasked) = (Vec::new(), None);
    for (listed, hub) in hubs {
        let listed = match with_consent(context, &hub, listed, key.as_deref())? {
            Ok(listed) => listed,
            Err(error) => {
                // A hub that has gone, or requires another key, counts as one without rooms.
                let is_unasked = error.status() == Some(401) && key.is_some();
                unasked = unasked.or_else(|| is_unasked.then(|| Found::from(&hub)));
                continue;
            }
        };
        rooms.extend(listed.into_iter().map(|room| FoundRoom { hub: hub.clone(), room }));
    }
    match (choose_room(rooms, room), unasked) {
        (Ok(found), _) => Ok(Found::from(&found.hub)),
        (Err(Error::NoHub | Error::NoSuchRoom { .. }), Some(hub)) => Err(withheld(&hub, Secret::Key)),
        (Err(error), _) => Err(error.into()),
    }
}

/// The rooms of a hub that was asked for them without the key; if it wants the key and may be sent it, what it lists then.
///
/// # Errors
/// When the user cannot be asked.
#[cfg(feature = "mdns")]
pub fn with_consent(
    context: &Context<'_>,
    hub: &FoundHub,
    listed: Result<Vec<RoomSummary>, Error>,
    key: Option<&str>,
) -> Result<Result<Vec<RoomSummary>, Error>, Failure> {
    let is_refused = listed.as_ref().is_err_and(|error| error.status() == Some(401));
    Ok(match key.filter(|_| is_refused) {
        Some(key) if may_send(context, &hub.into(), Secret::Key)? => rooms_of(hub, Some(key)),
        _ => listed,
    })
}

/// Looks again while nothing is found.
#[cfg(feature = "mdns")]
fn until_found<T>(mut look: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut found = look();
    for _ in 1..ATTEMPTS {
        if !matches!(found, Err(Failure::Lib(Error::NoHub | Error::NoSuchRoom { .. }))) {
            break;
        }
        found = look();
    }
    found
}

#[cfg(not(feature = "mdns"))]
pub fn find_hub(_: &Context<'_>, _: Option<&str>) -> Result<Found, Failure> {
    Err(built_without_mdns())
}

#[cfg(not(feature = "mdns"))]
pub fn built_without_mdns() -> Failure {
    Failure::usage("this gambi was built without mDNS").hint("Name the hub with --hub URL.")
}

#[cfg(feature = "mdns")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_does_not_answer_at_once_is_looked_for_again() {
        let found_at = |answer: usize| {
            let mut looks = 0;
            let found = until_found(|| {
                looks += 1;
                if looks == answer { Ok(()) } else { Err(Error::NoHub.into()) }
            });
            (found.is_ok(), looks)
        };
        assert_eq!([1, 3, 4].map(found_at), [(true, 1), (true, 3), (false, 3)]);
        let mut looks = 0;
        let several = until_found::<()>(|| {
            looks += 1;
            Err(Error::Ambiguous { target: "Lab".into(), matches: Vec::new() }.into())
        });
        assert!(matches!(several, Err(Failure::Lib(Error::Ambiguous { .. }))) && looks == 1);
    }
}
