//! Which models a provider has in memory, as some providers tell.

use serde_json::Value;

use crate::proto::read_json::from_bytes;

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

    /// The models in memory, in the body of an answer; `None` where it is no answer of this route.
    pub fn loaded(self, body: &[u8]) -> Option<Vec<String>> {
        let value: Value = from_bytes(body).ok()?;
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
        Some(in_memory.filter_map(|entry| entry[name].as_str().map(str::to_owned)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_tells_in_its_own_form() {
        let ollama = br#"{"models":[{"name":"llama3:latest","size_vram":1},{"x":1}]}"#;
        assert_eq!(MemoryRoute::Ollama.loaded(ollama).unwrap(), ["llama3:latest"]);
        let swap = br#"{"running":[{"model":"a","state":"ready"},{"model":"b","state":"stopping"}]}"#;
        assert_eq!(MemoryRoute::LlamaSwap.loaded(swap).unwrap(), ["a"]);
        let studio = br#"{"data":[{"id":"a","state":"loaded"},{"id":"b","state":"not-loaded"}]}"#;
        assert_eq!(MemoryRoute::LmStudio.loaded(studio).unwrap(), ["a"]);
        assert_eq!(MemoryRoute::LlamaSwap.loaded(br#"{"running":[]}"#).unwrap(), [""; 0]);
    }

    #[test]
    fn what_other_servers_answer_there_says_nothing() {
        for route in MemoryRoute::ALL {
            for other in [&b"<html>"[..], b"{}", b"[]", br#"{"error":"Unexpected endpoint"}"#] {
                assert_eq!(route.loaded(other), None, "{route:?}");
            }
        }
        assert_eq!(MemoryRoute::LmStudio.loaded(br#"{"data":[{"id":"a"}]}"#), None);
    }
}
