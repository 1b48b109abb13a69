//! The members of a response that are the same in each of its snapshots: its id, its time, and what the request asked for.

use serde_json::value::RawValue;

use super::super::super::members::{Members, json_list, list};
use super::tools::{ToolNames, Tools};

/// What all snapshots of one response have in common.
#[derive(Debug, Clone)]
pub struct ResponseTemplate {
    pub(super) key: String,
    pub(super) created_at: u64,
    /// Names and values as JSON, in the order in which they are shown.
    pub(super) asked: Vec<(&'static str, String)>,
    /// Names of tools in the chat.
    pub(super) tools: ToolNames,
}

/// The request's members that a response repeats, and the value of one that was left out. Open Responses requires all of
/// them (`ResponseResource`); those with a default other than `null` must not be null.
const REPEATED: [(&str, &str); 19] = [
    ("frequency_penalty", "0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", "{}"),
    ("safety_identifier", "null"),
    ("service_tier", r#""auto""#),
    ("temperature", "1"),
    ("text", "{}"),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", r#""disabled""#),
];

/// Whatever was asked for: the response is stored nowhere, and its request was answered at once.
const FIXED: [(&str, &str); 2] = [("background", "false"), ("store", "false")];

/// Defaults of the members that Open Responses requires within objects, where a request may leave them out.
const REASONING: [(&str, &str); 2] = [("effort", "null"), ("summary", "null")];
const TEXT: [(&str, &str); 1] = [("format", r#"{"type":"text"}"#)];
const JSON_SCHEMA: [(&str, &str); 3] = [("description", "null"), ("schema", "null"), ("strict", "false")];
const FUNCTION: [(&str, &str); 3] = [("description", "null"), ("parameters", "null"), ("strict", "false")];
const ALLOWED_TOOLS: [(&str, &str); 1] = [("mode", r#""auto""#)];

/// An object with the defaults of members that are absent, and without those that are null and have no default. Other
/// values stay as they are.
fn complete(raw: &str, defaults: &[(&'static str, &str)]) -> String {
    let Ok(object) = Members::parse(raw.as_bytes()) else { return raw.to_owned() };
    let mut whole = Members::default();
    for (key, value) in object.iter().filter(|(_, value)| *value != "null") {
        whole.push(key, value);
    }
    for (key, default) in defaults.iter().filter(|(key, _)| object.get(key).is_none()) {
        whole.set(key, (*default).to_owned());
    }
    whole.to_json()
}

/// The same for an object of one `type` only.
fn complete_type(raw: &str, kind: &str, defaults: &[(&'static str, &str)]) -> String {
    let is_kind = Members::parse(raw.as_bytes())
        .is_ok_and(|object| object.get("type").is_some_and(|t| t.trim_matches('"') == kind));
    if is_kind { complete(raw, defaults) } else { raw.to_owned() }
}

fn text(raw: &str) -> String {
    let whole = complete(raw, &TEXT);
    let Ok(mut text) = Members::parse(whole.as_bytes()) else { return whole };
    if let Some(format) = text.get("format").map(|format| complete_type(format, "json_schema", &JSON_SCHEMA)) {
        text.set("format", format);
    }
    text.to_json()
}

fn tools(raw: &str) -> String {
    let Ok(tools) = list::<&RawValue>(raw) else { return raw.to_owned() };
    json_list(tools.iter().map(|tool| complete_type(tool.get(), "function", &FUNCTION)).collect())
}

/// The members with which a response repeats its request, each with its value as JSON on one line.
fn repeated(request: &Members<'_>) -> Vec<(&'static str, String)> {
    // A line end within JSON can only stand between tokens. The data of an event is one line.
    let one_line = |json: &str| json.replace(['\n', '\r'], " ");
    let value = |(name, default): (&'static str, &str)| {
        let json = one_line(request.get(name).unwrap_or(default));
        let json = match name {
            "reasoning" => complete(&json, &REASONING),
            "text" => text(&json),
            "tool_choice" => complete_type(&json, "allowed_tools", &ALLOWED_TOOLS),
            "tools" => tools(&json),
            _ => json,
        };
        (name, json)
    };
    let fixed = FIXED.map(|(name, json)| (name, json.to_owned()));
    REPEATED.into_iter().map(value).chain(fixed).collect()
}

impl ResponseTemplate {
    /// For a request; `key` makes the ids of the response and its items unique, `created_at` is in seconds since the
    /// epoch. `request` is what the client sent: instructions of the room or the participant are not shown to clients.
    pub fn new(request: &Members<'_>, key: &str, created_at: u64) -> Self {
        let mut kept = request.clone();
        let tools = Tools::of(request).unwrap_or_default();
        kept.set("tools", tools.shown());
        ResponseTemplate { key: key.to_owned(), created_at, asked: repeated(&kept), tools: tools.names }
    }

    /// Bytes of what a response repeats of its request.
    pub fn repeated_bytes(&self) -> usize {
        self.asked.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Bytes of what a response to this request repeats of it.
    pub fn repeated_of(request: &Members<'_>) -> usize {
        REPEATED.iter().filter_map(|(key, _)| request.get(key)).map(str::len).sum()
    }

    /// The response's id.
    pub fn id(&self) -> String {
        format!("resp_{}", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_leaves_out_of_its_objects_is_completed() {
        let request = br#"{"input":"Hi","store":true,"background":null,"reasoning":{"effort":"low"},
            "text":{"verbosity":null,"format":{"type":"json_schema","name":"s","schema":{"b":1,"a":2}}},
            "tool_choice":{"type":"allowed_tools","tools":[]},"tools":[{"type":"function","name":"f","strict":null}]}"#;
        let template = ResponseTemplate::new(&Members::parse(request).unwrap(), "k", 5);
        let asked = |name: &str| template.asked.iter().find(|(key, _)| *key == name).unwrap().1.as_str();
        for (name, json) in [
            ("store", "false"),
            ("background", "false"),
            ("reasoning", r#"{"effort":"low","summary":null}"#),
            (
                "text",
                r#"{"format":{"type":"json_schema","name":"s","schema":{"b":1,"a":2},"description":null,"strict":false}}"#,
            ),
            ("tool_choice", r#"{"type":"allowed_tools","tools":[],"mode":"auto"}"#),
            ("tools", r#"[{"type":"function","name":"f","description":null,"parameters":null,"strict":false}]"#),
        ] {
            assert_eq!(asked(name), json);
        }
        let verbose = ResponseTemplate::new(&Members::parse(br#"{"text":{"verbosity":"low"}}"#).unwrap(), "k", 5);
        assert!(verbose.asked.contains(&("text", r#"{"verbosity":"low","format":{"type":"text"}}"#.to_owned())));
    }
}
