//! What the provider answers, in OpenAI's shapes. Pure: the same question has the same answer, but for its id and time.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::reply::Reply;
use crate::proto::openai::{Members, same_model};
use crate::proto::sse;
use crate::proto::translate::repeated;

/// How every answer begins, so that nobody takes it for a model's.
const PREFIX: &str = "This is gambi's echo provider; no model is behind it. You said:";
const DIMENSIONS: usize = 8;

/// A request that is refused, in OpenAI's shape.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    message: String,
    code: &'static str,
}

impl Refusal {
    /// A refusal with a sentence and a code.
    pub fn new(status: u16, message: &str, code: &'static str) -> Self {
        Refusal { status, message: message.to_owned(), code }
    }

    /// Its JSON.
    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": "invalid_request_error", "param": null, "code": self.code } })
    }
}

/// A request, with what all of them have.
pub struct EchoRequest<'a> {
    body: &'a Value,
    model: &'a str,
    stream: bool,
}

impl<'a> EchoRequest<'a> {
    /// Checks what every request must have.
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

/// The list of its one model.
pub fn models(model: &str) -> Value {
    json!({ "object": "list", "data": [{ "id": model, "object": "model", "created": 0, "owned_by": "gambi" }] })
}

/// Text as a request writes it: plain, or in parts of which some have a text.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// What the last user message of a list says.
fn last_user(messages: &[Value]) -> String {
    messages.iter().rev().find(|m| m["role"] == "user").map(|m| text(&m["content"])).unwrap_or_default()
}

fn echo(said: &str) -> String {
    format!("{PREFIX} {said}").trim_end().to_owned()
}

/// Tokens are words here.
fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// An answer cut into the pieces that a stream sends: words, each with the space before it.
fn pieces(answer: &str) -> Vec<String> {
    answer.split_inclusive(' ').map(str::to_owned).collect()
}

/// `POST /v1/chat/completions`.
pub fn chat(ask: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let messages = ask.body["messages"].as_array().filter(|list| list.iter().all(Value::is_object));
    let messages =
        messages.ok_or_else(|| Refusal::new(400, "\"messages\" must be a list of objects", "invalid_value"))?;
    let answer = echo(&last_user(messages));
    let prompt: usize = messages.iter().map(|m| words(&text(&m["content"]))).sum();
    let completion = words(&answer);
    let usage =
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion });
    let (id, created) = (ask.id("chatcmpl-"), now().as_secs());
    if !ask.stream {
        let message = json!({ "role": "assistant", "content": answer });
        return Ok(Reply::Whole(
            json!({ "id": id, "object": "chat.completion", "created": created, "model": ask.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": usage }),
        ));
    }
    let chunk = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": ask.model,
            "choices": choices });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let mut events = vec![chunk(delta(json!({ "role": "assistant", "content": "" }), Value::Null), None)];
    events.extend(pieces(&answer).iter().map(|p| chunk(delta(json!({ "content": p }), Value::Null), None)));
    events.push(chunk(delta(json!({}), json!("stop")), None));
    if ask.body["stream_options"]["include_usage"] == true {
        events.push(chunk(json!([]), Some(&usage)));
    }
    events.push("data: [DONE]\n\n".into());
    Ok(Reply::Stream(events))
}

