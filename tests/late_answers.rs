//! Answers that come after the comments that keep a waiting stream alive have sent its head: without a stream, or with an error.

mod support;

use std::time::Duration;

use gambi::participant::Session;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, Response, Script, TestHub};

fn start() -> (TestHub, String, FakeProvider, Session) {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(20));
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let session = hub.join(&room, "ann", &provider);
    (hub, room, provider, session)
}

/// The answer to a request for a stream that begins with a comment.
fn ask(hub: &TestHub, path: &str, provider: &FakeProvider, script: Script) -> Response {
    provider.set(Script::Held(Box::new(script)));
    let mut conn = Conn::open(hub.addr());
    let body = json!({ "model": "any", "stream": true, "messages": [], "input": "Hi" }).to_string();
    conn.ask("POST", path, &[], Some(&body));
    let head = conn.head();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(conn.chunk().unwrap().starts_with(b":"));
    provider.release();
    conn.body_of(head).expect(200)
}

/// The data of a stream's events.
fn data(answer: &Response) -> Vec<String> {
    let text = answer.text();
    text.lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect()
}

fn json_of(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_else(|_| panic!("{data}"))
}

#[test]
fn a_whole_chat_becomes_events() {
    let (hub, room, provider, _session) = start();
    let events = hub.watch_room(&room);
    let path = format!("/rooms/{room}/v1/chat/completions");
    // As long as no other answer is that is buffered.
    for text in ["Hello".to_owned(), "x".repeat(1 << 20)] {
        let message = json!({ "role": "assistant", "content": text, "reasoning_content": "Hm.",
            "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] });
        let whole = json!({ "id": "c", "object": "chat.completion", "model": "m",
            "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": message }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 } });
        let body = serde_json::to_string_pretty(&whole).unwrap();
        let answer =
            ask(&hub, &path, &provider, Script::Answer { status: 200, kind: "application/json", body: body.clone() });
        assert!(answer.whole && answer.text().contains(": answered by ann\n"));
        let data = data(&answer);
        let [first, last, done] = &data[..] else { panic!("{}", data.len()) };
        let (first, last) = (json_of(first), json_of(last));
        let delta = &first["choices"][0]["delta"];
        assert_eq!((&delta["content"], &delta["reasoning_content"]), (&json!(text), &json!("Hm.")));
        assert_eq!((&delta["role"], &delta["tool_calls"][0]["index"]), (&json!("assistant"), &json!(0)));
        assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(last["choices"][0], json!({ "index": 0, "delta": {}, "finish_reason": "tool_calls" }));
        assert_eq!((&last["usage"], &last["object"]), (&whole["usage"], &json!("chat.completion.chunk")));
        assert_eq!(done, "[DONE]");
        assert_eq!(events.next("llm.complete")["metrics"]["totalTokens"], 8);
        // While nothing has been sent it passes as it came.
        provider.release();
        provider.set(Script::Answer { status: 200, kind: "application/json", body: body.clone() });
        assert_eq!(hub.stream(&room, "any").answer().text(), body);
        events.next("llm.complete");
    }
}

#[test]
fn a_whole_text_becomes_an_event() {
    let (hub, room, provider, _session) = start();
    let whole =
        json!({ "object": "text_completion", "choices": [{ "index": 0, "text": "Hello", "finish_reason": "stop" }] });
    let answer = ask(&hub, &format!("/rooms/{room}/v1/completions"), &provider, Script::json(200, &whole));
    assert!(answer.whole);
    assert_eq!(data(&answer), [whole.to_string(), "[DONE]".into()]);
}

#[test]
fn an_answer_that_cannot_become_events_is_an_error() {
    let (hub, room, provider, _session) = start();
    let path = format!("/rooms/{room}/v1/chat/completions");
    let long = json!({ "choices": [{ "message": { "content": "x".repeat(5 << 20) } }] });
    for (body, reason) in [(json!({ "results": [] }), "200 without a stream"), (long, "its answer is no stream")] {
        let answer = ask(&hub, &path, &provider, Script::json(200, &body));
        let data = data(&answer);
        assert!(!answer.whole && data.len() == 1, "{}", data.len());
        assert!(json_of(&data[0])["error"]["message"].as_str().unwrap().contains(reason), "{data:?}");
    }
}

#[test]
fn a_late_error_is_told_in_the_providers_words() {
    let (hub, room, provider, _session) = start();
    let error = json!({ "message": "the prompt is too long", "type": "exceed_context_size_error", "code": 400 });
    let script = Script::json(400, &json!({ "error": error }));
    for route in ["chat/completions", "responses"] {
        let answer = ask(&hub, &format!("/rooms/{room}/v1/{route}"), &provider, script.clone());
        assert!(!answer.whole);
        let told: Vec<_> = data(&answer).iter().map(|data| json_of(data)).collect();
        assert_eq!(told, [json!({ "error": error })], "{route}");
    }
    let own = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "too long" } });
    let answer = ask(&hub, &format!("/rooms/{room}/v1/messages"), &provider, Script::json(400, &own));
    assert!(!answer.whole && answer.text().contains("event: error\n"));
    assert_eq!(data(&answer).iter().map(|data| json_of(data)).collect::<Vec<_>>(), [own]);
}
