//! Which names participants may have, and which characters show nothing or reorder text.

/// The rule for a participant's id, in words that continue a sentence about it.
pub const PARTICIPANT_ID: &str = "must be 1 to 128 bytes of printable text without \"/\", and not \".\" or \"..\"";

/// Whether a text can be a participant's id (PROTOCOL.md, "Common rules"). `.` and `..` cannot, because clients remove them from
/// paths (RFC 3986, section 5.2.4).
pub fn is_participant_id(text: &str) -> bool {
    let is_printable = !text.chars().any(|c| c == '/' || is_unprintable(c));
    (1..=128).contains(&text.len()) && is_printable && !matches!(text, "." | "..")
}

/// Control characters, line separators, and the invisible characters that reorder text.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
