//! The inference plane: who gets a request, what is in it, how the answer comes back, and every way it can fail.

mod support;

use std::time::Duration;

use gambi::participant::Session;
use gambi::proto::management::{CreateRoom, RuntimeConfig, Sampling};
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, registration, wait_until};

fn join(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) -> Session {
    Session::builder(hub.url(), room)
        .participant_id(id)
        .nickname("Ann")
        .model("m")
        .endpoint(provider.url())
        .start()
        .unwrap()
}

fn whole(body: &str) -> Script {
    Script::Answer { status: 200, kind: "application/json", body: body.into() }
}

fn path(room: &str) -> String {
    format!("/rooms/{room}/v1/chat/completions")
}

#[test]
fn models_are_the_participants_that_are_up() {
    let hub = TestHub::start();
    let room = hub.room();
    assert_eq!(
        hub.get(&format!("/rooms/{room}/v1/models")).expect(200).json(),
        json!({ "object": "list", "data": [] })
    );
    hub.client.participants(&room).upsert("offline", &registration()).unwrap();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    let list = hub.get(&format!("/rooms/{}/v1/models", room.to_lowercase())).expect(200).json();
    let entry = &list["data"][0];
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!((&entry["id"], &entry["object"], &entry["owned_by"]), (&json!("ann"), &json!("model"), &json!("Ann")));
    assert!(entry["created"].as_u64().is_some_and(|s| s > 1_600_000_000 && s < 10_000_000_000));
    let old = json!({ "nickname": "Ann", "model": "m", "endpoint": provider.url() });
    assert_eq!(entry["gambiarra"], old);
    let capabilities = json!({ "openResponses": "supported", "chatCompletions": "supported" });
    assert_eq!(entry["gambi"]["capabilities"], capabilities);
    assert_eq!(entry["gambi"]["connection"]["connected"], true);
    assert_eq!(
        hub.get("/rooms/ABC234/v1/models").expect(404).json(),
        json!({ "error": "Room not found", "code": "ROOM_NOT_FOUND" })
    );
}

#[test]
fn names_that_select_one_of_several_participants_are_listed_after_them() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["m", "hf.co/x/Y Z:Q4_K_M"]);
    let _ann = join(&hub, &room, "ann", &provider);
    let ids = || {
        let list = hub.get(&format!("/rooms/{room}/v1/models?client_version=0.99")).expect(200).json();
        let ids = list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(), ["ann"], "one participant is listed alone");
    let join_model = |id: &str, model: &str| {
        let session = Session::builder(hub.url(), &room).participant_id(id).model(model).endpoint(provider.url());
        session.start().unwrap()
    };
    let _bob = join_model("bob", "hf.co/x/Y Z:Q4_K_M");
    assert_eq!(ids(), ["ann", "bob", "any"]);
    let _cat = join_model("cat", "hf.co/x/Y Z:Q4_K_M");
    let _dan = join_model("dan", "m:latest");
    assert_eq!(ids(), ["ann", "bob", "cat", "dan", "hf.co/x/Y Z:Q4_K_M", "m", "any"]);
    let get = |id: &str| hub.get(&format!("/rooms/{room}/v1/models/{id}")).expect(200).json();
    for id in ["hf.co/x/Y%20Z:Q4_K_M", "hf.co%2Fx%2FY%20Z%3AQ4_K_M"] {
        assert_eq!(get(id)["id"], "hf.co/x/Y Z:Q4_K_M", "{id}");
        assert_eq!(get(id)["gambi"]["participants"], 2);
    }
    assert_eq!((&get("any")["id"], &get("model:m")["id"]), (&json!("any"), &json!("ann")));
    assert_eq!(hub.get(&format!("/rooms/{room}/v1/models/none/such")).status, 404);
}

