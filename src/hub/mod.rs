//! The hub: binds, serves, and goes down in order. It owns the threads; what they do is told by its modules.
//!
//! `hub` never meets `participant`: what the two share is `proto` and `tunnel`.

mod access;
mod api;
mod context;
mod handler;
mod maintenance;
mod observe;
mod options;
#[cfg(test)]
mod properties;
mod random;
mod relay;
mod respond;
mod tunnels;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use access::auth;
pub use access::client_info::TrustedProxy;
pub use api::openapi::openapi;
use api::request_log;
use context::HubContext;
pub use maintenance::clock::Clock;
use maintenance::monitor;
use observe::log::Logger;
pub use observe::log::settings::{Log, LogFormat, LogLevel};
pub use options::{DeclaredRoom, HubKey, HubOptions, RoomPassword, Timeouts};
use random::random;

use crate::error::Error;
pub use crate::http::Limits;
use crate::http::{Exchange, Handler, Listener, Running};
use crate::proto::tunnel::CLOSE_GOING_AWAY;
use crate::state::id::RoomCode;
pub use crate::state::policy::DirectPolicy;
use crate::state::registry::NewRoom;
use crate::state::room::Password;
use crate::tunnel::LostReason;

/// How long requests in flight may take to end once the hub is going down.
const GRACE: Duration = Duration::from_secs(2);

/// A hub that is serving. Dropping it shuts it down.
pub struct Hub(HubHandle);

/// A hub as seen from elsewhere: a signal's thread, another part of the program. Copies mean the same hub, and do not
/// keep it up.
#[derive(Clone)]
pub struct HubHandle(Arc<Inner>);

struct Inner {
    running: Running,
    hub: Arc<HubContext>,
    monitor: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Front(Arc<HubContext>);

impl Handler for Front {
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        request_log::serve(&self.0, exchange)
    }

    fn refused(&self, status: u16, peer: Option<IpAddr>) {
        request_log::refused(&self.0, status, peer);
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
        let hub = Arc::new(HubContext::new(&options, &listener, log));
        options.rooms.into_iter().try_for_each(|room| declare(&hub, room))?;
        let with_all = [("Access-Control-Allow-Origin", hub.cors.as_str())].into_iter().chain(api::routes::NO_PAGE);
        let with_all = with_all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let listener = listener.default_headers(with_all);
        let running = listener.start(Arc::new(Front(hub.clone()))).map_err(failed)?;
        let (stop, stopped) = bounded(0);
        let watched = hub.clone();
        let monitor = thread::Builder::new()
            .name("monitor".into())
            .spawn(move || monitor::run(&watched, &stopped))
            .map_err(failed)?;
        Ok(Hub(HubHandle(Arc::new(Inner { running, hub, monitor: Mutex::new(Some((stop, monitor))) }))))
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
        self.0.0.hub.registry().waiting()
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
        let ended = self.0.hub.drain.run(timeout);
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
        hub.hub.watchers.close();
        for tunnel in hub.hub.tunnels.all() {
            tunnel.close(CLOSE_GOING_AWAY, "The hub is going down", LostReason::Closed);
        }
        hub.running.shutdown(GRACE);
        hub.hub.log.close();
    }
}

fn declare(hub: &HubContext, room: DeclaredRoom) -> Result<(), Error> {
    let wrong = |reason: String| Error::Invalid { what: "a declared room", reason };
    let code = RoomCode::parse(&room.code)
        .ok_or_else(|| wrong(format!("must have a code of six letters and digits, not \"{}\"", room.code)))?;
    if room.name.trim().is_empty() {
        return Err(wrong(format!("must have a name: {code} has none")));
    }
    if hub.registry().room(code.as_str()).is_ok() {
        return Err(wrong(format!("must have a code of its own: {code} is there twice")));
    }
    let password = match room.password {
        None if room.private => return Err(wrong(format!("must have a password to be private: {code} has none"))),
        None => None,
        Some(RoomPassword::Plain(password)) if room.private && !crate::proto::web::fits_a_header(&password) => {
            return Err(wrong(format!("must have a password of printable ASCII to be private: that of {code} is not")));
        }
        Some(RoomPassword::Plain(password)) => {
            Some(hub.passwords.keep(None, &password).map_err(|e| wrong(format!("{code}: {e}")))?)
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
    hub.change(|registry, now| registry.create_room(new, now, &mut random));
    Ok(())
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shutdown();
    }
}
