//! Setting up a hub step by step. What each step means is told by [`HubOptions`].

use std::time::Duration;

use super::access::client_info::TrustedProxy;
use super::observe::log::settings::Log;
use super::options::{DeclaredRoom, HubKey, HubOptions, RoomPassword, Timeouts};
use crate::http::Limits;
use crate::state::policy::DirectPolicy;

/// A hub that is being set up. Made by [`Hub::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a hub serves once it is started"]
pub struct HubBuilder(pub(crate) HubOptions);

impl HubBuilder {
    /// Address to listen on; all interfaces unless told otherwise.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.0.host = host.into();
        self
    }

    /// Port to listen on; 3000 unless told otherwise, 0 lets the system choose.
    pub fn port(mut self, port: u16) -> Self {
        self.0.port = port;
        self
    }

    /// What a connection may cost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// How long requests wait, and how many.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.0.timeouts = timeouts;
        self
    }

    /// The origin whose pages may use a hub that has no key, or `*` for all; its own and local ones unless told otherwise.
    pub fn cors(mut self, origin: impl Into<String>) -> Self {
        self.0.cors = Some(origin.into());
        self
    }

    /// How the hub is reached from outside, such as `https://hub.example`.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.0.public_url = Some(url.into());
        self
    }

    /// What every request must show as its bearer token.
    pub fn key(mut self, key: HubKey) -> Self {
        self.0.key = Some(key);
        self
    }

    /// Asks for a participant's token whenever somebody speaks for it.
    pub fn strict(mut self) -> Self {
        self.0.strict = true;
        self
    }

    /// Shows browsers no page at `/`.
    pub fn no_dashboard(mut self) -> Self {
        self.0.dashboard = false;
        self
    }

    /// Ends each stream of events after so long; without it they last as long as somebody watches.
    pub fn max_stream_duration(mut self, time: Duration) -> Self {
        self.0.max_stream_duration = Some(time);
        self
    }

    /// A name by which clients know it.
    pub fn allowed_hosts(mut self, name: impl Into<String>) -> Self {
        self.0.allowed_hosts.push(name.into());
        self
    }

    /// A proxy whose `X-Forwarded-*` headers are believed.
    pub fn trusted_proxy(mut self, proxy: TrustedProxy) -> Self {
        self.0.trusted_proxies.push(proxy);
        self
    }

    /// Which endpoints of older clients the hub calls.
    pub fn direct(mut self, policy: DirectPolicy) -> Self {
        self.0.direct = policy;
        self
    }

    /// A room that is there from the start.
    pub fn room(self, code: &str, name: &str) -> Self {
        self.declare(DeclaredRoom { code: code.into(), name: name.into(), ..DeclaredRoom::default() })
    }

    /// A room with a password that is there from the start.
    pub fn protected_room(self, code: &str, name: &str, password: RoomPassword) -> Self {
        self.declare(DeclaredRoom {
            code: code.into(),
            name: name.into(),
            password: Some(password),
            ..DeclaredRoom::default()
        })
    }

    /// A room that is there from the start, with all that it can have.
    pub fn declare(mut self, room: DeclaredRoom) -> Self {
        self.0.rooms.push(room);
        self
    }

    /// Removes rooms that nobody has used for so long.
    pub fn room_ttl(mut self, time: Duration) -> Self {
        self.0.room_ttl = Some(time);
        self
    }

    /// Removes rooms that nobody has been in for so long.
    pub fn empty_room_ttl(mut self, time: Duration) -> Self {
        self.0.empty_room_ttl = Some(time);
        self
    }

    /// Removes participants that have been offline for so long; an hour unless told otherwise.
    pub fn offline_ttl(mut self, time: Duration) -> Self {
        self.0.offline_ttl = Some(time);
        self
    }

    /// The most memory for all that peers make it hold, in bytes: see [`Limits::memory`].
    pub fn memory(mut self, bytes: u64) -> Self {
        self.0.limits.memory = bytes;
        self
    }

    /// The most memory for rooms and participants together, in bytes.
    pub fn registry_memory(mut self, bytes: usize) -> Self {
        self.0.registry_memory = bytes;
        self
    }

    /// What it tells of its requests, and where.
    pub fn log(mut self, log: Log) -> Self {
        self.0.log = Some(log);
        self
    }
}
