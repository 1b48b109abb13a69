//! The hub: binds, serves, and shuts down. This file owns the threads; what they do is in the modules.
//!
//! `hub` never imports `participant`: what the two share is in `proto` and `tunnel`.

mod access;
mod api;
mod context;
mod error_shape;
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
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use access::auth;
pub use access::client_info::TrustedProxy;
pub use access::key_ring::KeysFile;
pub use access::keys::{hash_text as key_hash, is_name as is_key_name};
pub use api::openapi::openapi;
use api::request_log;
use context::HubContext;
pub use maintenance::clock::Clock;
use maintenance::monitor;
use observe::log::Logger;
pub use observe::log::settings::{Log, LogFormat, LogLevel};
use observe::usage_file::UsageLog;
pub use observe::usage_file::{UsageFile, rotated as rotated_usage};
pub use options::{DeclaredRoom, HubKey, HubOptions, RoomPassword, Timeouts};
use random::random;

use crate::error::{Error, Reason};
pub use crate::http::Limits;
use crate::http::{Exchange, Handler, Listener, Running};
pub use crate::net::network_address::network_address;
pub use crate::net::tls_server::ServerTls;
pub use crate::state::config::{FieldError, parse_config};
pub use crate::state::id::CodePrefix;
use crate::state::id::RoomCode;
pub use crate::state::policy::DirectPolicy;
use crate::state::registry::NewRoom;
use crate::state::room::Password;
use crate::sync::lock;

/// How long requests in flight may take to end at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A hub that is serving. Dropping it shuts it down.
pub struct Hub(HubHandle);

/// A handle with which another thread, such as a signal handler's, can shut a hub down. Clones refer to the same hub. A handle
/// does not keep the hub running.
#[derive(Clone)]
pub struct HubHandle(Arc<RunningHub>);

struct RunningHub {
    listener: Running,
    hub: Arc<HubContext>,
    /// The sender stops the thread when it is dropped. `None` once the hub has shut down.
    monitor: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    /// Wakes watchers; ends when they are closed. `None` once the hub has shut down.
    notifier: Mutex<Option<JoinHandle<()>>>,
}

/// Hands the listener's requests to the hub.
struct RequestHandler(Arc<HubContext>);

impl Handler for RequestHandler {
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        request_log::serve(&self.0, exchange)
    }

    fn on_rejected(&self, status: u16, peer: IpAddr) {
        request_log::record_rejection(&self.0, status, peer);
    }
}

impl Hub {
    /// Binds and starts to serve.
    ///
    /// # Errors
    /// When the address cannot be bound, a thread cannot be started, a declared room is invalid, or the default room's code.
    pub fn bind(options: HubOptions) -> Result<Self, Error> {
        check_default_room(options.default_room.as_deref())?;
        let address = format!("{}:{}", options.host, options.port);
        let failed = |error: io::Error| Error::Bind { address: address.clone(), reason: Reason::of(error) };
        let listener = Listener::bind((options.host.as_str(), options.port), options.limits.clone()).map_err(failed)?;
        let log = Logger::start(options.log.as_ref()).map_err(Error::no_thread)?;
        let usage = UsageLog::start(options.usage.as_ref()).map_err(|error| {
            let path = options.usage.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
            let reason = Reason::caused_by(format!("{path} cannot be used: {error}"), error);
            Error::Invalid { what: "the file of usage", reason }
        })?;
        let hub = Arc::new(HubContext::new(&options, &listener, log, usage));
        if let Some(file) = options.usage.as_ref().filter(|_| options.keys.is_some()) {
            hub.restore_allowances(file);
        }
        options.rooms.into_iter().try_for_each(|room| declare(&hub, room, &options.code_prefix))?;
        let default_headers =
            [("Access-Control-Allow-Origin", hub.cors.as_str())].into_iter().chain(respond::SANDBOX_HEADERS);
        let default_headers = default_headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let listener = listener.default_headers(default_headers).tls(options.tls);
        let running = listener.start(Arc::new(RequestHandler(hub.clone()))).map_err(failed)?;
        let (stop, stopped) = bounded(0);
        let monitored = hub.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(run);
        let monitor =
            spawn("monitor", Box::new(move || monitor::run(&monitored, &stopped))).map_err(Error::no_thread)?;
        let watched = hub.clone();
        let notifier = spawn("events", Box::new(move || watched.watchers.notify())).map_err(Error::no_thread)?;
        let (monitor, notifier) = (Mutex::new(Some((stop, monitor))), Mutex::new(Some(notifier)));
        Ok(Hub(HubHandle(Arc::new(RunningHub { listener: running, hub, monitor, notifier }))))
    }

