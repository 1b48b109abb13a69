//! The hub's end of a tunnel: who may open one, what keeps it, and how it ends.

mod support;

use std::time::Duration;

use gambi::proto::management::Registration;
use serde_json::{Value, json};
use tungstenite::{Error, Message};

use support::{Conn, RawParticipant, TestHub, registration, wait_until};

fn url(hub: &TestHub, room: &str, id: &str) -> String {
    let (registered, _) = hub.client.participants(room).upsert(id, &registration()).unwrap();
    format!("{}?token={}", registered.tunnel.url, registered.tunnel.token)
}

fn refused(hub: &TestHub, url: &str) -> u16 {
    match RawParticipant::open(hub, url).map_err(|e| *e) {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a tunnel was opened"),
    }
}

#[test]
fn a_token_opens_one_tunnel() {
    let hub = TestHub::start();
    let room = hub.room();
    let good = url(&hub, &room, "ann");
    let bare = good.split('?').next().unwrap();
    assert_eq!(refused(&hub, bare), 400);
    assert_eq!(refused(&hub, &format!("{bare}?token=wrong")), 401);
    assert_eq!(refused(&hub, &good.replace("/ann/", "/bob/")), 401);
    // A request that asks for no upgrade does not spend it.
    let plain = good.replace(&format!("ws://{}", hub.addr()), "");
    let refusal = hub.get(&plain).expect(426);
    assert_eq!((refusal.header("upgrade"), refusal.header("sec-websocket-version")), (Some("websocket"), Some("13")));
    let _tunnel = RawParticipant::open(&hub, &good).unwrap();
    hub.wait_for_status(&room, "ann", "online");
    assert_eq!(refused(&hub, &good), 401);
}

#[test]
fn a_token_dies_after_a_minute_and_with_the_next_registration() {
    let hub = TestHub::start();
    let room = hub.room();
    let old = url(&hub, &room, "ann");
    hub.clock.advance(Duration::from_secs(61));
    assert_eq!(refused(&hub, &old), 401);
    let fresh = url(&hub, &room, "ann");
    hub.clock.advance(Duration::from_secs(50));
    RawParticipant::open(&hub, &fresh).unwrap();
}

#[test]
fn a_tunnel_makes_its_participant_online_and_its_end_offline() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    assert_eq!(events.next("participant.joined")["status"], "offline");
    assert_eq!(events.next("participant.updated")["status"], "online");
    let seen = hub.participant(&room, "ann")["connection"].clone();
    assert_eq!((&seen["kind"], &seen["connected"]), (&json!("tunnel"), &json!(true)));
    assert!(seen["lastTunnelSeenAt"].is_u64());
    ann.socket.close(None).unwrap();
    assert_eq!(events.next("participant.offline"), json!({ "participantId": "ann" }));
    let gone = hub.participant(&room, "ann");
    assert_eq!(gone["connection"], json!({ "kind": "tunnel", "connected": false, "lastTunnelSeenAt": null }));
    // A heartbeat without a tunnel does not make it reachable.
    let beat = hub.post(&format!("/v1/rooms/{room}/participants/ann/heartbeat"), &json!({})).expect(200).json();
    assert_eq!(beat["data"]["status"], "offline");
}

#[test]
fn a_newer_tunnel_supersedes_the_older() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut first = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let stream = hub.stream(&room, "ann");
    let request = first.receive();
    assert_eq!(request["type"], "tunnel.request");
    let mut second = RawParticipant::join(&hub, &room, "ann");
    assert_eq!(first.closed_with(), (1000, "superseded by a newer tunnel of the same participant".to_owned()));
    let mut stream = stream;
    assert_eq!(stream.answer().status, 502);
    drop(first);
    // The old tunnel's late end must not take the new one's participant down.
    second.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(second.receive()["type"], "tunnel.pong");
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
}

#[test]
fn removing_a_participant_closes_its_tunnel() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let mut chat = hub.stream(&room, "ann");
    ann.receive();
    hub.client.participants(&room).remove("ann").unwrap();
    assert_eq!(ann.closed(), 1000);
    assert_eq!(chat.answer().status, 502);
}

