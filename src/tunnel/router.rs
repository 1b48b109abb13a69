//! Request ids and their response queues: the router between a tunnel's one reader and its many requests. No sockets.
//!
//! All bytes in a queue count against the hub's memory budget. A queue that reaches its high-water mark causes
//! back-pressure: a participant that supports `tunnel.pause` is sent one; for any other the reader waits, briefly
//! enough not to delay other requests on the tunnel. Further pieces are queued up to a hard limit, beyond which only
//! that request ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::unbounded;

use super::pending_response::PendingResponse;
use super::piece::{LostReason, Piece};
use super::queue::{QueueLimits, QueueState};
use super::router_state::{ResponseQueue, RouterState, SendSignal, WakeOnDrop};
use crate::budget::Budget;
use crate::net::stream::SentNow;
use crate::sync::lock;

/// The result of routing pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// They are in their request's queue.
    Delivered,
    /// No request with that id waits for an answer.
    Unknown,
    /// They ended their request early.
    Ended(LostReason),
}

/// The result of passing body bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// The client has been sent them.
    Sent,
    /// The client has been sent some of them. The rest waits for their request, as this says.
    Partly(Routed),
    /// They have to be routed.
    No,
}

/// A tunnel's requests in flight.
pub struct Router(Arc<RouterState>);

impl Router {
    /// A router whose queues have these limits and are charged to `budget`.
    pub fn new(limits: QueueLimits, budget: Arc<Budget>) -> Self {
        Self::with_signal(limits, budget, None)
    }

    /// As [`Router::new`], with flow control through `signal`.
    pub fn with_signal(limits: QueueLimits, budget: Arc<Budget>, signal: Option<SendSignal>) -> Self {
        Router(Arc::new(RouterState {
            requests: Mutex::default(),
            limits,
            budget,
            signal,
            waited: AtomicBool::new(false),
        }))
    }

    /// Opens the queue for a request's answer.
    ///
    /// # Errors
    /// The reason why the tunnel ended, if it has.
    pub fn open(&self, id: impl Into<Arc<str>>) -> Result<PendingResponse, LostReason> {
        let id = id.into();
        let (sender, batches) = unbounded();
        let state = Arc::new(Mutex::new(QueueState::new(self.0.limits, &self.0.budget)));
        let queue = ResponseQueue { batches: sender, state: WakeOnDrop(state.clone()) };
        let mut requests = lock(&self.0.requests);
        if let Some(reason) = requests.lost {
            return Err(reason);
        }
        requests.open.insert(id.clone(), Arc::new(queue));
        Ok(PendingResponse::new(id, self.0.clone(), state, batches))
    }

    /// Queues a piece for its request.
    pub fn route(&self, id: &str, piece: Piece) -> Routed {
        self.route_all(id, vec![piece])
    }

    /// Queues pieces for their request, which is woken once for all of them. No lock is held while this waits for room.
    pub fn route_all(&self, id: &str, pieces: Vec<Piece>) -> Routed {
        self.route_pieces(id, pieces, true)
    }

    /// As [`Router::route_all`], without waiting for room: a request that reads its tunnel would wait for itself.
    pub fn route_now(&self, id: &str, pieces: Vec<Piece>) -> Routed {
        self.route_pieces(id, pieces, false)
    }

    /// Sends the client bytes of a response's body at once, where its request has nothing else to do and nothing is queued before
    /// them.
    pub fn pass(&self, id: &str, bytes: &[u8]) -> Passed {
        let queue = lock(&self.0.requests).open.get(id).cloned();
        let Some(queue) = queue else { return Passed::No };
        let sent = lock(&queue.state.0).send_here(bytes);
        match sent {
            SentNow::All => {
                self.0.waited.store(true, Ordering::Relaxed);
                Passed::Sent
            }
            SentNow::Part(left) => Passed::Partly(self.route_now(id, vec![Piece::Unsent(left)])),
            SentNow::Nothing => Passed::No,
        }
    }

    /// Passes body bytes on, or queues them.
    pub fn pass_or_route(&self, id: &str, bytes: Vec<u8>) -> Routed {
        match self.pass(id, &bytes) {
            Passed::Sent => Routed::Delivered,
            Passed::Partly(routed) => routed,
            Passed::No => self.route(id, Piece::Chunk(bytes)),
        }
    }

