//! What holds for all frames, tried on thousands that nobody thought of: a reader takes them as tungstenite's own does.

use std::io::{Cursor, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use proptest::prelude::*;
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use super::frames::{any_frame, write_close};
use super::{Incoming, Limits, serve};

/// Of a message, in bytes.
const LONGEST: usize = 300;

/// What a reader made of some bytes: the messages, and the peer's close frame where it ended with one.
#[derive(Debug, PartialEq, Default)]
struct Taken {
    messages: Vec<Vec<u8>>,
    closed: Option<Option<u16>>,
}

/// A frame: its first byte, whether it is masked, its payload.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        // Not a close frame: of its code, some think otherwise than others.
        1 => any::<u8>().prop_map(|first| if first & 0x0F == 0x08 { first | 0x07 } else { first }),
    ];
    let payload = prop_oneof![
        4 => ".{0,20}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(Just(b'x'), 120..140),
        1 => prop::collection::vec(Just(b'x'), 290..310),
    ];
    (first, prop::bool::weighted(0.97), any::<[u8; 4]>(), payload).prop_map(|(first, masked, mask, mut payload)| {
        // A text's parts: that one is none, the library sees at once, and ours when all have come.
        if matches!(first, 0x00 | 0x01 | 0x80) {
            payload.iter_mut().for_each(|byte| *byte &= 0x7F);
        }
        any_frame(first, masked.then_some(mask), &payload)
    })
}

/// A close frame with a code that may be sent.
fn farewell() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(vec![1000u16, 1001, 1011, 3000, 4001]), "[a-z]{0,9}")
        .prop_map(|(code, reason)| any_frame(0x88, Some([1, 2, 3, 4]), &write_close(code, &reason)))
}

fn ours(bytes: &[u8], ahead: usize) -> Taken {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = Arc::new(listener.accept().unwrap().0);
    let limits = Limits { max_message: LONGEST, ..Limits::default() };
    let (ahead, rest) = bytes.split_at(ahead.min(bytes.len()));
    let (mut reader, _writer) = serve(stream, ahead.to_vec(), limits).unwrap();
    peer.write_all(rest).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut read = Taken::default();
    loop {
        match reader.read() {
            Ok(Incoming::Text(text)) => read.messages.push(text.as_bytes().to_vec()),
            Ok(Incoming::Binary(bytes)) => read.messages.push(bytes.to_vec()),
            Ok(Incoming::Alive) => {}
            Ok(Incoming::Closed { code, .. }) => {
                read.closed = Some(code);
                return read;
            }
            Err(_) => return read,
        }
    }
}

/// Bytes to read, and nowhere to write to.
struct Deaf(Cursor<Vec<u8>>);

impl Read for Deaf {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tungstenites(bytes: &[u8]) -> Taken {
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let mut socket = WebSocket::from_raw_socket(Deaf(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut read = Taken::default();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => read.messages.push(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => read.messages.push(bytes.to_vec()),
            Ok(Message::Close(frame)) => {
                read.closed = Some(frame.map(|frame| frame.code.into()));
                return read;
            }
            Ok(_) => {}
            Err(_) => return read,
        }
    }
}

proptest! {
    #[test]
    fn frames_are_taken_as_a_library_takes_them(
        frames in prop::collection::vec(frame(), 0..12),
        end in prop::option::of(farewell()),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        ahead in 0..40usize,
    ) {
        let mut bytes = frames.concat();
        bytes.extend(end.unwrap_or_default());
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        prop_assert_eq!(ours(&bytes, ahead), tungstenites(&bytes));
    }
}
