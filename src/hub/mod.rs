//! The hub: binds, serves, and goes down in order. It owns the threads; what they do is told by its modules.
//!
//! `hub` never meets `participant`: what the two share is `proto` and `tunnel`.

mod admission;
mod answer;
mod attach;
mod auth;
mod builder;
mod clock;
mod credentials;
mod dashboard;
mod direct;
mod drain;
mod events;
mod forwarded;
mod gate;
mod hops;
mod inference;
mod leg;
mod legacy;
mod list;
mod log;
mod management;
mod metrics;
mod monitor;
mod openapi;
mod out;
mod pass;
mod place;
#[cfg(test)]
mod properties;
mod relay;
mod responses;
mod routes;
mod run;
mod shared;
mod sites;
mod slim;
mod throttle;
mod translated;
mod tunnels;
mod watchers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

pub use builder::HubBuilder;
pub use clock::Clock;
pub use forwarded::Proxy;
use log::Logger;
pub use log::{Log, LogFormat, LogLevel};
pub use openapi::openapi;
use shared::Shared;

use crate::error::Error;
pub use crate::http::Limits;
use crate::http::{Exchange, Handler, Listener, Running};
use crate::machine;
use crate::proto::management::RuntimeConfig;
use crate::proto::tunnel::CLOSE_GOING_AWAY;
use crate::state::id::{RoomCode, Secret};
pub use crate::state::policy::DirectPolicy;
use crate::state::registry::NewRoom;
use crate::state::room::Password;
use crate::tunnel::LostReason;

/// How long requests in flight may take to end once the hub is going down.
const GRACE: Duration = Duration::from_secs(2);

/// How long a participant stays registered that is offline, unless told otherwise.
const OFFLINE_TTL: Duration = Duration::from_secs(3600);

