//! Asks the hubs that are announced whether they answer, and for their rooms: all at once, each at all its addresses. One
//! deadline bounds that, so that an announcement whose hub is gone delays the others by little.

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
    let mut jobs = requests_to(&checks, wanted, deadline - MARGIN);
    loop {
        let now = Instant::now();
        let open = checks.iter().filter(|check| !check.is_settled(now));
        let until = open.map(|check| check.preferred_until.unwrap_or(deadline).min(deadline)).min();
        match until {
            Some(until) if now < deadline => {
                if let Some((hub, place, answer)) = jobs.next(until)? {
                    checks[hub].record(place, answer, Instant::now());
                }
            }
            _ => break,
        }
    }
    Ok(merge(checks.into_iter().filter_map(HubCheck::into_found).collect()))
}

/// The requests to all addresses, with the places of the hub and the address in their results. The first addresses of all hubs
/// come first: one that announces many delays no other.
fn requests_to(checks: &[HubCheck], wanted: &Wanted, until: Instant) -> Jobs<(usize, usize, Option<Rooms>)> {
    let mut jobs = Jobs::new();
    for place in 0..MAX_ADDRESSES {
        for (hub, check) in checks.iter().enumerate() {
            let Some(url) = check.urls.get(place).cloned() else { continue };
            let (fingerprint, wanted) = (check.fingerprint, wanted.clone());
            jobs.push(move || (hub, place, requests::ask(&url, fingerprint, &wanted, until)));
        }
    }
    jobs
}

/// A hub while its addresses are asked.
struct HubCheck {
    name: String,
    addresses: Vec<SocketAddr>,
    fingerprint: Option<Fingerprint>,
    /// The addresses that a URL can name, the preferred ones first.
    urls: Vec<String>,
    /// What the hub answers at each URL, if it does; `None` while that is not known.
    answers: Vec<Option<Option<Rooms>>>,
    /// Set once it has answered at one of them: until then a preferred one may answer too.
    preferred_until: Option<Instant>,
}

impl HubCheck {
    fn new(hub: AnnouncedHub) -> Self {
        let name = hub.fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&hub.fullname).trim_end_matches('.').to_owned();
        let (scheme, fingerprint) = if hub.tls { (HTTPS, hub.fingerprint) } else { ("http", None) };
        let named = hub.addresses.iter().filter(|address| has_a_url(address));
        let urls: Vec<_> = named.map(|address| format!("{scheme}://{address}")).collect();
        let answers = urls.iter().map(|_| None).collect();
        HubCheck { name, addresses: hub.addresses, fingerprint, urls, answers, preferred_until: None }
    }

    fn record(&mut self, place: usize, answer: Option<Rooms>, now: Instant) {
        if answer.is_some() {
            self.preferred_until.get_or_insert(now + PREFERENCE_TIME);
        }
        self.answers[place] = Some(answer);
    }

    /// Whether no further answer would change its URL.
    fn is_settled(&self, now: Instant) -> bool {
        let preferred = self.place().map_or(&self.answers[..], |place| &self.answers[..place]);
        preferred.iter().all(Option::is_some) || self.preferred_until.is_some_and(|until| until <= now)
    }

    /// The place of the first URL at which it answers.
    fn place(&self) -> Option<usize> {
        self.answers.iter().position(|answer| matches!(answer, Some(Some(_))))
    }

    /// `None` if it answers at no URL.
    fn into_found(mut self) -> Option<HubRooms> {
        let place = self.place()?;
        let (url, rooms) = (self.urls.swap_remove(place), self.answers.swap_remove(place)??);
        let hub = FoundHub { name: self.name, url, addresses: self.addresses, fingerprint: self.fingerprint };
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
        let hub = || HubCheck::new(announced(&[("lab", &addresses)]).remove(0));
        let now = Instant::now();
        let mut check = hub();
        assert!(!check.is_settled(now));
        check.record(1, Some(Ok(Vec::new())), now);
        assert!(!check.is_settled(now) && check.is_settled(now + PREFERENCE_TIME));
        check.record(0, None, now);
        assert!(check.is_settled(now));
        assert_eq!(check.into_found().unwrap().hub.url, "http://10.0.0.2:1");
        let mut check = hub();
        for place in [2, 0, 1] {
            assert!(!check.is_settled(now));
            check.record(place, None, now);
        }
        assert!(check.is_settled(now) && check.into_found().is_none());
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
