//! Retrying with growing pauses, and a signal that ends a pause early. Event watches and reconnecting sessions use both.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::sync::lock;

/// The pauses between attempts: exponential, bounded, with jitter.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// Failures since the last success.
    failures: u32,
}

impl Backoff {
    /// Pauses that start at `first` and double up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, failures: 0 }
    }

    /// Starts again at the first pause, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure. Up to half of it is cut off at random, so that many clients that lost the same hub
    /// do not return at the same moment.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.full_pause();
        self.failures = self.failures.saturating_add(1);
        let mut byte = [0];
        // Without randomness the pause keeps its full length.
        let _ = crate::random::fill(&mut byte);
        pause - pause.mul_f64(f64::from(byte[0]) / 512.0)
    }

    fn full_pause(&self) -> Duration {
        self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest)
    }
}

/// A flag that is set once and wakes every thread that waits for it.
#[derive(Debug)]
pub struct StopSignal {
    /// Dropped by [`StopSignal::stop`], which disconnects `stopped`.
    running: Mutex<Option<Sender<()>>>,
    stopped: Receiver<()>,
}

impl StopSignal {
    /// A signal that is not set.
    pub fn new() -> Self {
        let (running, stopped) = bounded(0);
        StopSignal { running: Mutex::new(Some(running)), stopped }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender<()>>> {
        lock(&self.running)
    }

    /// Sets it. Further calls change nothing.
    pub fn stop(&self) {
        self.lock().take();
    }

    /// Whether it is set.
    pub fn is_stopped(&self) -> bool {
        self.lock().is_none()
    }

    /// A channel that is disconnected when it is set, to be waited for beside others.
    pub fn stopped(&self) -> &Receiver<()> {
        &self.stopped
    }

    /// Waits until it is set.
    pub fn wait(&self) {
        let _ = self.stopped.recv();
    }

    /// Waits until it is set, for at most `timeout`. True when it is set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.stopped.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_at_random() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        for attempt in 0..40 {
            let full = first.saturating_mul(1 << attempt.min(16)).min(longest);
            let pause = backoff.next_pause();
            assert!(pause <= full && pause >= full / 2, "{attempt}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= first);
    }

    #[test]
    fn stopping_ends_a_pause_early() {
        let signal = StopSignal::new();
        assert!(!signal.is_stopped() && !signal.wait_timeout(Duration::from_millis(1)));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| signal.wait_timeout(Duration::from_secs(600)));
            signal.stop();
            signal.stop();
            assert!(waiter.join().unwrap() && signal.is_stopped());
        });
        signal.wait();
    }
}
