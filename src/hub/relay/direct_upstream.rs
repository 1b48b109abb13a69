//! Sends a request to a direct participant (legacy plane), at the endpoint that it registered.
//!
//! A request has a thread of its own, which reads the response into the request's bounded queue. Deadlines for the
//! response are the request's own (`upstream`). Redirects are not followed.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::address_rule::AddressRule;
use super::direct_connections::{CallPermit, DirectConnections, connect};
use super::upstream::{CancelFn, OutgoingRequest, Transport, UpstreamError};
use crate::budget::Budget;
use crate::net::cancellation::Cancellation;
use crate::net::client::{ClientConnection, ResponseHead};
use crate::net::request::{self, USER_AGENT, host_header};
use crate::net::resolve::Server;
use crate::proto::json_parts::JsonParts;
use crate::proto::management::ErrorCode;
use crate::proto::stage::Stage;
use crate::proto::text::cut;
use crate::proto::tunnel::MAX_ERROR_TEXT;
use crate::proto::web::{HOPS, PLAIN, route_url};
use crate::state::policy::DirectPolicy;
use crate::state::registry::Picked;
use crate::state::room::Reach;
use crate::sync::STACK_SIZE;
use crate::tunnel::{PendingResponse, Piece, QueueLimits, Routed, Router};

/// Why a call is refused.
const TOO_MANY_CALLS: &str = "the hub has too many calls to endpoints in progress; some of them may not connect";

/// How much of a response may wait for its client. Each request has a connection of its own, so no other one is delayed.
const QUEUE: QueueLimits =
    QueueLimits { high: 1 << 20, low: 0, most: 2 << 20, wait: Duration::from_secs(600), within: Duration::ZERO };

/// What requests to direct participants share.
pub struct DirectUpstreams {
    rule: AddressRule,
    /// Bounds the responses that wait for their clients.
    memory: Arc<Budget>,
    connections: Arc<DirectConnections>,
}

impl DirectUpstreams {
    /// `own` is the address that the hub listens on; it is never called. `most_requests`: how many clients may wait at once.
    pub(crate) fn new(policy: DirectPolicy, own: SocketAddr, memory: Arc<Budget>, most_requests: usize) -> Self {
        let connections = Arc::new(DirectConnections::new(most_requests));
        DirectUpstreams { rule: AddressRule::new(policy, own), memory, connections }
    }

    /// Which addresses may be called.
    pub(crate) fn rule(&self) -> AddressRule {
        self.rule
    }

    /// Closes the connections to a member that has left.
    pub(crate) fn forget(&self, serial: u64) {
        self.connections.close(serial);
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn close_idle(&self) {
        self.connections.close_idle(Instant::now());
    }

    /// The transport to a participant.
    pub(crate) fn transport(&self, picked: &Picked) -> DirectTransport {
        DirectTransport {
            rule: self.rule,
            memory: self.memory.clone(),
            connections: self.connections.clone(),
            serial: picked.serial,
            endpoint: picked.profile.endpoint.trim_end_matches('/').to_owned(),
            from_loopback: matches!(picked.reach, Reach::Direct { from_loopback: true }),
        }
    }
}

/// The transport to one direct participant.
pub struct DirectTransport {
    rule: AddressRule,
    memory: Arc<Budget>,
    connections: Arc<DirectConnections>,
    serial: u64,
    /// Without a trailing slash.
    endpoint: String,
    from_loopback: bool,
}

impl Transport for DirectTransport {
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError> {
        let failed = |e: &dyn Display| UpstreamError::failed(Stage::Dispatch, e, ErrorCode::EndpointNotReachable);
        let url: Uri = route_url(&self.endpoint, outgoing_request.path).parse().map_err(|e| failed(&e))?;
        let server = Server::of(&url).ok_or_else(|| failed(&"the participant's endpoint names no host"))?;
        let request = encode_request(&url, &outgoing_request)
            .map_err(|e| UpstreamError::limit(Stage::Dispatch, e, ErrorCode::InvalidRequest))?;
        let router = Router::new(QUEUE, self.memory.clone());
        let pending = router.open(outgoing_request.id.clone()).map_err(|e| failed(&e))?;
        let permit = self.connections.begin(self.serial);
        let permit = permit
            .ok_or_else(|| UpstreamError::limit(Stage::Dispatch, TOO_MANY_CALLS, ErrorCode::EndpointNotReachable))?;
        let cancellation = Arc::new(Cancellation::default());
        let call = DirectCall {
            id: outgoing_request.id,
            request,
            server,
            rule: self.rule,
            from_loopback: self.from_loopback,
            router,
            cancellation: cancellation.clone(),
            permit,
        };
        let spawned =
            thread::Builder::new().name("direct call".into()).stack_size(STACK_SIZE).spawn(move || call.run());
        spawned.map_err(|e| UpstreamError::limit(Stage::Dispatch, e, ErrorCode::InternalError))?;
        Ok((pending, Box::new(move || cancellation.cancel())))
    }
}

/// A request as it is written to the endpoint, head and body.
///
/// # Errors
/// When a header cannot be sent.
fn encode_request(url: &Uri, outgoing_request: &OutgoingRequest<'_>) -> Result<Vec<u8>, String> {
    let OutgoingRequest { method, headers, hops, body, .. } = outgoing_request;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = host_header(url);
    let own = [("host", host.as_str()), ("user-agent", USER_AGENT), ("accept", "*/*"), PLAIN, (HOPS, *hops)];
    let content_type = body.as_ref().filter(|body| !body.is_empty()).map(|_| ("content-type", "application/json"));
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers = own.into_iter().chain(content_type).chain(given);
    let length = body.as_ref().map(JsonParts::len);
    let mut request = request::encode_head(method, target, "", headers, length)
        .map_err(|name| format!("the header {name} has a value that cannot be sent"))?;
    let slices = || body.iter().flat_map(JsonParts::slices);
    request.reserve_exact(length.unwrap_or_default());
    slices().for_each(|slice| request.extend_from_slice(slice.as_bytes()));
    Ok(request)
}

/// Where and why a call failed.
struct CallFailure {
    stage: Stage,
    message: String,
}

/// One call, on a thread of its own.
struct DirectCall {
    id: Arc<str>,
    /// Head and body.
    request: Vec<u8>,
    server: Server,
    rule: AddressRule,
    from_loopback: bool,
    router: Router,
    cancellation: Arc<Cancellation>,
    permit: CallPermit,
}

impl DirectCall {
    fn run(self) {
        if let Err(CallFailure { stage, message }) = self.relay() {
            let message = cut(&message, MAX_ERROR_TEXT).to_owned();
            self.emit(Piece::Error { stage: stage.as_str().into(), message });
        }
    }

