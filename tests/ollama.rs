//! Ollama's own API in a room: passed through where the provider is Ollama, translated where it is not.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use gambi::hub::{DeclaredRoom, HubKey, RoomPassword};
use gambi::participant::Session;
use gambi::proto::management::{Capabilities, CreateRoom, Support};
use serde_json::{Value, json};

use support::{
    Conn, FakeProvider, RawParticipant, Response, Script, TestHub, chat_chunks, registration, request, tool_call,
};

/// A provider that is Ollama, and answers all its routes by this script.
fn ollama(script: Script) -> FakeProvider {
    let provider = FakeProvider::start(script);
    provider.set_path("/api/version", Script::json(200, &json!({ "version": "0.13.0" })));
    provider.set_path("/api/tags", Script::json(200, &json!({ "models": [{ "name": "m", "digest": "00c0ffee" }] })));
    provider
}

/// A provider without Ollama's routes, which answers a chat by this script.
fn chat_only(chat: Script) -> FakeProvider {
    let provider = FakeProvider::start(chat);
    for route in ["chat", "generate", "embed", "embeddings", "show"] {
        provider.set_path(&format!("/api/{route}"), Script::Missing);
    }
    provider
}

fn join_direct(hub: &TestHub, room: &str, provider: &FakeProvider) {
    let body = json!({ "id": "dan", "nickname": "Dan", "model": "m", "endpoint": provider.url() });
    hub.post(&format!("/rooms/{room}/join"), &body).expect(201);
}

fn hello(stream: Option<bool>) -> Value {
    let mut body = json!({ "model": "any", "messages": [{ "role": "user", "content": "Hi" }] });
    stream.into_iter().for_each(|stream| body["stream"] = stream.into());
    body
}

fn line(content: &str) -> String {
    format!("{}\n", json!({ "model": "m", "message": { "role": "assistant", "content": content }, "done": false }))
}

fn last_line() -> String {
    let counts = json!({ "prompt_eval_count": 26, "eval_count": 298, "total_duration": 5_000_000 });
    let mut last =
        json!({ "model": "m", "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "stop" });
    last.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
    format!("{last}\n")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The paths that a provider was asked for.
fn paths(provider: &FakeProvider) -> Vec<String> {
    provider.seen().into_iter().map(|seen| seen.path).collect()
}

fn sent(provider: &FakeProvider, number: usize) -> Value {
    serde_json::from_str(&provider.wait_for_request(number).body).unwrap()
}

#[test]
fn a_participant_whose_provider_is_ollama_says_so() {
    let hub = TestHub::start();
    let room = hub.room();
    let (ollama, other) = (ollama(Script::Echo), FakeProvider::start(Script::Echo));
    let _sessions = [hub.join(&room, "ann", &ollama), hub.join(&room, "bob", &other)];
    assert_eq!(hub.participant(&room, "ann")["capabilities"]["ollama"], "supported");
    let plain = json!({ "openResponses": "supported", "chatCompletions": "supported" });
    assert_eq!(hub.participant(&room, "bob")["capabilities"], plain, "what older clients know");
}

#[test]
fn ollamas_answers_pass_untouched_and_with_the_providers_name_for_the_model() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = ollama(Script::Echo);
    let session = Session::builder(hub.url(), &room).participant_id("ann").model("m");
    // A base that names OpenAI's API.
    let _session = session.endpoint(format!("{}/v1", provider.url())).start().unwrap();
    let bodies = [
        ("chat", json!({ "model": "m:latest", "messages": [], "stream": false, "keep_alive": "5m", "think": "low" })),
        (
            "generate",
            json!({ "model": "ann", "prompt": "x", "stream": false, "options": { "num_ctx": 9 }, "raw": true }),
        ),
        ("embed", json!({ "model": "model:m", "input": ["a", "b"], "truncate": true, "dimensions": 3 })),
        ("embeddings", json!({ "model": "any", "prompt": "a" })),
        ("show", json!({ "model": "m", "verbose": true })),
    ];
    for (number, (route, body)) in bodies.into_iter().enumerate() {
        let answer = hub.post(&format!("/rooms/{room}/api/{route}"), &body).expect(200);
        let expected = {
            let mut body = body.clone();
            body["model"] = "m".into();
            body
        };
        assert_eq!(answer.json(), expected, "{route}");
        assert_eq!(answer.header("x-gambi-participant"), Some("ann"));
        assert_eq!(provider.wait_for_request(number + 1).path, format!("/api/{route}"));
    }
    let shown = hub.post(&format!("/rooms/{room}/api/show"), &json!({ "name": "m" })).expect(200);
    assert_eq!(shown.json(), json!({ "name": "m", "model": "m" }));
}

#[test]
fn lines_are_passed_on_as_they_come_and_their_counts_are_told() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = ollama(Script::Lines(vec![line("Hel"), line("lo"), last_line()]));
    let _session = hub.join(&room, "ann", &provider);
    let watcher = hub.watch_room(&room);
    let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(None)).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.text(), [line("Hel"), line("lo"), last_line()].concat());
    let told = watcher.next("llm.complete");
    assert_eq!((&told["protocol"], &told["model"]), (&json!("ollama"), &json!("m")));
    let metrics = &told["metrics"];
    assert_eq!((&metrics["inputTokens"], &metrics["outputTokens"]), (&json!(26), &json!(298)));
    let figures = hub.get("/metrics").expect(200).text();
    let counted = figures.lines().find(|line| line.contains("protocol=\"ollama\"") && line.contains("complete"));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
}

