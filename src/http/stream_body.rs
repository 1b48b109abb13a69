//! The body of a response whose length is not known when it begins.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::connection::Connection;
use super::lent_stream::{LentStream, Returns};
use super::response::chunk_frame;

/// The body of a response of unknown length. If it is dropped without [`StreamBody::finish`], the connection closes without
/// the last chunk, so that the client knows that the body is incomplete.
pub struct StreamBody<'e> {
    connection: &'e mut Connection,
    /// Whether the body is sent in chunks; otherwise it ends with the connection.
    chunked: bool,
    /// Whether the response has no body, so that nothing is sent.
    bodyless: bool,
    finished: bool,
    /// What another thread may send with.
    lent: Option<Arc<LentStream>>,
}

impl<'e> StreamBody<'e> {
    pub(super) fn new(connection: &'e mut Connection, chunked: bool, bodyless: bool) -> Self {
        StreamBody { connection, chunked, bodyless, finished: false, lent: None }
    }

    /// Sends a piece at once, as one chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.write_all(&[piece])
    }

    /// What another thread can send pieces with while this one sends nothing; `None` where that is not possible. To be called once.
    pub fn lend(&mut self) -> Option<Arc<LentStream>> {
        let can_lend = !self.bodyless && !self.connection.stream.is_encrypted();
        self.lent = can_lend.then(|| Arc::new(LentStream::new(self.connection.stream.clone(), self.chunked)));
        self.lent.clone()
    }

    /// Sends what another thread had to leave unsent.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn send_rest(&mut self) -> io::Result<()> {
        let rest = self.take_returns();
        if rest.is_empty() { Ok(()) } else { self.connection.write_all(&mut [IoSlice::new(&rest)]) }
    }

    /// Counts what another thread has sent, and returns what it had to leave unsent.
    fn take_returns(&mut self) -> Vec<u8> {
        let Some(lent) = &self.lent else { return Vec::new() };
        let Returns { sent, rest } = lent.take_returns();
        self.connection.written += sent;
        rest
    }

    /// Sends pieces at once, together as one chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn write_all(&mut self, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
        self.send_rest()?;
        let length: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        if self.bodyless || length == 0 {
            return Ok(());
        }
        let (before, after) = chunk_frame(self.chunked, length);
        let mut slices = vec![IoSlice::new(before.as_bytes())];
        slices.extend(pieces.iter().map(|piece| IoSlice::new(piece.as_ref())));
        slices.push(IoSlice::new(after.as_bytes()));
        self.connection.write_all(&mut slices)
    }

    /// Sends the last chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.finished = true;
        self.send_rest()?;
        if self.bodyless || !self.chunked {
            return Ok(());
        }
        self.connection.write_all(&mut [IoSlice::new(b"0\r\n\r\n")])
    }

    /// Whether the client has disconnected. Not noticed behind more than 32 KiB that it sent ahead.
    pub fn client_gone(&mut self) -> bool {
        self.connection.client_gone()
    }
}

impl Drop for StreamBody<'_> {
    fn drop(&mut self) {
        self.take_returns();
        if !self.finished {
            self.connection.keep_alive = false;
            self.connection.cut = true;
        }
    }
}
