//! Failover: what is tried again, where, and until when. The client sees one answer, or one error in its protocol's form.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, wait_until};

/// Registers a direct participant of the legacy plane.
fn join_direct(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) {
    let body = json!({ "id": id, "nickname": id, "model": "m", "endpoint": provider.url() });
    hub.post(&format!("/rooms/{room}/join"), &body).expect(201);
}

#[test]
fn a_request_on_a_kept_connection_that_closes_is_sent_once_more_on_a_new_one() {
    for reset in [false, true] {
        let hub = TestHub::start();
        let room = hub.room();
        let tunnelled = FakeProvider::start(Script::CloseKept { reset });
        let direct = FakeProvider::start(Script::CloseKept { reset });
        let _session = hub.join(&room, "tunnelled", &tunnelled);
        join_direct(&hub, &room, "direct", &direct);
        for (id, provider) in [("tunnelled", &tunnelled), ("direct", &direct)] {
            // A long prompt is sent while it arrives.
            for prompt in ["Hi", &"long".repeat(100_000)].into_iter().cycle().take(4) {
                let body = json!({ "model": id, "messages": [{ "role": "user", "content": prompt }] });
                let answer = hub.post(&format!("/rooms/{room}/v1/chat/completions"), &body).expect(200);
                assert!(answer.text().contains(prompt), "the whole prompt");
            }
            let seen = provider.seen().len();
            assert!((7..=8).contains(&seen), "each but the first is sent twice: {seen} to {id}");
        }
    }
}

#[test]
fn a_request_that_a_new_connection_does_not_answer_is_not_repeated() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    hub.chat(&room, "ann").expect(200);
    provider.forget();
    provider.set(Script::Slam);
    hub.chat(&room, "ann").expect(502);
    assert_eq!(provider.seen().len(), 2, "on the kept connection, and on a new one");
}

fn held() -> FakeProvider {
    FakeProvider::start(Script::Held(Box::new(Script::Echo)))
}

fn loading() -> Script {
    Script::Answer { status: 503, kind: "application/json", body: r#"{"error":"loading the model"}"#.into() }
}

/// Sends a chat that is not streamed. The response is left to be read.
fn ask(hub: &TestHub, room: &str, model: &str, n: usize) -> Conn {
    let body = json!({ "model": model, "messages": [], "n": n }).to_string();
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
    conn
}

#[test]
fn a_request_that_failed_waits_for_a_participant_that_is_busy() {
    for script in [loading(), Script::Slam] {
        let hub = TestHub::start();
        let room = hub.room();
        let (failing, busy) = (FakeProvider::start(script), held());
        let _failing = hub.join(&room, "failing", &failing);
        let _busy = hub.join(&room, "busy", &busy);
        let mut conns = vec![ask(&hub, &room, "busy", 0)];
        busy.wait_for_request(1);
        for n in 1..4 {
            conns.push(ask(&hub, &room, "any", n));
            wait_until("it to fail and stand in line", || hub.hub.waiting() == n);
        }
        (0..4).for_each(|_| busy.release());
        for (n, conn) in conns.iter_mut().enumerate() {
            let answer = conn.answer().expect(200);
            assert_eq!(
                (answer.json()["n"].as_u64(), answer.header("x-gambi-participant")),
                (Some(n as u64), Some("busy"))
            );
        }
        let served: Vec<_> = busy.seen().iter().map(|seen| seen.body.clone()).collect();
        assert!(served.is_sorted_by_key(|body| body.split_once("\"n\":").unwrap().1.to_owned()), "{served:?}");
    }
}

#[test]
fn the_head_of_a_stream_that_failed_is_sent_before_the_wait_for_another() {
    // Without the comments, which would send the head, too.
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_secs(3600));
    let room = hub.room();
    let busy = held();
    let _busy = hub.join(&room, "busy", &busy);
    let mut first = hub.stream(&room, "busy");
    busy.wait_for_request(1);
    let mut failing = RawParticipant::join(&hub, &room, "failing");
    hub.wait_for_status(&room, "failing", "online");
    let mut waiting = hub.stream(&room, "any");
    let request = failing.receive();
    let id = &request["requestId"];
    for message in [
        json!({ "type": "tunnel.response.start", "requestId": id, "status": 200, "headers": { "content-type": "text/event-stream" } }),
        json!({ "type": "tunnel.response.error", "requestId": id, "stage": "fetch", "message": "it broke" }),
    ] {
        failing.socket.write(Message::text(message.to_string())).unwrap();
    }
    failing.socket.flush().unwrap();
    let head = waiting.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    (0..2).for_each(|_| busy.release());
    assert!(first.answer().whole && waiting.body_of(head).whole);
}

