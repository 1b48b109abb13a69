//! A response's body that another thread than the connection's own sends some pieces of.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use super::body_end::BodyEnd;
use super::response::chunk_frame;
use crate::net::stream::{SentNow, Stream};
use crate::sync::lock;

/// Sends pieces of a [`super::StreamBody`] without waiting for the client. Whoever the body is lent to sees to it that one thread
/// sends at a time.
pub struct LentStream {
    stream: Arc<Stream>,
    chunked: bool,
    report: Mutex<SendReport>,
}

/// What the owner of the body gets to know of it.
#[derive(Default)]
pub(super) struct SendReport {
    /// How many bytes have been sent.
    pub sent: u64,
    /// What the client did not take at once of the last piece.
    pub rest: Vec<u8>,
    /// How that ends which has been sent, or kept as the rest, since the last call of [`LentStream::take_end`].
    end: BodyEnd,
}

impl LentStream {
    pub(super) fn new(stream: Arc<Stream>, chunked: bool) -> Self {
        LentStream { stream, chunked, report: Mutex::default() }
    }

    /// What has come to be known since the last call.
    pub(super) fn take_report(&self) -> SendReport {
        let mut report = lock(&self.report);
        let end = report.end;
        std::mem::replace(&mut *report, SendReport { end, ..SendReport::default() })
    }

    /// Sends a piece as far as the client takes it at once. After a part of one, only the owner of the body may send more.
    pub fn send_now(&self, piece: &[u8]) -> SentNow {
        let (before, after) = chunk_frame(self.chunked, piece.len());
        let mut parts = [before.as_bytes(), piece, after.as_bytes()].map(IoSlice::new);
        // If the connection is broken, its owner finds that out when it sends the piece.
        let sent = self.stream.write_ready(&parts).unwrap_or(0);
        if sent == 0 {
            return SentNow::Nothing;
        }
        let mut left = &mut parts[..];
        IoSlice::advance_slices(&mut left, sent);
        let mut report = lock(&self.report);
        report.sent += sent as u64;
        report.end.push(piece);
        left.iter().for_each(|part| report.rest.extend_from_slice(part));
        if left.is_empty() { SentNow::All } else { SentNow::Part(report.rest.len()) }
    }

    /// How the pieces end of which something has been sent since the last call.
    pub fn take_end(&self) -> BodyEnd {
        std::mem::take(&mut lock(&self.report).end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::net::io::socket_pair;

    #[test]
    fn what_the_client_does_not_take_at_once_is_returned() {
        let (client, server) = socket_pair();
        let lent = LentStream::new(Arc::new(server.into()), true);
        let (piece, mut expected) = ([b'x'; 4000], Vec::new());
        let last = loop {
            let sent = lent.send_now(&piece);
            if sent != SentNow::Nothing {
                expected.extend([b"fa0\r\n".as_slice(), &piece, b"\r\n"].concat());
            }
            if sent != SentNow::All {
                break sent;
            }
        };
        let SendReport { sent, rest, .. } = lent.take_report();
        assert_eq!(last, if rest.is_empty() { SentNow::Nothing } else { SentNow::Part(rest.len()) });
        assert_eq!((lent.take_end().bytes(), lent.take_end().bytes()), (&b"xxxx"[..], &b""[..]));
        drop(lent);
        let mut received = Vec::new();
        (&client).read_to_end(&mut received).unwrap();
        assert_eq!(received.len() as u64, sent);
        received.extend(rest);
        assert!(received == expected);
    }

    #[test]
    fn a_broken_connection_is_left_to_its_owner() {
        let (_, server) = socket_pair();
        let stream: Arc<Stream> = Arc::new(server.into());
        stream.shutdown();
        let lent = LentStream::new(stream, false);
        assert_eq!(lent.send_now(b"x"), SentNow::Nothing);
        let SendReport { sent, rest, .. } = lent.take_report();
        assert_eq!((sent, rest.len()), (0, 0));
    }
}
