//! The body of a response whose length is not known when it begins.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::connection::Connection;
use super::lent_stream::{LentStream, SendReport};
use super::response::chunk_frame;

/// How the end of a body of unknown length is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamFraming {
    /// It is sent in chunks, the last of which is empty.
    Chunked,
    /// It ends with the connection.
    UntilClose,
    /// The response has no body: nothing of it is sent.
    NoBody,
}

/// The body of a response of unknown length. If it is dropped without [`StreamBody::finish`], the connection closes without
/// the last chunk, so that the client knows that the body is incomplete.
pub struct StreamBody<'e> {
    connection: &'e mut Connection,
    /// What has to be sent before anything else: the head, or the rest of a piece.
    unsent: Vec<u8>,
    framing: StreamFraming,
    finished: bool,
    /// What another thread may send with.
    lent: Option<Arc<LentStream>>,
}

impl<'e> StreamBody<'e> {
    pub(super) fn new(connection: &'e mut Connection, head: Vec<u8>, framing: StreamFraming) -> Self {
        StreamBody { connection, unsent: head, framing, finished: false, lent: None }
    }

    /// What another thread can send pieces with, once the head has been sent and while this one sends nothing; `None` where that is
    /// not possible. To be called once.
    pub fn lend(&mut self) -> Option<Arc<LentStream>> {
        let can_lend = self.framing != StreamFraming::NoBody && !self.connection.stream.is_encrypted();
        let is_chunked = self.framing == StreamFraming::Chunked;
        self.lent = can_lend.then(|| Arc::new(LentStream::new(self.connection.stream.clone(), is_chunked)));
        self.lent.clone()
    }

    /// Sends the head if it has not been sent, and what another thread had to leave unsent.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.send::<&[u8]>(&[], b"")
    }

    /// Sends a piece at once, as one chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.write_all(&[piece])
    }

    /// Sends pieces at once, together as one chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn write_all(&mut self, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
        self.send(pieces, b"")
    }

    /// Sends the last chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn finish(self) -> io::Result<()> {
        self.finish_with::<&[u8]>(&[])
    }

    /// Sends the last pieces, together as one chunk, and the last chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn finish_with<P: AsRef<[u8]>>(mut self, pieces: &[P]) -> io::Result<()> {
        self.finished = true;
        let end: &[u8] = if self.framing == StreamFraming::Chunked { b"0\r\n\r\n" } else { b"" };
        self.send(pieces, end)
    }

    /// Sends what is left unsent, pieces and the end, in one write.
    fn send<P: AsRef<[u8]>>(&mut self, pieces: &[P], end: &[u8]) -> io::Result<()> {
        self.take_report();
        let pieces = if self.framing == StreamFraming::NoBody { &[] } else { pieces };
        let length: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        let unsent = std::mem::take(&mut self.unsent);
        if unsent.len() + length + end.len() == 0 {
            return Ok(());
        }
        let (before, after) = chunk_frame(self.framing == StreamFraming::Chunked && length > 0, length);
        let mut slices = vec![IoSlice::new(&unsent), IoSlice::new(before.as_bytes())];
        slices.extend(pieces.iter().map(|piece| IoSlice::new(piece.as_ref())));
        slices.extend([after.as_bytes(), end].map(IoSlice::new));
        self.connection.write_all(&mut slices)
    }

    /// Counts what another thread has sent, and keeps what it had to leave unsent.
    fn take_report(&mut self) {
        if let Some(lent) = &self.lent {
            let SendReport { sent, rest, .. } = lent.take_report();
            self.connection.written += sent;
            self.unsent.extend(rest);
        }
    }

    /// Whether the client has disconnected. Not noticed behind more than 32 KiB that it sent ahead.
    pub fn client_gone(&mut self) -> bool {
        self.connection.client_gone()
    }
}

impl Drop for StreamBody<'_> {
    fn drop(&mut self) {
        self.take_report();
        if !self.finished {
            self.connection.keep_alive = false;
            self.connection.cut = true;
        }
    }
}