#[test]
fn a_slip_in_the_base_url_is_served_or_answered_with_the_right_one() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    let body = json!({ "model": "any", "messages": [{ "role": "user", "content": "x" }] });
    for path in [
        format!("/rooms/{room}/chat/completions"),
        format!("/rooms/{room}/v1/v1/chat/completions"),
        format!("/rooms/{room}/v1//chat/completions"),
        format!("/rooms/{room}/v1/chat/completions/"),
        format!("/v1/rooms/{room}/chat/completions"),
    ] {
        assert_eq!(hub.post(&path, &body).status, 200, "{path}");
    }
    for path in ["/v1/chat/completions".to_owned(), format!("/rooms/{room}/openai/chat/completions")] {
        let answer = hub.post(&path, &body).expect(404).text();
        assert!(answer.contains("the base URL of a room is http://test/rooms/"), "{answer}");
    }
}

#[test]
fn the_right_base_url_is_the_one_that_clients_use() {
    let hint = |hub: &TestHub, headers: &[(&str, &str)]| {
        let mut conn = Conn::open(hub.addr());
        conn.ask("GET", "/v1/models", headers, None).answer().text()
    };
    let public = TestHub::with(|options| options.public_url = Some("https://hub.example/base".into()));
    let text = hint(&public, &[]);
    assert!(text.contains("a room is https://hub.example/base/rooms/CODE/v1"), "{text}");
    let behind_proxy = TestHub::with(|options| options.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let forwarded = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "hub.example")];
    let text = hint(&behind_proxy, &forwarded);
    assert!(text.contains("a room is https://hub.example/rooms/CODE/v1"), "{text}");
    let text = hint(&TestHub::start(), &forwarded);
    assert!(text.contains("a room is http://test/rooms/CODE/v1"), "no proxy is trusted: {text}");
}

#[test]
fn a_compressed_body_is_refused_in_each_planes_form() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut conn = Conn::open(hub.addr());
    let mut ask = |path: &str, coding: &str, body: &str| {
        conn.ask("POST", path, &[("Content-Encoding", coding)], Some(body)).answer()
    };
    let says = |coding: &str| {
        format!("The request body has the content coding \"{coding}\": bodies must be sent uncompressed")
    };
    let (body, messages) = (r#"{"name":"x"}"#, format!("/rooms/{room}/v1/messages"));
    for (path, coding) in
        [("/v1/rooms", "gzip"), (&messages, "zstd"), ("/rooms", "br"), (&path(&room), "identity, gzip")]
    {
        let answer = ask(path, coding, body).expect(415);
        assert_eq!(answer.header("accept-encoding"), Some("identity"), "{path}");
        let error = answer.json()["error"].take();
        let message = if error.is_string() { &error } else { &error["message"] };
        assert_eq!(message.as_str(), Some(&*says(coding.split(' ').next_back().unwrap())), "{path}");
    }
    for plain in ["identity", "Identity", "", "UTF-8"] {
        assert_eq!(ask("/v1/rooms", plain, body).status, 201, "{plain}: on the same connection");
    }
}

#[test]
fn each_vendors_clients_get_errors_in_their_own_shape() {
    let hub = TestHub::start();
    let room = hub.room();
    let body = r#"{"model":"none","messages":[],"max_tokens":1}"#;
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[("Connection", "close")]].concat();
        let answer = Conn::open(hub.addr()).ask("POST", path, &headers, Some(body)).answer();
        assert_eq!(answer.status, 404);
        answer.json()
    };
    let message = "No available participant for the requested model";
    let (chat, messages) = (path(&room), format!("/rooms/{room}/v1/messages"));
    assert_eq!(ask(&chat, &[])["error"], message);
    for header in [("x-stainless-lang", "js"), ("User-Agent", "ai/5.0.1"), ("User-Agent", "OpenAI/Python 2.9.0")] {
        let error = &ask(&chat, &[header])["error"];
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("")));
    }
    for (path, header) in [(&messages, ("X-A", "b")), (&chat, ("anthropic-version", "2023-06-01"))] {
        let answer = ask(path, &[header]);
        assert_eq!((&answer["type"], &answer["error"]["type"]), (&json!("error"), &json!("not_found_error")));
    }
}