#[test]
fn a_refusal_is_passed_on_when_the_wait_for_another_was_in_vain() {
    let hub = TestHub::with(|options| options.timeouts.queue = Duration::from_millis(200));
    let room = hub.room();
    let (failing, busy) = (FakeProvider::start(loading()), held());
    let _failing = hub.join(&room, "failing", &failing);
    let _busy = hub.join(&room, "busy", &busy);
    let mut first = hub.stream(&room, "busy");
    busy.wait_for_request(1);
    assert_eq!(hub.chat(&room, "any").expect(503).text(), r#"{"error":"loading the model"}"#);
    failing.set(Script::Slam);
    let told = hub.chat(&room, "any").expect(502).json();
    assert!(told["error"].as_str().unwrap().starts_with("Failed to proxy request: "), "{told}");
    busy.release();
    assert_eq!((first.answer().status, busy.seen().len()), (200, 1));
}

#[test]
fn whoever_hangs_up_after_a_failed_try_leaves_the_line() {
    let hub = TestHub::start();
    let room = hub.room();
    let (failing, busy) = (FakeProvider::start(loading()), held());
    let _failing = hub.join(&room, "failing", &failing);
    let _busy = hub.join(&room, "busy", &busy);
    let mut first = hub.stream(&room, "busy");
    busy.wait_for_request(1);
    let events = hub.watch_room(&room);
    let second = ask(&hub, &room, "any", 2);
    assert_eq!(events.next("llm.error")["participantId"], "failing");
    wait_until("it to stand in line", || hub.hub.waiting() == 1);
    second.hang_up();
    assert_eq!(events.next("llm.error")["stage"], "cancelled");
    wait_until("it to leave the line", || hub.hub.waiting() == 0);
    busy.release();
    assert_eq!((first.answer().status, busy.seen().len()), (200, 1));
}

const SILENT: [&str; 3] = [": ping\n\n", "event: ping\n\n", "data:\n\n"];

fn good() -> FakeProvider {
    FakeProvider::start(Script::Stream(vec!["data: {\"choices\":[]}\n\n".into(), "data: [DONE]\n\n".into()]))
}

#[test]
fn heads_comments_and_empty_events_leave_the_request_free_for_another_participant() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut reading = RawParticipant::join(&hub, &room, "reading");
    hub.wait_for_status(&room, "reading", "online");
    let mut chat = hub.stream(&room, "any");
    let request = reading.receive();
    reading.begin(&request, "text/event-stream", &SILENT);
    assert_eq!(chat.head().status, 200, "a stream begins with the provider's head");
    let _good = hub.join(&room, "good", &good());
    let events = hub.watch_room(&room);
    drop(reading);
    let mut text = Vec::new();
    while let Some(chunk) = chat.chunk().filter(|chunk| !chunk.is_empty()) {
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    // The head has named the other one.
    assert_eq!(text, ": answered by good\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n");
    assert_eq!(events.next("llm.error")["participantId"], "reading");
    assert_eq!(events.next("llm.complete")["participantId"], "good");
}

#[test]
fn a_head_that_says_how_one_body_is_compressed_never_precedes_another_body() {
    let hub = TestHub::start();
    let room = hub.room();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n";
    let broken = FakeProvider::start(Script::Raw(format!("{head}Content-Length: 100\r\n\r\n").into()));
    let _broken = hub.join(&room, "broken", &broken);
    let _good = hub.join(&room, "good", &good());
    // The choice between two that are alike is by lot.
    wait_until("a request to begin at the one that fails", || {
        let answer = hub.stream(&room, "any").answer();
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None));
        assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        !broken.seen().is_empty()
    });
}

