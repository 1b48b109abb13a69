//! The operations of the inference plane: the only requests that a hub can send to a participant's provider. The hub
//! takes their methods and paths from here (`hub/relay/operation.rs`), and the participant refuses everything else, so a
//! hostile hub cannot reach other routes.
//!
//! A new operation must be added here, and works only with participants of a version that has it.

use super::web::{percent_decode, percent_encode};

/// An operation: its name in the tunnel's messages, its method and its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Such as `chat.completions.create`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// The provider's path; `{id}` stands for the id of an earlier response.
    pub path: &'static str,
}

const ID: &str = "{id}";

const fn post(name: &'static str, path: &'static str) -> Operation {
    Operation { name, method: "POST", path }
}

/// Chat Completions.
pub const CHAT: Operation = post("chat.completions.create", "/v1/chat/completions");
/// Responses.
pub const RESPONSES: Operation = post("responses.create", "/v1/responses");
/// Reads a stored response.
pub const RESPONSE_GET: Operation = Operation { name: "responses.get", method: "GET", path: "/v1/responses/{id}" };
/// Deletes a stored response.
pub const RESPONSE_DELETE: Operation =
    Operation { name: "responses.delete", method: "DELETE", path: "/v1/responses/{id}" };
/// Cancels a response in progress.
pub const RESPONSE_CANCEL: Operation = post("responses.cancel", "/v1/responses/{id}/cancel");
/// Lists the input items of a stored response.
pub const RESPONSE_INPUT_ITEMS: Operation =
    Operation { name: "responses.input_items", method: "GET", path: "/v1/responses/{id}/input_items" };
/// Embeddings.
pub const EMBEDDINGS: Operation = post("embeddings.create", "/v1/embeddings");
/// Completions.
pub const COMPLETIONS: Operation = post("completions.create", "/v1/completions");
/// Rerank.
pub const RERANK: Operation = post("rerank.create", "/v1/rerank");
/// Messages.
pub const MESSAGES: Operation = post("messages.create", "/v1/messages");
/// The token count of a request to Messages.
pub const COUNT_TOKENS: Operation = post("messages.count_tokens", "/v1/messages/count_tokens");
/// Ollama's chat.
pub const OLLAMA_CHAT: Operation = post("ollama.chat", "/api/chat");
/// Ollama's completion of a prompt.
pub const OLLAMA_GENERATE: Operation = post("ollama.generate", "/api/generate");
/// Ollama's embeddings.
pub const OLLAMA_EMBED: Operation = post("ollama.embed", "/api/embed");
/// Ollama's older embeddings, of one text.
pub const OLLAMA_EMBEDDINGS: Operation = post("ollama.embeddings", "/api/embeddings");
/// What Ollama knows of a model.
pub const OLLAMA_SHOW: Operation = post("ollama.show", "/api/show");

/// All operations.
pub const OPERATIONS: [Operation; 16] = [
    CHAT,
    RESPONSES,
    RESPONSE_GET,
    RESPONSE_DELETE,
    RESPONSE_CANCEL,
    RESPONSE_INPUT_ITEMS,
    EMBEDDINGS,
    COMPLETIONS,
    RERANK,
    MESSAGES,
    COUNT_TOKENS,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OLLAMA_EMBED,
    OLLAMA_EMBEDDINGS,
    OLLAMA_SHOW,
];

impl Operation {
    /// The path with `{id}` replaced by the response's id, where it has one.
    pub fn path_for(&self, response: &str) -> String {
        self.path.replace(ID, &percent_encode(response))
    }

    /// Whether a request is this operation. A query may follow where the operation is about an earlier response.
    fn is(&self, method: &str, target: &str) -> bool {
        if self.method != method {
            return false;
        }
        let Some((before, after)) = self.path.split_once(ID) else { return self.path == target };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let id = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        id.is_some_and(is_plain_id) && query.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\'))
    }
}

/// The operation that a request's method and target (path and query) name; `None` for all other requests, which must
/// not be passed on.
pub fn operation(method: &str, target: &str) -> Option<Operation> {
    OPERATIONS.into_iter().find(|operation| operation.is(method, target))
}

/// Whether a path segment is an id that every server treats as one segment: without separators, plain or encoded once
/// or twice, without dot segments, and without characters that end a path or begin parameters.
fn is_plain_id(part: &str) -> bool {
    let ends_path = |c: char| matches!(c, '/' | '\\' | '%' | '?' | '#' | ';') || c.is_control();
    part.bytes().all(|b| b.is_ascii_graphic())
        && percent_decode(part).is_some_and(|id| !id.is_empty() && !id.starts_with('.') && !id.contains(ends_path))
}

