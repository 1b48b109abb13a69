//! A provider's lists of models: OpenAI's and Ollama's, of which it has one or both.

use std::collections::HashSet;
use std::thread;

use serde_json::Value;

use super::provider::Provider;
use super::provider_call::{CallLimits, CallResult, get, join, names};
use crate::error::Reason;

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
    pub fn of(provider: &Provider, limits: CallLimits) -> Self {
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

    /// The entries of OpenAI's list.
    pub fn openai(&self) -> &[Value] {
        self.openai.entries.as_deref().unwrap_or_default()
    }

    /// Whether there is a list in Ollama's form.
    pub fn has_ollamas(&self) -> bool {
        self.ollama.entries.is_some()
    }

    /// The status with which one of them is refused for want of a valid key.
    pub fn refusal(&self) -> Option<u16> {
        let statuses = [&self.openai.status, &self.ollama.status].into_iter().flatten();
        statuses.copied().find(|status| matches!(status, 401 | 403))
    }

    /// The names of the models, without duplicates.
    ///
    /// # Errors
    /// When the provider has neither list.
    pub fn into_names(self) -> Result<Vec<String>, NoList> {
        if self.openai.entries.is_none() && self.ollama.entries.is_none() {
            return Err(match (self.openai.status, self.ollama.status) {
                (Ok(status), _) | (Err(_), Ok(status)) => NoList::Answered(status),
                (Err(reason), Err(_)) => NoList::Silent(reason),
            });
        }
        let tags = names(self.ollama.entries.as_deref().unwrap_or_default(), "name");
        let mut known = HashSet::new();
        let all = tags.into_iter().chain(names(self.openai(), "id"));
        Ok(all.filter(|name| known.insert(name.clone())).collect())
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
    use crate::participant::provider_call::ProviderAnswer;

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
}
