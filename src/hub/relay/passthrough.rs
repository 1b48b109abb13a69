//! An answer that passes as it came: whole, or piece by piece.

use std::io;

use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::{ClientResponse, Headers, stream_headers};
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
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
pub fn pass(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    head: Head,
) -> Result<io::Result<()>, UpstreamError> {
    let events = head.is_event_stream();
    if head.status < 400 && (events || (head.stream && !out.is_open())) {
        let headers = if events { stream_headers(head.headers) } else { head.headers };
        stream(run, out, upstream, head.status, &headers, Vec::new())
    } else {
        whole(run, out, upstream, &head)
    }
}

/// Collects a short answer to send it with its length; a long one goes on as a stream of chunks.
fn whole(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    head: &Head,
) -> Result<io::Result<()>, UpstreamError> {
    let mut body = Vec::new();
    loop {
        match upstream.next("stream", out, &run.hub.timeouts)? {
            Piece::Chunk(bytes) => run.take(&mut body, bytes),
            Piece::Start { .. } => {}
            _ => {
                run.complete(head.status);
                return Ok(out.respond(head.status, &head.headers, &body));
            }
        }
        // Where there is no memory to hold it back, it goes out in chunks.
        if body.len() > WHOLE || !out.hold(body.capacity()) {
            return stream(run, out, upstream, head.status, &head.headers, body);
        }
    }
}

/// Passes pieces on as they come; what is ready goes out together, what is alone goes at once.
fn stream(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    status: u16,
    headers: &Headers,
    mut piece: Vec<u8>,
) -> Result<io::Result<()>, UpstreamError> {
    out.open(status, headers)?;
    out.passing();
    loop {
        out.write(&piece)?;
        piece.clear();
        match ready(run, out, upstream, &mut piece) {
            Ok(false) => {}
            Ok(true) => {
                run.complete(status);
                return Ok(out
                    .write(&piece)
                    .map_err(|_| crate::hub::relay::client_response::cut_short())
                    .and_then(|()| out.finish()));
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
fn ready(
    run: &mut Attempt<'_>,
    out: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    piece: &mut Vec<u8>,
) -> Result<bool, UpstreamError> {
    loop {
        match upstream.next("stream", out, &run.hub.timeouts)? {
            Piece::Chunk(bytes) => run.take(piece, bytes),
            Piece::End => return Ok(true),
            _ => {}
        }
        if upstream.is_empty() || piece.len() > WHOLE || !out.hold(piece.capacity()) {
            return Ok(false);
        }
    }
}

/// What concerns the hub's own connection, or what the hub says itself.
const OWN: [&str; 5] = ["content-security-policy", "date", "proxy-authorization", "server", "x-content-type-options"];

/// What a browser would take for word of the hub's origin, where the dashboard lives: what is kept there, which scripts
/// may run, where to go next, whom to show credentials, whom to report to.
const ORIGIN_WIDE: [&str; 30] = [
    "accept-ch",
    "activate-storage-access",
    "alt-svc",
    "clear-site-data",
    "content-location",
    "content-security-policy-report-only",
    "critical-ch",
    "document-policy",
    "expect-ct",
    "feature-policy",
    "link",
    "location",
    "nel",
    "origin-agent-cluster",
    "permissions-policy",
    "public-key-pins",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "timing-allow-origin",
    "www-authenticate",
    "x-frame-options",
    "x-sourcemap",
];

/// The provider's headers without those that concern its own connection, among them all that its `Connection` names
/// (RFC 9110, section 7.6.1), its body's framing, and the hub's origin, or that the hub says itself.
pub fn passed_on(headers: &Headers) -> Headers {
    let connection = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let options: Vec<&str> = connection.flat_map(|(_, value)| value.split(',').map(str::trim)).collect();
    let passes = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let prefixed = ["access-control-", "cross-origin-", "x-gambi-"].iter().any(|prefix| lower.starts_with(prefix));
        let kept_back = OWN.contains(&&*lower) || ORIGIN_WIDE.contains(&&*lower) || prefixed;
        let named = options.iter().any(|option| option.eq_ignore_ascii_case(name));
        !kept_back && !named && !is_hop_by_hop(&lower)
    };
    headers.iter().filter(|(name, _)| passes(name)).cloned().collect()
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
        let named =
            headers(&[("Connection", "close, X-Hop"), ("connection", "x-other"), ("x-hop", "1"), ("X-Other", "2")]);
        assert!(passed_on(&named).is_empty());
    }

    #[test]
    fn what_concerns_the_hubs_origin_is_the_hubs_to_say() {
        for name in ORIGIN_WIDE.into_iter().chain(["Set-Cookie", "Clear-Site-Data", "Cross-Origin-Opener-Policy"]) {
            assert!(passed_on(&headers(&[(name, "x")])).is_empty(), "{name}");
        }
        for name in ["content-disposition", "etag", "openai-processing-ms", "retry-after", "vary", "x-ratelimit-limit"]
        {
            assert_eq!(passed_on(&headers(&[(name, "x")])).len(), 1, "{name}");
        }
        assert!(ORIGIN_WIDE.is_sorted());
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