#[test]
fn silence_closes_a_tunnel_with_4001_and_makes_its_participant_offline() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    events.next("participant.updated");
    for _ in 0..3 {
        hub.clock.advance(Duration::from_secs(20));
        ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
        assert_eq!(ann.receive()["type"], "tunnel.pong");
        hub.client.participants(&room).heartbeat("ann").unwrap();
    }
    hub.clock.advance(Duration::from_secs(31));
    assert_eq!(ann.closed(), 4001);
    assert_eq!(events.next("participant.offline"), json!({ "participantId": "ann" }));
}

#[test]
fn without_heartbeats_a_participant_is_offline_though_its_tunnel_lives() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    for _ in 0..2 {
        hub.clock.advance(Duration::from_secs(20));
        ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
        ann.receive();
    }
    hub.wait_for_status(&room, "ann", "offline");
    assert_eq!(hub.participant(&room, "ann")["connection"]["connected"], true);
    assert_eq!(hub.chat(&room, "any").status, 404);
    let beat = hub.client.participants(&room).heartbeat("ann").unwrap();
    assert_eq!(json!(beat.status), "online");
}

#[test]
fn what_a_participant_should_not_send_harms_nobody() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let mut bob = RawParticipant::join(&hub, &room, "bob");
    for text in [
        "no json",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"tunnel.unheard.of"}"#,
        r#"{"type":"tunnel.response.start"}"#,
        r#"{"type":"tunnel.response.chunk","requestId":"x","chunk":"AAAA"}"#,
        r#"{"type":"tunnel.response.chunk","requestId":"x","chunk":"***"}"#,
        r#"{"type":"tunnel.response.end","requestId":"x"}"#,
    ] {
        bob.socket.send(Message::text(text)).unwrap();
    }
    bob.socket.send(Message::binary(vec![255; 100])).unwrap();
    bob.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(bob.receive()["type"], "tunnel.pong");
    // What is no WebSocket at all ends that tunnel, and no other.
    let mut raw = bob.socket.get_ref();
    std::io::Write::write_all(&mut raw, &[0xff; 64]).unwrap();
    hub.wait_for_status(&room, "bob", "offline");
    ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(ann.receive()["type"], "tunnel.pong");
}

#[test]
fn binary_frames_are_negotiated() {
    let hub = TestHub::start();
    let room = hub.room();
    let plain = RawParticipant::join(&hub, &room, "ann");
    assert!(!plain.headers.iter().any(|(name, _)| name == "gambi-frames"));
    let url = url(&hub, &room, "bob") + "&frames=binary";
    let mut bob = RawParticipant::open(&hub, &url).unwrap();
    assert!(bob.headers.contains(&("gambi-frames".into(), "binary".into())));
    hub.wait_for_status(&room, "bob", "online");
    let mut chat = hub.stream(&room, "bob");
    let request = bob.receive();
    bob.begin(&request, "application/json", &[]);
    binary_chunk(&mut bob, &request, b"{\"x\":1}");
    bob.end(&request);
    assert_eq!(chat.answer().text(), "{\"x\":1}");
}

#[test]
fn bodies_of_requests_are_binary_messages_only_where_that_is_agreed() {
    let hub = TestHub::start();
    let room = hub.room();
    let text = "long ü ".repeat(1000);
    let body = |model: &str| format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"{model}"}}"#);
    for (id, query, agreed) in [
        ("json", "", false),
        ("older", "&frames=binary", false),
        ("odd", "&bodies=binary", false),
        ("unknown", "&frames=binary&bodies=other", false),
        ("newer", "&frames=binary&bodies=binary", true),
    ] {
        let mut participant = RawParticipant::open(&hub, &(url(&hub, &room, id) + query)).unwrap();
        assert_eq!(participant.headers.contains(&("gambi-bodies".into(), "binary".into())), agreed, "{query}");
        hub.wait_for_status(&room, id, "online");
        let mut chat = Conn::open(hub.addr());
        chat.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body(id)));
        let request = participant.receive();
        let expected = body("m");
        if agreed {
            assert_eq!((&request["bodyBytes"], request.get("body")), (&json!(expected.len()), None));
            assert_eq!(participant.socket.read().unwrap(), Message::binary(expected));
        } else {
            assert_eq!(request["body"], serde_json::from_str::<Value>(&expected).unwrap(), "{query}");
            assert_eq!(request.get("bodyBytes"), None);
        }
        participant.begin(&request, "application/json", &["{}"]);
        participant.end(&request);
        assert_eq!(chat.answer().expect(200).text(), "{}");
        // A short one stays in its message.
        let mut chat = hub.stream(&room, id);
        let request = participant.receive();
        assert!(request["body"].is_object(), "{request}");
        participant.begin(&request, "application/json", &["{}"]);
        participant.end(&request);
        assert_eq!(chat.answer().expect(200).text(), "{}");
    }
}

