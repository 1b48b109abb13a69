//! Joining a room step by step: what is needed, the probe, the registration, the tunnel.

use std::time::Duration;

use super::address::tunnel_url;
use super::fresh_id;
use super::probe::{Probe, probe};
use super::provider::Provider;
use super::session::Session;
use crate::client::Client;
use crate::error::Error;
use crate::proto::management::{
    Capabilities, DEFAULT_ENDPOINT, HEARTBEAT_SECS, Registered, Registration, RuntimeConfig, Specs, TIMEOUT_SECS,
};
use crate::proto::tunnel::{FRAMES_BINARY, MAX_TO_PARTICIPANT, PAUSE_ON};
use crate::proto::web::{fits_a_header, percent_encode};
use crate::tunnel::{self, ConnectError, Connected, TunnelLimits};

const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What a session needs to know. Made by [`Session::builder`].
#[derive(Clone)]
pub struct Builder {
    hub_url: String,
    pub(super) room: String,
    pub(super) id: String,
    registration: Registration,
    auth: Vec<(String, String)>,
    hub_headers: Vec<(String, String)>,
    token: Option<String>,
    json_frames: bool,
    pub(super) timing: Timing,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) beat: Duration,
    pub(super) silence: Duration,
}

impl Builder {
    pub(super) fn new(hub_url: String, room: String) -> Self {
        Builder {
            hub_url,
            room,
            id: String::new(),
            registration: Registration { endpoint: DEFAULT_ENDPOINT.into(), ..Registration::default() },
            auth: Vec::new(),
            hub_headers: Vec::new(),
            token: None,
            json_frames: false,
            timing: Timing { beat: Duration::from_secs(HEARTBEAT_SECS), silence: Duration::from_secs(TIMEOUT_SECS) },
        }
    }

    /// The participant's id; the same one makes a retry safe.
    #[must_use]
    pub fn participant_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Its name for people; its id unless told otherwise.
    #[must_use]
    pub fn nickname(mut self, nickname: impl Into<String>) -> Self {
        self.registration.nickname = nickname.into();
        self
    }

    /// The model, by the name that the provider knows it by.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.registration.model = model.into();
        self
    }

    /// The provider's base URL; `http://localhost:11434` unless told otherwise.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.registration.endpoint = endpoint.into();
        self
    }

    /// The room's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.registration.password = Some(password.into());
        self
    }

    /// A header for the provider, such as its API key. It is sent to nobody else.
    #[must_use]
    pub fn auth_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.auth.push((name.into(), value.into()));
        self
    }

    /// A header for the hub, for one that stands behind something that wants it.
    #[must_use]
    pub fn hub_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.hub_headers.push((name.into(), value.into()));
        self
    }

    /// The hub's key, where it asks for one.
    #[must_use]
    pub fn hub_key(self, key: &str) -> Self {
        self.hub_header("Authorization", format!("Bearer {key}"))
    }

    /// The participant's own token, 32 to 128 letters, digits and signs: a hub that is strict lets nobody use the id
    /// without it, for as long as the participant is there. A random one unless told otherwise.
    #[must_use]
    pub fn participant_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With a token, so that whoever starts it again is known as the same participant.
    pub(super) fn with_token(mut self) -> Result<Self, Error> {
        if self.token.is_none() {
            self.token = Some(fresh_id()?);
        }
        Ok(self)
    }

    /// Sends answers through the tunnel as JSON, even where the hub takes them as binary messages: slower, but it passes
    /// wherever only text does, and can be read along.
    #[must_use]
    pub fn json_frames(mut self) -> Self {
        self.json_frames = true;
        self
    }

    /// The machine.
    #[must_use]
    pub fn specs(mut self, specs: Specs) -> Self {
        self.registration.specs = Some(specs);
        self
    }

    /// Generation settings.
    #[must_use]
    pub fn config(mut self, config: RuntimeConfig) -> Self {
        self.registration.config = Some(config);
        self
    }

    /// What the provider can do, in place of what the probe finds.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.registration.capabilities = Some(capabilities);
        self
    }

    /// Requests that it takes at once, 1 to [`MAX_CONCURRENCY`](crate::proto::management::MAX_CONCURRENCY); 1 unless told
    /// otherwise.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.registration.concurrency = Some(requests);
        self
    }

    /// Another name that the model answers to.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.registration.aliases.push(name.into());
        self
    }

    /// How often the hub is told that the participant is alive, by heartbeat and by ping; every ten seconds unless told
    /// otherwise. The hub gives up on a participant after thirty.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.beat = interval;
        self
    }

    /// How long the hub may be silent before the session ends; thirty seconds unless told otherwise.
    #[must_use]
    pub fn hub_timeout(mut self, timeout: Duration) -> Self {
        self.timing.silence = timeout;
        self
    }

    /// Probes the provider; nothing is registered yet.
    ///
    /// # Errors
    /// When a value is wrong, the provider does not answer, or does not have the model.
    pub fn prepare(self) -> Result<Prepared, Error> {
        self.with_token()?.probe()
    }

    fn probe(mut self) -> Result<Prepared, Error> {
        let client = Client::new(&self.hub_url)?;
        let client = self.token.iter().fold(client, |client, token| client.with_participant_token(token));
        let client = self.hub_headers.iter().fold(client, |client, (name, value)| client.with_header(name, value));
        // In a private room the hub asks for it whenever the participant is not known any more.
        let password = self.registration.password.iter().filter(|password| fits_a_header(password));
        let client = password.fold(client, |client, password| client.with_room_password(password));
        let provider = Provider::new(&self.registration.endpoint, &self.auth)?;
        self.registration.endpoint.clone_from(&provider.endpoint);
        for (what, value) in [("the participant id", &self.id), ("the model", &self.registration.model)] {
            if value.is_empty() {
                return Err(Error::Invalid { what, reason: "must be given".into() });
            }
        }
        if self.registration.nickname.is_empty() {
            self.registration.nickname.clone_from(&self.id);
        }
        let endpoint = provider.endpoint.clone();
        let probe = probe(&provider).map_err(|reason| Error::Provider { endpoint: endpoint.clone(), reason })?;
        if !probe.has(&self.registration.model) {
            let model = self.registration.model.clone();
            return Err(Error::ModelMissing { endpoint, model, available: probe.models });
        }
        self.registration.capabilities.get_or_insert(probe.capabilities);
        Ok(Prepared { builder: self, client, provider, probe })
    }

    /// Probes, registers, opens the tunnel and starts the loops.
    ///
    /// # Errors
    /// As [`Builder::prepare`]; when the hub refuses or can't be reached; when the tunnel can't be opened, in which
    /// case the registration has been removed.
    pub fn start(self) -> Result<Session, Error> {
        self.prepare()?.register()?.open_tunnel()
    }
}

