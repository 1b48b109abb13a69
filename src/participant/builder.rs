//! Joining a room step by step: collect the settings, probe the provider, register, open the tunnel.

use std::sync::Arc;
use std::time::Duration;

use super::address::tunnel_url;
use super::follow::{Offer, OnProviderChange};
use super::id::fresh_id;
use super::offer::{self, ModelChoice};
use super::probe::{Probe, probe};
use super::provider::ProviderClient;
use super::session::{Session, SessionParams, Timing};
use crate::client::Client;
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;
use crate::proto::management::{
    Capabilities, DEFAULT_ENDPOINT, HEARTBEAT_SECS, Registered, Registration, RuntimeConfig, Specs, TIMEOUT_SECS,
};
use crate::proto::names::{PARTICIPANT_ID, is_participant_id};
use crate::proto::tunnel::{BODIES_BINARY, FRAMES_BINARY, MAX_TO_PARTICIPANT, PAUSE_ON};
use crate::proto::web::{fits_a_header, percent_encode};
use crate::tunnel::{self, ConnectError, Connected, TunnelLimits};

/// The interval at which a session looks at its provider's list of models.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The time limit for opening the tunnel, TCP and TLS handshakes included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a session. Made by [`Session::builder`].
#[derive(Clone)]
pub struct Builder {
    hub_url: String,
    room: String,
    id: String,
    registration: Registration,
    models: ModelChoice,
    provider_headers: Vec<(String, String)>,
    hub_headers: Vec<(String, String)>,
    hub_fingerprint: Option<Fingerprint>,
    token: Option<String>,
    json_frames: bool,
    on_provider_change: Option<OnProviderChange>,
    timing: Timing,
}

impl Session {
    /// A session in a room of the hub at `hub_url`. A participant id and a model must be set before it starts.
    pub fn builder(hub_url: impl Into<String>, room: impl Into<String>) -> Builder {
        Builder {
            hub_url: hub_url.into(),
            room: room.into(),
            id: String::new(),
            registration: Registration { endpoint: DEFAULT_ENDPOINT.into(), ..Registration::default() },
            models: ModelChoice::Named(Vec::new()),
            provider_headers: Vec::new(),
            hub_headers: Vec::new(),
            hub_fingerprint: None,
            token: None,
            json_frames: false,
            on_provider_change: None,
            timing: Timing {
                heartbeat_interval: Duration::from_secs(HEARTBEAT_SECS),
                hub_timeout: Duration::from_secs(TIMEOUT_SECS),
                refresh_interval: REFRESH_INTERVAL,
            },
        }
    }
}

impl Builder {
    /// The participant's id. Registering again with the same id renews the registration.
    #[must_use]
    pub fn participant_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The display name; the id by default.
    #[must_use]
    pub fn nickname(mut self, nickname: impl Into<String>) -> Self {
        self.registration.nickname = nickname.into();
        self
    }