#[test]
fn a_request_and_its_answer_pass_untouched_but_for_the_model() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(whole("{\"b\":1,\n \"a\":123456789012345678901234567890, \"c\":1.50}"));
    let _session = join(&hub, &room, "ann", &provider);
    let body = r#"{"zeta": [1.0, 1e3], "model":"any","messages":[{"role":"user","content":"\u00e9\ud83d\ude00"}],"seed":99999999999999999999,"alpha":null}"#;
    let answer = Conn::open(hub.addr()).ask("POST", &path(&room), &[("Connection", "close")], Some(body)).answer();
    assert_eq!(answer.text(), "{\"b\":1,\n \"a\":123456789012345678901234567890, \"c\":1.50}");
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let seen = provider.wait_for_request(1);
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(
        seen.body,
        r#"{"zeta":[1.0, 1e3],"model":"m","messages":[{"role":"user","content":"\u00e9\ud83d\ude00"}],"seed":99999999999999999999,"alpha":null}"#
    );
}

#[test]
fn participants_are_found_by_id_by_model_and_at_will() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    for model in ["ann", "model:m", "*", "any", "m", "m:latest", "model:m:latest"] {
        assert_eq!(hub.chat(&room, model).expect(200).json()["model"], "m", "{model}");
    }
    for model in ["bob", "model:x", "model:ann", ""] {
        let answer = hub.chat(&room, model);
        assert!([400, 404].contains(&answer.status), "{model}: {}", answer.text());
    }
    let refused = hub.chat(&room, "bob").expect(404).json();
    assert_eq!(
        refused,
        json!({ "error": "No available participant for the requested model", "code": "MODEL_NOT_FOUND" })
    );
}

#[test]
fn a_named_participant_that_is_away_or_busy_says_so() {
    let hub = TestHub::with(|options| options.timeouts.queue = Duration::ZERO);
    let room = hub.room();
    hub.client.participants(&room).upsert("away", &registration()).unwrap();
    let away = hub.chat(&room, "away").expect(503);
    assert_eq!(away.header("retry-after"), Some("5"));
    let away = away.json();
    assert_eq!(away["error"], "Participant tunnel is not connected.");
    assert_eq!(away["code"], "PARTICIPANT_TUNNEL_NOT_CONNECTED");

    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let mut first = hub.stream(&room, "ann");
    let request = ann.receive();
    assert_eq!(hub.participant(&room, "ann")["status"], "busy");
    let busy = hub.chat(&room, "ann").expect(409).json();
    assert_eq!(busy["error"], "Participant is already handling another request.");
    assert_eq!(busy["code"], "PARTICIPANT_BUSY");
    ann.begin(&request, "text/event-stream", &["data: {}\n\n"]);
    ann.end(&request);
    assert_eq!(first.answer().status, 200);
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
}

#[test]
fn bad_requests_are_refused_before_anybody_is_asked() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    for body in [
        "",
        "[]",
        "nonsense",
        "{}",
        r#"{"model":1,"messages":[]}"#,
        r#"{"model":"any"}"#,
        r#"{"model":"any","messages":[],"stream":"yes"}"#,
    ] {
        let answer = Conn::open(hub.addr()).ask("POST", &path(&room), &[("Connection", "close")], Some(body)).answer();
        let answer = answer.expect(400).json();
        assert!(answer["error"].is_string() && answer["code"] == "INVALID_REQUEST", "{body}: {answer}");
    }
    assert_eq!(hub.get(&path(&room)).status, 405);
    assert!(provider.seen().is_empty());
}

