//! An upper bound of the memory that JSON takes once it is parsed, computed before parsing. It can be a hundred times the
//! size of the text: an object allocates room for eleven members with its first one.

use serde_json::Value;

use super::read_json::from_bytes;

/// The most memory that each token adds, without the texts, in bytes: an object's first node, a list's first allocation, an
/// item of a list that grows by doubling, a member with its key.
const OBJECT: usize = 656;
const LIST: usize = 160;
const ITEM: usize = 96;
const MEMBER: usize = 192;
/// Bytes of a control character's escape.
const ESCAPED: usize = 6;

/// The most memory that a JSON text takes as a [`Value`], in bytes; for invalid JSON, the most until the error is found.
pub fn parsed_bytes(json: &[u8]) -> usize {
    let (mut bytes, mut in_text, mut escaped) = (json.len(), false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'"' => in_text = !in_text,
            b'\\' => escaped = in_text,
            // Repaired before it is parsed (`read_json`).
            0..0x20 if in_text => bytes = bytes.saturating_add(ESCAPED),
            _ if in_text => {}
            b'{' => bytes = bytes.saturating_add(OBJECT),
            b'[' => bytes = bytes.saturating_add(LIST),
            b',' => bytes = bytes.saturating_add(ITEM),
            b':' => bytes = bytes.saturating_add(MEMBER),
            _ => {}
        }
    }
    bytes
}

/// Parses a JSON text. `None` if it is invalid, or would take more than `most` bytes.
pub fn parse_within(json: &[u8], most: usize) -> Option<Value> {
    if parsed_bytes(json) <= most { from_bytes(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of a value, from the layout of its parts: a node of a B-tree has 11 keys and values, of which at least 5 are
    /// in use unless it is the root.
    fn taken(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.capacity() * size_of::<Value>() + items.iter().map(taken).sum::<usize>(),
            Value::Object(members) => {
                let node = 11 * (size_of::<String>() + size_of::<Value>());
                let nodes = if members.len() <= 11 { members.len().min(1) } else { members.len().div_ceil(5) };
                nodes * node + members.iter().map(|(key, value)| key.len() + taken(value)).sum::<usize>()
            }
            _ => 0,
        }
    }

    #[test]
    fn the_densest_json_takes_no_more_than_the_bound() {
        let members = (0..40).map(|at| format!("\"{at}\":{{}}")).collect::<Vec<_>>().join(",");
        for item in
            [r#"{"":0}"#, r#"{"":{"":0}}"#, "[0]", "[]", "{}", "0", "\"\"", "[[[[0]]]]", &format!("{{{members}}}")]
        {
            for count in [1, 5, 1000] {
                let json = format!("[{}]", vec![item; count].join(","));
                let (bound, value) = (parsed_bytes(json.as_bytes()), serde_json::from_str(&json).unwrap());
                assert!(taken(&value) <= bound, "{count} of {item}: {} > {bound}", taken(&value));
            }
        }
    }

    #[test]
    fn tokens_within_texts_are_not_counted() {
        let json = serde_json::json!("{\"a\":[1,2,\\\"3]}").to_string();
        assert_eq!(parsed_bytes(json.as_bytes()), json.len());
        assert_eq!(parsed_bytes(b"[\"\\\"\",{}]"), 9 + LIST + ITEM + OBJECT);
    }

    #[test]
    fn what_would_take_too_much_is_not_parsed() {
        assert_eq!(parse_within(b"{\"a\":1}", 1000), Some(serde_json::json!({ "a": 1 })));
        assert_eq!(parse_within(b"{\"a\":1}", 500), None);
        assert_eq!(parse_within(b"{", 1000), None);
    }
}
