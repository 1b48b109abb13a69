//! Chunked bodies: an incremental decoder (RFC 9112, section 7.1), without I/O.

use super::header_list::is_token_byte;

/// The longest line of a chunk's size, extensions included, and of a trailer.
const MAX_LINE: usize = 4096;
/// The largest total size of the trailers, in bytes.
const MAX_TRAILERS: usize = 16 << 10;

/// Decodes a chunked body that arrives in arbitrary pieces.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: DecoderState,
    line: Vec<u8>,
    trailers: usize,
    /// Whether every line must follow the grammar exactly.
    strict: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum DecoderState {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl DecoderState {
    fn after_size(size: u64) -> Self {
        if size == 0 { DecoderState::Trailer } else { DecoderState::Data(size) }
    }
}

/// The body's framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl ChunkedDecoder {
    /// For a provider's answer: white space after a size, and malformed extensions and trailers, are skipped, since
    /// some servers pad their sizes.
    pub fn lenient() -> Self {
        ChunkedDecoder { state: DecoderState::Size, line: Vec::new(), trailers: 0, strict: false }
    }

    /// For a client's request: anything that two parsers could interpret differently is malformed (request smuggling).
    pub fn strict() -> Self {
        ChunkedDecoder { strict: true, ..ChunkedDecoder::lenient() }
    }

    /// Whether the last chunk and the trailers have been read.
    pub fn is_done(&self) -> bool {
        self.state == DecoderState::Done
    }

    /// Decodes from the front of `input` into `out`. Returns the number of bytes consumed, which ends with the body.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let rest = &input[used..];
            if let DecoderState::Data(left) = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                out.extend_from_slice(&rest[..take]);
                used += take;
                let left = left - take as u64;
                self.state = if left == 0 { DecoderState::DataEnd } else { DecoderState::Data(left) };
            } else {
                used += match self.plain_line(rest) {
                    Some(length) => length,
                    None => self.line(rest)?,
                };
            }
        }
        Ok(used)
    }

    /// Reads a complete line between two chunks in its usual form, without searching for its end: the end of a chunk, or a size without
    /// extensions. Returns its length.
    fn plain_line(&mut self, rest: &[u8]) -> Option<usize> {
        if !self.line.is_empty() {
            return None;
        }
        let (state, length) = match self.state {
            DecoderState::DataEnd => (DecoderState::Size, 0),
            DecoderState::Size => plain_size(rest).map(|(size, digits)| (DecoderState::after_size(size), digits))?,
            _ => return None,
        };
        rest[length..].starts_with(b"\r\n").then(|| {
            self.state = state;
            length + 2
        })
    }

    /// Reads a line. An incomplete line is stored until the rest arrives.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Malformed> {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.append_line(rest)?;
            return Ok(rest.len());
        };
        if self.line.is_empty() {
            self.whole_line(&rest[..end])?;
        } else {
            self.append_line(&rest[..end])?;
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line)?;
        }
        Ok(end + 1)
    }

    fn append_line(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + part.len() > MAX_LINE {
            return Err(Malformed("A line of the chunked body is too long"));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        if line.len() > MAX_LINE {
            return Err(Malformed("A line of the chunked body is too long"));
        }
        let line = line.strip_suffix(b"\r").ok_or(Malformed("A line of the chunked body does not end in CR LF"))?;
        if line.contains(&b'\r') {
            return Err(Malformed("A line of the chunked body holds a bare CR"));
        }
        self.end_line(line)
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.state = match self.state {
            DecoderState::Size => DecoderState::after_size(size(line, self.strict)?),
            DecoderState::DataEnd if line.is_empty() => DecoderState::Size,
            DecoderState::DataEnd => return Err(Malformed("A chunk is longer than it said")),
            DecoderState::Trailer if line.is_empty() => DecoderState::Done,
            DecoderState::Trailer if self.strict && !is_trailer(line) => {
                return Err(Malformed("A trailer of the chunked body is malformed"));
            }
            DecoderState::Trailer => {
                self.trailers += line.len();
                if self.trailers > MAX_TRAILERS {
                    return Err(Malformed("The trailers of the chunked body are too long"));
                }
                DecoderState::Trailer
            }
            DecoderState::Data(_) | DecoderState::Done => return Ok(()),
        };
        Ok(())
    }
}

/// The size at the front, and the number of its digits, of which there are few enough for 32 bits.
fn plain_size(rest: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0;
    for (at, byte) in rest.iter().enumerate().take(9) {
        match char::from(*byte).to_digit(16) {
            Some(digit) if at < 8 => size = size << 4 | u64::from(digit),
            _ => return (at > 0).then_some((size, at)),
        }
    }
    None
}

