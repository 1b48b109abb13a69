//! The hub: binds, serves, and goes down in order. It owns the threads; what they do is told by its modules.
//!
//! `hub` never meets `participant`: what the two share is `proto` and `tunnel`.

mod answer;
mod attach;
mod auth;
mod clock;
mod events;
mod inference;
mod leg;
mod management;
mod monitor;
mod out;
mod pass;
mod place;
mod relay;
mod responses;
mod routes;
mod run;
mod shared;
mod translated;
mod tunnels;
mod watchers;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

pub use clock::Clock;
use shared::Shared;

use crate::error::Error;
pub use crate::http::Limits;
use crate::http::{Exchange, Handler, Listener, Running};
use crate::proto::tunnel::CLOSE_GOING_AWAY;
use crate::tunnel::LostReason;

/// How long requests in flight may take to end once the hub is going down.
const GRACE: Duration = Duration::from_secs(2);

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
    /// Allowed origin of browsers' requests; all unless told otherwise.
    pub cors: Option<String>,
    /// How the hub is reached from outside, such as `https://hub.example`. Tunnels are opened there.
    pub public_url: Option<String>,
    /// How long requests wait, and how many.
    pub patience: Patience,
    /// The time it goes by.
    pub clock: Clock,
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
            clock: Clock::default(),
        }
    }
}

/// A hub that is serving. Dropping it shuts it down.
pub struct Hub {
    running: Running,
    shared: Arc<Shared>,
    monitor: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Front(Arc<Shared>);

impl Handler for Front {
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        routes::serve(&self.0, exchange)
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
        let listener = Listener::bind((options.host.as_str(), options.port), options.limits).map_err(failed)?;
        let shared = Arc::new(Shared::new(options.clock, options.cors, options.public_url, options.patience));
        let listener = listener.default_headers(vec![("Access-Control-Allow-Origin".into(), shared.cors.clone())]);
        let running = listener.start(Arc::new(Front(shared.clone()))).map_err(failed)?;
        let (stop, stopped) = bounded(0);
        let watched = shared.clone();
        let monitor = thread::Builder::new()
            .name("monitor".into())
            .spawn(move || monitor::run(&watched, &stopped))
            .map_err(failed)?;
        Ok(Hub { running, shared, monitor: Mutex::new(Some((stop, monitor))) })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.running.connections()
    }

    /// Requests that wait in line for a participant now.
    pub fn waiting(&self) -> usize {
        self.shared.registry().waiting()
    }

    /// Goes down: no new connections, tunnels closed with 1001, watchers' streams ended, two seconds for answers that
    /// are under way. Safe to call twice.
    pub fn shutdown(&self) {
        let monitor = self.monitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = monitor {
            drop(stop);
            let _ = thread.join();
        }
        self.shared.watchers.close();
        for tunnel in self.shared.tunnels.all() {
            tunnel.close(CLOSE_GOING_AWAY, "The hub is going down", LostReason::Closed);
        }
        self.running.shutdown(GRACE);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shutdown();
    }
}
