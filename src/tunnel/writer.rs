//! The writing end of a tunnel. Complete frames are written under one lock, and each write has a deadline. A write that fails or
//! times out shuts the connection down, which also wakes the reader.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::{Batch, add_frame, total_len};
use super::codec::{Control, Data, OpCode, Role, format_close, write_header};
use super::error::TunnelError;
use crate::net::io::is_timeout;
use crate::net::stream::Stream;
use crate::sync::{lock, try_lock};

/// How long closing a tunnel may wait for the write lock and for its own write together.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long that write may take where no time is left: a peer that reads has room for it.
const MIN_CLOSE_WRITE: Duration = Duration::from_millis(1);
/// How long the peer may send after that, until it has closed its end.
const PEER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The capacity that a write buffer keeps between writes, in bytes, so that one long message does not occupy its memory for good.
const KEPT_CAPACITY: usize = 64 << 10;

/// The connection that the reader and all writers of a tunnel share.
pub struct TunnelStream {
    /// Read by the one reader, written under the write lock, shut down by any thread.
    pub(super) socket: Arc<Stream>,
    /// The write lock. Its holder writes complete frames, which it assembles in this buffer, empty between writes.
    write_buffer: Mutex<Vec<u8>>,
    /// Answers to pings that wait for the write lock, the latest of each kind (RFC 6455, section 5.5.3). Whoever releases the
    /// write lock sends them. Locked briefly, also under the write lock.
    answers: Mutex<Vec<(OpCode, Vec<u8>)>>,
    pub(super) role: Role,
    write_timeout: Duration,
    /// Since when; set once: no frame may follow a close frame.
    closing: OnceLock<Instant>,
}

impl TunnelStream {
    /// Wraps a connection after its handshake.
    ///
    /// # Errors
    /// If the socket options cannot be set.
    pub fn new(socket: Arc<Stream>, role: Role, write_timeout: Duration) -> io::Result<Arc<Self>> {
        socket.set_nodelay()?;
        socket.set_write_timeout(Some(write_timeout))?;
        let (write_buffer, answers, closing) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Ok(Arc::new(TunnelStream { socket, write_buffer, answers, role, write_timeout, closing }))
    }