#[test]
fn the_first_line_is_there_before_the_second_one_is_made() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/api/chat"), &[], Some(&hello(None).to_string()));
    let asked = ann.receive();
    assert_eq!((&asked["operation"], &asked["path"]), (&json!("ollama.chat"), &json!("/api/chat")));
    ann.begin(&asked, "application/x-ndjson", &[&line("Hel")]);
    assert_eq!(conn.head().header("content-type"), Some("application/x-ndjson"));
    assert_eq!(conn.chunk().unwrap(), line("Hel").as_bytes());
    ann.chunk(&asked, &last_line());
    ann.end(&asked);
    assert_eq!(conn.chunk().unwrap(), last_line().as_bytes());
}

#[test]
fn nothing_is_sent_while_a_request_for_lines_waits() {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(1));
    let room = hub.room();
    let provider = ollama(Script::Held(Box::new(Script::Lines(vec![line("Hello"), last_line()]))));
    let session = Session::builder(hub.url(), &room).participant_id("ann").model("m").concurrency(2);
    let _session = session.endpoint(provider.url()).start().unwrap();
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/api/chat"), &[], Some(&hello(None).to_string()));
    provider.wait_for_request(1);
    // A later request of the other API is sent comments meanwhile.
    let mut other = hub.stream(&room, "ann");
    assert_eq!(other.head().status, 200);
    for _ in 0..3 {
        assert!(other.chunk().unwrap().starts_with(b":"));
    }
    provider.release();
    assert_eq!(conn.answer().text(), line("Hello") + &last_line());
}

#[test]
fn a_participant_that_fails_before_its_first_line_is_replaced() {
    let hub = TestHub::start();
    let room = hub.room();
    let (bad, good) = (ollama(Script::Slam), ollama(Script::Lines(vec![line("Hello"), last_line()])));
    let bad_session = hub.join(&room, "ann", &bad);
    let waiting = hub.post(&format!("/rooms/{room}/api/chat"), &hello(None));
    assert_eq!(waiting.status, 502);
    assert!(waiting.json()["error"].as_str().unwrap().starts_with("Failed to proxy request: "));
    let _good_session = hub.join(&room, "bob", &good);
    for _ in 0..4 {
        let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(None)).expect(200);
        assert_eq!(lines(&answer.text()).len(), 2);
    }
    drop(bad_session);
}

#[test]
fn a_stream_that_breaks_off_ends_with_a_line_that_says_so() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut half = line("lo");
    half.truncate(10);
    let provider = ollama(Script::LinesAndDie(vec![line("Hel"), half]));
    let _session = hub.join(&room, "ann", &provider);
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/api/chat"), &[("Connection", "close")], Some(&hello(None).to_string()));
    assert_eq!(conn.head().status, 200);
    let text = String::from_utf8(conn.rest()).unwrap();
    assert!(text.contains("\n{\"error\":\"Failed to proxy request: ") && !text.contains("\"done\":true"), "{text}");
}

#[test]
fn a_model_that_ollama_has_lost_is_no_missing_route() {
    let hub = TestHub::start();
    let room = hub.room();
    let lost = json!({ "error": "model 'm' not found" });
    let provider = FakeProvider::start(Script::Echo);
    provider.set_path("/api/chat", Script::json(404, &lost));
    join_direct(&hub, &room, &provider);
    let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(Some(false))).expect(404);
    assert_eq!((answer.json(), paths(&provider)), (lost, vec!["/api/chat".to_owned()]));
}

