//! WebSocket frames (RFC 6455, section 5) as bytes. Frame headers are parsed and formatted by tungstenite; this module adds the
//! rules that its parser leaves to the caller, masking in place, and the payload of close frames. It does no I/O.

use std::io::{self, Cursor};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::CloseCode;
pub use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The masking key of a frame (RFC 6455, section 5.3).
pub type Mask = [u8; 4];

/// The role of an endpoint: clients mask the frames that they send, servers do not (RFC 6455, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opened the connection.
    Client,
    /// Accepted the connection.
    Server,
}

/// The longest frame header, in bytes.
pub const MAX_HEADER: usize = 14;
/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;

/// A complete frame header, and the lengths in bytes of the header itself and of the payload that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedHeader {
    pub header: FrameHeader,
    pub header_len: usize,
    pub payload_len: u64,
}

impl ParsedHeader {
    pub fn is_control(&self) -> bool {
        matches!(self.header.opcode, OpCode::Control(_))
    }
}

/// Parses the frame header at the start of `bytes`; `None` while it is incomplete. The payload's length is not limited here.
///
/// # Errors
/// The rule that the header violates.
pub fn parse_header(bytes: &[u8]) -> Result<Option<ParsedHeader>, &'static str> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| "a frame has an unknown opcode")?;
    let Some((header, payload_len)) = parsed else { return Ok(None) };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err("a frame has reserved bits set");
    }
    let parsed = ParsedHeader { header, header_len: cursor.position() as usize, payload_len };
    if parsed.is_control() && (!parsed.header.is_final || payload_len > MAX_CONTROL_PAYLOAD as u64) {
        return Err("a control frame is fragmented or too long");
    }
    Ok(Some(parsed))
}

/// Appends the header of an unfragmented message to `out`.
///
/// # Errors
/// None in practice: writing to a vector succeeds.
pub fn write_header(out: &mut Vec<u8>, opcode: OpCode, mask: Option<Mask>, payload_len: usize) -> io::Result<()> {
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    header.format(payload_len as u64, out).map_err(io::Error::other)
}

/// Masks or unmasks a payload in place, eight bytes at a time.
pub fn apply_mask(payload: &mut [u8], mask: Mask) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, rest) = payload.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip([a, b, c, d, a, b, c, d]).for_each(|(byte, key)| *byte ^= key);
}

/// Why the payload of a close frame is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseError {
    /// The status code is incomplete, or must not be sent in a frame (RFC 6455, section 7.4).
    Code,
    /// The reason is not UTF-8.
    Reason,
}

/// Parses the payload of a close frame: its status code, if present, and its reason.
///
/// # Errors
/// [`CloseError`].
pub fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), CloseError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok((None, "")) } else { Err(CloseError::Code) };
    };
    let code = u16::from_be_bytes(*code);
    // 1014 (bad gateway) is registered with IANA but unknown to tungstenite.
    if !CloseCode::from(code).is_allowed() && code != 1014 {
        return Err(CloseError::Code);
    }
    Ok((Some(code), std::str::from_utf8(reason).map_err(|_| CloseError::Reason)?))
}

/// Formats the payload of a close frame. A reason that does not fit into a control frame is truncated.
pub fn format_close(code: u16, reason: &str) -> Vec<u8> {
    let end = reason.floor_char_boundary(MAX_CONTROL_PAYLOAD - 2);
    [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat()
}

/// A frame with an arbitrary first byte (FIN, reserved bits, opcode), as a peer that violates the protocol may send it.
#[cfg(test)]
pub fn raw_frame(first_byte: u8, mask: Option<Mask>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_header(&mut frame, OpCode::Data(Data::Text), mask, payload.len()).unwrap();
    frame[0] = first_byte;
    let payload_start = frame.len();
    frame.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut frame[payload_start..], mask);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_as_they_were_written_and_not_before_they_are_complete() {
        let opcode = OpCode::Data(Data::Text);
        for (payload_len, length_bytes) in [(0, 0), (1, 0), (125, 0), (126, 2), (65_535, 2), (65_536, 8), (1 << 20, 8)]
        {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut bytes = Vec::new();
                write_header(&mut bytes, opcode, mask, payload_len).unwrap();
                let header_len = 2 + length_bytes + mask.map_or(0, |mask| mask.len());
                assert_eq!(bytes.len(), header_len, "the shortest encoding of {payload_len}");
                let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
                let parsed = ParsedHeader { header, header_len, payload_len: payload_len as u64 };
                assert_eq!(parse_header(&bytes), Ok(Some(parsed)));
                for cut in 0..header_len {
                    assert_eq!(parse_header(&bytes[..cut]), Ok(None), "{payload_len} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn headers_that_violate_a_rule_are_rejected() {
        for bad in [[0xC1, 0x00], [0xA1, 0x00], [0x91, 0x00], [0x83, 0x00], [0x8B, 0x00], [0x8F, 0x00]] {
            assert!(parse_header(&bad).is_err(), "{bad:?}");
        }
        for fragmented_control in [[0x09, 0x00], [0x08, 0x00]] {
            assert!(parse_header(&fragmented_control).is_err(), "{fragmented_control:?}");
        }
        assert!(parse_header(&[0x89, 126, 0, 126]).is_err(), "a ping of 126 bytes");
        assert_eq!(parse_header(&[0x89, 126, 0, 125]).unwrap().unwrap().payload_len, 125);
    }

    #[test]
    fn a_mask_is_its_own_opposite_at_any_length() {
        for length in 0..40usize {
            let plain: Vec<u8> = (0..length as u8).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, [9, 8, 7, 6]);
            let byte_by_byte: Vec<u8> = plain.iter().enumerate().map(|(n, byte)| byte ^ [9, 8, 7, 6][n % 4]).collect();
            assert_eq!(masked, byte_by_byte);
            apply_mask(&mut masked, [9, 8, 7, 6]);
            assert_eq!(masked, plain);
        }
    }

    #[test]
    fn close_frames_have_a_code_that_may_be_sent() {
        assert_eq!(parse_close(&format_close(4001, "silent")), Ok((Some(4001), "silent")));
        assert_eq!(parse_close(b""), Ok((None, "")));
        assert_eq!(format_close(1000, &"ü".repeat(100)).len(), 124);
        for code in [1000, 1003, 1007, 1013, 1014, 3000, 4999] {
            assert_eq!(parse_close(&format_close(code, "")), Ok((Some(code), "")));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
            assert_eq!(parse_close(&format_close(code, "")), Err(CloseError::Code), "{code}");
        }
        assert_eq!(parse_close(b"\x03"), Err(CloseError::Code));
        assert_eq!(parse_close(b"\x03\xE8\xFF"), Err(CloseError::Reason));
    }
}
