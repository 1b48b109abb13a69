//! One request and its answer: the handler's view of a connection.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;
use tiny_http::{Method, StatusCode};

use super::connection::{Connection, KEEP_BUFFER, is_timeout};
use super::head::{Framing, Head};
use crate::budget::Share;
use crate::net::chunked::{Decoder, Malformed};

/// How much of a body that nobody read is read away to keep the connection.
const DRAIN: u64 = 64 << 10;
/// How long that may take.
const DRAIN_GAP: Duration = Duration::from_secs(1);

/// The room that is made for a body at first; it doubles as the body comes.
const BODY_ROOM: usize = 16 << 10;
/// The least rate of a body in bytes a second, twice that of Apache's mod_reqtimeout: more slowly nobody sends who wants
/// an answer.
const LEAST_RATE: u32 = 1024;

/// How long a body may still take of which so much has come in a time: `gap` at the least rate.
fn time_left(gap: Duration, came: usize, took: Duration) -> Duration {
    let earned = Duration::from_secs(came as u64) / LEAST_RATE;
    (gap + earned).saturating_sub(took)
}

/// Why no more of a body could be read.
enum ReadOn {
    NoMemory,
    Failed(io::Error),
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// It is longer than this many bytes.
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What all requests hold together takes as much memory as it may.
    NoMemory,
    /// Its framing is broken.
    Malformed(&'static str),
    /// The client stopped sending.
    Timeout,
    /// The connection is gone.
    Gone(io::Error),
}

impl BodyError {
    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::TooLarge { .. } => 413,
            BodyError::Malformed(_) | BodyError::Gone(_) => 400,
            BodyError::Timeout => 408,
            BodyError::NoMemory => 503,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::TooLarge { limit } => write!(f, "The request body is larger than {limit} bytes"),
            BodyError::NoMemory => f.write_str("The hub is busy with too many large requests"),
            BodyError::Malformed(reason) => f.write_str(reason),
            BodyError::Timeout => f.write_str("The request body did not come in time"),
            BodyError::Gone(error) => write!(f, "The connection broke while the body was read: {error}"),
        }
    }
}

/// Where a request's body stands.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Decoder),
    Done,
    Broken,
}

