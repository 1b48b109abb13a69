//! An answer that passes as it came: whole, or piece by piece.

use std::io;

use super::leg::{End, Leg};
use super::out::{Headers, Out, stream_headers};
use super::run::Run;
use crate::proto::web::is_hop_by_hop;
use crate::tunnel::Piece;

/// How much of a whole answer is kept back to send it with its length. A longer one goes out in chunks.
const WHOLE: usize = 256 << 10;

/// The provider's head, as the client is to see it.
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Without those of the provider's own connection.
    pub headers: Headers,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

impl Head {
    /// Whether the provider calls its answer a stream of events; without a word of it, whether one was asked for.
    pub fn is_event_stream(&self) -> bool {
        let line = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        line.map_or(self.stream, |(_, kind)| kind.trim().to_ascii_lowercase().starts_with("text/event-stream"))
    }
}

/// Passes an answer on. What it gives back is whether the client's connection is still good.
///
/// # Errors
/// How the answer ended before its time.
pub fn pass(run: &mut Run<'_>, out: &mut Out<'_, '_>, leg: &mut Leg, head: Head) -> Result<io::Result<()>, End> {
    let events = head.is_event_stream();
    if head.status < 400 && (events || (head.stream && !out.is_open())) {
        let headers = if events { stream_headers(head.headers) } else { head.headers };
        stream(run, out, leg, head.status, &headers, Vec::new())
    } else {
        whole(run, out, leg, &head)
    }
}

/// Collects a short answer to send it with its length; a long one goes on as a stream of chunks.
fn whole(run: &mut Run<'_>, out: &mut Out<'_, '_>, leg: &mut Leg, head: &Head) -> Result<io::Result<()>, End> {
    let mut body = Vec::new();
    loop {
        match leg.next("stream", out, &run.shared.patience)? {
            Piece::Chunk(bytes) => run.take(&mut body, bytes),
            Piece::Start { .. } => {}
            _ => {
                run.complete(head.status);
                return Ok(out.respond(head.status, &head.headers, &body));
            }
        }
        // Where there is no memory to hold it back, it goes out in chunks.
        if body.len() > WHOLE || !out.hold(body.capacity()) {
            return stream(run, out, leg, head.status, &head.headers, body);
        }
    }
}

/// Passes pieces on as they come; what is ready goes out together, what is alone goes at once.
fn stream(
    run: &mut Run<'_>,
    out: &mut Out<'_, '_>,
    leg: &mut Leg,
    status: u16,
    headers: &Headers,
    mut piece: Vec<u8>,
) -> Result<io::Result<()>, End> {
    out.open(status, headers)?;
    out.passing();
    loop {
        out.write(&piece)?;
        piece.clear();
        match ready(run, out, leg, &mut piece) {
            Ok(false) => {}
            Ok(true) => {
                run.complete(status);
                return Ok(out.write(&piece).map_err(|_| super::out::cut_short()).and_then(|()| out.finish()));
            }
            Err(end) => {
                // What came before the break still belongs to the client.
                let _ = out.write(&piece);
                return Err(end);
            }
        }
    }
}

/// Waits for a piece and takes all others that are ready too. True when the answer is over.
fn ready(run: &mut Run<'_>, out: &mut Out<'_, '_>, leg: &mut Leg, piece: &mut Vec<u8>) -> Result<bool, End> {
    loop {
        match leg.next("stream", out, &run.shared.patience)? {
            Piece::Chunk(bytes) => run.take(piece, bytes),
            Piece::End => return Ok(true),
            _ => {}
        }
        if leg.is_empty() || piece.len() > WHOLE || !out.hold(piece.capacity()) {
            return Ok(false);
        }
    }
}

/// The provider's headers without those that concern its own connection (RFC 9110, section 7.6.1), its body's framing,
/// or what the hub says itself.
pub fn passed_on(headers: &Headers) -> Headers {
    const OWN: [&str; 3] = ["date", "proxy-authorization", "server"];
    let dropped = |name: &str| {
        let own = OWN.contains(&name) || name.starts_with("access-control-") || name.starts_with("x-gambi-");
        own || is_hop_by_hop(name)
    };
    headers.iter().filter(|(name, _)| !dropped(&name.to_ascii_lowercase())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_concerns_a_connection_stays_on_it() {
        let given = headers(&[
            ("Transfer-Encoding", "chunked"),
            ("content-type", "text/plain"),
            ("Date", "x"),
            ("X-Own", "1"),
            ("access-control-allow-origin", "http://evil"),
        ]);
        assert_eq!(passed_on(&given), headers(&[("content-type", "text/plain"), ("X-Own", "1")]));
    }

    #[test]
    fn a_stream_is_what_the_provider_calls_one() {
        let head = |kind: Option<&str>, stream| Head {
            status: 200,
            headers: kind.map(|kind| ("Content-Type".to_owned(), kind.to_owned())).into_iter().collect(),
            stream,
        };
        assert!(head(Some("text/event-stream; charset=utf-8"), false).is_event_stream());
        assert!(!head(Some("application/json"), true).is_event_stream());
        assert!(head(None, true).is_event_stream() && !head(None, false).is_event_stream());
    }
}
