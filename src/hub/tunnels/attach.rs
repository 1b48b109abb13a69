//! A participant's tunnel from the token check to its last frame. The connection's thread becomes the tunnel's reader, which
//! routes each message to its request's queue. Framing is `tunnel`'s.

use std::io;
use std::sync::Arc;

use crate::budget::Share;
use crate::http::{Exchange, Upgrade};
use crate::hub::access::credentials::wrong_token;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams, query_param};
use crate::hub::respond::Rejection;
use crate::hub::tunnels::registry::{Tunnel, TunnelFeatures};
use crate::proto::tunnel::{
    BODIES_BINARY, BODIES_HEADER, CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, FromParticipant, MAX_TO_HUB,
    PAUSE_HEADER, PAUSE_ON, SUPERSEDED, ToParticipant, decode_binary, decode_from_participant, encode, plain_chunk,
};
use crate::state::registry::Missing;
use crate::tunnel::{self, HandshakeError, LostReason, Piece, Reader, Received, Routed, TunnelLimits};

/// The bytes of one response after which a batch is handed over. The last message of a batch may exceed it.
const BATCH_BYTES: usize = 64 << 10;

/// `GET /v1/rooms/{code}/participants/{id}/tunnel?token=T`. Returns when the tunnel has ended.
pub fn attach(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let (code, id) = (&params[0], &params[1]);
    let token = query_param(exchange.query(), "token").filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| {
        Rejection::invalid("The tunnel token is missing")
            .hint("Add ?token= with the token that the registration returned.")
    })?;
    // The handshake is checked first: a request that cannot become a tunnel must not use the token up.
    let accept = tunnel::accept(exchange.is_http11(), |name| exchange.header_lines(name))
        .map_err(|error| bad_handshake(exchange, error))?;
    let now = hub.clock.now();
    // An unknown room or participant gets the same error, so that its existence is not revealed without a token.
    if !hub.registry().spend_token(code, id, &token, now).unwrap_or(false) {
        let rejection = Rejection::invalid("The tunnel token is wrong, was used before, or is older than 60 s")
            .status(401)
            .hint("Register the participant again for a fresh token.");
        return Err(wrong_token(hub, exchange, code, &token, rejection));
    }
    let offers = |name: &str, value: &str| query_param(exchange.query(), name).as_deref() == Some(value);
    let binary = offers("frames", FRAMES_BINARY);
    let bodies = binary && offers("bodies", BODIES_BINARY);
    let features = TunnelFeatures { binary, bodies, pause: offers("pause", PAUSE_ON) };
    let mut headers =
        vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept.as_str())];
    if features.binary {
        headers.push((FRAMES_HEADER, FRAMES_BINARY));
    }
    if features.bodies {
        headers.push((BODIES_HEADER, BODIES_BINARY));
    }
    if features.pause {
        headers.push((PAUSE_HEADER, PAUSE_ON));
    }
    let memory = exchange.share();
    let upgrade = exchange.upgrade(&headers);
    Ok(serve(hub, (code, id), (upgrade, memory), features))
}

fn serve(
    hub: &HubContext,
    (code, id): (&str, &str),
    (upgrade, memory): (Upgrade, Share),
    features: TunnelFeatures,
) -> io::Result<()> {
    let limits = TunnelLimits { max_message: MAX_TO_HUB, ..TunnelLimits::default() };
    let (reader, writer) = tunnel::serve(upgrade.stream, upgrade.read_ahead, limits)?;
    let mut opened = None;
    let sent = writer.send_upgrade(&upgrade.head, || opened = Some(open(hub, code, id, &writer, features)));
    match opened {
        Some(Ok(open)) => {
            if let Some(old) = &open.superseded {
                let reason = format!("{SUPERSEDED} by a newer tunnel of the same participant");
                old.close(CLOSE_NORMAL, &reason, LostReason::Closed);
            }
            if sent.is_ok() {
                read(hub, reader.with_memory(memory), &open.tunnel);
            }
            close(hub, (code, id), &open);
        }
        _ => writer.close(CLOSE_NORMAL, "The participant was removed"),
    }
    Ok(())
}

/// A tunnel that has been opened.
struct OpenTunnel {
    /// The member's number.
    serial: u64,
    /// The tunnel's number.
    number: u64,
    tunnel: Arc<Tunnel>,
    /// The member's earlier tunnel, which must be closed.
    superseded: Option<Arc<Tunnel>>,
}

/// The rejection of a request that is no valid handshake. A 426 says which upgrade is needed (RFC 9110, section 15.5.22;
/// RFC 6455, section 4.4).
fn bad_handshake(exchange: &mut Exchange<'_>, error: HandshakeError) -> Rejection {
    if error.status() == 426 {
        exchange.add_header("Upgrade", "websocket");
        exchange.add_header("Sec-WebSocket-Version", "13");
    }
    Rejection::invalid(error.to_string()).status(error.status())
}