    fn lock(&self) -> WriteLock<'_> {
        WriteLock { buffer: lock(&self.write_buffer), _answers: SendAnswers(self) }
    }

    fn try_write_lock(&self) -> Option<WriteLock<'_>> {
        try_lock(&self.write_buffer).map(|buffer| WriteLock { buffer, _answers: SendAnswers(self) })
    }

    /// Tries at least once.
    fn lock_until(&self, deadline: Instant) -> Option<WriteLock<'_>> {
        loop {
            match self.try_write_lock() {
                Some(lock) => return Some(lock),
                None if Instant::now() >= deadline => return None,
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Answers a ping, without waiting for another message that is being sent: the reader must go on meanwhile.
    pub(super) fn answer(&self, opcode: OpCode, payload: &[u8]) -> Result<(), TunnelError> {
        if self.is_closing() {
            return Err(TunnelError::Closed);
        }
        {
            let mut answers = lock(&self.answers);
            answers.retain(|(other, _)| *other != opcode);
            answers.push((opcode, payload.to_vec()));
        }
        self.send_answers()
    }

    /// Sends the answers that wait, unless another thread has the write lock: it sends them when it releases that.
    fn send_answers(&self) -> Result<(), TunnelError> {
        while !lock(&self.answers).is_empty() {
            let Some(mut buffer) = try_lock(&self.write_buffer) else { return Ok(()) };
            for (opcode, payload) in std::mem::take(&mut *lock(&self.answers)) {
                if !self.is_closing() {
                    self.write_frame(&mut buffer, opcode, &[&payload], self.write_timeout)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a close frame has been sent or the connection has been shut down.
    pub fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    /// Whether that was longer ago than a peer may take to close its end.
    pub(super) fn is_overdue(&self) -> bool {
        self.closing.get().is_some_and(|since| since.elapsed() > PEER_CLOSE_TIMEOUT)
    }

    /// Shuts the connection down without a close frame.
    pub fn abort(&self) {
        let _ = self.closing.set(Instant::now());
        self.socket.shutdown();
    }

    /// Writes all of `slices` within `timeout`, which must be the socket's write timeout, or aborts the tunnel. The caller
    /// holds the write lock.
    fn write_all(&self, slices: &mut [IoSlice<'_>], timeout: Duration) -> Result<(), TunnelError> {
        self.socket.write_all(slices, Some(timeout)).map_err(|error| self.fail(error))
    }

    /// Aborts the tunnel, because part of a frame may have been written.
    fn fail(&self, error: io::Error) -> TunnelError {
        self.abort();
        if is_timeout(&error) { TunnelError::WriteTimeout } else { TunnelError::Io(error) }
    }

    /// Sends one frame. `parts` are its payload.
    pub(super) fn send(&self, opcode: OpCode, parts: &[&[u8]]) -> Result<(), TunnelError> {
        let mut lock = self.lock();
        if self.is_closing() {
            return Err(TunnelError::Closed);
        }
        self.write_frame(&mut lock.buffer, opcode, parts, self.write_timeout)
    }

    /// Writes one frame. A server's payload is written from where it is; a client's is copied, because it has to be masked.
    fn write_frame(
        &self,
        buffer: &mut Vec<u8>,
        opcode: OpCode,
        parts: &[&[u8]],
        timeout: Duration,
    ) -> Result<(), TunnelError> {
        if self.role == Role::Client {
            add_frame(buffer, self.role, opcode, parts)?;
            return self.write_buffered(buffer, &[], timeout);
        }
        write_header(buffer, opcode, None, total_len(parts)).map_err(TunnelError::Io)?;
        self.write_buffered(buffer, parts, timeout)
    }

    /// Writes the buffer followed by `parts`, and empties the buffer.
    fn write_buffered(&self, buffer: &mut Vec<u8>, parts: &[&[u8]], timeout: Duration) -> Result<(), TunnelError> {
        let mut slices = Vec::with_capacity(1 + parts.len());
        slices.push(IoSlice::new(buffer));
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        let written = self.write_all(&mut slices, timeout);
        buffer.clear();
        buffer.shrink_to(KEPT_CAPACITY);
        written
    }

    /// Answers the peer's close frame with the same payload, unless our own close frame has been sent already.
    pub(super) fn echo_close(&self, payload: &[u8]) {
        let mut lock = self.lock();
        if self.closing.set(Instant::now()).is_ok() {
            let _ = self.write_frame(&mut lock.buffer, OpCode::Control(Control::Close), &[payload], self.write_timeout);
        }
    }
}

/// The write lock. Released, it leaves no answer to a ping behind.
struct WriteLock<'s> {
    buffer: MutexGuard<'s, Vec<u8>>,
    /// Declared after `buffer`, so that the lock has been released when the answers are sent.
    _answers: SendAnswers<'s>,
}

/// Sends the answers to pings that wait when it is dropped.
struct SendAnswers<'s>(&'s TunnelStream);

impl Drop for SendAnswers<'_> {
    fn drop(&mut self) {
        // After a write error the tunnel is aborted, and its reader ends it.
        let _ = self.0.send_answers();
    }
}

/// When a tunnel that is closed now must be closed.
pub fn close_deadline() -> Instant {
    Instant::now() + CLOSE_TIMEOUT
}

/// The writing end. Clones write to the same tunnel.
#[derive(Clone)]
pub struct Writer(pub(super) Arc<TunnelStream>);

impl Writer {
    /// Sends the HTTP head that upgrades the connection. `open` runs before that under the write lock and registers the tunnel,
    /// so that a peer that has read the head is reachable, and no message is sent before the head.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn send_upgrade<T>(&self, head: &[u8], open: impl FnOnce() -> T) -> Result<T, TunnelError> {
        let _buffer = self.0.lock();
        let opened = open();
        self.0.write_all(&mut [IoSlice::new(head)], self.0.write_timeout)?;
        Ok(opened)
    }

    /// Sends a text message. Its `parts` are concatenated and must be UTF-8.
    ///
    /// # Errors
    /// [`TunnelError`]. The tunnel has ended then.
    pub fn text(&self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        self.0.send(OpCode::Data(Data::Text), parts)
    }

    /// Sends a text message, and a binary message right behind it. The `parts` of each are concatenated; those of the text must be
    /// UTF-8.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn text_with_binary(&self, text: &[&[u8]], binary: &[&[u8]]) -> Result<(), TunnelError> {
        let mut lock = self.0.lock();
        if self.0.is_closing() {
            return Err(TunnelError::Closed);
        }
        let buffer = &mut *lock.buffer;
        add_frame(buffer, self.0.role, OpCode::Data(Data::Text), text)?;
        self.0.write_frame(buffer, OpCode::Data(Data::Binary), binary, self.0.write_timeout)
    }

    /// A batch without messages.
    pub fn new_batch(&self) -> Batch {
        Batch::new(self.0.role)
    }

    /// Sends the messages of a batch, in order and in one write, and empties it, also if that fails.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn send(&self, batch: &mut Batch) -> Result<(), TunnelError> {
        if batch.len() == 0 {
            return Ok(());
        }
        let _lock = self.0.lock();
        if self.0.is_closing() {
            batch.frames.clear();
            return Err(TunnelError::Closed);
        }
        self.0.write_buffered(&mut batch.frames, &[], self.0.write_timeout)
    }

    /// As [`Writer::send`]. `before_wait` is called before it waits for another message that is being sent, or for the peer to read:
    /// whoever reads this tunnel lets another thread read it then. The peer may be waiting for that before it reads. It may be called
    /// twice, and must not write to the tunnel.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn send_and_wait(&self, batch: &mut Batch, mut before_wait: impl FnMut()) -> Result<(), TunnelError> {
        if batch.len() == 0 {
            return Ok(());
        }
        let _lock = self.0.try_write_lock().unwrap_or_else(|| {
            before_wait();
            self.0.lock()
        });
        let bytes = &mut batch.frames;
        if self.0.is_closing() {
            bytes.clear();
            return Err(TunnelError::Closed);
        }
        let sent = self.0.socket.write_ready(&[IoSlice::new(bytes)]);
        let sent = sent.map_err(|error| self.0.fail(error)).and_then(|sent| {
            if sent == bytes.len() {
                return Ok(());
            }
            before_wait();
            self.0.write_all(&mut [IoSlice::new(&bytes[sent..])], self.0.write_timeout)
        });
        bytes.clear();
        bytes.shrink_to(KEPT_CAPACITY);
        sent
    }

    /// Answers a ping that came as a text message with one. Where another message is being sent, that is waited for by the
    /// thread that sends it, not by this one.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn answer(&self, text: &[u8]) -> Result<(), TunnelError> {
        self.0.answer(OpCode::Data(Data::Text), text)
    }

    /// Sends the close frame, once, and shuts down the sending direction. The reader ends within two seconds and its read timeout,
    /// even if the peer does not answer, or goes on sending. Takes two seconds at most; a peer that does not read is cut off.
    pub fn close(&self, code: u16, reason: &str) {
        self.close_until(code, reason, close_deadline());
    }

    /// As [`Writer::close`], by a deadline in place of two seconds. After it a peer still gets the close frame if it can be sent
    /// without waiting.
    pub fn close_until(&self, code: u16, reason: &str, deadline: Instant) {
        let stream = &self.0;
        if stream.is_closing() {
            return;
        }
        let Some(mut lock) = stream.lock_until(deadline) else {
            return stream.abort();
        };
        if stream.closing.set(Instant::now()).is_err() {
            return;
        }
        let payload = format_close(code, reason);
        let close = OpCode::Control(Control::Close);
        let left = deadline.saturating_duration_since(Instant::now()).max(MIN_CLOSE_WRITE);
        let ready = stream.socket.set_write_timeout(Some(left)).is_ok();
        if ready && stream.write_frame(&mut lock.buffer, close, &[&payload], left).is_ok() {
            stream.socket.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::net::io::socket_pair;

    #[test]
    fn a_batch_is_empty_after_it_was_sent_and_after_that_failed() {
        let (_peer, socket) = socket_pair();
        let stream = Arc::new(Stream::from(socket));
        let writer = Writer(TunnelStream::new(stream, Role::Client, CLOSE_TIMEOUT).unwrap());
        let mut batch = writer.new_batch();
        for succeeds in [true, false] {
            batch.text(&[b"text"]).unwrap();
            assert_eq!((writer.send(&mut batch).is_ok(), batch.len()), (succeeds, 0));
            writer.close(1000, "");
        }
    }

    #[test]
    fn whoever_would_have_to_wait_says_so_before() {
        let (mut peer, socket) = socket_pair();
        let stream = Arc::new(Stream::from(socket));
        let writer = Writer(TunnelStream::new(stream, Role::Client, Duration::from_secs(60)).unwrap());
        let mut batch = writer.new_batch();
        let (waiting, waits) = crossbeam_channel::unbounded();
        let mut send = |text: &[u8]| {
            batch.text(&[text]).unwrap();
            writer.send_and_wait(&mut batch, || waiting.send(()).unwrap()).unwrap();
        };
        send(b"short");
        assert_eq!(waits.is_empty(), cfg!(target_os = "linux"));
        thread::scope(|scope| {
            let lock = writer.0.lock();
            // More than a socket takes.
            scope.spawn(|| send(&vec![b'x'; 16 << 20]));
            waits.recv_timeout(Duration::from_secs(20)).unwrap();
            drop(lock);
            waits.recv_timeout(Duration::from_secs(20)).unwrap();
            let mut read = vec![0; 16 << 20];
            peer.read_exact(&mut read).unwrap();
        });
    }
}
