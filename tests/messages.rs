//! Anthropic's Messages API: passed through where the provider has it, translated to a chat and back where it has not.

mod support;

use std::process::Command;

use gambi::participant::Session;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, Script, TestHub, chat_chunks, python, skip, tool_call};

fn join(hub: &TestHub, room: &str, provider: &FakeProvider) -> Session {
    Session::builder(hub.url(), room).participant_id("ann").model("m").endpoint(provider.url()).start().unwrap()
}

/// A provider without Messages.
fn chat_only(chat: Script) -> FakeProvider {
    let provider = FakeProvider::start(chat);
    provider.set_path("/v1/messages", Script::Missing);
    provider.set_path("/v1/messages/count_tokens", Script::Missing);
    provider
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn hello(stream: bool) -> Value {
    json!({ "model": "any", "max_tokens": 100, "stream": stream, "system": "Be brief.",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hi" }] }] })
}

#[test]
fn a_providers_own_messages_pass_untouched() {
    let hub = TestHub::start();
    let room = hub.room();
    let own = json!({ "id": "msg_own", "type": "message", "content": [] });
    let provider = FakeProvider::start(Script::json(200, &own));
    let _session = join(&hub, &room, &provider);
    let made = hub.post(&format!("/rooms/{room}/v1/messages?beta=true"), &hello(false)).expect(200);
    assert_eq!(made.json(), own);
    assert_eq!(provider.wait_for_request(1).path, "/v1/messages");
}

#[test]
fn a_chat_only_provider_answers_messages_whole_and_is_asked_directly_from_then_on() {
    let hub = TestHub::start();
    let room = hub.room();
    let chat = json!({ "model": "qwen", "choices": [{ "finish_reason": "stop",
        "message": { "role": "assistant", "reasoning_content": "Hm.", "content": "Hello" } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5 } });
    let provider = chat_only(Script::json(200, &chat));
    let _session = join(&hub, &room, &provider);
    let path = format!("/rooms/{room}/v1/messages");
    let made = hub.post(&path, &hello(false)).expect(200).json();
    assert_eq!(
        made["content"],
        json!([{ "type": "thinking", "thinking": "Hm.", "signature": "" }, { "type": "text", "text": "Hello" }])
    );
    assert_eq!((&made["stop_reason"], &made["usage"]["input_tokens"]), (&json!("end_turn"), &json!(3)));
    hub.post(&path, &hello(false)).expect(200);
    let seen = provider.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/v1/messages", "/v1/chat/completions", "/v1/chat/completions"]);
    let sent: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(sent["messages"][0], json!({ "role": "system", "content": "Be brief." }));
    assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("m"), &json!(100)));
}

#[test]
fn a_chat_only_providers_stream_becomes_the_messages_events() {
    let hub = TestHub::start();
    let room = hub.room();
    let call = tool_call("f", r#"{"x":1}"#);
    let deltas = [json!({ "content": "Let" }), json!({ "content": " me" }), call, json!({ "finish": "tool_calls" })];
    let provider = chat_only(Script::Stream(chat_chunks(&deltas)));
    let _session = join(&hub, &room, &provider);
    let answer = hub.post(&format!("/rooms/{room}/v1/messages"), &hello(true)).expect(200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = events(&answer.text());
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"message_start"));
    assert_eq!(kinds.last(), Some(&"message_stop"));
    let started = |kind: &str| events.iter().find(|event| event["content_block"]["type"] == kind).unwrap().clone();
    assert_eq!(
        started("tool_use")["content_block"],
        json!({ "type": "tool_use", "id": "c1", "name": "f", "input": {} })
    );
    assert_eq!(started("text")["index"], 0);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn errors_on_these_routes_have_anthropics_shape_whoever_makes_them() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::json(400, &json!({ "error": { "message": "too long", "code": "x" } })));
    let _session = join(&hub, &room, &provider);
    let path = format!("/rooms/{room}/v1/messages");
    let error = hub.post(&path, &hello(false)).expect(400).json();
    assert_eq!(error, json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "too long" } }));
    let unknown = json!({ "model": "any", "messages": [{ "role": "robot", "content": "x" }] });
    let error = hub.post(&path, &unknown).expect(400).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("robot"), "{error}");
    let absent = hub.post("/rooms/NOROOM/v1/messages", &hello(false)).expect(404).json();
    assert_eq!(absent["error"]["type"], "not_found_error");
}

