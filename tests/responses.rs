//! The Responses API: native, put together from chats, and asked about afterwards; and the routes that pass through.

mod support;

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use gambi::participant::Session;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, Response, Script, TestHub};

fn join(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) -> Session {
    Session::builder(hub.url(), room).participant_id(id).model("m").endpoint(provider.url()).start().unwrap()
}

fn whole(body: &Value) -> Script {
    Script::json(200, body)
}

fn respond(hub: &TestHub, room: &str, body: &Value) -> Response {
    hub.post(&format!("/rooms/{room}/v1/responses"), body)
}

fn chat_answer() -> Value {
    json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [{ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": "Hello" } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 } })
}

/// A provider that speaks only chat, and whose probe says so.
fn chat_only(chat: Script) -> FakeProvider {
    let provider = FakeProvider::start(chat);
    provider.set_path("/v1/responses", Script::Missing);
    provider
}

#[test]
fn a_native_response_passes_and_can_be_asked_for_later() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider =
        FakeProvider::start(whole(&json!({ "output": [{ "id": "msg_1" }], "id": "resp_1", "object": "response" })));
    let _session = join(&hub, &room, "ann", &provider);
    let events = hub.watch_room(&room);
    let made = respond(&hub, &room, &json!({ "model": "any", "input": "Hi", "own": [1, 2] })).expect(200);
    assert_eq!(made.json()["id"], "resp_1");
    assert_eq!(events.next("llm.request")["protocol"], "openResponses");
    let seen = provider.wait_for_request(1);
    assert_eq!(
        (seen.path.as_str(), seen.body.as_str()),
        ("/v1/responses", r#"{"input":"Hi","model":"m","own":[1,2]}"#)
    );

    let base = format!("/rooms/{room}/v1/responses/resp_1");
    assert_eq!(hub.get(&format!("{base}?include[]=x&stream=false")).status, 200);
    assert_eq!(hub.get(&format!("{base}/input_items?limit=2&after=a%20b")).status, 200);
    let cancel =
        Conn::open(hub.addr()).ask("POST", &format!("{base}/cancel"), &[("Connection", "close")], None).answer();
    assert_eq!(cancel.status, 200);
    assert_eq!(hub.delete(&base).status, 200);
    let asked: Vec<(String, String)> =
        provider.seen()[1..].iter().map(|s| (s.method.clone(), s.path.clone())).collect();
    let expected = [
        ("GET", "/v1/responses/resp_1?include[]=x&stream=false"),
        ("GET", "/v1/responses/resp_1/input_items?limit=2&after=a%20b"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1"),
    ];
    assert_eq!(asked, expected.map(|(m, p)| (m.to_owned(), p.to_owned())));
    assert_eq!(hub.get(&format!("/rooms/{room}/v1/responses/unknown")).status, 404);
    assert_eq!(
        hub.get(&format!("/rooms/{}/v1/responses/resp_1", hub.room())).status,
        404,
        "rooms do not share responses"
    );
    drop(_session);
    assert_eq!(hub.get(&base).status, 404, "gone with its participant");
}

/// What a JavaScript client sends that has cut a text within an emoji, and what a server sends that splits one.
const HALF: &str = "\\ud83d";

#[test]
fn half_of_a_surrogate_pair_takes_no_text_with_it_into_another_form() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(whole(&chat_answer()));
    let _session = join(&hub, &room, "ann", &provider);
    let post = |path: &str, body: &str| {
        let path = format!("/rooms/{room}/v1/{path}");
        Conn::open(hub.addr()).ask("POST", &path, &[], Some(&body.replace('~', HALF))).answer()
    };
    let said = |number: usize| serde_json::from_str::<Value>(&provider.wait_for_request(number).body).unwrap();
    let body = r#"{"model":"any","instructions":"be ~","input":[{"role":"user","content":"a~ b"},
        {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"1","output":"c~"}],"tools":[{"type":"function","name":"f"}]}"#;
    post("responses", body).expect(200);
    let messages = &said(1)["messages"];
    assert_eq!((&messages[0]["content"], &messages[1]["content"]), (&json!("be \u{fffd}"), &json!("a\u{fffd} b")));
    assert_eq!(messages[3]["content"], "c\u{fffd}");
    let chunk = |content: &str| {
        format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{content}"}}}}]}}"#).replace('~', HALF) + "\n\n"
    };
    let done = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned() + "\n\n";
    provider.set(Script::Stream(vec![chunk("hello ~"), chunk("a\u{1}b"), done]));
    let answer = post("responses", r#"{"model":"any","stream":true,"input":"Hi"}"#).expect(200);
    assert!(answer.text().contains("hello \u{fffd}a\\u0001b"), "{}", answer.text());
    let whole = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"x~"},"finish_reason":"stop"}]}"#;
    provider.set(Script::Answer { status: 200, kind: "application/json", body: whole.replace('~', HALF) });
    let answer = post("responses", r#"{"model":"any","input":"Hi"}"#).expect(200);
    assert_eq!(answer.json()["output"][0]["content"][0]["text"], "x\u{fffd}");
}

