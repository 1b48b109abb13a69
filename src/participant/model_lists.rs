//! A provider's lists of models: OpenAI's and Ollama's, of which it has one or both.

use std::collections::HashSet;
use std::thread;

use serde_json::Value;

use super::provider::ProviderClient;
use super::provider_call::{CallLimits, CallResult, ProviderAnswer, get, join, names};
use crate::error::Reason;
use crate::proto::management::Support;

/// Both lists of a provider.
pub struct ModelLists {
    openai: ModelList,
    ollama: ModelList,
}

/// One list, as far as the provider has it.
struct ModelList {
    /// The status of the answer.
    status: Result<u16, Reason>,
    /// Its entries; `None` where the answer is no list.
    entries: Option<Vec<Value>>,
}

/// Why a provider's models are not known.
#[derive(Debug)]
pub enum NoList {
    /// It did not answer.
    Silent(Reason),
    /// Its answer, with this status, was no list.
    Answered(u16),
}

impl ModelLists {
    /// Asks a provider for both lists at once.
    pub fn of(provider: &ProviderClient, limits: CallLimits) -> Self {
        thread::scope(|scope| {
            let ollama = scope.spawn(|| get(provider, "/api/tags", limits));
            let openai = get(provider, "/v1/models", limits);
            Self::from_answers(openai, join(ollama))
        })
    }

    /// The lists in the answers of `/v1/models` and `/api/tags`.
    pub fn from_answers(openai: CallResult, ollama: CallResult) -> Self {
        ModelLists { openai: ModelList::of(openai, "data"), ollama: ModelList::of(ollama, "models") }
    }

    /// Whether the provider has either list.
    pub fn is_any(&self) -> bool {
        self.openai.entries.is_some() || self.ollama.entries.is_some()
    }

    /// The entries of OpenAI's list.
    pub fn openai(&self) -> &[Value] {
        self.openai.entries.as_deref().unwrap_or_default()
    }

    /// Whether the provider is Ollama, with what it answers to `GET /api/version`. Others tell a version there too: some
    /// serve a part of Ollama's API, without tools, formats or counts, and give themselves away in `/api/tags`; llama-swap
    /// has no such list.
    pub fn ollama_support(&self, version: &CallResult) -> Support {
        match (version, &self.ollama.status) {
            (Err(_) | Ok(ProviderAnswer { status: 500.., .. }), _) => Support::Unknown,
            (Ok(answer), _) if !answer.json()["version"].is_string() => Support::Unsupported,
            (Ok(_), Err(_) | Ok(500..)) => Support::Unknown,
            _ if self.ollama.entries.is_some() && !self.is_emulated() => Support::Supported,
            _ => Support::Unsupported,
        }
    }

