//! JSON from bytes and from values, as types. It always becomes text first: serde's code for a type is compiled for each kind of
//! input that the type is read from, and all kinds together took a fortieth of the program.

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
