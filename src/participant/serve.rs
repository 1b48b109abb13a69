//! Serving a tunnel's requests: workers that read them, call the provider, and pass its answers on; and cancelling what
//! they do.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::load::{Load, Share};
use super::provider::Provider;
use crate::net::client::{Answer, Call};
use crate::proto::tunnel::{self, FromHub, Incoming as Request, decode_from_hub};
use crate::proto::web::{HOPS, is_hop_by_hop};
use crate::tunnel::{Reader, Received, TunnelError, Writer};

const STACK: usize = 256 << 10;

/// A request that a worker can keep.
struct Job {
    id: String,
    /// As it is written to the provider, or why the participant refuses it.
    request: Result<Vec<u8>, String>,
    /// Whether asking twice does no more than asking once.
    repeatable: bool,
    ticket: Arc<CancelHandle>,
    _share: Share,
}

/// What is needed to pause and to stop a request.
#[derive(Default)]
struct CancelHandle {
    line: Mutex<Line>,
    /// Whether the hub's client is slow. Set by the tunnel's reader, read by the request's worker.
    paused: Mutex<bool>,
    resumed: Condvar,
}

/// Where a request's line to the provider stands.
#[derive(Default)]
enum Line {
    /// It has none yet, or none any more.
    #[default]
    None,
    /// It uses this connection.
    Open(Arc<TcpStream>),
    /// It was cancelled, and gets none.
    Cancelled,
}

impl CancelHandle {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_paused(&self, paused: bool) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
        self.resumed.notify_one();
    }

    /// Waits until the hub wants more of the answer, or none of it: what is not read from the provider's socket meanwhile
    /// slows the provider down.
    fn wait_while_paused(&self) {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.resumed.wait_while(paused, |paused| *paused));
    }

    fn cancel(&self) {
        if let Line::Open(stream) = std::mem::replace(&mut *self.lock(), Line::Cancelled) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.set_paused(false);
    }

    /// Notes which connection is to be shut down; false when it is too late for that.
    fn uses(&self, call: &Call) -> bool {
        let mut line = self.lock();
        let open = !matches!(*line, Line::Cancelled);
        if open {
            *line = Line::Open(call.stream());
        }
        open
    }

    /// From here on a late cancel must not shut down the next request's connection. False when it was not late.
    fn done(&self) -> bool {
        let mut line = self.lock();
        let open = !matches!(*line, Line::Cancelled);
        if open {
            *line = Line::None;
        }
        open
    }

    fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), Line::Cancelled)
    }
}

/// What a worker hears on the tunnel that is the session's affair.
pub enum TunnelEvent {
    /// The hub is alive.
    Alive,
    /// The hub has closed the tunnel.
    Closed {
        /// With this code, where it has one.
        code: Option<u16>,
        /// For this reason.
        reason: String,
    },
    /// The tunnel is lost.
    Lost(TunnelError),
}

/// What the workers of a session share. They read the tunnel in turns: whoever reads a request serves it, and somebody else
/// reads on. So a request is handed to nobody.
pub struct Workers {
    provider: Provider,
    writer: Writer,
    /// Whether chunks go as binary messages.
    binary: bool,
    running: Mutex<HashMap<String, Arc<CancelHandle>>>,
    load: Arc<Load>,
    /// Held by whoever reads; empty once the tunnel is over. The sender goes with the reader, for those who wait for that.
    leader: Mutex<Option<(Reader, Sender<()>)>>,
    /// Workers that wait for their turn.
    waiting: AtomicUsize,
    heard: Box<dyn Fn(TunnelEvent) + Send + Sync>,
}

