//! Probing a provider for its models and capabilities (PROTOCOL.md, "The participant's side").

use std::thread;
use std::time::Duration;

use super::memory::MemoryRoute;
use super::model_lists::{ModelLists, NoList};
use super::provider::ProviderClient;
use super::provider_call::{CallLimits, CallResult, ProviderAnswer, get, join, post_nothing};
use super::provider_health::PollResult;
use crate::error::Reason;
use crate::proto::api_answer::{is_about_model, lacks_route};
use crate::proto::management::{Capabilities, Support};
use crate::proto::openai::same_model;

/// The limits of each request.
const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(5), bytes: 8 << 20 };

/// A provider's models and capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Names of its models, without duplicates.
    pub models: Vec<String>,
    /// The APIs that it serves.
    pub capabilities: Capabilities,
    /// The status of its answer where that is no list of models.
    pub(super) unlisted: Option<u16>,
    /// The status with which it refuses chats for want of a valid key, unless it serves the Responses API or Ollama's.
    pub(super) refused: Option<u16>,
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

/// What a provider answers to the probe's requests.
struct ProbeAnswers {
    lists: ModelLists,
    chat: CallResult,
    responses: CallResult,
    version: CallResult,
    /// The models in memory, and the first route that tells.
    loaded: Option<(MemoryRoute, Vec<String>)>,
}

impl ProbeAnswers {
    /// Makes all requests at once.
    fn of(provider: &ProviderClient) -> Self {
        thread::scope(|scope| {
            let chat = scope.spawn(|| post_nothing(provider, "/v1/chat/completions", LIMITS));
            let responses = scope.spawn(|| post_nothing(provider, "/v1/responses", LIMITS));
            let version = scope.spawn(|| get(provider, "/api/version", LIMITS));
            let loaded = MemoryRoute::ALL.map(|route| scope.spawn(move || Some((route, loaded(provider, route)?))));
            let lists = ModelLists::of(provider, LIMITS);
            let loaded = loaded.map(|thread| thread.join().unwrap_or_default());
            let loaded = loaded.into_iter().flatten().next();
            ProbeAnswers { lists, chat: join(chat), responses: join(responses), version: join(version), loaded }
        })
    }
}

/// Probes a provider with concurrent requests, five seconds each.
///
/// # Errors
/// When it answers none of those for its models and APIs.
pub fn probe(provider: &ProviderClient) -> Result<Probe, Reason> {
    let ProbeAnswers { lists, chat, responses, version, loaded } = ProbeAnswers::of(provider);
    let capabilities = Capabilities {
        open_responses: support(&responses),
        chat_completions: support(&chat),
        ollama: lists.ollama_support(&version),
    };
    let (models, unlisted) = match lists.into_names() {
        Ok(models) => (models, None),
        Err(NoList::Answered(status)) => (Vec::new(), Some(status)),
        Err(NoList::Silent(reason)) if chat.is_err() && responses.is_err() => return Err(reason),
        Err(NoList::Silent(_)) => (Vec::new(), None),
    };
    let refused = chat.map(|answer| answer.status).ok().filter(|status| matches!(status, 401 | 403));
    let serves_others = [capabilities.open_responses, capabilities.ollama].contains(&Support::Supported);
    let refused = refused.filter(|_| !serves_others);
    let (memory, loaded) = loaded.unzip();
    Ok(Probe { models, capabilities, unlisted, refused, loaded, memory })
}

/// The names of a provider's models, without duplicates.
///
/// # Errors
/// When neither request for them is answered by a list.
pub fn list_models(provider: &ProviderClient) -> Result<Vec<String>, NoList> {
    ModelLists::of(provider, LIMITS).into_names()
}

/// Whether a provider answers, by a request that costs it little.
pub fn poll(provider: &ProviderClient) -> PollResult {
    match get(provider, "/v1/models", LIMITS) {
        Ok(_) => PollResult::Answered,
        Err(_) if provider.connect_anew(LIMITS.deadline()).is_err() => PollResult::Refused,
        Err(_) => PollResult::Silent,
    }
}

/// The models that a provider has in memory, if it tells on this route.
pub fn loaded(provider: &ProviderClient, route: MemoryRoute) -> Option<Vec<String>> {
    route.loaded(&get(provider, route.path(), LIMITS).ok()?.json())
}

fn support(answer: &CallResult) -> Support {
    match answer {
        Ok(ProviderAnswer { status: 404, body, .. }) if is_about_model(body) => Support::Supported,
        Ok(ProviderAnswer { status: 401 | 403 | 404 | 405 | 501, .. }) => Support::Unsupported,
        Ok(ProviderAnswer { status: 200..300, kind, body }) if lacks_route(kind.as_deref(), body) => {
            Support::Unsupported
        }
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
            assert_eq!(
                support(&Ok(ProviderAnswer { status, ..ProviderAnswer::default() })),
                Support::Unsupported,
                "{status}"
            );
        }
        for status in [200, 400, 422, 500, 503] {
            assert_eq!(
                support(&Ok(ProviderAnswer { status, ..ProviderAnswer::default() })),
                Support::Supported,
                "{status}"
            );
        }
        assert_eq!(support(&Err("no".into())), Support::Unknown);
        let missing = |text: &str| Ok(ProviderAnswer { status: 404, body: text.into(), ..ProviderAnswer::default() });
        assert_eq!(support(&missing(r#"{"error":"model '' not found"}"#)), Support::Supported);
        assert_eq!(support(&missing(r#"{"error":{"message":"Not Found"}}"#)), Support::Unsupported);
    }

    #[test]
    fn a_successful_status_is_not_enough() {
        let support = |kind: &str, body: &str| {
            support(&Ok(ProviderAnswer { status: 200, kind: Some(kind.to_owned()), body: body.as_bytes().to_vec() }))
        };
        let unknown = r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#;
        assert_eq!(support("application/json", unknown), Support::Unsupported);
        assert_eq!(support("text/html", "<html>"), Support::Unsupported);
        assert_eq!(support("application/json", r#"{"error":"'input' is required"}"#), Support::Supported);
        assert_eq!(support("text/event-stream", ""), Support::Supported);
    }

    #[test]
    fn a_model_is_known_with_and_without_latest() {
        let probe = Probe { models: vec!["llama3:latest".into()], ..Probe::default() };
        assert!(probe.has("llama3") && probe.has("llama3:latest") && !probe.has("llama"));
    }
}
