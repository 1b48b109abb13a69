//! Being found on the local network by mDNS, and finding others (RFC 6762, RFC 6763). The only user of mdns-sd.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};

use crate::client::Client;
use crate::error::Error;
use crate::proto::management::RoomSummary;

/// The type that hubs are announced as (PROTOCOL.md, "Constants").
pub const SERVICE_TYPE: &str = "_gambi._tcp.local.";
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Hubs, and addresses of one, that are asked whether they are there: anybody on the network can announce any number.
const MAX_HUBS: usize = 256;
const MAX_ADDRESSES: usize = 8;
/// How long a hub that was found may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A hub that is being announced. Dropping it says goodbye.
pub struct Announcement {
    daemon: ServiceDaemon,
    fullname: String,
    name: String,
}

/// Announces a hub that listens on `address` and `port`: on all interfaces where the address is unspecified.
///
/// # Errors
/// When the system lets nobody send to the multicast group.
pub fn announce(address: IpAddr, port: u16) -> Result<Announcement, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "announcing the hub by mDNS", reason: e.to_string() };
    let name = format!("gambi-hub-{port}");
    // The host name is ours alone: a machine's own name may be announced by another responder already.
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|e| Error::System { what: "reading randomness", reason: e.to_string() })?;
    let host = format!("{name}-{:08x}.local.", u32::from_ne_bytes(random));
    let properties = [("version", "1.0"), ("protocol", "http")];
    let info = if address.is_unspecified() {
        ServiceInfo::new(SERVICE_TYPE, &name, &host, "", port, &properties[..]).map(ServiceInfo::enable_addr_auto)
    } else {
        ServiceInfo::new(SERVICE_TYPE, &name, &host, address, port, &properties[..])
    };
    let info = info.map_err(failed)?;
    let fullname = info.get_fullname().to_owned();
    let daemon = ServiceDaemon::new().map_err(failed)?;
    daemon.register(info).map_err(failed)?;
    Ok(Announcement { daemon, fullname, name })
}

impl Announcement {
    /// The instance's name, such as `gambi-hub-3000`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Ok(done) = self.daemon.unregister(&self.fullname) {
            let _ = done.recv_timeout(GOODBYE);
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = done.recv_timeout(GOODBYE);
        }
    }
}

/// A hub that was found, and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundHub {
    /// Its name on the network, such as `gambi-hub-3000`.
    pub name: String,
    /// Where it answers.
    pub url: String,
    /// All addresses that it announces.
    pub addresses: Vec<SocketAddr>,
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

/// What is announced under one name, before anybody has asked whether it is there.
type Announced = BTreeMap<String, BTreeSet<SocketAddr>>;

/// Finds the hubs that announce themselves and answer. Listens for as long as `listen` says.
///
/// # Errors
/// When the system lets nobody listen to the multicast group.
pub fn discover_hubs(listen: Duration) -> Result<Vec<FoundHub>, Error> {
    let announced = browse(listen)?;
    let found = thread::scope(|scope| {
        let ask = |(name, addresses): (String, BTreeSet<SocketAddr>)| scope.spawn(move || reach(name, &addresses));
        let asked: Vec<_> = announced.into_iter().map(ask).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    Ok(merge(found))
}

fn browse(listen: Duration) -> Result<Announced, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "looking for hubs by mDNS", reason: e.to_string() };
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.browse(SERVICE_TYPE).map_err(failed)?;
    let deadline = Instant::now() + listen;
    let mut announced = Announced::new();
    while let Ok(event) = events.recv_deadline(deadline) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
                let addresses = addresses.map(|ip| SocketAddr::new(ip, service.port));
                note(&mut announced, &service.fullname, addresses);
            }
            // It has said goodbye.
            ServiceEvent::ServiceRemoved(_, fullname) => {
                announced.remove(&fullname);
            }
            _ => {}
        }
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = done.recv_timeout(GOODBYE);
    }
    Ok(announced)
}

/// Adds what a name is announced with, as far as there is room.
fn note(announced: &mut Announced, name: &str, addresses: impl Iterator<Item = SocketAddr>) {
    if announced.len() >= MAX_HUBS && !announced.contains_key(name) {
        return;
    }
    let known = announced.entry(name.to_owned()).or_default();
    for address in addresses {
        if known.len() < MAX_ADDRESSES {
            known.insert(address);
        }
    }
}

/// A client of a hub that was found. It may be anybody's, and must not keep us waiting.
fn client(url: &str) -> Result<Client, Error> {
    Client::new(url).map(|client| client.with_timeout(ANSWER))
}

/// The first of a hub's addresses at which it answers.
fn reach(fullname: String, addresses: &BTreeSet<SocketAddr>) -> Option<FoundHub> {
    let name = fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&fullname).trim_end_matches('.').to_owned();
    let answers = |url: &String| client(url).and_then(|client| client.health()).is_ok();
    let url = addresses
        .iter()
        .filter(|address| has_a_url(address))
        .map(|address| format!("http://{address}"))
        .find(answers)?;
    Some(FoundHub { name, url, addresses: addresses.iter().copied().collect() })
}

