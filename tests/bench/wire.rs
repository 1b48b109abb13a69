//! The subset of HTTP that the load generator and the provider need: end of a head, length of a body. Both ends are
//! trusted.

/// The end of a head, including the blank line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\n') {
        from += at + 1;
        if bytes[from..].starts_with(b"\r\n") {
            return Some(from + 2);
        }
    }
    None
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// By Content-Length.
    Known(usize),
    /// By chunked encoding.
    Chunked,
}

/// How the body after this head is delimited.
pub fn length(head: &[u8]) -> Length {
    for line in head.split(|b| *b == b'\n') {
        // Most lines are ruled out by their first byte.
        match line.first() {
            Some(b'c' | b'C') if starts(line, b"content-length:") => {
                let digits = line.iter().filter(|b| b.is_ascii_digit());
                return Length::Known(digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0')));
            }
            Some(b't' | b'T') if starts(line, b"transfer-encoding:") => return Length::Chunked,
            _ => {}
        }
    }
    Length::Known(0)
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// A decoder that skips over a chunked body and counts its bytes.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// The current chunk's size as far as it is read, or its remaining bytes.
    left: usize,
    /// Bytes of the body so far.
    pub bytes: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    SizeEnd,
    Data,
    DataEnd,
    Last,
    Over,
}

impl Chunks {
    /// Consumes bytes that were read.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let mut used = 1;
            match (&self.at, first) {
                (At::Size, b'\r') => self.at = At::SizeEnd,
                (At::Size, digit) => self.left = self.left * 16 + hex(*digit),
                (At::SizeEnd, _) => self.at = if self.left == 0 { At::Last } else { At::Data },
                (At::Data, _) => {
                    used = self.left.min(bytes.len());
                    self.bytes += used;
                    self.left -= used;
                    if self.left == 0 {
                        self.at = At::DataEnd;
                    }
                }
                (At::DataEnd, b'\n') => self.at = At::Size,
                (At::Last, b'\n') => self.at = At::Over,
                _ => {}
            }
            bytes = &bytes[used..];
        }
    }

    /// Whether the last chunk has been read.
    pub fn is_over(&self) -> bool {
        self.at == At::Over
    }
}

fn hex(digit: u8) -> usize {
    char::from(digit).to_digit(16).map_or(0, |value| value as usize)
}
