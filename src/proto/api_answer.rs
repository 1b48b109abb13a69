//! Detects successful answers that are not of the requested API. Some servers answer 200 to every route: with an HTML
//! page, or, as LM Studio does, with an error in JSON.

use serde_json::Value;

use super::parsed::parse_within;

/// The largest prefix of an answer that is examined, in bytes.
pub const MAX_PEEK: usize = 64 << 10;
/// The most memory that an error about a route takes once it is parsed, in bytes.
const MAX_PARSED: usize = 1 << 20;

/// The content type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The content type of a stream of lines of JSON, as Ollama sends it.
pub const NDJSON: &str = "application/x-ndjson";

/// Texts of errors about the route, not about the request; in lower case.
const ABOUT_ROUTES: [&str; 5] = ["endpoint", "route", "cannot post", "not implemented", "page not found"];

/// Whether an answer's content type is that of an event stream, which no server sends from a route that it does not
/// have.
pub fn is_event_stream(content_type: Option<&str>) -> bool {
    has_type(content_type, EVENT_STREAM)
}

/// Whether an answer's content type is that of Ollama's streams.
pub fn is_ndjson(content_type: Option<&str>) -> bool {
    has_type(content_type, NDJSON)
}

/// Whether an answer has the shape of OpenAI's API. Some servers have routes of Ollama's that answer so.
pub fn is_openai(body: &[u8]) -> bool {
    parse_within(body, MAX_PARSED).is_some_and(|answer| answer["choices"].is_array() || answer["object"].is_string())
}

