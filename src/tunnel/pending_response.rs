//! The response that a request waits for: the receiving end of its queue. A request may read its tunnel itself meanwhile, through
//! [`SharedTunnel`].

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use std::vec;

use crossbeam_channel::{Receiver, TryRecvError};

use super::piece::{LostReason, Piece};
use super::queue::{Flow, QueueState, SendToClient};
use super::router_state::RouterState;
use crate::sync::lock;

/// A piece above this size, in bytes, stays charged to the budget until the next one is requested.
const LARGE_PIECE: usize = 64 << 10;

/// A tunnel that a request which waits for its answer can read itself, so that no other thread is woken in between.
pub trait SharedTunnel: Send + Sync {
    /// Reads what comes next, for a tenth of a second at most, and routes it. False if the tunnel has another reader.
    fn read_here(&self) -> bool;

    /// Makes the tunnel's own thread read it.
    fn leave_reading(&self);
}

/// The receiving end of a request's queue. Dropping it closes the queue and wakes a reader that waits for room.
pub struct PendingResponse {
    id: Arc<str>,
    router: Arc<RouterState>,
    /// The tunnel that the answer comes on, where it can be read by the request.
    tunnel: Option<Arc<dyn SharedTunnel>>,
    pub(super) state: Arc<Mutex<QueueState>>,
    batches: Receiver<Vec<Piece>>,
    /// The rest of the batch that was received last.
    ready: vec::IntoIter<Piece>,
    /// Bytes of a large piece that was taken. They stay charged until the next piece is requested, because the piece
    /// may still be being written to the client.
    in_use: usize,
}

/// No piece arrived within the timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl PendingResponse {
    /// The receiving end of the queue with this state, whose batches come through this channel.
    pub(super) fn new(
        id: Arc<str>,
        router: Arc<RouterState>,
        state: Arc<Mutex<QueueState>>,
        batches: Receiver<Vec<Piece>>,
    ) -> Self {
        PendingResponse { id, router, tunnel: None, state, batches, ready: Vec::new().into_iter(), in_use: 0 }
    }

    /// The answer comes on this tunnel, which its request reads itself while it can.
    #[must_use]
    pub fn on_tunnel(mut self, tunnel: Arc<dyn SharedTunnel>) -> Self {
        self.tunnel = Some(tunnel);
        self
    }

    /// Waits for the next piece.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Piece, TimedOut> {
        Self::recv_any(&mut [self], timeout).map(|(_, piece)| piece)
    }

    /// As [`PendingResponse::recv_timeout`]. While this waits, whoever reads the tunnel sends the client pieces of the body with
    /// `send`, instead of waking this thread for each: they are not received here. All pieces that were received before must have
    /// been sent.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn recv_lending(&mut self, timeout: Duration, send: &SendToClient) -> Result<Piece, TimedOut> {
        self.release_used();
        lock(&self.state).lend(send);
        let received = self.recv_timeout(timeout);
        lock(&self.state).take_back();
        received
    }

    /// The next piece of any of these requests, and the index of its request.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn recv_any(pending: &mut [&mut Self], timeout: Duration) -> Result<(usize, Piece), TimedOut> {
        let started = Instant::now();
        pending.iter_mut().for_each(|one| one.release_used());
        loop {
            if let Some(received) = Self::try_recv_any(pending) {
                return Ok(received);
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(TimedOut);
            }
            if Self::read_here(pending) {
                continue;
            }
            for one in pending.iter() {
                lock(&one.state).receiver = Some(thread::current());
            }
            // Neither a batch that came before the registration nor a reader that stopped before it has woken this thread.
            if let Some(received) = Self::try_recv_any(pending) {
                return Ok(received);
            }
            if !Self::read_here(pending) {
                thread::park_timeout(left);
            }
        }
    }

    /// Reads the tunnel of a single request. Several tunnels are read by their own threads.
    fn read_here(pending: &[&mut Self]) -> bool {
        let mut tunnels = pending.iter().filter_map(|one| one.tunnel.as_ref());
        if let [_] = pending {
            return tunnels.next().is_some_and(|tunnel| tunnel.read_here());
        }
        tunnels.for_each(|tunnel| tunnel.leave_reading());
        false
    }

    fn try_recv_any(pending: &mut [&mut Self]) -> Option<(usize, Piece)> {
        pending.iter_mut().enumerate().find_map(|(index, one)| Some((index, one.try_recv()?)))
    }

    /// The next piece that is ready, or the reason why none follows.
    fn try_recv(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.ready.next() {
                return Some(self.discharge(piece));
            }
            match self.batches.try_recv() {
                Ok(batch) => self.ready = batch.into_iter(),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    return Some(Piece::Lost { reason: lock(&self.state).terminal.unwrap_or(LostReason::Closed) });
                }
            }
        }
    }

    /// Releases the memory of a piece; that of a large one when the next is requested.
    fn discharge(&mut self, piece: Piece) -> Piece {
        let weight = piece.weight();
        if weight > LARGE_PIECE {
            self.in_use = weight;
        } else {
            self.release(weight);
        }
        piece
    }

    /// Releases the memory of the large piece that was taken last.
    fn release_used(&mut self) {
        let in_use = std::mem::take(&mut self.in_use);
        if in_use > 0 {
            self.release(in_use);
        }
    }

    fn release(&self, bytes: usize) {
        let (reader, resume) = {
            let mut state = lock(&self.state);
            state.take(bytes);
            (state.reader.clone(), state.flow == Flow::Paused)
        };
        if let Some(reader) = reader {
            reader.unpark();
        }
        if resume {
            self.router.resume_if_drained(&self.id, &self.state);
        }
    }

    /// When the client was last sent a piece by whoever reads the tunnel, if it was since the last call.
    pub fn take_sent_at(&self) -> Option<Instant> {
        lock(&self.state).sent_at.take()
    }

    /// Whether no piece is ready.
    pub fn is_empty(&self) -> bool {
        self.ready.len() == 0 && self.batches.is_empty()
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        lock(&self.router.requests).open.remove(&self.id);
        let reader = {
            let mut state = lock(&self.state);
            state.receiver_gone = true;
            state.reader.clone()
        };
        if let Some(reader) = reader {
            reader.unpark();
        }
    }
}