#[test]
fn a_compressed_answer_does_not_follow_a_head_that_says_nothing_of_it() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut reading = RawParticipant::join(&hub, &room, "reading");
    hub.wait_for_status(&room, "reading", "online");
    let mut chat = hub.stream(&room, "any");
    let request = reading.receive();
    reading.begin(&request, "text/event-stream", &SILENT);
    assert_eq!(chat.head().status, 200);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n";
    let _other = hub.join(&room, "other", &FakeProvider::start(Script::Raw(format!("{head}\r\nnoise").into())));
    drop(reading);
    let mut text = Vec::new();
    while let Some(chunk) = chat.chunk().filter(|chunk| !chunk.is_empty()) {
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("let it send plain text") && !text.contains("nois"), "{text}");
}

#[test]
fn a_translated_answer_that_has_said_nothing_fails_over_too() {
    let hub = TestHub::start();
    let room = hub.room();
    let (bad, good) = (FakeProvider::start(Script::StreamAndDie(SILENT.map(str::to_owned).to_vec())), good());
    for provider in [&bad, &good] {
        provider.set_path("/v1/responses", Script::Missing);
    }
    let _bad = hub.join(&room, "bad", &bad);
    let _good = hub.join(&room, "good", &good);
    let body = json!({ "model": "any", "stream": true, "input": "Hi" }).to_string();
    // The choice between two that are alike is by lot.
    wait_until("a request to begin at the one that fails", || {
        let mut conn = Conn::open(hub.addr());
        let answer = conn.ask("POST", &format!("/rooms/{room}/v1/responses"), &[], Some(&body)).answer();
        let text = answer.text();
        assert!(answer.whole && text.matches("event: response.created").count() == 1, "{text}");
        assert!(text.contains("event: response.completed"), "{text}");
        !bad.seen().is_empty()
    });
}

#[test]
fn what_was_held_back_is_passed_on_with_the_first_data_or_when_it_is_too_long() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    for (silent, data) in [(SILENT.concat(), "data: 1\n\n"), (":".repeat(65 << 10), "")] {
        let mut chat = hub.stream(&room, "ann");
        let request = ann.receive();
        ann.begin(&request, "text/event-stream", &[&silent]);
        assert_eq!(chat.head().status, 200);
        if !data.is_empty() {
            ann.chunk(&request, data);
        }
        let mut passed = Vec::new();
        while passed.len() < silent.len() + data.len() {
            passed.extend(chat.chunk().unwrap());
        }
        assert!(passed == (silent + data).into_bytes());
        ann.end(&request);
        assert_eq!(chat.chunk().unwrap(), b"");
    }
    // A stream that ends without data is complete.
    let mut chat = hub.stream(&room, "ann");
    let request = ann.receive();
    ann.begin(&request, "text/event-stream", &SILENT);
    ann.end(&request);
    let answer = chat.answer();
    assert!(answer.whole && answer.text() == SILENT.concat());
}

#[test]
fn a_client_that_hangs_up_behind_comments_was_waiting_for_its_first_token() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let mut chat = hub.stream(&room, "ann");
    let request = ann.receive();
    ann.begin(&request, "text/event-stream", &SILENT);
    assert_eq!(chat.head().status, 200);
    chat.hang_up();
    assert_eq!(ann.receive()["type"], "tunnel.cancel");
    wait_until("the hub to count it", || {
        hub.get("/metrics").text().contains("gambi_cancellations_total{stage=\"waiting\"} 1")
    });
}

