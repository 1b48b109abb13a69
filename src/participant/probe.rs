//! Probing a provider for its models and capabilities (PROTOCOL.md, "The participant's side").

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::provider::Provider;
use crate::error::Reason;
use crate::proto::api_answer::{MAX_PEEK, is_event_stream, lacks_route};
use crate::proto::management::{Capabilities, Support};
use crate::proto::openai::same_model;

/// The time limit of each request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest list of models that is read, in bytes.
const MAX_LIST: usize = 32 << 20;

/// A provider's models and capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Names of its models, without duplicates.
    pub models: Vec<String>,
    /// The APIs that it serves.
    pub capabilities: Capabilities,
}

impl Probe {
    /// Whether the provider has a model. `NAME` and `NAME:latest` are the same name.
    pub fn has(&self, model: &str) -> bool {
        self.models.iter().any(|known| same_model(known, model))
    }
}

/// Probes a provider with four concurrent requests, five seconds each.
///
/// # Errors
/// When it answers none of them.
pub fn probe(provider: &Provider) -> Result<Probe, Reason> {
    let (tags, list, chat, responses) = thread::scope(|scope| {
        let tags = scope.spawn(|| request(provider, "GET", "/api/tags"));
        let list = scope.spawn(|| request(provider, "GET", "/v1/models"));
        let chat = scope.spawn(|| request(provider, "POST", "/v1/chat/completions"));
        let responses = scope.spawn(|| request(provider, "POST", "/v1/responses"));
        let join =
            |t: thread::ScopedJoinHandle<'_, ProbeResult>| t.join().unwrap_or_else(|_| Err("the probe failed".into()));
        (join(tags), join(list), join(chat), join(responses))
    });
    let list = match list {
        Err(reason) if tags.is_err() && chat.is_err() && responses.is_err() => return Err(reason),
        list => list,
    };
    let mut models = names(&tags, "models", "name");
    for id in names(&list, "data", "id") {
        if !models.contains(&id) {
            models.push(id);
        }
    }
    let capabilities = Capabilities { open_responses: support(&responses), chat_completions: support(&chat) };
    Ok(Probe { models, capabilities })
}

/// Status, content type and body of a response.
type ProbeResult = Result<Answer, Reason>;

#[derive(Default)]
struct Answer {
    status: u16,
    kind: Option<String>,
    /// The body. Of the response to a POST only the part that shows whether the route exists.
    body: Vec<u8>,
}

fn request(provider: &Provider, method: &str, path: &str) -> ProbeResult {
    let json = BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]);
    let (headers, body) = if method == "POST" { (json, Some("{}")) } else { (BTreeMap::new(), None) };
    let request = provider.request(method, path, &headers, body)?;
    let mut call = provider.connect_anew(Some(Instant::now() + TIMEOUT))?;
    let mut answer = provider.send(&mut call, &request, |head| {
        let kind = head.headers().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, kind)| String::from_utf8_lossy(kind).into_owned());
        Answer { status: head.status, kind, body: Vec::new() }
    })?;
    let body = &mut answer.body;
    if method == "GET" {
        while !call.read(body).map_err(Reason::of)? {
            if body.len() > MAX_LIST {
                return Err(format!("the provider's answer to {path} is too long").into());
            }
        }
        provider.pool(call);
    } else if (200..300).contains(&answer.status) && !is_event_stream(answer.kind.as_deref()) {
        // The body may be endless, and only its start matters, so a read error is no failure.
        while body.len() <= MAX_PEEK && matches!(call.read(body), Ok(false)) {}
    }
    Ok(answer)
}

fn names(answer: &ProbeResult, list: &str, key: &str) -> Vec<String> {
    let Ok(Answer { status: 200, body, .. }) = answer else { return Vec::new() };
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = value[list].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
}

fn support(answer: &ProbeResult) -> Support {
    match answer {
        Ok(Answer { status: 401 | 403 | 404 | 405 | 501, .. }) => Support::Unsupported,
        Ok(Answer { status: 200..300, kind, body }) if lacks_route(kind.as_deref(), body) => Support::Unsupported,
        Ok(_) => Support::Supported,
        Err(_) => Support::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_determine_what_is_supported() {
        for status in [401, 403, 404, 405, 501] {
            assert_eq!(support(&Ok(Answer { status, ..Answer::default() })), Support::Unsupported, "{status}");
        }
        for status in [200, 400, 422, 500, 503] {
            assert_eq!(support(&Ok(Answer { status, ..Answer::default() })), Support::Supported, "{status}");
        }
        assert_eq!(support(&Err("no".into())), Support::Unknown);
    }

    #[test]
    fn a_successful_status_is_not_enough() {
        let support = |kind: &str, body: &str| {
            support(&Ok(Answer { status: 200, kind: Some(kind.to_owned()), body: body.as_bytes().to_vec() }))
        };
        let unknown = r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#;
        assert_eq!(support("application/json", unknown), Support::Unsupported);
        assert_eq!(support("text/html", "<html>"), Support::Unsupported);
        assert_eq!(support("application/json", r#"{"error":"'input' is required"}"#), Support::Supported);
        assert_eq!(support("text/event-stream", ""), Support::Supported);
    }

    #[test]
    fn models_are_listed_in_either_shape() {
        let answer = |status, body: &[u8]| Ok(Answer { status, body: body.to_vec(), ..Answer::default() });
        let ollama = answer(200, br#"{"models":[{"name":"llama3:latest"},{"x":1}]}"#);
        assert_eq!(names(&ollama, "models", "name"), ["llama3:latest"]);
        assert!(names(&answer(200, b"<html>"), "data", "id").is_empty());
        assert!(names(&answer(404, br#"{"data":[{"id":"x"}]}"#), "data", "id").is_empty());
        let probe = Probe { models: vec!["llama3:latest".into()], ..Probe::default() };
        assert!(probe.has("llama3") && probe.has("llama3:latest") && !probe.has("llama"));
    }
}
