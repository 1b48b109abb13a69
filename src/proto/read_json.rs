//! JSON from bytes and from values, as types. It always becomes text first: serde's code for a type is compiled for each kind
//! of input that the type is read from, and all kinds together took a fortieth of the program.

use std::fmt::Write as _;

use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

/// Parses a body, or a line of a file.
///
/// # Errors
/// When the bytes are not UTF-8 or not JSON, or have another shape.
pub fn from_bytes<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(simdutf8::basic::from_utf8(json).map_err(serde_json::Error::custom)?)
}

/// Reads a small value as a type. The last digit of a fraction may change.
///
/// # Errors
/// When the value has another shape.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_str(&value.to_string())
}

/// Parses what a peer wrote, also where Rust has no such text, or JSON no such value: half of a surrogate pair, which RFC 8259
/// allows (section 8.2), becomes U+FFFD, a control character in a text counts as if it were escaped, and the `NaN` and `Infinity`
/// of Python and JavaScript are `null`.
///
/// # Errors
/// When it is not JSON even so, or has another shape.
pub fn lenient<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    match serde_json::from_str(json) {
        Err(error) if error.is_syntax() => serde_json::from_str(&repaired(json)),
        parsed => parsed,
    }
}

/// JSON with these repaired.
fn repaired(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 16);
    let mut rest = json;
    let mut in_text = false;
    while let Some(character) = rest.chars().next() {
        if !in_text && let Some(behind) = behind_no_number(rest) {
            out.push_str("null");
            rest = behind;
            continue;
        }
        let length = match character {
            '\\' if in_text => push_escape(&mut out, rest),
            '\0'..='\x1f' if in_text => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
                1
            }
            _ => {
                in_text ^= character == '"';
                out.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// What follows what some programs write for a number that JSON has not, if that is the start.
fn behind_no_number(rest: &str) -> Option<&str> {
    ["NaN", "Infinity", "-Infinity"].into_iter().find_map(|name| rest.strip_prefix(name))
}

/// Appends the escape at the start of `rest`, with its second half, and gives its length. Half of a pair becomes U+FFFD.
fn push_escape(out: &mut String, rest: &str) -> usize {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6).and_then(|escape| escape.strip_prefix("\\u"));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let (length, is_half) = match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
        (Some(0xd800..=0xdfff), _) => (6, true),
        // What is no escape stays none.
        _ => (1 + rest[1..].chars().next().map_or(0, char::len_utf8), false),
    };
    out.push_str(if is_half { "\\ufffd" } else { &rest[..length] });
    length
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_and_control_characters_are_read() {
        for (text, expected) in [
            (r#""a\ud83d b""#, "a\u{fffd} b"),
            (r#""\udc00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            ("\"a\u{1}\nb\\\"\\ud800\"", "a\u{1}\nb\"\u{fffd}"),
            ("\"\\ud800f\u{fc}r\"", "\u{fffd}f\u{fc}r"),
        ] {
            assert_eq!(lenient::<String>(text).unwrap(), expected, "{text}");
        }
        let nested = "{\n\t\"k\": [\"\\udfff\", 1]\n}";
        assert_eq!(lenient::<Value>(nested).unwrap(), json!({ "k": ["\u{fffd}", 1] }));
        let numbers = r#"{"a":[NaN,-Infinity,Infinity,-1],"b":"NaN\ud800"}"#;
        assert_eq!(lenient::<Value>(numbers).unwrap(), json!({ "a": [null, null, null, -1], "b": "NaN\u{fffd}" }));
        for broken in ["", "\"", r#""\"#, r#""\u"#, r#""\ud8"#, r#""\uzzzz""#, "\"\\\u{fc}\"", "{\"a\":}"] {
            assert!(lenient::<Value>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn bytes_are_read_if_they_are_utf_8() {
        assert_eq!(from_bytes::<Value>(r#"{"text":"für"}"#.as_bytes()).unwrap(), json!({ "text": "für" }));
        assert!(from_bytes::<Value>(b"{\"text\":\"f\xc3r\"}").is_err());
    }

    #[test]
    fn a_value_keeps_its_whole_numbers_and_texts() {
        let value = json!({ "whole": u64::MAX, "least": i64::MIN, "text": "\"\u{1f600}\n" });
        assert_eq!(from_value::<Value>(&value).unwrap(), value);
    }
}
