//! Asks the hubs that are announced whether they answer, and for their rooms: all at once, each at all its addresses. One
//! deadline bounds that, so that an announcement whose hub is gone delays the others by little.

use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::browse::{AnnouncedHub, MAX_ADDRESSES, add};
use super::found::{FoundHub, HubRooms};
use super::jobs::Jobs;
use super::requests::{self, Rooms, Wanted};
use super::service::{HTTPS, SERVICE_TYPE};
use crate::error::Error;
use crate::fingerprint::Fingerprint;

/// How long the addresses before the first one that answered may still take to do so. Which of several answers first is
/// chance, and a hub should have the same URL each time.
const PREFERENCE_TIME: Duration = Duration::from_millis(250);
/// How long before the deadline the requests end, so that a hub is found that lists no rooms in time.
const MARGIN: Duration = Duration::from_millis(500);

/// The hubs that answer until the deadline, without duplicates.
///
/// # Errors
/// When no thread can be started.
pub fn find_hubs(announced: Vec<AnnouncedHub>, wanted: &Wanted, deadline: Instant) -> Result<Vec<HubRooms>, Error> {
    let mut checks: Vec<_> = announced.into_iter().map(HubCheck::new).collect();
    let mut targets = targets_of(&mut checks);
    let mut jobs = requests_to(&targets, wanted, deadline - MARGIN);
    loop {
        let now = Instant::now();
        let open = checks.iter().filter(|check| !check.is_settled(&targets, now));
        let until = open.map(|check| check.preferred_until.unwrap_or(deadline).min(deadline)).min();
        match until {
            Some(until) if now < deadline => {
                if let Some((target, answer)) = jobs.next(until)? {
                    record(&mut checks, &mut targets, target, answer, Instant::now());
                }
            }
            _ => break,
        }
    }
    Ok(merge(checks.into_iter().filter_map(|check| check.into_found(&mut targets)).collect()))
}

/// The addresses of all hubs, each once: several names of one hub would multiply what it is asked. The first addresses of all hubs come
/// first: one that announces many delays no other.
fn targets_of(checks: &mut [HubCheck]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for place in 0..MAX_ADDRESSES {
        for check in &mut *checks {
            let Some(&address) = check.addresses.iter().filter(|address| has_a_url(address)).nth(place) else {
                continue;
            };
            let (tls, fingerprint) = (check.tls, check.fingerprint);
            let is_same = |known: &Target| (known.address, known.tls, known.fingerprint) == (address, tls, fingerprint);
            check.targets.push(targets.iter().position(is_same).unwrap_or(targets.len()));
            if check.targets.last() == Some(&targets.len()) {
                targets.push(Target { address, tls, fingerprint, answer: None });
            }
        }
    }
    targets
}

/// The requests to all targets, with the places of these in their results.
fn requests_to(targets: &[Target], wanted: &Wanted, until: Instant) -> Jobs<(usize, Option<Rooms>)> {
    let mut jobs = Jobs::new();
    for (place, target) in targets.iter().enumerate() {
        let (url, fingerprint, wanted) = (target.url(), target.fingerprint, wanted.clone());
        jobs.push(move || (place, requests::ask(&url, fingerprint, &wanted, until)));
    }
    jobs
}

/// Records what the target at this place answers.
fn record(checks: &mut [HubCheck], targets: &mut [Target], place: usize, answer: Option<Rooms>, now: Instant) {
    if answer.is_some() {
        for check in checks.iter_mut().filter(|check| check.targets.contains(&place)) {
            check.preferred_until.get_or_insert(now + PREFERENCE_TIME);
        }
    }
    targets[place].answer = Some(answer);
}

/// An address that is asked.
struct Target {
    address: SocketAddr,
    tls: bool,
    fingerprint: Option<Fingerprint>,
    /// What the hub answers there, if it does; `None` while that is not known.
    answer: Option<Option<Rooms>>,
}

impl Target {
    fn url(&self) -> String {
        format!("{}://{}", if self.tls { HTTPS } else { "http" }, self.address)
    }

    fn answers(&self) -> bool {
        matches!(self.answer, Some(Some(_)))
    }
}

/// A hub while its addresses are asked.
struct HubCheck {
    name: String,
    addresses: Vec<SocketAddr>,
    tls: bool,
    fingerprint: Option<Fingerprint>,
    /// The places of the targets that are its addresses, the preferred ones first.
    targets: Vec<usize>,
    /// Set once it has answered at one of them: until then a preferred one may answer too.
    preferred_until: Option<Instant>,
}