/// `POST /v1/responses`.
pub fn response(ask: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let said = match &ask.body["input"] {
        Value::String(text) => text.clone(),
        Value::Array(items) => last_user(items),
        _ => return Err(Refusal::new(400, "\"input\" must be text or a list", "invalid_value")),
    };
    let answer = echo(&said);
    let (input, output) = (words(&said), words(&answer));
    let usage = json!({ "input_tokens": input, "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": output, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": input + output });
    let (id, item_id, created) = (ask.id("resp_"), ask.id("msg_"), now().as_secs());
    let body = ask.body.to_string();
    let asked = repeated(&Members::parse(body.as_bytes()).unwrap_or_default());
    let response = |status: &str, output: Value, usage: &Value| {
        let mut response = json!({ "id": id, "object": "response", "created_at": created, "status": status,
            "completed_at": (status == "completed").then_some(created), "model": ask.model, "output": output,
            "usage": usage, "error": null, "incomplete_details": null });
        for (name, json) in &asked {
            response[*name] = serde_json::from_str(json).unwrap_or_default();
        }
        response
    };
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    let item = |status: &str, content: Value| json!({ "type": "message", "id": item_id, "role": "assistant", "status": status, "content": content });
    let done_item = item("completed", json!([part(&answer)]));
    let done = response("completed", json!([done_item]), &usage);
    if !ask.stream {
        return Ok(Reply::Whole(done));
    }
    let begun = response("in_progress", json!([]), &Value::Null);
    let place = json!({ "item_id": item_id, "output_index": 0, "content_index": 0 });
    let mut events = Events::default();
    events.add("response.created", json!({ "response": begun }));
    events.add("response.in_progress", json!({ "response": begun }));
    events.add("response.output_item.added", json!({ "output_index": 0, "item": item("in_progress", json!([])) }));
    events.add_at("response.content_part.added", &place, json!({ "part": part("") }));
    for piece in pieces(&answer) {
        events.add_at("response.output_text.delta", &place, json!({ "delta": piece, "logprobs": [] }));
    }
    events.add_at("response.output_text.done", &place, json!({ "text": answer, "logprobs": [] }));
    events.add_at("response.content_part.done", &place, json!({ "part": part(&answer) }));
    events.add("response.output_item.done", json!({ "output_index": 0, "item": done_item }));
    events.add("response.completed", json!({ "response": done }));
    Ok(Reply::Stream(events.0))
}

/// The events of a Responses stream, each with its number.
#[derive(Default)]
struct Events(Vec<String>);

impl Events {
    fn add(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.0.len());
        self.0.push(sse::encode(kind, &data.to_string()));
    }

    fn add_at(&mut self, kind: &str, place: &Value, mut data: Value) {
        if let (Some(data), Some(place)) = (data.as_object_mut(), place.as_object()) {
            data.extend(place.clone());
        }
        self.add(kind, data);
    }
}

/// `POST /v1/embeddings`: a vector of the text's own bytes. Alike texts have alike vectors, and no more is claimed.
pub fn embeddings(ask: &EchoRequest<'_>) -> Result<Reply, Refusal> {
    let bad = || Refusal::new(400, "\"input\" must be text or a list of texts", "invalid_value");
    let texts: Vec<&str> = match &ask.body["input"] {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    let base64 = ask.body["encoding_format"] == "base64";
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
    Ok(Reply::Whole(json!({ "object": "list", "model": ask.model, "data": data,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens } })))
}

/// Byte counts in eight bins, of length one.
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
        let made = EchoRequest::new(&body, "echo").and_then(|ask| make(&ask));
        match made {
            Ok(Reply::Whole(value)) => Ok(value),
            Ok(Reply::Stream(_)) => Err(200),
            Err(refusal) => Err(refusal.status),
        }
    }

    fn events(make: fn(&EchoRequest<'_>) -> Result<Reply, Refusal>, body: Value) -> Vec<Value> {
        let Ok(Reply::Stream(events)) = make(&EchoRequest::new(&body, "echo").unwrap()) else { panic!("no stream") };
        let mut decoder = sse::Decoder::new();
        events.iter().for_each(|e| decoder.push(e.as_bytes()));
        std::iter::from_fn(|| decoder.next_event()).map(|e| serde_json::from_str(&e.data).unwrap_or_default()).collect()
    }

    #[test]
    fn a_chat_echoes_the_last_user_message_and_says_that_it_does() {
        let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "one two" },
            { "role": "assistant", "content": "x" }, { "role": "user", "content": [{ "type": "text", "text": "hi there" }] }] });
        let answer = whole(chat, body).unwrap();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("no model") && text.ends_with("hi there"), "{text}");
        assert_eq!(answer["usage"]["prompt_tokens"], 5);
    }

    #[test]
    fn a_stream_says_the_same_as_the_whole() {
        let body = |stream| {
            json!({ "model": "echo", "stream": stream, "stream_options": { "include_usage": true },
            "messages": [{ "role": "user", "content": "a  b" }] })
        };
        let whole = whole(chat, body(false)).unwrap();
        let events = events(chat, body(true));
        let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(events[events.len() - 2]["usage"], whole["usage"]);
    }

    #[test]
    fn responses_come_whole_and_as_numbered_events() {
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
    fn embeddings_come_as_numbers_or_base64() {
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
