//! Texts that are embedded in the binary without what only their readers need. Done when the hub is compiled.

/// The text without comments, blank lines and indentation; `N` is its [`length`]. A comment has lines of its own, and
/// begins each of them; no text goes over a line's end.
pub const fn minify<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        let (begin, end) = line(bytes, from);
        from = begin;
        while from < end {
            out[to] = bytes[from];
            to += 1;
            from += 1;
        }
    }
    out
}

/// How many bytes of a text [`minify`] leaves.
pub const fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut from, mut kept) = (0, 0);
    while from < bytes.len() {
        let (begin, end) = line(bytes, from);
        kept += end - begin;
        from = end;
    }
    kept
}

/// What is kept of the line at `from`, its end included: nothing, or all behind the indentation. The next line follows.
const fn line(bytes: &[u8], from: usize) -> (usize, usize) {
    let mut begin = from;
    while begin < bytes.len() && bytes[begin] == b' ' {
        begin += 1;
    }
    let mut end = begin;
    while end < bytes.len() && bytes[end] != b'\n' {
        end += 1;
    }
    let blank = end == begin;
    let comment = begin + 1 < end && bytes[begin] == b'/' && (bytes[begin + 1] == b'/' || bytes[begin + 1] == b'*');
    if end < bytes.len() {
        end += 1;
    }
    if blank || comment { (end, end) } else { (begin, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_told_from_what_ends_like_one() {
        const TEXT: &str = "// One.\n  a(); // kept\n\n/** Two. */\n  *, b { }\n  /";
        const SLIM: [u8; length(TEXT)] = minify(TEXT);
        assert_eq!(std::str::from_utf8(&SLIM).unwrap(), "a(); // kept\n*, b { }\n/");
        assert_eq!(length(""), 0);
    }
}
