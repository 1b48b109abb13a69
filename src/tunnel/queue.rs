//! What a response queue counts: its bytes, its share of the memory, and how long its reader has waited for it. The rules
//! only; the pieces themselves and the locks are the router's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::piece::{LostReason, Piece};
use crate::budget::{Budget, Share};

/// Memory is taken and given back in steps of so many bytes, so that not each small piece asks the budget.
const STEP: u64 = 16 << 10;
/// A queue this small may use the last of the memory; larger ones leave a quarter of it to other requests.
const SMALL: u64 = 64 << 10;
/// Interim heads (RFC 9110, section 15.2) that a participant may send before the final one.
const MAX_INTERIM: u8 = 16;

/// How much a queue may hold, and how long its reader may wait for it.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// From so many bytes on it is full: its participant is told to pause, or its reader waits.
    pub high: usize,
    /// At so many bytes or fewer a participant that paused goes on.
    pub low: usize,
    /// Past so many bytes its request ends. A single piece may be longer.
    pub most: usize,
    /// The longest time that the reader waits for one request in any time of `within`.
    pub wait: Duration,
    /// See `wait`. Zero: each wait counts by itself.
    pub within: Duration,
}

/// Whether a participant has been told to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It has not. Only the tunnel's reader leaves this state.
    Running,
    /// It is being told so, by the tunnel's reader.
    Pausing,
    /// It has been told so.
    Paused,
    /// It is being told to go on.
    Resuming,
}

/// A queue's counters.
pub(super) struct QueueState {
    limits: QueueLimits,
    budget: Arc<Budget>,
    share: Share,
    /// Bytes in the queue.
    bytes: usize,
    /// Whether the reader waits for room: nobody else need be woken.
    pub(super) reader_waits: bool,
    /// Time waited since the last time span of `within` in which nobody waited, and when that waiting ended.
    waited: Duration,
    waited_until: Option<Instant>,
    interim: u8,
    has_head: bool,
    pub(super) flow: Flow,
    /// Why nothing more will come; told when the pieces have ended.
    pub(super) terminal: Option<LostReason>,
}

impl QueueState {
    pub(super) fn new(limits: QueueLimits, budget: &Arc<Budget>) -> Self {
        QueueState {
            limits,
            share: budget.share(),
            budget: budget.clone(),
            bytes: 0,
            reader_waits: false,
            waited: Duration::ZERO,
            waited_until: None,
            interim: 0,
            has_head: false,
            flow: Flow::Running,
            terminal: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.limits.high
    }

    /// Counts pieces into the queue.
    ///
    /// # Errors
    /// Why they end their request.
    pub(super) fn put(&mut self, pieces: &[Piece]) -> Result<(), LostReason> {
        for piece in pieces {
            if let Piece::Start { status, .. } = piece {
                self.count_head(*status)?;
            }
        }
        let more = pieces.iter().map(Piece::weight).sum();
        let bytes = self.bytes.saturating_add(more);
        if bytes > self.limits.most && self.bytes > 0 {
            return Err(LostReason::TooSlow);
        }
        if !self.reserve(bytes as u64) {
            return Err(LostReason::NoMemory);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn count_head(&mut self, status: u16) -> Result<(), LostReason> {
        let is_interim = status < 200;
        self.interim += u8::from(is_interim);
        if self.has_head || self.interim > MAX_INTERIM {
            return Err(LostReason::SecondHead);
        }
        self.has_head = !is_interim;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        if bytes <= self.share.bytes() {
            return true;
        }
        let stepped = bytes.next_multiple_of(STEP);
        let used = self.budget.used() + (stepped - self.share.bytes());
        (stepped <= SMALL || used <= self.budget.total() / 4 * 3) && self.share.grow_to(stepped)
    }

    /// Counts bytes out of the queue.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let needed = self.bytes as u64 + STEP;
        if self.share.bytes() > needed + SMALL {
            self.share.shrink_to(needed);
        }
    }

    /// How long the reader may wait now.
    pub(super) fn allowance_left(&self, now: Instant) -> Duration {
        let rested = |until| now.saturating_duration_since(until) >= self.limits.within;
        if self.waited_until.is_none_or(rested) {
            self.limits.wait
        } else {
            self.limits.wait.saturating_sub(self.waited)
        }
    }

    /// Notes that the reader waits, and says how long it may; `None` where it need not or must not.
    pub(super) fn begin_waiting(&mut self, now: Instant) -> Option<Duration> {
        let left = self.allowance_left(now);
        self.reader_waits = self.is_full() && !left.is_zero();
        self.reader_waits.then_some(left)
    }

    /// Notes that the reader has waited.
    pub(super) fn end_waiting(&mut self, from: Instant, until: Instant) {
        let before = self.limits.wait.saturating_sub(self.allowance_left(from));
        self.waited = before + until.saturating_duration_since(from);
        self.waited_until = Some(until);
        self.reader_waits = false;
    }

    /// Whether the participant is to be told to pause; noted as being told.
    pub(super) fn wants_pause(&mut self) -> bool {
        let wants = self.flow == Flow::Running && self.is_full();
        if wants {
            self.flow = Flow::Pausing;
        }
        wants
    }

    /// Whether the participant is to be told to go on; noted as being told.
    pub(super) fn wants_resume(&mut self) -> bool {
        let wants = self.flow == Flow::Paused && self.bytes <= self.limits.low;
        if wants {
            self.flow = Flow::Resuming;
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        high: 1,
        low: 1,
        most: 1 << 30,
        wait: Duration::from_millis(200),
        within: Duration::from_secs(10),
    };

    /// Waits as often as it may, for `each` at most, with `pause` in between: the waits as from and until.
    fn waits(each: Duration, pause: Duration) -> Vec<(Instant, Instant)> {
        let mut state = QueueState::new(LIMITS, &Budget::new(1 << 20));
        state.put(&[Piece::Chunk(vec![0; 10])]).unwrap();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..1000 {
            if let Some(allowed) = state.begin_waiting(now) {
                let until = now + allowed.min(each);
                state.end_waiting(now, until);
                waits.push((now, until));
                now = until;
            }
            now += pause;
        }
        waits
    }

    #[test]
    fn in_any_ten_seconds_a_reader_waits_two_hundred_milliseconds_at_most() {
        for (each, pause) in [(5000, 1), (5000, 4900), (1, 0), (7, 100), (150, 9_900), (150, 10_000), (3, 9_999)] {
            let waits = waits(Duration::from_millis(each), Duration::from_millis(pause));
            assert!(!waits.is_empty());
            for (n, (from, _)) in waits.iter().enumerate() {
                let end = *from + LIMITS.within;
                let span = waits[n..].iter().take_while(|(from, _)| *from < end);
                let sum: Duration = span.map(|(from, until)| (*until).min(end) - *from).sum();
                assert!(sum <= LIMITS.wait, "{sum:?} of waits of {each} ms each {pause} ms");
            }
        }
    }

    #[test]
    fn after_a_rest_a_reader_may_wait_again() {
        assert!(waits(Duration::from_millis(150), Duration::from_secs(10)).len() > 900);
    }
}