#[test]
fn a_chat_with_an_event_that_cannot_be_read_is_no_complete_response() {
    let hub = TestHub::start();
    let room = hub.room();
    let torn = vec!["data: {\"choices\":[{\"del\n\n".to_owned(), "data: [DONE]\n\n".to_owned()];
    let provider = chat_only(Script::Stream(torn));
    let _session = join(&hub, &room, "ann", &provider);
    let path = format!("/rooms/{room}/v1/responses");
    let body = json!({ "model": "any", "stream": true, "input": "Hi" }).to_string();
    let text = Conn::open(hub.addr()).ask("POST", &path, &[], Some(&body)).answer().text();
    assert!(text.contains("event: response.failed") && text.contains("cannot be read"), "{text}");
}

#[test]
fn a_response_that_continues_another_goes_to_the_participant_that_stores_it() {
    let hub = TestHub::start();
    let room = hub.room();
    let providers = [1, 2, 3].map(|number| {
        FakeProvider::start(whole(&json!({ "id": format!("resp_{number}"), "object": "response", "output": [] })))
    });
    let ids = ["ann", "bob", "cat"];
    let _sessions: Vec<_> = ids.iter().zip(&providers).map(|(id, provider)| join(&hub, &room, id, provider)).collect();
    for id in ids {
        respond(&hub, &room, &json!({ "model": id, "input": "Hi" })).expect(200);
    }
    for number in [3, 1, 2, 2, 3, 1] {
        let next = json!({ "model": "any", "input": "And?", "previous_response_id": format!("resp_{number}") });
        let answer = respond(&hub, &room, &next).expect(200);
        assert_eq!(answer.header("X-Gambi-Participant"), Some(ids[number - 1]));
    }
    // Only the participant that is named can say that it stores no such response.
    let other = json!({ "model": "ann", "input": "And?", "previous_response_id": "resp_2" });
    assert_eq!(respond(&hub, &room, &other).expect(200).header("X-Gambi-Participant"), Some("ann"));
}

#[test]
fn a_native_stream_passes_and_its_response_can_be_cancelled_meanwhile() {
    let hub = TestHub::start();
    let room = hub.room();
    let first = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_2\"}}\n\n";
    let provider = FakeProvider::start(whole(&json!({})));
    provider.set_path("/v1/responses", Script::StreamAndHang(vec![first.into()]));
    let _session = join(&hub, &room, "ann", &provider);
    let mut conn = Conn::open(hub.addr());
    let body = json!({ "model": "any", "input": [], "stream": true }).to_string();
    conn.ask("POST", &format!("/rooms/{room}/v1/responses"), &[], Some(&body));
    assert_eq!(conn.head().header("content-type"), Some("text/event-stream"));
    assert_eq!(conn.chunk().unwrap(), first.as_bytes());
    // It is busy, but cancelling does not wait in line for what it cancels.
    let path = format!("/rooms/{room}/v1/responses/resp_2/cancel");
    let cancel = Conn::open(hub.addr()).ask("POST", &path, &[("Connection", "close")], None).answer();
    assert_eq!(cancel.status, 200);
}

