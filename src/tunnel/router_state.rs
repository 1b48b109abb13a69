//! A tunnel's requests in flight and their queues: what the router, which fills the queues, and the requests, which empty
//! them, have in common. No sockets.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::piece::{LostReason, Piece};
use super::queue::{Flow, QueueLimits, QueueState};
use crate::budget::Budget;
use crate::sync::lock;

/// A flow control message about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowSignal {
    /// Stop reading the provider's answer.
    Pause,
    /// Continue after a pause.
    Resume,
}

/// Sends a signal for the request with this id. It may block on a socket, so it is called without a lock.
pub type SendSignal = Box<dyn Fn(&str, FlowSignal) + Send + Sync>;

/// What a router and its pending responses share.
pub(super) struct RouterState {
    pub(super) requests: Mutex<Requests>,
    pub(super) limits: QueueLimits,
    pub(super) budget: Arc<Budget>,
    /// `None` where the participant does not support flow control.
    pub(super) signal: Option<SendSignal>,
    /// Whether a request's thread was blocked waiting when the last batch or bytes were delivered to it. Batches with the end of a
    /// response do not count.
    pub(super) waited: AtomicBool,
}

#[derive(Default)]
pub(super) struct Requests {
    /// Set once the tunnel has ended: later requests fail at once.
    pub(super) lost: Option<LostReason>,
    pub(super) open: HashMap<Arc<str>, Arc<ResponseQueue>>,
}

/// The request no longer waits for its answer.
pub(super) struct ReceiverGone;

/// The reader's end of a request's queue. The channel ends when the last copy of this is dropped.
pub(super) struct ResponseQueue {
    /// Bounded by the bytes that `state` counts. A batch has all pieces that were ready together, so that the request
    /// is woken once.
    pub(super) batches: Sender<Vec<Piece>>,
    /// Shared with [`super::PendingResponse`]; locked briefly. Declared after `batches`, so that the channel has ended when
    /// the request is woken for the last time.
    pub(super) state: WakeOnDrop,
}

/// A queue's state, whose receiver is woken when this is dropped.
pub(super) struct WakeOnDrop(pub(super) Arc<Mutex<QueueState>>);

impl WakeOnDrop {
    /// Wakes the thread that waits for a batch. crossbeam's blocking receive is not used for that: it yields the
    /// processor several times before it sleeps, which costs more than the whole routing of a short answer.
    /// True if a thread waits.
    pub(super) fn wake(&self) -> bool {
        let receiver = lock(&self.0).receiver.take();
        receiver.inspect(Thread::unpark).is_some()
    }
}

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.wake();
    }
}

impl ResponseQueue {
    /// Waits until the queue has room, as long as its limits allow.
    ///
    /// # Errors
    /// If the request stops waiting for its answer meanwhile.
    pub(super) fn wait_for_room(&self) -> Result<(), ReceiverGone> {
        let started = Instant::now();
        let Some(allowed) = lock(&self.state.0).begin_waiting(started) else { return Ok(()) };
        let gone = loop {
            let (is_full, gone) = {
                let state = lock(&self.state.0);
                (state.is_full(), state.receiver_gone)
            };
            let left = allowed.saturating_sub(started.elapsed());
            if !is_full || gone || left.is_zero() {
                break gone;
            }
            thread::park_timeout(left);
        };
        lock(&self.state.0).end_waiting(started, Instant::now());
        if gone { Err(ReceiverGone) } else { Ok(()) }
    }
}

impl RouterState {
    /// Sends `tunnel.pause`, once, when a queue has reached its high-water mark. Called by the tunnel's reader only.
    pub(super) fn pause_if_full(&self, id: &str, state: &Mutex<QueueState>) {
        let Some(signal) = &self.signal else { return };
        if !lock(state).wants_pause() {
            return;
        }
        signal(id, FlowSignal::Pause);
        lock(state).flow = Flow::Paused;
        // The queue may have been emptied meanwhile.
        self.resume_if_drained(id, state);
    }

    /// Sends `tunnel.resume` when a queue has fallen to its low-water mark. No pause is sent until that is done, so the
    /// two messages cannot be reordered.
    pub(super) fn resume_if_drained(&self, id: &str, state: &Mutex<QueueState>) {
        let Some(signal) = &self.signal else { return };
        if !lock(state).wants_resume() {
            return;
        }
        signal(id, FlowSignal::Resume);
        lock(state).flow = Flow::Running;
    }
}