#[test]
fn defaults_fill_what_the_request_leaves_open() {
    let hub = TestHub::start();
    let sampling =
        |temperature: u32, seed| Sampling { temperature: Some(temperature.into()), seed, ..Sampling::default() };
    let defaults = RuntimeConfig { sampling: sampling(1, Some(7.into())), instructions: Some("Room.".into()) };
    let room = hub.room_with(&CreateRoom { name: "Lab".into(), defaults: Some(defaults), ..CreateRoom::default() });
    let provider = FakeProvider::start(Script::Echo);
    let config = RuntimeConfig { sampling: sampling(2, None), instructions: None };
    let _session = Session::builder(hub.url(), &room)
        .participant_id("ann")
        .model("m")
        .endpoint(provider.url())
        .config(config)
        .start()
        .unwrap();
    let sent = hub.chat(&room, "any").expect(200).json();
    assert_eq!((&sent["temperature"], &sent["seed"]), (&json!(2), &json!(7)));
    assert_eq!(sent["messages"][0], json!({ "role": "system", "content": "Room." }));
    let own = json!({ "model": "any", "temperature": 0, "seed": null, "messages": [{ "role": "system", "content": "Own." }] });
    let sent = hub.post(&path(&room), &own).expect(200).json();
    assert_eq!((&sent["temperature"], &sent["seed"]), (&json!(0), &json!(7)));
    assert_eq!(sent["messages"], own["messages"]);
}

#[test]
fn a_providers_refusal_passes_as_it_came() {
    let hub = TestHub::start();
    let room = hub.room();
    let body = r#"{"error": {"message": "no such thing", "type": "x"}}"#;
    let provider = FakeProvider::start(Script::Answer { status: 422, kind: "application/json", body: body.into() });
    let _session = join(&hub, &room, "ann", &provider);
    let events = hub.watch_room(&room);
    assert_eq!(hub.chat(&room, "any").expect(422).text(), body);
    assert_eq!(hub.stream(&room, "any").answer().expect(422).text(), body);
    let error = events.next("llm.error");
    assert_eq!((&error["stage"], &error["participantId"]), (&json!("provider"), &json!("ann")));
    provider.set(Script::Answer { status: 200, kind: "text/html", body: "<p>hello".into() });
    assert_eq!(hub.chat(&room, "any").expect(200).text(), "<p>hello");
}

#[test]
fn a_stream_comes_piece_by_piece_and_is_measured() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let events = hub.watch_room(&room);
    let mut chat = hub.stream(&room, "model:m");
    let request = ann.receive();
    assert_eq!((&request["operation"], &request["method"]), (&json!("chat.completions.create"), &json!("POST")));
    assert_eq!((&request["path"], &request["stream"]), (&json!("/v1/chat/completions"), &json!(true)));
    assert_eq!(request["headers"], json!({ "Content-Type": "application/json" }));
    assert_eq!(request["body"]["model"], "m");
    ann.begin(&request, "text/event-stream", &[]);
    let head = chat.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("cache-control"), head.header("x-accel-buffering")), (Some("no-cache"), Some("no")));
    // Each piece is there before the next is sent.
    for piece in ["data: {\"a\":1}\n\n", "data: half", " rest\n\n"] {
        ann.chunk(&request, piece);
        assert_eq!(chat.chunk().unwrap(), piece.as_bytes());
    }
    let usage =
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\ndata: [DONE]\n\n";
    ann.chunk(&request, usage);
    assert_eq!(chat.chunk().unwrap(), usage.as_bytes());
    ann.end(&request);
    assert_eq!(chat.chunk().unwrap(), b"");

    let asked = events.next("llm.request");
    let id = &request["requestId"];
    assert_eq!(
        asked,
        json!({ "requestId": id, "participantId": "ann", "model": "model:m", "protocol": "chatCompletions" })
    );
    let done = events.next("llm.complete");
    let metrics = &done["metrics"];
    assert_eq!(done["requestId"], *id);
    assert_eq!(
        (&metrics["inputTokens"], &metrics["outputTokens"], &metrics["totalTokens"]),
        (&json!(3), &json!(5), &json!(8))
    );
    assert!(metrics["ttftMs"].as_u64().unwrap() <= metrics["durationMs"].as_u64().unwrap());
}