#[test]
fn a_chat_only_provider_answers_responses_whole() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(whole(&chat_answer()));
    let _session = join(&hub, &room, "ann", &provider);
    assert_eq!(hub.participant(&room, "ann")["capabilities"]["openResponses"], "unsupported");
    let events = hub.watch_room(&room);
    let asked = json!({ "model": "any", "input": "Hi", "instructions": "Be brief.", "max_output_tokens": 9, "metadata": { "k": "v" } });
    let answer = respond(&hub, &room, &asked).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let answer = answer.json();
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with("resp_"));
    assert_eq!(
        (&answer["object"], &answer["status"], &answer["output_text"]),
        (&json!("response"), &json!("completed"), &json!("Hello"))
    );
    assert_eq!((&answer["metadata"], &answer["usage"]["output_tokens"]), (&json!({ "k": "v" }), &json!(5)));
    let seen = provider.wait_for_request(1);
    assert_eq!(seen.path, "/v1/chat/completions");
    let sent: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        sent["messages"],
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }])
    );
    assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("m"), &json!(9)));
    let done = events.next("llm.complete");
    assert_eq!((&done["protocol"], &done["metrics"]["totalTokens"]), (&json!("openResponses"), &json!(8)));
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")] {
        let path = format!("/rooms/{room}/v1/responses/{id}{rest}");
        let answer = Conn::open(hub.addr()).ask(method, &path, &[("Connection", "close")], None).answer();
        let refused = answer.expect(501).json();
        assert!(refused["error"].as_str().unwrap().contains("chat/completions fallback"), "{method} {rest}: {refused}");
    }
    let refused =
        respond(&hub, &room, &json!({ "model": "any", "input": "x", "previous_response_id": "resp_1" })).expect(400);
    assert!(refused.json()["error"].as_str().unwrap().contains("previous_response_id"));
    provider.set(Script::Answer {
        status: 400,
        kind: "application/json",
        body: r#"{"error":{"message":"too long"}}"#.into(),
    });
    assert_eq!(respond(&hub, &room, &asked).expect(400).text(), r#"{"error":{"message":"too long"}}"#);
    provider.set(Script::Answer { status: 200, kind: "text/html", body: "<p>".into() });
    assert_eq!(respond(&hub, &room, &asked).status, 502);
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }))
}

fn stream(hub: &TestHub, room: &str) -> Response {
    respond(hub, room, &json!({ "model": "any", "input": "Hi", "stream": true }))
}

#[test]
fn a_chat_only_provider_answers_responses_streamed() {
    let hub = TestHub::start();
    let room = hub.room();
    let pieces = vec![
        chunk(&json!({ "content": "Hel" }), None),
        chunk(&json!({ "content": "lo" }), None),
        chunk(&json!({}), Some("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let provider = chat_only(Script::Stream(pieces.clone()));
    let _session = join(&hub, &room, "ann", &provider);
    let answer = stream(&hub, &room);
    assert_eq!((answer.status, answer.header("content-type"), answer.whole), (200, Some("text/event-stream"), true));
    let text = answer.text();
    assert!(
        text.starts_with("event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,"),
        "{text}"
    );
    assert!(text.contains("\"output_text\":\"Hello\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let sent: Value = serde_json::from_str(&provider.wait_for_request(1).body).unwrap();
    assert_eq!(sent["stream_options"], json!({ "include_usage": true }));

    // A provider that does not stream though it was asked to.
    provider.set(whole(&chat_answer()));
    let text = stream(&hub, &room).text();
    assert!(text.contains("response.output_text.delta") && text.contains("response.completed"), "{text}");

    // One that breaks off: the client learns of it.
    let events = hub.watch_room(&room);
    provider.set(Script::StreamAndDie(pieces[..1].to_vec()));
    let broken = stream(&hub, &room);
    assert!(broken.text().contains("event: response.failed\n") && !broken.whole);
    assert_eq!(events.next("llm.error")["stage"], "stream");

    // One that says in mid-stream that it can't go on.
    provider
        .set(Script::Stream(vec![pieces[0].clone(), "data: {\"error\":{\"message\":\"out of memory\"}}\n\n".into()]));
    let failed = stream(&hub, &room).text();
    assert!(failed.contains("event: response.failed\n") && failed.contains("out of memory"), "{failed}");
}

#[test]
fn a_provider_that_turns_out_to_have_no_responses_is_asked_for_chats_from_then_on() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(whole(&chat_answer()));
    let _session = join(&hub, &room, "ann", &provider);
    assert_eq!(hub.participant(&room, "ann")["capabilities"]["openResponses"], "supported");
    provider.set_path("/v1/responses", Script::Missing);
    let events = hub.watch_room(&room);
    for _ in 0..2 {
        let answer = respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })).expect(200);
        assert_eq!(answer.json()["output_text"], "Hello");
        events.next("llm.request");
        events.next("llm.complete");
    }
    let paths: Vec<String> = provider.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]);
}

