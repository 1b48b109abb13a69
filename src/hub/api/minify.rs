//! A minifier for embedded text files that runs at compile time. It drops full-line comments, blank lines and
//! indentation, so that the sources stay readable while the dashboard keeps to its size limit. It does not parse: no
//! comment may start behind code on its line and continue on the next, and no string literal may span lines.

/// The text without full-line comments, blank lines and indentation. `N` must be its [`minified_len`].
pub const fn minify<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut output = [0; N];
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        let (begin, end) = kept_range(bytes, from);
        from = begin;
        while from < end {
            output[to] = bytes[from];
            to += 1;
            from += 1;
        }
    }
    output
}

/// Length of the output of [`minify`], bytes.
pub const fn minified_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut from, mut len) = (0, 0);
    while from < bytes.len() {
        let (begin, end) = kept_range(bytes, from);
        len += end - begin;
        from = end;
    }
    len
}

/// The range of the line at `from` that is kept, with its line feed: all behind the indentation, or an empty range. The
/// range ends where the next line begins.
const fn kept_range(bytes: &[u8], from: usize) -> (usize, usize) {
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
    fn only_lines_that_begin_a_comment_are_dropped() {
        const TEXT: &str = "// One.\n  a(); // kept\n\n/** Two. */\n  *, b { }\n  /";
        const MINIFIED: [u8; minified_len(TEXT)] = minify(TEXT);
        assert_eq!(std::str::from_utf8(&MINIFIED).unwrap(), "a(); // kept\n*, b { }\n/");
        assert_eq!(minified_len(""), 0);
    }
}