#[test]
fn an_inference_body_may_begin_with_a_byte_order_mark() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = join(&hub, &room, "ann", &provider);
    let body = "\u{feff}{\"model\":\"any\",\"messages\":[]}";
    Conn::open(hub.addr()).ask("POST", &path(&room), &[("Connection", "close")], Some(body)).answer().expect(200);
    assert_eq!(provider.wait_for_request(1).body, r#"{"model":"m","messages":[]}"#, "the provider gets none");
}

#[test]
fn a_failure_before_the_answer_is_a_502() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let provider = FakeProvider::start(Script::Slam);
    let _session = join(&hub, &room, "ann", &provider);
    let answer = hub.chat(&room, "any").expect(502).json();
    assert!(answer["error"].as_str().unwrap().starts_with("Failed to proxy request: "), "{answer}");
    let error = events.next("llm.error");
    let all = ["endpoint", "error", "model", "nickname", "participantId", "protocol", "requestId", "stage"];
    assert_eq!(error.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), all);

    let mut bob = RawParticipant::join(&hub, &room, "bob");
    hub.wait_for_status(&room, "bob", "online");
    let mut chat = hub.stream(&room, "bob");
    let request = bob.receive();
    bob.fail(&request, "it burns");
    let answer = chat.answer().expect(502).json();
    assert_eq!(answer["error"], "Failed to proxy request: it burns");
    assert_eq!(events.next("llm.error")["stage"], "fetch");

    let mut chat = hub.stream(&room, "bob");
    bob.receive();
    drop(bob);
    assert_eq!(chat.answer().expect(502).json()["code"], "PARTICIPANT_TUNNEL_NOT_CONNECTED");
    assert_eq!(hub.chat(&room, "bob").status, 503);
}

#[test]
fn a_stream_whose_connection_closes_behind_done_is_whole() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let stream = ["data: {\"n\":1}\n\n", "data: [DO", "NE]\n\n"];
    let provider = FakeProvider::start(Script::StreamAndDie(stream.map(str::to_owned).to_vec()));
    let _session = join(&hub, &room, "ann", &provider);
    let answer = hub.stream(&room, "ann").answer();
    assert_eq!((answer.status, answer.whole, answer.text()), (200, true, stream.concat()));
    events.next("llm.complete");
    // One that stays open is not waited for as long as one that may go on.
    provider.set(Script::StreamAndHang(stream.map(str::to_owned).to_vec()));
    assert!(hub.stream(&room, "ann").answer().whole);
    events.next("llm.complete");
}

#[test]
fn a_stream_that_breaks_ends_with_an_error_and_without_its_last_chunk() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let provider = FakeProvider::start(Script::StreamAndDie(vec!["data: {\"n\":1}\n\n".into()]));
    let _session = join(&hub, &room, "ann", &provider);
    let answer = hub.stream(&room, "ann").answer();
    assert_eq!((answer.status, answer.whole), (200, false));
    assert!(answer.text().starts_with("data: {\"n\":1}\n\ndata: {\"error\":{"), "{}", answer.text());
    assert_eq!(events.next("llm.error")["stage"], "stream");

    let mut bob = RawParticipant::join(&hub, &room, "bob");
    hub.wait_for_status(&room, "bob", "online");
    let mut chat = hub.stream(&room, "bob");
    let request = bob.receive();
    bob.begin(&request, "text/event-stream", &["data: {\"n\":1}\n\n"]);
    assert_eq!(chat.head().status, 200);
    chat.chunk().unwrap();
    drop(bob);
    assert!(chat.chunk().unwrap().starts_with(b"data: {\"error\":{"));
    assert_eq!(chat.chunk(), None);
    assert_eq!(events.next("llm.error")["stage"], "stream");
    hub.wait_for_status(&room, "bob", "offline");
}

