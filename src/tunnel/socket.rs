//! One TCP connection as a WebSocket with two ends that live in different threads: a reader and a writer.
//!
//! tungstenite answers pings and closes from inside `read`. Those writes go through the writer's lock, each as a whole,
//! so that frames never interleave. A write that fails or comes too late breaks the tunnel: its reader wakes up.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::tls;

/// How long a reader waits before it looks whether its tunnel is being closed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a close may wait for a writer that is at work, and for its own write.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// A write buffer above this is let go after use: one long prompt must not cost its size for ever.
const KEEP_BUFFER: usize = 64 << 10;
/// The longest body of a refused handshake that is kept, in bytes.
const MAX_REFUSAL: usize = 4096;

/// What a tunnel may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest message that is read, in bytes.
    pub max_message: usize,
    /// The longest time that one write may take.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_message: 16 << 20, write: Duration::from_secs(30) }
    }
}

/// Why a request does not become a WebSocket (RFC 6455, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// It asks for no upgrade.
    NotAnUpgrade,
    /// It has no key.
    NoKey,
    /// It speaks another version.
    Version,
}

impl HandshakeError {
    /// The HTTP status to answer with.
    pub fn status(self) -> u16 {
        match self {
            HandshakeError::NotAnUpgrade | HandshakeError::Version => 426,
            HandshakeError::NoKey => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::NotAnUpgrade => "This address is a WebSocket: the request must ask for an upgrade to it",
            HandshakeError::NoKey => "The WebSocket handshake has no Sec-WebSocket-Key",
            HandshakeError::Version => "The WebSocket version must be 13",
        })
    }
}

/// Why no tunnel could be opened.
#[derive(Debug)]
pub enum ConnectError {
    /// The URL is none that can be opened.
    Url(String),
    /// Nobody answered.
    Io(io::Error),
    /// The hub answered with something else than 101.
    Refused {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The answer makes no sense.
    Handshake(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Url(reason) => write!(f, "the tunnel's URL can't be opened: {reason}"),
            ConnectError::Io(error) => write!(f, "the hub could not be reached: {error}"),
            ConnectError::Refused { status, body } => {
                write!(f, "the hub refused the tunnel with status {status}: {body}")
            }
            ConnectError::Handshake(reason) => write!(f, "the hub's handshake failed: {reason}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why a tunnel ended or could not be written to.
#[derive(Debug)]
pub enum TunnelError {
    /// It is closed.
    Closed,
    /// A message is too long.
    TooLarge,
    /// A text message is no UTF-8.
    NotUtf8,
    /// The peer broke the WebSocket protocol.
    Protocol(String),
    /// The connection failed.
    Io(io::Error),
    /// The peer does not read.
    WriteTimeout,
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelError::Closed => f.write_str("the tunnel is closed"),
            TunnelError::TooLarge => f.write_str("a message on the tunnel is too long"),
            TunnelError::NotUtf8 => f.write_str("a text message on the tunnel is no UTF-8"),
            TunnelError::Protocol(reason) => write!(f, "the peer broke the WebSocket protocol: {reason}"),
            TunnelError::Io(error) => write!(f, "the tunnel's connection failed: {error}"),
            TunnelError::WriteTimeout => f.write_str("the peer does not read what is sent on the tunnel"),
        }
    }
}

impl std::error::Error for TunnelError {}

/// What a reader reads.
#[derive(Debug)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(tungstenite::Bytes),
    /// A WebSocket ping or pong.
    Alive,
    /// The peer's close frame.
    Closed {
        /// Its code, where it has one.
        code: Option<u16>,
        /// Its reason.
        reason: String,
    },
}

/// Checks a request for the upgrade, and gives the `Sec-WebSocket-Accept` of its answer.
///
/// # Errors
/// Which rule the request breaks.
pub fn accept<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<String, HandshakeError> {
    let holds = |name: &str, token: &str| {
        header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !holds("upgrade", "websocket") || !holds("connection", "upgrade") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if header("sec-websocket-version").map(str::trim) != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = header("sec-websocket-key").map(str::trim).filter(|key| key.len() == 24).ok_or(HandshakeError::NoKey)?;
    Ok(derive_accept_key(key.as_bytes()))
}

/// A connection that has been upgraded, from the server's side. `read_ahead` is what came after the request's head.
///
/// # Errors
/// When the socket can't be set up.
pub fn serve(stream: Arc<TcpStream>, read_ahead: Vec<u8>, limits: Limits) -> io::Result<(Reader, Writer)> {
    let (side, writer) = split(stream, Role::Server, limits)?;
    let socket = WebSocket::from_partially_read(side, read_ahead, Role::Server, Some(config(limits)));
    Ok((Reader { socket, wire: writer.0.clone() }, writer))
}

/// A tunnel's two ends, and the headers of the 101 that opened it.
pub type Connected = (Reader, Writer, Vec<(String, String)>);

/// Opens a tunnel: a `ws://` or `wss://` URL, more request headers, and the time that all of it may take. Gives the headers of the
/// 101 too.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(
    url: &str,
    headers: &[(&str, &str)],
    limits: Limits,
    timeout: Duration,
) -> Result<Connected, ConnectError> {
    let mut request = url.into_client_request().map_err(|e| ConnectError::Url(e.to_string()))?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| ConnectError::Url(e.to_string()))?;
        let value = HeaderValue::from_str(value).map_err(|e| ConnectError::Url(e.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    let deadline = Instant::now() + timeout;
    let stream = dial(request.uri(), deadline)?;
    stream.set_read_timeout(Some(remaining(deadline).map_err(ConnectError::Io)?)).map_err(ConnectError::Io)?;
    let (side, writer) = split(Arc::new(stream), Role::Client, limits).map_err(ConnectError::Io)?;
    let (socket, response) =
        tungstenite::client::client_with_config(request, side, Some(config(limits))).map_err(handshake_failed)?;
    writer.0.stream.set_read_timeout(Some(LOOK_EVERY)).map_err(ConnectError::Io)?;
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    Ok((Reader { socket, wire: writer.0.clone() }, writer, headers))
}

fn dial(uri: &tungstenite::http::Uri, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(ConnectError::Url("it must begin with ws:// or wss://".into())),
    };
    let host = uri.host().ok_or_else(|| ConnectError::Url("it names no host".into()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = crate::names::connect(host, port, deadline);
    let ready = stream.and_then(|stream| if secure { secured(stream, host, deadline) } else { Ok(stream) });
    ready.map_err(ConnectError::Io)
}

/// A plain socket in place of a connection to a server that speaks TLS, once they have agreed on it.
///
/// # Errors
/// When they don't, or not in time.
pub fn secured(stream: TcpStream, host: &str, deadline: Instant) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(remaining(deadline)?))?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    tls::wrap(stream, host)
}

fn handshake_failed<R: tungstenite::handshake::HandshakeRole>(error: tungstenite::HandshakeError<R>) -> ConnectError {
    match error {
        tungstenite::HandshakeError::Interrupted(_) => ConnectError::Io(io::ErrorKind::TimedOut.into()),
        tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]).into_owned();
            ConnectError::Refused { status: response.status().as_u16(), body }
        }
        tungstenite::HandshakeError::Failure(tungstenite::Error::Io(error)) => ConnectError::Io(error),
        tungstenite::HandshakeError::Failure(error) => ConnectError::Handshake(error.to_string()),
    }
}