/// One request on one connection, and the answer to it.
pub struct Exchange<'c> {
    connection: &'c mut Connection,
    head: Head,
    body: Body,
    extra: Vec<(String, String)>,
    /// Of the answer, once it has begun.
    status: Option<u16>,
    /// Names the request to whoever asks about it.
    id: String,
    /// Data of the handler about this request; `()` until it sets some.
    extension: Box<dyn Any>,
    /// Whether a `100 Continue` is still owed.
    continue_owed: bool,
    /// Memory that its body and what is made of it take, until the exchange is over: it may be in use for as long.
    share: Share,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(connection: &'c mut Connection, head: Head) -> Self {
        let body = match head.framing {
            Framing::Length(0) => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Decoder::strict()),
        };
        let continue_owed = head.expects_continue && !matches!(body, Body::Done);
        connection.usable &= head.keep_alive;
        let share = connection.server.memory.share_of(connection.network);
        connection.written = 0;
        let (extra, id, extension) = (Vec::new(), String::new(), Box::new(()));
        Exchange { connection, head, body, extra, status: None, id, extension, continue_owed, share }
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Whether only the answer's head is wanted.
    pub fn is_head(&self) -> bool {
        self.head.method == Method::Head
    }

    /// The path, still percent-encoded, without query.
    pub fn path(&self) -> &str {
        &self.head.path
    }

    /// What follows the `?`.
    pub fn query(&self) -> Option<&str> {
        self.head.query.as_deref()
    }

    /// The first header of a name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of a header, in the order of their lines.
    pub fn header_lines(&self, name: &str) -> Vec<&str> {
        let lines = self.head.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the request speaks HTTP/1.1, else 1.0.
    pub fn is_http11(&self) -> bool {
        self.head.http11
    }

    /// Who is at the other end of the socket.
    ///
    /// # Errors
    /// When the client has gone already.
    pub fn peer(&self) -> io::Result<std::net::IpAddr> {
        self.connection.stream.peer_addr().map(|address| address.ip().to_canonical())
    }

    /// Whether an answer has begun.
    pub fn answered(&self) -> bool {
        self.status.is_some()
    }

    /// The answer's status, once it has begun.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Bytes that the client has been sent, heads included.
    pub fn bytes(&self) -> u64 {
        self.connection.written
    }

    /// Names the request.
    pub fn set_id(&mut self, id: String) {
        self.id = id;
    }

    /// The request's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The handler's own data about this request, created on first use. An exchange holds one value: asking for another
    /// type replaces it.
    pub fn extension<T: Any + Default>(&mut self) -> &mut T {
        if !self.extension.is::<T>() {
            self.extension = Box::new(T::default());
        }
        self.extension.downcast_mut().expect("the type was checked above")
    }

    /// Adds a header to whatever answer follows.
    pub fn add_header(&mut self, name: &str, value: &str) {
        self.extra.push((name.to_owned(), value.to_owned()));
    }

    /// Whether the client has hung up. Bytes that it sent ahead count as its being there.
    pub fn client_gone(&mut self) -> bool {
        self.connection.client_gone()
    }

    /// Reads the whole body; empty the second time.
    ///
    /// # Errors
    /// [`BodyError`]. The connection is closed after the answer then.
    pub fn body(&mut self) -> Result<Vec<u8>, BodyError> {
        let limit = self.most_of_a_body();
        let gap = self.connection.server.limits.body_gap;
        if let Body::Length(length) = self.body
            && length > limit
        {
            self.body = Body::Broken;
            return Err(BodyError::TooLarge { limit });
        }
        self.send_continue().map_err(BodyError::Gone)?;
        self.read_body(limit, gap)
    }

    fn send_continue(&mut self) -> io::Result<()> {
        // A client that sends its body unasked needs no invitation.
        if std::mem::take(&mut self.continue_owed) && self.connection.ahead.is_empty() {
            self.connection.write_all(&mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")])?;
        }
        Ok(())
    }

    /// The longest body that is read: a request that holds it twice, as it came and as it goes on, still fits into the
    /// client's part of the memory.
    fn most_of_a_body(&self) -> u64 {
        let server = &self.connection.server;
        server.limits.body_bytes.min(server.memory.most_of_one() / 2)
    }

    /// Takes so many bytes more of the memory, for what is made of the request. They are given back when it is over.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`].
    pub fn reserve(&mut self, bytes: u64) -> Result<(), BodyError> {
        if self.share.grow_by(bytes) { Ok(()) } else { Err(BodyError::NoMemory) }
    }

    /// A share of the memory for what is held while the answer comes, on the account of the client's network.
    pub fn share(&self) -> Share {
        self.connection.server.memory.share_of(self.connection.network)
    }

    fn read_body(&mut self, limit: u64, gap: Duration) -> Result<Vec<u8>, BodyError> {
        let read = self.read_all(limit, gap);
        if read.is_err() {
            self.body = Body::Broken;
        }
        read
    }

    fn read_all(&mut self, limit: u64, gap: Duration) -> Result<Vec<u8>, BodyError> {
        let (mut out, began) = (Vec::new(), Instant::now());
        loop {
            let whole = self.step(&mut out).map_err(|Malformed(reason)| BodyError::Malformed(reason))?;
            if out.len() as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if !self.share.grow_to(out.capacity() as u64) {
                return Err(BodyError::NoMemory);
            }
            if whole {
                return Ok(out);
            }
            let wait = gap.min(time_left(gap, out.len(), began.elapsed()));
            match self.read_on(&mut out, wait) {
                Ok(0) => return Err(BodyError::Gone(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(ReadOn::NoMemory) => return Err(BodyError::NoMemory),
                Err(ReadOn::Failed(error)) if is_timeout(&error) => return Err(BodyError::Timeout),
                Err(ReadOn::Failed(error)) => return Err(BodyError::Gone(error)),
            }
        }
    }

    /// Reads more of the body: straight to where it goes, where nothing else can follow it. Memory is taken as the bytes
    /// come, and not as the client says that they will.
    fn read_on(&mut self, out: &mut Vec<u8>, wait: Duration) -> Result<usize, ReadOn> {
        let Body::Length(left) = &mut self.body else {
            return self.connection.read_more(wait).map_err(ReadOn::Failed);
        };
        if out.len() == out.capacity() {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            let more = out.len().max(BODY_ROOM).min(most);
            if !self.share.grow_to((out.len() + more) as u64) {
                return Err(ReadOn::NoMemory);
            }
            out.reserve_exact(more);
        }
        let read = self.connection.read_into(out, *left, wait).map_err(ReadOn::Failed)?;
        *left -= read as u64;
        Ok(read)
    }

    /// Takes what has been read ahead; true when the body is whole.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let ahead = &mut self.connection.ahead;
        match &mut self.body {
            Body::Done => return Ok(true),
            Body::Broken => return Err(Malformed("The request body could not be read")),
            Body::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(ahead.len());
                if take == ahead.len() && out.is_empty() {
                    std::mem::swap(out, ahead);
                } else {
                    out.extend_from_slice(&ahead[..take]);
                    ahead.drain(..take);
                }
                *left -= take as u64;
                if *left > 0 {
                    return Ok(false);
                }
            }
            Body::Chunked(decoder) => {
                let used = decoder.decode(ahead, out)?;
                ahead.drain(..used);
                if !decoder.is_done() {
                    return Ok(false);
                }
            }
        }
        self.body = Body::Done;
        Ok(true)
    }

    /// Reads a body away that the handler left, if it is short. False where the connection must be closed instead.
    pub(super) fn drain(&mut self) -> bool {
        if matches!(self.body, Body::Broken) || (self.continue_owed && self.connection.ahead.is_empty()) {
            return matches!(self.body, Body::Done);
        }
        if matches!(self.body, Body::Length(left) if left > DRAIN) {
            return false;
        }
        self.read_body(DRAIN, DRAIN_GAP).is_ok()
    }

    /// Sends a whole answer. A `HEAD` gets its head only.
    ///
    /// # Errors
    /// When the client can't be written to.
    pub fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        self.status = Some(status);
        let mut out = std::mem::take(&mut self.connection.out);
        out.clear();
        self.head_lines(&mut out, status, headers);
        let (bodyless, body) = (has_no_content(status), if status == 205 { b"" } else { body });
        if !bodyless {
            // Writing to memory does not fail.
            let _ = write!(out, "Content-Length: {}\r\n", body.len());
        }
        // A protocol that is offered concerns this connection (RFC 9110, section 7.8).
        if self.extra.iter().any(|(name, _)| name == "Upgrade") {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        let line: &[u8] = match (self.connection.usable, self.head.http11) {
            (true, true) => b"\r\n",
            (true, false) => b"Connection: keep-alive\r\n\r\n",
            (false, _) => b"Connection: close\r\n\r\n",
        };
        out.extend_from_slice(line);
        let body = if bodyless || self.is_head() { b"" } else { body };
        let written = self.connection.write_all(&mut [&out, body].map(IoSlice::new));
        if out.capacity() <= KEEP_BUFFER {
            self.connection.out = out;
        }
        written
    }

    pub(super) fn internal_error(&mut self) -> io::Result<()> {
        self.connection.usable = false;
        let body = br#"{"error":"The hub failed while it answered this request","code":"INTERNAL_ERROR"}"#;
        self.respond(500, &[("Content-Type", "application/json; charset=utf-8")], body)
    }

    /// Writes the status and all lines but those that frame the body.
    fn head_lines(&self, out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)]) {
        let version = if self.head.http11 { "1.1" } else { "1.0" };
        let phrase = StatusCode(status).default_reason_phrase();
        // Writing to memory does not fail.
        let _ = write!(out, "HTTP/{version} {status} {phrase}\r\nDate: {}\r\n", HttpDate::from(SystemTime::now()));
        headers.iter().for_each(|(name, value)| push_line(out, name, value));
        self.extra.iter().for_each(|(name, value)| push_line(out, name, value));
    }

    /// Begins an answer of unknown length; its head is sent at once.
    ///
    /// # Errors
    /// When the client can't be written to.
    pub fn stream(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<StreamBody<'_>> {
        self.status = Some(status);
        let bodyless = has_no_content(status) || status == 205;
        let chunked = self.head.http11 && !bodyless;
        self.connection.usable &= self.head.http11;
        let mut out = Vec::with_capacity(512);
        self.head_lines(&mut out, status, headers);
        if status == 205 {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        if chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !self.connection.usable {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.connection.write_all(&mut [IoSlice::new(&out)])?;
        let bodyless = bodyless || self.is_head();
        Ok(StreamBody { connection: self.connection, chunked, bodyless, finished: false })
    }

    /// Gives the socket away, with what was read behind the head, and the `101 Switching Protocols` that its new owner
    /// has to send. The connection serves no other request.
    pub fn upgrade(&mut self, headers: &[(&str, &str)]) -> Upgrade {
        self.status = Some(101);
        self.connection.usable = false;
        self.body = Body::Done;
        let mut head = Vec::new();
        self.head_lines(&mut head, 101, headers);
        head.extend_from_slice(b"\r\n");
        let read_ahead = std::mem::take(&mut self.connection.ahead);
        Upgrade { stream: self.connection.stream.clone(), read_ahead, head }
    }
}

/// Whether an answer of this status has neither content nor a length of it (RFC 9110, sections 6.4.1 and 8.6). A 205 has
/// a length, of zero.
fn has_no_content(status: u16) -> bool {
    status < 200 || matches!(status, 204 | 304)
}

/// A connection that is to become something else.
pub struct Upgrade {
    /// The socket.
    pub stream: Arc<TcpStream>,
    /// What the client sent behind its request's head.
    pub read_ahead: Vec<u8>,
    /// To be sent first.
    pub head: Vec<u8>,
}

/// Adds a header line, unless its name is none. What could break out of the line is replaced.
fn push_line(out: &mut Vec<u8>, name: &str, value: &str) {
    let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !token {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let safe = |c: char| c == '\t' || (' '..='~').contains(&c);
    if value.chars().all(safe) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.extend(value.chars().map(|c| if safe(c) { c as u8 } else { b'?' }));
    }
    out.extend_from_slice(b"\r\n");
}

/// An answer whose end is not known yet. Dropped without [`StreamBody::finish`] it ends broken: the connection closes
/// without the last chunk, so that the client can tell.
pub struct StreamBody<'e> {
    connection: &'e mut Connection,
    chunked: bool,
    bodyless: bool,
    finished: bool,
}

