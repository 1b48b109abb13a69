//! Builds the echo provider's response bodies in OpenAI's format. No I/O: equal requests give equal responses, except for id
//! and time.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::reply::Reply;
use super::tools;
use crate::proto::openai::{Members, same_model};
use crate::proto::translate::{ChatTranslator, ResponseTemplate, to_chat};

/// Start of every answer, so that it is not mistaken for a model's.
const PREFIX: &str = "This is gambi's echo provider; no model is behind it. You said:";
/// Length of an embedding vector.
const DIMENSIONS: usize = 8;

/// An error response in OpenAI's format.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    message: String,
    code: &'static str,
}

impl Refusal {
    /// `message` is a sentence for people, `code` is for programs.
    pub fn new(status: u16, message: &str, code: &'static str) -> Self {
        Refusal { status, message: message.to_owned(), code }
    }

    /// The response body.
    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": "invalid_request_error", "param": null, "code": self.code } })
    }
}

/// A request, with the members that all routes share.
pub struct EchoRequest<'a> {
    body: &'a Value,
    model: &'a str,
    stream: bool,
}

impl<'a> EchoRequest<'a> {
    /// Checks `model`, which must be `own`, and `stream`.
    ///
    /// # Errors
    /// 404 for another model, 400 for a member of the wrong type.
    pub fn new(body: &'a Value, own: &'a str) -> Result<Self, Refusal> {
        let bad = |message: &str| Refusal::new(400, message, "invalid_value");
        let model = body["model"].as_str().ok_or_else(|| bad("\"model\" must be given, as text"))?;
        if !same_model(model, own) {
            let message = format!("there is no model \"{model}\" here, only \"{own}\"");
            return Err(Refusal::new(404, &message, "model_not_found"));
        }
        match &body["stream"] {
            Value::Null => Ok(EchoRequest { body, model, stream: false }),
            Value::Bool(stream) => Ok(EchoRequest { body, model, stream: *stream }),
            _ => Err(bad("\"stream\" must be true or false")),
        }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}", now().as_nanos() as u64)
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The body of `GET /v1/models`.
pub fn models(model: &str) -> Value {
    json!({ "object": "list", "data": [{ "id": model, "object": "model", "created": 0, "owned_by": "gambi" }] })
}

/// The text of a message's content: a string, or the text parts of a list, joined by spaces.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// The text of the last message with the role `user`; empty if there is none.
fn last_user(messages: &[Value]) -> String {
    messages.iter().rev().find(|m| m["role"] == "user").map(|m| text(&m["content"])).unwrap_or_default()
}

fn echo(prompt: &str) -> String {
    format!("{PREFIX} {prompt}").trim_end().to_owned()
}

/// The number of words, which the provider reports as its number of tokens.
fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Splits an answer into the deltas of a stream: words, each with the space after it.
fn pieces(answer: &str) -> Vec<String> {
    answer.split_inclusive(' ').map(str::to_owned).collect()
}

/// `POST /v1/chat/completions`.
pub fn chat(request: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let messages = request.body["messages"].as_array().filter(|list| list.iter().all(Value::is_object));
    let messages =
        messages.ok_or_else(|| Refusal::new(400, "\"messages\" must be a list of objects", "invalid_value"))?;
    let text = echo(&last_user(messages));
    let prompt: usize = messages.iter().map(|m| words(&self::text(&m["content"]))).sum();
    let completion = words(&text);
    let completion = Completion {
        head: json!({ "id": request.id("chatcmpl-"), "created": now().as_secs(), "model": request.model }),
        text,
        call: tools::call(request.body),
        usage: json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion }),
    };
    if request.stream {
        Ok(Reply::Stream(completion.events(request.body["stream_options"]["include_usage"] == true)))
    } else {
        Ok(Reply::Whole(completion.whole()))
    }
}

/// An answered chat: a tool call if there is one, else the text.
struct Completion {
    /// The members that the whole object and each chunk have in common: `id`, `created`, `model`.
    head: Value,
    text: String,
    call: Option<Value>,
    usage: Value,
}

