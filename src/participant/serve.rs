//! The workers of a session, after the Leader/Followers pattern (Schmidt et al., 2000): one worker, the leader, reads the
//! tunnel. When it reads a request, it serves that itself, so that no request is passed between threads. It hands leadership to a
//! follower as soon as the tunnel has more to read, or the request makes it wait for something else than the provider: until then
//! it waits for both. A short answer of a fast provider wakes no other thread.
//!
//! The leader also cancels, pauses and resumes the requests that other workers serve. A worker is started when no follower
//! is free; [`Load`] bounds their number. What a request does is in `forward`.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::forward::{Forwarder, Leading, NO_THREAD};
use super::job::{ArrivingRequest, EncodedHead, Job};
use super::load::{Load, LoadShare};
use super::streams::Streams;
use crate::net::stream::Stream;
use crate::proto::tunnel::{FromHub, IncomingRequest, decode_from_hub};
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

/// What comes of a request's message.
enum Arrived {
    /// The whole request.
    Job(Job),
    /// A request whose body, of so many bytes, is the next message; `None` if it is refused.
    Announced(Option<ArrivingRequest>, usize),
}

/// How long the leader waits for both its request's provider and the tunnel, before a follower reads the tunnel.
const BOTH_FOR: Duration = Duration::from_millis(100);
/// After the tunnel had more to read while the leader waited for a provider, so many requests are handed over at once: each wait
/// for both would be in vain.
const BUSY_REQUESTS: u32 = 16;

/// The state that only the leader uses.
struct Leadership {
    reader: Reader,
    /// How many requests the leader is to hand over at once.
    busy: u32,
    /// The request whose body is the next message.
    awaited: Option<ArrivingRequest>,
    /// Dropped with the reader, which disconnects the receiver that [`Workers::start`] returns.
    _reading: Sender<()>,
}

/// A worker's hold of the leadership, while it has it.
struct Leader<'w>(Option<MutexGuard<'w, Option<Leadership>>>);

impl Leading for Leader<'_> {
    fn wait_for(&mut self, provider: &Stream) {
        let Some(Leadership { reader, busy, .. }) = self.0.as_mut().and_then(|leadership| leadership.as_mut()) else {
            return;
        };
        if *busy > 0 {
            *busy -= 1;
        } else {
            match reader.wait_for_either(provider, BOTH_FOR) {
                Ok([false, true]) => return,
                Ok([true, _]) => *busy = BUSY_REQUESTS,
                // Another worker can wait for the tunnel, however it is read.
                Ok(_) | Err(_) => {}
            }
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.0 = None;
    }
}

/// The state that the workers of a session share.
pub struct Workers {
    forwarder: Arc<Forwarder>,
    /// Reads the answers where there are many.
    streams: Option<Arc<Streams>>,
    load: Arc<Load>,
    /// Whether bodies of requests come as messages of their own.
    bodies: bool,
    /// Locked by the leader while it reads; `None` once the tunnel has ended.
    leader: Mutex<Option<Leadership>>,
    /// Workers that wait to become the leader.
    followers: AtomicUsize,
    on_event: Box<dyn Fn(TunnelEvent) + Send + Sync>,
}

