//! WebSocket frames (RFC 6455, section 5) as bytes: their heads, their masks, what a close frame says. No sockets.

/// A frame's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with the message whose first part came before.
    Continue,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The end of the connection.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer to it.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Opcode::Continue,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continue => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xA,
        }
    }

    /// Whether it is about the connection, and may stand between the parts of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// What a frame's bytes are masked with.
pub type Mask = [u8; 4];

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whether the message ends with this frame.
    pub last: bool,
    /// Its kind.
    pub opcode: Opcode,
    /// The payload's mask, if it has one.
    pub mask: Option<Mask>,
    /// Bytes of the payload.
    pub length: u64,
    /// Bytes of the head itself.
    pub size: usize,
}

/// The longest head.
pub const MAX_HEAD: usize = 14;
/// The longest payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// Reads a head, if it is there as a whole.
///
/// # Errors
/// Which rule it breaks.
pub fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a frame has reserved bits set");
    }
    let opcode = Opcode::of(first & 0x0F).ok_or("a frame is of an unknown kind")?;
    let (length, extended) = match second & 0x7F {
        126 => match rest.first_chunk() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    let last = first & 0x80 != 0;
    if opcode.is_control() && (!last || length > MAX_CONTROL) {
        return Err("a control frame is fragmented or too long");
    }
    let (mask, masked) = if second & 0x80 == 0 {
        (None, 0)
    } else {
        match rest[extended..].first_chunk() {
            Some(mask) => (Some(*mask), 4),
            None => return Ok(None),
        }
    };
    Ok(Some(Head { last, opcode, mask, length, size: 2 + extended + masked }))
}

/// Writes the head of a message in one frame: the bytes, and how many of them count.
pub fn write_head(opcode: Opcode, mask: Option<Mask>, length: usize) -> ([u8; MAX_HEAD], usize) {
    let mut head = [0; MAX_HEAD];
    head[0] = 0x80 | opcode.bits();
    let length = length as u64;
    let mut size = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => {
            head[1] = short;
            2
        }
        (_, Ok(medium)) => {
            head[1] = 126;
            head[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&length.to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        head[1] |= 0x80;
        head[size..size + 4].copy_from_slice(&mask);
        size += 4;
    }
    (head, size)
}

/// Masks or unmasks a payload where it stands.
pub fn apply_mask(payload: &mut [u8], mask: Mask) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, rest) = payload.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip([a, b, c, d, a, b, c, d]).for_each(|(byte, key)| *byte ^= key);
}

/// Why a close frame is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadClose {
    /// Its code is cut short, or none that may be sent.
    Code,
    /// Its reason is no UTF-8.
    Reason,
}

/// What a close frame says: a code and a reason, where it has them.
///
/// # Errors
/// [`BadClose`].
pub fn read_close(payload: &[u8]) -> Result<(Option<u16>, &str), BadClose> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok((None, "")) } else { Err(BadClose::Code) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(BadClose::Code);
    }
    Ok((Some(code), std::str::from_utf8(reason).map_err(|_| BadClose::Reason)?))
}

/// The payload of a close frame. A reason that does not fit is cut.
pub fn write_close(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL as usize - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat()
}

/// A frame with any first byte, as peers write them that know no rules.
#[cfg(test)]
pub fn any_frame(first: u8, mask: Option<Mask>, payload: &[u8]) -> Vec<u8> {
    let (mut head, size) = write_head(Opcode::Text, mask, payload.len());
    head[0] = first;
    let mut bytes = [&head[..size], payload].concat();
    mask.into_iter().for_each(|mask| apply_mask(&mut bytes[size..], mask));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_as_they_were_written_and_not_before_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let (bytes, size) = write_head(Opcode::Text, mask, length);
                let head = Head { last: true, opcode: Opcode::Text, mask, length: length as u64, size };
                assert_eq!(read_head(&bytes[..size]), Ok(Some(head)));
                for cut in 0..size {
                    assert_eq!(read_head(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn rules_that_are_broken_are_named() {
        for bad in [[0xC1, 0x00], [0x91, 0x00], [0x83, 0x00], [0x8B, 0x00], [0x8F, 0x00], [0x09, 0x00], [0x08, 0x00]] {
            assert!(read_head(&bad).is_err(), "{bad:?}");
        }
        assert!(read_head(&[0x89, 126, 0, 126]).is_err(), "a ping of 126 bytes");
        assert_eq!(read_head(&[0x89, 126, 0, 125]).unwrap().unwrap().length, 125);
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
    fn close_frames_have_a_code_that_means_something() {
        assert_eq!(read_close(&write_close(4001, "silent")), Ok((Some(4001), "silent")));
        assert_eq!(read_close(b""), Ok((None, "")));
        assert_eq!(write_close(1000, &"ü".repeat(100)).len(), 124);
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
            assert_eq!(read_close(&write_close(code, "")), Err(BadClose::Code), "{code}");
        }
        assert_eq!(read_close(b"\x03"), Err(BadClose::Code));
        assert_eq!(read_close(b"\x03\xE8\xFF"), Err(BadClose::Reason));
    }
}