    fn route_pieces(&self, id: &str, pieces: Vec<Piece>, waits: bool) -> Routed {
        let ends = pieces.iter().any(Piece::is_last);
        let queue = {
            let mut requests = lock(&self.0.requests);
            if ends { requests.open.remove(id) } else { requests.open.get(id).cloned() }
        };
        let Some(queue) = queue else { return Routed::Unknown };
        if waits && queue.wait_for_room().is_err() {
            return Routed::Unknown;
        }
        let put = lock(&queue.state.0).put(&pieces);
        if let Err(reason) = put {
            self.end(id, &queue, reason);
            return Routed::Ended(reason);
        }
        if queue.batches.send(pieces).is_err() {
            return Routed::Unknown;
        }
        if !ends {
            self.0.waited.store(queue.state.wake(), Ordering::Relaxed);
            self.0.pause_if_full(id, &queue.state.0);
        }
        Routed::Delivered
    }

    fn end(&self, id: &str, queue: &ResponseQueue, reason: LostReason) {
        lock(&queue.state.0).terminal.get_or_insert(reason);
        lock(&self.0.requests).open.remove(id);
    }

    /// Fails all requests in flight and all later ones.
    pub fn fail_all(&self, reason: LostReason) {
        let open = {
            let mut requests = lock(&self.0.requests);
            requests.lost.get_or_insert(reason);
            std::mem::take(&mut requests.open)
        };
        for queue in open.into_values() {
            lock(&queue.state.0).terminal.get_or_insert(reason);
        }
    }

    /// The number of requests in flight.
    pub fn in_flight(&self) -> usize {
        lock(&self.0.requests).open.len()
    }

    /// Whether a request may take over the reading of the tunnel: there is one, and it waited for what was delivered last; or there
    /// is none.
    pub fn may_request_read(&self) -> bool {
        match self.in_flight() {
            0 => true,
            1 => self.0.waited.load(Ordering::Relaxed),
            _ => false,
        }
    }

    /// Wakes all requests that wait.
    pub fn wake_all(&self) {
        for queue in lock(&self.0.requests).open.values() {
            queue.state.wake();
        }
    }
}

