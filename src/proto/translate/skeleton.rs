//! What every state of a response repeats of its request.

use super::super::openai::Members;

/// What every state of the response repeats: its id, when it was made, and what was asked for.
#[derive(Debug, Clone)]
pub struct Skeleton {
    pub(super) key: String,
    pub(super) created_at: u64,
    /// Names and values as JSON, in the order in which they are shown.
    pub(super) asked: Vec<(&'static str, String)>,
}

/// The request's fields that a response repeats, and what stands for one that was left out.
const REPEATED: [(&str, &str); 13] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("service_tier", r#""auto""#),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
];

impl Skeleton {
    /// For a request; `key` makes its ids unique, `created_at` is in seconds. The instructions of the room or the
    /// participant are nobody's to see: only what the client itself sent is repeated.
    pub fn new(request: &Members<'_>, key: &str, created_at: u64) -> Self {
        // Line ends in JSON as it was written can only stand between tokens; an event's data has none.
        let one_line = |json: &str| json.replace(['\n', '\r'], " ");
        let value = |(name, default): (&'static str, &str)| (name, one_line(request.get(name).unwrap_or(default)));
        Skeleton { key: key.to_owned(), created_at, asked: REPEATED.into_iter().map(value).collect() }
    }

    /// The response's id.
    pub fn id(&self) -> String {
        format!("resp_{}", self.key)
    }
}
