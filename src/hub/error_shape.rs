//! The shape of errors on the inference plane. Gambi's own clients read a bare text; other vendors' clients read the shape
//! of their vendor's API, and show only the status for another shape (PROTOCOL.md, "Inference plane").

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::proto::management::ErrorCode;

/// Start of a `User-Agent` product, in lower case, of clients that read OpenAI's shape: OpenAI's own, Vercel's, LiteLLM's and
/// LangChain's.
const OPENAI_PRODUCTS: [&str; 6] = ["openai/", "asyncopenai/", "ai/", "ai-sdk/", "litellm/", "langchain"];

/// The JSON structure of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorShape {
    /// `{"error": text, "code"}`.
    #[default]
    Bare,
    /// `{"error": {"message", "type", "param", "code"}}`, as in the OpenAI reference. `param` is empty rather than null:
    /// Vercel's client for Open Responses reads no error without four texts.
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}}`, as in the Anthropic reference.
    Anthropic,
    /// `{"error": text}`, as Ollama's clients read it.
    Ollama,
}

impl ErrorShape {
    /// The shape that the client of a request reads.
    pub fn of(exchange: &Exchange<'_>) -> Self {
        let path = exchange.path();
        if is_ollama(path) {
            return ErrorShape::Ollama;
        }
        if exchange.header("anthropic-version").is_some() || path.ends_with("/messages") || path.contains("/messages/")
        {
            return ErrorShape::Anthropic;
        }
        let is_stainless = || exchange.header_names().any(|name| name.to_ascii_lowercase().starts_with("x-stainless-"));
        if is_openai_agent(exchange.header("user-agent").unwrap_or_default()) || is_stainless() {
            ErrorShape::OpenAi
        } else {
            ErrorShape::Bare
        }
    }

    /// The body of an error. `hint` is what the caller can do; the bare shape does not contain it.
    pub fn body(self, status: u16, code: ErrorCode, message: &str, hint: Option<&str>) -> Value {
        let text = || match hint {
            Some(hint) => format!("{}. {hint}", message.trim_end_matches('.')),
            None => message.to_owned(),
        };
        match self {
            ErrorShape::Bare => json!({ "error": message, "code": code }),
            ErrorShape::OpenAi => json!({
                "error": { "message": text(), "type": openai_type(status), "param": "", "code": openai_code(code) },
            }),
            ErrorShape::Ollama => json!({ "error": text() }),
            ErrorShape::Anthropic => json!({
                "type": "error", "error": { "type": anthropic_type(status), "message": text() },
            }),
        }
    }
}

/// Whether a path is one of Ollama's API, in a room or at the root.
pub fn is_ollama(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let first = parts.next();
    first == Some("api") || (first == Some("rooms") && parts.nth(1) == Some("api"))
}

fn is_openai_agent(user_agent: &str) -> bool {
    let products = user_agent.split(' ').map(str::to_ascii_lowercase);
    products.into_iter().any(|product| OPENAI_PRODUCTS.iter().any(|known| product.starts_with(known)))
}

/// The code as OpenAI's clients look for it, where OpenAI has one of that meaning.
fn openai_code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::RateLimitExceeded => "rate_limit_exceeded",
        code => code.as_str(),
    }
}

/// The type of an error with this status, of OpenAI's API.
pub fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// The type of an error with this status, of Anthropic's API.
pub fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_openais_api_are_known_by_their_user_agent() {
        for agent in
            ["OpenAI/Python 2.9.0", "AsyncOpenAI/Python 2.9.0", "ai-sdk/openai-compatible/1.0 runtime/node.js/22"]
        {
            assert!(is_openai_agent(agent), "{agent}");
        }
        assert!(is_openai_agent("ai/5.0.1 ai-sdk/provider-utils/3.0") && is_openai_agent("litellm/1.80"));
        for agent in ["", "gambi/0.1", "curl/8.5.0", "Mozilla/5.0 (X11) openai", "mai/1"] {
            assert!(!is_openai_agent(agent), "{agent}");
        }
    }

    #[test]
    fn paths_of_ollamas_api_lie_in_a_room_or_at_the_root() {
        for path in ["/api/chat", "/api", "/rooms/ABC234/api/nothing", "/rooms/api/api"] {
            assert!(is_ollama(path), "{path}");
        }
        for path in ["/", "/apis", "/rooms/api", "/rooms/ABC234/v1/api", "/v1/api/chat"] {
            assert!(!is_ollama(path), "{path}");
        }
    }

    #[test]
    fn an_error_has_the_members_that_its_client_reads() {
        let (code, message) = (ErrorCode::RoomNotFound, "Room not found");
        assert_eq!(
            ErrorShape::Bare.body(404, code, message, Some("Look.")),
            json!({ "error": message, "code": "ROOM_NOT_FOUND" })
        );
        assert_eq!(
            ErrorShape::OpenAi.body(404, code, message, Some("Look.")),
            json!({ "error": { "message": "Room not found. Look.", "type": "invalid_request_error", "param": "",
                "code": "ROOM_NOT_FOUND" } })
        );
        assert_eq!(
            ErrorShape::Ollama.body(404, code, message, Some("Look.")),
            json!({ "error": "Room not found. Look." })
        );
        assert_eq!(
            ErrorShape::Anthropic.body(503, code, message, None),
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": message } })
        );
    }
}