/// Whether a header of the hub is forwarded to the provider. `name` may be in any case. This is an allow-list, since some
/// servers take the path, the method or the caller's identity from headers (`X-Original-URL`, `X-HTTP-Method-Override`,
/// `Cookie`, `Proxy-Authorization`).
pub fn passes_header(name: &str) -> bool {
    const PASSED: [&str; 9] = [
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "idempotency-key",
        "openai-beta",
        "traceparent",
        "tracestate",
        // Names the hubs that a request has passed.
        "x-gambi-hops",
        "x-request-id",
    ];
    PASSED.iter().any(|passed| name.eq_ignore_ascii_case(passed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn operations_are_identified_by_method_and_path() {
        for known in OPERATIONS {
            assert_eq!(operation(known.method, &known.path_for("resp_1-a~b")), Some(known));
            assert_eq!(operation("PUT", &known.path_for("r")), None, "{}", known.name);
        }
        assert_eq!(operation("GET", "/v1/responses/r?stream=true&after=a%2Fb"), Some(RESPONSE_GET));
        assert_eq!(operation("POST", "/v1/responses/r/cancel"), Some(RESPONSE_CANCEL));
        assert_eq!(operation("GET", "/v1/responses/caf%C3%A9"), Some(RESPONSE_GET));
    }

    #[test]
    fn no_other_route_of_a_provider_is_an_operation() {
        for (method, target) in [
            ("GET", "/api/delete"),
            ("DELETE", "/api/delete"),
            ("POST", "/api/pull"),
            ("POST", "/api/create"),
            ("GET", "/api/tags"),
            ("POST", "/api/chat/"),
            ("POST", "/v1/api/chat"),
            ("GET", "/v1/models"),
            ("GET", "/..%2fsecret"),
            ("GET", "/v1/chat/completions"),
            ("POST", "/v1/chat/completions/"),
            ("POST", "/v1/chat/completions?x=1"),
            ("POST", "//v1/chat/completions"),
            ("post", "/v1/chat/completions"),
            ("GET", "/v1/responses/"),
            ("GET", "/v1/responses"),
            ("GET", "/v1/responses/r/other"),
            ("DELETE", "/v1/responses/r/input_items"),
            ("GET", "/v1/responses/../models"),
            ("GET", "/v1/responses/.."),
            ("GET", "/v1/responses/."),
            ("GET", "/v1/responses/%2e%2E"),
            ("GET", "/v1/responses/%2e%2e%2fapi%2Fdelete"),
            ("GET", "/v1/responses/a%2fb"),
            ("GET", "/v1/responses/a%5Cb"),
            ("GET", "/v1/responses/a\\b"),
            ("GET", "/v1/responses/a%252fb"),
            ("GET", "/v1/responses/..;/x"),
            ("GET", "/v1/responses/a%00"),
            ("GET", "/v1/responses/a%0d%0aX:y"),
            ("GET", "/v1/responses/a%"),
            ("GET", "/v1/responses/a b"),
            ("GET", "/v1/responses/a#b"),
            ("GET", "/v1/responses/a?b\r\nX: y"),
            ("GET", "http://elsewhere/v1/responses/a"),
            ("GET", ""),
        ] {
            assert_eq!(operation(method, target), None, "{method} {target:?}");
        }
    }

    #[test]
    fn headers_that_steer_a_server_are_not_forwarded() {
        assert!(passes_header("Content-Type") && passes_header("anthropic-version"));
        for name in ["Cookie", "Proxy-Authorization", "Host", "Authorization", "Transfer-Encoding", "Content-Length"] {
            assert!(!passes_header(name), "{name}");
        }
        for name in ["Connection", "X-Original-URL", "X-HTTP-Method-Override", "X-Forwarded-For", "x-api-key", ""] {
            assert!(!passes_header(name), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn accepted_targets_stay_below_their_own_path(
            method in "GET|POST|DELETE",
            before in "(/v1/(responses|messages|chat/completions)|/api/(chat|show))?/?",
            rest in "([./%\\\\?#;a2fF5cCeE]|[[:print:]]|/cancel|/input_items){0,12}",
        ) {
            let target = before + &rest;
            if let Some(found) = operation(&method, &target) {
                let path = target.split('?').next().unwrap();
                let lower = path.to_lowercase();
                prop_assert_eq!(path.matches('/').count(), found.path.matches('/').count());
                prop_assert!(!["%2f", "%5c", "%25", "\\", "//"].iter().any(|bad| lower.contains(bad)), "{}", target);
                prop_assert!(!path.split('/').any(|part| percent_decode(part).unwrap().starts_with('.')), "{}", target);
                prop_assert!(target.bytes().all(|b| b.is_ascii_graphic()));
            }
        }

        #[test]
        fn every_accepted_id_is_the_one_the_hub_wrote(id in "[a-zA-Z0-9_-]{1,40}|\\PC{1,8}") {
            if let Some(found) = operation("GET", &RESPONSE_GET.path_for(&id)) {
                prop_assert_eq!(found, RESPONSE_GET);
            } else {
                prop_assert!(id.starts_with('.') || id.contains(['/', '\\', '%', '?', '#', ';']), "{:?}", id);
            }
        }
    }
}