/// Opens the tunnel in the registry and inserts it among the tunnels, under the registry's lock, so that no request finds one
/// without the other.
fn open(
    hub: &HubContext,
    code: &str,
    id: &str,
    writer: &tunnel::Writer,
    features: TunnelFeatures,
) -> Result<OpenTunnel, Missing> {
    hub.try_change(|registry, now| {
        let (opened, events) = registry.open_tunnel(code, id, now)?;
        let (traffic, memory) = (hub.metrics.traffic.clone(), hub.memory.clone());
        let tunnel = Arc::new(Tunnel::new(&opened, writer.clone(), traffic, (features, memory), now));
        let superseded = hub.tunnels.insert(opened.serial, tunnel.clone());
        Ok((OpenTunnel { serial: opened.serial, number: opened.tunnel, tunnel, superseded }, events))
    })
}

fn close(hub: &HubContext, (code, id): (&str, &str), open: &OpenTunnel) {
    hub.tunnels.remove(open.serial, &open.tunnel);
    // The registry first: a request that fails releases its slot, which must not be granted to a waiting one.
    hub.change(|registry, now| ((), registry.close_tunnel(code, id, open.number, now)));
    open.tunnel.router.fail_all(LostReason::Closed);
}

/// Reads the tunnel until it ends.
fn read(hub: &HubContext, mut reader: Reader, tunnel: &Tunnel) {
    let mut coalescer = Coalescer::new(tunnel);
    loop {
        // All that is ready is handed over before the read can block.
        if !reader.has_buffered_frame() {
            coalescer.hand_over();
        }
        let incoming = reader.read();
        let now = hub.clock.now();
        match incoming {
            Ok(Received::Text(text)) => {
                tunnel.record_message(text.len(), now);
                text_message(&mut coalescer, text, now.wall);
            }
            Ok(Received::Binary(bytes)) => {
                tunnel.record_message(bytes.len(), now);
                if tunnel.features.binary {
                    binary_message(&mut coalescer, bytes);
                }
            }
            // A hub expects no bodies.
            Ok(Received::Body(_) | Received::KeepAlive) => tunnel.record_message(0, now),
            Ok(Received::Closed { .. }) | Err(_) => return coalescer.hand_over(),
        }
    }
}

/// Handles a text message. One that cannot be decoded is dropped like one of an unknown type: the participant may be newer
/// than this hub.
fn text_message(coalescer: &mut Coalescer<'_>, text: &str, wall: u64) {
    if let Some(chunk) = plain_chunk(text) {
        let _sound = chunk.decode(coalescer.chunk(chunk.request_id));
        return;
    }
    let Ok(message) = decode_from_participant(text) else {
        return;
    };
    match message {
        FromParticipant::Start { request_id, status, headers } => {
            coalescer.add(&request_id, Piece::Start { status, headers });
        }
        FromParticipant::Chunk { request_id, bytes } => coalescer.chunk(&request_id).extend_from_slice(&bytes),
        FromParticipant::End { request_id } => coalescer.add(&request_id, Piece::End),
        FromParticipant::Error { request_id, stage, message } => {
            coalescer.add(&request_id, Piece::Error { stage, message });
        }
        // After a write error the writer aborts the tunnel, and the next read fails.
        FromParticipant::Ping => drop(coalescer.tunnel.write(&[&encode(&ToParticipant::Pong { timestamp: wall })])),
        FromParticipant::Unknown => {}
    }
}

fn binary_message(coalescer: &mut Coalescer<'_>, message: &[u8]) {
    if let Ok((request_id, bytes)) = decode_binary(message) {
        coalescer.chunk(request_id).extend_from_slice(bytes);
    }
}

/// Coalesces consecutive pieces of one response into a batch, so that the request is woken once per batch.
struct Coalescer<'t> {
    tunnel: &'t Tunnel,
    request_id: String,
    pieces: Vec<Piece>,
    /// Memory that the pieces take, in bytes.
    weight: usize,
    /// Body bytes that follow the pieces and are not yet a piece.
    bytes: Vec<u8>,
}

impl<'t> Coalescer<'t> {
    fn new(tunnel: &'t Tunnel) -> Self {
        Coalescer { tunnel, request_id: String::new(), pieces: Vec::new(), weight: 0, bytes: Vec::new() }
    }

    /// Adds a piece other than a chunk.
    fn add(&mut self, request_id: &str, piece: Piece) {
        self.switch_to(request_id);
        self.seal();
        self.push(piece);
    }

    /// The buffer to which a chunk of a request's response is appended.
    fn chunk(&mut self, request_id: &str) -> &mut Vec<u8> {
        self.switch_to(request_id);
        &mut self.bytes
    }

    /// Passes the batch on if it belongs to another request, or is large enough.
    fn switch_to(&mut self, request_id: &str) {
        if self.request_id != request_id {
            self.hand_over();
            request_id.clone_into(&mut self.request_id);
        } else if self.weight + self.bytes.len() >= BATCH_BYTES {
            self.hand_over();
        }
    }

    /// Makes a piece of the body bytes.
    fn seal(&mut self) {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.push(Piece::Chunk(bytes));
        }
    }

    fn push(&mut self, piece: Piece) {
        self.weight += piece.weight();
        self.pieces.push(piece);
    }

    /// Routes the batch to its request. If the request has ended, sends the participant a cancel.
    fn hand_over(&mut self) {
        self.seal();
        self.weight = 0;
        if self.pieces.is_empty() {
            return;
        }
        let pieces = std::mem::take(&mut self.pieces);
        if let Routed::Ended(_) = self.tunnel.router.route_all(&self.request_id, pieces) {
            self.tunnel.cancel(&self.request_id);
        }
    }
}
