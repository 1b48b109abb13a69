//! Announcing and finding hubs on the local network by mDNS (RFC 6762) and DNS-SD (RFC 6763). The only user of mdns-sd.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, Receiver, RecvTimeoutError, ServiceDaemon, ServiceEvent, ServiceInfo};

use crate::client::Client;
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;
use crate::proto::management::RoomSummary;
use crate::sync::{STACK_SIZE, lock};

/// The type that hubs are announced as (PROTOCOL.md, "Constants").
pub const SERVICE_TYPE: &str = "_gambi._tcp.local.";
/// The properties that say how a hub is reached.
const PROTOCOL: &str = "protocol";
const HTTPS: &str = "https";
const FINGERPRINT: &str = "fingerprint";
/// The time limit for the first announcement. Probing for another responder with the same name takes up to one second,
/// and a host without a network announces nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time between the ends of probing on the first and the last interface: each begins after a random delay
/// of up to 250 ms (RFC 6762, section 8.1).
const PROBE_SPREAD: Duration = Duration::from_millis(300);
/// How often a registration is repeated after the first announcement and after an answer, and after which time.
const REPEATS: u32 = 3;
const REPEAT_INTERVAL: Duration = Duration::from_millis(2200);
/// The least time between two registrations, however many clients ask.
const MIN_REPEAT_INTERVAL: Duration = Duration::from_millis(250);
/// The time limit for withdrawing an announcement.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most hubs, and addresses of one hub, that are checked: anyone on the network can announce any number.
const MAX_HUBS: usize = 256;
const MAX_ADDRESSES: usize = 8;
/// The time limit of each request to a hub that was found.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The announcement of a hub. Dropping it withdraws the announcement.
pub struct Announcement {
    daemon: ServiceDaemon,
    fullname: String,
    name: String,
    host: String,
    address: SocketAddr,
    state: Arc<Mutex<AnnouncementState>>,
}

/// What the thread that repeats the announcement shares with its owner.
struct AnnouncementState {
    info: ServiceInfo,
    withdrawn: bool,
}

/// Announces a hub that listens on `address` and `port`: on all interfaces where the address is unspecified. Returns when
/// it has been announced, or after two seconds. `tls` is the fingerprint of the certificate of a hub that serves TLS.
///
/// # Errors
/// When the system does not allow sending to the multicast group, or has no thread left.
pub fn announce(address: IpAddr, port: u16, tls: Option<Fingerprint>) -> Result<Announcement, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "announcing the hub by mDNS", reason: Reason::of(e) };
    let name = format!("gambi-hub-{port}");
    // A random host name: another responder may announce the machine's own name already.
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|e| Error::System { what: "reading randomness", reason: Reason::of(e) })?;
    let host = format!("{name}-{:08x}.local.", u32::from_ne_bytes(random));
    let info = service(&name, &host, address, port, tls).map_err(failed)?;
    let fullname = info.get_fullname().to_owned();
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.monitor().map_err(failed)?;
    daemon.register(info.clone()).map_err(failed)?;
    let state = Arc::new(Mutex::new(AnnouncementState { info, withdrawn: false }));
    let (daemon_of_owner, address) = (daemon.clone(), SocketAddr::new(address, port));
    let announcement = Announcement { daemon: daemon_of_owner, fullname, name, host, address, state: state.clone() };
    wait_for_announcement(&events);
    let repeating = move || repeat(&daemon, &events, &state);
    let spawned = thread::Builder::new().name("mdns".into()).stack_size(STACK_SIZE).spawn(repeating);
    spawned.map_err(|e| Error::System { what: "starting the mDNS thread", reason: Reason::of(e) })?;
    Ok(announcement)
}

/// What is announced of a hub. `host` is a name for its addresses.
fn service(
    name: &str,
    host: &str,
    address: IpAddr,
    port: u16,
    tls: Option<Fingerprint>,
) -> mdns_sd::Result<ServiceInfo> {
    let fingerprint = tls.map(|fingerprint| fingerprint.to_string());
    let mut properties = vec![("version", "1.0"), (PROTOCOL, if tls.is_some() { HTTPS } else { "http" })];
    properties.extend(fingerprint.as_ref().map(|text| (FINGERPRINT, text.as_str())));
    if address.is_unspecified() {
        ServiceInfo::new(SERVICE_TYPE, name, host, "", port, &properties[..]).map(ServiceInfo::enable_addr_auto)
    } else {
        ServiceInfo::new(SERVICE_TYPE, name, host, address, port, &properties[..])
    }
}