#[test]
fn a_stream_that_is_cut_ends_with_an_error_event() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut cut = chat_chunks(&[json!({ "content": "Hel" })]);
    cut.pop();
    for script in [Script::Stream(cut.clone()), Script::StreamAndDie(cut)] {
        let provider = chat_only(script);
        let _session = join(&hub, &room, &provider);
        let mut conn = Conn::open(hub.addr());
        let body = hello(true).to_string();
        conn.ask("POST", &format!("/rooms/{room}/v1/messages"), &[("Connection", "close")], Some(&body));
        assert_eq!(conn.head().status, 200);
        let text = String::from_utf8(conn.rest()).unwrap();
        assert!(text.contains("event: error\n") && !text.contains("message_stop"), "{text}");
    }
}

#[test]
fn the_tokens_of_a_request_are_estimated_where_the_provider_counts_none() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::Echo);
    let _session = join(&hub, &room, &provider);
    let path = format!("/rooms/{room}/v1/messages/count_tokens");
    let body = json!({ "model": "any", "messages": [{ "role": "user", "content": "x".repeat(4000) }] });
    let counted = hub.post(&path, &body).expect(200);
    assert_eq!(counted.header("x-gambi-estimated"), Some("true"));
    assert!((1000..1100).contains(&counted.json()["input_tokens"].as_u64().unwrap()));
    let provider = FakeProvider::start(Script::json(200, &json!({ "input_tokens": 7 })));
    let _other = join(&hub, &room, &provider);
    let counted = hub.post(&path, &body).expect(200);
    assert_eq!((counted.header("x-gambi-estimated"), &counted.json()["input_tokens"]), (None, &json!(7)));
}

#[test]
fn an_event_of_megabytes_arrives_and_one_that_is_too_long_fails() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::Echo);
    let _session = join(&hub, &room, &provider);
    let ask = |length: usize| {
        let call = tool_call("draw", &json!({ "data": "x".repeat(length) }).to_string());
        provider.set(Script::Stream(chat_chunks(&[call, json!({ "finish": "tool_calls" })])));
        hub.post(&format!("/rooms/{room}/v1/messages"), &hello(true)).text()
    };
    let arrived = ask(5 << 20);
    assert!(arrived.len() > 5 << 20 && arrived.contains("message_stop"), "{} bytes", arrived.len());
    let failed = ask(17 << 20);
    assert!(failed.contains("event: error") && !failed.contains("message_stop"), "{} bytes", failed.len());
}

#[test]
fn a_provider_that_counts_no_tokens_keeps_its_own_messages() {
    let hub = TestHub::start();
    let room = hub.room();
    let own = json!({ "id": "msg_own", "type": "message", "content": [] });
    let provider = FakeProvider::start(Script::json(200, &own));
    provider.set_path("/v1/messages/count_tokens", Script::Missing);
    let _session = join(&hub, &room, &provider);
    let path = format!("/rooms/{room}/v1/messages");
    for _ in 0..2 {
        let counted = hub.post(&format!("{path}/count_tokens"), &hello(false)).expect(200);
        assert_eq!(counted.header("x-gambi-estimated"), Some("true"));
        assert_eq!(hub.post(&path, &hello(false)).expect(200).json(), own);
    }
    let paths: Vec<String> = provider.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/messages/count_tokens", "/v1/messages", "/v1/messages"]);
}

