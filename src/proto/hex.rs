//! Hexadecimal digits.

/// Bytes as hexadecimal digits, in lower case.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    bytes.iter().for_each(|byte| push(&mut text, *byte));
    text
}

/// Appends the two digits of a byte, in lower case.
pub fn push(text: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    text.push(digit(byte >> 4));
    text.push(digit(byte));
}

/// The bytes of exactly so many pairs of digits, in any letter case.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The value of a digit.
pub fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_are_written() {
        let bytes = [0x00, 0x9a, 0xff];
        assert_eq!(encode(&bytes), "009aff");
        assert_eq!((decode(&encode(&bytes)), decode("009AFF")), (Some(bytes), Some(bytes)));
        for bad in ["", "009af", "009aff0", "009aff00", "009afg", "+09aff", "00\u{e4}aff"] {
            assert_eq!(decode::<3>(bad), None, "{bad}");
        }
    }
}