impl Workers {
    /// Starts to serve a tunnel, until it ends; the channel that comes back ends then too. `heard` is told what is heard.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        provider: Provider,
        (reader, writer): (Reader, Writer),
        binary: bool,
        heard: impl Fn(TunnelEvent) + Send + Sync + 'static,
    ) -> io::Result<Receiver<()>> {
        let (reading, over) = bounded(0);
        let workers = Workers {
            provider,
            writer,
            binary,
            running: Mutex::default(),
            load: Arc::default(),
            leader: Mutex::new(Some((reader, reading))),
            waiting: AtomicUsize::new(0),
            heard: Box::new(heard),
        };
        Arc::new(workers).another().map(|()| over)
    }

    /// Starts a worker.
    fn another(self: &Arc<Self>) -> io::Result<()> {
        let workers = self.clone();
        thread::Builder::new().name("tunnel".into()).stack_size(STACK).spawn(move || workers.work()).map(drop)
    }

    /// A worker's life: one job after the other.
    fn work(self: &Arc<Self>) {
        let mut scratch = Scratch::default();
        while let Some(job) = self.next() {
            self.serve(&job, &mut scratch);
            self.running().remove(&job.id);
        }
    }

    /// Waits for a turn and reads until there is something to do; `None` when the tunnel is over.
    fn next(self: &Arc<Self>) -> Option<Job> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let (reader, _) = leader.as_mut()?;
        let end = loop {
            match reader.read() {
                Ok(Received::Text(text)) => {
                    (self.heard)(TunnelEvent::Alive);
                    let job = match decode_from_hub(text) {
                        Ok(FromHub::Request(request)) => self.take_on(request),
                        Ok(FromHub::Cancel { request_id }) => {
                            self.cancel(&request_id);
                            None
                        }
                        Ok(FromHub::Pause { request_id }) => {
                            self.set_paused(&request_id, true);
                            None
                        }
                        Ok(FromHub::Resume { request_id }) => {
                            self.set_paused(&request_id, false);
                            None
                        }
                        Ok(FromHub::Pong | FromHub::Unknown) | Err(_) => None,
                    };
                    // The tunnel is never left without a reader.
                    match job {
                        Some(job) if self.waiting.load(Ordering::SeqCst) > 0 || self.another().is_ok() => {
                            return Some(job);
                        }
                        Some(job) => self.refuse(&job.id, "the participant has no thread for the request"),
                        None => {}
                    }
                }
                Ok(Received::Binary(_) | Received::KeepAlive) => (self.heard)(TunnelEvent::Alive),
                Ok(Received::Closed { code, reason }) => break TunnelEvent::Closed { code, reason },
                Err(error) => break TunnelEvent::Lost(error),
            }
        };
        (self.heard)(end);
        self.cancel_all();
        *leader = None;
        None
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<CancelHandle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a job of a request.
    fn take_on(&self, request: Request<'_>) -> Option<Job> {
        let ticket = Arc::new(CancelHandle::default());
        let Request { request_id, method, path, mut headers, hops, body, .. } = request;
        headers.extend(hops.map(|hops| (HOPS.to_owned(), hops)));
        let id = request_id.into_owned();
        let request = self.provider.relay(&method, &path, &headers, body.map(|body| body.get()));
        let Some(share) = self.load.take(request.as_ref().map_or(0, Vec::len)) else {
            self.fail(&id, "participant", "the participant works at too many requests, or too large ones, already");
            return None;
        };
        self.running().insert(id.clone(), ticket.clone());
        Some(Job { id, request, repeatable: method != "POST", ticket, _share: share })
    }

    fn refuse(&self, id: &str, why: &str) {
        self.running().remove(id);
        self.fail(id, "participant", why);
    }

    /// Stops a request: its provider's connection is closed, even while it is silent.
    fn cancel(&self, id: &str) {
        let ticket = self.running().remove(id);
        if let Some(ticket) = ticket {
            ticket.cancel();
        }
    }

    fn set_paused(&self, id: &str, paused: bool) {
        if let Some(ticket) = self.running().get(id) {
            ticket.set_paused(paused);
        }
    }

    fn cancel_all(&self) {
        let running = std::mem::take(&mut *self.running());
        running.values().for_each(|ticket| ticket.cancel());
    }
}

/// What a worker uses again for every piece.
#[derive(Default)]
struct Scratch {
    /// Bytes of the answer.
    piece: Vec<u8>,
    /// The same as JSON.
    text: Vec<u8>,
}

