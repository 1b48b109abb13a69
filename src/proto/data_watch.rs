//! Finds the first data of an event stream, without parsing or storing it. Comment lines, events without data and the
//! fields `event`, `id` and `retry` do not count: providers send them while they still process the prompt.

/// Fields without data.
const SILENT_FIELDS: [&[u8]; 3] = [b"event:", b"id:", b"retry:"];
const DATA: &[u8] = b"data:";

/// Watches an event stream until the first data. A line that belongs to no event stream counts as data.
#[derive(Debug, Default)]
pub struct DataWatch {
    /// The start of the line until it is classified; at most six bytes.
    line: Vec<u8>,
    /// Whether the rest of the line is skipped.
    skips: bool,
}

impl DataWatch {
    /// Scans the next piece. True when data has begun; nothing must be pushed after that.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        piece.iter().any(|&byte| self.byte(byte))
    }

    fn byte(&mut self, byte: u8) -> bool {
        if matches!(byte, b'\n' | b'\r') {
            self.line.clear();
            self.skips = false;
            return false;
        }
        if self.skips || (self.line == DATA && byte == b' ') {
            return false;
        }
        self.line.push(byte);
        self.skips = self.line == b":" || SILENT_FIELDS.contains(&self.line.as_slice());
        !self.skips && !SILENT_FIELDS.into_iter().chain([DATA]).any(|field| field.starts_with(&self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether data has begun at the end of a text and not before, pushed whole and byte by byte.
    fn begins(silent: &str, text: &str) -> bool {
        let (mut whole, mut single) = (DataWatch::default(), DataWatch::default());
        assert!(!whole.push(silent.as_bytes()), "{silent:?}");
        assert!(!silent.bytes().any(|byte| single.push(&[byte])), "{silent:?}");
        let (whole, single) = (whole.push(text.as_bytes()), text.bytes().any(|byte| single.push(&[byte])));
        assert_eq!(whole, single, "{silent:?} {text:?}");
        whole
    }

    #[test]
    fn comments_fields_and_empty_events_are_not_data() {
        for silent in [
            "",
            ":",
            ": ping\n\n",
            ":data: 1\r\n\r\n",
            "\n\n\r\n",
            "data:\n\n",
            "data: \n\n",
            "data\n\n",
            "event: ping\n",
            "id: data: 1\rretry: 5\r",
        ] {
            for data in ["data: 1", "data:1", "data: {", "event: x\ndata: 1\n\n", ": y\ndata: [DONE]\n\n"] {
                let separate = if silent == ":" { "\n" } else { "" };
                assert!(begins(&format!("{silent}{separate}"), data), "{silent:?} {data:?}");
            }
            assert!(!begins(silent, ""));
        }
    }

    #[test]
    fn lines_of_no_event_stream_count_as_data() {
        for text in ["{\"error\":1}", "<html>", "\u{feff}data: 1", "dat3", "events: x", "xxxx"] {
            assert!(begins(": ping\n\n", text), "{text:?}");
        }
    }
}