#[test]
fn a_body_goes_to_each_participant_in_the_form_that_its_tunnel_agreed_on() {
    const BODIES: &str = "&frames=binary&bodies=binary";
    let text = "long ü ".repeat(1000);
    let body = |model: &str| format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"{model}"}}"#);
    for (first, second) in [("", BODIES), (BODIES, "")] {
        let hub = TestHub::start();
        let room = hub.room();
        let join = |id: &str, query: &str| {
            let participant = RawParticipant::open(&hub, &(url(&hub, &room, id) + query)).unwrap();
            hub.wait_for_status(&room, id, "online");
            participant
        };
        let take = |participant: &mut RawParticipant, query: &str| {
            let request = participant.receive();
            assert_eq!(request.get("bodyBytes").is_some(), query == BODIES);
            if query == BODIES {
                assert_eq!(participant.socket.read().unwrap(), Message::binary(body("m")));
            } else {
                assert_eq!(request["body"], serde_json::from_str::<Value>(&body("m")).unwrap());
            }
            request
        };
        let ask = || {
            let mut chat = Conn::open(hub.addr());
            chat.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body("any")));
            chat
        };
        let mut ann = join("ann", first);
        // A client that hangs up leaves nothing between the messages of the next request.
        let gone = ask();
        let request = take(&mut ann, first);
        gone.hang_up();
        assert_eq!(ann.receive(), json!({ "type": "tunnel.cancel", "requestId": request["requestId"] }));
        let mut chat = ask();
        let request = take(&mut ann, first);
        let mut bob = join("bob", second);
        ann.fail(&request, "connection refused");
        let request = take(&mut bob, second);
        bob.begin(&request, "application/json", &["{}"]);
        bob.end(&request);
        let answer = chat.answer().expect(200);
        assert_eq!((answer.text().as_str(), answer.header("x-gambi-participant")), ("{}", Some("bob")));
    }
}

#[test]
fn a_ping_that_comes_while_a_long_body_is_sent_holds_up_no_answer() {
    let hub = TestHub::start();
    let room = hub.room();
    let registration = Registration { concurrency: Some(4), ..registration() };
    let (registered, _) = hub.client.participants(&room).upsert("ann", &registration).unwrap();
    let url = format!("{}?token={}&frames=binary&bodies=binary", registered.tunnel.url, registered.tunnel.token);
    let mut ann = RawParticipant::open(&hub, &url).unwrap();
    socket2::SockRef::from(ann.socket.get_ref()).set_recv_buffer_size(64 << 10).unwrap();
    hub.wait_for_status(&room, "ann", "online");
    let mut chat = hub.stream(&room, "ann");
    let first = ann.receive();
    ann.begin(&first, "text/event-stream", &["data: 1\n\n"]);
    assert_eq!((chat.head().status, chat.chunk().unwrap()), (200, b"data: 1\n\n".to_vec()));
    let body = json!({ "model": "ann", "messages": [{ "role": "user", "content": "x".repeat(15 << 20) }] }).to_string();
    let mut long = Conn::open(hub.addr());
    long.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
    // Its body is being sent, and fits into no buffer.
    let second = ann.receive();
    ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    ann.socket.send(Message::Ping(vec![7].into())).unwrap();
    ann.chunk(&first, "data: 2\n\n");
    assert_eq!(chat.chunk().unwrap(), b"data: 2\n\n");
    assert_eq!(ann.socket.read().unwrap().len() as u64, second["bodyBytes"].as_u64().unwrap());
    let answers = [ann.socket.read().unwrap(), ann.socket.read().unwrap()];
    assert!(answers[0].to_text().unwrap().contains("tunnel.pong"), "{answers:?}");
    assert_eq!(answers[1], Message::Pong(vec![7].into()));
    for request in [&first, &second] {
        ann.end(request);
    }
    assert_eq!(chat.chunk().map(|end| end.len()), Some(0));
    assert!((500..600).contains(&long.answer().status), "an answer without a head");
}

