//! A tunnel's reading end: messages out of frames, lent from one buffer that is large only while it has to be. It answers
//! pings and close frames, through the writers' lock, so that frames never interleave.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::frames::{BadClose, Head, Opcode, apply_mask, read_close, read_head};
use super::writer::{Role, TunnelError, TunnelStream, Writer, is_timeout};
use crate::budget::Share;

/// How long a reader waits before it looks whether its tunnel is being closed.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The buffer of a tunnel on which little is said, and the most that is read at a time on one on which much is.
const SMALL: usize = 1 << 10;
const LARGE: usize = 64 << 10;

/// What a reader reads.
#[derive(Debug)]
pub enum Incoming<'r> {
    /// A text message.
    Text(&'r str),
    /// A binary message.
    Binary(&'r [u8]),
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

/// The reading end. One thread reads.
pub struct Reader {
    wire: Arc<TunnelStream>,
    max_message: usize,
    /// Read and not yet used: `from..to` of it.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// A message that comes in parts, as far as it has come, and its kind.
    parts: Option<(Opcode, Vec<u8>)>,
    /// One whose parts have all come, while it is lent.
    whole: Vec<u8>,
    /// What the buffer and the parts draw on once they are large.
    memory: Option<Share>,
}

/// Where a message is.
enum Found {
    /// In the buffer.
    Here(Opcode, std::ops::Range<usize>),
    /// Put together from its parts.
    Whole(Opcode),
    /// Its end has not come.
    NotYet,
}

impl Reader {
    pub(super) fn new(wire: Arc<TunnelStream>, read_ahead: Vec<u8>, max_message: usize) -> Self {
        let to = read_ahead.len();
        Reader { wire, max_message, buffer: read_ahead, from: 0, to, parts: None, whole: Vec::new(), memory: None }
    }

    /// Counts what it holds of long messages in `memory`; where that does not suffice, the tunnel ends.
    #[must_use]
    pub fn within(mut self, memory: Share) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Waits for the next message. It is lent until the next one is asked for.
    ///
    /// # Errors
    /// When the tunnel is over: [`TunnelError`]. A peer that broke a rule has been told so.
    pub fn read(&mut self) -> Result<Incoming<'_>, TunnelError> {
        let found = loop {
            match self.step() {
                Ok(Found::NotYet) => {}
                Ok(found) => break found,
                Err(error) => return Err(told(&self.wire, error)),
            }
        };
        match found {
            Found::Here(opcode, range) if opcode.is_control() => self.control(opcode, range),
            Found::Here(opcode, range) => lend(&self.wire, opcode, &self.buffer[range]),
            Found::Whole(opcode) => lend(&self.wire, opcode, &self.whole),
            Found::NotYet => Ok(Incoming::Alive),
        }
    }

    /// Whether the next message, or a part of it, can be taken without waiting.
    pub fn has_more(&self) -> bool {
        self.whole_frame().is_ok_and(|frame| frame.is_some())
    }

    /// The next frame's head, if the frame is there as a whole.
    fn whole_frame(&self) -> Result<Option<Head>, TunnelError> {
        let ready = &self.buffer[self.from..self.to];
        let head = read_head(ready).map_err(TunnelError::Protocol)?;
        Ok(head.filter(|head| (ready.len() - head.size) as u64 >= head.length))
    }

    /// Takes a frame, or reads more towards it.
    fn step(&mut self) -> Result<Found, TunnelError> {
        self.whole = Vec::new();
        let ready = &self.buffer[self.from..self.to];
        let Some(head) = read_head(ready).map_err(TunnelError::Protocol)? else {
            self.more(super::frames::MAX_HEAD)?;
            return Ok(Found::NotYet);
        };
        let length = self.check(&head)?;
        if ready.len() < head.size + length {
            self.more(head.size + length)?;
            return Ok(Found::NotYet);
        }
        let range = self.from + head.size..self.from + head.size + length;
        self.from = range.end;
        if let Some(mask) = head.mask {
            apply_mask(&mut self.buffer[range.clone()], mask);
        }
        if head.opcode.is_control() || (head.last && head.opcode != Opcode::Continue) {
            return Ok(Found::Here(head.opcode, range));
        }
        Ok(self.part(&head, range))
    }

    /// Whether a frame may stand where it does: the bytes of its payload.
    fn check(&self, head: &Head) -> Result<usize, TunnelError> {
        if head.mask.is_some() != (self.wire.role == Role::Server) {
            return Err(TunnelError::Protocol("a frame is masked where it must not be, or not where it must"));
        }
        let before = match (&self.parts, head.opcode) {
            (_, control) if control.is_control() => 0,
            (Some((_, parts)), Opcode::Continue) => parts.len(),
            (None, Opcode::Continue) => return Err(TunnelError::Protocol("a message goes on that has not begun")),
            (Some(_), _) => return Err(TunnelError::Protocol("a message begins within another one")),
            (None, _) => 0,
        };
        let length = usize::try_from(head.length).ok().filter(|length| *length <= self.max_message - before);
        length.ok_or(TunnelError::TooLarge)
    }

    /// Adds a part to its message.
    fn part(&mut self, head: &Head, range: std::ops::Range<usize>) -> Found {
        let (opcode, mut bytes) = self.parts.take().unwrap_or((head.opcode, Vec::new()));
        bytes.extend_from_slice(&self.buffer[range]);
        if head.last {
            self.whole = bytes;
            return Found::Whole(opcode);
        }
        self.parts = Some((opcode, bytes));
        Found::NotYet
    }

    /// Reads what is there, on the way to a frame of `need` bytes.
    fn more(&mut self, need: usize) -> Result<(), TunnelError> {
        self.make_room(need);
        self.reserve()?;
        match (&*self.wire.stream).read(&mut self.buffer[self.to..]) {
            Ok(0) => return Err(TunnelError::Closed),
            Ok(read) => self.to += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && self.wire.is_closing() => return Err(TunnelError::Closed),
            // Nothing is said: the buffer need not be larger than that takes.
            Err(error) if is_timeout(&error) && self.from == self.to => {
                (self.buffer, self.from, self.to) = (Vec::new(), 0, 0)
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(TunnelError::Io(error)),
        }
        Ok(())
    }

    /// Sees to it that something can be read. The buffer grows with what has come, not with what a frame claims to be.
    fn make_room(&mut self, need: usize) {
        let full = self.to == self.buffer.len();
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
            // What fitted once and no more, such as a long message, is let go of.
            if self.buffer.len() > LARGE {
                self.buffer = Vec::new();
            }
        } else if self.buffer.len() - self.from < need && self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let length = self.buffer.len();
        if length < SMALL {
            self.buffer.resize(SMALL, 0);
        } else if full && length < LARGE {
            // A read that filled it may have left something behind.
            self.buffer.resize((length * 4).min(LARGE), 0);
        } else if self.to == length {
            self.buffer.resize((length * 2).min(need.max(LARGE)), 0);
        }
    }

    fn reserve(&mut self) -> Result<(), TunnelError> {
        let Some(memory) = &mut self.memory else { return Ok(()) };
        let held = self.buffer.len() + self.parts.as_ref().map_or(0, |(_, parts)| parts.len());
        let counted = if held > LARGE { held as u64 } else { 0 };
        memory.shrink_to(counted);
        if memory.grow_to(counted) { Ok(()) } else { Err(TunnelError::NoMemory) }
    }

    fn control(&mut self, opcode: Opcode, range: std::ops::Range<usize>) -> Result<Incoming<'static>, TunnelError> {
        let payload = &self.buffer[range];
        match opcode {
            Opcode::Ping => match self.wire.send(Opcode::Pong, &[payload]) {
                // After our own close frame the peer need not be told anything.
                Ok(()) | Err(TunnelError::Closed) => Ok(Incoming::Alive),
                Err(error) => Err(error),
            },
            Opcode::Close => match read_close(payload) {
                Ok((code, reason)) => {
                    self.wire.answer_close(payload);
                    Ok(Incoming::Closed { code, reason: reason.to_owned() })
                }
                Err(BadClose::Code) => Err(told(&self.wire, TunnelError::Protocol("a close frame's code is none"))),
                Err(BadClose::Reason) => Err(told(&self.wire, TunnelError::NotUtf8)),
            },
            _ => Ok(Incoming::Alive),
        }
    }
}