/// Waits for the announcement on every interface: an interface answers no queries before.
fn wait_for_announcement(events: &Receiver<DaemonEvent>) {
    let mut deadline = Instant::now() + PROBE_TIMEOUT;
    while let Ok(event) = events.recv_deadline(deadline) {
        if matches!(event, DaemonEvent::Announce(..)) {
            deadline = deadline.min(Instant::now() + PROBE_SPREAD);
        }
    }
}

/// Repeats the registration after the first announcement and after each answer, until the daemon ends.
///
/// A record must not be multicast again within a second (RFC 6762, section 6). mdns-sd drops an answer that comes too
/// soon instead of delaying it, so a client that asks once, just after an announcement or another client's answer, would
/// get none. mdns-sd announces a repeated registration at once if it may, and again 1.1 s later. Such a client is
/// answered by that.
fn repeat(daemon: &ServiceDaemon, events: &Receiver<DaemonEvent>, state: &Mutex<AnnouncementState>) {
    let mut last = Instant::now();
    let (mut repeats, mut next) = (REPEATS, last + MIN_REPEAT_INTERVAL);
    loop {
        let event = if repeats == 0 {
            events.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            events.recv_deadline(next)
        };
        match event {
            Ok(DaemonEvent::Respond(_)) => (repeats, next) = (REPEATS, last + MIN_REPEAT_INTERVAL),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                let state = lock(state);
                // A full queue of commands is no reason to end: the next repeat may find it empty.
                if state.withdrawn || matches!(daemon.register(state.info.clone()), Err(mdns_sd::Error::DaemonShutdown))
                {
                    return;
                }
                last = Instant::now();
                (repeats, next) = (repeats - 1, last + REPEAT_INTERVAL);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Announcement {
    /// The instance's name, such as `gambi-hub-3000`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Announces another fingerprint, after the hub's certificate was replaced.
    ///
    /// # Errors
    /// When the announcement cannot be made now.
    pub fn set_fingerprint(&self, fingerprint: Fingerprint) -> Result<(), Error> {
        let failed =
            |e: mdns_sd::Error| Error::System { what: "announcing the hub's new certificate", reason: Reason::of(e) };
        let port = self.address.port();
        let info = service(&self.name, &self.host, self.address.ip(), port, Some(fingerprint)).map_err(failed)?;
        let mut state = lock(&self.state);
        state.info = info;
        self.daemon.register(state.info.clone()).map_err(failed)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // No registration may follow the goodbye.
        lock(&self.state).withdrawn = true;
        if let Ok(done) = self.daemon.unregister(&self.fullname) {
            let _ = done.recv_timeout(GOODBYE_TIMEOUT);
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = done.recv_timeout(GOODBYE_TIMEOUT);
        }
    }
}

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

/// What is announced, by instance name, not checked yet.
type Announced = BTreeMap<String, AnnouncedHub>;

/// What a hub announces.
#[derive(Default)]
struct AnnouncedHub {
    addresses: BTreeSet<SocketAddr>,
    tls: bool,
    fingerprint: Option<Fingerprint>,
}

/// Finds the hubs that are announced and answer. Listens for announcements during `listen`, then checks each hub.
///
/// # Errors
/// When the system does not allow listening to the multicast group.
pub fn discover_hubs(listen: Duration) -> Result<Vec<FoundHub>, Error> {
    let announced = browse(listen)?;
    let found = thread::scope(|scope| {
        let check = |(name, hub): (String, AnnouncedHub)| scope.spawn(move || find_url(name, &hub));
        let checks: Vec<_> = announced.into_iter().map(check).collect();
        checks.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    Ok(merge(found))
}

fn browse(listen: Duration) -> Result<Announced, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "looking for hubs by mDNS", reason: Reason::of(e) };
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.browse(SERVICE_TYPE).map_err(failed)?;
    let deadline = Instant::now() + listen;
    let mut announced = Announced::new();
    while let Ok(event) = events.recv_deadline(deadline) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
                let addresses = addresses.map(|ip| SocketAddr::new(ip, service.port));
                if let Some(hub) = record(&mut announced, &service.fullname, addresses) {
                    hub.tls = service.get_property_val_str(PROTOCOL) == Some(HTTPS);
                    hub.fingerprint = service.get_property_val_str(FINGERPRINT).and_then(|text| text.parse().ok());
                }
            }
            // The announcement was withdrawn.
            ServiceEvent::ServiceRemoved(_, fullname) => {
                announced.remove(&fullname);
            }
            _ => {}
        }
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = done.recv_timeout(GOODBYE_TIMEOUT);
    }
    Ok(announced)
}