impl Completion {
    fn finish_reason(&self) -> &'static str {
        if self.call.is_some() { "tool_calls" } else { "stop" }
    }

    fn whole(&self) -> Value {
        let message = match &self.call {
            Some(call) => json!({ "role": "assistant", "content": null, "tool_calls": [call] }),
            None => json!({ "role": "assistant", "content": self.text }),
        };
        let choice = json!({ "index": 0, "message": message, "finish_reason": self.finish_reason() });
        with(&self.head, json!({ "object": "chat.completion", "choices": [choice], "usage": self.usage }))
    }

    fn events(&self, include_usage: bool) -> Vec<String> {
        let chunk = |body: Value| {
            let body = with(&json!({ "object": "chat.completion.chunk" }), body);
            format!("data: {}\n\n", with(&self.head, body))
        };
        let choice = |delta: Value, finish: Value| {
            chunk(json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }))
        };
        let mut events = vec![choice(json!({ "role": "assistant", "content": "" }), Value::Null)];
        match &self.call {
            Some(call) => {
                let call = with(call, json!({ "index": 0 }));
                events.push(choice(json!({ "tool_calls": [call] }), Value::Null));
            }
            None => events.extend(pieces(&self.text).iter().map(|p| choice(json!({ "content": p }), Value::Null))),
        }
        events.push(choice(json!({}), json!(self.finish_reason())));
        if include_usage {
            events.push(chunk(json!({ "choices": [], "usage": self.usage })));
        }
        events.push("data: [DONE]\n\n".into());
        events
    }
}

/// Adds the members of `head` to `object`.
fn with(head: &Value, mut object: Value) -> Value {
    if let (Some(object), Some(head)) = (object.as_object_mut(), head.as_object()) {
        object.extend(head.clone());
    }
    object
}

/// `POST /v1/responses`: the answer to the equivalent chat, translated as in the hub for providers without Responses.
pub fn response(request: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let refused = |e: &dyn fmt::Display| Refusal::new(400, &e.to_string(), "invalid_value");
    let body = request.body.to_string();
    let members = Members::parse(body.as_bytes()).map_err(|e| refused(&e))?;
    let chat_body = to_chat(&members).map_err(|e| refused(&e))?;
    let chat_body = serde_json::from_str(&chat_body).map_err(|e| refused(&e))?;
    let template = ResponseTemplate::new(&members, &request.id(""), now().as_secs());
    let mut response = ChatTranslator::responses(template, request.model, request.stream);
    match chat(&EchoRequest { body: &chat_body, ..*request })? {
        Reply::Whole(chat) => {
            response.push_whole(chat.to_string().as_bytes());
            serde_json::from_str(&response.into_body()).map(Reply::Whole).map_err(|e| refused(&e))
        }
        Reply::Stream(chunks) => Ok(Reply::Stream(response_events(response, &chunks))),
    }
}

/// Translates the events of a streamed chat into those of a streamed response.
fn response_events(mut response: ChatTranslator, chunks: &[String]) -> Vec<String> {
    let mut events = vec![response.take_events()];
    for chunk in chunks {
        let data = chunk.strip_prefix("data: ").unwrap_or(chunk);
        response.push(data.trim_end());
        events.push(response.take_events());
    }
    response.end();
    events.push(response.take_events());
    events.retain(|event| !event.is_empty());
    events
}

