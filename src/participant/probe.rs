//! Probing a provider for its models and capabilities (PROTOCOL.md, "The participant's side").

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::memory::MemoryRoute;
use super::provider::Provider;
use super::provider_health::PollResult;
use crate::error::Reason;
use crate::proto::api_answer::{MAX_PEEK, is_about_model, is_event_stream, lacks_route};
use crate::proto::management::{Capabilities, Support};
use crate::proto::openai::same_model;
use crate::proto::read_json::from_bytes;

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
    /// The status of its answer where that is no list of models.
    pub(super) unlisted: Option<u16>,
    /// Names of the models that are in memory; `None` where it does not tell.
    pub loaded: Option<Vec<String>>,
    /// The route on which it tells.
    pub(super) memory: Option<MemoryRoute>,
}

impl Probe {
    /// Whether the provider has a model. `NAME` and `NAME:latest` are the same name.
    pub fn has(&self, model: &str) -> bool {
        self.models.iter().any(|known| same_model(known, model))
    }
}

/// Probes a provider with concurrent requests, five seconds each.
///
/// # Errors
/// When it answers none of those for its models and APIs.
pub fn probe(provider: &Provider) -> Result<Probe, Reason> {
    let (lists, chat, responses, version, loaded) = thread::scope(|scope| {
        let chat = scope.spawn(|| request(provider, "POST", "/v1/chat/completions"));
        let responses = scope.spawn(|| request(provider, "POST", "/v1/responses"));
        let version = scope.spawn(|| request(provider, "GET", "/api/version"));
        let loaded = MemoryRoute::ALL.map(|route| scope.spawn(move || Some((route, loaded(provider, route)?))));
        let lists = list_models(provider);
        let loaded = loaded.map(|thread| thread.join().unwrap_or_default());
        (lists, join(chat), join(responses), join(version), loaded.into_iter().flatten().next())
    });
    let (models, unlisted) = match lists {
        Ok(models) => (models, None),
        Err(NoList::Answered(status)) => (Vec::new(), Some(status)),
        Err(NoList::Silent(reason)) if chat.is_err() && responses.is_err() => return Err(reason),
        Err(NoList::Silent(_)) => (Vec::new(), None),
    };
    let capabilities = Capabilities {
        open_responses: support(&responses),
        chat_completions: support(&chat),
        ollama: ollama_support(&version),
    };
    let (memory, loaded) = loaded.unzip();
    Ok(Probe { models, capabilities, unlisted, loaded, memory })
}

/// Why a provider's models are not known.
#[derive(Debug)]
pub enum NoList {
    /// It did not answer.
    Silent(Reason),
    /// Its answer, with this status, was no list.
    Answered(u16),
}

/// The names of a provider's models, without duplicates.
///
/// # Errors
/// When neither request for them is answered by a list.
pub fn list_models(provider: &Provider) -> Result<Vec<String>, NoList> {
    let (tags, list) = thread::scope(|scope| {
        let tags = scope.spawn(|| request(provider, "GET", "/api/tags"));
        let list = request(provider, "GET", "/v1/models");
        (join(tags), list)
    });
    let lists = [names(&tags, "models", "name"), names(&list, "data", "id")];
    if lists.iter().all(Option::is_none) {
        return Err(match (list, tags) {
            (Ok(answer), _) | (Err(_), Ok(answer)) => NoList::Answered(answer.status),
            (Err(reason), Err(_)) => NoList::Silent(reason),
        });
    }
    let mut known = HashSet::new();
    Ok(lists.into_iter().flatten().flatten().filter(|name| known.insert(name.clone())).collect())
}

/// Whether a provider answers, by a request that costs it little.
pub fn poll(provider: &Provider) -> PollResult {
    match request(provider, "GET", "/v1/models") {
        Ok(_) => PollResult::Answered,
        Err(_) if provider.connect_anew(Some(Instant::now() + TIMEOUT)).is_err() => PollResult::Refused,
        Err(_) => PollResult::Silent,
    }
}

/// The models that a provider has in memory, if it tells on this route.
pub fn loaded(provider: &Provider, route: MemoryRoute) -> Option<Vec<String>> {
    let answer = request(provider, "GET", route.path()).ok().filter(|answer| answer.status == 200)?;
    route.loaded(&answer.body)
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Reason>>) -> Result<T, Reason> {
    thread.join().unwrap_or_else(|_| Err("the probe failed".into()))
}

/// Status, content type and body of a response.
type ProbeResult = Result<ProbeAnswer, Reason>;

#[derive(Default)]
struct ProbeAnswer {
    status: u16,
    kind: Option<String>,
    /// The body. Of the response to a POST only the part that shows whether the route exists.
    body: Vec<u8>,
}

