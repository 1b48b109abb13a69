//! A participant's tunnel, from the token check to its last frame: the thread that reads it lives here.

use std::io;
use std::sync::Arc;

use crate::budget::Share;
use crate::http::{Exchange, Upgrade};
use crate::hub::access::credentials::wrong_token;
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params, query_param};
use crate::hub::respond::Rejection;
use crate::hub::tunnels::registry::{Agreed, Tunnel};
use crate::proto::tunnel::{
    CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, FromParticipant, MAX_TO_HUB, PAUSE_HEADER, PAUSE_ON, SUPERSEDED,
    ToParticipant, decode_binary, decode_from_participant, encode, plain_chunk,
};
use crate::state::registry::Missing;
use crate::tunnel::{self, HandshakeError, LostReason, Piece, Reader, Received, Routed, TunnelLimits};

/// Bytes of an answer that are coalesced into one batch; what comes with the last message may be more.
const LARGE: usize = 64 << 10;

/// `GET /v1/rooms/{code}/participants/{id}/tunnel?token=T`. Returns when the tunnel is gone.
pub fn attach(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let (code, id) = (&params[0], &params[1]);
    let token = query_param(exchange.query(), "token").filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| {
        Rejection::invalid("The tunnel token is missing")
            .hint("Add ?token= with the token that the registration returned.")
    })?;
    // The handshake is checked first: a token is not spent on a request that can't become a tunnel.
    let accept = tunnel::accept(exchange.is_http11(), |name| exchange.header_lines(name))
        .map_err(|error| no_handshake(exchange, error))?;
    let now = hub.clock.now();
    // Whether the room or the participant is there is nobody's business who has no token.
    if !hub.registry().spend_token(code, id, &token, now).unwrap_or(false) {
        let refused = Rejection::invalid("The tunnel token is wrong, was used before, or is older than 60 s")
            .status(401)
            .hint("Register the participant again for a fresh token.");
        return Err(wrong_token(hub, exchange, code, &token, refused));
    }
    let asks = |name: &str, value: &str| query_param(exchange.query(), name).as_deref() == Some(value);
    let agreed = Agreed { binary: asks("frames", FRAMES_BINARY), pause: asks("pause", PAUSE_ON) };
    let mut headers =
        vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept.as_str())];
    if agreed.binary {
        headers.push((FRAMES_HEADER, FRAMES_BINARY));
    }
    if agreed.pause {
        headers.push((PAUSE_HEADER, PAUSE_ON));
    }
    let memory = exchange.share();
    let upgrade = exchange.upgrade(&headers);
    Ok(serve(hub, (code, id), (upgrade, memory), agreed))
}

fn serve(
    hub: &HubContext,
    (code, id): (&str, &str),
    (upgrade, memory): (Upgrade, Share),
    agreed: Agreed,
) -> io::Result<()> {
    let limits = TunnelLimits { max_message: MAX_TO_HUB, ..TunnelLimits::default() };
    let (reader, writer) = tunnel::serve(upgrade.stream, upgrade.read_ahead, limits)?;
    let mut opened = None;
    let sent = writer.send_upgrade(&upgrade.head, || opened = Some(open(hub, code, id, &writer, agreed)));
    match opened {
        Some(Ok((serial, number, tunnel, old))) => {
            if let Some(old) = old {
                let reason = format!("{SUPERSEDED} by a newer tunnel of the same participant");
                old.close(CLOSE_NORMAL, &reason, LostReason::Closed);
            }
            if sent.is_ok() {
                read(hub, reader.with_memory(memory), &tunnel);
            }
            close(hub, (code, id), (serial, number), &tunnel);
        }
        _ => writer.close(CLOSE_NORMAL, "The participant was removed"),
    }
    Ok(())
}

/// The member's number, the tunnel's, the tunnel, and the one that it supersedes.
type Opened = (u64, u64, Arc<Tunnel>, Option<Arc<Tunnel>>);

/// The refusal of a request that is no handshake. With 426 goes what to ask for (RFC 9110, section 15.5.22; RFC 6455,
/// section 4.4).
fn no_handshake(exchange: &mut Exchange<'_>, error: HandshakeError) -> Rejection {
    if error.status() == 426 {
        exchange.add_header("Upgrade", "websocket");
        exchange.add_header("Sec-WebSocket-Version", "13");
    }
    Rejection::invalid(error.to_string()).status(error.status())
}