impl HubCheck {
    /// A check without targets.
    fn new(hub: AnnouncedHub) -> Self {
        let name = hub.fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&hub.fullname).trim_end_matches('.').to_owned();
        let fingerprint = hub.fingerprint.filter(|_| hub.tls);
        HubCheck {
            name,
            addresses: hub.addresses,
            tls: hub.tls,
            fingerprint,
            targets: Vec::new(),
            preferred_until: None,
        }
    }

    /// Whether no further answer would change its URL.
    fn is_settled(&self, targets: &[Target], now: Instant) -> bool {
        let mut preferred = self.targets.iter().map(|&place| &targets[place]).take_while(|target| !target.answers());
        preferred.all(|target| target.answer.is_some()) || self.preferred_until.is_some_and(|until| until <= now)
    }

    /// `None` if it answers at no URL. Another hub at the same URL counts as one without rooms.
    fn into_found(self, targets: &mut [Target]) -> Option<HubRooms> {
        let place = self.targets.into_iter().find(|&place| targets[place].answers())?;
        let target = &mut targets[place];
        let rooms = mem::replace(target.answer.as_mut()?.as_mut()?, Ok(Vec::new()));
        let hub =
            FoundHub { name: self.name, url: target.url(), addresses: self.addresses, fingerprint: self.fingerprint };
        Some(HubRooms { hub, rooms })
    }
}

