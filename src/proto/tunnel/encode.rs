//! The encoder of both ends' text messages, except chunks.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer as _};

use super::constants::END;
use super::message::{BodyForm, Request, ToParticipant};
use crate::proto::json_parts::push_json_text;

/// As long as most requests are without their body, in bytes.
const REQUEST_BYTES: usize = 512;

/// Encodes a message of the hub as JSON.
pub fn encode(message: &ToParticipant<'_>) -> Vec<u8> {
    // Serialising to memory cannot fail here: all map keys are text.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Encodes a `tunnel.request` in two parts, between which an inline body belongs: it may be long, and is not copied.
pub fn encode_request(request: &Request<'_>) -> (Vec<u8>, &'static str) {
    let mut head = Vec::with_capacity(REQUEST_BYTES);
    head.extend_from_slice(br#"{"type":"tunnel.request""#);
    let texts = [
        ("requestId", request.request_id),
        ("operation", request.operation),
        ("method", request.method),
        ("path", request.path),
    ];
    for (name, text) in texts {
        head.extend_from_slice(b",\"");
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b"\":");
        push_json(&mut head, text);
    }
    head.extend_from_slice(b",\"headers\":");
    let content_type = (request.body != BodyForm::None).then_some(("Content-Type", "application/json"));
    let others = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    push_object(&mut head, content_type.into_iter().chain(others));
    if !request.hops.is_empty() {
        head.extend_from_slice(b",\"metadata\":");
        push_object(&mut head, [("hops", request.hops)]);
    }
    head.extend_from_slice(if request.stream { b",\"stream\":true" } else { b",\"stream\":false" });
    match request.body {
        BodyForm::None => {}
        BodyForm::Inline => head.extend_from_slice(b",\"body\":"),
        BodyForm::Binary(bytes) => {
            head.extend_from_slice(b",\"bodyBytes\":");
            push_json(&mut head, &bytes);
        }
    }
    (head, "}")
}

/// Appends a JSON object of these members.
fn push_object<'a>(out: &mut Vec<u8>, members: impl IntoIterator<Item = (&'a str, &'a str)>) {
    // Serialising to memory cannot fail here: all map keys are text.
    let _ = serde_json::Serializer::new(out).collect_map(members);
}

/// Appends a value as JSON.
pub(super) fn push_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Serialising to memory cannot fail here: all map keys are text.
    let _ = serde_json::to_writer(out, value);
}

/// A participant's `tunnel.response.start`.
pub fn encode_start(request_id: &str, status: u16, headers: &BTreeMap<String, String>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Start<'a> {
        r#type: &'a str,
        request_id: &'a str,
        status: u16,
        headers: &'a BTreeMap<String, String>,
    }
    serde_json::to_vec(&Start { r#type: "tunnel.response.start", request_id, status, headers }).unwrap_or_default()
}

/// A participant's `tunnel.response.end`.
pub fn encode_end(request_id: &str) -> String {
    let mut out = String::from(END);
    push_json_text(&mut out, request_id);
    out.push('}');
    out
}

/// A participant's `tunnel.response.error`.
pub fn encode_error(request_id: &str, stage: &str, message: &str) -> String {
    let mut out = String::from(r#"{"type":"tunnel.response.error","requestId":"#);
    push_json_text(&mut out, request_id);
    out.push_str(r#","stage":"#);
    push_json_text(&mut out, stage);
    out.push_str(r#","message":"#);
    push_json_text(&mut out, message);
    out.push('}');
    out
}

/// A participant's `tunnel.ping`; `timestamp` in milliseconds since the epoch.
pub fn encode_ping(timestamp: u64) -> String {
    format!(r#"{{"type":"tunnel.ping","timestamp":{timestamp}}}"#)
}
