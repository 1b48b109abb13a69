//! Frames that are assembled in memory for one write. It does no I/O.

use std::io;

use super::codec::{Data, MAX_HEADER, Mask, OpCode, Role, apply_mask, write_header};
use super::error::TunnelError;
use crate::random;

/// The capacity that a batch keeps which is not used for a while, in bytes.
const KEPT_IDLE: usize = 4 << 10;
/// The length of the header of a masked frame of 126 bytes to 64 KiB.
const USUAL_HEADER: usize = 8;

/// Messages that are sent in one write: see [`super::Writer::send`].
pub struct Batch {
    /// Its frames, as they will be sent.
    pub(super) frames: Vec<u8>,
    /// The header of the message that is being appended.
    header: Vec<u8>,
    role: Role,
}

impl Batch {
    /// Without messages, of an endpoint of this role.
    pub(super) fn new(role: Role) -> Self {
        Batch { frames: Vec::new(), header: Vec::new(), role }
    }

    /// Appends a text message. Its `parts` are concatenated and must be UTF-8.
    ///
    /// # Errors
    /// If the system has no random bytes for the mask.
    pub fn text(&mut self, parts: &[&[u8]]) -> Result<(), TunnelError> {
        add_frame(&mut self.frames, self.role, OpCode::Data(Data::Text), parts)
    }

    /// Appends a binary message of `head` and what `fill` appends; none if that is nothing. What `fill` appends is not copied again.
    ///
    /// # Errors
    /// As [`Batch::text`].
    pub fn binary_with<T>(&mut self, head: &[u8], fill: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T, TunnelError> {
        let mask = mask_of(self.role)?;
        let bytes = &mut self.frames;
        let start = bytes.len();
        bytes.resize(start + USUAL_HEADER, 0);
        let payload_start = bytes.len();
        bytes.extend_from_slice(head);
        let filled = fill(bytes);
        let payload_len = bytes.len() - payload_start;
        if payload_len == head.len() {
            bytes.truncate(start);
            return Ok(filled);
        }
        if let Some(mask) = mask {
            apply_mask(&mut bytes[payload_start..], mask);
        }
        self.header.clear();
        write_header(&mut self.header, OpCode::Data(Data::Binary), mask, payload_len).map_err(TunnelError::Io)?;
        bytes.splice(start..payload_start, self.header.iter().copied());
        Ok(filled)
    }

    /// Gives memory back that only a long message needed.
    pub fn release_memory(&mut self) {
        self.frames.shrink_to(KEPT_IDLE);
    }

    /// The bytes of its messages so far, as they will be sent.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
}

/// Appends a frame, masked if a client sends it.
pub(super) fn add_frame(out: &mut Vec<u8>, role: Role, opcode: OpCode, parts: &[&[u8]]) -> Result<(), TunnelError> {
    let mask = mask_of(role)?;
    let payload_len = total_len(parts);
    out.reserve(MAX_HEADER + payload_len);
    write_header(out, opcode, mask, payload_len).map_err(TunnelError::Io)?;
    let payload_start = out.len();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    if let Some(mask) = mask {
        apply_mask(&mut out[payload_start..], mask);
    }
    Ok(())
}

/// The mask of a frame that an endpoint of this role sends: none of a server, and of a client one that the peer's application cannot
/// predict (RFC 6455, section 10.3).
fn mask_of(role: Role) -> Result<Option<Mask>, TunnelError> {
    if role == Role::Server {
        return Ok(None);
    }
    let mut mask = Mask::default();
    random::fill(&mut mask).map_err(|e| TunnelError::Io(io::Error::other(e)))?;
    Ok(Some(mask))
}

/// The length of parts that are concatenated.
pub(super) fn total_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::codec::parse_header;
    use super::*;

    /// The payloads of the frames of a batch.
    fn payloads(batch: &Batch) -> Vec<Vec<u8>> {
        let mut rest = &batch.frames[..];
        let mut payloads = Vec::new();
        while let Some(parsed) = parse_header(rest).unwrap() {
            let (payload, after) = rest[parsed.header_len..].split_at(parsed.payload_len as usize);
            let mut payload = payload.to_vec();
            assert_eq!(parsed.header.mask.is_some(), batch.role == Role::Client);
            parsed.header.mask.into_iter().for_each(|mask| apply_mask(&mut payload, mask));
            payloads.push(payload);
            rest = after;
        }
        assert!(rest.is_empty());
        payloads
    }

    #[test]
    fn a_message_that_is_filled_in_place_is_as_any_other() {
        for role in [Role::Client, Role::Server] {
            let mut batch = Batch::new(role);
            let mut expected = vec![b"first".to_vec()];
            batch.text(&[b"first"]).unwrap();
            for length in [0, 1, 123, 124, 125, 126, 65_533, 65_534, 70_000] {
                let fill = |out: &mut Vec<u8>| out.extend((0..length).map(|at| at as u8));
                batch.binary_with(b"id", fill).unwrap();
                if length > 0 {
                    expected.push(b"id".iter().copied().chain((0..length).map(|at| at as u8)).collect());
                }
            }
            assert!(payloads(&batch) == expected, "{role:?}");
        }
    }
}
