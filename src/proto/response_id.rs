//! Finds the id of a Responses answer, whole or streamed, without parsing or storing the answer.
//!
//! Of duplicate `id` keys the first one counts, although JSON parsers use the last: the id must be known before the
//! rest of the answer arrives, so that a running response can be cancelled. No known provider sends duplicate keys.
//!
//! A scanner of JSON text counts the open brackets and compares keys only in the objects that lead to the id. It reads
//! each byte once, in constant stack, and holds one key or one id.

use super::read_json::from_bytes;

/// The longest id that is stored, in bytes. An answer with a longer one cannot be retrieved by its id.
pub const MAX_ID: usize = 256;
/// The longest text that is stored before its escapes are decoded: an escape takes at most six bytes.
const MAX_TEXT: usize = 6 * MAX_ID;

/// The path of the id in a whole answer, and in an event of a stream.
const IN_ANSWER: &[&str] = &["id"];
const IN_EVENT: &[&str] = &["response", "id"];
const DATA: &[u8] = b"data:";

/// Scans an answer until its id is known.
#[derive(Debug)]
pub enum IdWatch {
    /// A stream: the id is in an event, usually the first.
    Stream(LinePosition, Scan),
    /// A whole answer.
    Whole(Scan),
    /// The scan is complete.
    Over,
}

/// The position in a line of a stream.
#[derive(Debug)]
pub enum LinePosition {
    /// After a CR: a LF that follows belongs to the same line end.
    Cr,
    /// The line so far is a prefix of `data:` of this length.
    Name(usize),
    /// In the data.
    Data,
    /// In a line that is skipped.
    Other,
}

impl IdWatch {
    /// For a streamed or a whole answer.
    pub fn new(stream: bool) -> Self {
        if stream {
            IdWatch::Stream(LinePosition::Name(0), Scan::new(IN_EVENT))
        } else {
            IdWatch::Whole(Scan::new(IN_ANSWER))
        }
    }

    /// Scans the next piece. Returns the id, once, when it is known.
    pub fn push(&mut self, piece: &[u8]) -> Option<String> {
        let id = match self {
            IdWatch::Over => None,
            IdWatch::Whole(scan) => piece.iter().find_map(|&byte| scan.byte(byte)),
            IdWatch::Stream(line, scan) => piece.iter().find_map(|&byte| stream_byte(line, scan, byte)),
        }?;
        *self = IdWatch::Over;
        (id.len() <= MAX_ID).then_some(id)
    }
}

fn stream_byte(line: &mut LinePosition, scan: &mut Scan, byte: u8) -> Option<String> {
    let blank = matches!(line, LinePosition::Name(0)) || matches!(line, LinePosition::Cr) && byte == b'\r';
    if blank && matches!(byte, b'\n' | b'\r') {
        *scan = Scan::new(IN_EVENT);
    }
    match (&*line, byte) {
        (_, b'\n') => *line = LinePosition::Name(0),
        (_, b'\r') => *line = LinePosition::Cr,
        (LinePosition::Cr, _) => *line = if byte == DATA[0] { LinePosition::Name(1) } else { LinePosition::Other },
        (LinePosition::Name(at), _) if DATA[*at] == byte => {
            *line = if at + 1 == DATA.len() { LinePosition::Data } else { LinePosition::Name(at + 1) };
        }
        (LinePosition::Name(_), _) => *line = LinePosition::Other,
        (LinePosition::Data, _) => return scan.byte(byte),
        (LinePosition::Other, _) => {}
    }
    None
}

/// A scanner for one string in a JSON object, at a path of keys.
#[derive(Debug)]
pub struct Scan {
    path: &'static [&'static str],
    /// Open brackets, and how many of the outermost are objects on the path.
    depth: usize,
    on_path: usize,
    /// Whether anything but white space has been read.
    begun: bool,
    /// Whether a colon has been read since the last key, and whether that key is on the path.
    colon: bool,
    matched: bool,
    in_text: bool,
    escaped: bool,
    /// The string being read, if it can be a key on the path or the id, and is not too long.
    text: Option<Vec<u8>>,
}

