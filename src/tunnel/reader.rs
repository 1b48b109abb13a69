//! The reading end of a tunnel. It assembles messages from frames and answers pings and close frames through the write lock, so
//! that frames never interleave. Messages are borrowed from its buffer.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::IncomingBody;
use super::codec::{self, CloseError, Control, Data, OpCode, ParsedHeader, Role};
use super::error::TunnelError;
use super::read_buffer::{LARGE_BUFFER, ReadBuffer};
use super::writer::{TunnelStream, Writer};
use crate::budget::Share;
use crate::net::io::is_timeout;
use crate::net::stream::Stream;

/// How often a blocked read checks whether the tunnel is being closed: the socket's read timeout at first.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// One result of [`Reader::read`].
#[derive(Debug)]
pub enum Received<'r> {
    /// A text message.
    Text(&'r str),
    /// A binary message.
    Binary(&'r [u8]),
    /// The body that [`Reader::expect_body`] announced.
    Body(Vec<u8>),
    /// A WebSocket ping or pong.
    KeepAlive,
    /// The peer's close frame, which has been answered.
    Closed {
        /// The status code, if present.
        code: Option<u16>,
        /// The reason, empty if absent.
        reason: String,
    },
}

/// The reading end. Used by one thread at a time.
pub struct Reader {
    stream: Arc<TunnelStream>,
    /// The longest message, in bytes.
    max_message: usize,
    buffer: ReadBuffer,
    /// The fragments received so far of an unfinished message, and its type.
    fragments: Option<(Data, Vec<u8>)>,
    /// The last message that was assembled from fragments; kept while it is borrowed.
    assembled: Vec<u8>,
    /// A body that was announced: the next message.
    body: Option<IncomingBody>,
    /// The memory budget that the buffer and the fragments are charged to while they are large.
    memory: Option<Share>,
    /// The socket's read timeout.
    read_timeout: Duration,
}

/// The result of one step of reading.
enum Step {
    /// A message or a control frame is complete.
    Complete(Payload),
    /// More bytes have come, but no complete frame.
    Partial,
    /// Nothing came within the read timeout.
    TimedOut,
}

/// Where the payload of a complete frame or message is stored.
enum Payload {
    /// A control frame, in the buffer.
    Control(Control, Range<usize>),
    /// An unfragmented message, in the buffer.
    Message(Data, Range<usize>),
    /// A message in `assembled`.
    Assembled(Data),
    /// A body that was announced.
    Body(IncomingBody),
}

impl Reader {
    /// `read_ahead` was read from the socket after the handshake's head.
    pub(super) fn new(stream: Arc<TunnelStream>, read_ahead: Vec<u8>, max_message: usize) -> Self {
        Reader {
            stream,
            max_message,
            buffer: ReadBuffer::new(read_ahead),
            fragments: None,
            assembled: Vec::new(),
            body: None,
            memory: None,
            read_timeout: READ_TIMEOUT,
        }
    }

    /// Charges the memory for long messages to `memory`. If that is exhausted, the tunnel ends with [`TunnelError::NoMemory`].
    #[must_use]
    pub fn with_memory(mut self, memory: Share) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Announces that the next message is a body of so many bytes. It is read without a copy into the buffer. Only for a client,
    /// whose peer does not mask.
    ///
    /// # Errors
    /// [`TunnelError::TooLarge`], and the tunnel has ended.
    pub fn expect_body(&mut self, bytes: usize) -> Result<(), TunnelError> {
        if bytes > self.max_message {
            return Err(close_with(&self.stream, TunnelError::TooLarge));
        }
        self.body = Some(IncomingBody::new(bytes));
        Ok(())
    }

    /// Ends the tunnel because of a message that breaks the protocol.
    pub fn reject(&mut self, reason: &'static str) -> TunnelError {
        close_with(&self.stream, TunnelError::Protocol(reason))
    }

    /// Waits for the next message or control frame. The result borrows the buffer until the next call. Calls `watch` with what has
    /// arrived of an announced body, as long as it is incomplete.
    ///
    /// # Errors
    /// [`TunnelError`] when the tunnel has ended. If the peer violated a rule, a close frame with the reason has been sent.
    pub fn read(&mut self, mut watch: impl FnMut(&[u8])) -> Result<Received<'_>, TunnelError> {
        loop {
            match self.next_step() {
                Ok(Step::Partial) => self.body.iter().for_each(|body| watch(body.arrived())),
                Ok(Step::TimedOut) => {}
                Ok(Step::Complete(payload)) => return self.receive(payload),
                Err(error) => return Err(close_with(&self.stream, error)),
            }
        }
    }

    /// As [`Reader::read`], but `None` if no message is complete after `timeout`, which later reads keep. A peer that sends a
    /// message in small pieces can at most double the time.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_within(&mut self, timeout: Duration) -> Result<Option<Received<'_>>, TunnelError> {
        if self.read_timeout != timeout {
            self.stream.socket.set_read_timeout(Some(timeout)).map_err(TunnelError::Io)?;
            self.read_timeout = timeout;
        }
        let started = Instant::now();
        loop {
            match self.next_step() {
                Ok(Step::Partial) if started.elapsed() < timeout => {}
                Ok(Step::Partial | Step::TimedOut) => return Ok(None),
                Ok(Step::Complete(payload)) => return self.receive(payload).map(Some),
                Err(error) => return Err(close_with(&self.stream, error)),
            }
        }
    }

    fn receive(&mut self, payload: Payload) -> Result<Received<'_>, TunnelError> {
        match payload {
            Payload::Control(control, range) => self.handle_control(control, range),
            Payload::Message(data, range) => decode_message(&self.stream, data, self.buffer.consumed(range)),
            Payload::Assembled(data) => decode_message(&self.stream, data, &self.assembled),
            Payload::Body(body) => Ok(Received::Body(body.into_bytes())),
        }
    }

    /// Whether the buffer holds a complete frame, so that the next read makes progress without waiting.
    pub fn has_buffered_frame(&mut self) -> bool {
        self.buffer.has_frame()
    }

    /// Waits until this tunnel or another connection has something to read; tells of each whether it has.
    ///
    /// # Errors
    /// As [`Stream::wait_for_either`]; where a part of a message is here already, too.
    pub fn wait_for_either(&self, other: &Stream, timeout: Duration) -> io::Result<[bool; 2]> {
        if !self.buffer.is_empty() || self.body.is_some() || self.fragments.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.stream.socket.wait_for_either(other, timeout)
    }

    /// Consumes one frame, or reads more bytes of it.
    fn next_step(&mut self) -> Result<Step, TunnelError> {
        self.assembled = Vec::new();
        if self.body.as_ref().is_some_and(|body| body.missing() > 0) {
            return self.fill_body();
        }
        let parsed = self.buffer.header().map_err(TunnelError::Protocol)?;
        let Some(ParsedHeader { header, header_len, payload_len }) = parsed.cloned() else {
            return self.fill_buffer(codec::MAX_HEADER);
        };
        if header.mask.is_some() != (self.stream.role == Role::Server) {
            return Err(TunnelError::Protocol("a frame from a client is not masked, or one from a server is"));
        }
        if let (Some(body), OpCode::Data(_)) = (&mut self.body, header.opcode) {
            body.begin_frame(header.opcode, header.is_final, payload_len)?;
            self.buffer.consume(header_len);
            return Ok(self.take_body());
        }
        let payload_len = self.check_length(header.opcode, payload_len)?;
        if self.buffer.unread().len() < header_len + payload_len {
            return self.fill_buffer(header_len + payload_len);
        }
        self.buffer.consume(header_len);
        let range = self.buffer.consume(payload_len);
        if let Some(mask) = header.mask {
            codec::apply_mask(self.buffer.consumed_mut(range.clone()), mask);
        }
        let payload = match header.opcode {
            OpCode::Control(control) => Some(Payload::Control(control, range)),
            OpCode::Data(data) if header.is_final && data != Data::Continue => Some(Payload::Message(data, range)),
            OpCode::Data(data) => self.add_fragment(data, header.is_final, range),
        };
        Ok(payload.map_or(Step::Partial, Step::Complete))
    }

    /// Adds what is buffered of a body, or else reads from the socket, directly into the body.
    fn fill_body(&mut self) -> Result<Step, TunnelError> {
        let Some(body) = &mut self.body else { return Ok(Step::Partial) };
        if !self.buffer.is_empty() {
            let taken = body.push(self.buffer.unread());
            self.buffer.consume(taken);
        } else {
            self.buffer.shrink_before_body();
            let read = body.read_with(|bytes, most| self.stream.socket.read_to(bytes, most));
            if self.check_read(read)?.is_none() {
                return Ok(Step::TimedOut);
            }
        }
        Ok(self.take_body())
    }

    /// The body, if it is complete.
    fn take_body(&mut self) -> Step {
        let body = self.body.take_if(|body| body.is_complete());
        body.map_or(Step::Partial, |body| Step::Complete(Payload::Body(body)))
    }

    /// Checks that a frame may follow the previous ones and that its message is not too long. Returns its payload's length.
    fn check_length(&self, opcode: OpCode, payload_len: u64) -> Result<usize, TunnelError> {
        let earlier = match (opcode, &self.fragments) {
            (OpCode::Control(_), _) => 0,
            (OpCode::Data(Data::Continue), Some((_, fragments))) => fragments.len(),
            (OpCode::Data(Data::Continue), None) => {
                return Err(TunnelError::Protocol("a continuation frame has no message to continue"));
            }
            (OpCode::Data(_), Some(_)) => {
                return Err(TunnelError::Protocol("a message begins before the previous one is complete"));
            }
            (OpCode::Data(_), None) => 0,
        };
        let payload_len = usize::try_from(payload_len).ok().filter(|length| *length <= self.max_message - earlier);
        payload_len.ok_or(TunnelError::TooLarge)
    }

    /// Appends a fragment to its message.
    fn add_fragment(&mut self, data: Data, is_final: bool, range: Range<usize>) -> Option<Payload> {
        let (data, mut bytes) = self.fragments.take().unwrap_or((data, Vec::new()));
        bytes.extend_from_slice(self.buffer.consumed(range));
        if is_final {
            self.assembled = bytes;
            return Some(Payload::Assembled(data));
        }
        self.fragments = Some((data, bytes));
        None
    }

    /// Reads once from the socket. `needed` is the length of the current frame, as far as it is known.
    fn fill_buffer(&mut self, needed: usize) -> Result<Step, TunnelError> {
        self.buffer.make_room(needed);
        self.reserve_memory()?;
        let read = self.stream.socket.read(self.buffer.room());
        Ok(match self.check_read(read)? {
            Some(read) => {
                self.buffer.add(read);
                Step::Partial
            }
            None => {
                self.buffer.release_if_empty();
                Step::TimedOut
            }
        })
    }

    /// How many bytes were read; `None` where none came in time.
    fn check_read(&self, read: io::Result<usize>) -> Result<Option<usize>, TunnelError> {
        match read {
            Ok(0) => Err(TunnelError::Closed),
            Ok(_) if self.stream.is_overdue() => Err(TunnelError::Closed),
            Ok(read) => Ok(Some(read)),
            // Encrypted, and without TLS's close alert. A tunnel's orderly end is its close frame.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(TunnelError::Closed),
            Err(error) if is_timeout(&error) && self.stream.is_closing() => Err(TunnelError::Closed),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(TunnelError::Io(error)),
        }
    }

    /// Adjusts the share of the memory budget to what is held. Up to `LARGE_BUFFER` bytes are not charged.
    fn reserve_memory(&mut self) -> Result<(), TunnelError> {
        let Some(memory) = &mut self.memory else { return Ok(()) };
        let held = self.buffer.size() + self.fragments.as_ref().map_or(0, |(_, fragments)| fragments.len());
        let charged = if held > LARGE_BUFFER { held as u64 } else { 0 };
        memory.shrink_to(charged);
        if memory.grow_to(charged) { Ok(()) } else { Err(TunnelError::NoMemory) }
    }

    fn handle_control(&mut self, control: Control, range: Range<usize>) -> Result<Received<'static>, TunnelError> {
        let payload = self.buffer.consumed(range);
        match control {
            Control::Ping => match self.stream.answer(OpCode::Control(Control::Pong), payload) {
                // Our close frame has been sent already; no pong may follow it.
                Ok(()) | Err(TunnelError::Closed) => Ok(Received::KeepAlive),
                Err(error) => Err(error),
            },
            Control::Close => match codec::parse_close(payload) {
                Ok((code, reason)) => {
                    self.stream.echo_close(payload);
                    Ok(Received::Closed { code, reason: reason.to_owned() })
                }
                Err(CloseError::Code) => {
                    Err(close_with(&self.stream, TunnelError::Protocol("a close frame has an invalid status code")))
                }
                Err(CloseError::Reason) => Err(close_with(&self.stream, TunnelError::NotUtf8)),
            },
            // The parser rejects reserved opcodes.
            Control::Pong | Control::Reserved(_) => Ok(Received::KeepAlive),
        }
    }
}