    /// A handle that can shut the hub down from another thread.
    pub fn handle(&self) -> HubHandle {
        self.0.clone()
    }

    /// The address that the hub listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.0.0.listener.connections()
    }

    /// The number of requests that wait for a participant.
    pub fn waiting(&self) -> usize {
        self.0.0.hub.registry().waiting()
    }

    /// Reads the file of people's keys again. One with a mistake leaves the earlier keys in force, and the log says so.
    pub fn reload_keys(&self) {
        self.0.reload_keys();
    }

    /// Shuts down: no new connections are accepted, tunnels are closed with 1001, event streams end, and responses in flight
    /// get two seconds. Safe to call twice.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// Drains, then shuts down: new requests, rooms and participants are rejected with 503, requests in flight or in the queue
    /// may end within `timeout`, then as [`Hub::shutdown`]. False when some did not end in time.
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

    /// As [`Hub::reload_keys`].
    pub fn reload_keys(&self) {
        self.0.hub.reload_keys(true);
    }

    /// The address that the hub listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.listener.local_addr()
    }

    /// As [`Hub::shutdown`].
    pub fn shutdown(&self) {
        let running = &self.0;
        let monitor = lock(&running.monitor).take();
        if let Some((stop, thread)) = monitor {
            drop(stop);
            let _ = thread.join();
        }
        running.hub.watchers.close();
        if let Some(thread) = lock(&running.notifier).take() {
            let _ = thread.join();
        }
        running.hub.tunnels.close_all();
        running.listener.shutdown(SHUTDOWN_GRACE);
        running.hub.usage.close();
        running.hub.report_usage();
        running.hub.log.close();
    }
}

fn check_default_room(code: Option<&str>) -> Result<(), Error> {
    match code {
        Some(code) if RoomCode::parse(code).is_none() => {
            let reason = format!("must be a code of six letters and digits, not \"{code}\"");
            Err(Error::Invalid { what: "the default room", reason: reason.into() })
        }
        _ => Ok(()),
    }
}

/// Creates a declared room.
fn declare(hub: &HubContext, room: DeclaredRoom, prefix: &CodePrefix) -> Result<(), Error> {
    let invalid = |reason: String| Error::Invalid { what: "a declared room", reason: reason.into() };
    let code = RoomCode::parse(&room.code)
        .ok_or_else(|| invalid(format!("must have a code of six letters and digits, not \"{}\"", room.code)))?;
    if !code.has_prefix(prefix) {
        let prefix = prefix.as_str();
        return Err(invalid(format!(
            "must have a code that begins with {prefix}, the hub's --code-prefix: {code} does not"
        )));
    }
    if room.name.trim().is_empty() {
        return Err(invalid(format!("must have a name: {code} has none")));
    }
    if hub.registry().room(code.as_str()).is_ok() {
        return Err(invalid(format!("must have a code of its own: {code} is there twice")));
    }
    let password = match room.password {
        None if room.private => return Err(invalid(format!("must have a password to be private: {code} has none"))),
        None => None,
        Some(RoomPassword::Plain(password)) if room.private && !crate::proto::web::fits_a_header(&password) => {
            return Err(invalid(format!(
                "must have a password of printable ASCII to be private: that of {code} is not"
            )));
        }
        Some(RoomPassword::Plain(password)) => {
            Some(hub.passwords.hash(None, &password).map_err(|e| invalid(format!("{code}: {e}")))?)
        }
        Some(RoomPassword::Hashed(hash)) if auth::is_hash(&hash) => Some(Password::hashed(&hash)),
        Some(RoomPassword::Hashed(_)) => {
            return Err(invalid(format!("must have a password hash in PHC form: that of {code} is none")));
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