/// `POST /v1/embeddings`: a histogram of the text's bytes. Similar bytes give similar vectors; meaning plays no part.
pub fn embeddings(request: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let bad = || Refusal::new(400, "\"input\" must be text or a list of texts", "invalid_value");
    let texts: Vec<&str> = match &request.body["input"] {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    let base64 = request.body["encoding_format"] == "base64";
    let entry = |(index, text): (usize, &&str)| {
        let vector = vector(text);
        let embedding = if base64 {
            json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    let data: Vec<_> = texts.iter().enumerate().map(entry).collect();
    let tokens: usize = texts.iter().map(|text| words(text)).sum();
    Ok(Reply::Whole(json!({ "object": "list", "model": request.model, "data": data,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens } })))
}

/// Counts bytes by their value modulo [`DIMENSIONS`], and scales the vector to length 1.
fn vector(text: &str) -> [f32; DIMENSIONS] {
    let mut bins = [0f32; DIMENSIONS];
    for byte in text.bytes() {
        bins[usize::from(byte) % DIMENSIONS] += 1.0;
    }
    let length = bins.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 { bins.map(|x| x / length) } else { bins }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(make: fn(&EchoRequest<'_>) -> Result<Reply, Refusal>, body: Value) -> Result<Value, u16> {
        let made = EchoRequest::new(&body, "echo").and_then(|request| make(&request));
        match made {
            Ok(Reply::Whole(value)) => Ok(value),
            Ok(Reply::Stream(_)) => Err(200),
            Err(refusal) => Err(refusal.status),
        }
    }

    fn events(make: fn(&EchoRequest<'_>) -> Result<Reply, Refusal>, body: Value) -> Vec<Value> {
        let Ok(Reply::Stream(events)) = make(&EchoRequest::new(&body, "echo").unwrap()) else { panic!("no stream") };
        let mut decoder = crate::proto::sse::Decoder::new();
        events.iter().for_each(|e| decoder.push(e.as_bytes()));
        std::iter::from_fn(|| decoder.next_event()).filter_map(|e| serde_json::from_str(&e.data).ok()).collect()
    }

    #[test]
    fn a_chat_echoes_the_last_user_message_and_names_the_echo_provider() {
        let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "one two" },
            { "role": "assistant", "content": "x" }, { "role": "user", "content": [{ "type": "text", "text": "hi there" }] }] });
        let answer = whole(chat, body).unwrap();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("no model") && text.ends_with("hi there"), "{text}");
        assert_eq!(answer["usage"]["prompt_tokens"], 5);
    }

    #[test]
    fn a_streamed_chat_has_the_text_and_usage_of_the_whole_one() {
        let body = |stream| {
            json!({ "model": "echo", "stream": stream, "stream_options": { "include_usage": true },
            "messages": [{ "role": "user", "content": "a  b" }] })
        };
        let whole = whole(chat, body(false)).unwrap();
        let events = events(chat, body(true));
        let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
    }

    #[test]
    fn responses_are_whole_or_numbered_events() {
        let answer = whole(response, json!({ "model": "echo", "input": "hello" })).unwrap();
        for (name, value) in [("temperature", json!(1)), ("top_logprobs", json!(0)), ("store", json!(false))] {
            assert_eq!(answer[name], value, "{name}");
        }
        assert_eq!((&answer["completed_at"], &answer["safety_identifier"]), (&answer["created_at"], &Value::Null));
        assert!(answer["output"][0]["content"][0]["text"].as_str().unwrap().ends_with("hello"));
        let events = events(response, json!({ "model": "echo", "input": "hello", "stream": true }));
        assert!(events.iter().enumerate().all(|(n, e)| e["sequence_number"] == n));
        assert_eq!(events.last().unwrap()["response"]["output"], {
            let mut output = answer["output"].clone();
            output[0]["id"] = events.last().unwrap()["response"]["output"][0]["id"].clone();
            output
        });
    }

    #[test]
    fn embeddings_are_numbers_or_base64() {
        let numbers = whole(embeddings, json!({ "model": "echo", "input": ["a", "b"] })).unwrap();
        assert_eq!(numbers["data"][1]["embedding"].as_array().unwrap().len(), DIMENSIONS);
        let text = whole(embeddings, json!({ "model": "echo", "input": "a", "encoding_format": "base64" })).unwrap();
        assert_eq!(STANDARD.decode(text["data"][0]["embedding"].as_str().unwrap()).unwrap().len(), 4 * DIMENSIONS);
    }

    #[test]
    fn bad_requests_are_refused() {
        assert_eq!(whole(chat, json!({})), Err(400));
        assert_eq!(whole(chat, json!({ "model": "other", "messages": [] })), Err(404));
        assert_eq!(whole(chat, json!({ "model": "echo", "messages": "x" })), Err(400));
        assert_eq!(whole(chat, json!({ "model": "echo", "messages": [], "stream": 1 })), Err(400));
        assert_eq!(whole(response, json!({ "model": "echo" })), Err(400));
        assert_eq!(whole(embeddings, json!({ "model": "echo", "input": [1] })), Err(400));
        assert!(whole(chat, json!({ "model": "echo:latest", "messages": [] })).is_ok());
    }
}
