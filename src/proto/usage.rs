//! Finds the token counts in an answer, whole or streamed, without parsing or storing the answer.
//!
//! Chat, Responses and Messages answers all hold an object under a key `usage`. In JSON text, the seven bytes
//! `"usage"` followed by a colon can only be a key: inside a string the quotes would be escaped. So it is enough to
//! search for them and to keep the object that follows. The scan is a state machine: it reads each byte once, in
//! constant stack, and holds at most 4 KiB, whatever the provider sends.

use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use super::management::Metrics;
use super::read_json::from_bytes;

const KEY: &[u8] = b"\"usage\"";
/// Searches for the key. Building it costs more than using it.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY));
/// The longest usage object that is read, in bytes. Known ones are under 600 bytes.
const MAX_OBJECT: usize = 4096;

/// Token counts of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: Option<u64>,
    /// Tokens of the answer.
    pub output: Option<u64>,
    /// Both, as the provider counts them.
    pub total: Option<u64>,
}

/// What a request has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The tokens.
    pub usage: Usage,
    /// Whether they are an estimate, since the provider reported none.
    pub estimated: bool,
}

/// The spellings of Chat Completions (`prompt_tokens`) and of Responses and Messages (`input_tokens`).
#[derive(Deserialize)]
struct Spelled {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Scans an answer piece by piece and retains its last token counts.
#[derive(Debug, Default)]
pub struct UsageWatch {
    scan: Scan,
    found: Usage,
}

/// What the next byte is compared with.
#[derive(Debug)]
enum Scan {
    /// The key, of which this many bytes have matched.
    Key(usize),
    /// The colon after the key, and then the brace.
    Opening { colon: bool },
    /// The rest of the object.
    Object(Object),
}

impl Default for Scan {
    fn default() -> Self {
        Scan::Key(0)
    }
}

/// The part of a usage object that has arrived.
#[derive(Debug, Default)]
struct Object {
    bytes: Vec<u8>,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl UsageWatch {
    /// Scans the next piece of the answer.
    pub fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let used = match &mut self.scan {
                Scan::Key(matched) => {
                    let Some(used) = match_key(matched, piece) else { return };
                    self.scan = Scan::Opening { colon: false };
                    used
                }
                Scan::Opening { .. } => self.open_object(piece[0]),
                Scan::Object(object) => {
                    let (used, whole) = object.extend(piece);
                    if whole {
                        let object = std::mem::take(&mut object.bytes);
                        self.read(&object);
                    }
                    if whole || used < piece.len() {
                        self.scan = Scan::default();
                    }
                    used
                }
            };
            piece = &piece[used..];
        }
    }

    /// Scans a byte between the key and the object. Returns the number of bytes consumed, zero or one.
    fn open_object(&mut self, byte: u8) -> usize {
        let Scan::Opening { colon } = &mut self.scan else { return 0 };
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => return 1,
            b':' if !*colon => {
                *colon = true;
                return 1;
            }
            b'{' if *colon => self.scan = Scan::Object(Object::default()),
            // Not the key of an object. This byte may begin another key.
            _ => self.scan = Scan::default(),
        }
        0
    }

    /// The token counts, as far as the answer has stated them.
    pub fn usage(&self) -> Usage {
        self.found
    }

    fn read(&mut self, object: &[u8]) {
        let Ok(spelled) = from_bytes::<Spelled>(object) else {
            return;
        };
        // Messages streams state the prompt's tokens at the start and the answer's at the end: later counts complete
        // earlier ones.
        self.found.input = spelled.prompt_tokens.or(spelled.input_tokens).or(self.found.input);
        self.found.output = spelled.completion_tokens.or(spelled.output_tokens).or(self.found.output);
        self.found.total = spelled.total_tokens.or(self.found.total);
    }
}

/// Searches for the key, of whose bytes `matched` stand at the end of the previous piece. Gives the length up to the
/// key's end, or `None` where the piece ends first.
fn match_key(matched: &mut usize, piece: &[u8]) -> Option<usize> {
    for (at, &byte) in piece.iter().enumerate() {
        if *matched == 0 {
            return match FINDER.find(&piece[at..]) {
                Some(found) => Some(at + found + KEY.len()),
                None => {
                    *matched = matched_prefix(&piece[at..]);
                    None
                }
            };
        }
        // The only proper suffix of the key that is also a prefix is its first byte.
        *matched = if byte == KEY[*matched] { *matched + 1 } else { usize::from(byte == KEY[0]) };
        if *matched == KEY.len() {
            *matched = 0;
            return Some(at + 1);
        }
    }
    None
}

/// How many bytes of the key the piece ends with.
fn matched_prefix(piece: &[u8]) -> usize {
    (1..KEY.len()).rev().find(|&length| piece.ends_with(&KEY[..length])).unwrap_or(0)
}

