//! Which names participants, rooms and tokens may have, and which characters show nothing or reorder text.

/// The rule for a participant's id, in words that continue a sentence about it.
pub const PARTICIPANT_ID: &str = "must be 1 to 128 bytes of printable text without \"/\", and not \".\" or \"..\"";

/// Whether a text can be a participant's id (PROTOCOL.md, "Common rules"). `.` and `..` cannot, because clients remove them from
/// paths (RFC 3986, section 5.2.4).
pub fn is_participant_id(text: &str) -> bool {
    let is_printable = !text.chars().any(|c| c == '/' || is_unprintable(c));
    (1..=128).contains(&text.len()) && is_printable && !matches!(text, "." | "..")
}

/// Whether a text has the form of a room's code, in any letter case: six letters and digits.
pub fn is_room_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be a token that a participant chooses: 32 to 128 visible ASCII characters.
pub fn is_participant_token(text: &str) -> bool {
    (32..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Control characters, line separators, and the invisible characters that reorder text.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