impl Drop for Router {
    /// Without a router no answer can arrive.
    fn drop(&mut self) {
        self.fail_all(LostReason::Closed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::pending_response::TimedOut;
    use super::super::queue::SendToClient;
    use super::super::router_state::FlowSignal;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Queues that are full at `high` bytes, and end past `most`.
    fn limits(high: usize, most: usize, wait: Duration) -> QueueLimits {
        QueueLimits { high, low: high / 2, most, wait, within: LONG }
    }

    fn unlimited() -> Router {
        Router::new(limits(1 << 20, 1 << 20, LONG), Budget::new(1 << 30))
    }

    fn chunk(bytes: usize) -> Piece {
        Piece::Chunk(vec![0; bytes])
    }

    fn head(status: u16) -> Piece {
        Piece::Start { status, headers: Vec::new() }
    }

    #[test]
    fn pieces_arrive_in_order_and_late_ones_are_unknown() {
        let router = unlimited();
        let mut pending = router.open("a").unwrap();
        assert_eq!(router.route("b", Piece::End), Routed::Unknown);
        for byte in 0..3 {
            assert_eq!(router.route("a", Piece::Chunk(vec![byte])), Routed::Delivered);
        }
        assert_eq!(router.route_all("a", vec![Piece::Chunk(vec![3]), Piece::End]), Routed::Delivered);
        assert_eq!(router.route("a", Piece::Chunk(vec![9])), Routed::Unknown);
        for byte in 0..4 {
            assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Chunk(vec![byte])));
        }
        assert!(!pending.is_empty());
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::End));
        assert!(pending.is_empty());
        assert_eq!(router.in_flight(), 0);
    }

    #[test]
    fn pieces_of_several_requests_are_received_as_they_arrive() {
        let router = unlimited();
        let (mut a, mut b) = (router.open("a").unwrap(), router.open("b").unwrap());
        router.route_all("b", vec![chunk(1), chunk(2)]);
        let mut both = [&mut a, &mut b];
        assert_eq!(PendingResponse::recv_any(&mut both, LONG), Ok((1, chunk(1))));
        assert_eq!(PendingResponse::recv_any(&mut both, LONG), Ok((1, chunk(2))));
        assert_eq!(PendingResponse::recv_any(&mut both, Duration::from_millis(1)), Err(TimedOut));
        thread::scope(|scope| {
            scope.spawn(|| router.route("a", Piece::End));
            assert_eq!(PendingResponse::recv_any(&mut both, LONG), Ok((0, Piece::End)));
        });
        router.fail_all(LostReason::Closed);
        let lost = PendingResponse::recv_any(&mut both[1..], LONG);
        assert_eq!(lost, Ok((0, Piece::Lost { reason: LostReason::Closed })));
    }

    #[test]
    fn a_request_that_waits_lends_its_client_to_the_reader() {
        let router = unlimited();
        let mut pending = router.open("a").unwrap();
        let state = pending.state.clone();
        let sent = Arc::new(Mutex::new(Vec::<u8>::new()));
        let client = sent.clone();
        // Takes two bytes at a time.
        let send: SendToClient = Arc::new(move |piece| {
            lock(&client).extend(piece.iter().take(2));
            if piece.len() > 2 { SentNow::Part(piece.len() - 2) } else { SentNow::All }
        });
        assert_eq!(router.pass("a", &[1]), Passed::No, "nothing is lent");
        router.route("a", Piece::Chunk(vec![1]));
        assert_eq!(pending.recv_lending(LONG, &send), Ok(Piece::Chunk(vec![1])), "it was there before");
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let received = pending.recv_lending(LONG, &send).unwrap();
                [received, pending.recv_timeout(LONG).unwrap(), pending.recv_timeout(LONG).unwrap()]
            });
            while lock(&state).receiver.is_none() {
                thread::yield_now();
            }
            assert_eq!(router.pass_or_route("a", vec![2]), Routed::Delivered);
            assert_eq!(*lock(&sent), [2]);
            assert!(lock(&state).receiver.is_some(), "it has not been woken");
            assert_eq!(router.pass("a", &[3, 4, 5]), Passed::Partly(Routed::Delivered));
            assert_eq!(router.pass_or_route("a", vec![6]), Routed::Delivered, "behind what is left");
            router.route("a", Piece::End);
            assert_eq!(receiver.join().unwrap(), [Piece::Unsent(1), Piece::Chunk(vec![6]), Piece::End]);
        });
        assert!(pending.take_sent_at().is_some() && pending.take_sent_at().is_none());
        assert_eq!(*lock(&sent), [2, 3, 4]);
    }

    #[test]
    fn a_request_could_read_if_it_is_alone_and_waits() {
        let router = unlimited();
        assert!(router.may_request_read(), "there is none");
        let mut pending = router.open("a").unwrap();
        router.route("a", chunk(1));
        assert!(!router.may_request_read(), "it does something else");
        let state = pending.state.clone();
        thread::scope(|scope| {
            let both = scope.spawn(|| [pending.recv_timeout(LONG), pending.recv_timeout(LONG)]);
            while lock(&state).receiver.is_none() {
                thread::yield_now();
            }
            router.route("a", chunk(1));
            assert!(router.may_request_read());
            let _second = router.open("b").unwrap();
            assert!(!router.may_request_read(), "there are two");
            assert_eq!(both.join().unwrap(), [Ok(chunk(1)), Ok(chunk(1))]);
        });
    }

    #[test]
    fn a_full_queue_makes_the_reader_wait_until_there_is_room() {
        let router = Router::new(limits(1, 1, LONG), Budget::new(1 << 20));
        let mut pending = router.open("a").unwrap();
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
    fn a_request_that_reads_its_tunnel_does_not_wait_for_itself() {
        // With waiting this would take longer than any test.
        let router = Router::new(limits(1, 1 << 20, Duration::from_secs(3600)), Budget::new(1 << 30));
        let mut pending = router.open("a").unwrap();
        assert_eq!(router.route_now("a", vec![chunk(10)]), Routed::Delivered);
        assert_eq!(router.route_now("a", vec![Piece::End]), Routed::Delivered);
        assert_eq!(pending.recv_timeout(LONG), Ok(chunk(10)));
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::End));
    }

    #[test]
    fn a_slow_client_uses_up_its_waiting_time_and_then_fills_only_its_own_queue() {
        // No client reads. The reader waits for 30 ms in total, not for each of the thousand pieces.
        let wait = Duration::from_millis(30);
        let router = Router::new(
            QueueLimits { within: Duration::from_secs(3600), ..limits(1, 1 << 20, wait) },
            Budget::new(1 << 30),
        );
        let mut pending = router.open("slow").unwrap();
        let mut other = router.open("other").unwrap();
        for _ in 0..1000 {
            assert_eq!(router.route("slow", chunk(10)), Routed::Delivered);
        }
        assert!(lock(&pending.state).allowance_left(Instant::now()).is_zero());
        assert_eq!(router.route("other", Piece::End), Routed::Delivered);
        assert_eq!(other.recv_timeout(LONG), Ok(Piece::End));
        assert_eq!(router.route("slow", Piece::End), Routed::Delivered);
        for _ in 0..1000 {
            assert_eq!(pending.recv_timeout(LONG), Ok(chunk(10)));
        }
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::End));
    }

    #[test]
    fn the_request_of_a_client_that_never_reads_ends_with_its_reason() {
        let router = Router::new(limits(1, 400, Duration::ZERO), Budget::new(1 << 20));
        let mut pending = router.open("slow").unwrap();
        let mut other = router.open("other").unwrap();
        assert_eq!(router.route("slow", chunk(1000)), Routed::Delivered, "one always fits");
        assert_eq!(router.route("slow", chunk(1)), Routed::Ended(LostReason::TooSlow));
        assert_eq!(router.route("slow", chunk(1)), Routed::Unknown);
        assert_eq!(router.route("other", Piece::End), Routed::Delivered);
        assert_eq!(pending.recv_timeout(LONG), Ok(chunk(1000)));
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::TooSlow }));
        assert_eq!(other.recv_timeout(LONG), Ok(Piece::End));
    }

    #[test]
    fn unread_answers_stay_within_the_budget_and_affect_no_other_request() {
        let budget = Budget::new(16 << 20);
        let router = Router::new(limits(1 << 20, 16 << 20, Duration::ZERO), budget.clone());
        let unread: Vec<_> = (0..120).map(|n| router.open(n.to_string()).unwrap()).collect();
        let mut ended = 0;
        for _ in 0..40 {
            for n in 0..unread.len() {
                match router.route(&n.to_string(), chunk(100_000)) {
                    Routed::Ended(reason) => {
                        assert_eq!(reason, LostReason::NoMemory);
                        ended += 1;
                    }
                    Routed::Delivered | Routed::Unknown => {}
                }
                assert!(budget.used() <= budget.total());
            }
        }
        assert!(ended > 60, "{ended}");
        let mut quick = router.open("quick").unwrap();
        assert_eq!(router.route_all("quick", vec![head(200), chunk(10_000), Piece::End]), Routed::Delivered);
        assert_eq!(quick.recv_timeout(LONG), Ok(head(200)));
        drop((unread, quick));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_large_piece_is_charged_until_the_next_one_is_requested() {
        let budget = Budget::new(64 << 20);
        let router = Router::new(limits(64 << 20, 64 << 20, Duration::ZERO), budget.clone());
        let mut pending = router.open("a").unwrap();
        router.route_all("a", vec![head(200), chunk(8 << 20), chunk(10)]);
        pending.recv_timeout(LONG).unwrap();
        let piece = pending.recv_timeout(LONG).unwrap();
        assert!(piece.weight() >= 8 << 20 && budget.used() >= 8 << 20, "its client may not have read it yet");
        drop(piece);
        pending.recv_timeout(LONG).unwrap();
        assert!(budget.used() < 1 << 20);
    }

    #[test]
    fn heads_and_error_texts_are_charged_like_chunks() {
        let budget = Budget::new(1 << 20);
        let router = Router::new(limits(1, 1 << 30, Duration::ZERO), budget.clone());
        let _pending = router.open("a").unwrap();
        let large = Piece::Start { status: 200, headers: vec![("x".into(), "y".repeat(2 << 20))] };
        assert_eq!(router.route("a", large), Routed::Ended(LostReason::NoMemory));
        let _pending = router.open("b").unwrap();
        let large = Piece::Error { stage: "x".into(), message: "y".repeat(2 << 20) };
        assert_eq!(router.route("b", large), Routed::Ended(LostReason::NoMemory));
        assert!(budget.used() < 1 << 20);
    }

    #[test]
    fn a_short_answer_needs_no_memory_that_others_have_used_up() {
        let router = Router::new(limits(1 << 20, 1 << 20, Duration::ZERO), Budget::new(0));
        let chunk = |bytes| Piece::Chunk(vec![b'x'; bytes]);
        let _short = router.open("short").unwrap();
        assert_eq!(router.route_all("short", vec![head(200), chunk(3000), Piece::End]), Routed::Delivered);
        let _long = router.open("long").unwrap();
        assert_eq!(router.route("long", chunk(5000)), Routed::Ended(LostReason::NoMemory));
    }

    #[test]
    fn a_second_head_ends_the_request_and_interim_ones_do_not() {
        let router = unlimited();
        let mut pending = router.open("a").unwrap();
        for status in [100, 103, 200] {
            assert_eq!(router.route("a", head(status)), Routed::Delivered);
        }
        assert_eq!(router.route("a", head(200)), Routed::Ended(LostReason::SecondHead));
        for status in [100, 103, 200] {
            assert_eq!(pending.recv_timeout(LONG), Ok(head(status)));
        }
        assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::SecondHead }));
        let _flooded = router.open("b").unwrap();
        let flood: Vec<_> = (0..1000).map(|_| head(102)).collect();
        assert_eq!(router.route_all("b", flood), Routed::Ended(LostReason::SecondHead));
    }

    #[test]
    fn a_lost_tunnel_fails_all_requests_now_and_later() {
        let router = unlimited();
        let mut full = router.open("full").unwrap();
        let mut empty = router.open("empty").unwrap();
        router.route("full", chunk(1));
        router.fail_all(LostReason::TimedOut);
        router.fail_all(LostReason::Closed);
        assert_eq!(full.recv_timeout(LONG), Ok(chunk(1)));
        for pending in [&mut full, &mut empty] {
            assert_eq!(pending.recv_timeout(LONG), Ok(Piece::Lost { reason: LostReason::TimedOut }));
        }
        assert_eq!(router.open("late").err(), Some(LostReason::TimedOut));
    }

    #[test]
    fn a_client_that_disconnects_wakes_the_reader() {
        let router = Router::new(limits(1, 1, LONG), Budget::new(1 << 20));
        let pending = router.open("a").unwrap();
        router.route("a", chunk(1));
        thread::scope(|scope| {
            let reader = scope.spawn(|| router.route("a", chunk(2)));
            drop(pending);
            assert_eq!(reader.join().unwrap(), Routed::Unknown);
        });
        assert_eq!(router.in_flight(), 0);
    }

    #[test]
    fn a_full_queue_pauses_its_participant_and_a_drained_one_resumes_it() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let recorder = sent.clone();
        let signal: SendSignal = Box::new(move |id, signal| lock(&recorder).push((id.to_owned(), signal)));
        let router = Router::with_signal(limits(1000, 1 << 20, Duration::ZERO), Budget::new(1 << 20), Some(signal));
        let mut pending = router.open("a").unwrap();
        let sent = || std::mem::take(&mut *lock(&sent));
        router.route("a", chunk(500));
        assert_eq!(sent(), []);
        router.route("a", chunk(500));
        router.route("a", chunk(500));
        assert_eq!(sent(), [("a".to_owned(), FlowSignal::Pause)]);
        pending.recv_timeout(LONG).unwrap();
        assert_eq!(sent(), [], "it is not empty enough yet");
        pending.recv_timeout(LONG).unwrap();
        pending.recv_timeout(LONG).unwrap();
        assert_eq!(sent(), [("a".to_owned(), FlowSignal::Resume)]);
        router.route("a", chunk(2000));
        router.route("a", Piece::End);
        assert_eq!(sent(), [("a".to_owned(), FlowSignal::Pause)]);
    }

    #[test]
    fn the_readers_wait_is_limited() {
        assert_eq!(unlimited().open("a").unwrap().recv_timeout(Duration::from_millis(1)), Err(TimedOut));
    }
}
