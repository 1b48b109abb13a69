//! Following the provider during a session: whether it answers, which models it has, and which of them are in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::load::Load;
use super::memory::MemoryRoute;
use super::offer::{self, ModelChoice};
use super::probe::{list_models, loaded, poll};
use super::provider::ProviderClient;
use super::provider_health::{PollResult, ProviderHealth};
use crate::client::Client;
use crate::client::backoff::StopSignal;
use crate::proto::management::{HeartbeatBody, Registration};
use crate::sync::lock;

/// The shortest time between two polls of the provider.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// Called with whether the provider answers, when that changes.
pub type OnProviderChange = Arc<dyn Fn(bool) + Send + Sync>;

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
    is_down: AtomicBool,
    /// Whether the provider has answered as if a model were gone.
    doubted: AtomicBool,
    refresh: Wakeup,
    poll: Wakeup,
    changed: Wakeup,
}

/// Wakes a thread, once for however many calls came before.
struct Wakeup(Sender<()>, Receiver<()>);

impl Wakeup {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Wakeup(sender, receiver)
    }

    fn wake(&self) {
        // One request that is not served yet is enough.
        let _ = self.0.try_send(());
    }
}

impl ProviderState {
    /// The state at a session's start.
    pub fn new(loaded: Option<Vec<String>>) -> Self {
        ProviderState {
            loaded: Mutex::new(loaded),
            is_down: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            refresh: Wakeup::new(),
            poll: Wakeup::new(),
            changed: Wakeup::new(),
        }
    }

    /// What a heartbeat tells of the provider, and of whether the session drains.
    pub fn report(&self, load: &Load) -> HeartbeatBody {
        let provider_down = Some(self.is_down.load(Ordering::Relaxed));
        HeartbeatBody { loaded: self.loaded(), provider_down, draining: Some(load.is_draining()) }
    }

    /// Has a report sent at once.
    pub fn report_now(&self) {
        self.changed.wake();
    }

    /// Receives when a report should be sent at once.
    pub fn changed(&self) -> &Receiver<()> {
        &self.changed.1
    }

    /// The models in memory, where the provider tells.
    fn loaded(&self) -> Option<Vec<String>> {
        lock(&self.loaded).clone()
    }

    /// Has the list of models read with the next heartbeat. However often it is called, that is once for each.
    pub fn doubt_models(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Has the provider polled now, because a request to it has failed.
    pub fn doubt_provider(&self) {
        self.poll.wake();
    }

    /// Has the list of models read now.
    pub fn refresh(&self) {
        self.refresh.wake();
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
    pub provider: ProviderClient,
    /// What is offered now.
    pub offer: Offer,
    /// The requests in progress.
    pub load: Arc<Load>,
    /// Called when the provider is found to be down, and when it answers again.
    pub on_change: Option<OnProviderChange>,
    /// Between two polls of the provider and what it has in memory.
    pub tick: Duration,
    /// Between two reads of the list of models.
    pub interval: Duration,
}

impl Follower {
    /// Follows the provider until the session has ended.
    pub fn run(mut self, state: &ProviderState, ended: &StopSignal) {
        let mut health = ProviderHealth::default();
        let mut due = Instant::now() + self.interval;
        loop {
            let pause = self.tick.min(due.saturating_duration_since(Instant::now()));
            select! {
                recv(ended.stopped()) -> _ => return,
                recv(state.refresh.1) -> _ => due = Instant::now(),
                recv(state.poll.1) -> _ => {}
                default(pause) => {}
            }
            let poll = self.poll(state);
            // One that works at a request may have no time for a poll.
            let is_known = poll != PollResult::Silent || self.load.is_idle();
            if is_known && health.record(poll) {
                state.is_down.store(health.is_down(), Ordering::Relaxed);
                state.changed.wake();
                if let Some(on_change) = &self.on_change {
                    on_change(!health.is_down());
                }
            }
            if poll == PollResult::Answered && (state.doubted.swap(false, Ordering::Relaxed) || due <= Instant::now()) {
                let is_registered = self.refresh(state, ended);
                due = Instant::now() + if is_registered { self.interval } else { self.tick.min(self.interval) };
            }
            // A request that fails again and again causes one poll a second.
            if ended.wait_timeout(POLL_PAUSE.min(self.tick)) {
                return;
            }
        }
    }

    /// Polls the provider, and reads what it has in memory.
    fn poll(&self, state: &ProviderState) -> PollResult {
        if let Some(names) = self.offer.memory.and_then(|route| loaded(&self.provider, route)) {
            *lock(&state.loaded) = Some(names);
            return PollResult::Answered;
        }
        poll(&self.provider)
    }

    /// Renews the registration if the provider's models have changed. False if the hub could not be told.
    fn refresh(&mut self, state: &ProviderState, ended: &StopSignal) -> bool {
        let offer = &mut self.offer;
        // Renewing the registration would tell the hub that the participant stays.
        if !offer.choice.can_change() || self.load.is_draining() {
            return true;
        }
        // A provider that does not answer may be starting: what it had stays offered.
        let Ok(listed) = list_models(&self.provider) else { return true };
        let mut registration = offer.registration.clone();
        let is_over = ended.is_stopped() || self.load.is_draining();
        if !offer::update(&mut registration, &offer.choice.offered(&listed)) || is_over {
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
