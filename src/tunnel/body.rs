//! The body of a request as it arrives in a binary message of its own: read into the memory in which it is passed on. It does
//! no I/O.

use super::codec::{Data, OpCode};
use super::error::TunnelError;

/// How much memory a body gets ahead of its bytes, in bytes: this much, and as much as has arrived, up to its announced length. What
/// is not written to is not taken from the machine, and at each step what has arrived may have to be copied.
const STEP: usize = 8 << 20;

/// A body that was announced and has not arrived completely.
#[derive(Debug)]
pub struct IncomingBody {
    /// The announced length in bytes.
    announced: usize,
    bytes: Vec<u8>,
    /// Bytes of the current frame that have not arrived, and whether it is the message's last one; `None` before the first.
    frame: Option<(usize, bool)>,
}

impl IncomingBody {
    /// A body of this length.
    pub fn new(announced: usize) -> Self {
        IncomingBody { announced, bytes: Vec::new(), frame: None }
    }

    /// Begins a data frame.
    ///
    /// # Errors
    /// If it is none of the body, or the body's length is not the announced one.
    pub fn begin_frame(&mut self, opcode: OpCode, is_final: bool, payload_len: u64) -> Result<(), TunnelError> {
        let expected = if self.frame.is_some() { Data::Continue } else { Data::Binary };
        if opcode != OpCode::Data(expected) {
            return Err(TunnelError::Protocol("another message came in place of a request's body"));
        }
        let missing = self.announced - self.bytes.len();
        let fits =
            usize::try_from(payload_len).ok().filter(|len| if is_final { *len == missing } else { *len <= missing });
        let payload_len = fits.ok_or(TunnelError::Protocol("a request's body does not have the announced length"))?;
        self.frame = Some((payload_len, is_final));
        Ok(())
    }

    /// How many bytes of the current frame have not arrived.
    pub fn missing(&self) -> usize {
        self.frame.map_or(0, |(missing, _)| missing)
    }

    /// Whether the whole body has arrived.
    pub fn is_complete(&self) -> bool {
        self.frame == Some((0, true))
    }

    /// Adds bytes of the current frame, and returns how many of them belong to it.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = self.missing().min(bytes.len());
        self.make_room();
        self.bytes.extend_from_slice(&bytes[..taken]);
        self.count(taken);
        taken
    }

    /// Adds bytes of the current frame that `read` appends, no more than the number that it is given.
    pub fn read_with<E>(&mut self, read: impl FnOnce(&mut Vec<u8>, usize) -> Result<usize, E>) -> Result<usize, E> {
        self.make_room();
        let before = self.bytes.len();
        let most = self.missing().min(self.bytes.capacity() - before);
        let result = read(&mut self.bytes, most);
        // What arrived before an error counts.
        self.count(self.bytes.len() - before);
        result
    }

    /// What has arrived.
    pub fn arrived(&self) -> &[u8] {
        &self.bytes
    }

    /// The body.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn count(&mut self, bytes: usize) {
        if let Some((missing, _)) = &mut self.frame {
            *missing -= bytes;
        }
    }

    /// Memory for `STEP` more bytes, or for twice what has arrived, however much was announced.
    fn make_room(&mut self) {
        let len = self.bytes.len();
        if len == self.bytes.capacity() {
            self.bytes.reserve_exact(len.max(STEP).min(self.announced - len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: OpCode = OpCode::Data(Data::Binary);
    const MORE: OpCode = OpCode::Data(Data::Continue);

    #[test]
    fn a_body_is_put_together_from_frames_however_they_are_cut() {
        let mut body = IncomingBody::new(6);
        body.begin_frame(BINARY, false, 4).unwrap();
        assert_eq!((body.push(b"ab"), body.missing(), body.is_complete()), (2, 2, false));
        assert_eq!(body.push(b"cd\x80"), 2, "the rest is the next frame's");
        body.begin_frame(MORE, true, 2).unwrap();
        let read = |bytes: &mut Vec<u8>, most: usize| {
            assert_eq!(most, 2);
            bytes.push(b'e');
            Err("interrupted")
        };
        assert_eq!((body.read_with(read), body.missing()), (Err("interrupted"), 1));
        assert_eq!((body.push(b"f"), body.is_complete()), (1, true));
        assert_eq!(body.into_bytes(), b"abcdef");
    }

    #[test]
    fn a_body_of_another_length_or_another_message_is_refused() {
        let begin = |frames: &[(OpCode, bool, u64)]| {
            let mut body = IncomingBody::new(3);
            frames.iter().try_for_each(|(opcode, is_final, len)| body.begin_frame(*opcode, *is_final, *len))
        };
        assert!(begin(&[(BINARY, true, 3)]).is_ok() && begin(&[(BINARY, false, 3), (MORE, false, 0)]).is_ok());
        for bad in [(BINARY, true, 2), (BINARY, true, 4), (BINARY, false, 4), (BINARY, false, u64::MAX)] {
            assert!(begin(&[bad]).is_err(), "{bad:?}");
        }
        assert!(begin(&[(OpCode::Data(Data::Text), true, 3)]).is_err());
        assert!(begin(&[(MORE, true, 3)]).is_err());
        assert!(begin(&[(BINARY, false, 1), (BINARY, true, 3)]).is_err());
    }

    #[test]
    fn memory_grows_with_what_has_arrived() {
        let mut body = IncomingBody::new(64 << 20);
        body.begin_frame(BINARY, true, 64 << 20).unwrap();
        body.push(b"x");
        assert!(body.bytes.capacity() <= 2 * STEP);
        body.push(&vec![b'x'; 9 << 20]);
        assert!(body.bytes.capacity() <= 2 * body.bytes.len() + STEP);
        let mut empty = IncomingBody::new(0);
        empty.begin_frame(BINARY, true, 0).unwrap();
        assert!(empty.is_complete());
    }
}