/// Checks that a text message is UTF-8.
fn decode_message<'b>(stream: &Arc<TunnelStream>, data: Data, bytes: &'b [u8]) -> Result<Received<'b>, TunnelError> {
    if data != Data::Text {
        return Ok(Received::Binary(bytes));
    }
    simdutf8::basic::from_utf8(bytes).map(Received::Text).map_err(|_| close_with(stream, TunnelError::NotUtf8))
}

/// Closes the tunnel with the status code for `error` (RFC 6455, section 7.4.1) if the peer or a limit caused it.
fn close_with(stream: &Arc<TunnelStream>, error: TunnelError) -> TunnelError {
    let code = match error {
        TunnelError::TooLarge => 1009,
        TunnelError::NotUtf8 => 1007,
        TunnelError::Protocol(_) => 1002,
        TunnelError::NoMemory => 1013,
        _ => return error,
    };
    Writer(stream.clone()).close(code, &error.to_string());
    error
}

impl Drop for Reader {
    /// A tunnel without a reader is unusable, so the connection is shut down.
    fn drop(&mut self) {
        self.stream.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::net::io::socket_pair;
    use crate::tunnel::codec::{format_close, raw_frame, write_header};
    use crate::tunnel::{TunnelEnds, TunnelLimits, serve};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// The hub's end of a tunnel, and the raw socket of its participant.
    struct TestTunnel {
        reader: Reader,
        writer: Writer,
        peer: TcpStream,
    }

    /// A masked frame, as a participant sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        raw_frame(first, Some(MASK), payload)
    }

