//! Better service than from any one participant: waiting in line, the choice among several, failover, deadlines.

mod support;

use std::thread;
use std::time::Duration;

use gambi::participant::Session;
use serde_json::json;

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, wait_until};

fn held() -> FakeProvider {
    FakeProvider::start(Script::Held(Box::new(Script::Echo)))
}

fn status(code: u16) -> FakeProvider {
    FakeProvider::start(Script::Answer { status: code, kind: "application/json", body: r#"{"own":"error"}"#.into() })
}

#[test]
fn a_request_waits_for_its_turn_first_come_first_served() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = held();
    let _session = hub.join(&room, "ann", &provider);
    let ask = |n: u64| {
        let body = json!({ "model": "ann", "messages": [], "n": n }).to_string();
        let mut conn = Conn::open(hub.addr());
        conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
        conn
    };
    let mut first = ask(1);
    provider.wait_for_request(1);
    let mut others = Vec::new();
    let before = hub.hub.waiting();
    for n in 2..=4 {
        others.push(ask(n));
        wait_until("the request to stand in line", || hub.hub.waiting() == before + others.len());
    }
    // One who gives up leaves the line, and is passed over.
    others.remove(1).hang_up();
    wait_until("it to leave the line", || hub.hub.waiting() == 2);
    for number in 1..=3 {
        provider.release();
        let conn = if number == 1 { &mut first } else { &mut others[number - 2] };
        let n = conn.answer().expect(200).json()["n"].as_u64().unwrap();
        assert_eq!(n, [1, 2, 4][number - 1]);
    }
    assert_eq!((hub.hub.waiting(), provider.seen().len()), (0, 3));
}

#[test]
fn a_line_has_an_end_and_waiting_too() {
    let hub = TestHub::with(|options| {
        options.timeouts.queue = Duration::from_millis(200);
        options.timeouts.queue_limit = 1;
    });
    let room = hub.room();
    let provider = held();
    let _session = hub.join(&room, "ann", &provider);
    let mut first = hub.stream(&room, "ann");
    provider.wait_for_request(1);
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| hub.chat(&room, "any"));
        wait_until("the request to stand in line", || hub.hub.waiting() == 1 || waiting.is_finished());
        let mut refused = hub.chat(&room, "any");
        // Where the first had given up already, this one waited in its place.
        if refused.status == 409 {
            refused = thread::scope(|scope| {
                let again = scope.spawn(|| hub.chat(&room, "any"));
                wait_until("a request to stand in line", || hub.hub.waiting() == 1);
                let refused = hub.chat(&room, "any");
                again.join().unwrap();
                refused
            });
        }
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        waiting.join().unwrap()
    });
    assert_eq!(waiting.expect(409).json()["code"], "PARTICIPANT_BUSY");
    provider.release();
    assert_eq!(first.answer().status, 200);
}

#[test]
fn those_who_wait_hear_when_there_is_nobody_left() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let _first = hub.stream(&room, "ann");
    ann.receive();
    let mut named = hub.stream(&room, "ann");
    wait_until("the request to stand in line", || hub.hub.waiting() == 1);
    drop(ann);
    assert_eq!(named.answer().expect(503).json()["code"], "PARTICIPANT_TUNNEL_NOT_CONNECTED");
}

#[test]
fn a_participant_takes_as_many_as_it_said() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = held();
    let session = Session::builder(hub.url(), &room)
        .participant_id("ann")
        .model("m")
        .alias("gpt-4o")
        .concurrency(3)
        .endpoint(provider.url())
        .start()
        .unwrap();
    assert_eq!(
        (session.participant().concurrency, session.participant().aliases.as_slice()),
        (3, &["gpt-4o".to_owned()][..])
    );
    let mut conns: Vec<_> = (0..3).map(|_| hub.stream(&room, "gpt-4o")).collect();
    provider.wait_for_request(3);
    (0..3).for_each(|_| provider.release());
    for conn in &mut conns {
        assert_eq!(conn.answer().status, 200);
    }
    let answer = hub.put(
        &format!("/v1/rooms/{room}/participants/x"),
        &json!({ "nickname": "x", "model": "m", "endpoint": "http://x", "concurrency": 0 }),
    );
    assert_eq!(answer.expect(400).json()["error"]["details"]["field"], "concurrency");
}

