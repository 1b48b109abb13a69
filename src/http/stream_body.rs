//! The body of a response whose length is not known when it begins.

use std::io::{self, IoSlice};

use super::connection::Connection;

/// The body of a response of unknown length. If it is dropped without [`StreamBody::finish`], the connection closes without
/// the last chunk, so that the client knows that the body is incomplete.
pub struct StreamBody<'e> {
    connection: &'e mut Connection,
    /// Whether the body is sent in chunks; otherwise it ends with the connection.
    chunked: bool,
    /// Whether the response has no body, so that nothing is sent.
    bodyless: bool,
    finished: bool,
}

impl<'e> StreamBody<'e> {
    pub(super) fn new(connection: &'e mut Connection, chunked: bool, bodyless: bool) -> Self {
        StreamBody { connection, chunked, bodyless, finished: false }
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
        let length: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        if self.bodyless || length == 0 {
            return Ok(());
        }
        let size = if self.chunked { format!("{length:x}\r\n") } else { String::new() };
        let mut slices = vec![IoSlice::new(size.as_bytes())];
        slices.extend(pieces.iter().map(|piece| IoSlice::new(piece.as_ref())));
        if self.chunked {
            slices.push(IoSlice::new(b"\r\n"));
        }
        self.connection.write_all(&mut slices)
    }

    /// Sends the last chunk.
    ///
    /// # Errors
    /// If writing to the client fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.finished = true;
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
        if !self.finished {
            self.connection.keep_alive = false;
            self.connection.cut = true;
        }
    }
}