/// Whether a content type is this one, which is in lower case, with any parameters.
pub fn has_type(content_type: Option<&str>, expected: &str) -> bool {
    let start = content_type.and_then(|kind| kind.trim_start().get(..expected.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(expected))
}

/// Whether a successful answer shows that the server lacks the route: a page, a text, or an error about the route.
/// `body` is the whole body, or a prefix long enough for a complete error.
pub fn lacks_route(content_type: Option<&str>, body: &[u8]) -> bool {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    match text.first() {
        _ if has_type(content_type, "text/html") => true,
        Some(b'<') => true,
        Some(b'{') => reports_no_route(text),
        Some(_) => {
            has_type(content_type, "text/plain")
                && ![b"data:".as_slice(), b"event:", b":"].iter().any(|start| text.starts_with(start))
        }
        None => false,
    }
}

/// Whether a text names something: by a word of its own, not as part of a longer one.
pub fn names(text: &str, name: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let stands_alone = |start: usize| {
        !is_word(text[..start].chars().next_back()) && !is_word(text[start + name.len()..].chars().next())
    };
    !name.is_empty() && text.match_indices(name).any(|(start, _)| stands_alone(start))
}

/// Whether an error is about the request's model, so that the route is there.
pub fn is_about_model(json: &[u8]) -> bool {
    let message = parse_within(json, MAX_PARSED).map(|answer| error_message(&answer));
    message.is_some_and(|message| names(&message, "model"))
}

/// Whether an error is about the tools of its request, whose types the server does not know: it names them as the parameter,
/// or its message names a tool and a type.
pub fn refuses_tools(body: &[u8]) -> bool {
    let answer = parse_within(body, MAX_PARSED).unwrap_or_default();
    let error = error_object(&answer);
    let within = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    if error["param"].as_str().and_then(|param| param.strip_prefix("tools")).is_some_and(within) {
        return true;
    }
    let text = String::from_utf8_lossy(body);
    let message = error["message"].as_str().or(answer["error"].as_str()).unwrap_or(&text).to_ascii_lowercase();
    // Python's servers repeat the request behind that, tools and all.
    let quoted = ["'input'", "\"input\""].into_iter().filter_map(|key| message.find(key)).min();
    let message = &message[..quoted.unwrap_or(message.len())];
    // `tool_choice` is a word of its own.
    let words = || message.split(|c: char| !c.is_alphanumeric() && c != '_');
    words().any(|word| word == "type") && words().any(|word| word == "tool" || word == "tools")
}

/// The object in which an error has its message, type, code and parameter. Older versions of vLLM send it without the outer object.
pub fn error_object(answer: &Value) -> &Value {
    if answer["error"].is_object() { &answer["error"] } else { answer }
}

/// The message of an error, in lower case.
fn error_message(answer: &Value) -> String {
    let error = &answer["error"];
    error.as_str().or(error["message"].as_str()).unwrap_or_default().to_ascii_lowercase()
}

fn reports_no_route(json: &[u8]) -> bool {
    let Some(answer) = parse_within(json, MAX_PARSED) else { return false };
    if ["output", "choices", "id"].iter().any(|key| answer.get(key).is_some()) {
        return false;
    }
    let message = error_message(&answer);
    message.trim() == "not found" || ABOUT_ROUTES.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_of_its_own() {
        for (text, name) in [
            (r#"{"error":"model \"llama3:8b\" not found, try pulling it first"}"#, "llama3:8b"),
            ("model 'm:latest' not found", "m"),
            ("mm: no model m", "m"),
            ("größe", "größe"),
        ] {
            assert!(names(text, name), "{name} in {text}");
        }
        for (text, name) in [("no such model", "m"), ("llama3:8b", "llama"), ("grömße", "m"), ("x", ""), ("", "x")] {
            assert!(!names(text, name), "{name} in {text}");
        }
    }

    #[test]
    fn pages_texts_and_route_errors_lack_the_route() {
        for (kind, body) in [
            (Some("application/json"), r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#),
            (None, r#" {"error":{"message":"No such route: /v1/responses"}}"#),
            (Some("application/json"), r#"{"error":"Not Found"}"#),
            (Some("text/html; charset=utf-8"), ""),
            (None, "\n<!doctype html><html>"),
            (Some("Text/Plain"), "Ollama is running"),
        ] {
            assert!(lacks_route(kind, body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn an_error_is_about_tools_by_its_parameter_or_its_words() {
        let vllm = r#"[{'type': 'union_tag_invalid', 'loc': ('body', 'tools', 0), 'msg': 'Input tag', 'input': {}}]"#;
        let detail = r#"{"detail":[{"type":"literal_error","loc":["body","tools",0,"type"],"input":"namespace"}]}"#;
        let long = format!(r#"{{"error":{{"message":"{vllm}{}"#, "x".repeat(MAX_PEEK));
        for body in [
            r#"{"error":{"message":"Invalid","type":"invalid_request_error","param":"tools.0.type","code":"invalid"}}"#,
            r#"{"error":{"message":"Unknown value","param":"tools"}}"#,
            r#"{"error":{"code":400,"message":"'type' of tool must be 'function'","type":"invalid_request_error"}}"#,
            r#"{"error":"Unsupported tool type: namespace"}"#,
            &format!(r#"{{"error":{{"message":"{vllm}","type":"Bad Request","param":null,"code":400}}}}"#),
            &format!(r#"{{"object":"error","message":"{vllm}","code":400}}"#),
            detail,
            &long,
        ] {
            assert!(refuses_tools(body.as_bytes()), "{body}");
        }
        let whole = r#"[{'type': 'value_error', 'loc': ('body',), 'msg': 'no', 'input': {'tools': [{'type': 'x'}]}}]"#;
        for body in [
            r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error","param":"temperature"}}"#,
            r#"{"error":{"message":"Invalid","type":"invalid_request_error","param":"tools_x"}}"#,
            r#"{"error":{"message":"the model cannot call tools"}}"#,
            r#"{"error":{"message":"no such type"}}"#,
            r#"{"error":{"message":"tool_choice must be of type string"}}"#,
            r#"{"error":{"message":"[{'type': 'literal_error', 'loc': ('body', 'tool_choice'), 'msg': 'no'}]","param":null}}"#,
            &format!(r#"{{"error":{{"message":"{whole}"}}}}"#),
            "",
        ] {
            assert!(!refuses_tools(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn an_answer_of_openais_api_is_none_of_ollamas() {
        for body in [r#"{"choices":[],"model":"m"}"#, r#"{"object":"list","data":[]}"#] {
            assert!(is_openai(body.as_bytes()), "{body}");
        }
        for body in [r#"{"model":"m","message":{"role":"assistant"},"done":true}"#, r#"{"embeddings":[[1]]}"#, "", "[]"]
        {
            assert!(!is_openai(body.as_bytes()), "{body}");
        }
        assert!(is_ndjson(Some("application/x-ndjson; charset=utf-8")) && !is_ndjson(Some("application/json")));
    }

    #[test]
    fn answers_of_the_api_do_not_lack_the_route() {
        for (kind, body) in [
            (Some("application/json"), r#"{"id":"resp_1","error":{"message":"no endpoint"},"output":[]}"#),
            (Some("application/json"), r#"{"error":"'messages' field is required"}"#),
            (Some("application/json"), r#"{"error":{"message":"The model is overloaded"}}"#),
            (Some("application/json"), r#"{"error":"Unexpected endpoint"#),
            (Some("application/json"), "{}"),
            (Some("text/plain"), "data: {}\n\n"),
            (Some("text/plain"), ": comment"),
            (None, ""),
            (None, "plain"),
        ] {
            assert!(!lacks_route(kind, body.as_bytes()), "{body}");
        }
        assert!(is_event_stream(Some("text/event-stream; charset=utf-8")) && !is_event_stream(None));
    }
}