#[test]
fn what_one_cannot_answer_another_does() {
    for script in [
        Script::Slam,
        Script::Raw(b"no http at all\r\n\r\n".to_vec()),
        Script::Answer { status: 502, kind: "text/plain", body: "no".into() },
        Script::Answer { status: 503, kind: "text/plain", body: "no".into() },
        Script::Answer { status: 429, kind: "text/plain", body: "no".into() },
    ] {
        let hub = TestHub::start();
        let room = hub.room();
        let bad = FakeProvider::start(script.clone());
        let good = FakeProvider::start(Script::Echo);
        let _bad = hub.join(&room, "bad", &bad);
        let _good = hub.join(&room, "good", &good);
        let events = hub.watch_room(&room);
        // The choice between two that are alike is by lot: some of these begin at the bad one.
        wait_until("a request to begin at the one that fails", || {
            let answer = hub.chat(&room, "model:m").expect(200);
            assert_eq!(answer.header("x-gambi-participant"), Some("good"), "{script:?}");
            !bad.seen().is_empty()
        });
        let error = events.next("llm.error");
        assert_eq!(error["participantId"], "bad");
        assert_eq!(events.next("llm.complete")["requestId"], error["requestId"]);
        // Who failed just now is not asked while another is free, but can be named, and then stands alone.
        let before = bad.seen().len();
        (0..5).for_each(|_| drop(hub.chat(&room, "any").expect(200)));
        assert_eq!(bad.seen().len(), before);
        assert_ne!(hub.chat(&room, "bad").status, 200);
    }
}

#[test]
fn the_last_failure_is_told_when_all_fail() {
    let hub = TestHub::start();
    let room = hub.room();
    let providers: Vec<_> = (0..4).map(|_| status(503)).collect();
    let _sessions: Vec<_> = providers.iter().enumerate().map(|(n, p)| hub.join(&room, &format!("p{n}"), p)).collect();
    let answer = hub.chat(&room, "any").expect(503);
    assert_eq!(answer.text(), r#"{"own":"error"}"#, "what the provider answers passes as it came");
    assert_eq!(providers.iter().map(|p| p.seen().len()).sum::<usize>(), 3, "at most two others are tried");
    let other = status(500);
    let _other = hub.join(&room, "other", &other);
    assert_eq!(hub.chat(&room, "other").status, 500);
}

#[test]
fn nothing_is_tried_again_once_a_byte_was_sent() {
    let hub = TestHub::start();
    let room = hub.room();
    let dying = FakeProvider::start(Script::StreamAndDie(vec!["data: 1\n\n".into()]));
    let _one = hub.join(&room, "one", &dying);
    let _two = hub.join(&room, "two", &dying);
    let answer = hub.stream(&room, "any").answer();
    assert!(answer.status == 200 && !answer.whole);
    assert!(answer.text().starts_with("data: 1\n\ndata: {\"error\":{"), "{}", answer.text());
    assert_eq!(dying.seen().len(), 1);
}

#[test]
fn silence_has_an_end() {
    let hub = TestHub::with(|options| {
        options.timeouts.first_byte = Duration::from_millis(200);
        options.timeouts.idle = Duration::from_millis(200);
    });
    let room = hub.room();
    let provider = held();
    let _session = hub.join(&room, "ann", &provider);
    let events = hub.watch_room(&room);
    let late = hub.chat(&room, "any").expect(504).json();
    assert_eq!(late["code"], "ENDPOINT_NOT_REACHABLE");
    assert_eq!(events.next("llm.error")["stage"], "dispatch");
    wait_until("the provider to be left", || provider.abandoned() == 1);
    provider.set(Script::StreamAndHang(vec!["data: 1\n\n".into()]));
    let broken = hub.stream(&room, "any").answer();
    assert_eq!((broken.status, broken.whole), (200, false));
    assert!(broken.text().starts_with("data: 1\n\ndata: {\"error\":{"), "{}", broken.text());
    assert_eq!(events.next("llm.error")["stage"], "stream");
    wait_until("the provider to be left", || provider.abandoned() == 2);
}

#[test]
fn a_stream_that_waits_gets_comments_and_a_failure_is_told_behind_them() {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(100));
    let room = hub.room();
    let provider = held();
    let session = hub.join(&room, "ann", &provider);
    let mut first = hub.stream(&room, "ann");
    provider.wait_for_request(1);
    let mut second = hub.stream(&room, "ann");
    for conn in [&mut first, &mut second] {
        assert_eq!(conn.head().status, 200);
        assert!(conn.chunk().unwrap().starts_with(b":"));
    }
    provider.release();
    let mut answer = Vec::new();
    while let Some(chunk) = first.chunk().filter(|chunk| !chunk.is_empty()) {
        answer.extend(chunk);
    }
    assert!(String::from_utf8(answer).unwrap().ends_with("data: [DONE]\n\n"));
    provider.wait_for_request(2);
    session.close();
    let mut told = Vec::new();
    while let Some(chunk) = second.chunk() {
        assert!(!chunk.is_empty(), "a stream that failed ends without its last chunk");
        told.extend(chunk);
    }
    let told = String::from_utf8(told).unwrap();
    let event = told.split("\n\n").find_map(|event| event.strip_prefix("data: ")).unwrap_or_else(|| panic!("{told}"));
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert!(event["error"]["message"].is_string() && event["error"]["code"].is_string(), "{event}");
}

