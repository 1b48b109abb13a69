//! Request ids and their bounded lines: the router between a tunnel's one reader and its many requests. No sockets.
//!
//! A full line makes the reader wait, and so slows the provider down: back-pressure, not memory. But the reader
//! serves other requests too, so it waits a bounded time, and then gives the slow request up.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Past so many bytes a line is full, however few pieces they are.
const MAX_BYTES: usize = 4 << 20;

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

impl Piece {
    fn bytes(&self) -> usize {
        if let Piece::Chunk(bytes) = self { bytes.len() } else { 0 }
    }
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
    /// It is in its request's line.
    Delivered,
    /// Nobody waits for it.
    Unknown,
    /// Its request was given up: the line stayed full.
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
    open: HashMap<String, Arc<Line>>,
}

/// A request's pieces on their way from the reader to whoever waits for them.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    /// There is a piece, or none will come.
    filled: Condvar,
    /// There is room again, or nobody waits any more.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Bytes in them.
    bytes: usize,
    /// Whether somebody waits for a piece, and whether the reader waits for room: nobody else need be woken.
    waiting: bool,
    stalled: bool,
    /// Whether nobody wants the answer any more.
    left: bool,
    /// The final word, which so can't be lost in a full line: told when the pieces have ended.
    last: Option<LostReason>,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, reason: LostReason) {
        self.lock().last.get_or_insert(reason);
        self.filled.notify_one();
    }
}

impl State {
    fn has_room(&self, depth: usize) -> bool {
        self.pieces.is_empty() || (self.pieces.len() < depth && self.bytes < MAX_BYTES)
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Router {
    /// A router whose lines hold `depth` pieces, and which waits `stall` for one that is full.
    pub fn new(depth: usize, stall: Duration) -> Self {
        Router { requests: Arc::default(), depth, stall }
    }

    /// Starts waiting for a request's answer.
    ///
    /// # Errors
    /// Why the tunnel is gone, if it is.
    pub fn open(&self, id: &str) -> Result<Pending, LostReason> {
        let line = Arc::new(Line::default());
        let mut requests = lock(&self.requests);
        if let Some(reason) = requests.lost {
            return Err(reason);
        }
        requests.open.insert(id.to_owned(), line.clone());
        Ok(Pending { id: id.to_owned(), line, requests: self.requests.clone() })
    }

    /// Hands a piece to its request.
    pub fn route(&self, id: &str, piece: Piece) -> Routed {
        self.route_all(id, &mut vec![piece])
    }

    /// Hands pieces to their request, which is woken once for all of them. No lock but the line's own is held while it
    /// waits for room.
    pub fn route_all(&self, id: &str, pieces: &mut Vec<Piece>) -> Routed {
        let ends = pieces.iter().any(|piece| matches!(piece, Piece::End | Piece::Error { .. } | Piece::Lost { .. }));
        let line = {
            let mut requests = lock(&self.requests);
            if ends { requests.open.remove(id) } else { requests.open.get(id).cloned() }
        };
        let Some(line) = line else {
            pieces.clear();
            return Routed::Unknown;
        };
        let routed = self.fill(&line, pieces);
        if routed == Routed::TooSlow {
            line.end(LostReason::TooSlow);
            lock(&self.requests).open.remove(id);
        }
        routed
    }

    fn fill(&self, line: &Line, pieces: &mut Vec<Piece>) -> Routed {
        let mut state = line.lock();
        for piece in pieces.drain(..) {
            if !state.has_room(self.depth) && !state.left {
                state = self.wait_for_room(line, state);
            }
            if state.left {
                return Routed::Unknown;
            }
            if !state.has_room(self.depth) {
                return Routed::TooSlow;
            }
            state.bytes += piece.bytes();
            state.pieces.push_back(piece);
        }
        let wake = std::mem::take(&mut state.waiting);
        drop(state);
        if wake {
            line.filled.notify_one();
        }
        Routed::Delivered
    }

    fn wait_for_room<'l>(&self, line: &'l Line, mut state: MutexGuard<'l, State>) -> MutexGuard<'l, State> {
        if std::mem::take(&mut state.waiting) {
            line.filled.notify_one();
        }
        let deadline = Instant::now() + self.stall;
        while !state.has_room(self.depth) && !state.left {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.stalled = true;
            state = line.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stalled = false;
        state
    }

    /// Fails every request in flight, and every later one.
    pub fn fail_all(&self, reason: LostReason) {
        let open = {
            let mut requests = lock(&self.requests);
            requests.lost.get_or_insert(reason);
            std::mem::take(&mut requests.open)
        };
        for line in open.into_values() {
            line.end(reason);
        }
    }

    /// Requests in flight.
    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.requests).open.len()
    }
}

impl Drop for Router {
    /// Nobody is left who could answer.
    fn drop(&mut self) {
        self.fail_all(LostReason::Closed);
    }
}

/// A request that is waited for. Dropping it stops the waiting, and frees a reader that waits for room.
pub struct Pending {
    id: String,
    line: Arc<Line>,
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
        let mut state = self.line.lock();
        let mut deadline = None;
        loop {
            if let Some(piece) = state.pieces.pop_front() {
                state.bytes -= piece.bytes();
                if std::mem::take(&mut state.stalled) {
                    self.line.emptied.notify_one();
                }
                return Ok(piece);
            }
            if let Some(reason) = state.last {
                return Ok(Piece::Lost { reason });
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting = false;
                return Err(TimedOut);
            }
            state.waiting = true;
            state = self.line.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether no piece is ready.
    pub fn is_empty(&self) -> bool {
        self.line.lock().pieces.is_empty()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.requests).open.remove(&self.id);
        let mut state = self.line.lock();
        state.left = true;
        state.pieces.clear();
        if state.stalled {
            self.line.emptied.notify_one();
        }
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
    fn a_full_line_makes_the_reader_wait_until_there_is_room() {
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
    fn pieces_that_come_together_are_handed_over_together() {
        let router = router(2, LONG);
        let pending = router.open("a").unwrap();
        let many = || (0..9).map(|n| Piece::Chunk(vec![n])).chain([Piece::End]).collect::<Vec<_>>();
        thread::scope(|scope| {
            let reader = scope.spawn(|| router.route_all("a", &mut many()));
            for piece in many() {
                assert_eq!(pending.recv_timeout(LONG), Ok(piece));
            }
            assert_eq!(reader.join().unwrap(), Routed::Delivered);
        });
        assert_eq!(router.route_all("a", &mut many()), Routed::Unknown);
    }

    #[test]
    fn large_pieces_fill_a_line_before_many_do() {
        let router = router(64, Duration::from_millis(1));
        let pending = router.open("a").unwrap();
        let large = || Piece::Chunk(vec![0; MAX_BYTES]);
        assert_eq!(router.route("a", large()), Routed::Delivered, "one always fits");
        assert_eq!(router.route("a", Piece::Chunk(vec![0])), Routed::TooSlow);
        assert_eq!(pending.recv_timeout(LONG), Ok(large()));
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::TooSlow }));
    }

    #[test]
    fn waiting_has_an_end() {
        let router = router(1, LONG);
        assert_eq!(router.open("a").unwrap().recv_timeout(Duration::from_millis(1)), Err(TimedOut));
    }
}