    /// The model, by the provider's name for it.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.models([model])
    }

    /// Several models, by the provider's names for them: one participant with one tunnel and one concurrency for all. The
    /// first one is that of requests that name none. The session follows the provider: a model that it removes is not
    /// offered any longer, until it is back.
    #[must_use]
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = ModelChoice::Named(models.into_iter().map(Into::into).collect());
        self
    }

    /// All models that the provider has, up to [`MAX_MODELS`](crate::proto::management::MAX_MODELS), and those that it gets
    /// while the session runs.
    #[must_use]
    pub fn all_models(mut self) -> Self {
        self.models = ModelChoice::All;
        self
    }

    /// How often the session looks at the provider's list of models; every minute by default.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.timing.refresh_interval = interval;
        self
    }

    /// The provider's base URL; `http://localhost:11434` by default.
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

    /// A header for the provider, such as its API key. It is never sent to the hub.
    #[must_use]
    pub fn auth_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.provider_headers.push((name.into(), value.into()));
        self
    }

    /// A header for the hub, for a hub behind a proxy that requires one.
    #[must_use]
    pub fn hub_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.hub_headers.push((name.into(), value.into()));
        self
    }

    /// The hub's key, for a hub that was started with one.
    #[must_use]
    pub fn hub_key(self, key: &str) -> Self {
        self.hub_header("Authorization", format!("Bearer {key}"))
    }

    /// The fingerprint of the hub's certificate, which must then be that one, whoever vouches for it.
    #[must_use]
    pub fn hub_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.hub_fingerprint = Some(fingerprint);
        self
    }

    /// The participant's token, 32 to 128 visible ASCII characters. A strict hub requires it for every use of the id while
    /// the participant is registered. Random by default.
    #[must_use]
    pub fn participant_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets a random token unless there is one, so that a hub recognises a later start of this builder as the same
    /// participant.
    pub(super) fn with_token(mut self) -> Result<Self, Error> {
        if self.token.is_none() {
            self.token = Some(fresh_id()?);
        }
        Ok(self)
    }

    /// Sends responses through the tunnel as JSON, and wants requests so, even where the hub knows binary messages. Slower, but
    /// readable in a capture, and it passes proxies that allow only text messages.
    #[must_use]
    pub fn json_frames(mut self) -> Self {
        self.json_frames = true;
        self
    }

    /// The machine's hardware, such as [`machine_specs`](super::machine_specs) finds it.
    #[must_use]
    pub fn specs(mut self, specs: Specs) -> Self {
        self.registration.specs = Some(specs);
        self
    }

    /// Default generation settings for requests to this participant.
    #[must_use]
    pub fn config(mut self, config: RuntimeConfig) -> Self {
        self.registration.config = Some(config);
        self
    }

    /// The provider's capabilities, in place of the probe's result.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.registration.capabilities = Some(capabilities);
        self
    }

    /// The number of concurrent requests, 1 to [`MAX_CONCURRENCY`](crate::proto::management::MAX_CONCURRENCY); 1 by default.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.registration.concurrency = Some(requests);
        self
    }

    /// The participant's share of the requests in proportion to others, 1 to
    /// [`MAX_WEIGHT`](crate::proto::management::MAX_WEIGHT); 1 by default.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.registration.weight = Some(weight);
        self
    }

    /// Keeps the participant for requests that no other one can take.
    #[must_use]
    pub fn fallback(mut self) -> Self {
        self.registration.fallback = true;
        self
    }

    /// Adds another name by which requests can select the first model.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.registration.aliases.push(name.into());
        self
    }

    /// Has `on_change` called with false when the provider is found to be down, and with true when it answers again. The hub
    /// is told in any case, and sends no requests meanwhile. It is called on a thread of the session.
    #[must_use]
    pub fn on_provider_change(mut self, on_change: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.on_provider_change = Some(Arc::new(on_change));
        self
    }

    /// The interval of heartbeats and pings; 10 seconds by default. A hub marks a participant offline after 30 seconds
    /// without either.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.heartbeat_interval = interval;
        self
    }

    /// The time without a message from the hub after which the session ends; 30 seconds by default.
    #[must_use]
    pub fn hub_timeout(mut self, timeout: Duration) -> Self {
        self.timing.hub_timeout = timeout;
        self
    }

    /// Probes the provider, without registering anything.
    ///
    /// # Errors
    /// When a setting is invalid, the provider does not answer, does not list its models, or does not have the model.
    pub fn prepare(self) -> Result<Prepared, Error> {
        self.with_token()?.probe()
    }

    fn probe(mut self) -> Result<Prepared, Error> {
        let client = self.hub_client()?;
        let provider = ProviderClient::new(&self.registration.endpoint, &self.provider_headers)?;
        self.registration.endpoint.clone_from(&provider.endpoint);
        self.check_names()?;
        if self.registration.nickname.is_empty() {
            self.registration.nickname.clone_from(&self.id);
        }
        let endpoint = provider.endpoint.clone();
        let probe = probe(&provider).map_err(|reason| Error::Provider { endpoint, reason })?;
        self.offer(&probe)?;
        Ok(Prepared { builder: self, client, provider, probe })
    }

    /// The client that makes the session's calls to the hub.
    fn hub_client(&self) -> Result<Client, Error> {
        let client = Client::new(&self.hub_url)?.with_fingerprint(self.hub_fingerprint)?.without_kept_connections();
        let client = self.token.iter().fold(client, |client, token| client.with_participant_token(token));
        let client = self.hub_headers.iter().fold(client, |client, (name, value)| client.with_header(name, value));
        // A private room's hub requires the password again once it has forgotten the participant.
        let password = self.registration.password.iter().filter(|password| fits_a_header(password));
        Ok(password.fold(client, |client, password| client.with_room_password(password)))
    }

    /// Checks the names of the participant and its models.
    fn check_names(&self) -> Result<(), Error> {
        if !is_participant_id(&self.id) {
            return Err(Error::Invalid { what: "the participant id", reason: PARTICIPANT_ID.into() });
        }
        match &self.models {
            ModelChoice::Named(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                Err(Error::Invalid { what: "the model", reason: "must be given".into() })
            }
            _ => Ok(()),
        }
    }

    /// Puts what the provider has into the registration.
    fn offer(&mut self, probe: &Probe) -> Result<(), Error> {
        let endpoint = self.registration.endpoint.clone();
        if let Some(status) = probe.unlisted {
            return Err(Error::ModelsUnlisted { endpoint, status });
        }
        if let (Some(status), None) = (probe.refused, self.registration.capabilities) {
            return Err(Error::ChatsRefused { endpoint, status });
        }
        if let Some(model) = self.models.missing(&probe.models) {
            return Err(Error::ModelMissing { endpoint, model: model.to_owned(), available: probe.models.clone() });
        }
        match &self.models {
            ModelChoice::Named(names) if names.len() == 1 => self.registration.model.clone_from(&names[0]),
            choice if !offer::update(&mut self.registration, &choice.offered(&probe.models)) => {
                return Err(Error::NoModels { endpoint });
            }
            _ => {}
        }
        self.registration.loaded.clone_from(&probe.loaded);
        self.registration.capabilities.get_or_insert(probe.capabilities);
        Ok(())
    }

    /// Probes the provider, registers the participant, opens the tunnel and starts to serve.
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
    provider: ProviderClient,
    probe: Probe,
}

