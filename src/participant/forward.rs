//! Forwarding one request of the tunnel to the provider, and the provider's response back, piece by piece.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::cancel::CancelHandle;
use super::follow::ProviderState;
use super::job::{ArrivingRequest, EarlyCall, EncodedHead, Job, ProviderRequest, SHORT_REQUEST, length, rest};
use super::load::LoadShare;
use super::provider::ProviderClient;
use super::running::RunningRequests;
use crate::error::Reason;
use crate::net::client::{ClientConnection, ResponseHead};
use crate::net::header_list::has_token;
use crate::net::stream::Stream;
use crate::proto::tunnel::{self, IncomingRequest};
use crate::proto::web::{HOPS, is_hop_by_hop};
use crate::tunnel::{Batch, Writer};

/// What a worker does beside its request: it goes on to read the tunnel as long as the request does not make it wait.
pub trait Leading {
    /// Returns when the provider has sent something, or another worker reads the tunnel.
    fn wait_for(&mut self, provider: &Stream);

    /// Lets another worker read the tunnel.
    fn hand_over(&mut self);
}

/// The buffers of a thread that passes answers on, reused for all of them.
pub struct Buffers {
    /// A piece of an answer's body, where the hub takes it as JSON, and that message.
    piece: Vec<u8>,
    json: Vec<u8>,
    /// What is to be sent to the hub.
    batch: Batch,
    /// Jobs that have ended, but for that: until it is sent they count as in progress.
    ended: Vec<Job>,
}

impl Buffers {
    /// How many bytes are to be sent.
    pub fn unsent(&self) -> usize {
        self.batch.len()
    }

    fn release_memory(&mut self) {
        (self.piece, self.json) = (Vec::new(), Vec::new());
        self.batch.release_memory();
    }
}

/// An answer of which more is to come.
pub struct OngoingAnswer {
    job: Job,
    call: ClientConnection,
}

impl OngoingAnswer {
    /// The rest of the answer to this job.
    #[cfg(test)]
    pub fn new(job: Job, call: ClientConnection) -> Self {
        OngoingAnswer { job, call }
    }

    /// The id of its request.
    pub fn id(&self) -> &str {
        &self.job.id
    }

    /// The provider's connection.
    pub fn stream(&self) -> Arc<Stream> {
        self.call.stream()
    }

    /// Cancels and pauses its request.
    pub fn handle(&self) -> &CancelHandle {
        &self.job.cancel
    }
}

/// Why a participant refuses a request for which no thread can be started.
pub const NO_THREAD: &str = "the participant has no thread for the request";

/// Why a request failed.
struct ForwardFailure {
    /// The `stage` of `tunnel.response.error` (PROTOCOL.md, "Events").
    stage: &'static str,
    message: String,
}

impl ForwardFailure {
    fn participant(reason: &str) -> Self {
        ForwardFailure { stage: "participant", message: reason.to_owned() }
    }

    fn connect(reason: &Reason) -> Self {
        ForwardFailure { stage: "connect", message: reason.to_string() }
    }

    fn stream(error: &io::Error) -> Self {
        ForwardFailure { stage: "stream", message: format!("the provider's answer broke off: {error}") }
    }
}

/// The provider and the tunnel between which requests are forwarded.
pub struct Forwarder {
    provider: ProviderClient,
    provider_state: Arc<ProviderState>,
    writer: Writer,
    /// Whether the hub accepts chunks as binary messages.
    binary: bool,
    /// The hub may send the next request as soon as it learns of a request's end: that one has been removed by then.
    pub running: RunningRequests,
}

impl Forwarder {
    /// Forwards from the tunnel of `writer` to `provider`.
    pub fn new(provider: ProviderClient, provider_state: Arc<ProviderState>, writer: Writer, binary: bool) -> Self {
        Forwarder { provider, provider_state, writer, binary, running: RunningRequests::default() }
    }

