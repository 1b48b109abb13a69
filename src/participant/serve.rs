//! The workers of a session, after the Leader/Followers pattern (Schmidt et al., 2000): one worker, the leader, reads the
//! tunnel. When it reads a request, it hands leadership to a follower and serves the request itself, so that no request is
//! passed between threads.
//!
//! The leader also cancels, pauses and resumes the requests that other workers serve. A worker is started when no follower
//! is free; [`Load`] bounds their number. What a request does is in `forward`.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::cancel::CancelHandle;
use super::forward::{Buffers, Forwarder, Job};
use super::load::Load;
use crate::proto::tunnel::{FromHub, Incoming as Request, decode_from_hub};
use crate::sync::{STACK_SIZE, lock};
use crate::tunnel::{Reader, Received, TunnelError};

/// An event of the tunnel that concerns the session rather than a request.
pub enum TunnelEvent {
    /// A message arrived from the hub.
    Alive,
    /// The hub closed the tunnel.
    Closed {
        /// The close code, if any.
        code: Option<u16>,
        /// The close reason.
        reason: String,
    },
    /// The tunnel is lost.
    Lost(TunnelError),
}

/// The state that only the leader uses.
struct Leadership {
    reader: Reader,
    /// Dropped with the reader, which disconnects the receiver that [`Workers::start`] returns.
    _reading: Sender<()>,
}

/// The state that the workers of a session share.
pub struct Workers {
    forwarder: Forwarder,
    /// The cancel handles of the requests in progress, by request id.
    running: Mutex<HashMap<String, Arc<CancelHandle>>>,
    load: Arc<Load>,
    /// Locked by the leader while it reads; `None` once the tunnel has ended.
    leader: Mutex<Option<Leadership>>,
    /// Workers that wait to become the leader.
    followers: AtomicUsize,
    on_event: Box<dyn Fn(TunnelEvent) + Send + Sync>,
}

impl Workers {
    /// Starts to serve a tunnel, within the bounds of `load`. The receiver is disconnected when the tunnel has ended and is
    /// not read any more. `on_event` is called on the leader's thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        forwarder: Forwarder,
        reader: Reader,
        load: Arc<Load>,
        on_event: impl Fn(TunnelEvent) + Send + Sync + 'static,
    ) -> io::Result<Receiver<()>> {
        let (reading, ended) = bounded(0);
        let workers = Workers {
            forwarder,
            running: Mutex::default(),
            load,
            leader: Mutex::new(Some(Leadership { reader, _reading: reading })),
            followers: AtomicUsize::new(0),
            on_event: Box::new(on_event),
        };
        Arc::new(workers).spawn_worker().map(|()| ended)
    }

    fn spawn_worker(self: &Arc<Self>) -> io::Result<()> {
        let workers = self.clone();
        thread::Builder::new().name("tunnel".into()).stack_size(STACK_SIZE).spawn(move || workers.work()).map(drop)
    }

    /// A worker's loop: lead until a request arrives, then serve it.
    fn work(self: &Arc<Self>) {
        let mut buffers = Buffers::default();
        while let Some(job) = self.lead() {
            // The hub may send the next request as soon as it sees the end: this one must be removed by then.
            self.forwarder.forward(&job, &mut buffers, || drop(self.running().remove(&job.id)));
            self.running().remove(&job.id);
        }
    }

    /// Waits to become the leader, then reads until a request arrives, and returns it; `None` when the tunnel has ended.
    fn lead(self: &Arc<Self>) -> Option<Job> {
        self.followers.fetch_add(1, Ordering::SeqCst);
        let mut leader = lock(&self.leader);
        self.followers.fetch_sub(1, Ordering::SeqCst);
        let reader = &mut leader.as_mut()?.reader;
        let end = loop {
            match reader.read() {
                Ok(Received::Text(text)) => {
                    (self.on_event)(TunnelEvent::Alive);
                    let job = self.on_message(text);
                    if let Some(job) = job.and_then(|job| self.with_successor(job)) {
                        return Some(job);
                    }
                }
                Ok(Received::Binary(_) | Received::KeepAlive) => (self.on_event)(TunnelEvent::Alive),
                Ok(Received::Closed { code, reason }) => break TunnelEvent::Closed { code, reason },
                Err(error) => break TunnelEvent::Lost(error),
            }
        };
        (self.on_event)(end);
        self.cancel_all();
        *leader = None;
        None
    }

    /// Handles a message; a job where it is a request.
    fn on_message(&self, text: &str) -> Option<Job> {
        match decode_from_hub(text) {
            Ok(FromHub::Request(request)) => return self.accept(request),
            Ok(FromHub::Cancel { request_id }) => self.cancel(&request_id),
            Ok(FromHub::Pause { request_id }) => self.set_paused(&request_id, true),
            Ok(FromHub::Resume { request_id }) => self.set_paused(&request_id, false),
            Ok(FromHub::Pong | FromHub::Unknown) | Err(_) => {}
        }
        None
    }

    /// The job, once another worker can become the leader. Without one the job is refused, since the tunnel must always have
    /// a reader.
    fn with_successor(self: &Arc<Self>, job: Job) -> Option<Job> {
        if self.followers.load(Ordering::SeqCst) > 0 || self.spawn_worker().is_ok() {
            return Some(job);
        }
        self.running().remove(&job.id);
        self.forwarder.refuse(&job.id, "the participant has no thread for the request");
        None
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<CancelHandle>>> {
        lock(&self.running)
    }

    /// Makes a job of a request; refuses it where the session's load is at its limit, or the session drains: the hub then
    /// sends it to another participant.
    fn accept(&self, mut request: Request<'_>) -> Option<Job> {
        let bytes = self.forwarder.encode(&mut request);
        let id = request.request_id.into_owned();
        let share = match self.load.take(bytes.as_ref().map_or(0, Vec::len)) {
            Ok(share) => share,
            Err(reason) => {
                self.forwarder.refuse(&id, reason);
                return None;
            }
        };
        let job = Job::new(id, bytes, share);
        self.running().insert(job.id.clone(), job.cancel.clone());
        Some(job)
    }

    /// Cancels a request, even while the provider is silent.
    fn cancel(&self, id: &str) {
        let handle = self.running().remove(id);
        if let Some(handle) = handle {
            handle.cancel();
        }
    }

    fn set_paused(&self, id: &str, paused: bool) {
        if let Some(handle) = self.running().get(id) {
            handle.set_paused(paused);
        }
    }

    fn cancel_all(&self) {
        let running = std::mem::take(&mut *self.running());
        for handle in running.values() {
            handle.cancel();
        }
    }
}
