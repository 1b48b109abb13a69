//! Finding providers on this machine: asks a few addresses at once, and tells the kind of each by its answers.

use std::collections::HashSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::provider::Provider;
use crate::proto::read_json::from_bytes;

/// The time limit of each request, from connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// The most addresses that are asked.
const MAX_ADDRESSES: usize = 16;

/// What kind of server a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
    /// The echo provider of `gambi provider`.
    Echo,
    /// Another server with OpenAI's list of models.
    Other,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProviderKind::Ollama => "Ollama",
            ProviderKind::LmStudio => "LM Studio",
            ProviderKind::Vllm => "vLLM",
            ProviderKind::LlamaCpp => "llama.cpp",
            ProviderKind::Echo => "The echo provider",
            ProviderKind::Other => "A provider",
        })
    }
}

/// A provider that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProvider {
    /// Its base URL.
    pub endpoint: String,
    /// What it is, by its answers.
    pub kind: ProviderKind,
    /// Names of its models, without duplicates.
    pub models: Vec<String>,
}

/// A server that may be a provider, but refuses to list its models: it requires a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusingProvider {
    /// Its base URL.
    pub endpoint: String,
    /// The HTTP status of its answer, 401 or 403.
    pub status: u16,
}

/// What was found at some base URLs, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers {
    /// Those that list their models.
    pub found: Vec<FoundProvider>,
    /// Those that refuse to.
    pub refusing: Vec<RefusingProvider>,
}

/// Asks the providers at these base URLs for their models, all at once. A server that is no provider counts as none; so does a
/// hub, which would send requests to itself. Only the first sixteen are asked. `headers` are sent with each request.
pub fn find_providers(endpoints: &[String], headers: &[(String, String)]) -> Providers {
    let ask = |endpoint: &String| Some(Answers::of(&Provider::new(endpoint, headers).ok()?));
    thread::scope(|scope| {
        let asked: Vec<_> = endpoints
            .iter()
            .take(MAX_ADDRESSES)
            .map(|endpoint| (endpoint, scope.spawn(move || ask(endpoint))))
            .collect();
        let mut providers = Providers::default();
        for (endpoint, thread) in asked {
            let Some(answers) = thread.join().ok().flatten() else { continue };
            match (answers.judge(endpoint), answers.refusal) {
                (Some(found), _) => providers.found.push(found),
                (None, Some(status)) => {
                    providers.refusing.push(RefusingProvider { endpoint: endpoint.clone(), status });
                }
                (None, None) => {}
            }
        }
        providers
    })
}

/// The JSON answers of one server; null where there is none.
#[derive(Default)]
struct Answers {
    /// Of `/v1/models`: OpenAI's list.
    list: Value,
    /// Of `/api/tags`: Ollama's list.
    tags: Value,
    /// Of `/api/version`: Ollama's.
    version: Value,
    /// Of `/api/v0/models`: LM Studio's list.
    studio: Value,
    /// The status with which a list of models was refused.
    refusal: Option<u16>,
}

impl Answers {
    fn of(provider: &Provider) -> Self {
        thread::scope(|scope| {
            let paths = ["/v1/models", "/api/tags", "/api/version", "/api/v0/models"];
            let asked = paths.map(|path| scope.spawn(move || get(provider, path).unwrap_or_default()));
            let [list, tags, version, studio] = asked.map(|thread| thread.join().unwrap_or_default());
            let refusal = [list.0, tags.0].into_iter().find(|status| matches!(status, 401 | 403));
            Answers { list: list.1, tags: tags.1, version: version.1, studio: studio.1, refusal }
        })
    }