impl Prepared {
    /// The probe's result.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The registration that will be sent. It contains the room's password.
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

/// A participant that is registered and has no tunnel yet.
pub struct Joined {
    prepared: Prepared,
    registered: Registered,
}

impl Joined {
    /// The hub's response. Its `Debug` form omits the token.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Opens the tunnel and starts to serve.
    ///
    /// # Errors
    /// When the tunnel can't be opened. The registration is then removed.
    pub fn open_tunnel(self) -> Result<Session, Error> {
        let Joined { prepared, registered } = self;
        let Prepared { builder, client, provider, probe } = prepared;
        let opened = open_tunnel(client.hub_url(), &registered, &builder).and_then(|tunnel| {
            let Builder { room, id, timing, registration, models, on_provider_change: on_change, .. } = builder.clone();
            let offer = Offer { choice: models, registration, memory: probe.memory };
            let client = client.clone();
            Session::start(SessionParams { client, room, id, timing, provider, offer, on_change, registered, tunnel })
        });
        if opened.is_err() {
            let _ = client.participants(&builder.room).remove(&builder.id);
        }
        opened
    }
}

fn open_tunnel(hub: &str, registered: &Registered, builder: &Builder) -> Result<Connected, Error> {
    let announced = &registered.tunnel;
    let address = tunnel_url(hub, &announced.url, &builder.room, &builder.id);
    let mut url = format!("{address}?token={}", percent_encode(&announced.token));
    if !builder.json_frames {
        url.push_str(&format!("&frames={FRAMES_BINARY}&bodies={BODIES_BINARY}"));
    }
    url.push_str(&format!("&pause={PAUSE_ON}"));
    let headers: Vec<_> = builder.hub_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let limits = TunnelLimits { max_message: MAX_TO_PARTICIPANT, ..TunnelLimits::default() };
    tunnel::connect(&url, &headers, builder.hub_fingerprint, limits, OPEN_TIMEOUT).map_err(|error| match error {
        ConnectError::Io(error) => Error::Unreachable { url: address.clone(), reason: Reason::of(error) },
        other => Error::Tunnel { reason: other.into() },
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    const NOWHERE: &str = "http://127.0.0.1:0";

    #[test]
    fn an_unreachable_provider_is_reported_with_its_io_error() {
        let builder = Session::builder(NOWHERE, "ABC234").participant_id("a").model("m").endpoint(NOWHERE);
        let error = builder.prepare().map(drop).unwrap_err();
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(error.to_string(), format!("the provider at {NOWHERE} does not answer: {source}"));
    }
}