/// Puts the tunnel in place, in the registry and among the tunnels at once, so that no request finds one without the
/// other.
fn open(hub: &HubContext, code: &str, id: &str, writer: &tunnel::Writer, agreed: Agreed) -> Result<Opened, Missing> {
    hub.try_change(|registry, now| {
        let (opened, events) = registry.open_tunnel(code, id, now)?;
        let (traffic, memory) = (hub.metrics.traffic.clone(), hub.memory.clone());
        let tunnel = Arc::new(Tunnel::new(&opened, writer.clone(), traffic, (agreed, memory), now));
        let old = hub.tunnels.insert(opened.serial, tunnel.clone());
        Ok(((opened.serial, opened.tunnel, tunnel, old), events))
    })
}

fn close(hub: &HubContext, (code, id): (&str, &str), (serial, number): (u64, u64), tunnel: &Tunnel) {
    hub.tunnels.remove(serial, tunnel);
    // The registry first: a request that fails gives its place to whoever waits for it.
    hub.change(|registry, now| ((), registry.close_tunnel(code, id, number, now)));
    tunnel.router.fail_all(LostReason::Closed);
}

/// Reads the tunnel until it ends.
fn read(hub: &HubContext, mut reader: Reader, tunnel: &Tunnel) {
    let mut coalescer = Coalescer::new(tunnel);
    loop {
        // Whatever is ready is handed over before it waits for more.
        if !reader.has_buffered_frame() {
            coalescer.hand_over();
        }
        let incoming = reader.read();
        let now = hub.clock.now();
        match incoming {
            Ok(Received::Text(text)) => {
                tunnel.note(text.len(), now);
                text_message(&mut coalescer, text, now.wall);
            }
            Ok(Received::Binary(bytes)) => {
                tunnel.note(bytes.len(), now);
                if tunnel.agreed.binary {
                    binary_message(&mut coalescer, bytes);
                }
            }
            Ok(Received::KeepAlive) => tunnel.note(0, now),
            Ok(Received::Closed { .. }) | Err(_) => return coalescer.hand_over(),
        }
    }
}

/// A message that can't be read is dropped, as an unknown one is: it may be newer than this hub.
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
        // A tunnel that can't be written to is aborted by its writer, and the next read ends.
        FromParticipant::Ping => drop(coalescer.tunnel.write(&[&encode(&ToParticipant::Pong { timestamp: wall })])),
        FromParticipant::Unknown => {}
    }
}

fn binary_message(coalescer: &mut Coalescer<'_>, message: &[u8]) {
    if let Ok((request_id, bytes)) = decode_binary(message) {
        coalescer.chunk(request_id).extend_from_slice(bytes);
    }
}

/// What has been read of one answer and not been handed over yet: its request is woken once for all of it.
struct Coalescer<'t> {
    tunnel: &'t Tunnel,
    request_id: String,
    pieces: Vec<Piece>,
    /// What the pieces weigh.
    weight: usize,
    /// Bytes of the body behind the pieces.
    bytes: Vec<u8>,
}

impl<'t> Coalescer<'t> {
    fn new(tunnel: &'t Tunnel) -> Self {
        Coalescer { tunnel, request_id: String::new(), pieces: Vec::new(), weight: 0, bytes: Vec::new() }
    }

    fn add(&mut self, request_id: &str, piece: Piece) {
        self.turn_to(request_id);
        self.seal();
        self.push(piece);
    }

    /// Where more bytes of a request's answer are to be put.
    fn chunk(&mut self, request_id: &str) -> &mut Vec<u8> {
        self.turn_to(request_id);
        &mut self.bytes
    }

    /// Hands over what belongs to another request, and what is enough by itself.
    fn turn_to(&mut self, request_id: &str) {
        if self.request_id != request_id {
            self.hand_over();
            request_id.clone_into(&mut self.request_id);
        } else if self.weight + self.bytes.len() >= LARGE {
            self.hand_over();
        }
    }

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
