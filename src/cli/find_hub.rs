//! Finds the hub that `--hub auto` stands for, by mDNS.

#[cfg(feature = "mdns")]
use std::time::Duration;

#[cfg(feature = "mdns")]
use gambi::Error;
use gambi::Fingerprint;

use super::failure::Failure;
use super::output::Output;

/// How long to listen for mDNS announcements.
#[cfg(feature = "mdns")]
pub const LISTEN: Duration = Duration::from_secs(2);
/// How often to listen for a hub that is not found. A hub may leave queries unanswered that come within a second of
/// another client's (RFC 6762, section 6), and multicast is lost on a busy network.
#[cfg(feature = "mdns")]
const ATTEMPTS: usize = 3;

/// A hub's URL, and the fingerprint of its certificate if it announces one.
pub type Found = (String, Option<Fingerprint>);

/// The hub that has the room or, if no room is given, of the only hub on the network. `key` is for hubs that
/// list their rooms only with it.
///
/// # Errors
/// When no hub is found, or several are and no room tells them apart.
#[cfg(feature = "mdns")]
pub fn find_hub(out: &Output, room: Option<&str>, key: Option<&str>) -> Result<Found, Failure> {
    use gambi::discovery::{discover_hubs, resolve_target};

    if let Some(room) = room {
        let find = || until_found(|| resolve_target(room, LISTEN, key));
        let hub = out.while_waiting("Looking for the room...", find)?.hub;
        return Ok((hub.url, hub.fingerprint));
    }
    let find = || {
        until_found(|| {
            discover_hubs(LISTEN).and_then(|hubs| if hubs.is_empty() { Err(Error::NoHub) } else { Ok(hubs) })
        })
    };
    match out.while_waiting("Looking for hubs...", find)?.as_slice() {
        [one] => Ok((one.url.clone(), one.fingerprint)),
        several => {
            let urls: Vec<_> = several.iter().map(|hub| hub.url.as_str()).collect();
            Err(Failure::usage("several hubs were found").hint(format!("Name one with --hub: {}.", urls.join(", "))))
        }
    }
}

/// Looks again while nothing is found.
#[cfg(feature = "mdns")]
fn until_found<T>(mut look: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut found = look();
    for _ in 1..ATTEMPTS {
        if !matches!(found, Err(Error::NoHub | Error::NoSuchRoom { .. })) {
            break;
        }
        found = look();
    }
    found
}

#[cfg(not(feature = "mdns"))]
pub fn find_hub(_: &Output, _: Option<&str>, _: Option<&str>) -> Result<Found, Failure> {
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
                if looks == answer { Ok(()) } else { Err(Error::NoHub) }
            });
            (found.is_ok(), looks)
        };
        assert_eq!([1, 3, 4].map(found_at), [(true, 1), (true, 3), (false, 3)]);
        let mut looks = 0;
        let several = until_found::<()>(|| {
            looks += 1;
            Err(Error::Ambiguous { target: "Lab".into(), matches: Vec::new() })
        });
        assert!(matches!(several, Err(Error::Ambiguous { .. })) && looks == 1);
    }
}