#[test]
fn what_neither_the_provider_nor_the_fallback_can_serve_is_a_501_that_names_the_fallback() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::Echo);
    provider.set_path("/v1/chat/completions", Script::Missing);
    let _session = join(&hub, &room, "ann", &provider);
    for refused in [respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })), hub.chat(&room, "ann")] {
        let refused = refused.expect(501).json();
        assert!(refused["error"].as_str().unwrap().contains("chat/completions fallback"), "{refused}");
    }
}

#[test]
fn other_routes_pass_through_by_the_same_selector() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    let events = hub.watch_room(&room);
    for route in ["embeddings", "completions", "rerank", "messages", "messages/count_tokens"] {
        let path = format!("/rooms/{room}/v1/{route}");
        let headers = [("anthropic-version", "2023-06-01"), ("x-api-key", "s3cret"), ("Connection", "close")];
        let body = r#"{"model":"model:m","input":[1, 2],"big":12345678901234567890123}"#;
        let answer = Conn::open(hub.addr()).ask("POST", &path, &headers, Some(body)).answer().expect(200);
        assert_eq!(answer.text(), r#"{"model":"m","input":[1, 2],"big":12345678901234567890123}"#);
        let seen = provider.seen().pop().unwrap();
        assert_eq!(
            (seen.path.as_str(), seen.header("anthropic-version")),
            (format!("/v1/{route}").as_str(), Some("2023-06-01"))
        );
        assert!(seen.header("x-api-key").is_none(), "a client's key is no business of the provider's");
        events.next("llm.complete");
        for bad in ["{}", "[]", "x", r#"{"model":5}"#] {
            assert_eq!(
                Conn::open(hub.addr()).ask("POST", &path, &[("Connection", "close")], Some(bad)).answer().status,
                400
            );
        }
    }
    let stream = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
                  event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n";
    provider.set(Script::Stream(vec![stream.into()]));
    let body = json!({ "model": "any", "stream": true, "messages": [] });
    assert_eq!(hub.post(&format!("/rooms/{room}/v1/messages"), &body).text(), stream);
    let metrics = events.next("llm.complete")["metrics"].clone();
    assert_eq!((&metrics["inputTokens"], &metrics["outputTokens"]), (&json!(3), &json!(9)));
}

#[test]
fn one_model_can_be_asked_for_by_any_name() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    for name in ["ann", "m", "model:m", "any", "*", "m:latest"] {
        let model = hub.get(&format!("/rooms/{room}/v1/models/{name}")).expect(200).json();
        assert_eq!((&model["id"], &model["object"]), (&json!("ann"), &json!("model")), "{name}");
    }
    assert_eq!(hub.get(&format!("/rooms/{room}/v1/models/bob")).expect(404).json()["code"], "MODEL_NOT_FOUND");
}

#[test]
fn an_answer_without_end_is_put_into_another_form_only_as_far_as_the_memory_goes() {
    let hub = TestHub::limited(|limits| limits.memory = 1 << 20);
    let room = hub.room();
    let provider = chat_only(Script::Endless(chunk(&json!({ "content": "x".repeat(1000) }), None)));
    let _session = join(&hub, &room, "ann", &provider);
    let broken = stream(&hub, &room);
    assert!(broken.text().contains("event: response.failed\n") && !broken.whole);
    assert!(broken.text().contains("longer than the hub has memory for"));
    let refused = respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })).expect(502);
    assert!(refused.text().contains("longer than the hub has memory for"));
    support::wait_until("the provider to be told", || provider.abandoned() == 2);
    // Many small pieces take more than their texts do.
    let both = chunk(&json!({ "content": "x" }), None) + &chunk(&json!({ "reasoning": "y" }), None);
    provider.set(Script::Endless(both));
    assert_eq!(respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })).status, 502);
    // And all of it is given back, soon after the refusal has been sent.
    provider.set(whole(&chat_answer()));
    let served = || respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })).status == 200;
    support::wait_until("the memory to be free", served);
}

