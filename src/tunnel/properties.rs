//! Property tests: on random streams of frames the reader returns the same messages as tungstenite's `WebSocket`, and a body
//! that was announced only where the next message is that body.

use std::io::{Cursor, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use super::codec::{Role as End, format_close, raw_frame};
use super::reader::Reader;
use super::writer::TunnelStream;
use super::{Received, TunnelLimits, serve};
use crate::net::io::socket_pair;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 300;

/// What was read from a stream: the messages, and the code of the close frame if it ended with one.
#[derive(Debug, PartialEq, Default)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    closed: Option<Option<u16>>,
}

/// A frame with a random first byte, mask and payload.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        // No close frames: the readers differ in the codes that they accept.
        1 => any::<u8>().prop_map(|first| if first & 0x0F == 0x08 { first | 0x07 } else { first }),
    ];
    let payload = prop_oneof![
        4 => ".{0,20}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(Just(b'x'), 120..140),
        1 => prop::collection::vec(Just(b'x'), 290..310),
    ];
    (first, prop::bool::weighted(0.97), any::<[u8; 4]>(), payload).prop_map(|(first, masked, mask, mut payload)| {
        // Fragments of a text are ASCII: tungstenite checks UTF-8 in each fragment, our reader in the complete message.
        if matches!(first, 0x00 | 0x01 | 0x80) {
            payload.iter_mut().for_each(|byte| *byte &= 0x7F);
        }
        raw_frame(first, masked.then_some(mask), &payload)
    })
}

/// A close frame with a code that may be sent.
fn close_frame() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(vec![1000u16, 1001, 1011, 3000, 4001]), "[a-z]{0,9}")
        .prop_map(|(code, reason)| raw_frame(0x88, Some([1, 2, 3, 4]), &format_close(code, &reason)))
}

fn read_with_reader(bytes: &[u8], ahead: usize) -> Outcome {
    let (mut peer, socket) = socket_pair();
    let stream = Arc::new(socket.into());
    let limits = TunnelLimits { max_message: MAX_MESSAGE, ..TunnelLimits::default() };
    let (ahead, rest) = bytes.split_at(ahead.min(bytes.len()));
    let mut reader = serve(stream, ahead.to_vec(), limits).unwrap().reader;
    peer.write_all(rest).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut read = Outcome::default();
    loop {
        match reader.read(|_| ()) {
            Ok(Received::Text(text)) => read.messages.push(text.as_bytes().to_vec()),
            Ok(Received::Binary(bytes)) => read.messages.push(bytes.to_vec()),
            Ok(Received::Body(_) | Received::KeepAlive) => {}
            Ok(Received::Closed { code, .. }) => {
                read.closed = Some(code);
                return read;
            }
            Err(_) => return read,
        }
    }
}

/// A stream that can be read and discards what is written.
struct ReadOnly(Cursor<Vec<u8>>);

impl Read for ReadOnly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadOnly {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn read_with_tungstenite(bytes: &[u8]) -> Outcome {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocket::from_raw_socket(ReadOnly(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut read = Outcome::default();
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

/// The body that is read where one of this length was announced, from what a hub sends.
fn read_body(bytes: &[u8], announced: usize, ahead: usize) -> Option<Vec<u8>> {
    let (mut peer, socket) = socket_pair();
    let stream = TunnelStream::new(Arc::new(socket.into()), End::Client, Duration::from_secs(30));
    let (ahead, rest) = bytes.split_at(ahead.min(bytes.len()));
    let mut reader = Reader::new(stream.unwrap(), ahead.to_vec(), MAX_MESSAGE);
    peer.write_all(rest).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    reader.expect_body(announced).unwrap();
    loop {
        match reader.read(|_| ()) {
            Ok(Received::Body(body)) => return Some(body),
            Ok(Received::KeepAlive) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) => return None,
        }
    }
}

/// The first message if it is a body of this length.
fn first_body(bytes: &[u8], announced: usize) -> Option<Vec<u8>> {
    let mut socket = WebSocket::from_raw_socket(ReadOnly(Cursor::new(bytes.to_vec())), Role::Client, None);
    loop {
        match socket.read() {
            Ok(Message::Binary(body)) if body.len() == announced => return Some(body.to_vec()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            _ => return None,
        }
    }
}

proptest! {
    #[test]
    fn a_body_is_read_only_where_it_is_the_next_message(
        frames in prop::collection::vec((prop::sample::select(vec![0x82, 0x02, 0x00, 0x80, 0x89, 0x81]), ".{0,9}"), 1..6),
        announced in 0..12usize,
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        ahead in 0..40usize,
    ) {
        let mut bytes = frames.iter().flat_map(|(first, text)| raw_frame(*first, None, text.as_bytes())).collect::<Vec<_>>();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let right = frames.iter().filter(|(first, _)| first & 0x0F < 3).map(|(_, text)| text.len()).sum();
        for announced in [announced, right] {
            prop_assert_eq!(read_body(&bytes, announced, ahead), first_body(&bytes, announced));
        }
    }

    #[test]
    fn frames_are_read_as_tungstenite_reads_them(
        frames in prop::collection::vec(frame(), 0..12),
        end in prop::option::of(close_frame()),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        ahead in 0..40usize,
    ) {
        let mut bytes = frames.concat();
        bytes.extend(end.unwrap_or_default());
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        prop_assert_eq!(read_with_reader(&bytes, ahead), read_with_tungstenite(&bytes));
    }
}
