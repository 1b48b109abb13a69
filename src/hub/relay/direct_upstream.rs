//! Calling participants of the legacy plane at the endpoints that they named, and the rule on which addresses.
//!
//! The rule is applied to the addresses that are connected to, at each connection: a name that leads elsewhere later
//! gains nothing, and redirects are not followed.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, Request, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::budget::Budget;
use crate::hub::relay::upstream::{CancelFn, OutgoingRequest, Transport, UpstreamError};
use crate::proto::management::ErrorCode;
use crate::proto::web::{HOPS, route_url};
use crate::state::policy::{DirectPolicy, Forbidden};
use crate::state::registry::Picked;
use crate::state::room::Reach;
use crate::tunnel::{PendingResponse, Piece, QueueLimits, Routed, Router};

const CONNECT: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;
/// The largest piece of an answer, in bytes.
const PIECE: usize = 16 << 10;
/// The longest error text, in bytes: each watcher's queue gets a copy.
const MAX_ERROR: usize = 2 << 10;
/// How much of an answer may wait for its client. Only the one answer waits with it.
const QUEUE: QueueLimits =
    QueueLimits { high: 1 << 20, low: 0, most: 2 << 20, wait: Duration::from_secs(600), within: Duration::ZERO };

/// Which addresses may be called.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    policy: DirectPolicy,
    /// Where the hub listens.
    own: SocketAddr,
}

impl Rule {
    /// Whether an address may be called for a participant that registered from loopback or not.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn check(self, address: SocketAddr, from_loopback: bool) -> Result<(), Forbidden> {
        self.policy.check(address.ip(), from_loopback)?;
        if self.is_own(address) { Err(Forbidden::Own) } else { Ok(()) }
    }

    /// Whether it is one that the hub listens on itself. A hub that listens on all interfaces has each address of its
    /// machine: those that a socket can be bound to.
    fn is_own(self, address: SocketAddr) -> bool {
        let (own, ip) = (self.own.ip().to_canonical(), address.ip().to_canonical());
        let all = own.is_unspecified() && (ip.is_loopback() || UdpSocket::bind((address.ip(), 0)).is_ok());
        address.port() == self.own.port() && (ip == own || all)
    }
}

/// The hub's connections to direct participants.
pub struct DirectUpstreams {
    rule: Rule,
    /// What answers that wait for their clients draw on.
    memory: Arc<Budget>,
    /// Idle ones, by member.
    pools: Arc<Pools>,
}

#[derive(Default)]
struct Pools(Mutex<HashMap<u64, Vec<Agent>>>);

impl Pools {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Agent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectUpstreams {
    pub(crate) fn new(policy: DirectPolicy, own: SocketAddr, memory: Arc<Budget>) -> Self {
        DirectUpstreams { rule: Rule { policy, own }, memory, pools: Arc::default() }
    }

    pub(crate) fn rule(&self) -> Rule {
        self.rule
    }

    /// Closes the connections to a participant that has left.
    pub(crate) fn forget(&self, serial: u64) {
        self.pools.lock().remove(&serial);
    }