impl Scan {
    fn new(path: &'static [&'static str]) -> Self {
        Scan {
            path,
            depth: 0,
            on_path: 0,
            begun: false,
            colon: false,
            matched: false,
            in_text: false,
            escaped: false,
            text: None,
        }
    }

    /// Scans the next byte. Returns the string at the path, where this byte ends it.
    fn byte(&mut self, byte: u8) -> Option<String> {
        if self.in_text {
            return self.text_byte(byte);
        }
        let here = self.depth > 0 && self.depth == self.on_path;
        match byte {
            b'"' => {
                self.in_text = true;
                let wanted = here && (!self.colon || self.matched && self.on_path == self.path.len());
                self.text = wanted.then(Vec::new);
            }
            b'{' | b'[' => self.open(byte == b'{', here),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.on_path = self.on_path.min(self.depth);
                self.matched = false;
            }
            b',' if here => (self.colon, self.matched) = (false, false),
            b':' if here => self.colon = true,
            _ => {}
        }
        self.begun |= !byte.is_ascii_whitespace();
        None
    }

    fn open(&mut self, object: bool, here: bool) {
        let leads_on = here && self.colon && self.matched && self.on_path < self.path.len();
        if object && (leads_on || !self.begun) {
            self.on_path += 1;
            (self.colon, self.matched) = (false, false);
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn text_byte(&mut self, byte: u8) -> Option<String> {
        if byte == b'"' && !self.escaped {
            self.in_text = false;
            let text = unescaped(&self.text.take()?);
            if self.colon {
                return text;
            }
            self.matched = text.as_deref() == Some(self.path[self.on_path - 1]);
            return None;
        }
        self.escaped = byte == b'\\' && !self.escaped;
        match &mut self.text {
            Some(text) if text.len() < MAX_TEXT => text.push(byte),
            // Too long for an id, and for any key of the path.
            text => *text = None,
        }
        None
    }
}

fn unescaped(text: &[u8]) -> Option<String> {
    from_bytes(&[b"\"", text, b"\""].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stream: bool, pieces: &[&[u8]]) -> Option<String> {
        let mut watch = IdWatch::new(stream);
        let mut found = pieces.iter().filter_map(|piece| watch.push(piece));
        let id = found.next();
        assert_eq!(found.next(), None, "an id is reported once");
        id
    }

    #[test]
    fn a_whole_answers_id_is_its_own_and_no_items() {
        let body =
            br#" {"output":[{"id":"msg_1"}],"x":{"id":"no"},"text":"\"id\":\"no\"","\u0069d" : "resp_1","id":"2"}"#;
        for cut in 0..body.len() {
            assert_eq!(id(false, &[&body[..cut], &body[cut..]]).as_deref(), Some("resp_1"), "cut at {cut}");
        }
        for bad in ["", "[]", r#"{"id":5}"#, "x", r#"[{"id":"x"}]"#, r#"x{"id":"x"}"#, r#"{"a":"id","b":"c"}"#, "}}]]"]
        {
            assert_eq!(id(false, &[bad.as_bytes()]), None, "{bad}");
        }
    }

    #[test]
    fn of_duplicate_ids_the_first_is_reported_before_the_second_arrives() {
        let mut watch = IdWatch::new(false);
        assert_eq!(watch.push(br#"{"id":"resp_1","#).as_deref(), Some("resp_1"));
        assert_eq!(watch.push(br#""id":"resp_2"}"#), None);
    }

    #[test]
    fn a_streams_id_is_in_its_first_event() {
        for end in ["\n", "\r\n"] {
            let stream = "event: response.created\ndata: {\"id\":\"no\",\"response\":{\"a\":{\"id\":\"no\"},\n\
                data: \"id\":\"resp_2\"}}\n\nevent: x\ndata: {\"response\":{\"id\":\"no\"}}\n\n"
                .replace('\n', end);
            for cut in 0..stream.len() {
                let (left, right) = stream.as_bytes().split_at(cut);
                assert_eq!(id(true, &[left, right]).as_deref(), Some("resp_2"), "cut at {cut}");
            }
        }
        let later = b"data: {\"response\":\n\ndata: {\"id\":\"no\"}\n\ndata: {\"response\":{\"id\":\"r\"}}\n\n";
        assert_eq!(id(true, &[later]).as_deref(), Some("r"));
    }

    #[test]
    fn a_long_id_is_not_stored() {
        let answer = |bytes: usize| format!(r#"{{"id":"{}"}}"#, "x".repeat(bytes));
        assert!(id(false, &[answer(MAX_ID).as_bytes()]).is_some());
        for bytes in [MAX_ID + 1, 7 * MAX_ID] {
            assert_eq!(id(false, &[answer(bytes).as_bytes()]), None);
        }
    }

    #[test]
    fn an_endless_answer_is_not_stored() {
        for (stream, begin) in [(true, "data: {\"response\":{\"id\":\""), (false, "{\"id\":\"")] {
            let mut watch = IdWatch::new(stream);
            assert_eq!(watch.push(begin.as_bytes()), None);
            assert_eq!(watch.push(&vec![b'x'; 16 << 20]), None);
            let (IdWatch::Stream(_, scan) | IdWatch::Whole(scan)) = &watch else { panic!("{watch:?}") };
            assert_eq!(scan.text, None);
        }
    }
}
