//! Forwarding one request of the tunnel to the provider, and the provider's response back, piece by piece.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::follow::ProviderState;
use super::job::{ArrivingRequest, EarlyCall, Job, ProviderRequest, RequestHead, SHORT_REQUEST, length, rest};
use super::load::LoadShare;
use super::provider::Provider;
use crate::error::Reason;
use crate::net::client::{ClientConnection, ResponseHead};
use crate::net::stream::Stream;
use crate::proto::tunnel::{self, Incoming as Request};
use crate::proto::web::{HOPS, is_hop_by_hop};
use crate::tunnel::{TunnelError, Writer};

/// What a worker does beside its request: it goes on to read the tunnel as long as the request does not make it wait.
pub trait Leading {
    /// Returns when the provider has sent something, or another worker reads the tunnel.
    fn wait_for(&mut self, provider: &Stream);

    /// Lets another worker read the tunnel.
    fn hand_over(&mut self);
}

/// The buffers of a worker, reused for all pieces and requests.
#[derive(Default)]
pub struct Buffers {
    /// A piece of the response's body.
    piece: Vec<u8>,
    /// The same piece as a JSON message.
    json: Vec<u8>,
}

/// Why a request failed.
struct Failure {
    /// The `stage` of `tunnel.response.error` (PROTOCOL.md, "Events").
    stage: &'static str,
    message: String,
}

impl Failure {
    fn participant(reason: &str) -> Self {
        Failure { stage: "participant", message: reason.to_owned() }
    }

    fn connect(reason: &Reason) -> Self {
        Failure { stage: "connect", message: reason.to_string() }
    }

    fn stream(error: &io::Error) -> Self {
        Failure { stage: "stream", message: format!("the provider's answer broke off: {error}") }
    }

    fn tunnel(error: &TunnelError) -> Self {
        Failure { stage: "tunnel", message: error.to_string() }
    }
}

/// The provider and the tunnel between which requests are forwarded.
pub struct Forwarder {
    provider: Provider,
    provider_state: Arc<ProviderState>,
    writer: Writer,
    /// Whether the hub accepts chunks as binary messages.
    binary: bool,
}

impl Forwarder {
    /// Forwards from the tunnel of `writer` to `provider`.
    pub fn new(provider: Provider, provider_state: Arc<ProviderState>, writer: Writer, binary: bool) -> Self {
        Forwarder { provider, provider_state, writer, binary }
    }

    /// A hub's request, without its body, for the provider.
    pub fn encode(&self, mut request: Request<'_>, body_bytes: Option<usize>) -> RequestHead {
        if let Some(hops) = request.hops.take() {
            request.headers.insert(HOPS.to_owned(), hops);
        }
        let head = self.provider.relay(&request.method, &request.path, &request.headers, body_bytes);
        RequestHead { id: request.request_id.into_owned(), head }
    }

    /// A request whose body is the next message.
    pub fn await_body(&self, request: RequestHead, share: LoadShare) -> ArrivingRequest {
        ArrivingRequest::new(request, share, &self.provider)
    }

    /// Serves a job. `before_end` runs with its id when the response is complete, before the hub learns it. A failure is
    /// reported to the hub unless the job was cancelled.
    pub fn forward(
        &self,
        job: &mut Job,
        buffers: &mut Buffers,
        leading: &mut impl Leading,
        before_end: impl FnOnce(&str),
    ) {
        let result = self.exchange(job, buffers, leading, before_end);
        let active = job.cancel.detach();
        if let Err(Failure { stage, message }) = result
            && active
        {
            self.send_error(&job.id, stage, &message);
        }
    }

    /// Sends the request and streams the response. Stops without a further message once the job is cancelled.
    fn exchange(
        &self,
        job: &mut Job,
        buffers: &mut Buffers,
        leading: &mut impl Leading,
        before_end: impl FnOnce(&str),
    ) -> Result<(), Failure> {
        let early = job.early.take();
        let job = &*job;
        let request = job.request.as_ref().map_err(|reason| Failure::participant(reason))?;
        let (mut call, start) = self
            .open_response(job, (request, early), leading)
            .map_err(|reason| Failure::connect(&reason))
            .inspect_err(|_| self.provider_state.doubt_provider())?;
        let mut start = Some(start);
        buffers.piece.clear();
        // The start of the body that arrived with the head is sent along with it.
        let mut complete = call.take(&mut buffers.piece).map_err(|e| Failure::stream(&e))?;
        if !complete {
            leading.hand_over();
        }
        while !complete {
            if job.cancel.is_cancelled() {
                return Ok(());
            }
            self.send(job, start.take(), buffers, None).map_err(|e| Failure::tunnel(&e))?;
            buffers.piece.clear();
            job.cancel.wait_while_paused();
            complete = call.read(&mut buffers.piece).map_err(|e| Failure::stream(&e))?;
        }
        if !job.cancel.detach() {
            return Ok(());
        }
        self.provider.pool(call);
        before_end(&job.id);
        self.send(job, start, buffers, Some(tunnel::encode_end(&job.id))).map_err(|e| Failure::tunnel(&e))
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

    /// Sends what is ready of a response, in one write.
    fn send(
        &self,
        job: &Job,
        start: Option<Vec<u8>>,
        buffers: &mut Buffers,
        end: Option<String>,
    ) -> Result<(), TunnelError> {
        let Buffers { piece, json } = buffers;
        if start.is_none() && piece.is_empty() && end.is_none() {
            return Ok(());
        }
        let binary_head = tunnel::binary_head(&job.id).filter(|_| self.binary);
        if binary_head.is_none() && !piece.is_empty() {
            json.clear();
            tunnel::encode_chunk(json, &job.id, piece);
        }
        self.writer.batch(|batch| {
            if let Some(start) = &start {
                batch.text(&[start])?;
            }
            match &binary_head {
                _ if piece.is_empty() => {}
                Some(head) => batch.binary(&[head, piece])?,
                None => batch.text(&[json])?,
            }
            match &end {
                Some(end) => batch.text(&[end.as_bytes()]),
                None => Ok(()),
            }
        })
    }

    /// Reports that the participant does not serve a request.
    pub fn refuse(&self, id: &str, reason: &str) {
        self.send_error(id, "participant", reason);
    }

    fn send_error(&self, id: &str, stage: &str, message: &str) {
        // A failed write means that the tunnel is lost, which fails all of its requests on the hub.
        let _ = self.writer.text(&[tunnel::encode_error(id, stage, message).as_bytes()]);
    }
}

/// The response's headers without the hop-by-hop ones: those of the connection and of the body's framing, and all that
/// `Connection` names (RFC 9110, section 7.6.1).
fn end_to_end_headers(answer: &ResponseHead<'_>) -> BTreeMap<String, String> {
    let lines = || answer.headers().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let connection = lines().filter(|(name, _)| name == "connection");
    let options: Vec<String> = connection
        .flat_map(|(_, value)| value.split(|&b| b == b',').map(<[u8]>::trim_ascii))
        .map(|option| String::from_utf8_lossy(option).to_ascii_lowercase())
        .collect();
    let kept = lines().filter(|(name, _)| !is_hop_by_hop(name) && !options.contains(name));
    kept.map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())).collect()
}