    impl TestTunnel {
        fn new(max_message: usize) -> Self {
            let (peer, socket) = socket_pair();
            let stream = Arc::new(socket.into());
            let limits = TunnelLimits { max_message, ..TunnelLimits::default() };
            let TunnelEnds { reader, writer } = serve(stream, frame(0x81, b"ahead"), limits).unwrap();
            TestTunnel { reader, writer, peer }
        }

        /// The results of reading these frames and the end of the connection, and the bytes sent in return.
        fn results_of(mut self, frames: &[Vec<u8>]) -> (Vec<String>, Vec<u8>) {
            self.peer.write_all(&frames.concat()).unwrap();
            self.peer.shutdown(std::net::Shutdown::Write).unwrap();
            let mut seen = Vec::new();
            loop {
                seen.push(match self.reader.read(|_| ()) {
                    Ok(Received::Text(text)) => format!("text {text}"),
                    Ok(Received::Binary(bytes)) => format!("binary {bytes:?}"),
                    Ok(Received::Body(body)) => format!("body {body:?}"),
                    Ok(Received::KeepAlive) => "keep-alive".into(),
                    Ok(Received::Closed { code, reason }) => format!("closed {code:?} {reason}"),
                    Err(error) => format!("{error}"),
                });
                if matches!(seen.last(), Some(last) if last.contains("closed") || last.contains(" is ") || last.contains("broke"))
                {
                    break;
                }
            }
            drop((self.reader, self.writer));
            let mut sent = Vec::new();
            let _ = self.peer.read_to_end(&mut sent);
            (seen, sent)
        }
    }