/// Adds the addresses of a name, up to the limits; `None` if there are too many names.
fn record<'a>(
    announced: &'a mut Announced,
    name: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Option<&'a mut AnnouncedHub> {
    if announced.len() >= MAX_HUBS && !announced.contains_key(name) {
        return None;
    }
    let known = announced.entry(name.to_owned()).or_default();
    for address in addresses {
        if known.addresses.len() < MAX_ADDRESSES {
            known.addresses.insert(address);
        }
    }
    Some(known)
}

/// A client of a hub that was found. It is not trusted, so its requests have a short time limit.
fn client(url: &str, fingerprint: Option<Fingerprint>) -> Result<Client, Error> {
    Ok(Client::new(url)?.with_fingerprint(fingerprint)?.with_timeout(REQUEST_TIMEOUT))
}

/// The hub, with the first of its addresses at which it answers; `None` if it answers at none.
fn find_url(fullname: String, hub: &AnnouncedHub) -> Option<FoundHub> {
    let name = fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&fullname).trim_end_matches('.').to_owned();
    let (scheme, fingerprint) = if hub.tls { (HTTPS, hub.fingerprint) } else { ("http", None) };
    let answers = |url: &String| client(url, fingerprint).and_then(|client| client.health()).is_ok();
    let url = hub
        .addresses
        .iter()
        .filter(|address| has_a_url(address))
        .map(|address| format!("{scheme}://{address}"))
        .find(answers)?;
    Some(FoundHub { name, url, addresses: hub.addresses.iter().copied().collect(), fingerprint })
}

/// False for link-local IPv6 addresses, which need an interface that a URL can't name.
fn has_a_url(address: &SocketAddr) -> bool {
    !matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// Merges the entries of hubs that are announced under several names.
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

/// The rooms of a hub that was found. Anyone on the network can announce a hub, so the key is sent only to one that refuses
/// to list its rooms without.
///
/// # Errors
/// When the hub refuses, or does not answer any more.
pub fn rooms_of(hub: &FoundHub, key: Option<&str>) -> Result<Vec<RoomSummary>, Error> {
    let client = client(&hub.url, hub.fingerprint)?;
    match (client.rooms().list(), key) {
        (Err(error), Some(key)) if error.status() == Some(401) => client.with_key(key).rooms().list(),
        (listed, _) => listed,
    }
}

/// Finds the rooms of all hubs that are announced. `key` is for hubs that require one.
///
/// # Errors
/// As [`discover_hubs`].
pub fn discover_rooms(listen: Duration, key: Option<&str>) -> Result<Vec<FoundRoom>, Error> {
    let mut rooms = Vec::new();
    for hub in discover_hubs(listen)? {
        // A hub that disappeared since it was checked, or requires another key, counts as one without rooms.
        let listed = rooms_of(&hub, key).unwrap_or_default();
        rooms.extend(listed.into_iter().map(|room| FoundRoom { hub: hub.clone(), room }));
    }
    Ok(rooms)
}

/// Finds the only room with the given code or, if no code matches, the given name. `key` is for hubs that require one.
///
/// # Errors
/// [`Error::NoHub`], [`Error::NoSuchRoom`], [`Error::Ambiguous`] with the matches; as [`discover_hubs`].
pub fn resolve_target(target: &str, listen: Duration, key: Option<&str>) -> Result<FoundRoom, Error> {
    let rooms = discover_rooms(listen, key)?;
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
            let shown =
                |found: &&FoundRoom| format!("{} \"{}\" at {}", found.room.code, found.room.name, found.hub.url);
            Err(Error::Ambiguous { target: target.to_owned(), matches: several.iter().map(shown).collect() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(url: &str, addresses: &[&str]) -> FoundHub {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        FoundHub { name: "gambi-hub-1".into(), url: url.into(), addresses, fingerprint: None }
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
    fn the_number_of_announcements_is_limited() {
        let mut announced = Announced::new();
        for n in 0..10_000_u16 {
            record(&mut announced, &format!("hub-{n}"), std::iter::once(SocketAddr::from(([10, 0, 0, 1], 1))));
            record(&mut announced, "hub-1", std::iter::once(SocketAddr::from(([10, 0, 0, 1], n))));
        }
        assert_eq!((announced.len(), announced["hub-1"].addresses.len()), (MAX_HUBS, MAX_ADDRESSES));
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