/// A link-local IPv6 address means nothing without its interface, which a URL can't name.
fn has_a_url(address: &SocketAddr) -> bool {
    !matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// One entry for each hub, however many names it is announced under.
fn merge(found: Vec<FoundHub>) -> Vec<FoundHub> {
    let mut hubs: Vec<FoundHub> = Vec::new();
    for hub in found {
        match hubs.iter_mut().find(|known| known.url == hub.url || known.addresses == hub.addresses) {
            None => hubs.push(hub),
            Some(known) => {
                let all: BTreeSet<_> = known.addresses.iter().chain(&hub.addresses).copied().collect();
                known.addresses = all.into_iter().collect();
            }
        }
    }
    hubs
}

/// Finds the rooms of all hubs that announce themselves.
///
/// # Errors
/// As [`discover_hubs`].
pub fn discover_rooms(listen: Duration) -> Result<Vec<FoundRoom>, Error> {
    let mut rooms = Vec::new();
    for hub in discover_hubs(listen)? {
        // A hub that went away between the two questions has no rooms to offer.
        let listed = client(&hub.url).and_then(|client| client.rooms().list()).unwrap_or_default();
        rooms.extend(listed.into_iter().map(|room| FoundRoom { hub: hub.clone(), room }));
    }
    Ok(rooms)
}

/// Finds the one room with a code or a name. A code goes before a name.
///
/// # Errors
/// [`Error::NoHub`], [`Error::NoSuchRoom`], [`Error::Ambiguous`] with the matches; as [`discover_hubs`].
pub fn resolve_target(target: &str, listen: Duration) -> Result<FoundRoom, Error> {
    let rooms = discover_rooms(listen)?;
    choose(rooms, target)
}

fn choose(rooms: Vec<FoundRoom>, target: &str) -> Result<FoundRoom, Error> {
    if rooms.is_empty() {
        return Err(Error::NoHub);
    }
    let by_code = |found: &&FoundRoom| found.room.code.eq_ignore_ascii_case(target.trim());
    let by_name = |found: &&FoundRoom| found.room.name.trim().to_lowercase() == target.trim().to_lowercase();
    let mut matches: Vec<&FoundRoom> = rooms.iter().filter(by_code).collect();
    if matches.is_empty() {
        matches = rooms.iter().filter(by_name).collect();
    }
    match matches.as_slice() {
        [] => Err(Error::NoSuchRoom { target: target.to_owned() }),
        [one] => Ok((*one).clone()),
        several => {
            let told = |found: &&FoundRoom| format!("{} \"{}\" at {}", found.room.code, found.room.name, found.hub.url);
            Err(Error::Ambiguous { target: target.to_owned(), matches: several.iter().map(told).collect() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(url: &str, addresses: &[&str]) -> FoundHub {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        FoundHub { name: "gambi-hub-1".into(), url: url.into(), addresses }
    }

    fn room(code: &str, name: &str, url: &str) -> FoundRoom {
        let room = RoomSummary {
            id: String::new(),
            code: code.into(),
            name: name.into(),
            host_id: String::new(),
            created_at: 0,
            password_protected: false,
            private: false,
            participant_count: 0,
            defaults: None,
        };
        FoundRoom { hub: hub(url, &[]), room }
    }

    #[test]
    fn announcements_without_end_fill_no_memory() {
        let mut announced = Announced::new();
        for n in 0..10_000_u16 {
            note(&mut announced, &format!("hub-{n}"), std::iter::once(SocketAddr::from(([10, 0, 0, 1], 1))));
            note(&mut announced, "hub-1", std::iter::once(SocketAddr::from(([10, 0, 0, 1], n))));
        }
        assert_eq!((announced.len(), announced["hub-1"].len()), (MAX_HUBS, MAX_ADDRESSES));
    }

    #[test]
    fn a_hub_under_two_names_is_one() {
        let two =
            vec![hub("http://10.0.0.1:1", &["10.0.0.1:1"]), hub("http://10.0.0.1:1", &["10.0.0.1:1", "[fd00::1]:1"])];
        let merged = merge(two);
        assert_eq!((merged.len(), merged[0].addresses.len()), (1, 2));
        assert!(!has_a_url(&"[fe80::1]:1".parse().unwrap()) && has_a_url(&"[fd00::1]:1".parse().unwrap()));
    }

    #[test]
    fn a_room_is_found_by_code_or_by_name() {
        let rooms = || {
            vec![
                room("ABC234", "Lab", "http://a"),
                room("XYZ234", "Shop", "http://b"),
                room("DEF234", "lab", "http://b"),
            ]
        };
        assert_eq!(choose(rooms(), "abc234").unwrap().hub.url, "http://a");
        assert_eq!(choose(rooms(), " shop ").unwrap().room.code, "XYZ234");
        assert!(matches!(choose(rooms(), "Attic"), Err(Error::NoSuchRoom { .. })));
        assert!(matches!(choose(Vec::new(), "Lab"), Err(Error::NoHub)));
        match choose(rooms(), "LAB") {
            Err(Error::Ambiguous { matches, .. }) => assert_eq!(matches.len(), 2),
            other => panic!("{other:?}"),
        }
    }
}