/// Where and why a job failed.
type Failed = (&'static str, String);

fn gone(error: TunnelError) -> Failed {
    ("tunnel", error.to_string())
}

impl Workers {
    fn serve(&self, job: &Job, scratch: &mut Scratch) {
        let result = self.call(job, scratch);
        let cancelled = !job.ticket.done();
        if let Err((stage, message)) = result
            && !cancelled
        {
            self.fail(&job.id, stage, &message);
        }
    }

    /// One call, its answer sent piece by piece. Once it is cancelled nothing more is said of it.
    fn call(&self, job: &Job, scratch: &mut Scratch) -> Result<(), Failed> {
        let request = job.request.as_ref().map_err(|reason| ("participant", reason.clone()))?;
        let broke_off = |e| ("stream", format!("the provider's answer broke off: {e}"));
        let (mut call, start) = self.ask(job, request).map_err(|reason| ("connect", reason))?;
        let mut start = Some(start);
        scratch.piece.clear();
        // What has come with the head goes along with it.
        let mut over = call.take(&mut scratch.piece).map_err(broke_off)?;
        while !over {
            if job.ticket.is_cancelled() {
                return Ok(());
            }
            self.send(job, start.take(), scratch, None).map_err(gone)?;
            scratch.piece.clear();
            job.ticket.wait_while_paused();
            over = call.read(&mut scratch.piece).map_err(broke_off)?;
        }
        if !job.ticket.done() {
            return Ok(());
        }
        self.provider.keep(call);
        // The watcher of the end may send the next request at once: this worker must be found free by then.
        self.running().remove(&job.id);
        self.send(job, start, scratch, Some(tunnel::encode_end(&job.id))).map_err(gone)
    }

    /// Sends what is ready of an answer, in one write.
    fn send(
        &self,
        job: &Job,
        start: Option<Vec<u8>>,
        scratch: &mut Scratch,
        end: Option<String>,
    ) -> Result<(), TunnelError> {
        let Scratch { piece, text } = scratch;
        if start.is_none() && piece.is_empty() && end.is_none() {
            return Ok(());
        }
        let head = tunnel::binary_head(&job.id).filter(|_| self.binary);
        if head.is_none() && !piece.is_empty() {
            text.clear();
            tunnel::encode_chunk(text, &job.id, piece);
        }
        self.writer.batch(|batch| {
            start.iter().try_for_each(|start| batch.text(&[start]))?;
            match head {
                _ if piece.is_empty() => {}
                Some(head) => batch.binary(&[&head, piece])?,
                None => batch.text(&[text])?,
            }
            end.iter().try_for_each(|end| batch.text(&[end.as_bytes()]))
        })
    }

    /// A connection on which the request has been answered, and the message that says how.
    fn ask(&self, job: &Job, request: &[u8]) -> Result<(Call, Vec<u8>), String> {
        loop {
            let mut call = self.provider.connect(None)?;
            if !job.ticket.uses(&call) {
                return Err("the request was cancelled".into());
            }
            let start = |answer: &Answer<'_>| tunnel::encode_start(&job.id, answer.status, &passed_on(answer));
            match self.provider.ask(&mut call, request, start) {
                Ok(start) => return Ok((call, start)),
                // The provider may have closed a kept connection just before the request was there.
                Err(_) if call.was_kept() && !call.heard() && job.repeatable && !job.ticket.is_cancelled() => {}
                Err(reason) => return Err(reason),
            }
        }
    }

    fn fail(&self, id: &str, stage: &str, message: &str) {
        // A tunnel that can't be written to has failed all of its requests already.
        let _ = self.writer.text(&[tunnel::encode_error(id, stage, message).as_bytes()]);
    }
}

/// The provider's headers without those of its own connection, among them all that its `Connection` names (RFC 9110,
/// section 7.6.1), and of its body's framing.
fn passed_on(answer: &Answer<'_>) -> BTreeMap<String, String> {
    let lines = || answer.headers().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let connection = lines().filter(|(name, _)| name == "connection");
    let options: Vec<String> = connection
        .flat_map(|(_, value)| value.split(|&b| b == b',').map(<[u8]>::trim_ascii))
        .map(|option| String::from_utf8_lossy(option).to_ascii_lowercase())
        .collect();
    let kept = lines().filter(|(name, _)| !is_hop_by_hop(name) && !options.contains(name));
    kept.map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())).collect()
}
