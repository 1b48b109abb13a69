//! Finding providers on this machine: asks a few addresses at once, and tells the kind of each by its answers.

use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::model_lists::ModelLists;
use super::provider::ProviderClient;
use super::provider_call::{CallLimits, CallResult, get, join};
use crate::proto::management::Support;

/// The limits of each request.
const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(1), bytes: 4 << 20 };
/// The most addresses that are asked.
const MAX_ADDRESSES: usize = 16;

/// What kind of server a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderKind {
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
    /// SGLang.
    SgLang,
    /// KoboldCpp.
    KoboldCpp,
    /// TabbyAPI.
    TabbyApi,
    /// Lemonade.
    Lemonade,
    /// Docker Model Runner.
    DockerModelRunner,
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
            ProviderKind::SgLang => "SGLang",
            ProviderKind::KoboldCpp => "KoboldCpp",
            ProviderKind::TabbyApi => "TabbyAPI",
            ProviderKind::Lemonade => "Lemonade",
            ProviderKind::DockerModelRunner => "Docker Model Runner",
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
    thread::scope(|scope| {
        let asked = endpoints.iter().take(MAX_ADDRESSES).map(|endpoint| scope.spawn(|| ask(endpoint, headers)));
        let asked: Vec<_> = asked.collect();
        let mut providers = Providers::default();
        for thread in asked {
            match thread.join().ok().flatten() {
                Some(Ok(found)) => providers.found.push(found),
                Some(Err(refusing)) => providers.refusing.push(refusing),
                None => {}
            }
        }
        providers
    })
}

/// The provider at a base URL, if there is one.
fn ask(endpoint: &str, headers: &[(String, String)]) -> Option<Result<FoundProvider, RefusingProvider>> {
    let provider = ProviderClient::new(endpoint, headers).ok()?;
    let lists = ModelLists::of(&provider, LIMITS);
    let endpoint = endpoint.to_owned();
    if !lists.is_any() {
        return lists.refusal().map(|status| Err(RefusingProvider { endpoint, status }));
    }
    let answers = ProviderAnswers::of(&provider, lists);
    let kind = answers.kind()?;
    Some(Ok(FoundProvider { endpoint, kind, models: answers.lists.into_names().ok()? }))
}

/// What a server with a list of models answers.
struct ProviderAnswers {
    lists: ModelLists,
    /// The answer of `/api/version`: Ollama's.
    version: CallResult,
    /// The answer of `/api/v0/models`: LM Studio's list.
    studio: CallResult,
}

impl ProviderAnswers {
    fn of(provider: &ProviderClient, lists: ModelLists) -> Self {
        thread::scope(|scope| {
            let studio = scope.spawn(|| get(provider, "/api/v0/models", LIMITS));
            let version = get(provider, "/api/version", LIMITS);
            ProviderAnswers { lists, version, studio: join(studio) }
        })
    }

    /// What the server is, by its answers alone. `None` for a hub.
    fn kind(&self) -> Option<ProviderKind> {
        let first = self.lists.openai().first().unwrap_or(&Value::Null);
        if first["gambi"].is_object() {
            return None;
        }
        let has_studios = self.studio.as_ref().is_ok_and(|answer| answer.json()["data"].is_array());
        Some(match first["owned_by"].as_str() {
            Some("llamacpp") => ProviderKind::LlamaCpp,
            Some("vllm") => ProviderKind::Vllm,
            Some("sglang") => ProviderKind::SgLang,
            Some("koboldcpp") => ProviderKind::KoboldCpp,
            Some("tabbyAPI") => ProviderKind::TabbyApi,
            Some("lemonade") => ProviderKind::Lemonade,
            Some("docker") => ProviderKind::DockerModelRunner,
            Some("gambi") => ProviderKind::Echo,
            _ if has_studios => ProviderKind::LmStudio,
            _ if self.lists.ollama_support(&self.version) == Support::Supported => ProviderKind::Ollama,
            Some("organization_owner") => ProviderKind::LmStudio,
            _ => ProviderKind::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::participant::provider_call::ProviderAnswer;

    fn answer(body: &Value) -> CallResult {
        Ok(ProviderAnswer { status: 200, kind: None, body: body.to_string().into() })
    }

    /// The answers of a server with these lists at `/v1/models` and `/api/tags`.
    fn answers(openai: &Value, ollama: &Value) -> ProviderAnswers {
        let lists = ModelLists::from_answers(answer(openai), answer(ollama));
        ProviderAnswers { lists, version: Err("no".into()), studio: Err("no".into()) }
    }

    fn owned_by(owner: &str) -> Value {
        json!({ "object": "list", "data": [{ "id": "m", "owned_by": owner }, { "id": "n" }] })
    }

    #[test]
    fn a_server_is_known_by_what_it_answers() {
        for (owner, kind) in [
            ("vllm", ProviderKind::Vllm),
            ("llamacpp", ProviderKind::LlamaCpp),
            ("sglang", ProviderKind::SgLang),
            ("koboldcpp", ProviderKind::KoboldCpp),
            ("tabbyAPI", ProviderKind::TabbyApi),
            ("lemonade", ProviderKind::Lemonade),
            ("docker", ProviderKind::DockerModelRunner),
            ("organization_owner", ProviderKind::LmStudio),
            ("gambi", ProviderKind::Echo),
            ("someone", ProviderKind::Other),
        ] {
            assert_eq!(answers(&owned_by(owner), &Value::Null).kind(), Some(kind), "{owner}");
        }
        let tags = json!({ "models": [{ "name": "m:latest" }] });
        let version = answer(&json!({ "version": "0.12.3" }));
        let ollama = ProviderAnswers { version, ..answers(&owned_by("library"), &tags) };
        assert_eq!(ollama.kind(), Some(ProviderKind::Ollama));
        let foreign = json!({ "models": [{ "name": "m:latest", "digest": "sha256:0000" }] });
        let version = answer(&json!({ "version": "0.9.0" }));
        let localai = ProviderAnswers { version, ..answers(&owned_by("library"), &foreign) };
        assert_eq!(localai.kind(), Some(ProviderKind::Other));
        // llama.cpp has some of Ollama's routes.
        assert_eq!(answers(&owned_by("llamacpp"), &tags).kind(), Some(ProviderKind::LlamaCpp));
        let empty = json!({ "object": "list", "data": [] });
        let studio = ProviderAnswers { studio: answer(&empty), ..answers(&empty, &Value::Null) };
        assert_eq!(studio.kind(), Some(ProviderKind::LmStudio));
    }

    #[test]
    fn neither_a_hub_nor_another_server_is_a_provider() {
        let hub = json!({ "object": "list", "data": [{ "id": "m", "owned_by": "gambi", "gambi": {} }] });
        assert_eq!(answers(&hub, &Value::Null).kind(), None);
        let page = json!({ "error": "Unexpected endpoint or method" });
        assert!(answers(&page, &page).lists.into_names().is_err());
    }
}
