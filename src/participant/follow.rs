//! Following the provider during a session: which models it has, and which of them are in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::memory::MemoryRoute;
use super::offer::{self, ModelChoice};
use super::probe::{list_models, loaded};
use super::provider::Provider;
use crate::client::Client;
use crate::client::backoff::StopSignal;
use crate::proto::management::Registration;
use crate::sync::lock;

/// What a session offers at its start.
pub struct Offer {
    /// The models that were chosen.
    pub choice: ModelChoice,
    /// The registration, with the models that the provider had.
    pub registration: Registration,
    /// How the provider tells which models are in memory.
    pub memory: Option<MemoryRoute>,
}

/// What the thread that follows the provider shares with the session's other threads.
pub struct ProviderState {
    loaded: Mutex<Option<Vec<String>>>,
    /// Whether the provider has answered as if a model were gone.
    doubted: AtomicBool,
    refresh: Sender<()>,
    requested: Receiver<()>,
}

impl ProviderState {
    /// The state at a session's start.
    pub fn new(loaded: Option<Vec<String>>) -> Self {
        let (refresh, requested) = bounded(1);
        ProviderState { loaded: Mutex::new(loaded), doubted: AtomicBool::new(false), refresh, requested }
    }

    /// The models in memory, where the provider tells.
    pub fn loaded(&self) -> Option<Vec<String>> {
        lock(&self.loaded).clone()
    }

    /// Has the list of models looked at with the next heartbeat. However often it is called, that is once for each.
    pub fn doubt_models(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Has the list of models looked at now.
    pub fn refresh(&self) {
        // One request that is not served yet is enough.
        let _ = self.refresh.try_send(());
    }
}

/// Follows a provider, and renews the registration when its models change.
pub struct Follower {
    /// The hub.
    pub client: Client,
    /// The room.
    pub room: String,
    /// The participant's id.
    pub id: String,
    /// The provider.
    pub provider: Provider,
    /// What is offered now.
    pub offer: Offer,
    /// Between two looks at what is in memory.
    pub tick: Duration,
    /// Between two looks at the list of models.
    pub interval: Duration,
}

impl Follower {
    /// Whether there is anything to follow.
    pub fn is_needed(&self) -> bool {
        self.offer.choice.can_change() || self.offer.memory.is_some()
    }

    /// Follows the provider until the session has ended.
    pub fn run(mut self, state: &ProviderState, ended: &StopSignal) {
        let mut due = Instant::now() + self.interval;
        loop {
            let pause = self.tick.min(due.saturating_duration_since(Instant::now()));
            select! {
                recv(ended.stopped()) -> _ => return,
                recv(state.requested) -> _ => due = Instant::now(),
                default(pause) => {}
            }
            if let Some(names) = self.offer.memory.and_then(|route| loaded(&self.provider, route)) {
                *lock(&state.loaded) = Some(names);
            }
            if state.doubted.swap(false, Ordering::Relaxed) || due <= Instant::now() {
                let is_registered = self.refresh(state, ended);
                due = Instant::now() + if is_registered { self.interval } else { self.tick.min(self.interval) };
            }
        }
    }

    /// Renews the registration if the provider's models have changed. False if the hub could not be told.
    fn refresh(&mut self, state: &ProviderState, ended: &StopSignal) -> bool {
        let offer = &mut self.offer;
        if !offer.choice.can_change() {
            return true;
        }
        // A provider that does not answer may be starting: what it had stays offered.
        let Ok(listed) = list_models(&self.provider) else { return true };
        let mut registration = offer.registration.clone();
        if !offer::update(&mut registration, &offer.choice.offered(&listed)) || ended.is_stopped() {
            return true;
        }
        registration.loaded = state.loaded();
        let participants = self.client.participants(&self.room);
        let Ok((_, is_new)) = participants.upsert(&self.id, &registration) else { return false };
        if is_new {
            // It was removed at the same time, which must not be undone.
            let _ = participants.remove(&self.id);
        }
        offer.registration = registration;
        true
    }
}
