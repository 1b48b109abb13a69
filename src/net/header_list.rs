//! Tokens, and headers whose values are lists of them (RFC 9110, sections 5.6.1 and 5.6.2).

/// Whether a byte may occur in a token, such as a header's name.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// The elements of a list header. `lines` are the values of all its lines, which count as one list.
pub fn elements<'h, L: AsRef<[u8]> + ?Sized + 'h>(
    lines: impl IntoIterator<Item = &'h L>,
) -> impl Iterator<Item = &'h [u8]> {
    lines.into_iter().flat_map(|line| line.as_ref().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether a list header has this token, in upper or lower case. `lines` are the values of all its lines.
pub fn has_token<'h, L: AsRef<[u8]> + ?Sized + 'h>(lines: impl IntoIterator<Item = &'h L>, token: &str) -> bool {
    elements(lines).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_any_line_and_at_any_place() {
        for lines in [&["Upgrade"][..], &["keep-alive, Upgrade"], &["close", "x,\tupgrade ,y"], &["", "UPGRADE,"]] {
            assert!(has_token(lines.iter().copied(), "upgrade"), "{lines:?}");
        }
        for lines in [&[][..], &[""], &["upgrade-insecure"], &["up grade"], &["up", "grade"]] {
            assert!(!has_token(lines.iter().copied(), "upgrade"), "{lines:?}");
        }
    }

    #[test]
    fn tokens_are_of_the_bytes_that_the_rfc_lists() {
        for byte in 0..=u8::MAX {
            let listed = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token_byte(byte), listed, "{byte}");
        }
    }
}
