//! Finds the latest `sequence_number` in a Responses stream, without parsing or storing the stream. In JSON text the key
//! with its quotes can only be a key: inside a string the quotes would be escaped.

const KEY: &[u8] = b"\"sequence_number\"";

/// Scans a stream for the number of its latest event.
#[derive(Debug, Default)]
pub struct SequenceWatch {
    /// The number of bytes of the key that have matched.
    matched: usize,
    /// The value of the digits read so far, and whether there are any.
    number: u64,
    has_digits: bool,
    latest: Option<u64>,
}

impl SequenceWatch {
    /// Scans the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.matched == KEY.len() {
                self.value_byte(byte);
            } else if KEY[self.matched] == byte {
                self.matched += 1;
            } else {
                self.matched = usize::from(byte == KEY[0]);
            }
        }
    }

    fn value_byte(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                self.has_digits = true;
            }
            b':' | b' ' if !self.has_digits => {}
            _ => {
                self.latest = self.has_digits.then_some(self.number).or(self.latest);
                (self.matched, self.number, self.has_digits) = (0, 0, false);
            }
        }
    }

    /// The number of the next event: one more than the latest, or 0 before the first.
    pub fn next(&self) -> u64 {
        self.latest.map_or(0, |latest| latest.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_number_is_found_however_the_stream_is_split() {
        let stream =
            br#"data: {"sequence_number":1,"delta":"\"sequence_number\":9"} data: {"x":""sequence_number" : 41}"#;
        for cut in 0..stream.len() {
            let mut watch = SequenceWatch::default();
            watch.push(&stream[..cut]);
            watch.push(&stream[cut..]);
            assert_eq!(watch.next(), 42, "cut at {cut}");
        }
    }

    #[test]
    fn invalid_and_too_long_numbers_cause_no_failure() {
        for (stream, next) in [
            ("", 0),
            (r#"{"sequence_number":"5"}"#, 0),
            (r#"{"sequence_number":3,"sequence_number":null}"#, 4),
            (r#"{"sequence_number":99999999999999999999999}"#, u64::MAX),
        ] {
            let mut watch = SequenceWatch::default();
            watch.push(stream.as_bytes());
            assert_eq!(watch.next(), next, "{stream}");
        }
    }
}
