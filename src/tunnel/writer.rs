//! A tunnel's writing end: whole frames under one lock, each write with a deadline. A write that fails or comes too late
//! breaks the tunnel, and its reader wakes up.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::frames::{Mask, Opcode, apply_mask, write_close, write_head};

/// How long a close may wait for a writer that is at work, and for its own write.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// A write buffer above this is let go after use: one long answer must not cost its size for ever.
const KEEP_BUFFER: usize = 64 << 10;
/// Random bytes that are drawn at a time.
const DRAW: usize = 128;

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

/// Why a tunnel ended or could not be written to.
#[derive(Debug)]
pub enum TunnelError {
    /// It is closed.
    Closed,
    /// A message is too long.
    TooLarge,
    /// There is no memory left for a message.
    NoMemory,
    /// A text message is no UTF-8.
    NotUtf8,
    /// The peer broke the WebSocket protocol.
    Protocol(&'static str),
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
            TunnelError::NoMemory => f.write_str("there is no memory left for a message on the tunnel"),
            TunnelError::NotUtf8 => f.write_str("a text message on the tunnel is no UTF-8"),
            TunnelError::Protocol(reason) => write!(f, "the peer broke the WebSocket protocol: {reason}"),
            TunnelError::Io(error) => write!(f, "the tunnel's connection failed: {error}"),
            TunnelError::WriteTimeout => f.write_str("the peer does not read what is sent on the tunnel"),
        }
    }
}

impl std::error::Error for TunnelError {}

/// Which end of a tunnel this is: clients mask what they send, servers don't (RFC 6455, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection.
    Client,
    /// It was asked for it.
    Server,
}

/// What reader and writers share.
pub struct TunnelStream {
    /// Read by the one reader, written under the write lock, shut down by anybody.
    pub(super) stream: Arc<TcpStream>,
    /// The write lock: whoever holds it writes whole frames.
    out: Mutex<Out>,
    pub(super) role: Role,
    write: Duration,
    /// Set once: nothing is written after a close frame.
    closing: AtomicBool,
}

/// What a client masks in, and with. A server needs neither.
struct Out {
    buffer: Vec<u8>,
    random: [u8; DRAW],
    used: usize,
}