/// The requests of a session of Claude Code, by their shapes: it looks whether the base is there, counts, asks with tools it
/// runs itself and tools of Anthropic's servers, and goes on with what a tool said.
#[test]
fn a_coding_agents_sequence_of_requests_works_on_a_chat_only_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let call = tool_call("Bash", r#"{"command":"ls"}"#);
    let provider = chat_only(Script::Stream(chat_chunks(&[call, json!({ "finish": "tool_calls" })])));
    let _session = join(&hub, &room, &provider);
    for base in [format!("/rooms/{room}"), format!("/rooms/{room}/"), format!("/rooms/{room}/v1")] {
        let head = Conn::open(hub.addr()).ask("HEAD", &base, &[("Connection", "close")], None).head();
        assert_eq!(head.status, 200, "{base}");
    }
    let mut body = json!({
        "model": "any", "max_tokens": 32000, "stream": true, "metadata": { "user_id": "user_1" },
        "thinking": { "type": "adaptive" }, "context_management": { "edits": [] }, "output_config": { "effort": "high" },
        "system": [{ "type": "text", "text": "You are an agent.", "cache_control": { "type": "ephemeral" } }],
        "tools": [{ "name": "Bash", "description": "Runs a command", "input_schema": { "type": "object" } },
            { "type": "web_search_20250305", "name": "web_search", "max_uses": 8 }],
        "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "<system-reminder>Today.</system-reminder>" },
            { "type": "text", "text": "List the files", "cache_control": { "type": "ephemeral" } }] }],
    });
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("x-api-key", "sk-unused"),
        ("x-stainless-lang", "js"),
        ("Connection", "close"),
    ];
    let ask = |body: &Value| {
        let path = format!("/rooms/{room}/v1/messages?beta=true");
        let answer = Conn::open(hub.addr()).ask("POST", &path, &headers, Some(&body.to_string())).answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        events(&answer.text())
    };
    let first = ask(&body);
    let tool = first.iter().find(|event| event["content_block"]["type"] == "tool_use").unwrap();
    provider.set(Script::Stream(chat_chunks(&[json!({ "content": "Two files." }), json!({ "finish": "stop" })])));
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": tool["content_block"]["id"],
        "name": "Bash", "input": { "command": "ls" } }] }));
    turns
        .push(json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": tool["content_block"]["id"],
        "content": "a\nb", "is_error": false }] }));
    let second = ask(&body);
    assert!(second.iter().any(|event| event["delta"]["text"] == "Two files."));
    let sent: Value = serde_json::from_str(&provider.seen().last().unwrap().body).unwrap();
    let roles: Vec<&str> = sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(sent["tools"].as_array().unwrap().len(), 1, "the server's own tool is left out");
}

const ANTHROPIC: &str = r#"
import sys
import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="unused", max_retries=0)
tools = [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
ask = {"model": "any", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}

whole = client.messages.create(**ask)
text = "".join(block.text for block in whole.content)
assert text and whole.stop_reason == "end_turn" and whole.usage.output_tokens > 0, whole
with client.messages.stream(**ask) as stream:
    assert "".join(stream.text_stream) == text
    assert stream.get_final_message().usage.input_tokens > 0
call = client.messages.create(**ask, tools=tools).content[0]
assert call.type == "tool_use" and call.name == "f" and isinstance(call.input, dict), call
with client.messages.stream(**ask, tools=tools) as stream:
    final = stream.get_final_message()
assert final.stop_reason == "tool_use" and final.content[0].name == "f", final
assert client.messages.count_tokens(model="any", messages=ask["messages"]).input_tokens > 0
try:
    client.messages.create(**{**ask, "model": "none"})
    raise SystemExit("a model that is not there was answered")
except anthropic.NotFoundError as error:
    assert "No available participant" in str(error), error
print("all well")
"#;

#[test]
fn the_anthropic_package_chats_streams_and_calls_tools_on_a_chat_only_provider() {
    let python = match python("anthropic") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's anthropic package: {why}")),
    };
    let hub = TestHub::start();
    let room = hub.room();
    let echo =
        gambi::provider::Provider::bind(gambi::provider::ProviderOptions { port: 0, ..Default::default() }).unwrap();
    let endpoint = format!("http://{}", echo.addr());
    let _session =
        Session::builder(hub.url(), &room).participant_id("echo").model("echo").endpoint(endpoint).start().unwrap();
    let base = format!("{}/rooms/{room}", hub.url());
    let output = Command::new(python).args(["-c", ANTHROPIC, &base]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n", "{}", String::from_utf8_lossy(&output.stderr));
}