    /// What the server is, by its answers alone.
    fn judge(&self, endpoint: &str) -> Option<FoundProvider> {
        let listed = self.list["data"].as_array();
        let tagged = self.tags["models"].as_array();
        let first = listed.and_then(|list| list.first()).unwrap_or(&Value::Null);
        if (listed.is_none() && tagged.is_none()) || first["gambi"].is_object() {
            return None;
        }
        let kind = match first["owned_by"].as_str() {
            Some("llamacpp") => ProviderKind::LlamaCpp,
            Some("vllm") => ProviderKind::Vllm,
            Some("gambi") => ProviderKind::Echo,
            _ if self.studio["data"].is_array() => ProviderKind::LmStudio,
            _ if tagged.is_some() && self.version["version"].is_string() => ProviderKind::Ollama,
            Some("organization_owner") => ProviderKind::LmStudio,
            _ => ProviderKind::Other,
        };
        let mut known = HashSet::new();
        let names = |entries: Option<&Vec<Value>>, key: &str| -> Vec<String> {
            entries.into_iter().flatten().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
        };
        // Where both lists have entries, they are the same models.
        let mut models = names(listed, "id");
        if models.is_empty() {
            models = names(tagged, "name");
        }
        models.retain(|name| !name.trim().is_empty() && known.insert(name.clone()));
        Some(FoundProvider { endpoint: endpoint.to_owned(), kind, models })
    }
}

/// The status of the answer at a path, and its JSON if that is 200. `None` without an answer in time and size.
fn get(provider: &Provider, path: &str) -> Option<(u16, Value)> {
    let request = provider.request_head("GET", path, &[], None).ok()?;
    let mut call = provider.connect_anew(Some(Instant::now() + TIMEOUT)).ok()?;
    let status = provider.send(&mut call, [&request, &[]], |head| head.status).ok()?;
    if status != 200 {
        return Some((status, Value::Null));
    }
    let mut body = Vec::new();
    while !call.read(&mut body).ok()? {
        if body.len() > MAX_ANSWER {
            return None;
        }
    }
    Some((status, from_bytes(&body).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(owner: &str) -> Value {
        json!({ "object": "list", "data": [{ "id": "m", "owned_by": owner }, { "id": "m" }, { "id": "n" }] })
    }

    fn kind(answers: &Answers) -> Option<ProviderKind> {
        answers.judge("http://localhost:1").map(|found| found.kind)
    }

    #[test]
    fn a_server_is_known_by_what_it_answers() {
        let of = |owner: &str| kind(&Answers { list: list(owner), ..Answers::default() });
        assert_eq!(of("vllm"), Some(ProviderKind::Vllm));
        assert_eq!(of("llamacpp"), Some(ProviderKind::LlamaCpp));
        assert_eq!(of("organization_owner"), Some(ProviderKind::LmStudio));
        assert_eq!(of("gambi"), Some(ProviderKind::Echo));
        assert_eq!(of("someone"), Some(ProviderKind::Other));
        let (tags, version) = (json!({ "models": [{ "name": "m:latest" }] }), json!({ "version": "0.12.3" }));
        let ollama = Answers { tags: tags.clone(), version, ..Answers::default() };
        let found = ollama.judge("http://localhost:1").unwrap();
        assert_eq!((found.kind, found.models), (ProviderKind::Ollama, vec!["m:latest".to_owned()]));
        // llama.cpp has some of Ollama's routes.
        assert_eq!(kind(&Answers { list: list("llamacpp"), tags, ..Answers::default() }), Some(ProviderKind::LlamaCpp));
        let empty = json!({ "object": "list", "data": [] });
        let studio = Answers { list: empty.clone(), studio: empty, ..Answers::default() };
        assert_eq!(kind(&studio), Some(ProviderKind::LmStudio));
    }

    #[test]
    fn neither_a_hub_nor_another_server_is_a_provider() {
        let hub = json!({ "object": "list", "data": [{ "id": "m", "owned_by": "gambi", "gambi": {} }] });
        assert_eq!(kind(&Answers { list: hub, ..Answers::default() }), None);
        let page = json!({ "error": "Unexpected endpoint or method" });
        assert_eq!(kind(&Answers { list: page.clone(), tags: page, ..Answers::default() }), None);
    }

    #[test]
    fn a_model_is_listed_once() {
        let found = Answers { list: list("vllm"), ..Answers::default() }.judge("http://localhost:1").unwrap();
        assert_eq!(found.models, ["m", "n"]);
    }
}
