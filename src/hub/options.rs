//! How a hub is set up.

use std::time::Duration;

use super::access::client_info::TrustedProxy;
use super::maintenance::clock::Clock;
use super::observe::log::settings::Log;
use crate::http::Limits;
use crate::machine;
use crate::proto::management::RuntimeConfig;
use crate::state::id::Secret;
use crate::state::policy::DirectPolicy;

/// How long a participant stays registered that is offline, unless told otherwise.
const OFFLINE_TTL: Duration = Duration::from_secs(3600);

/// How a hub is set up. Name the fields that differ from the defaults, and pass it to [`Hub::bind`](super::Hub::bind).
///
/// ```
/// use gambi::hub::{DeclaredRoom, Hub, HubOptions};
///
/// let lab = DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), ..Default::default() };
/// let options = HubOptions { host: "127.0.0.1".into(), port: 0, rooms: vec![lab], ..Default::default() };
/// let hub = Hub::bind(options)?;
/// println!("http://{}", hub.addr());
/// let handle = hub.handle();
/// std::thread::spawn(move || handle.shutdown()).join().unwrap();
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address to listen on; all interfaces unless told otherwise.
    pub host: String,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// What a connection may cost.
    pub limits: Limits,
    /// The origin whose pages may use a hub that has no key, beside its own and local ones, or `*` for all. With a key all
    /// may that show it, unless an origin is named here.
    pub cors: Option<String>,
    /// How the hub is reached from outside, such as `https://hub.example`. Tunnels are opened there.
    pub public_url: Option<String>,
    /// How long requests wait, and how many.
    pub timeouts: Timeouts,
    /// What every request must show as its bearer token, but for health checks, the page at `/`, and tunnels (which have
    /// tokens of their own). Nothing where it is `None`.
    pub key: Option<HubKey>,
    /// Whether a participant's token is asked for whenever somebody speaks for it, so that nobody can evict or
    /// impersonate another.
    pub strict: bool,
    /// Whether a browser is shown a page at `/`; it is unless told otherwise.
    pub dashboard: bool,
    /// How long a stream of events lasts at most; without an end where it is `None`. Whoever watches asks again.
    pub max_stream_duration: Option<Duration>,
    /// Names, beside its addresses and local ones, by which clients know it (see the README, "Security").
    pub allowed_hosts: Vec<String>,
    /// Whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Which endpoints of older clients the hub calls.
    pub direct: DirectPolicy,
    /// How long a room stays that nobody uses; for ever where it is `None`.
    pub room_ttl: Option<Duration>,
    /// How long a room stays that nobody is in; for ever where it is `None`.
    pub empty_room_ttl: Option<Duration>,
    /// How long a participant stays registered that is offline; for ever where it is `None`.
    pub offline_ttl: Option<Duration>,
    /// The most memory for rooms and participants together, in bytes. Past it no more are taken; and once it is three
    /// quarters full, rooms that have been empty and unused for ten minutes and participants that have been offline for
    /// one are removed.
    pub registry_memory: usize,
    /// Rooms that are there from the start.
    pub rooms: Vec<DeclaredRoom>,
    /// What it tells of its requests, and where; nothing unless told otherwise.
    pub log: Option<Log>,
    /// The time it goes by.
    pub clock: Clock,
}

/// A room that is there from the start, under the same code every time.
#[derive(Debug, Clone, Default)]
pub struct DeclaredRoom {
    /// Six letters and digits.
    pub code: String,
    /// What to call it.
    pub name: String,
    /// Asked for when joining, where it is given.
    pub password: Option<RoomPassword>,
    /// Whether talking, listing and watching need the password too.
    pub private: bool,
    /// Settings for every request in it.
    pub defaults: Option<RuntimeConfig>,
}

/// A hub's key. It is never printed.
#[derive(Clone)]
pub struct HubKey(Secret);

impl HubKey {
    /// Takes a key as it was written; `None` where it is empty, or could not be sent as a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| HubKey(Secret::from_text(text)))
    }

    pub(crate) fn matches(&self, shown: &str) -> bool {
        self.0.matches(shown)
    }
}

impl std::fmt::Debug for HubKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A declared room's password.
#[derive(Clone)]
pub enum RoomPassword {
    /// As people type it.
    Plain(String),
    /// Argon2id in PHC form, which can be kept in a file.
    Hashed(String),
}

impl std::fmt::Debug for RoomPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How long requests wait, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a request may wait in line for a participant; zero refuses at once.
    pub queue: Duration,
    /// How many may wait in line in each room; past it 503.
    pub queue_limit: usize,
    /// The wait for an answer's first byte; past it 504.
    pub first_byte: Duration,
    /// The longest silence within an answer; past it the answer ends broken.
    pub idle: Duration,
    /// How often a stream that is silent gets a comment line.
    pub comment: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            queue: Duration::from_secs(30),
            queue_limit: 64,
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            comment: Duration::from_secs(10),
        }
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        HubOptions {
            host: "0.0.0.0".into(),
            port: 3000,
            limits: Limits::default(),
            cors: None,
            public_url: None,
            timeouts: Timeouts::default(),
            key: None,
            strict: false,
            dashboard: true,
            max_stream_duration: None,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            direct: DirectPolicy::default(),
            room_ttl: None,
            empty_room_ttl: None,
            offline_ttl: Some(OFFLINE_TTL),
            registry_memory: usize::try_from(machine::registry_budget()).unwrap_or(usize::MAX),
            rooms: Vec::new(),
            log: None,
            clock: Clock::default(),
        }
    }
}
