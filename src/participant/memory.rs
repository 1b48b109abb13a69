//! Which models a provider has in memory, as some providers tell.

use serde_json::Value;

use super::provider_call::names;

/// A route by which a provider tells which models are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryRoute {
    /// `GET /api/ps`.
    Ollama,
    /// `GET /running`.
    LlamaSwap,
    /// `GET /api/v0/models`.
    LmStudio,
}

impl MemoryRoute {
    /// All routes, in the order in which they are preferred.
    pub const ALL: [MemoryRoute; 3] = [MemoryRoute::Ollama, MemoryRoute::LlamaSwap, MemoryRoute::LmStudio];

    /// The route's path.
    pub fn path(self) -> &'static str {
        match self {
            MemoryRoute::Ollama => "/api/ps",
            MemoryRoute::LlamaSwap => "/running",
            MemoryRoute::LmStudio => "/api/v0/models",
        }
    }

    /// The models in memory, in the JSON of an answer; `None` where it is no answer of this route.
    pub fn loaded(self, value: &Value) -> Option<Vec<String>> {
        let (list, name, ready) = match self {
            MemoryRoute::Ollama => ("models", "name", None),
            MemoryRoute::LlamaSwap => ("running", "model", Some("ready")),
            MemoryRoute::LmStudio => ("data", "id", Some("loaded")),
        };
        let entries = value[list].as_array()?;
        let state = |entry: &Value| entry["state"].as_str().map(str::to_owned);
        // Other servers have a list of this name on the same path, without states.
        if ready.is_some() && entries.iter().any(|entry| state(entry).is_none()) {
            return None;
        }
        let in_memory = entries.iter().filter(|entry| ready.is_none() || state(entry).as_deref() == ready);
        Some(names(in_memory, name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_provider_tells_in_its_own_form() {
        let ollama = json!({ "models": [{ "name": "llama3:latest", "size_vram": 1 }, { "x": 1 }] });
        assert_eq!(MemoryRoute::Ollama.loaded(&ollama).unwrap(), ["llama3:latest"]);
        let swap = json!({ "running": [{ "model": "a", "state": "ready" }, { "model": "b", "state": "stopping" }] });
        assert_eq!(MemoryRoute::LlamaSwap.loaded(&swap).unwrap(), ["a"]);
        let studio = json!({ "data": [{ "id": "a", "state": "loaded" }, { "id": "b", "state": "not-loaded" }] });
        assert_eq!(MemoryRoute::LmStudio.loaded(&studio).unwrap(), ["a"]);
        assert_eq!(MemoryRoute::LlamaSwap.loaded(&json!({ "running": [] })).unwrap(), [""; 0]);
    }

    #[test]
    fn what_other_servers_answer_there_says_nothing() {
        for route in MemoryRoute::ALL {
            for other in [json!(null), json!({}), json!([]), json!({ "error": "Unexpected endpoint" })] {
                assert_eq!(route.loaded(&other), None, "{route:?}");
            }
        }
        assert_eq!(MemoryRoute::LmStudio.loaded(&json!({ "data": [{ "id": "a" }] })), None);
    }
}