/// How a hub is set up.
///
/// ```
/// let options = gambi::hub::HubOptions { host: "127.0.0.1".into(), port: 0, ..Default::default() };
/// let hub = gambi::hub::Hub::bind(options)?;
/// println!("http://{}", hub.addr());
/// hub.shutdown();
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
    pub patience: Patience,
    /// What every request must show as its bearer token, but for health checks, the page at `/`, and tunnels (which have
    /// tokens of their own). Nothing where it is `None`.
    pub key: Option<HubKey>,
    /// Whether a participant's token is asked for whenever somebody speaks for it, so that nobody can evict or
    /// impersonate another.
    pub strict: bool,
    /// Whether a browser is shown a page at `/`; it is unless told otherwise.
    pub dashboard: bool,
    /// How long a stream of events lasts at most; without an end where it is `None`. Whoever watches asks again.
    pub watch_time: Option<Duration>,
    /// Names, beside its addresses and local ones, by which clients know it (see the README, "Security").
    pub known_as: Vec<String>,
    /// Whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Proxy>,
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

    fn matches(&self, shown: &str) -> bool {
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
pub struct Patience {
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

impl Default for Patience {
    fn default() -> Self {
        Patience {
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
            patience: Patience::default(),
            key: None,
            strict: false,
            dashboard: true,
            watch_time: None,
            known_as: Vec::new(),
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

/// A hub that is serving. Dropping it shuts it down.
pub struct Hub(HubHandle);

/// A hub as seen from elsewhere: a signal's thread, another part of the program. Copies mean the same hub, and do not
/// keep it up.
#[derive(Clone)]
pub struct HubHandle(Arc<Inner>);

struct Inner {
    running: Running,
    shared: Arc<Shared>,
    monitor: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Front(Arc<Shared>);

impl Handler for Front {
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        log::serve(&self.0, exchange)
    }

    fn refused(&self, status: u16, peer: Option<IpAddr>) {
        log::refused(&self.0, status, peer);
    }
}

impl Hub {
    /// Binds, and serves from then on.
    ///
    /// # Errors
    /// When the address can't be listened on, or no thread can be started.
    pub fn bind(options: HubOptions) -> Result<Self, Error> {
        let at = format!("{}:{}", options.host, options.port);
        let failed = |error: io::Error| Error::Bind { address: at.clone(), reason: error.to_string() };
        let listener = Listener::bind((options.host.as_str(), options.port), options.limits.clone()).map_err(failed)?;
        let log = Logger::start(options.log.as_ref()).map_err(failed)?;
        let shared = Arc::new(Shared::new(&options, &listener, log));
        options.rooms.into_iter().try_for_each(|room| declare(&shared, room))?;
        let with_all = [("Access-Control-Allow-Origin", shared.cors.as_str())].into_iter().chain(routes::NO_PAGE);
        let with_all = with_all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let listener = listener.default_headers(with_all);
        let running = listener.start(Arc::new(Front(shared.clone()))).map_err(failed)?;
        let (stop, stopped) = bounded(0);
        let watched = shared.clone();
        let monitor = thread::Builder::new()
            .name("monitor".into())
            .spawn(move || monitor::run(&watched, &stopped))
            .map_err(failed)?;
        Ok(Hub(HubHandle(Arc::new(Inner { running, shared, monitor: Mutex::new(Some((stop, monitor))) }))))
    }

    /// A hub that is being set up.
    ///
    /// ```
    /// let hub = gambi::hub::Hub::builder().host("127.0.0.1").port(0).room("LAB001", "Lab").start()?;
    /// let handle = hub.handle();
    /// println!("http://{}", hub.addr());
    /// std::thread::spawn(move || handle.shutdown()).join().unwrap();
    /// # Ok::<(), gambi::Error>(())
    /// ```
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// A handle that shuts it down from elsewhere.
    pub fn handle(&self) -> HubHandle {
        self.0.clone()
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.0.0.running.connections()
    }

    /// Requests that wait in line for a participant now.
    pub fn waiting(&self) -> usize {
        self.0.0.shared.registry().waiting()
    }

    /// Goes down: no new connections, tunnels closed with 1001, watchers' streams ended, two seconds for answers that
    /// are under way. Safe to call twice.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// Goes down in order: new requests are answered 503, those under way and in line may end within `timeout`, then as
    /// [`Hub::shutdown`]. False when some had to be cut off.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.0.drain(timeout)
    }
}

impl HubHandle {
    /// As [`Hub::drain`].
    pub fn drain(&self, timeout: Duration) -> bool {
        let ended = self.0.shared.drain.run(timeout);
        self.shutdown();
        ended
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.running.local_addr()
    }

    /// As [`Hub::shutdown`].
    pub fn shutdown(&self) {
        let hub = &self.0;
        let monitor = hub.monitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = monitor {
            drop(stop);
            let _ = thread.join();
        }
        hub.shared.watchers.close();
        for tunnel in hub.shared.tunnels.all() {
            tunnel.close(CLOSE_GOING_AWAY, "The hub is going down", LostReason::Closed);
        }
        hub.running.shutdown(GRACE);
        hub.shared.log.close();
    }
}

fn declare(shared: &Shared, room: DeclaredRoom) -> Result<(), Error> {
    let wrong = |reason: String| Error::Invalid { what: "a declared room", reason };
    let code = RoomCode::parse(&room.code)
        .ok_or_else(|| wrong(format!("must have a code of six letters and digits, not \"{}\"", room.code)))?;
    if room.name.trim().is_empty() {
        return Err(wrong(format!("must have a name: {code} has none")));
    }
    if shared.registry().room(code.as_str()).is_ok() {
        return Err(wrong(format!("must have a code of its own: {code} is there twice")));
    }
    let password = match room.password {
        None if room.private => return Err(wrong(format!("must have a password to be private: {code} has none"))),
        None => None,
        Some(RoomPassword::Plain(password)) if room.private && !crate::proto::web::fits_a_header(&password) => {
            return Err(wrong(format!("must have a password of printable ASCII to be private: that of {code} is not")));
        }
        Some(RoomPassword::Plain(password)) => {
            Some(shared.passwords.keep(None, &password).map_err(|e| wrong(format!("{code}: {e}")))?)
        }
        Some(RoomPassword::Hashed(hash)) if auth::is_hash(&hash) => Some(Password::hashed(&hash)),
        Some(RoomPassword::Hashed(_)) => {
            return Err(wrong(format!("must have a password hash in PHC form: that of {code} is none")));
        }
    };
    let new = NewRoom {
        name: room.name,
        password,
        private: room.private,
        defaults: room.defaults,
        code: Some(code),
        owner: None,
    };
    shared.change(|registry, now| registry.create_room(new, now, &mut shared::random));
    Ok(())
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shutdown();
    }
}
