//! JSON text that is put together without copying its long parts.

use std::iter;

/// The length from which a part is borrowed, in bytes. A shorter one is copied: a slice of its own costs more.
pub const MIN_BORROWED: usize = 4 << 10;

/// JSON text in parts: the long ones stay where they are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct JsonParts<'a> {
    /// The short parts, one after the other.
    short: String,
    /// The long parts in order, each with the place in `short` in front of which it stands.
    long: Vec<(usize, &'a str)>,
}

impl<'a> JsonParts<'a> {
    /// Empty text with room for short parts of so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        JsonParts { short: String::with_capacity(bytes), long: Vec::new() }
    }

    /// Appends a copy of a part.
    pub fn push(&mut self, part: &str) {
        self.short.push_str(part);
    }

    /// Appends a text as a JSON string.
    pub fn push_text(&mut self, text: &str) {
        push_json_text(&mut self.short, text);
    }

    /// Appends a part, which is borrowed if it is long.
    pub fn push_borrowed(&mut self, part: &'a str) {
        if part.len() < MIN_BORROWED {
            self.push(part);
        } else {
            self.long.push((self.short.len(), part));
        }
    }

    /// The length of the whole text, in bytes.
    pub fn len(&self) -> usize {
        self.short.len() + self.long.iter().map(|(_, part)| part.len()).sum::<usize>()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text in slices, in order.
    pub fn slices(&self) -> impl Iterator<Item = &str> {
        let starts = iter::once(0).chain(self.long.iter().map(|(at, _)| *at));
        let ends = self.long.iter().map(|(at, part)| (*at, *part)).chain(iter::once((self.short.len(), "")));
        let slices = starts.zip(ends).flat_map(|(start, (end, part))| [&self.short[start..end], part]);
        slices.filter(|slice| !slice.is_empty())
    }

    /// The text in one piece.
    pub fn into_text(self) -> String {
        if self.long.is_empty() { self.short } else { self.slices().collect() }
    }
}

impl From<String> for JsonParts<'_> {
    fn from(text: String) -> Self {
        JsonParts { short: text, long: Vec::new() }
    }
}

/// Appends text as a JSON string, quotes included.
pub(super) fn push_json_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= 0x20 && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        out.extend(["\"", text, "\""]);
    } else {
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// The length in bytes of a text as a JSON string, without its quotes. A control character takes six.
pub fn escaped_length(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_weighed_as_json_has_them() {
        for text in ["", "Lab", "größe", "a\"b\\c", "\u{1}\u{1f}\u{7f}\u{8}\u{c}\n\r\t", "\u{2028}"] {
            assert_eq!(escaped_length(text), serde_json::to_string(text).unwrap().len() - 2, "{text:?}");
        }
    }

    #[test]
    fn long_parts_are_borrowed_and_short_ones_are_joined() {
        let long = "x".repeat(MIN_BORROWED);
        let mut parts = JsonParts::with_capacity(4);
        parts.push_borrowed(&long);
        parts.push("ab");
        parts.push_borrowed("c");
        parts.push_borrowed(&long[1..]);
        parts.push_borrowed(&long);
        parts.push_borrowed(&long);
        parts.push("d");
        let slices: Vec<&str> = parts.slices().collect();
        assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [4096, 4098, 4096, 4096, 1]);
        assert_eq!([0, 2, 3].map(|slice| slices[slice].as_ptr()), [long.as_ptr(); 3], "not copied");
        assert_eq!(parts.len(), 4 * MIN_BORROWED + 3);
        let whole = format!("{long}abc{}{long}{long}d", &long[1..]);
        assert_eq!(parts.into_text(), whole);
    }

    #[test]
    fn text_without_long_parts_is_one_slice() {
        let parts = JsonParts::from("{}".to_owned());
        assert_eq!((parts.slices().collect::<Vec<_>>(), parts.len(), parts.is_empty()), (vec!["{}"], 2, false));
        assert_eq!(JsonParts::default().slices().count(), 0);
        assert!(JsonParts::default().is_empty());
    }
}