/// A provider that has been probed.
pub struct Prepared {
    builder: Builder,
    client: Client,
    provider: Provider,
    probe: Probe,
}

impl Prepared {
    /// What the probe found.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// What will be registered. The password is in it.
    pub fn registration(&self) -> &Registration {
        &self.builder.registration
    }

    /// Registers the participant.
    ///
    /// # Errors
    /// When the hub refuses, or can't be reached.
    pub fn register(self) -> Result<Joined, Error> {
        let participants = self.client.participants(&self.builder.room);
        let (registered, _) = participants.upsert(&self.builder.id, &self.builder.registration)?;
        Ok(Joined { prepared: self, registered })
    }
}

/// A participant that is registered, and has no tunnel yet.
pub struct Joined {
    prepared: Prepared,
    registered: Registered,
}

impl Joined {
    /// What the hub answered. The token in it is not printed.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Opens the tunnel and starts the loops.
    ///
    /// # Errors
    /// When it can't be opened. The registration is removed then.
    pub fn open_tunnel(self) -> Result<Session, Error> {
        let Joined { prepared, registered } = self;
        let Prepared { builder, client, provider, .. } = prepared;
        let opened = dial(client.hub_url(), &registered, &builder)
            .and_then(|tunnel| Session::run(&builder, &client, provider, &registered, tunnel));
        if opened.is_err() {
            let _ = client.participants(&builder.room).remove(&builder.id);
        }
        opened
    }
}

fn dial(hub: &str, registered: &Registered, builder: &Builder) -> Result<Connected, Error> {
    let ticket = &registered.tunnel;
    let address = tunnel_url(hub, &ticket.url, &builder.room, &builder.id);
    let mut url = format!("{address}?token={}", percent_encode(&ticket.token));
    if !builder.json_frames {
        url.push_str(&format!("&frames={FRAMES_BINARY}"));
    }
    url.push_str(&format!("&pause={PAUSE_ON}"));
    let headers: Vec<_> = builder.hub_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let limits = TunnelLimits { max_message: MAX_TO_PARTICIPANT, ..TunnelLimits::default() };
    tunnel::connect(&url, &headers, limits, OPEN_WITHIN).map_err(|error| match error {
        ConnectError::Io(error) => Error::Unreachable { url: address.clone(), reason: error.to_string() },
        other => Error::Tunnel { reason: other.to_string() },
    })
}
