//! A response that is passed on unchanged: buffered and sent with its length, or as a stream. And which of the provider's
//! headers are passed on.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex};

use crate::http::LentStream;
use crate::hub::relay::client_response::PARTICIPANT;
use crate::hub::relay::content_watch::ContentWatch;
use crate::hub::relay::delivery::Delivery;
use crate::hub::relay::headers::{self, Headers};
use crate::hub::relay::stream_error::ErrorForm;
use crate::hub::relay::upstream::UpstreamError;
use crate::net::header_list::has_token;
use crate::net::stream::SentNow;
use crate::proto::management::ErrorCode;
use crate::proto::stage::Stage;
use crate::proto::web::{header_text, is_hop_by_hop};
use crate::proto::{api_answer, chat_events};
use crate::state::registry::Picked;
use crate::sync::lock;
use crate::tunnel::{Piece, SendToClient};

/// The longest response that is buffered to be sent with its length, in bytes. A longer one is sent in chunks.
const MAX_BUFFERED: usize = 256 << 10;

/// The longest response that becomes events of a stream, in bytes.
const MAX_IN_STREAM: usize = 4 << 20;

const TOO_LONG: &str = "its answer is no stream, and longer than the hub has memory for to make it one";

/// The longest piece that is appended to the one before it, in bytes.
const MAX_COPIED: usize = 4 << 10;

/// The head of a response to the client.
pub struct RelayedHead {
    /// HTTP status.
    pub status: u16,
    /// See [`passed_on`].
    pub headers: Headers,
    /// Whether the client requested a stream.
    pub stream: bool,
}

impl RelayedHead {
    /// The head for the client: the provider's, without what concerns its own connection, and the hub's headers.
    pub fn new(picked: &Picked, request_id: &str, status: u16, headers: Headers, stream: bool) -> Self {
        let mut headers = passed_on(headers);
        headers.push((PARTICIPANT.into(), header_text(picked.id.as_str())));
        headers.push(("X-Gambi-Request-Id".into(), request_id.to_owned()));
        RelayedHead { status, headers, stream }
    }

    /// The head of an answer that the hub itself makes in place of a participant's provider.
    pub fn of_hub(picked: &Picked, request_id: &str, content_type: &str) -> Self {
        let mut head = RelayedHead::new(picked, request_id, 200, Headers::new(), false);
        head.headers.push(("Content-Type".into(), content_type.to_owned()));
        head
    }

    /// Whether the body is compressed.
    pub fn is_coded(&self) -> bool {
        headers::is_coded(&self.headers)
    }

    /// Whether the body is an event stream by its content type, or, without one, by the client's request.
    pub fn is_event_stream(&self) -> bool {
        self.is_stream_of(api_answer::EVENT_STREAM)
    }

    /// Whether the body is a stream of this content type, or, without one, by the client's request.
    pub fn is_stream_of(&self, content_type: &str) -> bool {
        headers::content_type(&self.headers).map_or(self.stream, |kind| api_answer::has_type(Some(kind), content_type))
    }
}

/// A response's body, or as much of it as is buffered.
pub struct Collected {
    /// The bytes.
    pub body: Vec<u8>,
    /// Whether that is all. The rest of a body that is too long, or for which there is no memory, is still to come.
    pub whole: bool,
}

impl Delivery<'_, '_, '_, '_> {
    /// Passes a response on. The inner result says whether the client's connection can be kept.
    ///
    /// # Errors
    /// Why the response is incomplete.
    pub fn pass_unchanged(&mut self, head: RelayedHead) -> Result<io::Result<()>, UpstreamError> {
        let events = head.is_stream_of(self.client.form().content_type());
        if head.status < 400 && (events || (head.stream && !self.client.is_open())) {
            let headers = if events { self.client.stream_headers(head.headers) } else { head.headers };
            self.pass_stream(head.status, &headers, Vec::new())
        } else {
            self.buffered(&head)
        }
    }

    /// Buffers a short response to send it with its length. A longer one is sent in chunks.
    fn buffered(&mut self, head: &RelayedHead) -> Result<io::Result<()>, UpstreamError> {
        let Collected { body, whole } = self.collect()?;
        if self.client.is_open() {
            return self.respond_in_stream(head, Collected { body, whole });
        }
        if !whole {
            return self.pass_stream(head.status, &head.headers, vec![body]);
        }
        self.attempt.complete(head.status);
        Ok(self.client.respond(head.status, &head.headers, &body))
    }