fn request(provider: &Provider, method: &str, path: &str) -> ProbeResult {
    let json = [("Content-Type".to_owned(), "application/json".to_owned())];
    let (headers, body): (&[_], _) = if method == "POST" { (&json, Some("{}")) } else { (&[], None) };
    let head = provider.request_head(method, path, headers, body.map(str::len))?;
    let mut call = provider.connect_anew(Some(Instant::now() + TIMEOUT))?;
    let mut answer = provider.send(&mut call, [&head, body.unwrap_or_default().as_bytes()], |head| {
        let kind = head.headers().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, kind)| String::from_utf8_lossy(kind).into_owned());
        ProbeAnswer { status: head.status, kind, body: Vec::new() }
    })?;
    let body = &mut answer.body;
    if method == "GET" {
        while !call.read(body).map_err(Reason::of)? {
            if body.len() > MAX_LIST {
                return Err(format!("the provider's answer to {path} is too long").into());
            }
        }
        provider.pool(call);
    } else if matches!(answer.status, 200..300 | 404) && !is_event_stream(answer.kind.as_deref()) {
        // The body may be endless, and only its start matters, so a read error is no failure.
        while body.len() <= MAX_PEEK && matches!(call.read(body), Ok(false)) {}
    }
    Ok(answer)
}

/// The names in a list of models; `None` if the answer is none.
fn names(answer: &ProbeResult, list: &str, key: &str) -> Option<Vec<String>> {
    let Ok(ProbeAnswer { status: 200, body, .. }) = answer else { return None };
    let value: Value = from_bytes(body).ok()?;
    let entries = value[list].as_array()?;
    Some(entries.iter().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect())
}

fn support(answer: &ProbeResult) -> Support {
    match answer {
        Ok(ProbeAnswer { status: 404, body, .. }) if is_about_model(body) => Support::Supported,
        Ok(ProbeAnswer { status: 401 | 403 | 404 | 405 | 501, .. }) => Support::Unsupported,
        Ok(ProbeAnswer { status: 200..300, kind, body }) if lacks_route(kind.as_deref(), body) => Support::Unsupported,
        Ok(_) => Support::Supported,
        Err(_) => Support::Unknown,
    }
}

/// Whether the answer to `GET /api/version` is Ollama's. Servers with some of Ollama's routes, in the shapes of other APIs,
/// do not tell a version there.
fn ollama_support(answer: &ProbeResult) -> Support {
    match answer {
        Ok(ProbeAnswer { status: 500.., .. }) | Err(_) => Support::Unknown,
        Ok(ProbeAnswer { status: 200, body, .. }) => {
            let value: Value = from_bytes(body).unwrap_or_default();
            if value["version"].is_string() { Support::Supported } else { Support::Unsupported }
        }
        Ok(_) => Support::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_ollama_where_it_tells_its_version() {
        let told = |status, body: &str| {
            ollama_support(&Ok(ProbeAnswer { status, body: body.as_bytes().to_vec(), ..ProbeAnswer::default() }))
        };
        assert_eq!(told(200, r#"{"version":"0.12.3"}"#), Support::Supported);
        for (status, body) in [(200, "<html>"), (200, r#"{"error":"Unexpected endpoint"}"#), (404, ""), (401, "{}")] {
            assert_eq!(told(status, body), Support::Unsupported, "{status} {body}");
        }
        assert_eq!((told(503, "{}"), ollama_support(&Err("no".into()))), (Support::Unknown, Support::Unknown));
    }

    #[test]
    fn statuses_determine_what_is_supported() {
        for status in [401, 403, 404, 405, 501] {
            assert_eq!(
                support(&Ok(ProbeAnswer { status, ..ProbeAnswer::default() })),
                Support::Unsupported,
                "{status}"
            );
        }
        for status in [200, 400, 422, 500, 503] {
            assert_eq!(support(&Ok(ProbeAnswer { status, ..ProbeAnswer::default() })), Support::Supported, "{status}");
        }
        assert_eq!(support(&Err("no".into())), Support::Unknown);
        let missing = |text: &str| Ok(ProbeAnswer { status: 404, body: text.into(), ..ProbeAnswer::default() });
        assert_eq!(support(&missing(r#"{"error":"model '' not found"}"#)), Support::Supported);
        assert_eq!(support(&missing(r#"{"error":{"message":"Not Found"}}"#)), Support::Unsupported);
    }

    #[test]
    fn a_successful_status_is_not_enough() {
        let support = |kind: &str, body: &str| {
            support(&Ok(ProbeAnswer { status: 200, kind: Some(kind.to_owned()), body: body.as_bytes().to_vec() }))
        };
        let unknown = r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#;
        assert_eq!(support("application/json", unknown), Support::Unsupported);
        assert_eq!(support("text/html", "<html>"), Support::Unsupported);
        assert_eq!(support("application/json", r#"{"error":"'input' is required"}"#), Support::Supported);
        assert_eq!(support("text/event-stream", ""), Support::Supported);
    }

    #[test]
    fn models_are_listed_in_either_shape() {
        let answer = |status, body: &[u8]| Ok(ProbeAnswer { status, body: body.to_vec(), ..ProbeAnswer::default() });
        let ollama = answer(200, br#"{"models":[{"name":"llama3:latest"},{"x":1}]}"#);
        assert_eq!(names(&ollama, "models", "name"), Some(vec!["llama3:latest".to_owned()]));
        assert_eq!(names(&answer(200, br#"{"data":[]}"#), "data", "id"), Some(Vec::new()));
        assert_eq!(names(&answer(200, b"<html>"), "data", "id"), None);
        assert_eq!(names(&answer(404, br#"{"data":[{"id":"x"}]}"#), "data", "id"), None);
        let probe = Probe { models: vec!["llama3:latest".into()], ..Probe::default() };
        assert!(probe.has("llama3") && probe.has("llama3:latest") && !probe.has("llama"));
    }
}