#[test]
fn hanging_up_cancels_the_work_in_every_window() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let _session = join(&hub, &room, "ann", &provider);
    let mut cancelled = 0;
    let mut expect_cancelled = |what: &str| {
        cancelled += 1;
        assert_eq!(events.next("llm.error")["stage"], "cancelled", "{what}");
        wait_until(&format!("the provider to be left: {what}"), || provider.abandoned() == cancelled);
        hub.wait_for_status(&room, "ann", "online");
    };
    // Before the provider's headers, whole and streamed.
    for stream in [true, false] {
        let body = json!({ "model": "ann", "stream": stream, "messages": [] }).to_string();
        let mut chat = Conn::open(hub.addr());
        chat.ask("POST", &path(&room), &[], Some(&body));
        wait_until("the request to arrive", || provider.seen().len() == if stream { 1 } else { 2 });
        chat.hang_up();
        expect_cancelled(if stream { "a stream without its head" } else { "a whole answer" });
    }
    // Behind bytes that were sent after the body: some older clients end it with a line of its own.
    let body = json!({ "model": "ann", "messages": [] }).to_string();
    let mut chat = Conn::open(hub.addr());
    chat.ask("POST", &path(&room), &[], Some(&body));
    chat.send("\r\n");
    wait_until("the request to arrive", || provider.seen().len() == 3);
    chat.hang_up();
    expect_cancelled("behind a stray line end");
    // In mid-stream, while the provider is silent.
    provider.set(Script::StreamAndHang(vec!["data: 1\n\n".into()]));
    let mut chat = hub.stream(&room, "ann");
    assert_eq!(chat.head().status, 200);
    chat.chunk().unwrap();
    chat.hang_up();
    expect_cancelled("a silent stream");
    // In mid-stream, while it never stops.
    provider.set(Script::Endless("data: x\n\n".into()));
    let mut chat = hub.stream(&room, "ann");
    assert_eq!(chat.head().status, 200);
    chat.chunk().unwrap();
    chat.hang_up();
    expect_cancelled("an endless stream");
}

#[test]
fn a_participant_is_told_to_stop_with_tunnel_cancel() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let chat = hub.stream(&room, "ann");
    let request = ann.receive();
    chat.hang_up();
    assert_eq!(ann.receive(), json!({ "type": "tunnel.cancel", "requestId": request["requestId"] }));
    // What still comes for it is dropped.
    ann.begin(&request, "text/event-stream", &["late"]);
    ann.end(&request);
    hub.wait_for_status(&room, "ann", "online");
    let mut next = hub.stream(&room, "ann");
    let request = ann.receive();
    ann.begin(&request, "application/json", &["{}"]);
    ann.end(&request);
    assert_eq!(next.answer().text(), "{}");
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_tunnel() {
    let hub = TestHub::with(|options| options.limits.write = Duration::from_millis(500));
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let _deaf = hub.stream(&room, "ann");
    let request = ann.receive();
    ann.begin(&request, "text/event-stream", &[]);
    let piece = "x".repeat(256 << 10);
    ann.socket.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    wait_until("the request to be cancelled", || {
        ann.chunk(&request, &piece);
        match ann.socket.read() {
            Ok(message) => message.to_text().is_ok_and(|text| text.contains("tunnel.cancel")),
            Err(_) => false,
        }
    });
    ann.socket.get_ref().set_read_timeout(Some(support::PATIENCE)).unwrap();
    ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(ann.receive()["type"], "tunnel.pong");
}

#[test]
fn a_long_answer_goes_through_whole() {
    let hub = TestHub::start();
    let room = hub.room();
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(3 << 20));
    let provider = FakeProvider::start(whole(&long));
    let _session = join(&hub, &room, "ann", &provider);
    let answer = hub.chat(&room, "any").expect(200);
    assert!(answer.whole && answer.text() == long);
    provider.set(Script::Echo);
    let body = json!({ "model": "any", "messages": [{ "role": "user", "content": "y".repeat(5 << 20) }] });
    let echoed: Value = hub.post(&path(&room), &body).expect(200).json();
    assert_eq!(echoed["messages"], body["messages"]);
}
