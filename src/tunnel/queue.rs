//! The accounting of a response queue: its bytes, its share of the memory budget, and the time that the tunnel's reader
//! has waited for it; and the client's connection, while it is lent to that reader. The pieces and the locks are in `router`.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::piece::{LostReason, Piece};
use crate::budget::{Budget, Share};
use crate::net::client::MAX_INTERIM;
use crate::net::stream::SentNow;

/// Memory is reserved and released in steps of this many bytes, so that small pieces rarely lock the budget.
const STEP: u64 = 16 << 10;
/// A queue of up to this many bytes takes none of the budget, so that a short answer is passed on even where others have used all
/// of it. A request has two queues at most, and the number of connections bounds the requests.
const UNCHARGED: u64 = 4 << 10;
/// A queue of up to this many bytes may use the whole budget; larger ones leave a quarter of it to other requests.
const SMALL: u64 = 64 << 10;

/// The longest piece that the tunnel's reader sends by itself, in bytes: what a participant reads of a fast answer at once. What the
/// client does not take of it at once has to be stored.
const MAX_SENT_HERE: usize = 64 << 10;

/// Sends the client a piece of the body, as far as it takes that without waiting. It is called under the queue's lock.
pub type SendToClient = Arc<dyn Fn(&[u8]) -> SentNow + Send + Sync>;

/// Limits on the bytes in a queue, and on the time that the tunnel's reader waits for it.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// High-water mark, bytes: the participant is sent `tunnel.pause`, or the reader waits.
    pub high: usize,
    /// Low-water mark, bytes: a paused participant is sent `tunnel.resume`.
    pub low: usize,
    /// Hard limit, bytes: beyond it the request ends. A single piece may be longer.
    pub most: usize,
    /// The longest total time that the reader waits for one request in any period of `within`.
    pub wait: Duration,
    /// The period of `wait`. Zero: the limit applies to each wait separately.
    pub within: Duration,
}

/// The state of the flow control of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The participant sends. Only the tunnel's reader leaves this state.
    Running,
    /// The tunnel's reader is sending `tunnel.pause`.
    Pausing,
    /// `tunnel.pause` has been sent.
    Paused,
    /// `tunnel.resume` is being sent.
    Resuming,
}

/// A queue's counters.
pub(super) struct QueueState {
    limits: QueueLimits,
    budget: Arc<Budget>,
    share: Share,
    /// Bytes in the queue.
    bytes: usize,
    /// The thread that reads the tunnel, while it waits for room.
    pub(super) reader: Option<Thread>,
    /// The thread that waits for the next batch, if any.
    pub(super) receiver: Option<Thread>,
    /// The client's connection, while the request waits and has nothing left to send.
    lent: Option<SendToClient>,
    /// When the client was last sent something with it, since that was asked for.
    pub(super) sent_at: Option<Instant>,
    /// Whether the request has stopped waiting for its answer.
    pub(super) receiver_gone: bool,
    /// Time waited since the reader last went `within` without waiting, and the end of the latest wait.
    waited: Duration,
    waited_until: Option<Instant>,
    interim: u8,
    has_head: bool,
    pub(super) flow: Flow,
    /// Why no more pieces follow; reported after the queued pieces.
    pub(super) terminal: Option<LostReason>,
}

