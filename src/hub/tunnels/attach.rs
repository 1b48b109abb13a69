//! A participant's tunnel from the token check to its last frame. The connection's thread becomes the tunnel's own. Framing is
//! `crate::tunnel`'s.

use std::io;
use std::sync::Arc;

use crate::budget::Share;
use crate::http::{Exchange, Upgrade};
use crate::hub::access::credentials::wrong_token;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams, query_param};
use crate::hub::respond::Rejection;
use crate::hub::tunnels::tunnel::{Tunnel, TunnelFeatures};
use crate::proto::tunnel::{
    BODIES_BINARY, BODIES_HEADER, CLOSE_NORMAL, FRAMES_BINARY, FRAMES_HEADER, MAX_TO_HUB, PAUSE_HEADER, PAUSE_ON,
    SUPERSEDED,
};
use crate::tunnel::{self, HandshakeError, LostReason, Reader, Received, TunnelEnds, TunnelLimits};

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
    Ok(Attachment { hub, code, id, features }.serve(upgrade, memory))
}

/// A participant that attaches its tunnel.
struct Attachment<'a> {
    hub: &'a HubContext,
    /// The room's code.
    code: &'a str,
    /// The participant's id.
    id: &'a str,
    features: TunnelFeatures,
}

impl Attachment<'_> {
    /// Serves the tunnel until it has ended. `memory` is for its long messages.
    fn serve(&self, upgrade: Upgrade, memory: Share) -> io::Result<()> {
        let limits = TunnelLimits { max_message: MAX_TO_HUB, ..TunnelLimits::default() };
        let TunnelEnds { reader, writer } = tunnel::serve(upgrade.stream, upgrade.read_ahead, limits)?;
        let ends = TunnelEnds { reader: reader.with_memory(memory), writer: writer.clone() };
        let mut opened = None;
        let sent = writer.send_upgrade(&upgrade.head, || opened = Some(self.open(ends)));
        match opened {
            Some(Ok(open)) => {
                if let Some(old) = &open.superseded {
                    let reason = format!("{SUPERSEDED} by a newer tunnel of the same participant");
                    old.close(CLOSE_NORMAL, &reason, LostReason::Closed);
                }
                if sent.is_ok() {
                    open.tunnel.read();
                }
                self.close(&open);
            }
            Some(Err(mut reader)) => {
                writer.close(CLOSE_NORMAL, "The participant was removed");
                // Until the participant has answered: without a reader the connection is cut off, and it would register again.
                while reader.read(|_| ()).is_ok_and(|received| !matches!(received, Received::Closed { .. })) {}
            }
            None => {}
        }
        Ok(())
    }

    /// Opens the tunnel in the registry and inserts it among the tunnels, under the registry's lock, so that no request finds one
    /// without the other.
    ///
    /// # Errors
    /// The reader, if the participant has been removed meanwhile.
    fn open(&self, ends: TunnelEnds) -> Result<OpenTunnel, Box<Reader>> {
        let Attachment { hub, code, id, features } = *self;
        hub.try_change(|registry, now| {
            let Ok((opened, events)) = registry.open_tunnel(code, id, now) else { return Err(Box::new(ends.reader)) };
            let (traffic, memory) = (hub.metrics.traffic.clone(), hub.memory.clone());
            let tunnel = Arc::new(Tunnel::new(&opened, ends, features, traffic, memory, hub.clock.clone()));
            let superseded = hub.tunnels.insert(opened.serial, tunnel.clone());
            Ok((OpenTunnel { serial: opened.serial, number: opened.tunnel, tunnel, superseded }, events))
        })
    }

    fn close(&self, open: &OpenTunnel) {
        self.hub.tunnels.remove(open.serial, &open.tunnel);
        // The registry first: a request that fails releases its slot, which must not be granted to a waiting one.
        self.hub.change(|registry, now| ((), registry.close_tunnel(self.code, self.id, open.number, now)));
        open.tunnel.fail_requests();
    }
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;
    use crate::http::Listener;
    use crate::hub::observe::log::Logger;
    use crate::hub::observe::usage_file::UsageLog;
    use crate::hub::options::HubOptions;
    use crate::net::io::socket_pair;

    #[test]
    fn a_participant_that_is_removed_while_its_tunnel_opens_is_told_so() {
        let options = HubOptions::default();
        let listener = Listener::bind("127.0.0.1:0", options.limits.clone()).unwrap();
        let (log, usage) = (Logger::start(None).unwrap(), UsageLog::start(None).unwrap());
        let hub = HubContext::new(&options, &listener, log, usage);
        let (mut participant, socket) = socket_pair();
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let upgrade = Upgrade { stream: Arc::new(socket.into()), read_ahead: Vec::new(), head: head.to_vec() };
        let features = TunnelFeatures { binary: false, bodies: false, pause: false };
        let reason = b"The participant was removed";
        // A close frame with the status 1000.
        let frame = [&[0x88, 2 + reason.len() as u8, 0x03, 0xe8], &reason[..]].concat();
        thread::scope(|scope| {
            let attachment = Attachment { hub: &hub, code: "ABC234", id: "ann", features };
            scope.spawn(move || attachment.serve(upgrade, attachment.hub.memory.share()).unwrap());
            let mut received = vec![0; head.len() + frame.len()];
            participant.read_exact(&mut received).unwrap();
            assert_eq!(received, [&head[..], &frame].concat());
            drop(participant);
        });
    }
}