impl Workers {
    /// Starts to serve a tunnel, within the bounds of `load`. The receiver is disconnected when the tunnel has ended and is
    /// not read any more. `bodies`: whether bodies of requests come as messages of their own. `on_event` is called on the
    /// leader's thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        forwarder: Forwarder,
        (reader, bodies): (Reader, bool),
        load: Arc<Load>,
        on_event: impl Fn(TunnelEvent) + Send + Sync + 'static,
    ) -> io::Result<Receiver<()>> {
        let (reading, ended) = bounded(0);
        let forwarder = Arc::new(forwarder);
        let workers = Workers {
            streams: Streams::new(forwarder.clone()).ok(),
            forwarder,
            load,
            bodies,
            leader: Mutex::new(Some(Leadership { reader, busy: 0, awaited: None, _reading: reading })),
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
        let mut buffers = self.forwarder.new_buffers();
        let mut leader = Leader(None);
        while let Some(job) = self.lead(&mut leader) {
            let answer = self.forwarder.begin(job, &mut buffers, &mut leader);
            let own = answer.and_then(|answer| match &self.streams {
                Some(streams) => streams.take(answer),
                None => Some(answer),
            });
            if let Some(answer) = own {
                self.forwarder.finish(answer, &mut buffers);
            }
        }
    }

    /// Waits to become the leader, unless this worker still is, then reads until a request arrives, and returns it; `None` when the
    /// tunnel has ended.
    fn lead<'w>(self: &'w Arc<Self>, leader: &mut Leader<'w>) -> Option<Job> {
        let leadership = leader.0.get_or_insert_with(|| {
            self.followers.fetch_add(1, Ordering::SeqCst);
            let leadership = lock(&self.leader);
            self.followers.fetch_sub(1, Ordering::SeqCst);
            leadership
        });
        let end = loop {
            let Leadership { reader, awaited, .. } = leadership.as_mut()?;
            let send_ready = |body: &[u8]| awaited.iter_mut().for_each(|request| request.send_ready(body));
            let job = match reader.read(send_ready) {
                Ok(Received::Text(text)) => match self.on_message(text) {
                    Some(Arrived::Job(job)) => Some(job),
                    Some(Arrived::Announced(request, body_bytes)) => {
                        *awaited = request;
                        if let Err(error) = reader.expect_body(body_bytes) {
                            break TunnelEvent::Lost(error);
                        }
                        None
                    }
                    None => None,
                },
                Ok(Received::Body(body)) => awaited.take().map(|request| self.enrol(request.complete(body))),
                Ok(Received::Binary(_)) if self.bodies => {
                    break TunnelEvent::Lost(reader.reject("a request's body came unannounced"));
                }
                Ok(Received::Binary(_) | Received::KeepAlive) => None,
                Ok(Received::Closed { code, reason }) => break TunnelEvent::Closed { code, reason },
                Err(error) => break TunnelEvent::Lost(error),
            };
            (self.on_event)(TunnelEvent::Alive);
            if let Some(job) = job.and_then(|job| self.with_successor(job)) {
                return Some(job);
            }
        };
        (self.on_event)(end);
        self.forwarder.running.cancel_all();
        **leadership = None;
        leader.hand_over();
        None
    }

    /// Handles a message; gives what comes of a request.
    fn on_message(&self, text: &str) -> Option<Arrived> {
        match decode_from_hub(text) {
            Ok(FromHub::Request(request)) => return self.on_request(request),
            Ok(FromHub::Cancel { request_id }) => self.forwarder.running.cancel(&request_id),
            Ok(FromHub::Pause { request_id }) => self.forwarder.running.set_paused(&request_id, true),
            Ok(FromHub::Resume { request_id }) => self.forwarder.running.set_paused(&request_id, false),
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
        self.forwarder.running.remove(&job.id);
        self.forwarder.refuse(&job.id, NO_THREAD);
        None
    }

    fn on_request(&self, request: IncomingRequest<'_>) -> Option<Arrived> {
        if let Some(bytes) = request.body_bytes.filter(|_| self.bodies) {
            let request = self.forwarder.encode(request, Some(bytes));
            let share = self.accept(&request, bytes);
            return Some(Arrived::Announced(share.map(|share| self.forwarder.await_body(request, share)), bytes));
        }
        let body = request.body;
        let request = self.forwarder.encode(request, body.map(str::len));
        let body = body.unwrap_or_default();
        let share = self.accept(&request, body.len())?;
        Some(Arrived::Job(self.enrol(request.with_inline(body, share))))
    }

    /// The share of a request; refuses it where the session's load is at its limit, or the session drains: the hub then
    /// sends it to another participant.
    fn accept(&self, request: &EncodedHead, body_bytes: usize) -> Option<LoadShare> {
        let head_bytes = request.head.as_ref().map_or(0, Vec::len);
        let share = self.load.take(head_bytes + body_bytes);
        share.inspect_err(|reason| self.forwarder.refuse(&request.id, reason)).ok()
    }

    /// Adds a job to the running ones.
    fn enrol(&self, job: Job) -> Job {
        self.forwarder.running.add(&job.id, job.cancel.clone());
        job
    }
}