impl StreamBody<'_> {
    /// Sends a piece at once, as one chunk.
    ///
    /// # Errors
    /// When the client can't be written to.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.bodyless || piece.is_empty() {
            return Ok(());
        }
        if !self.chunked {
            return self.connection.write_all(&mut [IoSlice::new(piece)]);
        }
        let size = format!("{:x}\r\n", piece.len());
        self.connection.write_all(&mut [size.as_bytes(), piece, b"\r\n"].map(IoSlice::new))
    }

    /// Sends the last chunk.
    ///
    /// # Errors
    /// When the client can't be written to.
    pub fn finish(mut self) -> io::Result<()> {
        self.finished = true;
        if self.bodyless || !self.chunked {
            return Ok(());
        }
        self.connection.write_all(&mut [IoSlice::new(b"0\r\n\r\n")])
    }

    /// Whether the client has hung up.
    pub fn client_gone(&mut self) -> bool {
        self.connection.client_gone()
    }
}

impl Drop for StreamBody<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.usable = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kib_of_a_body_earns_it_a_second() {
        let [gap, second] = [60, 1].map(Duration::from_secs);
        assert_eq!(time_left(gap, 0, gap), Duration::ZERO);
        assert_eq!(time_left(gap, 2048, gap), 2 * second);
        assert_eq!(time_left(gap, 2048, gap + 3 * second), Duration::ZERO);
        assert!(time_left(gap, 32 << 20, Duration::ZERO) > gap);
    }
}
