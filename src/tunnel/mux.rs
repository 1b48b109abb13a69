//! Request ids and their bounded channels: the router between a tunnel's one reader and its many requests. No sockets.
//!
//! A full channel makes the reader wait, and so slows the provider down: back-pressure, not memory. But the reader
//! serves other requests too, so it waits a bounded time, and then gives the slow request up.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

/// A part of an answer.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// The provider's head.
    Start {
        /// HTTP status.
        status: u16,
        /// Its headers.
        headers: Vec<(String, String)>,
    },
    /// Some of the body.
    Chunk(Vec<u8>),
    /// The body is over.
    End,
    /// The participant says that it failed.
    Error {
        /// Where it failed.
        stage: String,
        /// One sentence.
        message: String,
    },
    /// Nothing more will come.
    Lost {
        /// Why.
        reason: LostReason,
    },
}

/// Why an answer stays away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// The tunnel was closed, superseded or removed.
    Closed,
    /// Nothing was heard on the tunnel for too long.
    TimedOut,
    /// The client reads too slowly.
    TooSlow,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::Closed => "the participant's tunnel has closed",
            LostReason::TimedOut => "nothing was heard on the participant's tunnel for 30 s",
            LostReason::TooSlow => "the client reads the answer too slowly",
        })
    }
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// It is in its request's channel.
    Delivered,
    /// Nobody waits for it.
    Unknown,
    /// Its request was given up: the channel stayed full.
    TooSlow,
}

/// A tunnel's requests in flight.
pub struct Router {
    requests: Arc<Mutex<Requests>>,
    depth: usize,
    stall: Duration,
}

#[derive(Default)]
struct Requests {
    /// Set once the tunnel is gone: later requests fail at once.
    lost: Option<LostReason>,
    open: HashMap<String, Slot>,
}

#[derive(Clone)]
struct Slot {
    pieces: Sender<Piece>,
    /// The final word, which so can't be lost in a full channel: read when the channel has ended.
    last: Arc<OnceLock<LostReason>>,
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Router {
    /// A router whose channels hold `depth` pieces, and which waits `stall` for one that is full.
    pub fn new(depth: usize, stall: Duration) -> Self {
        Router { requests: Arc::default(), depth, stall }
    }

    /// Starts waiting for a request's answer.
    ///
    /// # Errors
    /// Why the tunnel is gone, if it is.
    pub fn open(&self, id: &str) -> Result<Pending, LostReason> {
        let (sender, pieces) = bounded(self.depth);
        let last = Arc::new(OnceLock::new());
        let mut requests = lock(&self.requests);
        if let Some(reason) = requests.lost {
            return Err(reason);
        }
        requests.open.insert(id.to_owned(), Slot { pieces: sender, last: last.clone() });
        Ok(Pending { id: id.to_owned(), pieces, last, requests: self.requests.clone() })
    }

    /// Hands a piece to its request. No lock is held while it waits.
    pub fn route(&self, id: &str, piece: Piece) -> Routed {
        let is_last = matches!(piece, Piece::End | Piece::Error { .. } | Piece::Lost { .. });
        let slot = {
            let mut requests = lock(&self.requests);
            if is_last { requests.open.remove(id) } else { requests.open.get(id).cloned() }
        };
        let Some(slot) = slot else { return Routed::Unknown };
        match slot.pieces.send_timeout(piece, self.stall) {
            Ok(()) => Routed::Delivered,
            Err(SendTimeoutError::Disconnected(_)) => Routed::Unknown,
            Err(SendTimeoutError::Timeout(_)) => {
                let _ = slot.last.set(LostReason::TooSlow);
                lock(&self.requests).open.remove(id);
                Routed::TooSlow
            }
        }
    }

    /// Fails every request in flight, and every later one.
    pub fn fail_all(&self, reason: LostReason) {
        let open = {
            let mut requests = lock(&self.requests);
            requests.lost.get_or_insert(reason);
            std::mem::take(&mut requests.open)
        };
        for slot in open.into_values() {
            let _ = slot.last.set(reason);
        }
    }

    /// Requests in flight.
    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.requests).open.len()
    }
}

