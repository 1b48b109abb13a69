//! Announcing and finding hubs on the local network by mDNS (RFC 6762) and DNS-SD (RFC 6763). The only user of mdns-sd.

mod announce;
mod browse;
mod check;
mod found;
mod jobs;
mod requests;
mod service;

use std::time::{Duration, Instant};

use crate::error::{Error, Reason};
use crate::proto::management::RoomSummary;
use requests::Wanted;

pub use announce::{Announcement, announce};
pub use found::{FoundHub, FoundRoom, HubRooms};
pub use service::SERVICE_TYPE;

/// The time limit for all that the hubs are asked after listening.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Finds the hubs that are announced and answer. Listens for announcements during `listen`, then asks all hubs at once, for
/// five seconds at most.
///
/// # Errors
/// When the system does not allow listening to the multicast group, or has no thread left.
pub fn discover_hubs(listen: Duration) -> Result<Vec<FoundHub>, Error> {
    let announced = browse::browse(listen)?;
    let hubs = check::find_hubs(announced, &Wanted::Nothing, Instant::now() + CHECK_TIMEOUT)?;
    Ok(hubs.into_iter().map(|found| found.hub).collect())
}

/// As [`discover_hubs`], with the rooms of each hub: both take five seconds at most. `key` is for hubs that require one.
///
/// # Errors
/// As [`discover_hubs`].
pub fn discover(listen: Duration, key: Option<&str>) -> Result<Vec<HubRooms>, Error> {
    let announced = browse::browse(listen)?;
    let wanted = Wanted::Rooms(key.map(str::to_owned));
    check::find_hubs(announced, &wanted, Instant::now() + CHECK_TIMEOUT)
}

/// The rooms of a hub that was found. Anyone on the network can announce a hub, so the key is sent only to one that refuses
/// to list its rooms without.
///
/// # Errors
/// When the hub refuses, or does not answer any more.
pub fn rooms_of(hub: &FoundHub, key: Option<&str>) -> Result<Vec<RoomSummary>, Error> {
    requests::rooms(hub, key, CHECK_TIMEOUT)
}

/// Finds the rooms of all hubs that are announced. A hub that does not list its rooms counts as one without; [`discover`] says
/// why it does not. `key` is for hubs that require one.
///
/// # Errors
/// As [`discover_hubs`].
pub fn discover_rooms(listen: Duration, key: Option<&str>) -> Result<Vec<FoundRoom>, Error> {
    Ok(discover(listen, key)?
        .into_iter()
        .flat_map(|HubRooms { hub, rooms }| found_rooms(&hub, rooms.unwrap_or_default()))
        .collect())
}

fn found_rooms(hub: &FoundHub, rooms: Vec<RoomSummary>) -> Vec<FoundRoom> {
    rooms.into_iter().map(|room| FoundRoom { hub: hub.clone(), room }).collect()
}

/// Finds the only room with the given code or, if no code matches, the given name. `key` is for hubs that require one.
///
/// # Errors
/// [`Error::NoHub`], [`Error::RoomsUnlisted`], [`Error::NoRooms`], [`Error::NoSuchRoom`], [`Error::Ambiguous`] with the
/// matches; as [`discover_hubs`].
pub fn resolve_target(target: &str, listen: Duration, key: Option<&str>) -> Result<FoundRoom, Error> {
    choose(discover(listen, key)?, target)
}

fn choose(hubs: Vec<HubRooms>, target: &str) -> Result<FoundRoom, Error> {
    let urls: Vec<_> = hubs.iter().map(|found| found.hub.url.clone()).collect();
    let (mut rooms, mut unlisted) = (Vec::new(), None);
    for found in hubs {
        match found.rooms {
            Ok(listed) => rooms.extend(found_rooms(&found.hub, listed)),
            Err(error) => {
                unlisted.get_or_insert_with(|| Error::RoomsUnlisted {
                    target: target.to_owned(),
                    url: found.hub.url,
                    status: error.status(),
                    reason: Reason::of(error),
                });
            }
        }
    }
    match matching(&rooms, target).as_slice() {
        [] => Err(match unlisted {
            // It may have the room.
            Some(unlisted) => unlisted,
            None if urls.is_empty() => Error::NoHub,
            None if rooms.is_empty() => Error::NoRooms { urls },
            None => Error::NoSuchRoom { target: target.to_owned() },
        }),
        [one] => Ok((*one).clone()),
        several => {
            let shown =
                |found: &&FoundRoom| format!("{} \"{}\" at {}", found.room.code, found.room.name, found.hub.url);
            Err(Error::Ambiguous { target: target.to_owned(), matches: several.iter().map(shown).collect() })
        }
    }
}

