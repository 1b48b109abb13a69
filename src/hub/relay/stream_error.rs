//! The event that tells a client that its stream has failed, in the form of the stream's API. Without it, clients that do
//! not look at how the connection ended would take a broken answer for a complete one.

use serde_json::{Value, json};

use crate::hub::error_shape::{anthropic_type, openai_type};
use crate::proto::api_answer::{EVENT_STREAM, NDJSON, error_object};
use crate::proto::management::ErrorCode;
use crate::proto::parsed::parse_within;
use crate::proto::sse;
use crate::proto::text::cut;
use crate::proto::translate::error_text;

/// The most memory that a provider's error takes once it is parsed, in bytes.
const MAX_PARSED: usize = 4 << 20;
/// The longest type, code or parameter of it, in bytes.
const MAX_TEXT: usize = 256;

/// How an API streams, and tells an error within a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// Chat Completions and the like: data with the member `error`.
    Chat,
    /// Responses: as Chat before the response has begun, and then [`response_failed`].
    Responses,
    /// Anthropic's Messages: the event `error`.
    Messages,
    /// Ollama: lines of JSON, of which one with the member `error` is the last.
    Ollama,
}

impl ErrorForm {
    /// The content type of its streams.
    pub fn content_type(self) -> &'static str {
        if self == ErrorForm::Ollama { NDJSON } else { EVENT_STREAM }
    }

    /// What ends an event.
    pub fn boundary(self) -> &'static str {
        if self == ErrorForm::Ollama { "\n" } else { "\n\n" }
    }

    /// Whether something can be sent before there is an event: a head, or a comment. A client that gets lines of JSON knows
    /// no comments, and shows the error of a request best by its status.
    pub fn begins_early(self) -> bool {
        self != ErrorForm::Ollama
    }

    /// The event of an error.
    pub fn event(self, message: &str, code: ErrorCode) -> String {
        match self {
            ErrorForm::Chat | ErrorForm::Responses => {
                let data = json!({ "error": { "message": message, "type": "server_error", "code": code } });
                format!("data: {data}\n\n")
            }
            ErrorForm::Messages => {
                let data = json!({ "type": "error", "error": { "type": "api_error", "message": message } });
                sse::encode("error", &data.to_string())
            }
            ErrorForm::Ollama => format!("{}\n", json!({ "error": message })),
        }
    }

    /// The event of an error with which a provider has answered: in its words, and with its type and code where it has any.
    pub fn event_of_answer(self, status: u16, body: &[u8], code: ErrorCode) -> String {
        let (message, answer) = (error_text(body), parse_within(body, MAX_PARSED).unwrap_or_default());
        let error = error_object(&answer);
        let kind = |usual: &str| member(error, "type").unwrap_or(usual.into());
        match self {
            ErrorForm::Chat | ErrorForm::Responses => {
                let code = member(error, "code").unwrap_or(code.as_str().into());
                let kind = kind(openai_type(status));
                let mut told = json!({ "error": { "message": message, "type": kind, "code": code } });
                if let Some(param) = member(error, "param") {
                    told["error"]["param"] = param;
                }
                format!("data: {told}\n\n")
            }
            ErrorForm::Messages => {
                let told = json!({ "type": kind(anthropic_type(status)), "message": message });
                sse::encode("error", &json!({ "type": "error", "error": told }).to_string())
            }
            ErrorForm::Ollama => self.event(&message, code),
        }
    }
}

/// A member of an error that is text or a number.
fn member(error: &Value, key: &str) -> Option<Value> {
    match &error[key] {
        Value::String(text) => Some(cut(text, MAX_TEXT).into()),
        Value::Number(number) => Some(number.clone().into()),
        _ => None,
    }
}

/// What is known of a response that fails in mid-stream.
pub struct BrokenResponse<'a> {
    /// As the provider called it.
    pub id: &'a str,
    /// The participant's.
    pub model: &'a str,
    /// The number of the event that tells of the failure.
    pub sequence_number: u64,
    /// Seconds since the epoch.
    pub created_at: u64,
}

/// The last event of a response that fails in mid-stream.
pub fn response_failed(response: &BrokenResponse<'_>, message: &str) -> String {
    let data = json!({
        "type": "response.failed",
        "sequence_number": response.sequence_number,
        "response": {
            "id": response.id,
            "object": "response",
            "created_at": response.created_at,
            "status": "failed",
            "error": { "code": "server_error", "message": message },
            "incomplete_details": null,
            "model": response.model,
            "output": [],
            "usage": null,
        },
    });
    sse::encode("response.failed", &data.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_error_keeps_its_words_type_and_code() {
        let event = |form: ErrorForm, body: &str| {
            let event = form.event_of_answer(400, body.as_bytes(), ErrorCode::EndpointNotReachable);
            let mut decoder = sse::Decoder::new();
            decoder.push(event.as_bytes());
            serde_json::from_str::<Value>(&decoder.next_event().unwrap().data).unwrap()
        };
        for (body, error) in [
            (
                r#"{"error":{"message":"too long","type":"exceed_context","code":400,"param":"messages"}}"#,
                json!({ "message": "too long", "type": "exceed_context", "code": 400, "param": "messages" }),
            ),
            (
                r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#,
                json!({ "message": "too long", "type": "BadRequestError", "code": 400 }),
            ),
            (
                r#"{"error":"too long"}"#,
                json!({ "message": "too long", "type": "invalid_request_error", "code": "ENDPOINT_NOT_REACHABLE" }),
            ),
        ] {
            assert_eq!(event(ErrorForm::Chat, body), json!({ "error": error }));
        }
        let own = r#"{"type":"error","error":{"type":"not_found_error","message":"no"}}"#;
        assert_eq!(event(ErrorForm::Messages, own), serde_json::from_str::<Value>(own).unwrap());
        assert_eq!(
            event(ErrorForm::Messages, "x"),
            json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "x" } })
        );
    }

    #[test]
    fn an_error_is_one_event_however_its_text_is_broken_into_lines() {
        let code = ErrorCode::EndpointNotReachable;
        let response = BrokenResponse { id: "resp_1", model: "m", sequence_number: 7, created_at: 1 };
        let chat = ErrorForm::Chat.event("a\n\nb", code);
        assert_eq!(ErrorForm::Responses.event("a\n\nb", code), chat);
        assert_eq!(ErrorForm::Ollama.event("a\n\nb", code), "{\"error\":\"a\\n\\nb\"}\n");
        for (event, name) in [
            (chat, None),
            (ErrorForm::Messages.event("a\n\nb", code), Some("error")),
            (response_failed(&response, "a\n\nb"), Some("response.failed")),
        ] {
            let mut decoder = sse::Decoder::new();
            decoder.push(event.as_bytes());
            let decoded = decoder.next_event().unwrap();
            assert_eq!((decoded.event.as_deref(), decoder.next_event()), (name, None));
            let data: serde_json::Value = serde_json::from_str(&decoded.data).unwrap();
            let error = if data["response"].is_null() { &data["error"] } else { &data["response"]["error"] };
            assert_eq!(error["message"], "a\n\nb", "{data}");
        }
    }
}
