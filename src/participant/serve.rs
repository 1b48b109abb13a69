//! Serving a tunnel's requests: worker threads that call the provider, and cancelling what they do.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::value::RawValue;
use ureq::Agent;
use ureq::http::HeaderMap;

use super::provider::Provider;
use crate::proto::tunnel::{self, Incoming};
use crate::proto::web::is_hop_by_hop;
use crate::tunnel::Writer;

/// Requests at a time. A hub that sends more is not one of ours.
const MAX_AT_ONCE: usize = 256;
const STACK: usize = 256 << 10;
/// The largest piece of an answer, in bytes.
const PIECE: usize = 16 << 10;

/// A request that a worker can keep.
struct Job {
    id: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Option<Box<RawValue>>,
    ticket: Arc<Ticket>,
}

/// What is needed to stop a request.
#[derive(Default)]
struct Ticket {
    cancelled: AtomicBool,
    /// The pool of the one connection that the request uses, once it uses one.
    agent: Mutex<Option<Agent>>,
}

impl Ticket {
    fn agent(&self) -> MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(agent) = self.agent().take() {
            agent.shutdown();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

/// A session's workers. Dropping it cancels what they do, and ends them.
pub struct Workers {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
}

struct Shared {
    provider: Provider,
    writer: Writer,
    /// Whether chunks go as binary messages.
    binary: bool,
    running: Mutex<HashMap<String, Arc<Ticket>>>,
    /// Workers that wait for a job.
    idle: AtomicUsize,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Ticket>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    /// Workers that answer on `writer`.
    pub fn new(provider: Provider, writer: Writer, binary: bool) -> Self {
        let (jobs, queue) = unbounded();
        let shared = Shared { provider, writer, binary, running: Mutex::default(), idle: AtomicUsize::new(0) };
        Workers { shared: Arc::new(shared), jobs, queue }
    }

    /// Begins a request.
    pub fn start(&self, request: Incoming<'_>) {
        let ticket = Arc::new(Ticket::default());
        let job = Job {
            id: request.request_id.into_owned(),
            method: request.method.into_owned(),
            path: request.path.into_owned(),
            headers: request.headers,
            body: request.body.map(ToOwned::to_owned),
            ticket: ticket.clone(),
        };
        let full = {
            let mut running = self.shared.running();
            let full = running.len() >= MAX_AT_ONCE;
            if !full {
                running.insert(job.id.clone(), ticket);
            }
            full
        };
        if full {
            return self.shared.fail(&job.id, "participant", "too many requests at a time");
        }
        self.hand_out(job);
    }

    /// Gives a job to a worker that waits, or to a new one.
    fn hand_out(&self, job: Job) {
        let id = job.id.clone();
        let waits = self.shared.idle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let _ = self.jobs.send(job);
        if waits {
            return;
        }
        let (shared, queue) = (self.shared.clone(), self.queue.clone());
        let spawned = thread::Builder::new().name("provider call".into()).stack_size(STACK).spawn(move || {
            work(&shared, &queue);
        });
        if spawned.is_err() {
            let _ = self.queue.try_recv();
            self.shared.running().remove(&id);
            self.shared.fail(&id, "participant", "the participant has no thread for the request");
        }
    }

    /// Stops a request: its provider's connection is closed, even while it is silent.
    pub fn cancel(&self, id: &str) {
        let ticket = self.shared.running().remove(id);
        if let Some(ticket) = ticket {
            ticket.cancel();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let running = std::mem::take(&mut *self.shared.running());
        running.values().for_each(|ticket| ticket.cancel());
    }
}

/// A worker's life: one connection to the provider, used for one job after the other.
fn work(shared: &Arc<Shared>, queue: &Receiver<Job>) {
    let mut agent = shared.provider.agent();
    while let Ok(job) = queue.recv() {
        shared.serve(&job, &agent);
        shared.running().remove(&job.id);
        // An agent that was shut down makes no more calls.
        if job.ticket.is_cancelled() {
            agent = shared.provider.agent();
        }
        shared.idle.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn serve(&self, job: &Job, agent: &Agent) {
        *job.ticket.agent() = Some(agent.clone());
        if job.ticket.is_cancelled() {
            return;
        }
        let result = self.call(job, agent);
        // From here on a late cancel must not shut down the next job's connection.
        job.ticket.agent().take();
        if let Err((stage, message)) = result
            && !job.ticket.is_cancelled()
        {
            self.fail(&job.id, stage, &message);
        }
    }

    /// One call, its answer sent piece by piece. Once it is cancelled nothing more is said of it.
    fn call(&self, job: &Job, agent: &Agent) -> Result<(), (&'static str, String)> {
        let answer = self.provider.call(agent, &job.method, &job.path, &job.headers, job.body.as_deref());
        let answer = answer.map_err(|reason| ("connect", reason))?;
        let gone = |e: crate::tunnel::TunnelError| ("tunnel", e.to_string());
        if job.ticket.is_cancelled() {
            return Ok(());
        }
        let headers = passed_on(answer.headers());
        self.writer.text(&tunnel::encode_start(&job.id, answer.status().as_u16(), &headers)).map_err(gone)?;
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let read =
                body.read(&mut piece).map_err(|e| ("stream", format!("the provider's answer broke off: {e}")))?;
            if job.ticket.is_cancelled() {
                return Ok(());
            }
            if read == 0 {
                break;
            }
            self.send_chunk(&job.id, &piece[..read]).map_err(gone)?;
        }
        // The watcher of the end may send the next request at once: this worker must be found free by then.
        self.running().remove(&job.id);
        self.writer.text(tunnel::encode_end(&job.id).as_bytes()).map_err(gone)
    }

    fn send_chunk(&self, id: &str, bytes: &[u8]) -> Result<(), crate::tunnel::TunnelError> {
        match tunnel::binary_head(id).filter(|_| self.binary) {
            Some(head) => self.writer.binary(&[&head, bytes]),
            None => self.writer.text(tunnel::encode_chunk(id, bytes).as_bytes()),
        }
    }

    fn fail(&self, id: &str, stage: &str, message: &str) {
        // A tunnel that can't be written to has failed all of its requests already.
        let _ = self.writer.text(tunnel::encode_error(id, stage, message).as_bytes());
    }
}

/// The provider's headers without those of its own connection and of its body's framing.
fn passed_on(headers: &HeaderMap) -> BTreeMap<String, String> {
    let kept = headers.iter().filter(|(name, _)| !is_hop_by_hop(name.as_str()));
    kept.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
