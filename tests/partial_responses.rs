//! Providers with a part of the Responses API: their own route answers, except to requests with tools that are no functions.

mod support;

use serde_json::{Value, json};

use support::{FakeProvider, Response, Script, TestHub, chat_chunks, tool_call};

/// How servers refuse tools that they do not know: LM Studio, llama.cpp, vLLM, and what FastAPI makes of a bad request.
const REFUSALS: [(u16, &str); 4] = [
    (
        400,
        r#"{"error":{"message":"Invalid","type":"invalid_request_error","param":"tools.0.type","code":"invalid_union"}}"#,
    ),
    (400, r#"{"error":{"code":400,"message":"'type' of tool must be 'function'","type":"invalid_request_error"}}"#),
    (
        400,
        r#"{"error":{"message":"[{'type': 'union_tag_invalid', 'loc': ('body', 'tools', 0)}]","type":"Bad Request","code":400}}"#,
    ),
    (
        422,
        r#"{"detail":[{"type":"literal_error","loc":["body","tools",0,"type"],"msg":"Input should be 'function'"}]}"#,
    ),
];

fn refusal(status: u16, body: &str) -> Script {
    Script::Answer { status, kind: "application/json", body: body.into() }
}

/// A provider that answers chats with a call of the tool `apply_patch`, and Responses by this script.
fn partial(responses: Script) -> FakeProvider {
    let call = tool_call("apply_patch", r#"{"input":"*** Begin"}"#);
    let provider = FakeProvider::start(Script::Stream(chat_chunks(&[call, json!({ "finish": "tool_calls" })])));
    provider.set_path("/v1/responses", responses);
    provider
}

fn respond(hub: &TestHub, room: &str, body: &Value) -> Response {
    hub.post(&format!("/rooms/{room}/v1/responses"), body)
}

/// What a coding agent sends.
fn agents_request() -> Value {
    json!({ "model": "any", "stream": true, "store": false, "input": "Hi", "tools": [
        { "type": "function", "name": "shell" },
        { "type": "custom", "name": "apply_patch" },
        { "type": "namespace", "name": "docs", "tools": [{ "type": "function", "name": "find" }] },
        { "type": "web_search" },
    ] })
}

fn paths(provider: &FakeProvider) -> Vec<String> {
    provider.seen().into_iter().map(|seen| seen.path).collect()
}

#[test]
fn a_request_whose_tools_are_refused_is_translated_and_no_other_one() {
    for (status, body) in REFUSALS {
        let hub = TestHub::start();
        let room = hub.room();
        let provider = partial(refusal(status, body));
        let _session = hub.join(&room, "ann", &provider);
        let events = hub.watch_room(&room);
        for _ in 0..2 {
            let text = respond(&hub, &room, &agents_request()).expect(200).text();
            assert!(text.contains("event: response.custom_tool_call_input.done\n"), "{body}: {text}");
            assert_eq!(events.next("llm.request")["protocol"], "openResponses");
            events.next("llm.complete");
        }
        assert_eq!(hub.participant(&room, "ann")["capabilities"]["openResponses"], "supported");
        provider.set_path("/v1/responses", Script::json(200, &json!({ "id": "resp_1", "output": [] })));
        let plain = json!({ "model": "any", "input": "Hi" });
        assert_eq!(respond(&hub, &room, &plain).expect(200).json()["id"], "resp_1", "its own API");
        let (own, chat) = ("/v1/responses", "/v1/chat/completions");
        assert_eq!(paths(&provider), [own, chat, own, chat, own]);
    }
}

#[test]
fn a_response_that_was_made_from_a_chat_is_never_asked_for_at_the_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = partial(refusal(REFUSALS[0].0, REFUSALS[0].1));
    let _session = hub.join(&room, "ann", &provider);
    provider.set(Script::json(
        200,
        &json!({ "choices": [{ "message": { "content": "Hello" }, "finish_reason": "stop" }] }),
    ));
    let mut request = agents_request();
    request["stream"] = false.into();
    let answer = respond(&hub, &room, &request).expect(200).json();
    assert_eq!(answer["output_text"], "Hello");
    let id = answer["id"].as_str().unwrap();
    provider.forget();
    assert_eq!(hub.get(&format!("/rooms/{room}/v1/responses/{id}")).status, 501);
    let next = json!({ "model": "any", "input": "And?", "previous_response_id": id });
    let refused = respond(&hub, &room, &next).expect(400).text();
    assert!(
        refused.contains("previous_response_id") && refused.contains("the hub keeps no conversations"),
        "{refused}"
    );
    assert_eq!(paths(&provider), Vec::<String>::new());
}

#[test]
fn other_refusals_pass_as_they_came() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = partial(Script::Slam);
    let _session = hub.join(&room, "ann", &provider);
    let functions = json!({ "model": "any", "input": "Hi", "tools": [{ "type": "function", "name": "shell" }] });
    let temperature = r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error"}}"#;
    let mut continued = agents_request();
    continued["previous_response_id"] = json!("resp_of_the_provider");
    let (_, tools) = REFUSALS[1];
    for (request, status, body) in [
        (agents_request(), 400, temperature),
        (functions, 400, tools),
        (agents_request(), 401, tools),
        (continued, 400, tools),
    ] {
        provider.forget();
        provider.set_path("/v1/responses", refusal(status, body));
        assert_eq!(respond(&hub, &room, &request).expect(status).text(), body);
        assert_eq!(paths(&provider), ["/v1/responses"]);
    }
}