fn config(limits: Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message))
}

fn split(stream: Arc<TcpStream>, role: Role, limits: Limits) -> io::Result<(ReadSide, Writer)> {
    stream.set_nodelay(true)?;
    if role == Role::Server {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
    }
    let wire = Wire { stream, out: Mutex::default(), role, write: limits.write, closing: AtomicBool::new(false) };
    let wire = Arc::new(wire);
    Ok((ReadSide(wire.clone()), Writer(wire)))
}

/// What reader and writers share.
struct Wire {
    /// Read by the one reader, written under the write lock, shut down by anybody.
    stream: Arc<TcpStream>,
    /// The write lock: whoever holds it writes whole frames.
    out: Mutex<Out>,
    role: Role,
    write: Duration,
    /// Set once: nothing is written after a close frame.
    closing: AtomicBool,
}

#[derive(Default)]
struct Out {
    buffer: Vec<u8>,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_within(&self, time: Duration) -> Option<MutexGuard<'_, Out>> {
        let deadline = Instant::now() + time;
        loop {
            match self.out.try_lock() {
                Ok(out) => return Some(out),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn abort(&self) {
        self.closing.store(true, Ordering::Release);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Writes all of it, or breaks the tunnel. The write lock must be held.
    fn write_all(&self, mut bytes: &[u8], within: Duration) -> Result<(), TunnelError> {
        let deadline = Instant::now() + within;
        while !bytes.is_empty() {
            let step = remaining(deadline)
                .and_then(|left| self.stream.set_write_timeout(Some(left)))
                .and_then(|()| (&*self.stream).write(bytes));
            match step {
                Ok(0) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> TunnelError {
        self.abort();
        if is_timeout(&error) { TunnelError::WriteTimeout } else { TunnelError::Io(error) }
    }

    fn send(&self, opcode: OpCode, parts: &[&[u8]]) -> Result<(), TunnelError> {
        let mut out = self.lock();
        if self.is_closing() {
            return Err(TunnelError::Closed);
        }
        let mut buffer = std::mem::take(&mut out.buffer);
        self.frame(&mut buffer, opcode, parts)?;
        let written = self.write_all(&buffer, self.write);
        if buffer.capacity() <= KEEP_BUFFER {
            buffer.clear();
            out.buffer = buffer;
        }
        written
    }

    /// One frame, masked where the role demands it (RFC 6455, section 5.1).
    fn frame(&self, buffer: &mut Vec<u8>, opcode: OpCode, parts: &[&[u8]]) -> Result<(), TunnelError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mask = match self.role {
            Role::Server => None,
            Role::Client => Some(mask_key()?),
        };
        let header = FrameHeader { is_final: true, opcode, mask, ..FrameHeader::default() };
        buffer.reserve(length + 14);
        header.format(length as u64, buffer).map_err(|e| TunnelError::Protocol(e.to_string()))?;
        let from = buffer.len();
        parts.iter().for_each(|part| buffer.extend_from_slice(part));
        if let Some(mask) = mask {
            for block in buffer[from..].chunks_mut(4) {
                block.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
            }
        }
        Ok(())
    }
}

fn mask_key() -> Result<[u8; 4], TunnelError> {
    let mut key = [0; 4];
    getrandom::fill(&mut key).map_err(|e| TunnelError::Io(io::Error::other(e.to_string())))?;
    Ok(key)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The writing end. Copies write to the same tunnel.
#[derive(Clone)]
pub struct Writer(Arc<Wire>);

impl Writer {
    /// Sends the head that turns the connection into a tunnel. `open` runs before, and makes the tunnel known: whoever
    /// writes to it then waits until the head is out. So a peer that has read the head can be reached at once.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn greet<T>(&self, head: &[u8], open: impl FnOnce() -> T) -> Result<T, TunnelError> {
        let _out = self.0.lock();
        let opened = open();
        self.0.write_all(head, self.0.write)?;
        Ok(opened)
    }

    /// Sends a text message; `json` must be UTF-8.
    ///
    /// # Errors
    /// [`TunnelError`]; the tunnel is broken then.
    pub fn text(&self, json: &[u8]) -> Result<(), TunnelError> {
        self.0.send(OpCode::Data(Data::Text), &[json])
    }

    /// Sends a binary message, put together from its parts.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn binary(&self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        self.0.send(OpCode::Data(Data::Binary), parts)
    }

    /// Sends the close frame, once, and sees to it that the reader ends soon even when the peer does not answer. Waits
    /// for no peer that does not read.
    pub fn close(&self, code: u16, reason: &str) {
        let wire = &self.0;
        if wire.is_closing() {
            return;
        }
        let Some(_out) = wire.lock_within(CLOSE_WITHIN) else {
            return wire.abort();
        };
        if wire.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        let frame = Frame::close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }));
        let mut buffer = Vec::new();
        let payload = frame.into_payload();
        if wire.frame(&mut buffer, OpCode::Control(Control::Close), &[&payload]).is_ok()
            && wire.write_all(&buffer, CLOSE_WITHIN).is_ok()
        {
            let _ = wire.stream.shutdown(Shutdown::Write);
        }
    }
}

/// The socket as tungstenite sees it: reads go straight to it, writes through the lock.
struct ReadSide(Arc<Wire>);

impl Read for ReadSide {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0.stream).read(buffer)
    }
}

