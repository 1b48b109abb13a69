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
        if self.bodyless || piece.is_empty() {
            return Ok(());
        }
        if !self.chunked {
            return self.connection.write_all(&mut [IoSlice::new(piece)]);
        }
        let size = format!("{:x}\r\n", piece.len());
        self.connection.write_all(&mut [size.as_bytes(), piece, b"\r\n"].map(IoSlice::new))
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
