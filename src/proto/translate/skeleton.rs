//! What every state of a response repeats of its request.

use serde_json::value::RawValue;

use super::super::openai::{Members, list};

/// What every state of the response repeats: its id, when it was made, and what was asked for.
#[derive(Debug, Clone)]
pub struct Skeleton {
    pub(super) key: String,
    pub(super) created_at: u64,
    /// Names and values as JSON, in the order in which they are shown.
    pub(super) asked: Vec<(&'static str, String)>,
}

/// The request's fields that a response repeats, and what stands for one that was left out (Open Responses,
/// `ResponseResource`: all of them are required, and numbers and flags are not null).
const REPEATED: [(&str, &str); 21] = [
    ("background", "false"),
    ("frequency_penalty", "0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", r#""auto""#),
    // A response that was put together from a chat is kept nowhere.
    ("store", "false"),
    ("temperature", "1"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", r#""disabled""#),
];

/// What a function among the tools says even where the request did not.
const TOOL: [(&str, &str); 3] = [("description", "null"), ("parameters", "null"), ("strict", "false")];

/// The tools with all the members that a response's tools have; as they were where they are no list of objects.
fn tools(raw: &str) -> String {
    let Ok(tools) = list::<&RawValue>(raw) else { return raw.to_owned() };
    let tool = |raw: &&RawValue| {
        let Ok(mut tool) = Members::parse(raw.get().as_bytes()) else { return raw.get().to_owned() };
        for (key, default) in TOOL {
            if tool.get(key).is_none() {
                tool.set(key, default.to_owned());
            }
        }
        tool.to_json()
    };
    format!("[{}]", tools.iter().map(tool).collect::<Vec<_>>().join(","))
}

/// The members with which a response repeats its request, each with its value as JSON on one line.
pub fn repeated(request: &Members<'_>) -> Vec<(&'static str, String)> {
    // Line ends in JSON as it was written can only stand between tokens; an event's data has none.
    let one_line = |json: &str| json.replace(['\n', '\r'], " ");
    let value = |(name, default): (&'static str, &str)| {
        let json = one_line(request.get(name).unwrap_or(default));
        (name, if name == "tools" { tools(&json) } else { json })
    };
    REPEATED.into_iter().map(value).collect()
}

impl Skeleton {
    /// For a request; `key` makes its ids unique, `created_at` is in seconds. The instructions of the room or the
    /// participant are nobody's to see: only what the client itself sent is repeated.
    pub fn new(request: &Members<'_>, key: &str, created_at: u64) -> Self {
        Skeleton { key: key.to_owned(), created_at, asked: repeated(request) }
    }

    /// The response's id.
    pub fn id(&self) -> String {
        format!("resp_{}", self.key)
    }
}