/// The events of a stream that broke off: their names and data.
fn told(hub: &TestHub, path: &str, body: &Value) -> Vec<(String, Value)> {
    let answer = Conn::open(hub.addr()).ask("POST", path, &[], Some(&body.to_string())).answer();
    let text = answer.text();
    assert!(answer.status == 200 && !answer.whole && text.ends_with("\n\n"), "{text}");
    let field = |event: &str, name: &str| -> String {
        event.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>().join("\n")
    };
    let events = text.split_terminator("\n\n").filter(|event| !event.is_empty());
    events.map(|e| (field(e, "event: "), serde_json::from_str(&field(e, "data: ")).unwrap_or(Value::Null))).collect()
}

#[test]
fn a_stream_that_breaks_tells_so_in_its_own_protocol() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndDie(vec!["data: {\"n\":1}\n\n".into()]));
    let created = r#"{"type":"response.created","sequence_number":4,"response":{"id":"resp_1"}}"#;
    let begun = format!("event: response.created\ndata: {created}\n\n");
    provider.set_path("/v1/responses", Script::StreamAndDie(vec![begun]));
    let _session = hub.join(&room, "ann", &provider);
    let path = |operation: &str| format!("/rooms/{room}/v1/{operation}");
    let body = json!({ "model": "any", "stream": true, "messages": [], "input": "Hi", "max_tokens": 5 });

    let chat = told(&hub, &path("chat/completions"), &body);
    let (name, data) = &chat[1];
    assert_eq!((chat.len(), name.as_str(), &chat[0].1), (2, "", &json!({ "n": 1 })));
    assert!(data["error"]["message"].as_str().unwrap().starts_with("Failed to proxy request: "), "{data}");
    assert_eq!(
        (&data["error"]["type"], &data["error"]["code"]),
        (&json!("server_error"), &json!("ENDPOINT_NOT_REACHABLE"))
    );

    let messages = told(&hub, &path("messages"), &body);
    let (name, data) = &messages[1];
    assert_eq!((messages.len(), name.as_str(), &data["type"]), (2, "error", &json!("error")));
    assert_eq!(data["error"]["type"], "api_error");
    assert!(data["error"]["message"].is_string());

    let responses = told(&hub, &path("responses"), &body);
    let (name, data) = &responses[1];
    assert_eq!((responses.len(), name.as_str(), &data["type"]), (2, "response.failed", &json!("response.failed")));
    assert_eq!((&data["sequence_number"], &data["response"]["id"]), (&json!(5), &json!("resp_1")));
    assert_eq!((&data["response"]["status"], &data["response"]["model"]), (&json!("failed"), &json!("m")));
    assert!(data["response"]["error"]["message"].is_string());
}

#[test]
fn a_translated_stream_that_breaks_tells_so_once() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndDie(vec!["data: {\"choices\":[]}\n\n".into()]));
    provider.set_path("/v1/responses", Script::Missing);
    let _session = hub.join(&room, "ann", &provider);
    let body = json!({ "model": "any", "stream": true, "input": "Hi" });
    let events = told(&hub, &format!("/rooms/{room}/v1/responses"), &body);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["response.created", "response.in_progress", "response.failed"]);
}

#[test]
fn an_event_that_was_torn_is_closed_before_the_error() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndDie(vec!["data: 1\n\ndata: {\"half".into()]));
    let _session = hub.join(&room, "ann", &provider);
    let text = hub.stream(&room, "ann").answer().text();
    assert!(text.starts_with("data: 1\n\ndata: {\"half\n\ndata: {\"error\":{"), "{text}");
}

#[test]
fn an_answer_that_is_no_event_stream_gets_no_event() {
    let hub = TestHub::start();
    let room = hub.room();
    let long = "x".repeat(300 << 10);
    for head in ["Content-Type: application/json", "Content-Type: text/event-stream\r\nContent-Encoding: gzip"] {
        let raw = format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: 400000\r\n\r\n{long}");
        let provider = FakeProvider::start(Script::Raw(raw.into_bytes()));
        let _session = hub.join(&room, "ann", &provider);
        let answer = hub.stream(&room, "ann").answer();
        assert!(answer.status == 200 && !answer.whole && long.starts_with(&answer.text()), "{head}");
    }
}