/// The rooms with this code or, if there is none, this name.
fn matching<'a>(rooms: &'a [FoundRoom], target: &str) -> Vec<&'a FoundRoom> {
    let by_code: Vec<_> = rooms.iter().filter(|found| found.room.code.eq_ignore_ascii_case(target.trim())).collect();
    if !by_code.is_empty() {
        return by_code;
    }
    let name = target.trim().to_lowercase();
    rooms.iter().filter(|found| found.room.name.trim().to_lowercase() == name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::HubError;

    fn hub(url: &str, rooms: Result<Vec<RoomSummary>, Error>) -> HubRooms {
        let hub = FoundHub { name: "gambi-hub-1".into(), url: url.into(), addresses: Vec::new(), fingerprint: None };
        HubRooms { hub, rooms }
    }

    fn room(code: &str, name: &str) -> RoomSummary {
        RoomSummary {
            id: String::new(),
            code: code.into(),
            name: name.into(),
            host_id: String::new(),
            created_at: 0,
            password_protected: false,
            private: false,
            participant_count: 0,
            defaults: None,
        }
    }

    fn refusal(status: u16) -> Error {
        let message = "This hub requires its key.".to_owned();
        Error::Hub(Box::new(HubError { status, code: None, message, hint: None, details: None, request_id: None }))
    }

    #[test]
    fn a_room_is_found_by_code_or_by_name() {
        let hubs = || {
            let others = Ok(vec![room("XYZ234", "Shop"), room("DEF234", "lab")]);
            vec![hub("http://a", Ok(vec![room("ABC234", "Lab")])), hub("http://b", others)]
        };
        assert_eq!(choose(hubs(), "abc234").unwrap().hub.url, "http://a");
        assert_eq!(choose(hubs(), " shop ").unwrap().room.code, "XYZ234");
        assert!(matches!(choose(hubs(), "Attic"), Err(Error::NoSuchRoom { .. })));
        match choose(hubs(), "LAB") {
            Err(Error::Ambiguous { matches, .. }) => assert_eq!(matches.len(), 2),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_room_that_is_not_found_says_whether_a_hub_was() {
        assert!(matches!(choose(Vec::new(), "Lab"), Err(Error::NoHub)));
        let error = choose(vec![hub("http://a", Ok(Vec::new()))], "Lab").unwrap_err();
        assert_eq!(error.to_string(), "the hub at http://a has no room yet");
        assert!(error.hint().unwrap().contains("gambi room create --hub http://a"), "{error:?}");
        let error = choose(vec![hub("http://a", Ok(Vec::new())), hub("http://b", Ok(Vec::new()))], "Lab").unwrap_err();
        assert_eq!(error.to_string(), "none of the hubs at http://a, http://b has a room yet");
    }

    #[test]
    fn a_hub_that_does_not_list_its_rooms_may_have_the_one_that_is_looked_for() {
        let hubs = |status| {
            let lab = Ok(vec![room("ABC234", "Lab")]);
            vec![hub("http://a", lab), hub("http://b", Err(refusal(status))), hub("http://c", Err(refusal(500)))]
        };
        assert_eq!(choose(hubs(401), "Lab").unwrap().hub.url, "http://a");
        let error = choose(hubs(401), "Attic").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no room \"Attic\" was found, and the hub at http://b does not list its rooms: This hub requires its key."
        );
        assert!(error.hint().unwrap().contains("--key-file"), "{error:?}");
        assert!(!choose(hubs(503), "Attic").unwrap_err().hint().unwrap().contains("--key-file"));
    }
}