/// A chunk's size: hexadecimal digits, optionally followed by extensions, which are ignored.
fn size(line: &[u8], strict: bool) -> Result<u64, Malformed> {
    let (digits, extensions) = line.split_at(line.iter().position(|b| *b == b';').unwrap_or(line.len()));
    let digits = if strict { digits } else { digits.trim_ascii_end() };
    if strict && !are_extensions(extensions) {
        return Err(Malformed("A chunk's extension is malformed"));
    }
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let size = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    size.ok_or(Malformed("A chunk's size is not a hexadecimal number"))
}

/// `*( ";" name [ "=" value ] )`, where a value is a token or a quoted string (RFC 9112, section 7.1.1). The white
/// space that old senders put around them is refused, because parsers differ about it.
fn are_extensions(mut rest: &[u8]) -> bool {
    while let [b';', after @ ..] = rest {
        let name = token_length(after);
        if name == 0 {
            return false;
        }
        rest = &after[name..];
        if let [b'=', value @ ..] = rest {
            let length = if value.first() == Some(&b'"') { quoted_length(value) } else { token_length(value) };
            if length == 0 {
                return false;
            }
            rest = &value[length..];
        }
    }
    rest.is_empty()
}

fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len())
}

/// The length of the quoted string at the front, quotes included; 0 where there is none.
fn quoted_length(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\t' | b' '..=b'~' | 0x80.. => escaped = byte == b'\\' && !escaped,
            _ => return 0,
        }
    }
    0
}

/// `name: value` without control characters; a line that begins with white space continues another (RFC 9112, section
/// 5.2).
fn is_trailer(line: &[u8]) -> bool {
    let name = token_length(line);
    let value = &line[name..];
    name > 0 && value.first() == Some(&b':') && value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut decoder, mut out, mut used) = (ChunkedDecoder::strict(), Vec::new(), 0);
        for piece in pieces {
            used += decoder.decode(piece, &mut out)?;
        }
        Ok((out, used, decoder.is_done()))
    }

    #[test]
    fn a_body_decodes_to_the_same_bytes_however_it_is_split() {
        let body = b"4;x=\"y\"\r\nWiki\r\nA\r\npedia in c\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        for cut in 0..body.len() {
            let (out, used, done) = decode(&[&body[..cut], &body[cut..]]).unwrap();
            assert_eq!(out, b"Wikipedia in c", "cut at {cut}");
            assert!(done);
            if cut == 0 {
                assert_eq!(&body[used..], b"NEXT");
            }
        }
    }

    #[test]
    fn a_size_may_have_up_to_sixteen_digits() {
        for size in ["a", "A", "0a", "0000000a", "00000000a", "000000000000000a"] {
            let body = format!("{size}\r\n0123456789\r\n0\r\n\r\n");
            assert_eq!(decode(&[body.as_bytes()]), Ok((b"0123456789".to_vec(), body.len(), true)), "{size}");
        }
        let (mut decoder, mut out) = (ChunkedDecoder::strict(), Vec::new());
        for size in ["ffffffff", "100000000"] {
            assert_eq!(decoder.decode(format!("{size}\r\n").as_bytes(), &mut out), Ok(size.len() + 2));
            assert_eq!(decoder.state, DecoderState::Data(u64::from_str_radix(size, 16).unwrap()));
            decoder = ChunkedDecoder::strict();
        }
    }

    #[test]
    fn malformed_framing_is_rejected() {
        for bad in [
            &b"x\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1\nA",
            b"1\r\nAB\r\n",
            b"11111111111111111\r\n",
            b"1\rx\r\n",
        ] {
            assert!(decode(&[bad]).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(decode(&[&[b'1'; MAX_LINE + 2]]).is_err());
        let mut endless = b"0\r\n".to_vec();
        endless.extend(b"a: b\r\n".repeat(5000));
        assert!(decode(&[&endless]).is_err());
    }

    #[test]
    fn requests_must_follow_the_grammar_exactly_and_answers_need_not() {
        for odd in [
            "1 \r\nA\r\n0\r\n\r\n",
            "1;\r\nA\r\n0\r\n\r\n",
            "1;a=\r\nA\r\n0\r\n\r\n",
            "1;a\0\r\nA\r\n0\r\n\r\n",
            "1;a=\"x\r\nA\r\n0\r\n\r\n",
            "1; a\r\nA\r\n0\r\n\r\n",
            "1\r\nA\r\n0\r\nno colon\r\n\r\n",
            "1\r\nA\r\n0\r\nA: b\r\n folded\r\n\r\n",
            "1\r\nA\r\n0\r\nA : b\r\n\r\n",
        ] {
            assert!(decode(&[odd.as_bytes()]).is_err(), "{odd:?}");
            let (mut decoder, mut out) = (ChunkedDecoder::lenient(), Vec::new());
            assert_eq!(decoder.decode(odd.as_bytes(), &mut out), Ok(odd.len()), "{odd:?}");
            assert!(decoder.is_done() && out == b"A");
        }
        assert!(decode(&[b"1;a;b=c;d=\"e \\\" f\"\r\nA\r\n0\r\nA: b\r\n\r\n"]).unwrap().2);
    }
}