/// A message as its receiver sees it.
fn lend<'b>(wire: &Arc<TunnelStream>, opcode: Opcode, bytes: &'b [u8]) -> Result<Incoming<'b>, TunnelError> {
    if opcode != Opcode::Text {
        return Ok(Incoming::Binary(bytes));
    }
    std::str::from_utf8(bytes).map(Incoming::Text).map_err(|_| told(wire, TunnelError::NotUtf8))
}

/// Tells the peer which rule it has broken, if it has broken one (RFC 6455, section 7.4.1).
fn told(wire: &Arc<TunnelStream>, error: TunnelError) -> TunnelError {
    let code = match error {
        TunnelError::TooLarge => 1009,
        TunnelError::NotUtf8 => 1007,
        TunnelError::Protocol(_) => 1002,
        TunnelError::NoMemory => 1013,
        _ => return error,
    };
    Writer(wire.clone()).close(code, &error.to_string());
    error
}

impl Drop for Reader {
    /// Without a reader there is no tunnel.
    fn drop(&mut self) {
        self.wire.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::tunnel::frames::{any_frame, write_close, write_head};
    use crate::tunnel::{Limits, serve};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A hub's end of a tunnel, and the socket of a participant that writes what it likes.
    struct Story {
        reader: Reader,
        writer: Writer,
        peer: TcpStream,
    }

    /// A frame as a participant sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        any_frame(first, Some(MASK), payload)
    }

    impl Story {
        fn new(max_message: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = Arc::new(listener.accept().unwrap().0);
            let limits = Limits { max_message, ..Limits::default() };
            let (reader, writer) = serve(stream, frame(0x81, b"ahead"), limits).unwrap();
            Story { reader, writer, peer }
        }

