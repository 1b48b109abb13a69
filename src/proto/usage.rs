//! Finding the token counts in an answer that passes by, whole or streamed, without parsing or keeping it.
//!
//! Chat, Responses and Messages answers all hold an object under a key `usage`. In JSON text, the seven bytes
//! `"usage"` followed by a colon can only be a key: inside a string the quotes would be escaped. So it is enough to look
//! for them, and to keep the little that follows.

use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use super::management::Metrics;

const KEY: &[u8] = b"\"usage\"";
/// The most of a key that can stand before a cut.
const SEAM: usize = KEY.len() - 1;
/// Looks for the key; it takes longer to make than to use.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY));
/// How much of a usage object is kept. Known ones are under 600 bytes.
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

/// The spellings of Chat Completions (`prompt_tokens`) and of Responses and Messages (`input_tokens`).
#[derive(Deserialize)]
struct Spelled {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Watches an answer go by and remembers its last usage.
#[derive(Debug, Default)]
pub struct UsageWatch {
    /// End of the last piece, in which a key may have begun, and its length.
    carry: [u8; SEAM],
    kept: usize,
    /// What followed a key, until its object is whole.
    object: Option<Vec<u8>>,
    found: Usage,
}

impl UsageWatch {
    /// Looks at the next piece of the answer.
    pub fn push(&mut self, piece: &[u8]) {
        if self.object.is_some() {
            return self.extend_object(piece);
        }
        // Where the last piece and this one meet there may be a key, of which each has a part.
        let (kept, fresh) = (self.kept, piece.len().min(SEAM));
        let mut seam = [0; 2 * SEAM];
        seam[..kept].copy_from_slice(&self.carry[..kept]);
        seam[kept..kept + fresh].copy_from_slice(&piece[..fresh]);
        match memmem::find(&seam[..kept + fresh], KEY) {
            Some(at) => {
                self.object = Some(Vec::new());
                self.extend_object(&piece[at + KEY.len() - kept..]);
            }
            None if piece.len() < SEAM => self.carry_over(&seam[..kept + fresh]),
            None => self.search(piece),
        }
    }

    /// The token counts, as far as the answer told them.
    pub fn usage(&self) -> Usage {
        self.found
    }

    fn search(&mut self, bytes: &[u8]) {
        match FINDER.find(bytes) {
            Some(at) => {
                self.object = Some(Vec::new());
                self.extend_object(&bytes[at + KEY.len()..]);
            }
            None => self.carry_over(bytes),
        }
    }

    /// Keeps the end, in which a key may have begun.
    fn carry_over(&mut self, bytes: &[u8]) {
        let end = &bytes[bytes.len().saturating_sub(SEAM)..];
        self.kept = end.len();
        self.carry[..end.len()].copy_from_slice(end);
    }

    fn extend_object(&mut self, piece: &[u8]) {
        let mut object = self.object.take().unwrap_or_default();
        object.extend_from_slice(piece);
        match object_length(&object) {
            Scan::NotAnObject(at) => self.search(&object[at..]),
            Scan::Whole { from, to } => {
                self.read(&object[from..to]);
                self.search(&object[to..]);
            }
            Scan::Partial if object.len() > MAX_OBJECT => self.search(&object[1..]),
            Scan::Partial => self.object = Some(object),
        }
    }

    fn read(&mut self, object: &[u8]) {
        let Ok(spelled) = serde_json::from_slice::<Spelled>(object) else {
            return;
        };
        // Messages streams tell the prompt's tokens at the start and the answer's at the end: later counts complete
        // earlier ones.
        self.found.input = spelled.prompt_tokens.or(spelled.input_tokens).or(self.found.input);
        self.found.output = spelled.completion_tokens.or(spelled.output_tokens).or(self.found.output);
        self.found.total = spelled.total_tokens.or(self.found.total);
    }
}

enum Scan {
    NotAnObject(usize),
    Partial,
    Whole { from: usize, to: usize },
}

/// Where the object after a key begins and ends: `: {...}`.
fn object_length(bytes: &[u8]) -> Scan {
    let mut depth = 0usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut from = None;
    let mut colon = false;
    for (at, &byte) in bytes.iter().enumerate() {
        let Some(start) = from else {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b':' if !colon => colon = true,
                b'{' if colon => {
                    from = Some(at);
                    depth = 1;
                }
                _ => return Scan::NotAnObject(at),
            }
            continue;
        };
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' if !in_text => depth += 1,
            b'}' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Scan::Whole { from: start, to: at + 1 };
        }
    }
    Scan::Partial
}

impl Metrics {
    /// Puts times and token counts together. The total is made up from its parts where the provider left it out, and
    /// tokens per second count over the whole duration.
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
        assert!(watch.object.is_none() && watch.carry.len() < KEY.len());
        assert_eq!(watch.usage(), Usage::default());
    }

    #[test]
    fn metrics_make_up_the_total() {
        let metrics = Metrics::new(5, 500, Usage { input: Some(1), output: Some(10), total: None });
        assert_eq!(metrics.total_tokens, Some(11));
        assert_eq!(metrics.tokens_per_second, Some(20.0));
        assert_eq!(Metrics::new(0, 0, Usage::default()).tokens_per_second, None);
    }
}
