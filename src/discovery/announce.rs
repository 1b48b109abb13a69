//! Announcing a hub on the local network, and repeating that for clients that ask at the wrong time.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, IfKind, Receiver, RecvTimeoutError, ServiceDaemon, ServiceInfo};

use super::service::{FINGERPRINT, GOODBYE_TIMEOUT, HTTPS, PROTOCOL, SERVICE_TYPE};
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;
use crate::sync::{STACK_SIZE, lock};

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

/// The most records of others that mdns-sd may keep, counted with the times at which it looks at them again. It keeps all that anyone
/// on the network sends, for as long as that says.
const MAX_RECORDS: i64 = 10_000;
/// How often they are counted: as fast as mdns-sd reads packets, it can take a hundred megabytes a second.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

/// The announcement of a hub. Dropping it withdraws the announcement.
pub struct Announcement {
    fullname: String,
    name: String,
    host: String,
    address: SocketAddr,
    state: Arc<Mutex<AnnouncementState>>,
}

/// What the thread that repeats the announcement shares with its owner.
struct AnnouncementState {
    daemon: ServiceDaemon,
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
    crate::random::fill(&mut random)
        .map_err(|e| Error::System { what: "reading randomness", reason: Reason::of(e) })?;
    let host = format!("{name}-{:08x}.local.", u32::from_ne_bytes(random));
    let info = service(&name, &host, address, port, tls).map_err(failed)?;
    let fullname = info.get_fullname().to_owned();
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.monitor().map_err(failed)?;
    daemon.register(info.clone()).map_err(failed)?;
    let state = Arc::new(Mutex::new(AnnouncementState { daemon, info, withdrawn: false }));
    let address = SocketAddr::new(address, port);
    let announcement = Announcement { fullname, name, host, address, state: state.clone() };
    wait_for_announcement(&events);
    let repeating = move || repeat(events, &state);
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

/// Repeats the registration after the first announcement and after each answer, until the daemon ends. Replaces the daemon once it
/// keeps too much.
///
/// A record must not be multicast again within a second (RFC 6762, section 6). mdns-sd drops an answer that comes too
/// soon instead of delaying it, so a client that asks once, just after an announcement or another client's answer, would
/// get none. mdns-sd announces a repeated registration at once if it may, and again 1.1 s later. Such a client is
/// answered by that.
fn repeat(mut events: Receiver<DaemonEvent>, state: &Mutex<AnnouncementState>) {
    let mut last = Instant::now();
    let (mut repeats, mut next, mut count) = (REPEATS, last + MIN_REPEAT_INTERVAL, last + COUNT_INTERVAL);
    loop {
        match events.recv_deadline(if repeats == 0 { count } else { next.min(count) }) {
            Ok(DaemonEvent::Respond(_)) => (repeats, next) = (REPEATS, last + MIN_REPEAT_INTERVAL),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now >= count {
            count = now + COUNT_INTERVAL;
            if is_full(state)
                && let Ok(others) = replace_daemon(state)
            {
                events = others;
                (repeats, next, last) = (REPEATS, now + PROBE_TIMEOUT, now);
            }
        }
        if repeats > 0 && now >= next {
            let state = lock(state);
            // A full queue of commands is no reason to end: the next repeat may find it empty.
            if state.withdrawn
                || matches!(state.daemon.register(state.info.clone()), Err(mdns_sd::Error::DaemonShutdown))
            {
                return;
            }
            (repeats, next, last) = (repeats - 1, now + REPEAT_INTERVAL, now);
        }
    }
}

/// Whether the daemon keeps too much of what others have sent.
fn is_full(state: &Mutex<AnnouncementState>) -> bool {
    let daemon = lock(state).daemon.clone();
    let metrics = daemon.get_metrics().ok().and_then(|metrics| metrics.recv_timeout(GOODBYE_TIMEOUT).ok());
    let is_kept = |name: &str| name.starts_with("cached-") || name == "timer";
    let kept = metrics.iter().flatten().filter(|(name, _)| is_kept(name));
    kept.map(|(_, count)| count).sum::<i64>() > MAX_RECORDS
}

/// Ends the daemon, with all that it keeps, and announces the hub by another one, whose events are returned. Without interfaces the
/// first one sends no goodbye: to clients the hub has announced itself once more.
fn replace_daemon(state: &Mutex<AnnouncementState>) -> mdns_sd::Result<Receiver<DaemonEvent>> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.monitor()?;
    let full = {
        let mut state = lock(state);
        if state.withdrawn {
            daemon.shutdown()?;
            return Ok(events);
        }
        let full = mem::replace(&mut state.daemon, daemon);
        let _ = full.disable_interface(IfKind::All);
        // Before the hub can be withdrawn. What fails here is tried again by the next repeat.
        let _ = state.daemon.register(state.info.clone());
        full
    };
    if let Ok(done) = full.shutdown() {
        let _ = done.recv_timeout(GOODBYE_TIMEOUT);
    }
    Ok(events)
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
        state.daemon.register(state.info.clone()).map_err(failed)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // No registration may follow the goodbye.
        let daemon = {
            let mut state = lock(&self.state);
            state.withdrawn = true;
            state.daemon.clone()
        };
        if let Ok(done) = daemon.unregister(&self.fullname) {
            let _ = done.recv_timeout(GOODBYE_TIMEOUT);
        }
        if let Ok(done) = daemon.shutdown() {
            let _ = done.recv_timeout(GOODBYE_TIMEOUT);
        }
    }
}