#[test]
fn a_comment_never_tears_an_event() {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(50));
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let mut chat = hub.stream(&room, "ann");
    let request = ann.receive();
    ann.begin(&request, "text/event-stream", &["data: {\"a\":"]);
    assert_eq!(chat.head().status, 200);
    let mut text = String::new();
    while !text.contains("data") {
        text += &String::from_utf8(chat.chunk().unwrap()).unwrap();
    }
    // Within an event there is silence, however long; behind it comments come again.
    chat.stream().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(chat.chunk().is_none());
    chat.stream().set_read_timeout(Some(support::PATIENCE)).unwrap();
    ann.chunk(&request, "1}\n\n");
    assert_eq!(chat.chunk().unwrap(), b"1}\n\n");
    assert!(chat.chunk().unwrap().starts_with(b":"));
    // The end of an event may come in two pieces.
    for (most, rest) in [("data: 2\n", "\n"), ("data: 3\r\n\r", "\n"), ("data: 4", "\n\n")] {
        ann.chunk(&request, most);
        while chat.chunk().unwrap() != most.as_bytes() {}
        ann.chunk(&request, rest);
        assert_eq!(chat.chunk().unwrap(), rest.as_bytes());
        assert!(chat.chunk().unwrap().starts_with(b":"));
    }
}

#[test]
fn bodies_in_flight_take_a_bounded_memory() {
    let hub = TestHub::limited(|limits| limits.memory = 400_000);
    let room = hub.room();
    let provider = held();
    let _ann = hub.join(&room, "ann", &provider);
    let _bob = hub.join(&room, "bob", &provider);
    let body = json!({ "model": "any", "messages": [], "x": "x".repeat(80_000) }).to_string();
    let path = format!("/rooms/{room}/v1/chat/completions");
    let mut first = Conn::open(hub.addr());
    first.ask("POST", &path, &[], Some(&body));
    provider.wait_for_request(1);
    let refused = Conn::open(hub.addr()).ask("POST", &path, &[], Some(&body)).answer();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    provider.release();
    assert_eq!(first.answer().status, 200);
    provider.set(Script::Echo);
    // The memory is free when the hub's thread is done with the first, a moment after its client is.
    wait_until("room for another", || {
        Conn::open(hub.addr()).ask("POST", &path, &[], Some(&body)).answer().status == 200
    });
}