#[test]
fn a_chat_only_provider_answers_a_chat_whole_and_is_asked_for_one_from_the_start() {
    let hub = TestHub::start();
    let room = hub.room_with(&CreateRoom {
        name: "Lab".into(),
        defaults: Some(serde_json::from_value(json!({ "temperature": 0.5, "instructions": "Be brief." })).unwrap()),
        ..CreateRoom::default()
    });
    let chat = json!({ "model": "qwen", "choices": [{ "finish_reason": "stop",
        "message": { "role": "assistant", "reasoning_content": "Hm.", "content": "Hello" } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5 } });
    let provider = chat_only(Script::json(200, &chat));
    let _session = hub.join(&room, "ann", &provider);
    let made = hub.post(&format!("/rooms/{room}/api/chat"), &hello(Some(false))).expect(200);
    let made = made.json();
    assert_eq!(made["message"]["role"], "assistant");
    assert_eq!(made["message"]["content"], "Hello");
    assert_eq!((&made["done"], &made["done_reason"]), (&json!(true), &json!("stop")));
    assert_eq!((&made["prompt_eval_count"], &made["eval_count"]), (&json!(3), &json!(5)));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'), "{made}");
    assert_eq!(paths(&provider), ["/v1/chat/completions"], "the probe found no Ollama");
    let asked = sent(&provider, 1);
    assert_eq!((&asked["model"], &asked["temperature"]), (&json!("m"), &json!(0.5)));
    assert_eq!(asked["messages"][0], json!({ "role": "system", "content": "Be brief." }));
}

#[test]
fn a_translated_answer_says_how_long_it_took() {
    let hub = TestHub::start();
    let room = hub.room();
    let deltas = [json!({ "content": "Hello" }), json!({ "finish": "length" })];
    let provider = chat_only(Script::Held(Box::new(Script::Stream(chat_chunks(&deltas)))));
    let _session = hub.join(&room, "ann", &provider);
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/api/chat"), &[], Some(&hello(None).to_string()));
    provider.wait_for_request(1);
    hub.clock.advance(Duration::from_secs(2));
    provider.release();
    let last = lines(&conn.answer().text()).pop().unwrap();
    assert_eq!(last["done_reason"], "length");
    assert!(last["total_duration"].as_u64().unwrap() >= 2_000_000_000, "{last}");
}

#[test]
fn a_request_that_only_loads_a_model_is_answered_without_a_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    let loaded = hub.post(&format!("/rooms/{room}/api/generate"), &json!({ "model": "m" })).expect(200);
    assert_eq!(loaded.header("content-type"), Some("application/x-ndjson"));
    let lines = lines(&loaded.text());
    assert_eq!((lines.len(), &lines[0]["done_reason"]), (1, &json!("load")));
    let unload = json!({ "model": "m", "messages": [], "keep_alive": 0, "stream": false });
    assert_eq!(hub.post(&format!("/rooms/{room}/api/chat"), &unload).expect(200).json()["done_reason"], "unload");
    let none = hub.post(&format!("/rooms/{room}/api/embed"), &json!({ "model": "m", "input": [] })).expect(200);
    assert_eq!(none.json()["embeddings"], json!([]));
    assert_eq!(paths(&provider), [""; 0]);
}

#[test]
fn a_direct_participant_is_tried_once_and_then_asked_for_a_chat() {
    let hub = TestHub::start();
    let room = hub.room();
    let chat = json!({ "choices": [{ "finish_reason": "stop", "message": { "content": "Hello" } }] });
    let provider = chat_only(Script::json(200, &chat));
    join_direct(&hub, &room, &provider);
    for _ in 0..2 {
        let made =
            hub.post(&format!("/rooms/{room}/api/generate"), &json!({ "model": "m", "prompt": "Hi", "stream": false }));
        assert_eq!(made.expect(200).json()["response"], "Hello");
    }
    assert_eq!(paths(&provider), ["/api/generate", "/v1/chat/completions", "/v1/chat/completions"]);
}

#[test]
fn a_direct_participant_that_is_ollama_answers_itself() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = ollama(Script::Lines(vec![line("Hello"), last_line()]));
    join_direct(&hub, &room, &provider);
    let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(None)).expect(200);
    assert_eq!(answer.text(), line("Hello") + &last_line());
    assert_eq!(paths(&provider), ["/api/chat"]);
}