/// False for link-local IPv6 addresses, which need an interface that a URL can't name.
fn has_a_url(address: &SocketAddr) -> bool {
    !matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// Merges the entries of hubs that are announced under several names.
fn merge(found: Vec<HubRooms>) -> Vec<HubRooms> {
    let mut hubs: Vec<HubRooms> = Vec::new();
    for HubRooms { hub, rooms } in found {
        match hubs.iter_mut().find(|known| known.hub.url == hub.url || known.hub.addresses == hub.addresses) {
            None => hubs.push(HubRooms { hub, rooms }),
            Some(HubRooms { hub: known, .. }) => {
                hub.addresses.into_iter().for_each(|address| add(&mut known.addresses, address));
            }
        }
    }
    hubs
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A hub that answers these paths: those that end in `!` with the key only, those that end in `~` never.
    fn hub_with(paths: &'static [(&'static str, &'static str)]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
                let has_key = head.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer k3y"));
                let known = paths.iter().find(|(known, _)| known.trim_end_matches(['!', '~']) == path);
                if known.is_some_and(|(known, _)| known.ends_with('~')) {
                    silent.push(stream);
                    continue;
                }
                let (status, body) = match known {
                    Some((known, _)) if known.ends_with('!') && !has_key => (401, r#"{"error":"a key"}"#),
                    Some((_, data)) => (200, *data),
                    None => (404, "{}"),
                };
                let body = format!(r#"{{"data":{body},"meta":{{"requestId":"r"}}}}"#);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        address
    }

    const HEALTH: (&str, &str) = ("/v1/health", r#"{"status":"ok","timestamp":1}"#);

    /// Accepts connections and never answers, as an address whose packets are dropped.
    fn silent() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn announced(hubs: &[(&str, &[SocketAddr])]) -> Vec<AnnouncedHub> {
        let hub = |(name, addresses): &(&str, &[SocketAddr])| {
            let fullname = format!("{name}.{SERVICE_TYPE}");
            AnnouncedHub { fullname, addresses: addresses.to_vec(), ..AnnouncedHub::default() }
        };
        hubs.iter().map(hub).collect()
    }

    fn hubs(announced: Vec<AnnouncedHub>, deadline: Instant) -> Vec<FoundHub> {
        let found = find_hubs(announced, &Wanted::Nothing, deadline).unwrap();
        found.into_iter().map(|found| found.hub).collect()
    }

    fn after(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[test]
    fn a_hub_is_found_behind_addresses_that_do_not_answer() {
        let silent: Vec<_> = (0..MAX_ADDRESSES - 1).map(|_| silent()).collect();
        let up = hub_with(&[HEALTH]);
        let addresses: Vec<_> = silent.iter().map(|(_, address)| *address).chain([up]).collect();
        let found = hubs(announced(&[("lab", &addresses)]), after(Duration::from_secs(30)));
        assert_eq!((found[0].name.as_str(), &found[0].url, found.len()), ("lab", &format!("http://{up}"), 1));
        assert_eq!(found[0].addresses, addresses);
    }

    #[test]
    fn a_hub_is_found_beside_hubs_that_are_gone() {
        let (_listener, gone) = silent();
        let up = hub_with(&[HEALTH]);
        let all = announced(&[("a", &[gone]), ("b", &[gone]), ("c", &[gone]), ("up", &[up])]);
        let found = hubs(all, after(Duration::from_secs(2)));
        assert_eq!(found.iter().map(|hub| hub.name.as_str()).collect::<Vec<_>>(), ["up"]);
    }

    #[test]
    fn rooms_are_listed_with_the_key_where_it_is_asked_for() {
        let room = r#"[{"id":"i","code":"ABC234","name":"Lab","hostId":"h","createdAt":1,"passwordProtected":false,"participantCount":0}]"#;
        let room: &'static str = Box::leak(room.to_owned().into_boxed_str());
        let open = hub_with(Box::leak(Box::new([HEALTH, ("/v1/rooms", room)])));
        let keyed = hub_with(Box::leak(Box::new([HEALTH, ("/v1/rooms!", room)])));
        let codes = |key: Option<&str>| -> Vec<_> {
            let wanted = Wanted::Rooms(key.map(str::to_owned));
            let found =
                find_hubs(announced(&[("a", &[open]), ("b", &[keyed])]), &wanted, after(Duration::from_secs(30)));
            let rooms = found.unwrap().into_iter().map(|hub| hub.rooms);
            rooms.map(|rooms| rooms.map(|rooms| rooms[0].code.clone()).map_err(|e| e.status())).collect()
        };
        assert_eq!(codes(Some("k3y")), [Ok("ABC234".into()), Ok("ABC234".into())]);
        assert_eq!(codes(None), [Ok("ABC234".into()), Err(Some(401))]);
    }

    #[test]
    fn a_hub_that_lists_no_rooms_in_time_is_found_all_the_same() {
        let slow = hub_with(&[HEALTH, ("/v1/rooms~", "")]);
        let found =
            find_hubs(announced(&[("a", &[slow])]), &Wanted::Rooms(None), after(Duration::from_secs(2))).unwrap();
        assert_eq!((found.len(), found[0].hub.name.as_str()), (1, "a"));
        assert!(found[0].rooms.is_err());
    }

    #[test]
    fn of_several_addresses_the_first_is_preferred_for_a_short_time() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|n| SocketAddr::from(([10, 0, 0, n], 1))).collect();
        let hub = || {
            let mut checks = vec![HubCheck::new(announced(&[("lab", &addresses)]).remove(0))];
            let targets = targets_of(&mut checks);
            (checks, targets)
        };
        let now = Instant::now();
        let (mut checks, mut targets) = hub();
        assert!(!checks[0].is_settled(&targets, now));
        record(&mut checks, &mut targets, 1, Some(Ok(Vec::new())), now);
        assert!(!checks[0].is_settled(&targets, now) && checks[0].is_settled(&targets, now + PREFERENCE_TIME));
        record(&mut checks, &mut targets, 0, None, now);
        assert!(checks[0].is_settled(&targets, now));
        assert_eq!(checks.remove(0).into_found(&mut targets).unwrap().hub.url, "http://10.0.0.2:1");
        let (mut checks, mut targets) = hub();
        for place in [2, 0, 1] {
            assert!(!checks[0].is_settled(&targets, now));
            record(&mut checks, &mut targets, place, None, now);
        }
        assert!(checks[0].is_settled(&targets, now) && checks.remove(0).into_found(&mut targets).is_none());
    }

    #[test]
    fn an_address_is_asked_once_however_many_names_it_has() {
        let [one, other] = [1, 2].map(|n| SocketAddr::from(([10, 0, 0, n], 1)));
        let mut all = announced(&[("a", &[one]), ("b", &[other, one]), ("c", &[one]), ("d", &[one])]);
        all[3].tls = true;
        let mut checks: Vec<_> = all.into_iter().map(HubCheck::new).collect();
        let targets = targets_of(&mut checks);
        let urls: Vec<_> = targets.iter().map(Target::url).collect();
        assert_eq!(urls, ["http://10.0.0.1:1", "http://10.0.0.2:1", "https://10.0.0.1:1"]);
        let asked: Vec<_> = checks.iter().map(|check| check.targets.clone()).collect();
        assert_eq!(asked, [vec![0], vec![1, 0], vec![0], vec![2]]);
    }

    #[test]
    fn a_hub_with_a_long_list_of_rooms_is_found_and_its_rooms_count_as_unlisted() {
        let long: &'static str = Box::leak(format!("[{}]", " ".repeat(2 << 20)).into_boxed_str());
        let hub = hub_with(Box::leak(Box::new([HEALTH, ("/v1/rooms", long)])));
        let found = find_hubs(announced(&[("a", &[hub])]), &Wanted::Rooms(None), after(Duration::from_secs(30)));
        let found = found.unwrap();
        assert_eq!((found.len(), found[0].hub.name.as_str()), (1, "a"));
        assert!(found[0].rooms.is_err());
    }

    #[test]
    fn a_hub_under_two_names_is_one() {
        let up = hub_with(&[HEALTH]);
        let more = SocketAddr::from(([127, 0, 0, 1], 1));
        let found = hubs(announced(&[("a", &[up]), ("b", &[up, more])]), after(Duration::from_secs(30)));
        assert_eq!((found.len(), found[0].addresses.len()), (1, 2));
        assert!(!has_a_url(&"[fe80::1]:1".parse().unwrap()) && has_a_url(&"[fd00::1]:1".parse().unwrap()));
    }
}