#[test]
fn odd_answers_of_providers_pass_or_are_told() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    let raw = |text: &str| Script::Raw(text.as_bytes().to_vec());
    provider.set(raw("HTTP/1.1 204 No Content\r\n\r\n"));
    let empty = hub.chat(&room, "ann");
    assert!(empty.status == 204 && empty.body.is_empty());
    provider.set(raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    assert_eq!(hub.chat(&room, "ann").expect(200).text(), "{}");
    provider.set(raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>"));
    assert_eq!(hub.stream(&room, "ann").answer().expect(200).text(), "<p>");
    let zipped = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", zipped.len()).into_bytes();
    bytes.extend_from_slice(zipped);
    provider.set(Script::Raw(bytes));
    let answer = hub.chat(&room, "ann").expect(200);
    assert_eq!((answer.header("content-encoding"), answer.body.as_slice()), (Some("gzip"), &zipped[..]));
    provider.set(raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cut\":"));
    assert_eq!(hub.chat(&room, "ann").status, 502);
    provider.set(raw(&format!("HTTP/1.1 200 OK\r\nX-Huge: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(50_000))));
    assert!([200, 502].contains(&hub.chat(&room, "ann").status));
    provider
        .set(raw(&format!("HTTP/1.1 200 OK\r\nX-Huge: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(5_000_000))));
    assert_eq!(hub.chat(&room, "ann").status, 502);
    provider.set(Script::Echo);
    assert_eq!(hub.chat(&room, "ann").status, 200);
}

#[test]
fn a_provider_that_repeats_usage_keys_harms_nobody() {
    let hub = TestHub::start();
    let room = hub.room();
    // More levels than the stack of a connection has room for, if each key cost one.
    let repeated = "\"usage\"".repeat(180_000 / 7);
    let answer = Script::Answer { status: 200, kind: "application/json", body: repeated.clone() };
    let provider = FakeProvider::start(answer);
    let _session = hub.join(&room, "p", &provider);
    for _ in 0..2 {
        assert_eq!(hub.chat(&room, "p").expect(200).text(), repeated);
    }
}

#[test]
fn memory_is_taken_as_bodies_come_and_not_as_they_claim() {
    let hub = TestHub::limited(|limits| limits.memory = 256 << 10);
    let room = hub.room();
    let _ann = hub.join(&room, "ann", &FakeProvider::start(Script::Echo));
    let path = format!("/rooms/{room}/v1/chat/completions");
    let slow: Vec<Conn> = (0..8)
        .map(|_| {
            let mut conn = Conn::open(hub.addr());
            conn.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\n{{"));
            conn
        })
        .collect();
    for _ in 0..10 {
        hub.chat(&room, "ann").expect(200);
    }
    // What one request may hold at most is told by the limit, and not by a busy hub.
    let mut conn = Conn::open(hub.addr());
    conn.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 70000\r\n\r\n{{"));
    assert_eq!(conn.answer().status, 413);
    drop(slow);
}

#[test]
fn interim_heads_without_end_end_their_request() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut participant = RawParticipant::join(&hub, &room, "p");
    let mut client = hub.stream(&room, "m");
    let request = participant.receive();
    let flood = std::thread::spawn(move || {
        let id = request["requestId"].clone();
        let interim = json!({ "type": "tunnel.response.start", "requestId": id, "status": 103, "headers": {} });
        participant.socket.get_mut().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        loop {
            participant.send(&interim);
            match participant.socket.read() {
                Ok(message) if message.to_text().is_ok_and(|text| text.contains("tunnel.cancel")) => break,
                Ok(_) | Err(tungstenite::Error::Io(_)) => {}
                Err(error) => panic!("the tunnel ended: {error}"),
            }
        }
        participant
    });
    assert_eq!(client.answer().status, 502);
    drop(flood.join().unwrap());
}