        /// What the reader makes of these frames and the end of the connection.
        fn reads(mut self, frames: &[Vec<u8>]) -> (Vec<String>, Vec<u8>) {
            self.peer.write_all(&frames.concat()).unwrap();
            self.peer.shutdown(std::net::Shutdown::Write).unwrap();
            let mut seen = Vec::new();
            loop {
                seen.push(match self.reader.read() {
                    Ok(Incoming::Text(text)) => format!("text {text}"),
                    Ok(Incoming::Binary(bytes)) => format!("binary {bytes:?}"),
                    Ok(Incoming::Alive) => "alive".into(),
                    Ok(Incoming::Closed { code, reason }) => format!("closed {code:?} {reason}"),
                    Err(error) => format!("{error}"),
                });
                if matches!(seen.last(), Some(last) if last.contains("closed") || last.contains(" is ") || last.contains("broke"))
                {
                    break;
                }
            }
            drop((self.reader, self.writer));
            let mut told = Vec::new();
            let _ = self.peer.read_to_end(&mut told);
            (seen, told)
        }
    }

    #[test]
    fn messages_come_whole_however_they_were_sent() {
        let frames = [
            frame(0x01, b"a"),
            frame(0x89, b"ping"),
            frame(0x00, "\u{fc}".as_bytes().split_at(1).0),
            frame(0x80, "\u{fc}".as_bytes().split_at(1).1),
            frame(0x8A, b""),
            frame(0x82, b"\x00\xff"),
            frame(0x81, b""),
            frame(0x88, &write_close(1000, "bye")),
        ];
        let (seen, told) = Story::new(100).reads(&frames);
        let all = ["text ahead", "alive", "text a\u{fc}", "alive", "binary [0, 255]", "text ", "closed Some(1000) bye"];
        assert_eq!(seen, all);
        assert_eq!(told, [b"\x8A\x04ping".as_slice(), b"\x88\x05\x03\xE8bye"].concat());
    }

    #[test]
    fn long_messages_draw_on_the_memory_and_give_it_back() {
        let budget = Budget::new(1 << 20);
        let mut story = Story::new(16 << 20);
        story.reader = story.reader.within(budget.share());
        let long = frame(0x82, &vec![b'x'; 700_000]);
        let mut peer = story.peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..2 {
                peer.write_all(&long).unwrap();
            }
            peer.write_all(&frame(0x81, b"short")).unwrap();
            // Fails once the reader has given up.
            let _ = peer.write_all(&frame(0x82, &vec![b'x'; 4 << 20]));
        });
        let mut lengths = Vec::new();
        let error = loop {
            match story.reader.read() {
                Ok(Incoming::Text(text)) => lengths.push(text.len()),
                Ok(Incoming::Binary(bytes)) => lengths.push(bytes.len()),
                Ok(_) => {}
                Err(error) => break error,
            }
            assert!(budget.used() <= 1 << 20);
        };
        assert!(matches!(error, TunnelError::NoMemory), "{error}");
        assert_eq!(lengths, [5, 700_000, 700_000, 5]);
        drop(story);
        assert_eq!(budget.used(), 0);
        writing.join().unwrap();
    }

    #[test]
    fn a_peer_that_breaks_a_rule_is_told_which() {
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
            let (_, told) = Story::new(100).reads(frames);
            assert_eq!(told.get(2..4), Some(&code.to_be_bytes()[..]), "{frames:?}");
        }
    }

    #[test]
    fn a_buffer_is_large_only_while_it_has_to_be() {
        let mut story = Story::new(1 << 20);
        assert!(matches!(story.reader.read(), Ok(Incoming::Text("ahead"))));
        let long = vec![7; 300_000];
        let (bytes, mut peer) = (frame(0x82, &long), story.peer.try_clone().unwrap());
        let sender = std::thread::spawn(move || {
            peer.write_all(&bytes).unwrap();
            peer.write_all(&frame(0x81, b"short")).unwrap();
        });
        assert!(matches!(story.reader.read(), Ok(Incoming::Binary(bytes)) if bytes == long));
        assert!(story.reader.buffer.len() <= 300_014, "what was claimed, and no more");
        sender.join().unwrap();
        assert!(matches!(story.reader.read(), Ok(Incoming::Text("short"))));
        assert!(story.reader.buffer.len() <= LARGE);
        // In silence for as long as it looks up from time to time.
        story.writer.0.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        story.reader.more(1).unwrap();
        assert!(story.reader.buffer.is_empty());
        assert!(!story.reader.has_more());
    }

    #[test]
    fn what_a_frame_claims_is_not_set_aside_before_it_comes() {
        let mut story = Story::new(1 << 30);
        story.reader.read().unwrap();
        let (head, size) = write_head(Opcode::Binary, Some(MASK), 1 << 29);
        story.peer.write_all(&head[..size]).unwrap();
        while !matches!(story.reader.step(), Ok(Found::NotYet)) || story.reader.to - story.reader.from < size {}
        assert!(story.reader.buffer.len() <= LARGE);
    }
}