impl TunnelStream {
    /// A connection that is a tunnel from now on.
    ///
    /// # Errors
    /// When the socket can't be set up.
    pub fn new(stream: Arc<TcpStream>, role: Role, write: Duration) -> io::Result<Arc<Self>> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(write))?;
        let out = Mutex::new(Out { buffer: Vec::new(), random: [0; DRAW], used: DRAW });
        Ok(Arc::new(TunnelStream { stream, out, role, write, closing: AtomicBool::new(false) }))
    }

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

    /// Whether a close frame has been sent, or the connection given up.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Gives the connection up.
    pub fn abort(&self) {
        self.closing.store(true, Ordering::Release);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Writes all of it, or breaks the tunnel. The write lock must be held, and the socket's own deadline be `within`.
    fn write_all(&self, mut pieces: &mut [IoSlice<'_>], within: Duration) -> Result<(), TunnelError> {
        let deadline = Instant::now() + within;
        let mut shortened = false;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match (&*self.stream).write_vectored(pieces) {
                Ok(0) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Ok(n) => IoSlice::advance_slices(&mut pieces, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
            if !pieces.is_empty() {
                shortened = true;
                let left = remaining(deadline).and_then(|left| self.stream.set_write_timeout(Some(left)));
                left.map_err(|error| self.broken(error))?;
            }
        }
        if shortened {
            self.stream.set_write_timeout(Some(within)).map_err(TunnelError::Io)?;
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> TunnelError {
        self.abort();
        if is_timeout(&error) { TunnelError::WriteTimeout } else { TunnelError::Io(error) }
    }

    /// Sends a frame.
    pub(super) fn send(&self, opcode: Opcode, parts: &[&[u8]]) -> Result<(), TunnelError> {
        let mut out = self.lock();
        if self.is_closing() {
            return Err(TunnelError::Closed);
        }
        self.write_frame(&mut out, opcode, parts, self.write)
    }

    /// Writes a frame: a server's from where its parts are, a client's from where they have been masked.
    fn write_frame(&self, out: &mut Out, opcode: Opcode, parts: &[&[u8]], within: Duration) -> Result<(), TunnelError> {
        if self.role == Role::Client {
            out.add(self.role, opcode, parts)?;
            return self.write_buffer(out, within);
        }
        let (head, size) = write_head(opcode, None, length(parts));
        let mut pieces = Vec::with_capacity(1 + parts.len());
        pieces.push(IoSlice::new(&head[..size]));
        pieces.extend(parts.iter().map(|part| IoSlice::new(part)));
        self.write_all(&mut pieces, within)
    }

    fn write_buffer(&self, out: &mut Out, within: Duration) -> Result<(), TunnelError> {
        let written = self.write_all(&mut [IoSlice::new(&out.buffer)], within);
        out.buffer.clear();
        out.buffer.shrink_to(KEEP_BUFFER);
        written
    }

    /// Answers the peer's close frame with what it says itself. After our own it needs no second answer.
    pub(super) fn answer_close(&self, payload: &[u8]) {
        let mut out = self.lock();
        if !self.closing.swap(true, Ordering::AcqRel) {
            let _ = self.write_frame(&mut out, Opcode::Close, &[payload], self.write);
        }
    }
}

impl Out {
    /// Adds a frame to the buffer, masked if it is a client's.
    fn add(&mut self, role: Role, opcode: Opcode, parts: &[&[u8]]) -> Result<(), TunnelError> {
        let mask = if role == Role::Client { Some(self.draw()?) } else { None };
        let (head, size) = write_head(opcode, mask, length(parts));
        self.buffer.reserve(size + length(parts));
        self.buffer.extend_from_slice(&head[..size]);
        let from = self.buffer.len();
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        if let Some(mask) = mask {
            apply_mask(&mut self.buffer[from..], mask);
        }
        Ok(())
    }

    /// A mask that nobody can foresee.
    fn draw(&mut self) -> Result<Mask, TunnelError> {
        if self.used == DRAW {
            getrandom::fill(&mut self.random).map_err(|e| TunnelError::Io(io::Error::other(e.to_string())))?;
            self.used = 0;
        }
        let mask = self.random[self.used..].first_chunk().copied().unwrap_or_default();
        self.used += mask.len();
        Ok(mask)
    }
}

fn length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub(super) fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Messages that go out in one write.
pub struct Batch<'o> {
    out: &'o mut Out,
    role: Role,
}

impl Batch<'_> {
    /// Adds a text message, put together from its parts, which must be UTF-8.
    ///
    /// # Errors
    /// When there is no randomness to mask it with.
    pub fn text(&mut self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        self.out.add(self.role, Opcode::Text, parts)
    }

    /// Adds a binary message, put together from its parts.
    ///
    /// # Errors
    /// As [`Batch::text`].
    pub fn binary(&mut self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        self.out.add(self.role, Opcode::Binary, parts)
    }
}

/// The writing end. Copies write to the same tunnel.
#[derive(Clone)]
pub struct Writer(pub(super) Arc<TunnelStream>);

impl Writer {
    /// Sends the head that turns the connection into a tunnel. `open` runs before, and makes the tunnel known: whoever
    /// writes to it then waits until the head is out. So a peer that has read the head can be reached at once.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn send_upgrade<T>(&self, head: &[u8], open: impl FnOnce() -> T) -> Result<T, TunnelError> {
        let _out = self.0.lock();
        let opened = open();
        self.0.write_all(&mut [IoSlice::new(head)], self.0.write)?;
        Ok(opened)
    }

    /// Sends a text message, put together from its parts, which must be UTF-8.
    ///
    /// # Errors
    /// [`TunnelError`]; the tunnel is broken then.
    pub fn text(&self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        self.0.send(Opcode::Text, parts)
    }

    /// Sends the messages that `fill` adds, in their order and at once. It is called under the write lock.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn batch(&self, fill: impl FnOnce(&mut Batch<'_>) -> Result<(), TunnelError>) -> Result<(), TunnelError> {
        let mut out = self.0.lock();
        if self.0.is_closing() {
            return Err(TunnelError::Closed);
        }
        let filled = fill(&mut Batch { out: &mut out, role: self.0.role });
        if filled.is_err() {
            out.buffer.clear();
            return filled;
        }
        self.0.write_buffer(&mut out, self.0.write)
    }

    /// Sends the close frame, once, and sees to it that the reader ends soon even when the peer does not answer. Waits
    /// for no peer that does not read.
    pub fn close(&self, code: u16, reason: &str) {
        let wire = &self.0;
        if wire.is_closing() {
            return;
        }
        let Some(mut out) = wire.lock_within(CLOSE_WITHIN) else {
            return wire.abort();
        };
        if wire.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        let payload = write_close(code, reason);
        let ready = wire.stream.set_write_timeout(Some(CLOSE_WITHIN)).is_ok();
        if ready && wire.write_frame(&mut out, Opcode::Close, &[&payload], CLOSE_WITHIN).is_ok() {
            let _ = wire.stream.shutdown(Shutdown::Write);
        }
    }
}