#[test]
fn a_hub_that_goes_down_closes_with_1001() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let watcher = hub.watch_room(&room);
    let going = std::thread::spawn(move || hub.hub.shutdown());
    assert_eq!(ann.closed(), 1001);
    watcher.wait_for_end();
    going.join().unwrap();
}

#[test]
fn a_killed_participant_is_noticed() {
    let hub = TestHub::start();
    let room = hub.room();
    let before = hub.hub.connections();
    let ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    drop(ann);
    hub.wait_for_status(&room, "ann", "offline");
    wait_until("its connection to be gone", || hub.hub.connections() == before);
}

/// Sends so many pieces of 64 KiB of an answer.
fn pour(participant: &mut RawParticipant, request: &Value, pieces: usize) {
    (0..pieces).for_each(|_| binary_chunk(participant, request, &[b'x'; 64 << 10]));
}

/// Sends a piece of an answer as a binary message.
fn binary_chunk(participant: &mut RawParticipant, request: &Value, piece: &[u8]) {
    let id = request["requestId"].as_str().unwrap().as_bytes();
    let frame = [&[u8::try_from(id.len()).unwrap()], id, piece].concat();
    participant.socket.send(Message::binary(frame)).unwrap();
}

/// A participant that knows no `tunnel.pause`.
fn join_concurrent(hub: &TestHub, room: &str, id: &str) -> RawParticipant {
    let registration = Registration { concurrency: Some(4), ..registration() };
    let (registered, _) = hub.client.participants(room).upsert(id, &registration).unwrap();
    let url = format!("{}?token={}&frames=binary", registered.tunnel.url, registered.tunnel.token);
    let participant = RawParticipant::open(hub, &url).unwrap();
    hub.wait_for_status(room, id, "online");
    participant
}

/// A client's stream that a participant has begun to answer.
fn begun_stream(hub: &TestHub, room: &str, ann: &mut RawParticipant, pieces: &[&str]) -> (Conn, Value) {
    let chat = hub.stream(room, "ann");
    let request = ann.receive();
    ann.begin(&request, "text/event-stream", pieces);
    (chat, request)
}

/// The next message is the cancel of this request.
fn expect_cancel(participant: &mut RawParticipant, request: &Value) {
    let told = participant.receive();
    assert_eq!((&told["type"], &told["requestId"]), (&json!("tunnel.cancel"), &request["requestId"]));
}

fn chat_meanwhile(hub: &TestHub, room: &str, ann: &mut RawParticipant) {
    let mut quick = hub.stream(room, "ann");
    // Requests that ended for want of memory may still be cancelled.
    let request = loop {
        let message = ann.receive();
        if message["type"] != "tunnel.cancel" {
            break message;
        }
    };
    assert_eq!(request["type"], "tunnel.request");
    ann.begin(&request, "application/json", &["{}"]);
    ann.end(&request);
    assert_eq!(quick.answer().expect(200).text(), "{}");
}

#[test]
fn a_client_that_does_not_read_neither_stalls_another_nor_loses_its_answer() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let (mut slow, request) = begun_stream(&hub, &room, &mut ann, &[]);
    // More than the sockets between hub and client hold, and than a reader waits for.
    pour(&mut ann, &request, 192);
    chat_meanwhile(&hub, &room, &mut ann);
    ann.end(&request);
    let answer = slow.answer();
    assert_eq!((answer.whole, answer.body.len()), (true, 192 << 16));
}