#[test]
fn a_known_response_stays_with_whoever_made_it() {
    let hub = TestHub::start();
    let room = hub.room();
    let own = FakeProvider::start(whole(&json!({ "id": "resp_1", "by": "ann" })));
    let other = FakeProvider::start(whole(&json!({ "id": "resp_1", "by": "bob" })));
    let _ann = join(&hub, &room, "ann", &own);
    let _bob = join(&hub, &room, "bob", &other);
    let by = || hub.get(&format!("/rooms/{room}/v1/responses/resp_1"));
    respond(&hub, &room, &json!({ "model": "ann", "input": "Hi" })).expect(200);
    respond(&hub, &room, &json!({ "model": "bob", "input": "Hi" })).expect(200);
    assert_eq!(by().expect(200).json()["by"], "ann");
    // With another provider the same participant does not have it any more.
    let moved = json!({ "nickname": "Ann", "model": "m", "endpoint": "http://localhost:1" });
    hub.put(&format!("/v1/rooms/{room}/participants/ann"), &moved).expect(200);
    assert_eq!(by().status, 404);
}

#[test]
fn ids_that_are_too_long_are_not_remembered() {
    let hub = TestHub::start();
    let room = hub.room();
    let [long, longest] = [257, 256].map(|length| "r".repeat(length));
    for (id, status) in [(long, 404), (longest, 200)] {
        let provider = FakeProvider::start(whole(&json!({ "id": id })));
        let _ann = join(&hub, &room, "ann", &provider);
        respond(&hub, &room, &json!({ "model": "any", "input": "Hi" })).expect(200);
        assert_eq!(hub.get(&format!("/rooms/{room}/v1/responses/{id}")).status, status);
    }
}

