//! Probing a provider for its models and capabilities (PROTOCOL.md, "The participant's side").

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::provider::Provider;
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
/// One sentence, when it answers none of them.
pub fn probe(provider: &Provider) -> Result<Probe, String> {
    let (tags, list, chat, responses) = thread::scope(|scope| {
        let tags = scope.spawn(|| request(provider, "GET", "/api/tags"));
        let list = scope.spawn(|| request(provider, "GET", "/v1/models"));
        let chat = scope.spawn(|| request(provider, "POST", "/v1/chat/completions"));
        let responses = scope.spawn(|| request(provider, "POST", "/v1/responses"));
        let join =
            |t: thread::ScopedJoinHandle<'_, ProbeResult>| t.join().unwrap_or_else(|_| Err("the probe failed".into()));
        (join(tags), join(list), join(chat), join(responses))
    });
    if let (Err(_), Err(reason), Err(_), Err(_)) = (&tags, &list, &chat, &responses) {
        return Err(reason.clone());
    }
    let mut models = names(&tags, "models", "name");
    for id in names(&list, "data", "id") {
        if !models.contains(&id) {
            models.push(id);
        }
    }
    let capabilities = Capabilities { open_responses: support(&responses), chat_completions: support(&chat) };
    Ok(Probe { models, capabilities })
}

/// Status and body of a response.
type ProbeResult = Result<(u16, Vec<u8>), String>;

fn request(provider: &Provider, method: &str, path: &str) -> ProbeResult {
    let json = BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]);
    let (headers, body) = if method == "POST" { (json, Some("{}")) } else { (BTreeMap::new(), None) };
    let request = provider.request(method, path, &headers, body)?;
    let mut call = provider.connect_anew(Some(Instant::now() + TIMEOUT))?;
    let status = provider.send(&mut call, &request, |answer| answer.status)?;
    let mut text = Vec::new();
    // The body of a POST's response is not needed, and may be an endless stream.
    if method == "GET" {
        while !call.read(&mut text).map_err(|e| e.to_string())? {
            if text.len() > MAX_LIST {
                return Err(format!("the provider's answer to {path} is too long"));
            }
        }
        provider.pool(call);
    }
    Ok((status, text))
}

fn names(answer: &ProbeResult, list: &str, key: &str) -> Vec<String> {
    let Ok((200, text)) = answer else { return Vec::new() };
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    let entries = value[list].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
}

fn support(answer: &ProbeResult) -> Support {
    match answer {
        Ok((401 | 403 | 404 | 405 | 501, _)) => Support::Unsupported,
        Ok(_) => Support::Supported,
        Err(_) => Support::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_tell_what_is_supported() {
        for status in [401, 403, 404, 405, 501] {
            assert_eq!(support(&Ok((status, Vec::new()))), Support::Unsupported, "{status}");
        }
        for status in [200, 400, 422, 500, 503] {
            assert_eq!(support(&Ok((status, Vec::new()))), Support::Supported, "{status}");
        }
        assert_eq!(support(&Err("no".into())), Support::Unknown);
    }

    #[test]
    fn models_are_listed_in_either_shape() {
        let ollama = Ok((200, br#"{"models":[{"name":"llama3:latest"},{"x":1}]}"#.to_vec()));
        assert_eq!(names(&ollama, "models", "name"), ["llama3:latest"]);
        assert!(names(&Ok((200, b"<html>".to_vec())), "data", "id").is_empty());
        assert!(names(&Ok((404, br#"{"data":[{"id":"x"}]}"#.to_vec())), "data", "id").is_empty());
        let probe = Probe { models: vec!["llama3:latest".into()], ..Probe::default() };
        assert!(probe.has("llama3") && probe.has("llama3:latest") && !probe.has("llama"));
    }
}