    /// Passes a response that is no stream on behind the head of one: a chat or a text as events, anything else as an error.
    fn respond_in_stream(
        &mut self,
        head: &RelayedHead,
        Collected { body, whole }: Collected,
    ) -> Result<io::Result<()>, UpstreamError> {
        if !whole {
            self.upstream.cancel();
        }
        if head.status < 400 && self.client.form() == ErrorForm::Chat {
            if !whole || !self.client.reserve(body.capacity().saturating_mul(chat_events::COPIES)) {
                // Another participant would generate it once more, to the same end.
                self.client.commit();
                return Err(UpstreamError::limit(Stage::Provider, TOO_LONG, ErrorCode::EndpointNotReachable));
            }
            if let Some(events) = chat_events::chat_events(&body) {
                // It names the participant.
                self.client.open(head.status, &head.headers)?;
                self.attempt.complete(head.status);
                return Ok(self.client.finish(&[events]));
            }
        }
        self.attempt.complete(head.status);
        Ok(self.client.respond(head.status, &head.headers, &body))
    }

    /// Buffers a response's body.
    ///
    /// # Errors
    /// Why it is incomplete.
    pub fn collect(&mut self) -> Result<Collected, UpstreamError> {
        let mut body = Vec::new();
        // In a stream it cannot be passed on in parts.
        let most = if self.client.is_open() { MAX_IN_STREAM } else { MAX_BUFFERED };
        loop {
            match self.upstream.next(self.client, &self.attempt.hub.timeouts)? {
                Piece::Chunk(bytes) => self.attempt.receive(&mut body, bytes),
                Piece::Start { .. } => {}
                _ => return Ok(Collected { body, whole: true }),
            }
            if body.len() > most || !self.client.reserve(body.capacity()) {
                return Ok(Collected { body, whole: false });
            }
        }
    }

    /// Passes pieces on as they come: each at once, or together with the others that are ready.
    fn pass_stream(
        &mut self,
        status: u16,
        headers: &Headers,
        mut pieces: Vec<Vec<u8>>,
    ) -> Result<io::Result<()>, UpstreamError> {
        self.client.open(status, headers)?;
        self.client.commit();
        self.upstream.watch_for_end(self.attempt.content_watch());
        let lent = self.client.lend().map(|lent| send_and_watch(lent, self.attempt.content_watch()));
        loop {
            // The head goes with the first pieces, if they are ready.
            if !pieces.is_empty() || self.upstream.has_no_piece() {
                self.client.write_all(&pieces)?;
                pieces.clear();
                self.client.release();
            }
            match self.receive_ready(lent.as_ref(), &mut pieces) {
                Ok(false) => {}
                Ok(true) => {
                    self.attempt.complete(status);
                    return Ok(self.client.finish(&pieces));
                }
                // It was whole, though its connection broke off or fell silent.
                Err(UpstreamError::Failed(_) | UpstreamError::TimedOut { .. }) if self.attempt.is_done() => {
                    self.attempt.complete(status);
                    let finished = self.client.finish(&pieces);
                    self.upstream.cancel();
                    return Ok(finished);
                }
                Err(error) => {
                    // What came before the failure is sent all the same.
                    let _ = self.client.write_all(&pieces);
                    return Err(error);
                }
            }
        }
    }

    /// Waits for a piece, and takes all others that are ready too. True when the response has ended.
    fn receive_ready(&mut self, lent: Option<&SendToClient>, pieces: &mut Vec<Vec<u8>>) -> Result<bool, UpstreamError> {
        let mut held = 0;
        // Only as long as all pieces have been sent that were received.
        let mut lent = lent.filter(|_| self.attempt.may_lend());
        loop {
            match self.upstream.next_lending(self.client, &self.attempt.hub.timeouts, lent.take())? {
                Piece::Chunk(bytes) => {
                    self.attempt.watch(&bytes);
                    held += add_piece(pieces, bytes);
                }
                // Stored with the client's connection, until it is sent.
                Piece::Unsent(bytes) => held += bytes,
                Piece::End => return Ok(true),
                _ => {}
            }
            if self.upstream.has_no_piece() || held > MAX_BUFFERED || !self.client.reserve(held) {
                return Ok(false);
            }
        }
    }
}