#[test]
fn short_pieces_reach_a_client_that_reads_late_in_their_order() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let (mut slow, request) = begun_stream(&hub, &room, &mut ann, &[]);
    // More than the sockets between hub and client hold.
    let pieces: Vec<_> = (0..4200).map(|n| format!("{n:06}").repeat(500)).collect();
    pieces.iter().for_each(|piece| binary_chunk(&mut ann, &request, piece.as_bytes()));
    chat_meanwhile(&hub, &room, &mut ann);
    ann.end(&request);
    let answer = slow.answer();
    assert!(answer.whole && answer.body == pieces.concat().as_bytes(), "{} bytes", answer.body.len());
}

#[test]
fn pieces_of_streams_on_one_tunnel_come_each_as_it_is_sent() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let events = hub.watch_room(&room);
    let mut streams: Vec<_> = (0..3).map(|_| begun_stream(&hub, &room, &mut ann, &[])).collect();
    streams.iter_mut().for_each(|(chat, _)| assert_eq!(chat.head().status, 200));
    for n in 0..40 {
        for (index, (chat, request)) in streams.iter_mut().enumerate() {
            let piece = format!("data: {{\"usage\":{{\"prompt_tokens\":{n},\"completion_tokens\":{index}}}}}\n\n");
            ann.chunk(request, &piece);
            assert_eq!(chat.chunk().unwrap(), piece.as_bytes());
        }
    }
    for (index, (mut chat, request)) in streams.into_iter().enumerate() {
        ann.end(&request);
        assert_eq!(chat.chunk().unwrap(), b"");
        let metrics = events.next("llm.complete")["metrics"].clone();
        assert_eq!((&metrics["inputTokens"], &metrics["outputTokens"]), (&json!(39), &json!(index)));
    }
}

#[test]
fn what_a_client_has_been_sent_counts_although_it_hangs_up() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let events = hub.watch_room(&room);
    let (mut chat, request) = begun_stream(&hub, &room, &mut ann, &[]);
    assert_eq!(chat.head().status, 200);
    let usage = r#"data: {"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;
    for piece in ["data: {}", "data: {}", "data: {}", usage].map(|line| format!("{line}\n\n")) {
        ann.chunk(&request, &piece);
        assert_eq!(chat.chunk().unwrap(), piece.as_bytes());
    }
    chat.hang_up();
    assert_eq!(events.next("llm.error")["stage"], "cancelled");
    let history = hub.get(&format!("/v1/rooms/{room}/history")).expect(200).json();
    let tokens = ["inputTokens", "outputTokens"].map(|key| history["data"]["callers"][0][key].clone());
    assert_eq!(tokens, [json!(7), json!(5)], "{history}");
}

#[test]
fn a_client_that_falls_too_far_behind_ends_alone() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let (mut slow, request) = begun_stream(&hub, &room, &mut ann, &[]);
    pour(&mut ann, &request, 640);
    expect_cancel(&mut ann, &request);
    chat_meanwhile(&hub, &room, &mut ann);
    assert!(!slow.answer().whole);
}

#[test]
fn a_second_head_ends_its_request() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let (mut chat, request) = begun_stream(&hub, &room, &mut ann, &["data: 1\n\n"]);
    ann.begin(&request, "text/event-stream", &["data: 2\n\n"]);
    expect_cancel(&mut ann, &request);
    let answer = chat.answer();
    assert!(!answer.whole && !answer.text().contains("data: 2"));
    chat_meanwhile(&hub, &room, &mut ann);
}

#[test]
fn an_answer_with_a_part_that_cannot_be_read_breaks_off() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let (mut chat, request) = begun_stream(&hub, &room, &mut ann, &["data: 1\n\n"]);
    for chunk in ["no base64!", "ZGF0YTogMgoK"] {
        ann.send(&json!({ "type": "tunnel.response.chunk", "requestId": request["requestId"], "chunk": chunk }));
    }
    expect_cancel(&mut ann, &request);
    let answer = chat.answer();
    assert!(!answer.whole && answer.text().contains("data: 1") && answer.text().contains("base64"), "{answer:?}");
    assert!(!answer.text().contains("data: 2"));
    chat_meanwhile(&hub, &room, &mut ann);
}

