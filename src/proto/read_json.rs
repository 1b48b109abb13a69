//! JSON from bytes and from values, as types. It always becomes text first: serde's code for a type is compiled for each kind of
//! input that the type is read from, and all kinds together took a fiftieth of the program.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Parses a body, or a line of a file. Bytes that are not UTF-8 become U+FFFD, as in events: a provider may have cut a
/// character in two.
///
/// # Errors
/// When the text is not JSON, or has another shape.
pub fn from_bytes<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    match simdutf8::basic::from_utf8(json) {
        Ok(json) => serde_json::from_str(json),
        Err(_) => serde_json::from_str(&String::from_utf8_lossy(json)),
    }
}

/// Reads a small value as a type.
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
    fn bytes_that_are_not_utf_8_cost_their_character_only() {
        assert_eq!(from_bytes::<Value>(r#"{"text":"für"}"#.as_bytes()).unwrap(), json!({ "text": "für" }));
        assert_eq!(from_bytes::<Value>(b"{\"text\":\"f\xc3r\"}").unwrap(), json!({ "text": "f\u{fffd}r" }));
        assert!(from_bytes::<Value>(b"{\"text\":\xff}").is_err());
    }

    #[test]
    fn a_value_keeps_its_numbers() {
        let value = json!({ "whole": u64::MAX, "part": 0.1 });
        assert_eq!(from_value::<Value>(&value).unwrap(), value);
    }
}