/// What another thread sends pieces with: it also takes from them what [`Attempt::watch`] would.
fn send_and_watch(client: Arc<LentStream>, watch: Arc<Mutex<ContentWatch>>) -> SendToClient {
    Arc::new(move |piece| {
        let sent = client.send_now(piece);
        if sent != SentNow::Nothing {
            lock(&watch).push(piece);
        }
        sent
    })
}

/// Adds a piece, and returns how many bytes more are held. A short one is appended to the one before it, since a write of many parts
/// costs more than a copy.
fn add_piece(pieces: &mut Vec<Vec<u8>>, bytes: Vec<u8>) -> usize {
    match pieces.last_mut() {
        Some(last) if bytes.len() <= MAX_COPIED => {
            let before = last.capacity();
            last.extend_from_slice(&bytes);
            last.capacity() - before
        }
        _ => {
            pieces.push(bytes);
            pieces.last().map_or(0, Vec::capacity)
        }
    }
}

/// Headers that concern the hub's own connection, or that the hub sets itself.
const OWN: [&str; 5] = ["content-security-policy", "date", "proxy-authorization", "server", "x-content-type-options"];

/// Headers that a browser applies to the hub's origin, which serves the dashboard: storage, script policies, redirects,
/// credentials, reporting.
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

/// The provider's headers without those that concern its own connection (among them all that its `Connection` lists, RFC
/// 9110, section 7.6.1), its body's framing or the hub's origin, and without those that the hub sets itself.
pub fn passed_on(mut headers: Headers) -> Headers {
    let connection: Headers = headers.extract_if(.., |(name, _)| name.eq_ignore_ascii_case("connection")).collect();
    headers.retain(|(name, _)| passes(name) && !has_token(connection.iter().map(|(_, options)| options), name));
    headers
}

/// Whether a provider's header is passed on, as far as its name tells.
fn passes(name: &str) -> bool {
    // Participants send names in lower case; direct ones as their servers do.
    let has_upper = name.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    let prefixed = ["access-control-", "cross-origin-", "x-gambi-"].iter().any(|prefix| lower.starts_with(prefix));
    !prefixed && !OWN.contains(&&*lower) && ORIGIN_WIDE.binary_search(&&*lower).is_err() && !is_hop_by_hop(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn short_pieces_are_appended_and_long_ones_are_parts_of_their_own() {
        let mut pieces = Vec::new();
        let mut held = 0;
        for length in [MAX_COPIED, 1, MAX_COPIED + 1, MAX_COPIED + 2, 2, 3] {
            held += add_piece(&mut pieces, vec![b'x'; length]);
        }
        let lengths: Vec<_> = pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_COPIED + 1, MAX_COPIED + 1, MAX_COPIED + 2 + 5]);
        assert_eq!(held, pieces.iter().map(Vec::capacity).sum::<usize>());
    }

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let given = headers(&[
            ("Transfer-Encoding", "chunked"),
            ("content-type", "text/plain"),
            ("Date", "x"),
            ("X-Own", "1"),
            ("access-control-allow-origin", "http://evil"),
        ]);
        assert_eq!(passed_on(given), headers(&[("content-type", "text/plain"), ("X-Own", "1")]));
        let named =
            headers(&[("Connection", "close, X-Hop"), ("connection", "x-other"), ("x-hop", "1"), ("X-Other", "2")]);
        assert!(passed_on(named).is_empty());
    }

    #[test]
    fn headers_about_the_hubs_origin_are_not_passed_on() {
        for name in ORIGIN_WIDE.into_iter().chain(["Set-Cookie", "Clear-Site-Data", "Cross-Origin-Opener-Policy"]) {
            assert!(passed_on(headers(&[(name, "x")])).is_empty(), "{name}");
        }
        for name in ["content-disposition", "etag", "openai-processing-ms", "retry-after", "vary", "x-ratelimit-limit"]
        {
            assert_eq!(passed_on(headers(&[(name, "x")])).len(), 1, "{name}");
        }
        assert!(ORIGIN_WIDE.is_sorted());
    }

    #[test]
    fn the_providers_content_type_decides_whether_a_body_is_a_stream() {
        let head = |kind: Option<&str>, stream| RelayedHead {
            status: 200,
            headers: kind.map(|kind| ("Content-Type".to_owned(), kind.to_owned())).into_iter().collect(),
            stream,
        };
        assert!(head(Some("text/event-stream; charset=utf-8"), false).is_event_stream());
        assert!(!head(Some("application/json"), true).is_event_stream());
        assert!(head(None, true).is_event_stream() && !head(None, false).is_event_stream());
    }
}