#[test]
fn servers_that_answer_ollamas_routes_in_another_apis_shape_are_asked_for_a_chat() {
    let chat = json!({ "object": "chat.completion", "choices": [{ "finish_reason": "stop", "message": { "content": "Hello" } }] });
    for own in [
        Script::json(200, &chat),
        Script::Stream(chat_chunks(&[json!({ "content": "x" })])),
        Script::MissingButGood("application/json", r#"{"error":"Unexpected endpoint or method. (POST /api/chat)"}"#),
        Script::MissingButGood("text/html", "<!doctype html>"),
    ] {
        let hub = TestHub::start();
        let room = hub.room();
        let provider = FakeProvider::start(Script::json(200, &chat));
        provider.set_path("/api/chat", own);
        join_direct(&hub, &room, &provider);
        let made = hub.post(&format!("/rooms/{room}/api/chat"), &hello(Some(false))).expect(200).json();
        assert_eq!(made["message"]["content"], "Hello");
        assert_eq!(paths(&provider), ["/api/chat", "/v1/chat/completions"]);
    }
}

#[test]
fn a_server_that_only_looks_like_ollama_is_asked_for_a_chat() {
    let hub = TestHub::start();
    let room = hub.room();
    let chat = json!({ "choices": [{ "finish_reason": "stop", "message": { "content": "Hello" } }] });
    let provider = ollama(Script::json(200, &chat));
    for path in ["/api/chat", "/api/show"] {
        provider.set_path(path, Script::Missing);
    }
    let _session = hub.join(&room, "ann", &provider);
    assert_eq!(hub.participant(&room, "ann")["capabilities"]["ollama"], "supported");
    for _ in 0..2 {
        let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(Some(false))).expect(200).json();
        assert_eq!(answer["message"]["content"], "Hello", "{answer}");
    }
    hub.post(&format!("/rooms/{room}/api/show"), &json!({ "model": "m" })).expect(200);
    assert_eq!(paths(&provider), ["/api/chat", "/v1/chat/completions", "/v1/chat/completions", "/api/show"]);
}

#[test]
fn a_server_with_a_part_of_ollamas_api_is_asked_for_a_chat_which_keeps_its_tools() {
    let hub = TestHub::start();
    let tags = |model: Value| Script::json(200, &json!({ "models": [model] }));
    for (name, tags) in [
        ("KoboldCpp", tags(json!({ "name": "m", "digest": "00c0ffee", "details": { "family": "koboldcpp" } }))),
        ("LocalAI, Lemonade, Docker Model Runner", tags(json!({ "name": "m", "digest": "sha256:00c0ffee" }))),
        ("llama-swap", Script::Missing),
    ] {
        let room = hub.room();
        let message = tool_call("get_weather", r#"{"city":"Bonn"}"#);
        let chat = json!({ "choices": [{ "finish_reason": "tool_calls", "message": message }] });
        let provider = ollama(Script::json(200, &chat));
        provider.set_path("/api/tags", tags);
        let _session = hub.join(&room, "ann", &provider);
        assert_ne!(hub.participant(&room, "ann")["capabilities"]["ollama"], "supported", "{name}");
        let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(Some(false))).expect(200).json();
        assert_eq!(answer["message"]["tool_calls"][0]["function"]["arguments"]["city"], "Bonn", "{answer}");
        assert_eq!(paths(&provider), ["/v1/chat/completions"], "{name}");
    }
}

#[test]
fn a_participant_of_an_older_version_is_asked_for_a_chat() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let (addr, path) = (hub.addr(), format!("/rooms/{room}/api/chat"));
    let ask = move |addr: SocketAddr, path: String| {
        std::thread::spawn(move || request(addr, "POST", &path, Some(&hello(Some(false)).to_string())))
    };
    for round in 0..2 {
        let client = ask(addr, path.clone());
        let mut asked = ann.receive();
        if round == 0 {
            assert_eq!(asked["path"], "/api/chat");
            let refusal = "the participant refused \"POST /api/chat\": it passes on a room's own operations only";
            ann.send(&json!({ "type": "tunnel.response.error", "requestId": asked["requestId"],
                "stage": "participant", "message": refusal }));
            asked = ann.receive();
        }
        assert_eq!(
            (&asked["operation"], &asked["path"]),
            (&json!("chat.completions.create"), &json!("/v1/chat/completions"))
        );
        let chat = json!({ "choices": [{ "finish_reason": "stop", "message": { "content": "Hello" } }] });
        ann.begin(&asked, "application/json", &[&chat.to_string()]);
        ann.end(&asked);
        assert_eq!(client.join().unwrap().expect(200).json()["message"]["content"], "Hello");
    }
}

