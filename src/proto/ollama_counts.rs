//! Finds the token counts in an answer of Ollama's API, whole or in lines, without parsing or storing it.
//!
//! The counts are numbers under the keys `prompt_eval_count` and `eval_count`. As with `usage`, such a key with its quotes
//! cannot be part of a text. What is held of an answer is at most 64 bytes.

use std::sync::LazyLock;

use memchr::memmem;

use super::usage::Usage;

/// The end that both keys have.
const KEY_END: &[u8] = b"eval_count\"";
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY_END));
/// How much of the end of a piece is held, in bytes: the longer key, a colon and a number with some space.
const MAX_HELD: usize = 64;

/// Scans an answer piece by piece and retains its last counts.
#[derive(Debug, Default)]
pub struct CountWatch {
    /// The end of what has come, which may be the start of a count.
    held: Vec<u8>,
    found: Usage,
}

impl CountWatch {
    /// Scans the next piece of the answer.
    pub fn push(&mut self, piece: &[u8]) {
        // What was held may become whole by the start of the piece; a count that lies in the piece alone is found there.
        let start = &piece[..piece.len().min(MAX_HELD)];
        let seam = [self.held.as_slice(), start].concat();
        self.scan(&seam);
        self.scan(piece);
        let end = if piece.len() < MAX_HELD { &seam } else { piece };
        self.held = end[end.len().saturating_sub(MAX_HELD)..].to_vec();
    }

    /// The token counts, as far as the answer has stated them.
    pub fn usage(&self) -> Usage {
        self.found
    }

    fn scan(&mut self, text: &[u8]) {
        for end in FINDER.find_iter(text) {
            let Some(count) = number(&text[end + KEY_END.len()..]) else { continue };
            let before = &text[..end];
            if before.ends_with(b"\"prompt_") {
                self.found.input = Some(count);
            } else if before.ends_with(b"\"") {
                self.found.output = Some(count);
            }
        }
    }
}

/// The number behind a key, once a byte that ends it has come.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let length = text.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&text[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = br#"{"message":{"content":"\"eval_count\":9,"},"done":false}
{"message":{"content":""},"done":true,"prompt_eval_count": 26,"prompt_eval_duration":1,"eval_count":298,"eval_duration":2}
"#;

    #[test]
    fn counts_are_found_wherever_the_answer_is_cut() {
        let counts = Usage { input: Some(26), output: Some(298), total: None };
        for cut in 0..LINES.len() {
            let mut watch = CountWatch::default();
            watch.push(&LINES[..cut]);
            watch.push(&LINES[cut..]);
            assert_eq!(watch.usage(), counts, "cut at {cut}");
        }
        let mut single = CountWatch::default();
        LINES.iter().for_each(|byte| single.push(&[*byte]));
        assert_eq!(single.usage(), counts);
        assert!(single.held.len() <= MAX_HELD);
    }

    #[test]
    fn what_is_no_count_is_none() {
        for text in
            [r#"{"eval_count":null,"x":1}"#, r#"{"eval_count":"7"}"#, r#"{"eval_count":99999999999999999999}"#, ""]
        {
            let mut watch = CountWatch::default();
            watch.push(text.as_bytes());
            assert_eq!(watch.usage(), Usage::default(), "{text}");
        }
    }
}