impl Object {
    /// Appends bytes up to the object's end or its size limit. Returns their number, and whether the object is
    /// complete. If it is incomplete and not all bytes were appended, it is too long.
    fn extend(&mut self, piece: &[u8]) -> (usize, bool) {
        let room = MAX_OBJECT - self.bytes.len();
        for (at, &byte) in piece.iter().take(room).enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' if !self.in_text => self.depth += 1,
                b'}' if !self.in_text => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                self.bytes.extend_from_slice(&piece[..=at]);
                return (at + 1, true);
            }
        }
        let taken = room.min(piece.len());
        self.bytes.extend_from_slice(&piece[..taken]);
        (taken, false)
    }
}

impl Metrics {
    /// Combines times and token counts. The total is the sum of its parts where the provider omitted it; tokens per
    /// second are measured over the whole duration.
    pub fn new(ttft_ms: u64, duration_ms: u64, usage: Usage) -> Self {
        let total = usage.total.or_else(|| match (usage.input, usage.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        });
        let per_second = usage.output.filter(|_| duration_ms > 0).map(|n| n as f64 * 1000.0 / duration_ms as f64);
        Metrics {
            ttft_ms,
            duration_ms,
            input_tokens: usage.input,
            output_tokens: usage.output,
            total_tokens: total,
            tokens_per_second: per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(text: &[u8], cut: usize) -> Usage {
        let mut watch = UsageWatch::default();
        watch.push(&text[..cut]);
        watch.push(&text[cut..]);
        watch.usage()
    }

    #[test]
    fn finds_the_last_usage_wherever_the_stream_is_cut() {
        let stream = br#"data: {"usage":null,"x":"\"usage\":{\"prompt_tokens\":9}"}

data: {"choices":[],"usage": {"prompt_tokens":3,"completion_tokens":4,"d":{"a":"}"},"total_tokens":7}}

data: [DONE]

"#;
        for cut in 0..stream.len() {
            assert_eq!(watch(stream, cut), Usage { input: Some(3), output: Some(4), total: Some(7) }, "cut at {cut}");
        }
    }

    #[test]
    fn reads_one_byte_at_a_time() {
        let mut watch = UsageWatch::default();
        for byte in br#"{"usage":{"input_tokens":1,"output_tokens":2}}"# {
            watch.push(&[*byte]);
        }
        assert_eq!(watch.usage(), Usage { input: Some(1), output: Some(2), total: None });
    }

    #[test]
    fn later_counts_complete_earlier_ones() {
        let stream = br#"{"message":{"usage":{"input_tokens":5,"output_tokens":1}}} {"usage":{"output_tokens":9}}"#;
        assert_eq!(watch(stream, 10), Usage { input: Some(5), output: Some(9), total: None });
    }

    #[test]
    fn an_answer_without_usage_or_with_an_endless_one_costs_no_memory() {
        let mut watch = UsageWatch::default();
        watch.push(b"{\"usage\":{\"x\":\"");
        for _ in 0..1000 {
            watch.push(&[b'y'; 1000]);
        }
        assert!(matches!(watch.scan, Scan::Key(_)));
        assert_eq!(watch.usage(), Usage::default());
    }

    /// Keys that follow one another, values that are no objects, and objects without an end, on the small stack that a
    /// connection has.
    #[test]
    fn repeated_keys_cost_no_stack_and_hide_no_later_usage() {
        let hostile = ["\"usage\"", "\"usage\":", "\"usage\":{", "\"usage\":{\"", "{\"usage\":{\"a\":{}", "\"", "\\\""];
        let small = std::thread::Builder::new().stack_size(64 << 10);
        let scan = small.spawn(move || {
            for unit in hostile {
                let mut text = unit.repeat((1 << 20) / unit.len());
                // Ends a string or an object that the repetition may have left open.
                text.push_str(&"x".repeat(MAX_OBJECT));
                text.push_str(r#","usage":{"prompt_tokens":3,"total_tokens":7}}"#);
                for cut in [0, 1, 7, 8, 4096, 180_000, text.len() - 20] {
                    let expected = Usage { input: Some(3), output: None, total: Some(7) };
                    assert_eq!(watch(text.as_bytes(), cut), expected, "{unit} cut at {cut}");
                }
            }
        });
        scan.unwrap().join().unwrap();
    }

    #[test]
    fn a_key_is_found_behind_its_own_beginning() {
        for text in ["\"\"usage\":{\"total_tokens\":1}", "\"usa\"usage\":{\"total_tokens\":1}"] {
            for cut in 0..text.len() {
                assert_eq!(watch(text.as_bytes(), cut).total, Some(1), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn metrics_add_up_a_missing_total() {
        let metrics = Metrics::new(5, 500, Usage { input: Some(1), output: Some(10), total: None });
        assert_eq!(metrics.total_tokens, Some(11));
        assert_eq!(metrics.tokens_per_second, Some(20.0));
        assert_eq!(Metrics::new(0, 0, Usage::default()).tokens_per_second, None);
    }
}