#[test]
fn answers_nobody_reads_stay_within_the_memory() {
    let hub = TestHub::limited(|limits| limits.memory = 24 << 20);
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let mut unread = Vec::new();
    for _ in 0..3 {
        let stream = hub.stream(&room, "ann");
        let request = ann.receive();
        ann.begin(&request, "text/event-stream", &[]);
        unread.push((stream, request));
    }
    for (_, request) in &unread {
        pour(&mut ann, request, 200);
    }
    // Together they want more than there is, though none of them wants more than a queue may hold.
    let told = ann.receive();
    assert_eq!(told["type"], "tunnel.cancel");
    chat_meanwhile(&hub, &room, &mut ann);
}

#[test]
fn a_participants_own_stage_is_not_taken_for_the_clients_hanging_up() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let mut ann = join_concurrent(&hub, &room, "ann");
    let mut chat = hub.stream(&room, "ann");
    let id = ann.receive()["requestId"].clone();
    ann.send(&json!({ "type": "tunnel.response.error", "requestId": id, "stage": "cancelled", "message": "no" }));
    assert_eq!(chat.answer().status, 502);
    assert_eq!(events.next("llm.error")["stage"], "participant");
}

#[test]
fn a_drain_waits_for_questions_about_responses() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = join_concurrent(&hub, &room, "ann");
    let mut made = Conn::open(hub.addr());
    let body = json!({ "model": "ann", "input": "Hi" }).to_string();
    made.ask("POST", &format!("/rooms/{room}/v1/responses"), &[], Some(&body));
    let request = ann.receive();
    ann.begin(&request, "application/json", &[r#"{"id":"resp_1","object":"response"}"#]);
    ann.end(&request);
    made.answer().expect(200);
    let mut asked = Conn::open(hub.addr());
    asked.ask("GET", &format!("/rooms/{room}/v1/responses/resp_1"), &[], None);
    let request = ann.receive();
    let path = format!("/rooms/{room}/v1/responses/resp_1");
    let addr = hub.addr();
    let handle = hub.hub.handle();
    let draining = std::thread::spawn(move || handle.drain(support::PATIENCE));
    let chat = format!("/rooms/{room}/v1/chat/completions");
    let other = json!({ "model": "nobody", "messages": [] }).to_string();
    wait_until("the hub to drain", || support::request(addr, "POST", &chat, Some(&other)).status == 503);
    assert_eq!(support::request(addr, "GET", &path, None).status, 503);
    let joining = json!({ "id": "bob", "nickname": "Bob", "model": "m", "endpoint": "http://127.0.0.1:9" }).to_string();
    for (method, path, body) in [
        ("POST", "/v1/rooms".to_owned(), r#"{"name":"late"}"#),
        ("POST", "/rooms".to_owned(), r#"{"name":"late"}"#),
        ("PUT", format!("/v1/rooms/{room}/participants/bob"), &*joining),
        ("POST", format!("/rooms/{room}/join"), &*joining),
    ] {
        assert_eq!(support::request(addr, method, &path, Some(body)).status, 503, "{path}");
    }
    ann.begin(&request, "application/json", &["{}"]);
    ann.end(&request);
    assert_eq!(asked.answer().expect(200).text(), "{}");
    assert_eq!(ann.closed(), 1001);
    assert!(draining.join().unwrap());
}

#[test]
fn a_wrong_token_removes_nobody_on_any_hub() {
    let hub = TestHub::start();
    let room = hub.room();
    let _ann = join_concurrent(&hub, &room, "ann");
    let path = format!("/v1/rooms/{room}/participants/ann");
    let delete = |headers: &[(&str, &str)]| Conn::open(hub.addr()).ask("DELETE", &path, headers, None).answer().status;
    assert_eq!(delete(&[("X-Gambi-Participant-Token", "0123456789abcdef0123456789abcdef")]), 401);
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
    assert_eq!(delete(&[]), 200, "a hub that is not strict lets older clients remove their participants");
}