impl QueueState {
    pub(super) fn new(limits: QueueLimits, budget: &Arc<Budget>) -> Self {
        QueueState {
            limits,
            share: budget.share(),
            budget: budget.clone(),
            bytes: 0,
            reader: None,
            receiver: None,
            lent: None,
            sent_at: None,
            receiver_gone: false,
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

    /// Adds pieces to the count. The loan of the client's connection ends, so that the order is kept.
    ///
    /// # Errors
    /// [`LostReason`], where they end their request.
    pub(super) fn put(&mut self, pieces: &[Piece]) -> Result<(), LostReason> {
        self.take_back();
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

    /// Lends the client's connection to the tunnel's reader, unless there are pieces that the request must send before.
    pub(super) fn lend(&mut self, send: &SendToClient) {
        self.lent = (self.bytes == 0).then(|| send.clone());
    }

    /// Ends the loan.
    pub(super) fn take_back(&mut self) {
        self.lent = None;
    }

    /// Sends the client bytes of the body, if its connection is lent. The loan ends if it does not take all of them.
    pub(super) fn send_here(&mut self, bytes: &[u8]) -> SentNow {
        let send = self.lent.take().filter(|_| bytes.len() <= MAX_SENT_HERE);
        let Some(send) = send else { return SentNow::Nothing };
        let sent = send(bytes);
        if sent != SentNow::Nothing {
            self.sent_at = Some(Instant::now());
        }
        self.lent = Some(send).filter(|_| sent == SentNow::All);
        sent
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
        if bytes <= self.share.bytes().max(UNCHARGED) {
            return true;
        }
        let stepped = bytes.next_multiple_of(STEP);
        let used = self.budget.used() + (stepped - self.share.bytes());
        (stepped <= SMALL || used <= self.budget.total() / 4 * 3) && self.share.grow_to(stepped)
    }

    /// Subtracts bytes from the count.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let needed = self.bytes as u64 + STEP;
        if self.share.bytes() > needed + SMALL {
            self.share.shrink_to(needed);
        }
    }

    /// The time that the reader may wait now.
    pub(super) fn allowance_left(&self, now: Instant) -> Duration {
        let rested = |until| now.saturating_duration_since(until) >= self.limits.within;
        if self.waited_until.is_none_or(rested) {
            self.limits.wait
        } else {
            self.limits.wait.saturating_sub(self.waited)
        }
    }

    /// Records that the calling thread, which reads the tunnel, begins to wait, and returns its limit; `None` where it need not
    /// or must not wait.
    pub(super) fn begin_waiting(&mut self, now: Instant) -> Option<Duration> {
        let left = self.allowance_left(now);
        let waits = self.is_full() && !left.is_zero();
        self.reader = waits.then(thread::current);
        waits.then_some(left)
    }

    /// Records a wait of the reader.
    pub(super) fn end_waiting(&mut self, from: Instant, until: Instant) {
        let before = self.limits.wait.saturating_sub(self.allowance_left(from));
        self.waited = before + until.saturating_duration_since(from);
        self.waited_until = Some(until);
        self.reader = None;
    }

    /// Whether `tunnel.pause` must be sent; if so, changes the state to `Pausing`.
    pub(super) fn wants_pause(&mut self) -> bool {
        let wants = self.flow == Flow::Running && self.is_full();
        if wants {
            self.flow = Flow::Pausing;
        }
        wants
    }

    /// Whether `tunnel.resume` must be sent; if so, changes the state to `Resuming`.
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
    use std::sync::Mutex;

    use super::*;
    use crate::sync::lock;

    const LIMITS: QueueLimits = QueueLimits {
        high: 1,
        low: 1,
        most: 1 << 30,
        wait: Duration::from_millis(200),
        within: Duration::from_secs(10),
    };

    /// Start and end of each wait, where the reader waits as often as allowed, `each` at most, with `pause` in between.
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

    /// What was sent with a connection that takes so many bytes.
    fn connection(room: usize) -> (SendToClient, Arc<Mutex<Vec<u8>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sent = taken.clone();
        let send = move |piece: &[u8]| {
            let mut taken = lock(&taken);
            let takes = piece.len().min(room - taken.len());
            taken.extend_from_slice(&piece[..takes]);
            match piece.len() - takes {
                0 => SentNow::All,
                left if takes > 0 => SentNow::Part(left),
                _ => SentNow::Nothing,
            }
        };
        (Arc::new(send), sent)
    }

    #[test]
    fn a_lent_connection_is_sent_pieces_until_it_takes_no_more() {
        let (send, sent) = connection(5);
        let mut state = QueueState::new(LIMITS, &Budget::new(1 << 20));
        assert_eq!(state.send_here(b"ab"), SentNow::Nothing, "it is not lent");
        state.lend(&send);
        let sends = ["ab", "cd", "efg", "gh"].map(|text| state.send_here(text.as_bytes()));
        assert_eq!(sends, [SentNow::All, SentNow::All, SentNow::Part(2), SentNow::Nothing]);
        assert_eq!(*lock(&sent), b"abcde");
        assert!(state.sent_at.is_some());
    }

    #[test]
    fn a_loan_ends_with_what_the_request_must_send_itself() {
        let (send, sent) = connection(1 << 20);
        let mut state = QueueState::new(LIMITS, &Budget::new(1 << 20));
        state.lend(&send);
        assert_eq!(state.send_here(&[0; MAX_SENT_HERE + 1]), SentNow::Nothing, "too long");
        assert_eq!(state.send_here(b"a"), SentNow::Nothing);
        state.lend(&send);
        state.put(&[Piece::End]).unwrap();
        assert_eq!(state.send_here(b"a"), SentNow::Nothing);
        // There is a piece in the queue now.
        state.lend(&send);
        assert_eq!(state.send_here(b"a"), SentNow::Nothing);
        assert!(lock(&sent).is_empty());
    }

    #[test]
    fn after_a_period_without_waits_a_reader_may_wait_again() {
        assert!(waits(Duration::from_millis(150), Duration::from_secs(10)).len() > 900);
    }
}