/// A request that is waited for. Dropping it stops the waiting, and frees a reader that waits for room.
pub struct Pending {
    id: String,
    pieces: Receiver<Piece>,
    last: Arc<OnceLock<LostReason>>,
    requests: Arc<Mutex<Requests>>,
}

/// Nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl Pending {
    /// The next piece.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Piece, TimedOut> {
        match self.pieces.recv_timeout(timeout) {
            Ok(piece) => Ok(piece),
            Err(RecvTimeoutError::Timeout) => Err(TimedOut),
            Err(RecvTimeoutError::Disconnected) => {
                Ok(Piece::Lost { reason: self.last.get().copied().unwrap_or(LostReason::Closed) })
            }
        }
    }

    /// Whether no piece is ready.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.requests).open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);

    fn router(depth: usize, stall: Duration) -> Router {
        Router::new(depth, stall)
    }

    #[test]
    fn pieces_come_in_order_and_late_ones_are_unknown() {
        let router = router(8, LONG);
        let pending = router.open("a").unwrap();
        assert_eq!(router.route("b", Piece::End), Routed::Unknown);
        for byte in 0..3 {
            assert_eq!(router.route("a", Piece::Chunk(vec![byte])), Routed::Delivered);
        }
        assert_eq!(router.route("a", Piece::End), Routed::Delivered);
        assert_eq!(router.route("a", Piece::Chunk(vec![9])), Routed::Unknown);
        for byte in 0..3 {
            assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Chunk(vec![byte])));
        }
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::End));
        assert_eq!(router.len(), 0);
    }

    #[test]
    fn a_full_channel_makes_the_reader_wait_until_there_is_room() {
        let router = router(1, LONG);
        let pending = router.open("a").unwrap();
        thread::scope(|scope| {
            let reader =
                scope.spawn(|| (0..100).all(|b| router.route("a", Piece::Chunk(vec![b])) == Routed::Delivered));
            for byte in 0..100 {
                assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Chunk(vec![byte])));
            }
            assert!(reader.join().unwrap());
        });
    }

    #[test]
    fn a_client_that_never_reads_is_given_up_and_still_told_why() {
        let router = router(1, Duration::from_millis(20));
        let pending = router.open("slow").unwrap();
        let other = router.open("other").unwrap();
        assert_eq!(router.route("slow", Piece::Chunk(vec![1])), Routed::Delivered);
        assert_eq!(router.route("slow", Piece::Chunk(vec![2])), Routed::TooSlow);
        assert_eq!(router.route("slow", Piece::Chunk(vec![3])), Routed::Unknown);
        assert_eq!(router.route("other", Piece::End), Routed::Delivered);
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Chunk(vec![1])));
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::TooSlow }));
        assert_eq!(other.recv_timeout(LONG), Ok(Piece::End));
    }

    #[test]
    fn a_lost_tunnel_fails_all_requests_now_and_later() {
        let router = router(1, LONG);
        let full = router.open("full").unwrap();
        let empty = router.open("empty").unwrap();
        router.route("full", Piece::Chunk(vec![1]));
        router.fail_all(LostReason::TimedOut);
        router.fail_all(LostReason::Closed);
        assert_eq!(full.recv_timeout(LONG), Ok(Piece::Chunk(vec![1])));
        for pending in [&full, &empty] {
            assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::TimedOut }));
        }
        assert_eq!(router.open("late").err(), Some(LostReason::TimedOut));
    }

    #[test]
    fn a_client_that_leaves_frees_the_reader() {
        let router = router(1, LONG);
        let pending = router.open("a").unwrap();
        router.route("a", Piece::Chunk(vec![1]));
        thread::scope(|scope| {
            let reader = scope.spawn(|| router.route("a", Piece::Chunk(vec![2])));
            drop(pending);
            assert_eq!(reader.join().unwrap(), Routed::Unknown);
        });
        assert_eq!(router.len(), 0);
    }

    #[test]
    fn waiting_has_an_end() {
        let router = router(1, LONG);
        assert_eq!(router.open("a").unwrap().recv_timeout(Duration::from_millis(1)), Err(TimedOut));
    }
}
