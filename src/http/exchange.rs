//! One request and its response: the handler's view of a connection.

use std::any::Any;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tiny_http::{Method, StatusCode};

use super::body::{BodyError, RequestBody};
use super::connection::{Connection, RETAINED_BUFFER};
use super::head::{Framing, RequestHead};
use super::header_lines::HeaderLines;
use super::response::{push_header, push_number};
use super::stream_body::{StreamBody, StreamFraming};
use crate::budget::Share;
use crate::net::framing::has_no_content;
use crate::net::stream::Stream;

/// How much of a body that the handler did not read is read to keep the connection, in bytes.
const DRAIN_BYTES: u64 = 64 << 10;
/// The read timeout meanwhile.
const DRAIN_GAP: Duration = Duration::from_secs(1);

/// How many header lines the handler adds to most responses, and how long they are together, in bytes.
const OWN_LINES: usize = 8;
const OWN_BYTES: usize = 256;

/// One request on a connection, and its response.
pub struct Exchange<'c> {
    connection: &'c mut Connection,
    head: RequestHead,
    body: RequestBody,
    extra: HeaderLines,
    /// The response's status, once it has begun.
    status: Option<u16>,
    /// The request's id, for logs and error reports.
    id: Arc<str>,
    /// Data of the handler about this request; `()` until it sets some.
    extension: Box<dyn Any>,
    /// Whether a `100 Continue` must still be sent.
    continue_owed: bool,
    /// Memory of its body and of data derived from it. Released at the end of the exchange.
    share: Share,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(connection: &'c mut Connection, head: RequestHead) -> Self {
        let body = RequestBody::new(head.framing);
        let continue_owed = head.expects_continue && !body.is_done();
        connection.keep_alive &= head.keep_alive;
        let share = connection.server.memory.share_of(connection.network);
        connection.written = 0;
        let (extra, id, extension) = (HeaderLines::with_capacity(OWN_LINES, OWN_BYTES), Arc::default(), Box::new(()));
        Exchange { connection, head, body, extra, status: None, id, extension, continue_owed, share }
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Whether the method is `HEAD`.
    pub fn is_head(&self) -> bool {
        self.head.method == Method::Head
    }

    /// The path, still percent-encoded, without query.
    pub fn path(&self) -> &str {
        &self.head.path
    }

    /// Replaces the path by that of an equivalent route.
    pub fn set_path(&mut self, path: String) {
        self.head.path = path;
    }

    /// The query, without the `?`.
    pub fn query(&self) -> Option<&str> {
        self.head.query.as_deref()
    }

    /// The first value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.values(name).next()
    }

    /// The names of all header lines, in their original case.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.head.headers.iter().map(|(name, _)| name)
    }

    /// All values of a header, in the order of their lines.
    pub fn header_lines(&self, name: &str) -> Vec<&str> {
        self.head.headers.values(name).collect()
    }

    /// Whether the request's version is HTTP/1.1, else 1.0.
    pub fn is_http11(&self) -> bool {
        self.head.http11
    }

    /// The address at the other end of the socket.
    pub fn peer(&self) -> IpAddr {
        self.connection.peer
    }

    /// Whether the client's connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.connection.stream.is_encrypted()
    }

    /// Whether a response has begun.
    pub fn answered(&self) -> bool {
        self.status.is_some()
    }

    /// The response's status, once it has begun.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Bytes sent to the client, including heads.
    pub fn bytes(&self) -> u64 {
        self.connection.written
    }

    /// Sets the request's id.
    pub fn set_id(&mut self, id: Arc<str>) {
        self.id = id;
    }

    /// The request's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The handler's own data about this request, created on first use. An exchange holds one value: a call with another
    /// type replaces it.
    pub fn extension<T: Any + Default>(&mut self) -> &mut T {
        if !self.extension.is::<T>() {
            self.extension = Box::new(T::default());
        }
        self.extension.downcast_mut().expect("the type was checked above")
    }

    /// Adds a header to the response, with any status.
    pub fn add_header(&mut self, name: &str, value: &str) {
        self.extra.push(name, value);
    }

    /// Whether the client has disconnected. Not noticed behind more than 32 KiB that it sent ahead.
    pub fn client_gone(&mut self) -> bool {
        self.connection.client_gone()
    }

    /// Reads the whole body; empty the second time.
    ///
    /// # Errors
    /// [`BodyError`]. The connection is closed after the response then, but for a short body that has a content coding.
    pub fn body(&mut self) -> Result<Vec<u8>, BodyError> {
        if let Some(coding) = self.content_coding() {
            // RFC 9110, section 15.5.16: the codings that would have been accepted.
            self.add_header("Accept-Encoding", "identity");
            return Err(BodyError::Encoded { coding });
        }
        let limit = self.max_body();
        let gap = self.connection.server.limits.body_gap;
        if self.body.is_longer_than(limit) {
            self.body.give_up();
            return Err(BodyError::TooLarge { limit });
        }
        self.send_continue().map_err(BodyError::Gone)?;
        self.read_body(limit, gap)
    }

    /// The content coding of the body that is yet to be read, of which only the start of a long name.
    fn content_coding(&self) -> Option<String> {
        // Some programs name the charset there, by mistake.
        const PLAIN: [&str; 3] = ["", "identity", "utf-8"];
        let is_plain = |coding: &&str| PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(coding));
        let lines = self.head.headers.values("content-encoding");
        let coding = lines.flat_map(|line| line.split(',')).map(str::trim).find(|coding| !is_plain(coding))?;
        (!self.body.is_done()).then(|| coding.chars().take(64).collect())
    }

    fn send_continue(&mut self) -> io::Result<()> {
        // A client that has begun to send its body does not wait for it.
        if std::mem::take(&mut self.continue_owed) && self.connection.read_ahead.is_empty() {
            self.connection.write_all(&mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")])?;
        }
        Ok(())
    }

    /// The longest body that is read: at most half of a client's part of the memory, so that a request which holds it
    /// twice, as received and as forwarded, still fits.
    fn max_body(&self) -> u64 {
        let server = &self.connection.server;
        server.limits.body_bytes.min(server.memory.owner_limit() / 2)
    }

    /// Reserves further memory for data derived from the request. It is released at the end of the exchange.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`].
    pub fn reserve(&mut self, bytes: u64) -> Result<(), BodyError> {
        if self.share.grow_by(bytes) { Ok(()) } else { Err(BodyError::NoMemory) }
    }

    /// A share of the memory for data that is held during the response, charged to the client's network.
    pub fn share(&self) -> Share {
        self.connection.server.memory.share_of(self.connection.network)
    }

    fn read_body(&mut self, limit: u64, gap: Duration) -> Result<Vec<u8>, BodyError> {
        self.body.read_all(self.connection, &mut self.share, limit, gap)
    }

    /// Discards a short body that the handler did not read. False where the connection must be closed instead.
    pub(super) fn drain(&mut self) -> bool {
        if self.body.is_broken() || self.body.is_longer_than(DRAIN_BYTES) {
            return false;
        }
        if self.continue_owed && self.connection.read_ahead.is_empty() {
            return self.body.is_done();
        }
        self.read_body(DRAIN_BYTES, DRAIN_GAP).is_ok()
    }

    /// Sends a complete response. For `HEAD` only its head is sent.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        self.status = Some(status);
        let mut out = std::mem::take(&mut self.connection.write_buffer);
        out.clear();
        self.head_lines(&mut out, status, headers);
        let (bodyless, body) = (has_no_content(status), if status == 205 { b"" } else { body });
        if !bodyless {
            out.extend_from_slice(b"Content-Length: ");
            push_number(&mut out, body.len());
            out.extend_from_slice(b"\r\n");
        }
        // `Upgrade` requires `Connection: upgrade` (RFC 9110, section 7.8).
        if self.extra.iter().any(|(name, _)| name == "Upgrade") {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        let line: &[u8] = match (self.connection.keep_alive, self.head.http11) {
            (true, true) => b"\r\n",
            (true, false) => b"Connection: keep-alive\r\n\r\n",
            (false, _) => b"Connection: close\r\n\r\n",
        };
        out.extend_from_slice(line);
        let body = if bodyless || self.is_head() { b"" } else { body };
        let written = self.connection.write_all(&mut [&out, body].map(IoSlice::new));
        if out.capacity() <= RETAINED_BUFFER {
            self.connection.write_buffer = out;
        }
        written
    }

    pub(super) fn internal_error(&mut self) -> io::Result<()> {
        self.connection.keep_alive = false;
        let body = br#"{"error":"The hub failed while it answered this request","code":"INTERNAL_ERROR"}"#;
        self.respond(500, &[("Content-Type", "application/json; charset=utf-8")], body)
    }

    /// Writes the status line and all header lines except the body's framing.
    fn head_lines(&mut self, out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)]) {
        out.extend_from_slice(if self.head.http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
        push_number(out, status.into());
        out.push(b' ');
        out.extend_from_slice(StatusCode(status).default_reason_phrase().as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(self.connection.date().as_bytes());
        out.extend_from_slice(b"\r\n");
        headers.iter().for_each(|(name, value)| push_header(out, name, value));
        self.extra.iter().for_each(|(name, value)| push_header(out, name, value));
    }

    /// Begins a response of unknown length. Its head is sent together with the first piece, or by [`StreamBody::flush`].
    pub fn stream(&mut self, status: u16, headers: &[(&str, &str)]) -> StreamBody<'_> {
        self.status = Some(status);
        let has_body = !has_no_content(status) && status != 205;
        let chunked = self.head.http11 && has_body;
        self.connection.keep_alive &= self.head.http11;
        let mut out = Vec::with_capacity(512);
        self.head_lines(&mut out, status, headers);
        if status == 205 {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        if chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !self.connection.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        let framing = if !has_body || self.is_head() {
            StreamFraming::NoBody
        } else if chunked {
            StreamFraming::Chunked
        } else {
            StreamFraming::UntilClose
        };
        StreamBody::new(self.connection, out, framing)
    }

    /// Releases the socket for another protocol, with the bytes read after the head and the `101 Switching Protocols`
    /// that the caller must send. The connection serves no other request.
    pub fn upgrade(&mut self, headers: &[(&str, &str)]) -> Upgrade {
        self.status = Some(101);
        self.connection.keep_alive = false;
        self.body = RequestBody::new(Framing::Length(0));
        let mut head = Vec::new();
        self.head_lines(&mut head, 101, headers);
        head.extend_from_slice(b"\r\n");
        let read_ahead = std::mem::take(&mut self.connection.read_ahead);
        Upgrade { stream: self.connection.stream.clone(), read_ahead, head }
    }
}

/// A connection that switches to another protocol.
pub struct Upgrade {
    /// The connection.
    pub stream: Arc<Stream>,
    /// Bytes that were received after the request's head.
    pub read_ahead: Vec<u8>,
    /// The response's head, which must be sent first.
    pub head: Vec<u8>,
}
