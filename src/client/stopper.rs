//! Ends a chat or a stream of events that another thread waits for.

use ureq::Agent;

/// Ends a [`Chat`](super::Chat) or an [`EventStream`](super::EventStream) from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Agent);

impl Stopper {
    /// Ends what uses that agent.
    pub(super) fn new(agent: &Agent) -> Self {
        Stopper(agent.clone())
    }

    /// Closes the connection, which wakes a thread that waits for what comes.
    pub fn stop(&self) {
        self.0.clone().shutdown();
    }
}
