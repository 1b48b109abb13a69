//! What has been read from a tunnel's socket and has not been consumed yet: one buffer, which grows with what arrives, and shrinks
//! again after a long message. It does no I/O.

use std::ops::Range;

use super::codec::{self, ParsedHeader};

/// The buffer's size on a tunnel with little traffic, in bytes.
const SMALL_BUFFER: usize = 1 << 10;
/// The buffer's size on a tunnel after a long body, in bytes.
const BUFFER_BEFORE_BODY: usize = 4 << 10;
/// The buffer's size on a tunnel with much traffic, in bytes. Only a longer frame makes it larger.
pub(super) const LARGE_BUFFER: usize = 64 << 10;

/// The bytes of frames that are being read.
pub(super) struct ReadBuffer {
    /// `start..end` has been read from the socket and not been consumed yet.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The header of the frame at `start`, once it has been parsed.
    header: Option<ParsedHeader>,
}

impl ReadBuffer {
    /// A buffer that holds what has been read already.
    pub fn new(read_ahead: Vec<u8>) -> Self {
        let end = read_ahead.len();
        ReadBuffer { bytes: read_ahead, start: 0, end, header: None }
    }

    /// Whether all that has been read is consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What has been read and not been consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The header of the next frame; `None` while it is incomplete. It is parsed once, however often this is called.
    ///
    /// # Errors
    /// The rule that the header violates.
    pub fn header(&mut self) -> Result<Option<&ParsedHeader>, &'static str> {
        if self.header.is_none() {
            self.header = codec::parse_header(self.unread())?;
        }
        Ok(self.header.as_ref())
    }

    /// Whether it holds a complete frame.
    pub fn has_frame(&mut self) -> bool {
        let unread = self.unread().len();
        let is_complete = |parsed: &ParsedHeader| (unread - parsed.header_len) as u64 >= parsed.payload_len;
        self.header().is_ok_and(|parsed| parsed.is_some_and(is_complete))
    }

    /// Consumes so many bytes, the last ones of a frame or of its header, and returns where they are.
    pub fn consume(&mut self, bytes: usize) -> Range<usize> {
        let consumed = self.start..self.start + bytes;
        (self.start, self.header) = (consumed.end, None);
        consumed
    }

    /// Bytes that were consumed and have not been overwritten.
    pub fn consumed(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// As [`ReadBuffer::consumed`], to be changed.
    pub fn consumed_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }

    /// Makes room for more bytes of the next frame, of which `needed` is the length as far as it is known. The buffer grows with the
    /// bytes received, never to the length that a header announces.
    pub fn make_room(&mut self, needed: usize) {
        let full = self.end == self.bytes.len();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // The buffer was enlarged for one long message only.
            if self.bytes.len() > LARGE_BUFFER {
                self.bytes = Vec::new();
            }
        } else if self.bytes.len() - self.start < needed && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let length = self.bytes.len();
        if length < SMALL_BUFFER {
            self.bytes.resize(SMALL_BUFFER, 0);
        } else if full && length < LARGE_BUFFER {
            // The last read filled the buffer, so more may be waiting in the socket.
            self.bytes.resize((length * 4).min(LARGE_BUFFER), 0);
        } else if self.end == length {
            self.bytes.resize((length * 2).min(needed.max(LARGE_BUFFER)), 0);
        }
    }

    /// The room that there is.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Adds so many bytes, which have been read into its room.
    pub fn add(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Gives its memory back if it is empty: an idle tunnel holds no buffer.
    pub fn release_if_empty(&mut self) {
        if self.is_empty() {
            *self = ReadBuffer::new(Vec::new());
        }
    }

    /// Shrinks the empty buffer. Bodies follow bodies: the next read is to take little more than a head, since the rest would have to
    /// be copied.
    pub fn shrink_before_body(&mut self) {
        self.bytes.truncate(BUFFER_BEFORE_BODY);
        (self.start, self.end) = (0, 0);
    }
}
