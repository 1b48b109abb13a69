//! Chunked bodies: an incremental decoder (RFC 9112, section 7.1), without I/O.

/// The longest line of a chunk's size, extensions included, and of a trailer.
const MAX_LINE: usize = 4096;
/// The most that trailers may hold together.
const MAX_TRAILERS: usize = 16 << 10;

/// Reads a chunked body, cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    trailers: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

/// The body's framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Decoder {
    /// A decoder at a body's first byte.
    pub fn new() -> Self {
        Decoder { state: State::Size, line: Vec::new(), trailers: 0 }
    }

    /// Whether the last chunk and the trailers have been read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes from the front of `input` into `out`, and says how many bytes of it were used. What follows the body
    /// is left alone.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let rest = &input[used..];
            if let State::Data(left) = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                out.extend_from_slice(&rest[..take]);
                used += take;
                let left = left - take as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
            } else {
                used += self.line(rest)?;
            }
        }
        Ok(used)
    }

    /// Reads a line, or as much of it as there is, which is kept until its end comes.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Malformed> {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.keep(rest)?;
            return Ok(rest.len());
        };
        if self.line.is_empty() {
            self.whole_line(&rest[..end])?;
        } else {
            self.keep(&rest[..end])?;
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line)?;
        }
        Ok(end + 1)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
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
            State::Size => match size(line)? {
                0 => State::Trailer,
                size => State::Data(size),
            },
            State::DataEnd if line.is_empty() => State::Size,
            State::DataEnd => return Err(Malformed("A chunk is longer than it said")),
            State::Trailer if line.is_empty() => State::Done,
            State::Trailer => {
                self.trailers += line.len();
                if self.trailers > MAX_TRAILERS {
                    return Err(Malformed("The trailers of the chunked body are too long"));
                }
                State::Trailer
            }
            State::Data(_) | State::Done => return Ok(()),
        };
        Ok(())
    }
}

/// A chunk's size: hexadecimal digits, then perhaps extensions, which mean nothing here.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let size = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    size.ok_or(Malformed("A chunk's size is not a hexadecimal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut decoder, mut out, mut used) = (Decoder::new(), Vec::new(), 0);
        for piece in pieces {
            used += decoder.decode(piece, &mut out)?;
        }
        Ok((out, used, decoder.is_done()))
    }

    #[test]
    fn a_body_reads_the_same_wherever_it_is_cut() {
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
    fn broken_framing_is_named() {
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
}
