//! Server-Sent Events: an encoder and an incremental decoder (WHATWG HTML, "Server-sent events"). No I/O.

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event:` field, if present.
    pub event: Option<String>,
    /// The `data:` lines, joined by LF.
    pub data: String,
}

/// Encodes one event: `event: NAME`, `data: DATA`, blank line, with LF line ends.
///
/// `data` must be one line, such as JSON without indentation: older clients read only one `data` line of an event
/// (PROTOCOL.md, "Events").
pub fn encode(event: &str, data: &str) -> String {
    let mut out = String::with_capacity(event.len() + data.len() + 17);
    push(&mut out, event, &[data]);
    out
}

/// As [`encode`], behind what is in `out`, with the data in parts.
pub fn push(out: &mut String, event: &str, data: &[&str]) {
    debug_assert!(data.iter().all(|part| !part.contains(['\n', '\r'])), "an event's data is one line");
    let length: usize = data.iter().map(|part| part.len()).sum();
    // To double what has been allocated for the last events of a long answer would take as much memory again.
    if length >= LONG {
        out.reserve_exact(length + event.len() + 17);
    }
    for part in ["event: ", event, "\ndata: "].iter().chain(data).chain(&["\n\n"]) {
        out.push_str(part);
    }
}

/// From this length on, in bytes, an event gets just the memory that it takes.
const LONG: usize = 64 << 10;

/// A comment line, which clients ignore. It keeps an idle stream alive.
pub const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// What the comment begins with that names the participant of a stream, for a client that got the stream's head before.
pub const ANSWERED_BY: &str = "answered by ";

/// The longest comment that is kept, in bytes.
const MAX_COMMENT: usize = 512;

/// The largest event, in bytes. A larger one is dropped.
pub const MAX_EVENT: usize = 4 << 20;

/// Decodes a stream that arrives in arbitrary pieces into events. It stores the bytes that were pushed and not yet
/// decoded, and one event.
#[derive(Debug)]
pub struct Decoder {
    line: Vec<u8>,
    /// Whether the line is empty so far, counting dropped bytes too.
    blank: bool,
    after_cr: bool,
    started: bool,
    /// The largest event, in bytes.
    limit: usize,
    /// Bytes of the event so far, including dropped ones.
    size: usize,
    current: SseEvent,
    has_data: bool,
    /// Whether an event was too long.
    has_dropped: bool,
    /// The last comment that has not been taken.
    comment: Option<String>,
    /// Pushed bytes, of which `read` have been decoded. Events are decoded one at a time: a queue of tiny ones would
    /// take many times the memory of their bytes.
    pushed: Vec<u8>,
    read: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a stream. An event longer than [`MAX_EVENT`] is dropped.
    pub fn new() -> Self {
        Self::with_limit(MAX_EVENT)
    }

    /// A decoder with another limit, in bytes.
    pub fn with_limit(limit: usize) -> Self {
        Decoder {
            line: Vec::new(),
            blank: true,
            after_cr: false,
            started: false,
            limit,
            size: 0,
            current: SseEvent::default(),
            has_data: false,
            has_dropped: false,
            comment: None,
            pushed: Vec::new(),
            read: 0,
        }
    }

    /// Appends the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        // Compacted only when half of it has been decoded, so that each byte is moved once on average.
        if self.read * 2 >= self.pushed.len() {
            self.pushed.drain(..self.read);
            self.read = 0;
        }
        self.pushed.extend_from_slice(piece);
    }

    /// The next complete event, if there is one. An event that the end of the stream truncates is never returned.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        while let Some(&byte) = self.pushed.get(self.read) {
            self.read += 1;
            if let Some(event) = self.byte(byte) {
                return Some(event);
            }
        }
        (self.pushed, self.read) = (Vec::new(), 0);
        None
    }

    /// The last comment among what has been decoded since the previous call.
    pub fn take_comment(&mut self) -> Option<String> {
        self.comment.take()
    }

    /// Whether an event, complete or not, was longer than the limit, and dropped.
    pub fn has_dropped(&self) -> bool {
        self.has_dropped
    }

    /// The number of bytes that it stores.
    pub fn held_bytes(&self) -> usize {
        let texts = [&self.current.event, &self.comment].into_iter().flatten().map(String::capacity).sum::<usize>();
        self.pushed.capacity() + self.line.capacity() + self.current.data.capacity() + texts
    }

    fn byte(&mut self, byte: u8) -> Option<SseEvent> {
        let after_cr = std::mem::take(&mut self.after_cr);
        match byte {
            b'\n' if after_cr => None,
            b'\n' => self.end_line(),
            b'\r' => {
                self.after_cr = true;
                self.end_line()
            }
            _ => {
                self.line_byte(byte);
                None
            }
        }
    }

    fn line_byte(&mut self, byte: u8) {
        self.blank = false;
        self.size += 1;
        if self.size <= self.limit {
            self.line.push(byte);
        } else {
            self.line = Vec::new();
            self.drop_event();
        }
    }

    fn drop_event(&mut self) {
        self.current = SseEvent::default();
        self.has_dropped = true;
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.started, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if std::mem::replace(&mut self.blank, true) {
            return self.end_event();
        }
        if self.size <= self.limit {
            let text = String::from_utf8_lossy(&line);
            // The replacement of an invalid UTF-8 byte is longer than the byte.
            self.size += text.len() - line.len().min(text.len());
            if self.size <= self.limit {
                self.field(&text);
            } else {
                self.drop_event();
            }
        }
        line.clear();
        self.line = line;
        None
    }

    fn end_event(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.current);
        let deliver = std::mem::take(&mut self.has_data) && self.size <= self.limit;
        self.size = 0;
        self.line = Vec::new();
        deliver.then_some(event)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.current.event = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            "" if value.len() <= MAX_COMMENT => self.comment = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = Decoder::new();
        pieces.iter().for_each(|p| decoder.push(p));
        std::iter::from_fn(|| decoder.next_event()).collect()
    }

    const STREAM: &[u8] =
        b"\xef\xbb\xbf: hello\n\nevent: a\ndata: 1\ndata: 2\n\ndata:3\r\nid: 7\r\n\r\nevent: none\n\ndata\n\ndata: cut";

    #[test]
    fn events_are_the_same_wherever_the_stream_is_split() {
        let whole = decode(&[STREAM]);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0], SseEvent { event: Some("a".into()), data: "1\n2".into() });
        assert_eq!(whole[1], SseEvent { event: None, data: "3".into() });
        assert_eq!(whole[2].data, "");
        for at in 0..STREAM.len() {
            assert_eq!(decode(&[&STREAM[..at], &STREAM[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn the_last_comment_is_kept_until_it_is_taken() {
        let mut decoder = Decoder::new();
        decoder.push(format!(": first\n:second\n: {}\ndata: x\n\n", "x".repeat(MAX_COMMENT + 1)).as_bytes());
        assert_eq!(decoder.next_event().unwrap().data, "x");
        assert_eq!(decoder.take_comment().as_deref(), Some("second"));
        assert_eq!(decoder.take_comment(), None);
    }

    #[test]
    fn encoded_events_are_decoded_to_the_same() {
        let text = encode("llm.request", r#"{"a":"ü"}"#);
        assert_eq!(text, "event: llm.request\ndata: {\"a\":\"ü\"}\n\n");
        let events = decode(&[KEEP_ALIVE.as_bytes(), text.as_bytes()]);
        assert_eq!(events, [SseEvent { event: Some("llm.request".into()), data: r#"{"a":"ü"}"#.into() }]);
    }

    #[test]
    fn an_event_over_a_lower_limit_is_dropped_whole() {
        let over_at_once = format!("data: {}\n\n", "x".repeat(100));
        let over_in_a_later_line = format!("event: a\ndata: begun\ndata: {}\ndata: more\n\n", "x".repeat(100));
        // 30 bytes that are not UTF-8 become 90 of replacement characters.
        let over_when_decoded = [b"data: begun\ndata: ", [0xff; 30].as_slice(), b"\n\n"].concat();
        for long in [over_at_once.as_bytes(), over_in_a_later_line.as_bytes(), &over_when_decoded] {
            let mut decoder = Decoder::with_limit(64);
            decoder.push(&[long, b"data: next\n\n"].concat());
            let first = decoder.next_event().map(|event| event.data);
            assert_eq!((first.as_deref(), decoder.next_event()), (Some("next"), None), "{}", long.escape_ascii());
            assert!(decoder.has_dropped());
        }
    }

    #[test]
    fn a_limit_above_the_default_is_honoured() {
        let mut decoder = Decoder::with_limit(2 * MAX_EVENT);
        decoder.push(format!("data: {}\n\n", "x".repeat(MAX_EVENT + 1)).as_bytes());
        assert_eq!(decoder.next_event().unwrap().data.len(), MAX_EVENT + 1);
        assert!(!decoder.has_dropped());
    }

    #[test]
    fn an_event_beyond_the_limit_is_dropped_and_the_next_one_read() {
        let mut decoder = Decoder::new();
        decoder.push(b"data: ");
        let block = vec![b'x'; 1 << 20];
        for _ in 0..33 {
            decoder.push(&block);
            assert_eq!(decoder.next_event(), None);
            assert!(decoder.held_bytes() <= 2 * MAX_EVENT);
        }
        decoder.push(b"\n\ndata: next\n\n");
        assert_eq!(decoder.next_event().unwrap().data, "next");
        assert_eq!(decoder.next_event(), None);
    }
}