#[test]
fn a_chat_only_providers_stream_becomes_lines() {
    let hub = TestHub::start();
    let room = hub.room();
    let call = tool_call("f", r#"{"x":1}"#);
    let deltas = [json!({ "content": "Let" }), json!({ "content": " me" }), call, json!({ "finish": "tool_calls" })];
    let provider = chat_only(Script::Stream(chat_chunks(&deltas)));
    let _session = hub.join(&room, "ann", &provider);
    let mut body = hello(None);
    body["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    body["options"] = json!({ "num_predict": 7, "temperature": 0 });
    let answer = hub.post(&format!("/rooms/{room}/api/chat"), &body).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let lines = lines(&answer.text());
    let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert_eq!(text, "Let me");
    let calls: Vec<&Value> = lines.iter().filter_map(|line| line["message"]["tool_calls"].get(0)).collect();
    assert_eq!((calls.len(), &calls[0]["function"]["arguments"]), (1, &json!({ "x": 1 })));
    let (last, before) = lines.split_last().unwrap();
    assert!(last["done"] == true && before.iter().all(|line| line["done"] == false), "{lines:?}");
    let asked = sent(&provider, 1);
    assert_eq!((&asked["stream"], &asked["max_tokens"], &asked["temperature"]), (&json!(true), &json!(7), &json!(0)));
}

#[test]
fn a_translated_stream_that_is_cut_ends_with_a_line_that_says_so() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut cut = chat_chunks(&[json!({ "content": "Hel" })]);
    cut.pop();
    for script in [Script::Stream(cut.clone()), Script::StreamAndDie(cut)] {
        let provider = chat_only(script);
        let _session = hub.join(&room, "ann", &provider);
        let mut conn = Conn::open(hub.addr());
        conn.ask(
            "POST",
            &format!("/rooms/{room}/api/chat"),
            &[("Connection", "close")],
            Some(&hello(None).to_string()),
        );
        assert_eq!(conn.head().status, 200);
        let text = String::from_utf8(conn.rest()).unwrap();
        assert!(text.contains("{\"error\":") && !text.contains("\"done\":true"), "{text}");
    }
}

#[test]
fn embeddings_are_translated_both_ways() {
    let hub = TestHub::start();
    let room = hub.room();
    let vectors = json!({ "object": "list", "model": "m", "usage": { "prompt_tokens": 4, "total_tokens": 4 },
        "data": [{ "index": 0, "embedding": [0.5, -1] }, { "index": 1, "embedding": [2, 0.25] }] });
    let provider = chat_only(Script::Echo);
    provider.set_path("/v1/embeddings", Script::json(200, &vectors));
    let _session = hub.join(&room, "ann", &provider);
    let made = hub.post(&format!("/rooms/{room}/api/embed"), &json!({ "model": "m", "input": ["a", "b"] })).expect(200);
    let made = made.json();
    assert_eq!((&made["embeddings"], &made["prompt_eval_count"]), (&json!([[0.5, -1], [2, 0.25]]), &json!(4)));
    assert_eq!(sent(&provider, 1)["input"], json!(["a", "b"]));
    let made = hub.post(&format!("/rooms/{room}/api/embeddings"), &json!({ "model": "m", "prompt": "a" })).expect(200);
    assert_eq!(made.json()["embedding"], json!([0.5, -1]));
    assert_eq!(paths(&provider), ["/v1/embeddings", "/v1/embeddings"]);
}

#[test]
fn a_providers_error_about_a_translated_request_has_ollamas_shape() {
    let hub = TestHub::start();
    let room = hub.room();
    let error = Script::json(400, &json!({ "error": { "message": "too long", "code": "x" } }));
    let provider = chat_only(error.clone());
    provider.set_path("/v1/embeddings", error);
    let _session = hub.join(&room, "ann", &provider);
    for (route, body) in [("chat", hello(None)), ("embed", json!({ "model": "m", "input": "a" }))] {
        let answer = hub.post(&format!("/rooms/{room}/api/{route}"), &body).expect(400);
        assert_eq!(answer.json(), json!({ "error": "too long" }), "{route}");
    }
}

#[test]
fn what_the_hub_refuses_has_ollamas_shape_and_names_the_models_that_are_there() {
    let hub = TestHub::start();
    let room = hub.room();
    let error = |answer: Response| {
        let json = answer.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["error"].as_str().unwrap().to_owned()
    };
    let unknown = json!({ "model": "gone", "messages": [] });
    let path = format!("/rooms/{room}/api/chat");
    assert_eq!(
        error(hub.post(&path, &unknown).expect(404)),
        "model 'gone' not found: no participant of this room is online"
    );
    let provider = FakeProvider::with_models(Script::Echo, &["m", "llama3:latest"]);
    let session = Session::builder(hub.url(), &room).participant_id("ann").models(["m", "llama3"]);
    let _session = session.endpoint(provider.url()).start().unwrap();
    assert_eq!(error(hub.post(&path, &unknown).expect(404)), "model 'gone' not found: this room has m, llama3:latest");
    assert_eq!(error(hub.post(&path, &json!({ "messages": [] })).expect(400)), "\"model\" is required");
    assert!(error(hub.post("/rooms/NOROOM/api/chat", &unknown).expect(404)).starts_with("Room not found. "));
    assert!(error(hub.get(&format!("/rooms/{room}/api/nothing")).expect(404)).contains("is no route"));
    assert!(error(hub.get(&path).expect(405)).contains("POST"));
    for (method, route) in [
        ("POST", "pull"),
        ("POST", "push"),
        ("POST", "create"),
        ("POST", "copy"),
        ("DELETE", "delete"),
        ("POST", "blobs/sha256:0"),
        ("GET", "blobs/sha256:0"),
    ] {
        let answer = request(hub.addr(), method, &format!("/rooms/{room}/api/{route}"), Some("{}")).expect(501);
        assert!(error(answer).starts_with("The hub keeps no models"), "{method} {route}");
    }
}

#[test]
fn models_are_listed_once_each_in_ollamas_form() {
    let hub = TestHub::start();
    let room = hub.room();
    let (first, second) = (
        FakeProvider::with_models(Script::Echo, &["m", "llama3"]),
        FakeProvider::with_models(Script::Echo, &["llama3:latest", "qwen3:8b"]),
    );
    let loaded = json!({ "models": [{ "name": "qwen3:8b" }] });
    second.set_path("/api/ps", Script::json(200, &loaded));
    let join = |id: &str, provider: &FakeProvider| {
        Session::builder(hub.url(), &room).participant_id(id).all_models().endpoint(provider.url()).start().unwrap()
    };
    let _sessions = [join("ann", &first), join("bob", &second)];
    let names = |route: &str| -> Vec<String> {
        let list = hub.get(&format!("/rooms/{room}/api/{route}")).expect(200).json();
        let models = list["models"].as_array().unwrap().iter();
        models
            .map(|model| {
                assert_eq!(model["name"], model["model"]);
                assert_eq!((model["digest"].as_str().unwrap().len(), &model["size"]), (64, &json!(0)));
                assert_eq!(model["details"]["families"], json!([]));
                let time = if route == "ps" { &model["expires_at"] } else { &model["modified_at"] };
                assert!(time.as_str().unwrap().ends_with('Z'), "{model}");
                model["name"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    assert_eq!(names("tags"), ["llama3:latest", "m", "qwen3:8b"]);
    assert_eq!(names("ps"), ["qwen3:8b"]);
}

#[test]
fn a_list_of_many_models_is_whole() {
    let hub = TestHub::start();
    let room = hub.room();
    let names: Vec<String> = (0..500).map(|n| format!("{n:03}-{}", "x".repeat(100))).collect();
    let mut registration = registration();
    registration.models.clone_from(&names);
    registration.model.clone_from(&names[0]);
    let _ann = RawParticipant::join_as(&hub, &room, "ann", &registration);
    let list = hub.get(&format!("/rooms/{room}/api/tags")).expect(200).json();
    let listed: Vec<&str> = list["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(listed, names);
}

#[test]
fn clients_that_look_whether_ollama_is_up_find_it() {
    let hub = TestHub::start();
    let room = hub.room();
    assert_eq!(hub.get(&format!("/rooms/{room}/api")).expect(200).text(), "Ollama is running");
    for base in [format!("/rooms/{room}/api"), format!("/rooms/{room}/api/"), format!("/rooms/{room}/")] {
        let head = Conn::open(hub.addr()).ask("HEAD", &base, &[("Connection", "close")], None).head();
        assert_eq!(head.status, 200, "{base}");
    }
    let version = hub.get(&format!("/rooms/{room}/api/version")).expect(200).json();
    assert!(version["version"].as_str().unwrap().starts_with("0.12."), "{version}");
    // A base URL of the other API.
    hub.get(&format!("/rooms/{room}/v1/api/version")).expect(200);
}

#[test]
fn a_model_of_another_provider_is_shown_as_far_as_it_is_known() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = chat_only(Script::Echo);
    join_direct(&hub, &room, &provider);
    let watcher = hub.watch_room(&room);
    for _ in 0..2 {
        let shown = hub.post(&format!("/rooms/{room}/api/show"), &json!({ "model": "m" })).expect(200);
        assert_eq!(shown.header("x-gambi-participant"), Some("dan"));
        let shown = shown.json();
        assert_eq!(shown["capabilities"], json!(["completion", "tools"]));
        assert_eq!((&shown["details"]["family"], &shown["model_info"]["general.basename"]), (&json!(""), &json!("m")));
    }
    assert_eq!(paths(&provider), ["/api/show"], "tried once");
    // Requests that work with no model are no events.
    hub.chat(&room, "any").expect(200);
    assert_eq!(watcher.next("llm.request")["protocol"], "chatCompletions");
}

#[test]
fn a_participant_that_can_neither_chat_nor_is_ollama_gets_no_chat() {
    let hub = TestHub::start();
    let room = hub.room();
    let capabilities = Capabilities {
        chat_completions: Support::Unsupported,
        ollama: Support::Unsupported,
        ..Capabilities::default()
    };
    let mut registration = registration();
    registration.capabilities = Some(capabilities);
    let _ann = RawParticipant::join_as(&hub, &room, "ann", &registration);
    let answer = hub.post(&format!("/rooms/{room}/api/chat"), &hello(None)).expect(501);
    assert!(answer.json()["error"].is_string());
}

fn with_default_room(code: &str, declared: bool) -> TestHub {
    TestHub::with(|options| {
        options.default_room = Some(code.to_owned());
        if declared {
            options.rooms = vec![DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), ..DeclaredRoom::default() }];
        }
    })
}

#[test]
fn a_default_room_is_served_at_the_root_and_the_hubs_own_routes_stay() {
    let hub = with_default_room("lab001", true);
    let provider = ollama(Script::Echo);
    let _session = hub.join("LAB001", "ann", &provider);
    assert_eq!(hub.get("/api/tags").expect(200).json()["models"][0]["name"], "m:latest");
    assert_eq!(hub.get("/v1/models").expect(200).json()["data"][0]["id"], "ann");
    assert_eq!(
        hub.get("//api/tags").expect(200).json()["models"][0]["name"],
        "m:latest",
        "a server with a slash at its end"
    );
    assert_eq!(hub.get("/v1/models/ann").expect(200).json()["id"], "ann");
    hub.post("/api/chat", &hello(Some(false))).expect(200);
    hub.post("/v1/chat/completions", &hello(None)).expect(200);
    hub.post("/v1//chat/completions/", &hello(None)).expect(200);
    assert_eq!(paths(&provider), ["/api/chat", "/v1/chat/completions", "/v1/chat/completions"]);
    let rooms = hub.get("/v1/rooms").expect(200).json();
    assert_eq!(rooms["data"][0]["code"], "LAB001");
    assert_eq!(hub.get("/v1/health").expect(200).json()["data"]["status"], "ok");
    assert_eq!(hub.get("/v1/rooms/LAB001/nothing").expect(404).json()["error"]["message"], "Route not found.");
    let root = hub.get("/").expect(200);
    assert_eq!((root.header("x-content-type-options"), root.text().as_str()), (Some("nosniff"), "Ollama is running"));
    let page = Conn::open(hub.addr()).ask("GET", "/", &[("Accept", "text/html,*/*")], None).answer();
    assert!(page.text().starts_with("<!"), "a browser gets the dashboard");
    let loose = hub.post("/v1/chat/completions", &json!({ "model": "gone", "messages": [] })).expect(404).json();
    assert_eq!(loose["code"], "MODEL_NOT_FOUND", "errors are those of the room's route");
}

#[test]
fn a_private_default_room_asks_for_its_password() {
    let hub = TestHub::with(|options| {
        options.default_room = Some("LAB001".into());
        options.rooms = vec![DeclaredRoom {
            code: "LAB001".into(),
            name: "Lab".into(),
            password: Some(RoomPassword::Plain("open sesame".into())),
            private: true,
            ..DeclaredRoom::default()
        }];
    });
    let ask = |headers: &[(&str, &str)], path: &str| Conn::open(hub.addr()).ask("GET", path, headers, None).answer();
    for path in ["/api/tags", "/api/version", "/v1/models"] {
        assert_eq!(ask(&[], path).status, 401, "{path}");
        assert_eq!(ask(&[("Authorization", "Bearer open sesame")], path).status, 200, "{path}");
    }
}

#[test]
fn a_default_room_that_is_not_there_is_named_with_its_flag() {
    let hub = with_default_room("LAB001", false);
    for path in ["/api/tags", "/v1/models", "/api"] {
        let error = hub.get(path).expect(404).json();
        let text = error["error"].as_str().unwrap();
        assert!(text.contains("LAB001") && text.contains("--default-room"), "{path}: {text}");
    }
    let hub = TestHub::start();
    let error = hub.get("/api/tags").expect(404).json();
    assert!(error["error"].as_str().unwrap().contains("--default-room CODE"), "{error}");
    let error = hub.post("/v1/chat/completions", &hello(None)).expect(404).json();
    assert!(error["error"]["hint"].as_str().unwrap().contains("--default-room CODE"), "{error}");
}

#[test]
fn the_default_room_asks_for_what_its_own_routes_ask_for() {
    let hub = TestHub::with(|options| {
        options.default_room = Some("LAB001".into());
        options.rooms = vec![DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), ..DeclaredRoom::default() }];
        options.key = HubKey::new("the-key");
    });
    let ask = |headers: &[(&str, &str)], path: &str| Conn::open(hub.addr()).ask("GET", path, headers, None).answer();
    for path in ["/api/tags", "/v1/models", "/rooms/LAB001/api/version"] {
        assert_eq!(ask(&[], path).status, 401, "{path}");
        assert_eq!(ask(&[("Authorization", "Bearer the-key")], path).status, 200, "{path}");
    }
    assert!(ask(&[], "/api/tags").json()["error"].is_string());
    let open = with_default_room("LAB001", true);
    let foreign = [("Origin", "https://evil.example"), ("Connection", "close")];
    for path in ["/api/tags", "/v1/models"] {
        assert_eq!(Conn::open(open.addr()).ask("GET", path, &foreign, None).answer().status, 403, "{path}");
    }
}

#[test]
fn a_request_whose_translation_takes_too_much_memory_is_refused() {
    let hub = TestHub::limited(|limits| limits.memory = 4 << 20);
    let room = hub.room();
    let other = chat_only(Script::Echo);
    join_direct(&hub, &room, &other);
    let answer =
        json!({ "choices": [{ "message": { "role": "assistant", "content": "Hi" }, "finish_reason": "stop" }] });
    other.set_path("/v1/chat/completions", Script::json(200, &answer));
    let ask = |messages: Value| {
        let body = json!({ "model": "any", "stream": false, "messages": messages });
        hub.post(&format!("/rooms/{room}/api/chat"), &body)
    };
    let said = |bytes: usize| json!([{ "role": "user", "content": "x".repeat(bytes) }]);
    let calls = |count: usize| {
        let call = json!({ "function": { "name": "" } });
        let turn = [json!({ "role": "assistant", "tool_calls": vec![call; 1000] }), json!({ "role": "user" })];
        Value::from_iter(turn.iter().cycle().take(2 * count / 1000).cloned())
    };
    ask(said(100 << 10)).expect(200);
    // Twice its length is reserved for any request, and half of the memory is for one address.
    let refused = ask(said(600 << 10)).expect(503);
    assert_eq!(refused.json(), json!({ "error": "The hub is busy with too many large requests" }));
    ask(calls(2_000)).expect(200);
    ask(calls(5_000)).expect(503);
    assert_eq!(ask(said(100 << 10)).status, 200, "the memory is given back");
}

#[test]
fn a_request_too_long_for_a_tunnel_is_refused_and_the_tunnel_stays() {
    let hub = TestHub::limited(|limits| (limits.body_bytes, limits.memory) = (80 << 20, 1 << 30));
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    let body = format!(r#"{{"model":"any","messages":[],"user":"{}"}}"#, "x".repeat(64 << 20));
    let path = format!("/rooms/{room}/v1/chat/completions");
    let refused = request(hub.addr(), "POST", &path, Some(&body)).expect(413);
    assert!(refused.text().contains("The request body is larger than 66060288 bytes"), "{}", refused.text());
    assert_eq!(provider.seen().len(), 0);
    hub.chat(&room, "ann").expect(200);
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
}