    /// The way to a participant.
    pub(crate) fn transport(&self, picked: &Picked) -> DirectTransport {
        DirectTransport {
            rule: self.rule,
            memory: self.memory.clone(),
            pools: self.pools.clone(),
            serial: picked.serial,
            endpoint: picked.profile.endpoint.trim_end_matches('/').to_owned(),
            from_loopback: matches!(picked.reach, Reach::Direct { from_loopback: true }),
        }
    }
}

/// The way to one participant.
pub struct DirectTransport {
    rule: Rule,
    memory: Arc<Budget>,
    pools: Arc<Pools>,
    serial: u64,
    endpoint: String,
    from_loopback: bool,
}

impl Transport for DirectTransport {
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError> {
        let failed = |e: &dyn std::fmt::Display| UpstreamError::failed("dispatch", e, ErrorCode::EndpointNotReachable);
        let router = Router::new(QUEUE, self.memory.clone());
        let pending = router.open(&outgoing_request.id).map_err(|e| failed(&e))?;
        let pooled = self.pools.lock().entry(self.serial).or_default().pop();
        let agent = pooled.unwrap_or_else(|| agent(Checked { rule: self.rule, from_loopback: self.from_loopback }));
        let ticket = Arc::new(Ticket(Mutex::new(Some(agent.clone()))));
        let call = Call {
            id: outgoing_request.id.clone(),
            request: self.request(outgoing_request).map_err(|e| failed(&e))?,
            router,
            agent,
            ticket: ticket.clone(),
            pools: self.pools.clone(),
            serial: self.serial,
        };
        let spawned = thread::Builder::new().name("direct call".into()).stack_size(STACK).spawn(move || call.run());
        spawned.map_err(|e| failed(&e))?;
        let stop = move || {
            if let Some(agent) = ticket.take() {
                agent.shutdown();
            }
        };
        Ok((pending, Box::new(stop)))
    }
}

impl DirectTransport {
    fn request(&self, outgoing_request: OutgoingRequest<'_>) -> Result<Request<Option<String>>, ureq::http::Error> {
        let url = route_url(&self.endpoint, outgoing_request.path);
        let mut request = Request::builder().method(outgoing_request.method).uri(url);
        for (name, value) in outgoing_request.headers {
            request = request.header(name, value);
        }
        request = request.header(HOPS, outgoing_request.hops);
        if outgoing_request.body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        request.body(outgoing_request.body)
    }
}

/// Whose a call's connection is, to be taken once: by whoever stops the call, to shut it down, or by the call itself at
/// its end, to put it back. A late stop must not shut down the next call's connection.
struct Ticket(Mutex<Option<Agent>>);

impl Ticket {
    fn take(&self) -> Option<Agent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One call, on a thread of its own.
struct Call {
    id: String,
    request: Request<Option<String>>,
    router: Router,
    agent: Agent,
    ticket: Arc<Ticket>,
    pools: Arc<Pools>,
    serial: u64,
}

impl Call {
    fn run(self) {
        let Call { id, request, router, agent, ticket, pools, serial } = self;
        let tell = |piece| router.route(&id, piece);
        let failed = |stage: &str, message: String| {
            tell(Piece::Error { stage: stage.into(), message: cut(message) });
        };
        let answer = match send(&agent, request) {
            Ok(answer) => answer,
            Err(error) => return failed("connect", format!("the endpoint does not answer: {error}")),
        };
        tell(Piece::Start { status: answer.status().as_u16(), headers: headers(answer.headers()) });
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            match body.read(&mut piece) {
                Ok(0) => break,
                // Nobody waits for it any more: the connection is not worth keeping with an answer half read.
                Ok(n) if tell(Piece::Chunk(piece[..n].to_vec())) != Routed::Delivered => return,
                Ok(_) => {}
                Err(error) => return failed("stream", format!("the endpoint's answer broke off: {error}")),
            }
        }
        drop(body);
        // Before the end is told: whoever hears of it may call again at once.
        if let Some(agent) = ticket.take() {
            // Of a participant that has left meanwhile there is no pool any more.
            if let Some(pool) = pools.lock().get_mut(&serial) {
                pool.push(agent);
            }
        }
        tell(Piece::End);
    }
}

/// Cuts an error's text, which may hold what the endpoint said.
fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn send(agent: &Agent, request: Request<Option<String>>) -> Result<ureq::http::Response<Body>, ureq::Error> {
    let (parts, body) = request.into_parts();
    match body {
        Some(body) => agent.run(Request::from_parts(parts, body)),
        None if parts.method == "POST" => agent.run(Request::from_parts(parts, "")),
        None => agent.run(Request::from_parts(parts, ())),
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// Deadlines for the answer are the request's own business; here is only the one for connecting.
fn agent(resolver: Checked) -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .accept_encoding("")
        .max_response_header_size(64 << 10)
        .user_agent(concat!("gambi/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), resolver)
}

/// Finds a host's addresses, and leaves only those that may be called.
#[derive(Debug)]
struct Checked {
    rule: Rule,
    from_loopback: bool,
}

impl Resolver for Checked {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        let mut why = None;
        for address in found.iter() {
            match self.rule.check(*address, self.from_loopback) {
                Ok(()) => allowed.push(*address),
                Err(forbidden) => why = Some(forbidden),
            }
        }
        match why.filter(|_| allowed.is_empty()) {
            None => Ok(allowed),
            Some(why) => Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, why.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_own_sockets_are_not_called() {
        let check = |own: &str, address: &str| {
            let rule = Rule { policy: DirectPolicy::Private, own: own.parse().unwrap() };
            rule.check(address.parse().unwrap(), true)
        };
        for (own, address) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("127.0.0.1:3000", "[::ffff:127.0.0.1]:3000"),
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("0.0.0.0:3000", "127.8.9.1:3000"),
            ("[::]:3000", "[::1]:3000"),
            ("[::]:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(check(own, address), Err(Forbidden::Own), "{address} on {own}");
        }
        for (own, address) in [
            ("127.0.0.1:3000", "127.0.0.1:3001"),
            ("127.0.0.1:3000", "127.0.0.2:3000"),
            // Of no machine that runs these tests.
            ("0.0.0.0:3000", "10.255.254.253:3000"),
        ] {
            assert_eq!(check(own, address), Ok(()), "{address} on {own}");
        }
    }

    #[test]
    fn error_texts_are_cut_to_two_kibibytes_between_characters() {
        assert_eq!(cut("short".into()), "short");
        let long = cut("x".to_owned() + &"ü".repeat(5000));
        assert_eq!((long.len(), long.ends_with('ü')), (MAX_ERROR - 1, true));
    }
}
