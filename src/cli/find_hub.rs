//! Finds the hub that `--hub auto` stands for, by mDNS.

#[cfg(feature = "mdns")]
use std::time::{Duration, Instant};

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
const ATTEMPTS: u32 = 3;

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

    let began = Instant::now();
    if let Some(room) = room {
        let find = || until_found(|| resolve_target(room, LISTEN, key), || began.elapsed());
        let hub = out.while_waiting("Looking for the room...", find)?.hub;
        return Ok((hub.url, hub.fingerprint));
    }
    let look = || discover_hubs(LISTEN).and_then(|hubs| if hubs.is_empty() { Err(Error::NoHub) } else { Ok(hubs) });
    let find = || until_found(look, || began.elapsed());
    match out.while_waiting("Looking for hubs...", find)?.as_slice() {
        [one] => Ok((one.url.clone(), one.fingerprint)),
        several => {
            let urls: Vec<_> = several.iter().map(|hub| hub.url.as_str()).collect();
            Err(Failure::usage("several hubs were found").hint(format!("Name one with --hub: {}.", urls.join(", "))))
        }
    }
}

/// Looks again while nothing is found. Not once as much time has passed as all attempts listen: a hub that is announced and does
/// not answer makes each take longer.
#[cfg(feature = "mdns")]
fn until_found<T>(mut look: impl FnMut() -> Result<T, Error>, elapsed: impl Fn() -> Duration) -> Result<T, Error> {
    let mut found = look();
    for _ in 1..ATTEMPTS {
        if !matches!(found, Err(Error::NoHub | Error::NoSuchRoom { .. })) || elapsed() >= LISTEN * ATTEMPTS {
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
    use std::cell::Cell;

    use super::*;

    /// Looks until it is found, each time in `pace`. Returns the end, and how often it looked.
    fn looked(mut look: impl FnMut(u32) -> Result<(), Error>, pace: Duration) -> (Result<(), Error>, u32) {
        let looks = Cell::new(0);
        let next = || {
            looks.set(looks.get() + 1);
            look(looks.get())
        };
        (until_found(next, || pace * looks.get()), looks.get())
    }

    #[test]
    fn a_hub_that_does_not_answer_at_once_is_looked_for_again() {
        let found_at = |answer: u32, pace| {
            let (found, looks) = looked(|look| if look == answer { Ok(()) } else { Err(Error::NoHub) }, pace);
            (found.is_ok(), looks)
        };
        assert_eq!([1, 3, 4].map(|answer| found_at(answer, LISTEN)), [(true, 1), (true, 3), (false, 3)]);
        assert_eq!(found_at(4, LISTEN * 2), (false, 2), "each look waits for a hub that is gone");
    }

    #[test]
    fn a_hub_that_was_found_is_not_looked_for_again() {
        let refused = || Error::RoomsUnlisted {
            target: "Lab".into(),
            url: "http://a".into(),
            status: Some(401),
            reason: "a key".into(),
        };
        assert_eq!(looked(|_| Err(refused()), LISTEN).1, 1);
        assert_eq!(looked(|_| Err(Error::NoRooms { urls: Vec::new() }), LISTEN).1, 1);
        assert_eq!(looked(|_| Err(Error::Ambiguous { target: "Lab".into(), matches: Vec::new() }), LISTEN).1, 1);
    }
}
