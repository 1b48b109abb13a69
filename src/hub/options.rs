//! The settings of a hub: what the command line and embedders can choose.

use std::time::Duration;

use super::access::client_info::TrustedProxy;
use super::access::key_ring::KeysFile;
use super::maintenance::clock::Clock;
use super::observe::log::settings::Log;
use super::observe::usage_file::UsageFile;
use crate::http::Limits;
use crate::machine;
use crate::net::tls_server::ServerTls;
use crate::proto::management::RuntimeConfig;
use crate::state::id::{CodePrefix, Secret};
use crate::state::policy::DirectPolicy;

/// The default of `hedge_after_min`.
const HEDGE_AFTER_MIN: Duration = Duration::from_secs(10);
/// The default of `offline_ttl`.
const OFFLINE_TTL: Duration = Duration::from_secs(3600);

/// The settings of a hub. Name the fields that differ from the defaults, and pass it to [`Hub::bind`](super::Hub::bind).
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
    /// The address to listen on; all interfaces by default.
    pub host: String,
    /// The port to listen on; 3000 by default. 0 lets the system choose.
    pub port: u16,
    /// The certificate and key, if the hub serves TLS itself.
    pub tls: Option<ServerTls>,
    /// The limits of connections, and the memory budget.
    pub limits: Limits,
    /// The origin whose pages may use a hub that has no key, in addition to the hub's own and local ones, or `*` for all. On a
    /// hub with a key, pages of all origins may use it with the key, unless an origin is named here.
    pub cors: Option<String>,
    /// The hub's URL as clients see it, such as `https://hub.example`. Participants open their tunnels there.
    pub public_url: Option<String>,
    /// What the codes of all rooms begin with, so that a proxy in front of several hubs finds a room's hub; nothing by
    /// default.
    pub code_prefix: CodePrefix,
    /// Deadlines of requests, and the queue's limit.
    pub timeouts: Timeouts,
    /// How long a participant must have been silent, at least, before a request that names no participant is sent to another
    /// one beside it; 10 s by default. The time is longer for a participant that has been slower lately. `None`: never.
    pub hedge_after_min: Option<Duration>,
    /// The bearer token that every request must have, except health checks, the page at `/`, and tunnels (which have tokens
    /// of their own). `None`: no token is needed.
    pub key: Option<HubKey>,
    /// The keys of people. With them every request needs the hub's key or one of these; [`Hub::reload_keys`](super::Hub::reload_keys)
    /// reads the file again, and so does a change of it. `None`: nobody has one.
    pub keys: Option<KeysFile>,
    /// Whether requests on behalf of a participant must have its token, so that no client can evict or impersonate another
    /// one's participant. Off by default.
    pub strict: bool,
    /// Whether the dashboard is served at `/`; on by default.
    pub dashboard: bool,
    /// The code of the room whose inference routes, `/v1/...` and `/api/...`, are served at the root too; none by default. It
    /// may be created later.
    pub default_room: Option<String>,
    /// The longest duration of an event stream, after which the watcher has to reconnect. `None`: unlimited.
    pub max_stream_duration: Option<Duration>,
    /// Host names of the hub, in addition to its addresses and local names (`gambi help security`).
    pub allowed_hosts: Vec<String>,
    /// The proxies whose `X-Forwarded-*` headers are used.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Which endpoints of direct participants the hub may call (PROTOCOL.md, "Legacy plane").
    pub direct: DirectPolicy,
    /// After how long a room that is not used is removed. `None`: never.
    pub room_ttl: Option<Duration>,
    /// After how long a room without participants is removed. `None`: never.
    pub empty_room_ttl: Option<Duration>,
    /// After how long an offline participant is removed; an hour by default. `None`: never.
    pub offline_ttl: Option<Duration>,
    /// The most memory for rooms and participants together, in bytes. Past it new ones are rejected. Once it is three quarters
    /// full, rooms that have been empty and unused for ten minutes and participants that have been offline for one minute are
    /// removed.
    pub registry_memory: usize,
    /// Rooms that exist from the start.
    pub rooms: Vec<DeclaredRoom>,
    /// The request log; none by default.
    pub log: Option<Log>,
    /// The file with a line for each finished request; none by default.
    pub usage: Option<UsageFile>,
    /// The hub's clock; tests can advance it.
    pub clock: Clock,
}

/// A room that exists from the start, with the same code each time.
#[derive(Debug, Clone, Default)]
pub struct DeclaredRoom {
    /// Six letters or digits.
    pub code: String,
    /// The room's name; not empty.
    pub name: String,
    /// The password for joining, if it has one.
    pub password: Option<RoomPassword>,
    /// Whether requests, lists and event streams need the password too.
    pub private: bool,
    /// Defaults for every request in the room.
    pub defaults: Option<RuntimeConfig>,
}

/// A hub's key: the bearer token of its clients. `Debug` does not print it.
#[derive(Clone)]
pub struct HubKey(Secret);

impl HubKey {
    /// A key, without the spaces around it. `None` if it is empty or cannot be sent as a header: only visible ASCII can.
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
    /// The password itself.
    Plain(String),
    /// Its Argon2id hash in PHC form, which can be stored in a file.
    Hashed(String),
}

impl std::fmt::Debug for RoomPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Deadlines of requests, and the queue's limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a request may wait for a participant's slot; 30 s by default. Zero rejects it at once.
    pub queue: Duration,
    /// How many requests may wait in each room; 64 by default. Past it 503.
    pub queue_limit: usize,
    /// The deadline for the first byte of a response's body; 600 s by default. After it 504.
    pub first_byte: Duration,
    /// The longest silence within a response; 300 s by default. Past it the response is cut short.
    pub idle: Duration,
    /// After how much silence a stream is sent a comment line; 10 s by default.
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
            tls: None,
            limits: Limits::default(),
            cors: None,
            public_url: None,
            code_prefix: CodePrefix::default(),
            timeouts: Timeouts::default(),
            hedge_after_min: Some(HEDGE_AFTER_MIN),
            key: None,
            keys: None,
            strict: false,
            dashboard: true,
            default_room: None,
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
            usage: None,
            clock: Clock::default(),
        }
    }
}
