//! Watching events over broken streams: connects again, with a pause that grows, and says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Client;
use super::events::{EventStopper, EventStream};
use crate::error::Error;
use crate::proto::management::EventEnvelope;

/// The first pause before connecting again; doubled with each failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// What a [`Watch`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Watched {
    /// Something happened.
    Event(EventEnvelope),
    /// The stream broke, or could not be opened. The next item comes after the pause.
    Broken {
        /// Why.
        error: Error,
        /// How long it waits before it connects again.
        pause: Duration,
    },
}

/// A pause before the next attempt: doubled each time, and shortened by up to half by lot, so that many who lost the
/// same hub do not come back at the same moment.
pub(crate) fn pause(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let whole = first.saturating_mul(1 << attempt.min(16)).min(longest);
    let mut byte = [0];
    // Without randomness all pauses are whole ones, which is no harm.
    let _ = getrandom::fill(&mut byte);
    whole - whole.mul_f64(f64::from(byte[0]) / 512.0)
}

/// The events of a room or of a hub, for as long as they are wanted. It ends when it is stopped, or when the hub says
/// that there is no such room (an error is then its last item).
///
/// ```no_run
/// use gambi::client::{Client, Watched};
///
/// for item in Client::new("http://localhost:3000")?.watch(Some("ABC234")) {
///     match item? {
///         Watched::Event(event) => println!("{} {}", event.kind, event.data),
///         Watched::Broken { error, pause } => eprintln!("{error}; again in {pause:?}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), gambi::Error>(())
/// ```
pub struct Watch {
    client: Client,
    room: Option<String>,
    stream: Option<EventStream>,
    attempt: u32,
    pause: Option<Duration>,
    over: bool,
    shared: Arc<Shared>,
    stopped: Receiver<()>,
}

struct Shared {
    /// Dropped when the watch is stopped.
    running: Mutex<Option<Sender<()>>>,
    /// Ends the stream that is open now.
    stream: Mutex<Option<EventStopper>>,
}

/// Ends a [`Watch`] from another thread.
#[derive(Clone)]
pub struct WatchStopper(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WatchStopper {
    /// Ends the watch: whoever waits for an event wakes up.
    pub fn stop(&self) {
        lock(&self.0.running).take();
        if let Some(stream) = lock(&self.0.stream).take() {
            stream.stop();
        }
    }
}

impl Watch {
    pub(super) fn new(client: Client, room: Option<String>) -> Self {
        let (running, stopped) = bounded(0);
        let shared = Arc::new(Shared { running: Mutex::new(Some(running)), stream: Mutex::default() });
        Watch { client, room, stream: None, attempt: 0, pause: None, over: false, shared, stopped }
    }

    /// A handle that ends it from another thread.
    pub fn stopper(&self) -> WatchStopper {
        WatchStopper(self.shared.clone())
    }

    fn is_stopped(&self) -> bool {
        lock(&self.shared.running).is_none()
    }

    fn open(&mut self) -> Result<(), Error> {
        let stream = self.client.events(self.room.as_deref())?;
        *lock(&self.shared.stream) = Some(stream.stopper());
        self.stream = Some(stream);
        Ok(())
    }

    fn broken(&mut self, error: Error) -> Option<Result<Watched, Error>> {
        self.stream = None;
        if self.is_stopped() {
            return None;
        }
        if error.status().is_some_and(|status| (400..500).contains(&status)) {
            self.over = true;
            return Some(Err(error));
        }
        let pause = pause(self.attempt, FIRST, LONGEST);
        self.attempt += 1;
        self.pause = Some(pause);
        Some(Ok(Watched::Broken { error, pause }))
    }
}

impl Iterator for Watch {
    type Item = Result<Watched, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.is_stopped() {
            return None;
        }
        if let Some(pause) = self.pause.take() {
            // It ends early when the watch is stopped.
            if self.stopped.recv_timeout(pause) == Err(crossbeam_channel::RecvTimeoutError::Disconnected) {
                return None;
            }
        }
        if self.stream.is_none()
            && let Err(error) = self.open()
        {
            return self.broken(error);
        }
        match self.stream.as_mut().and_then(Iterator::next) {
            Some(Ok(event)) => {
                self.attempt = 0;
                Some(Ok(Watched::Event(event)))
            }
            Some(Err(error)) => self.broken(error),
            None => {
                let url = self.client.hub_url().to_owned();
                self.broken(Error::Unreachable { url, reason: "the hub ended the stream".into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_by_lot() {
        for attempt in 0..40 {
            let whole = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            let pause = pause(attempt, FIRST, LONGEST);
            assert!(pause <= whole && pause >= whole / 2, "{attempt}: {pause:?}");
        }
    }
}