    /// A hub's request, without its body, for the provider.
    pub fn encode(&self, mut request: IncomingRequest<'_>, body_bytes: Option<usize>) -> EncodedHead {
        if let Some(hops) = request.hops.take() {
            request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(HOPS));
            request.headers.push((HOPS.to_owned(), hops));
        }
        let head = self.provider.relay(&request.method, &request.path, &request.headers, body_bytes);
        EncodedHead { id: request.request_id.into_owned(), head }
    }

    /// A request whose body is the next message.
    pub fn await_body(&self, request: EncodedHead, share: LoadShare) -> ArrivingRequest {
        ArrivingRequest::new(request, share, &self.provider)
    }

    /// Buffers for a thread that passes answers on.
    pub fn new_buffers(&self) -> Buffers {
        Buffers { piece: Vec::new(), json: Vec::new(), batch: self.writer.new_batch(), ended: Vec::new() }
    }

    /// Sends a job's request, and the hub what comes of the answer with its head. Gives the answer if more is to come. A failure is
    /// reported to the hub unless the job was cancelled.
    pub fn begin(&self, mut job: Job, buffers: &mut Buffers, leading: &mut impl Leading) -> Option<OngoingAnswer> {
        let early = job.early.take();
        let opened = match &job.request {
            Ok(request) => self.open_response(&job, (request, early), leading).map_err(|reason| {
                self.provider_state.doubt_provider();
                ForwardFailure::connect(&reason)
            }),
            Err(reason) => Err(ForwardFailure::participant(reason)),
        };
        let answer = match opened {
            Ok((call, start)) => {
                let started = buffers.batch.text(&[&start]);
                // The start of the body that arrived with the head is sent along with it.
                let answer = self.pass_on(OngoingAnswer { job, call }, ClientConnection::take, buffers);
                // Without random bytes for a mask nothing can be sent any more.
                answer.filter(|_| started.is_ok())
            }
            Err(failure) => {
                self.fail(&job, &failure, buffers);
                None
            }
        };
        let sent = self.writer.send_and_wait(&mut buffers.batch, || leading.hand_over()).is_ok();
        buffers.ended.clear();
        answer.filter(|_| sent).inspect(|_| leading.hand_over())
    }

    /// Passes the rest of an answer on.
    pub fn finish(&self, mut answer: OngoingAnswer, buffers: &mut Buffers) {
        loop {
            answer.handle().wait_while_paused();
            let rest = self.pass_on(answer, ClientConnection::read, buffers);
            match self.send(buffers).then_some(rest).flatten() {
                Some(rest) => answer = rest,
                None => break,
            }
        }
        buffers.release_memory();
    }

    /// Adds to `buffers` the piece of an answer that `read` appends, and its end or failure. Gives the answer if more is to come. `read`
    /// returns whether the answer is complete.
    pub fn pass_on(
        &self,
        mut answer: OngoingAnswer,
        read: impl FnOnce(&mut ClientConnection, &mut Vec<u8>) -> io::Result<bool>,
        buffers: &mut Buffers,
    ) -> Option<OngoingAnswer> {
        match self.add_piece(&mut answer, read, buffers) {
            Ok(false) if !answer.handle().is_cancelled() => return Some(answer),
            Ok(true) if answer.handle().detach() => {
                let OngoingAnswer { job, call } = answer;
                self.provider.pool(call);
                self.running.remove(&job.id);
                let _ = buffers.batch.text(&[tunnel::encode_end(&job.id).as_bytes()]);
                buffers.ended.push(job);
            }
            Ok(_) => self.running.remove(answer.id()),
            Err(error) => {
                self.fail(&answer.job, &ForwardFailure::stream(&error), buffers);
                buffers.ended.push(answer.job);
            }
        }
        None
    }

    fn add_piece(
        &self,
        OngoingAnswer { job, call }: &mut OngoingAnswer,
        read: impl FnOnce(&mut ClientConnection, &mut Vec<u8>) -> io::Result<bool>,
        Buffers { piece, json, batch, .. }: &mut Buffers,
    ) -> io::Result<bool> {
        if let Some(head) = tunnel::binary_head(&job.id).filter(|_| self.binary) {
            return batch.binary_with(&head, |out| read(call, out)).map_err(io::Error::other)?;
        }
        piece.clear();
        let is_complete = read(call, piece)?;
        if !piece.is_empty() {
            json.clear();
            tunnel::encode_chunk(json, &job.id, piece);
            batch.text(&[json]).map_err(io::Error::other)?;
        }
        Ok(is_complete)
    }

    fn fail(&self, job: &Job, failure: &ForwardFailure, buffers: &mut Buffers) {
        let active = job.cancel.detach();
        self.running.remove(&job.id);
        if active {
            let error = tunnel::encode_error(&job.id, failure.stage, &failure.message);
            let _ = buffers.batch.text(&[error.as_bytes()]);
        }
    }

    /// Sends the request until the response's head arrives. Gives the connection, and the head as a message for the hub.
    fn open_response(
        &self,
        job: &Job,
        (request, early): (&ProviderRequest, Option<EarlyCall>),
        leading: &mut impl Leading,
    ) -> Result<(ClientConnection, Vec<u8>), Reason> {
        let mut kept = match early {
            Some(early) => Some(early),
            None => self.provider.idle()?.map(|call| EarlyCall { call, sent: 0 }),
        };
        loop {
            let sent = kept.as_ref().map_or(0, |early| early.sent);
            let parts = rest([&request.start, &request.body], sent);
            if kept.is_none() || length(parts) > SHORT_REQUEST {
                leading.hand_over();
            }
            let mut call = kept.take().map_or_else(|| self.provider.connect_anew(None), |early| Ok(early.call))?;
            if !job.cancel.attach(call.stream()) {
                return Err("the request was cancelled".into());
            }
            let start = |answer: &ResponseHead<'_>| {
                if answer.status == 404 {
                    self.provider_state.doubt_models();
                }
                tunnel::encode_start(&job.id, answer.status, &end_to_end_headers(answer))
            };
            match self.provider.send_and_wait(&mut call, parts, |provider| leading.wait_for(provider), start) {
                Ok(start) => return Ok((call, start)),
                Err(_) if call.was_stale() && !job.cancel.is_cancelled() => {}
                Err(reason) => return Err(reason),
            }
        }
    }

    /// Sends the hub what is in `buffers`. False if that fails: the tunnel is lost then, and all of its requests with it.
    pub fn send(&self, buffers: &mut Buffers) -> bool {
        let sent = self.writer.send(&mut buffers.batch).is_ok();
        buffers.ended.clear();
        sent
    }

    /// Reports that the participant does not serve a request.
    pub fn refuse(&self, id: &str, reason: &str) {
        // A failed write means that the tunnel is lost, which fails all of its requests on the hub.
        let _ = self.writer.text(&[tunnel::encode_error(id, "participant", reason).as_bytes()]);
    }
}

/// The response's headers without the hop-by-hop ones: those of the connection and of the body's framing, and all that
/// `Connection` names (RFC 9110, section 7.6.1).
fn end_to_end_headers(answer: &ResponseHead<'_>) -> BTreeMap<String, String> {
    let connection: Vec<_> = answer.lines("connection").collect();
    let lines = answer.headers().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let kept = lines.filter(|(name, _)| !is_hop_by_hop(name) && !has_token(connection.iter().copied(), name));
    kept.map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())).collect()
}