#[test]
fn a_coding_agent_gets_its_tools_from_a_chat_only_provider() {
    let hub = TestHub::start();
    let defaults = json!({ "name": "Lab", "defaults": { "instructions": "Be brief." } });
    let made = hub.post("/v1/rooms", &defaults).expect(201).json();
    let room = made["data"]["room"]["code"].as_str().unwrap().to_owned();
    let call = |id: &str, name: &str, arguments: &str| {
        let function = json!({ "name": name, "arguments": arguments });
        chunk(&json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function", "function": function }] }), None)
    };
    let provider = chat_only(Script::Stream(vec![
        chunk(&json!({ "reasoning": "Hm." }), None),
        call("a", "apply_patch", r#"{"input":"*** Begin\nPatch"}"#),
        call("b", "find", r#"{"q":"x"}"#),
        chunk(&json!({}), Some("tool_calls")),
    ]));
    let _session = join(&hub, &room, "ann", &provider);
    let body = json!({ "model": "any", "stream": true, "tool_choice": "auto",
        "input": [{ "role": "developer", "content": "Rules." }, { "role": "user", "content": "Hi" },
            { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "So." }] },
            { "type": "custom_tool_call", "call_id": "z", "name": "apply_patch", "input": "*** Old" },
            { "type": "custom_tool_call_output", "call_id": "z", "output": "ok" }],
        "tools": [{ "type": "custom", "name": "apply_patch" }, { "type": "web_search" },
            { "type": "namespace", "name": "docs", "tools": [{ "type": "function", "name": "find" }] }] });
    let text = respond(&hub, &room, &body).expect(200).text();
    let done = text.lines().rev().find_map(|line| line.strip_prefix("data: {")).unwrap();
    let done: Value = serde_json::from_str(&format!("{{{done}")).unwrap();
    let output = &done["response"]["output"];
    assert_eq!((&done["type"], &output[0]["type"]), (&json!("response.completed"), &json!("reasoning")));
    assert_eq!((&output[1]["type"], &output[1]["input"]), (&json!("custom_tool_call"), &json!("*** Begin\nPatch")));
    let found = ["call_id", "name", "namespace", "arguments"].map(|key| output[2][key].as_str().unwrap());
    assert_eq!(found, ["b", "find", "docs", r#"{"q":"x"}"#]);
    assert_eq!(done["response"]["tools"].as_array().unwrap().len(), 2, "those that were kept");
    assert!(text.contains("event: response.custom_tool_call_input.done\n"));

    let sent: Value = serde_json::from_str(&provider.wait_for_request(1).body).unwrap();
    let roles: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(sent["messages"][0]["content"], "Be brief.\n\nRules.");
    let turn = &sent["messages"][2];
    assert_eq!((&turn["reasoning_content"], &turn["tool_calls"][0]["id"]), (&json!("So."), &json!("z")));
    assert_eq!(sent["tools"].as_array().unwrap().len(), 2);
    let earlier = json!({ "model": "any", "input": "x", "previous_response_id": "resp_1" });
    assert!(respond(&hub, &room, &earlier).expect(400).text().contains("the hub keeps no conversations"));
}

#[test]
fn a_stream_that_was_cut_is_never_complete() {
    let hub = TestHub::start();
    let room = hub.room();
    let text = chunk(&json!({ "content": "Hello" }), None);
    let provider = chat_only(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    for (rest, expected) in [
        (chunk(&json!({}), Some("")), "response.failed"),
        (String::new(), "response.failed"),
        (chunk(&json!({}), Some("some_day")), "response.completed"),
        ("data: [DONE]\n\n".to_owned(), "response.completed"),
    ] {
        provider.set(Script::Stream(vec![text.clone(), rest.clone()]));
        let answer = stream(&hub, &room).text();
        assert!(answer.contains(&format!("event: {expected}\n")), "{rest}: {answer}");
    }
    // Its answer was whole, though the server did not end it.
    provider.set(Script::StreamAndDie(vec![text, chunk(&json!({}), Some("stop"))]));
    let answer = stream(&hub, &room);
    assert!(answer.whole && answer.text().contains("event: response.completed\n"), "{}", answer.text());
}

#[test]
fn a_provider_with_a_good_status_on_routes_that_it_lacks_is_asked_for_chats() {
    let unknown = r#"{"error":"Unexpected endpoint or method. (POST /v1/responses)"}"#;
    for (kind, body) in [("application/json", unknown), ("text/html", "<!doctype html>")] {
        let hub = TestHub::start();
        let room = hub.room();
        let provider = FakeProvider::start(whole(&chat_answer()));
        let _session = join(&hub, &room, "ann", &provider);
        provider.set_path("/v1/responses", Script::MissingButGood(kind, body));
        for streamed in [false, true] {
            let asked = json!({ "model": "any", "input": "Hi", "stream": streamed });
            assert!(respond(&hub, &room, &asked).expect(200).text().contains("\"output_text\":\"Hello\""));
        }
        let paths: Vec<String> = provider.seen().into_iter().map(|seen| seen.path).collect();
        assert_eq!(paths, ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]);
        // Whoever asks before it registers learns it at once.
        let _other = join(&hub, &room, "bob", &provider);
        let capabilities = hub.participant(&room, "bob")["capabilities"].clone();
        assert_eq!(capabilities, json!({ "openResponses": "unsupported", "chatCompletions": "supported" }));
        provider.set_path("/v1/chat/completions", Script::MissingButGood(kind, body));
        let failed = respond(&hub, &room, &json!({ "model": "ann", "input": "Hi" })).expect(502);
        assert!(failed.text().contains("no chat completion"), "{}", failed.text());
    }
}

/// An answer that is compressed, though nobody asked for that.
fn compressed(kind: &str, body: &[u8]) -> Script {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body).unwrap();
    let body = gzip.finish().unwrap();
    let lines = format!("Content-Type: {kind}\r\nContent-Encoding: gzip\r\nContent-Length: {}", body.len());
    Script::Raw([format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes(), &body].concat())
}

#[test]
fn an_answer_that_would_take_much_memory_once_parsed_is_refused() {
    let hub = TestHub::limited(|limits| limits.memory = 8 << 20);
    let room = hub.room();
    let dense = |count: usize| {
        let mut answer = chat_answer();
        answer["own"] = vec![json!({ "": 0 }); count].into();
        answer
    };
    let provider = chat_only(whole(&dense(1000)));
    let _session = join(&hub, &room, "ann", &provider);
    let ask = || respond(&hub, &room, &json!({ "model": "any", "input": "Hi" }));
    assert_eq!(ask().expect(200).json()["output_text"], "Hello");
    // 56 kB of text, and nearly seven hundred bytes of memory for each of these objects.
    provider.set(whole(&dense(8000)));
    assert!(ask().expect(502).text().contains("longer than the hub has memory for"));
    provider.set(Script::Stream(vec![format!("data: {}\n\n", dense(8000))]));
    let broken = stream(&hub, &room);
    assert!(broken.text().contains("longer than the hub has memory for") && !broken.whole);
    provider.set(whole(&chat_answer()));
    assert_eq!(ask().status, 200, "the memory is given back");
}

#[test]
fn a_compressed_answer_without_text_is_not_held_back_for_long() {
    let hub = TestHub::start();
    let room = hub.room();
    // A header, then blocks without a byte of text (RFC 1951, section 3.2.4), and the connection breaks.
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
        Content-Length: 10000000\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03"
        .to_vec();
    answer.extend(b"\0\0\0\xff\xff".repeat(40_000));
    let provider = FakeProvider::start(Script::Raw(answer));
    let _session = join(&hub, &room, "ann", &provider);
    let broken = stream(&hub, &room);
    assert_eq!((broken.status, broken.whole), (200, false), "what had come was passed on before the end");
    assert!(broken.body.starts_with(b"\x1f\x8b") && broken.body.len() > 64 << 10);
}

#[test]
fn what_an_answer_repeats_of_its_request_is_counted_too() {
    let hub = TestHub::limited(|limits| limits.memory = 16 << 20);
    let room = hub.room();
    let provider = chat_only(whole(&chat_answer()));
    let _session = join(&hub, &room, "ann", &provider);
    let ask = |key: &str, length: usize| {
        respond(&hub, &room, &json!({ "model": "any", "input": "Hi", key: { "a": "x".repeat(length) } }))
    };
    assert_eq!(ask("metadata", 400_000).expect(200).json()["metadata"]["a"].as_str().unwrap().len(), 400_000);
    let refused = ask("metadata", 1_500_000).expect(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask("future_field", 1_500_000).status, 200, "what is not repeated takes less");
}

#[test]
fn a_compressed_answer_is_read_within_the_same_limits() {
    let hub = TestHub::limited(|limits| limits.memory = 1 << 20);
    let room = hub.room();
    let provider = chat_only(compressed("application/json", chat_answer().to_string().as_bytes()));
    let _session = join(&hub, &room, "ann", &provider);
    let events = hub.watch_room(&room);
    let ask = || respond(&hub, &room, &json!({ "model": "any", "input": "Hi" }));
    let answer = ask().expect(200);
    assert_eq!((answer.header("content-encoding"), &answer.json()["output_text"]), (None, &json!("Hello")));
    assert_eq!(events.next("llm.complete")["metrics"]["totalTokens"], 8, "counted as if it were plain");
    assert_eq!(provider.wait_for_request(1).header("accept-encoding"), Some("identity"));
    let text = chunk(&json!({ "content": "Hello" }), Some("stop"));
    provider.set(compressed("text/event-stream", text.as_bytes()));
    let streamed = stream(&hub, &room);
    assert!(streamed.whole && streamed.text().contains("\"output_text\":\"Hello\""));

    provider.set(compressed("application/json", &vec![b' '; 16 << 20]));
    assert!(ask().expect(502).text().contains("longer than the hub has memory for"));
    provider.set(compressed("text/event-stream", text.repeat(50_000).as_bytes()));
    let bomb = stream(&hub, &room);
    assert!(bomb.text().contains("event: response.failed\n") && !bomb.whole);
    provider.set(whole(&chat_answer()));
    assert_eq!(ask().status, 200, "the memory is given back");
}