    /// Whether Ollama's list is of another server. Ollama's own digests are bare hexadecimal digits, while LocalAI, Lemonade
    /// and Docker Model Runner put `sha256:` before them; KoboldCpp is its models' family.
    fn is_emulated(&self) -> bool {
        self.ollama.entries.iter().flatten().any(|entry| {
            let digest = entry["digest"].as_str().unwrap_or_default();
            entry["details"]["family"] == "koboldcpp" || !digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// The status with which one of them is refused for want of a valid key.
    pub fn refusal(&self) -> Option<u16> {
        let statuses = [&self.openai.status, &self.ollama.status].into_iter().flatten();
        statuses.copied().find(|status| matches!(status, 401 | 403))
    }

    /// The names of the models, without duplicates, for requests to OpenAI's API: servers that only emulate Ollama put
    /// `:latest` behind names in Ollama's list, and do not know those names elsewhere.
    ///
    /// # Errors
    /// When the provider has neither list.
    pub fn into_names(self) -> Result<Vec<String>, NoList> {
        if !self.is_any() {
            return Err(match (self.openai.status, self.ollama.status) {
                (Ok(status), _) | (Err(_), Ok(status)) => NoList::Answered(status),
                (Err(reason), Err(_)) => NoList::Silent(reason),
            });
        }
        let ids = names(self.openai(), "id");
        let is_alone = !ids.is_empty() && self.is_emulated();
        let tags = if is_alone { Vec::new() } else { names(self.ollama.entries.iter().flatten(), "name") };
        let listed: HashSet<String> = ids.iter().cloned().collect();
        let tags = tags.into_iter().map(|tag| match tag.strip_suffix(":latest") {
            Some(bare) if listed.contains(bare) && !listed.contains(&tag) => bare.to_owned(),
            _ => tag,
        });
        let mut known = HashSet::new();
        Ok(tags.chain(ids).filter(|name| known.insert(name.clone())).collect())
    }
}

impl ModelList {
    fn of(answer: CallResult, key: &str) -> Self {
        let entries = answer.as_ref().ok().and_then(|answer| match answer.json()[key].take() {
            Value::Array(entries) => Some(entries),
            _ => None,
        });
        ModelList { status: answer.map(|answer| answer.status), entries }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The names in these answers to `/v1/models` and `/api/tags`.
    fn listed(openai: CallResult, ollama: CallResult) -> Option<Vec<String>> {
        ModelLists::from_answers(openai, ollama).into_names().ok()
    }

    fn answer(status: u16, body: &str) -> CallResult {
        Ok(ProviderAnswer { status, body: body.into(), ..ProviderAnswer::default() })
    }

    #[test]
    fn models_are_listed_in_either_shape() {
        let ollama = || answer(200, &json!({ "models": [{ "name": "a:1" }, { "x": 1 }, { "name": " " }] }).to_string());
        let openai = || answer(200, &json!({ "data": [{ "id": "b" }, { "id": "b" }, { "id": "c" }] }).to_string());
        assert_eq!(listed(Err("no".into()), ollama()).unwrap(), ["a:1"]);
        assert_eq!(listed(openai(), answer(404, "{}")).unwrap(), ["b", "c"]);
        assert_eq!(listed(answer(200, r#"{"data":[]}"#), answer(404, "{}")).unwrap(), [""; 0]);
        for (status, body) in [(200, "<html>"), (404, r#"{"data":[{"id":"x"}]}"#), (200, r#"{"models":[]}"#)] {
            assert_eq!(listed(answer(status, body), Err("no".into())), None, "{status} {body}");
        }
    }

    #[test]
    fn a_model_in_both_lists_has_its_name_of_openais() {
        let both = |ids: &[&str], tags: &[Value]| {
            let ids: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
            let openai = answer(200, &json!({ "data": ids }).to_string());
            listed(openai, answer(200, &json!({ "models": tags }).to_string())).unwrap()
        };
        let tags = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        assert_eq!(both(&["a:latest", "b:1"], &tags(&["a:latest", "b:1"])), ["a:latest", "b:1"], "Ollama's own");
        assert_eq!(both(&["b", "a", "d"], &tags(&["a:latest", "b:latest", "c"])), ["a", "b", "c", "d"]);
        assert_eq!(both(&["a", "a:latest"], &tags(&["a:latest"])), ["a:latest", "a"], "a server that has both");
        assert_eq!(both(&[], &tags(&["a:latest"])), ["a:latest"]);
        let koboldcpp = [json!({ "name": "koboldcpp", "details": { "family": "koboldcpp" } })];
        assert_eq!(both(&["koboldcpp/qwen3"], &koboldcpp), ["koboldcpp/qwen3"]);
        assert_eq!(both(&[], &koboldcpp), ["koboldcpp"]);
    }

    /// Whether a server is taken for Ollama that tells a version, and lists one model with these particulars.
    fn is_ollama(model: &Value) -> Support {
        let tags = answer(200, &json!({ "models": [model] }).to_string());
        ModelLists::from_answers(answer(404, ""), tags).ollama_support(&answer(200, r#"{"version":"0.7.0"}"#))
    }

    #[test]
    fn a_server_with_a_part_of_ollamas_api_is_not_taken_for_ollama() {
        let digest = "b5dc5e784f2a3ee1582373093acf69a2f4e2ac1710b253a001712b86a61f88bb";
        let details = json!({ "format": "gguf", "family": "llama", "families": ["llama"] });
        assert_eq!(is_ollama(&json!({ "name": "m", "digest": digest, "details": details })), Support::Supported);
        assert_eq!(is_ollama(&json!({ "name": "m" })), Support::Supported);
        let koboldcpp = json!({ "name": "koboldcpp", "digest": digest, "details": { "family": "koboldcpp" } });
        let sha256 = format!("sha256:{digest}");
        let localai = json!({ "name": "m:latest", "digest": sha256, "details": details });
        for other in [koboldcpp, localai, json!({ "name": "m", "digest": "none" })] {
            assert_eq!(is_ollama(&other), Support::Unsupported, "{other}");
        }
    }

    #[test]
    fn ollama_tells_a_version_and_lists_models() {
        let support = |version, tags| ModelLists::from_answers(answer(404, ""), tags).ollama_support(&version);
        let version = || answer(200, r#"{"version":"0.12.3"}"#);
        let tags = || answer(200, r#"{"models":[]}"#);
        assert_eq!(support(version(), tags()), Support::Supported);
        for (status, body) in [(200, "<html>"), (200, r#"{"error":"Unexpected endpoint"}"#), (404, ""), (401, "{}")] {
            assert_eq!(support(answer(status, body), tags()), Support::Unsupported, "{status} {body}");
            assert_eq!(support(version(), answer(status, body)), Support::Unsupported, "{status} {body}");
        }
        for failed in [|| answer(503, "{}"), || Err("no".into())] {
            assert_eq!((support(failed(), tags()), support(version(), failed())), (Support::Unknown, Support::Unknown));
        }
    }
}