    fn emit(&self, piece: Piece) -> Routed {
        self.router.route(&self.id, piece)
    }

    /// Sends the request and emits its response piece by piece.
    fn relay(&self) -> Result<(), CallFailure> {
        let failed = |stage, what: &str, error: io::Error| CallFailure { stage, message: format!("{what}: {error}") };
        let exchanged = self.exchange();
        let (mut connection, head) =
            exchanged.map_err(|error| failed(Stage::Connect, "the endpoint does not answer", error))?;
        self.emit(head);
        let last = loop {
            let mut bytes = Vec::new();
            let read = connection.read(&mut bytes);
            let ended = read.map_err(|error| failed(Stage::Stream, "the endpoint's answer broke off", error))?;
            if ended {
                break bytes;
            }
            // A request that has ended reads no more; a connection with half a response left is not kept.
            if !bytes.is_empty() && self.router.pass_or_route(&self.id, bytes) != Routed::Delivered {
                return Ok(());
            }
        };
        // Kept before the end is emitted: the client's next request may follow at once. A cancellation that comes later must
        // not shut down the connection under that request.
        if self.cancellation.detach() {
            self.permit.keep(connection);
        }
        // Together: what the client is sent last, it is sent when the request is complete.
        let last = (!last.is_empty()).then_some(Piece::Chunk(last));
        self.router.route_all(&self.id, last.into_iter().chain([Piece::End]).collect());
        Ok(())
    }

    /// Sends the request; gives the connection, and the response's head.
    fn exchange(&self) -> io::Result<(ClientConnection, Piece)> {
        let connect = || connect(&self.server, self.rule, self.from_loopback);
        let mut connection = self.permit.idle().map_or_else(connect, Ok)?;
        loop {
            if !self.cancellation.attach(connection.stream()) {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the request was cancelled"));
            }
            match connection.send([&self.request, b""], start) {
                Ok(head) => return Ok((connection, head)),
                Err(_) if connection.was_stale() && !self.cancellation.is_cancelled() => connection = connect()?,
                Err(error) => return Err(error),
            }
        }
    }
}

fn start(answer: &ResponseHead<'_>) -> Piece {
    let text = |(name, value): (&str, &[u8])| (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into_owned());
    Piece::Start { status: answer.status, headers: answer.headers().map(text).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_are_cut_to_two_kibibytes_between_characters() {
        assert_eq!(cut("short", MAX_ERROR_TEXT), "short");
        let long = "x".to_owned() + &"ü".repeat(5000);
        let long = cut(&long, MAX_ERROR_TEXT);
        assert_eq!((long.len(), long.ends_with('ü')), (MAX_ERROR_TEXT - 1, true));
    }

    #[test]
    fn a_request_is_written_with_the_hubs_own_headers() {
        let text = |url: &str, method: &str, body: Option<&str>, version: &str| {
            let outgoing_request = OutgoingRequest {
                id: "r".into(),
                operation: "o",
                method,
                path: "",
                headers: &[("anthropic-version".into(), version.into())],
                hops: "a, b",
                body: body.map(|body| body.to_owned().into()),
                stream: false,
            };
            encode_request(&url.parse().unwrap(), &outgoing_request).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let own = format!("user-agent: {USER_AGENT}\r\naccept: */*\r\naccept-encoding: identity\r\n{HOPS}: a, b\r\n");
        assert_eq!(
            text("http://[::1]:8/v1/x?y=1", "POST", Some("{}"), "1").unwrap(),
            format!(
                "POST /v1/x?y=1 HTTP/1.1\r\nhost: [::1]:8\r\n{own}content-type: application/json\r\n\
                 anthropic-version: 1\r\ncontent-length: 2\r\n\r\n{{}}"
            )
        );
        let get = text("https://box/v1", "GET", None, "1").unwrap();
        assert_eq!(get, format!("GET /v1 HTTP/1.1\r\nhost: box\r\n{own}anthropic-version: 1\r\n\r\n"));
        assert!(text("https://box/v1", "POST", None, "1").unwrap().ends_with("content-length: 0\r\n\r\n"));
        assert!(text("https://box/v1", "GET", None, "1\r\nCookie: x").is_err());
    }
}