    #[test]
    fn messages_are_assembled_however_they_were_fragmented() {
        let frames = [
            frame(0x01, b"a"),
            frame(0x89, b"ping"),
            frame(0x00, "\u{fc}".as_bytes().split_at(1).0),
            frame(0x80, "\u{fc}".as_bytes().split_at(1).1),
            frame(0x8A, b""),
            frame(0x82, b"\x00\xff"),
            frame(0x81, b""),
            frame(0x88, &format_close(1000, "bye")),
        ];
        let (seen, sent) = TestTunnel::new(100).results_of(&frames);
        let all = [
            "text ahead",
            "keep-alive",
            "text a\u{fc}",
            "keep-alive",
            "binary [0, 255]",
            "text ",
            "closed Some(1000) bye",
        ];
        assert_eq!(seen, all);
        assert_eq!(sent, [b"\x8A\x04ping".as_slice(), b"\x88\x05\x03\xE8bye"].concat());
    }

    #[test]
    fn long_messages_are_charged_to_the_memory_budget_and_released() {
        let budget = Budget::new(1 << 20);
        let mut tunnel = TestTunnel::new(16 << 20);
        tunnel.reader = tunnel.reader.with_memory(budget.share());
        let long = frame(0x82, &vec![b'x'; 700_000]);
        let mut peer = tunnel.peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..2 {
                peer.write_all(&long).unwrap();
            }
            peer.write_all(&frame(0x81, b"short")).unwrap();
            // Fails once the reader has closed the tunnel.
            let _ = peer.write_all(&frame(0x82, &vec![b'x'; 4 << 20]));
        });
        let mut lengths = Vec::new();
        let error = loop {
            match tunnel.reader.read(|_| ()) {
                Ok(Received::Text(text)) => lengths.push(text.len()),
                Ok(Received::Binary(bytes)) => lengths.push(bytes.len()),
                Ok(_) => {}
                Err(error) => break error,
            }
            assert!(budget.used() <= 1 << 20);
        };
        assert!(matches!(error, TunnelError::NoMemory), "{error}");
        assert_eq!(lengths, [5, 700_000, 700_000, 5]);
        drop(tunnel);
        assert_eq!(budget.used(), 0);
        writing.join().unwrap();
    }

    #[test]
    fn the_usual_messages_are_read_without_memory_of_the_budget() {
        let mut tunnel = TestTunnel::new(16 << 20);
        tunnel.reader = tunnel.reader.with_memory(Budget::new(0).share());
        // As long as a participant's are, with the request's id.
        let usual = frame(0x82, &vec![b'x'; (44 << 10) + 40]);
        let mut peer = tunnel.peer.try_clone().unwrap();
        let writing = thread::spawn(move || peer.write_all(&usual.repeat(40)));
        let mut messages = 0;
        while messages < 40 {
            messages += usize::from(matches!(tunnel.reader.read(|_| ()).unwrap(), Received::Binary(_)));
        }
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn a_peer_that_violates_a_rule_gets_the_close_code_for_it() {
        let cases: [(&[Vec<u8>], u16); 9] = [
            (&[b"\x81\x01a".to_vec()], 1002),
            (&[frame(0xC1, b"a")], 1002),
            (&[frame(0x80, b"a")], 1002),
            (&[frame(0x01, b"a"), frame(0x81, b"b")], 1002),
            (&[frame(0x88, b"\x03")], 1002),
            (&[frame(0x81, b"\xff")], 1007),
            (&[frame(0x01, b"\xc3"), frame(0x80, b"x")], 1007),
            (&[frame(0x81, &[b'x'; 101])], 1009),
            (&[frame(0x01, &[b'x'; 60]), frame(0x80, &[b'x'; 60])], 1009),
        ];
        for (frames, code) in cases {
            let (_, sent) = TestTunnel::new(100).results_of(frames);
            assert_eq!(sent.get(2..4), Some(&code.to_be_bytes()[..]), "{frames:?}");
        }
    }

    #[test]
    fn a_buffer_shrinks_after_a_long_message_and_on_an_idle_tunnel() {
        let mut tunnel = TestTunnel::new(1 << 20);
        assert!(matches!(tunnel.reader.read(|_| ()), Ok(Received::Text("ahead"))));
        let long = vec![7; 300_000];
        let (bytes, mut peer) = (frame(0x82, &long), tunnel.peer.try_clone().unwrap());
        let sender = std::thread::spawn(move || {
            peer.write_all(&bytes).unwrap();
            peer.write_all(&frame(0x81, b"short")).unwrap();
        });
        assert!(matches!(tunnel.reader.read(|_| ()), Ok(Received::Binary(bytes)) if bytes == long));
        assert!(tunnel.reader.buffer.size() <= 300_014, "no longer than the frame");
        sender.join().unwrap();
        assert!(matches!(tunnel.reader.read(|_| ()), Ok(Received::Text("short"))));
        assert!(tunnel.reader.buffer.size() <= LARGE_BUFFER);
        // One read timeout without traffic.
        tunnel.writer.0.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        tunnel.reader.fill_buffer(1).unwrap();
        assert_eq!(tunnel.reader.buffer.size(), 0);
        assert!(!tunnel.reader.has_buffered_frame());
    }

    #[test]
    fn memory_for_a_payload_is_not_allocated_before_it_arrives() {
        let mut tunnel = TestTunnel::new(1 << 30);
        tunnel.reader.read(|_| ()).unwrap();
        let mut header = Vec::new();
        write_header(&mut header, OpCode::Data(Data::Binary), Some(MASK), 1 << 29).unwrap();
        tunnel.peer.write_all(&header).unwrap();
        while !matches!(tunnel.reader.next_step(), Ok(Step::Partial | Step::TimedOut))
            || tunnel.reader.buffer.unread().len() < header.len()
        {}
        assert!(tunnel.reader.buffer.size() <= LARGE_BUFFER);
    }

    #[test]
    fn a_peer_that_goes_on_sending_does_not_keep_a_closed_tunnel() {
        let mut tunnel = TestTunnel::new(100);
        tunnel.writer.close(1000, "");
        let message = frame(0x81, b"more");
        let mut peer = tunnel.peer.try_clone().unwrap();
        let sending = thread::spawn(move || {
            while peer.write_all(&message).is_ok() {
                thread::yield_now();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let ended = loop {
            let read = tunnel.reader.read(|_| ());
            if read.is_err() || Instant::now() > deadline {
                break read;
            }
        };
        assert!(matches!(ended, Err(TunnelError::Closed)), "{ended:?}");
        drop(tunnel);
        sending.join().unwrap();
    }

    #[test]
    fn a_message_in_small_pieces_keeps_no_reader_longer_than_it_wants() {
        let mut tunnel = TestTunnel::new(1 << 30);
        tunnel.reader.read(|_| ()).unwrap();
        let mut header = Vec::new();
        write_header(&mut header, OpCode::Data(Data::Binary), Some(MASK), 1 << 29).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                tunnel.peer.write_all(&header).unwrap();
                while !done.load(Ordering::SeqCst) {
                    tunnel.peer.write_all(b"x").unwrap();
                    thread::yield_now();
                }
            });
            assert!(tunnel.reader.read_within(Duration::from_millis(50)).unwrap().is_none());
            done.store(true, Ordering::SeqCst);
        });
    }
}
