//! Text whose length a peer chooses.

/// The prefix of a text of at most `max` bytes, cut at a character boundary.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