impl Write for ReadSide {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _out = self.0.lock();
        // After our own close frame nothing may follow, and the peer's needs no second answer.
        if !self.0.is_closing() {
            self.0.write_all(bytes, self.0.write).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end. One thread reads.
pub struct Reader {
    socket: WebSocket<ReadSide>,
    wire: Arc<Wire>,
}

impl Reader {
    /// Waits for the next message.
    ///
    /// # Errors
    /// When the tunnel is over: [`TunnelError`]. A peer that broke a rule has been told so.
    pub fn read(&mut self) -> Result<Incoming, TunnelError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Incoming::Text(text)),
                Ok(Message::Binary(bytes)) => return Ok(Incoming::Binary(bytes)),
                Ok(Message::Ping(_) | Message::Pong(_)) => return Ok(Incoming::Alive),
                Ok(Message::Close(frame)) => return Ok(self.closed(frame)),
                Ok(Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) && !self.wire.is_closing() => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Answers the peer's close frame with the same code.
    fn closed(&mut self, frame: Option<CloseFrame>) -> Incoming {
        let _ = self.socket.flush();
        match frame {
            Some(frame) => Incoming::Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() },
            None => Incoming::Closed { code: None, reason: String::new() },
        }
    }

    fn failed(&self, error: tungstenite::Error) -> TunnelError {
        let (code, error) = match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => return TunnelError::Closed,
            tungstenite::Error::Io(error) => return TunnelError::Io(error),
            tungstenite::Error::Capacity(_) => (1009, TunnelError::TooLarge),
            tungstenite::Error::Utf8(_) => (1007, TunnelError::NotUtf8),
            other => (1002, TunnelError::Protocol(other.to_string())),
        };
        Writer(self.wire.clone()).close(code, &error.to_string());
        error
    }
}

impl Drop for Reader {
    /// Without a reader there is no tunnel.
    fn drop(&mut self) {
        self.wire.abort();
    }
}
