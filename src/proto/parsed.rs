//! How much memory JSON takes once it is parsed, told before that. It may be a hundred times its text: an object has room
//! for eleven members from the first one on.

use serde_json::Value;

/// What each token adds at most beside the texts, in bytes: an object's first node, a list's first room, an item of a list
/// that grows by doubling, a member with its key.
const OBJECT: usize = 656;
const LIST: usize = 160;
const ITEM: usize = 96;
const MEMBER: usize = 192;

/// The most memory that a JSON text takes as a [`Value`], in bytes. Of a text that is not JSON: what takes it to notice.
pub fn parsed_bytes(json: &[u8]) -> usize {
    let (mut bytes, mut in_text, mut escaped) = (json.len(), false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'"' => in_text = !in_text,
            b'\\' => escaped = in_text,
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

/// Parses a JSON text. `None` where it is none, or would take more than `most` bytes.
pub fn parse_within(json: &[u8], most: usize) -> Option<Value> {
    if parsed_bytes(json) <= most { serde_json::from_slice(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of a value by what its parts are known to take: a node of a tree has 11 keys and values, of which 5 are
    /// in use at least unless it is the only one.
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
    fn the_densest_json_takes_no_more_than_is_told() {
        let members = (0..40).map(|at| format!("\"{at}\":{{}}")).collect::<Vec<_>>().join(",");
        for item in
            [r#"{"":0}"#, r#"{"":{"":0}}"#, "[0]", "[]", "{}", "0", "\"\"", "[[[[0]]]]", &format!("{{{members}}}")]
        {
            for count in [1, 5, 1000] {
                let json = format!("[{}]", vec![item; count].join(","));
                let (told, value) = (parsed_bytes(json.as_bytes()), serde_json::from_str(&json).unwrap());
                assert!(taken(&value) <= told, "{count} of {item}: {} > {told}", taken(&value));
            }
        }
    }

    #[test]
    fn text_takes_its_length_whatever_it_says() {
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
