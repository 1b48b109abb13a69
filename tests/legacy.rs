//! The legacy plane (PROTOCOL.md, "Legacy plane"), and direct participants, which the hub calls.

mod support;

use std::process::Command;
use std::time::Duration;

use gambi::hub::{DeclaredRoom, DirectPolicy, RoomPassword};
use gambi::participant::Session;
use gambi::proto::management::CreateRoom;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, wait_until};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn join(hub: &TestHub, room: &str, id: &str, endpoint: &str) -> Value {
    let body = json!({ "id": id, "nickname": "Alice", "model": "m", "endpoint": endpoint });
    hub.post(&format!("/rooms/{room}/join"), &body).expect(201).json()
}

fn error(answer: support::Response, status: u16) -> String {
    let answer = answer.expect(status).json();
    assert_eq!(keys(&answer), ["error"]);
    answer["error"].as_str().unwrap().to_owned()
}

#[test]
fn rooms_have_the_seeds_shapes() {
    let hub = TestHub::start();
    let health = hub.get("/health").expect(200).json();
    assert_eq!((keys(&health), &health["status"]), (vec!["status", "timestamp"], &json!("ok")));
    let made = hub.post("/rooms", &json!({ "name": "My AI Room", "password": "secret123" })).expect(201);
    assert!(!made.text().contains("secret123") && !made.text().contains("argon2"));
    let made = made.json();
    assert_eq!(keys(&made), ["hostId", "room"]);
    assert_eq!(keys(&made["room"]), ["code", "createdAt", "hostId", "id", "name"]);
    assert_eq!(made["hostId"], made["room"]["hostId"]);
    let list = hub.get("/rooms").expect(200).json();
    assert_eq!(keys(&list), ["rooms"]);
    let mut room = list["rooms"][0].clone();
    assert_eq!(room["participantCount"], 0);
    room.as_object_mut().unwrap().remove("participantCount");
    assert_eq!(room, made["room"]);
    for body in [json!({}), json!({ "name": "" }), json!({ "password": "x" })] {
        assert_eq!(error(hub.post("/rooms", &body), 400), "Name is required");
    }
    let defaults = json!({ "temperature": 0.5, "instructions": "s3cret" });
    let shown = hub.post("/rooms", &json!({ "name": "x", "defaults": defaults })).expect(201);
    assert!(!shown.text().contains("s3cret"));
    assert_eq!(shown.json()["room"]["defaults"], json!({ "temperature": 0.5, "hasInstructions": true }));
}

#[test]
fn a_participants_life_has_the_seeds_shapes_and_both_planes_see_it() {
    let hub = TestHub::start();
    let room = hub.room();
    let (old, new) = (hub.watch_legacy(&room), hub.watch_room(&room));
    let body = json!({
        "id": "custom-id", "nickname": "Alice", "model": "llama3", "endpoint": "http://192.168.1.50:11434",
        "password": "not needed", "specs": { "gpu": "NVIDIA RTX 4090", "vram": 24 }, "config": { "temperature": 0.7 },
    });
    let joined = hub.post(&format!("/rooms/{}/join", room.to_lowercase()), &body).expect(201).json();
    assert_eq!(keys(&joined), ["participant", "roomId"]);
    let participant = &joined["participant"];
    let all =
        ["capabilities", "config", "endpoint", "id", "joinedAt", "lastSeen", "model", "nickname", "specs", "status"];
    assert_eq!(keys(participant), all);
    for key in ["id", "nickname", "model", "endpoint", "specs"] {
        assert_eq!(participant[key], body[key], "{key}");
    }
    assert_eq!(participant["config"], json!({ "temperature": 0.7, "hasInstructions": false }));
    assert_eq!(participant["capabilities"], json!({ "openResponses": "unknown", "chatCompletions": "unknown" }));
    assert_eq!(participant["status"], "online");
    assert_eq!(old.next("participant:joined"), *participant);
    let v1 = new.next("participant.joined");
    let direct = json!({ "kind": "tunnel", "connected": true, "lastTunnelSeenAt": null, "transport": "direct" });
    assert_eq!(v1["connection"], direct);
    assert_eq!(hub.participant(&room, "custom-id"), v1);
    let list = hub.get(&format!("/rooms/{room}/participants")).expect(200).json();
    assert_eq!(list, json!({ "participants": [participant] }));
    let beat = hub.post(&format!("/rooms/{room}/health"), &json!({ "id": "custom-id" })).expect(200).json();
    assert_eq!(beat, json!({ "success": true }));
    assert_eq!(hub.delete(&format!("/rooms/{room}/leave/custom-id")).expect(200).json(), json!({ "success": true }));
    assert_eq!(old.next("participant:left"), json!({ "participantId": "custom-id" }));
    assert_eq!(new.next("participant.left"), json!({ "participantId": "custom-id" }));

    // One that comes by the new plane shows in the old one, in its form.
    let _ann = RawParticipant::join(&hub, &room, "ann");
    for status in ["offline", "online"] {
        let told = old.next("participant:joined");
        assert_eq!((&told["id"], &told["status"]), (&json!("ann"), &json!(status)));
    }
    hub.wait_for_status(&room, "ann", "online");
    let list = hub.get(&format!("/rooms/{room}/participants")).json();
    assert_eq!((keys(&list["participants"][0]), &list["participants"][0]["status"]), (all.to_vec(), &json!("online")));
}

#[test]
fn older_clients_see_capabilities_and_whether_there_are_instructions() {
    let hub = TestHub::start();
    let config = json!({ "seed": 7, "instructions": "s3cret" });
    let shown = json!({ "seed": 7, "hasInstructions": true });
    for (sent, shown) in
        [(config.clone(), &shown), (json!({ "seed": 7 }), &json!({ "seed": 7, "hasInstructions": false }))]
    {
        let made = hub.post("/rooms", &json!({ "name": "x", "defaults": sent })).expect(201).json();
        assert_eq!(&made["room"]["defaults"], shown);
        let rooms = hub.get("/rooms").json()["rooms"].clone();
        assert_eq!(&rooms.as_array().unwrap().last().unwrap()["defaults"], shown);
    }
    let room = hub.room();
    let old = hub.watch_legacy(&room);
    let capabilities = json!({ "openResponses": "unsupported", "chatCompletions": "supported" });
    let body = json!({
        "id": "a", "nickname": "A", "model": "m", "endpoint": "http://10.0.0.9:1", "config": config,
        "capabilities": capabilities,
    });
    let joined = hub.post(&format!("/rooms/{room}/join"), &body).expect(201).json()["participant"].clone();
    let listed = hub.get(&format!("/rooms/{room}/participants")).json()["participants"][0].clone();
    for participant in [joined, listed, old.next("participant:joined")] {
        assert_eq!((&participant["config"], &participant["capabilities"]), (&shown, &capabilities));
    }
    let other = hub.post("/rooms", &json!({ "name": "y", "defaults": body["config"] })).expect(201).json();
    let told = std::iter::repeat_with(|| old.next("room:created")).find(|told| told["id"] == other["room"]["id"]);
    assert_eq!(told.unwrap()["defaults"], shown);
}

#[test]
fn joining_again_is_told_to_older_watchers_with_the_new_nickname_and_model() {
    let hub = TestHub::start();
    let room = hub.room();
    let (old, new) = (hub.watch_legacy(&room), hub.watch_room(&room));
    let first = join(&hub, &room, "alice", "http://127.0.0.1:9")["participant"].clone();
    assert_eq!(old.next("participant:joined"), first);
    let body = json!({ "id": "alice", "nickname": "Ally", "model": "m2", "endpoint": "http://127.0.0.1:9" });
    let again = hub.post(&format!("/rooms/{room}/join"), &body).expect(201).json()["participant"].clone();
    let told = old.next("participant:joined");
    assert_eq!((&told["nickname"], &told["model"]), (&json!("Ally"), &json!("m2")));
    assert_eq!((&told, &told["joinedAt"]), (&again, &first["joinedAt"]));
    assert_eq!(new.next("participant.updated")["nickname"], "Ally");

    let mut registration = json!({ "nickname": "Ann", "model": "m", "endpoint": "http://localhost:1" });
    for nickname in ["Ann", "Anna"] {
        registration["nickname"] = json!(nickname);
        hub.put(&format!("/v1/rooms/{room}/participants/ann"), &registration);
        assert_eq!(old.next("participant:joined")["nickname"], nickname);
    }
}

#[test]
fn errors_have_the_seeds_texts() {
    let hub = TestHub::start();
    let room =
        hub.room_with(&CreateRoom { name: "x".into(), password: Some("secret123".into()), ..CreateRoom::default() });
    let body =
        json!({ "id": "a", "nickname": "A", "model": "m", "endpoint": "http://10.0.0.9:1", "password": "secret123" });
    let path = format!("/rooms/{room}/join");
    for field in ["id", "nickname", "model", "endpoint"] {
        for value in [Value::Null, json!("")] {
            let mut sent = body.clone();
            sent[field] = value;
            assert_eq!(error(hub.post(&path, &sent), 400), "Missing required fields: id, nickname, model, endpoint");
        }
        for value in [json!(5), json!([]), json!("x".repeat(2000))] {
            let mut sent = body.clone();
            sent[field] = value;
            assert!(error(hub.post(&path, &sent), 400).contains(field), "{field}");
        }
    }
    for (field, value) in [
        ("endpoint", json!("localhost:1")),
        ("specs", json!({ "vram": "x" })),
        ("config", json!({ "top_p": 5 })),
        ("password", json!(5)),
        ("id", json!("a/b")),
        ("concurrency", json!(0)),
        ("aliases", json!("x")),
    ] {
        let mut sent = body.clone();
        sent[field] = value;
        error(hub.post(&path, &sent), 400);
    }
    for password in [Value::Null, json!("wrong")] {
        let mut sent = body.clone();
        sent["password"] = password;
        assert_eq!(error(hub.post(&path, &sent), 401), "Invalid password");
    }
    hub.post(&path, &body).expect(201);
    hub.post(&path, &body).expect(201);
    let _ann = RawParticipant::join(&hub, &hub.room(), "other");
    for (method, path, status, text) in [
        ("POST", "/rooms/ABC234/join".to_owned(), 404, "Room not found"),
        ("POST", "/rooms/ABC234/health".to_owned(), 404, "Room not found"),
        ("DELETE", "/rooms/ABC234/leave/a".to_owned(), 404, "Room not found"),
        ("GET", "/rooms/ABC234/participants".to_owned(), 404, "Room not found"),
        ("GET", "/rooms/ABC234/events".to_owned(), 404, "Room not found"),
        ("DELETE", format!("/rooms/{room}/leave/b"), 404, "Participant not found"),
        ("POST", format!("/rooms/{room}/health"), 400, "Participant ID is required"),
    ] {
        let answer = Conn::open(hub.addr()).ask(method, &path, &[("Connection", "close")], Some("{}")).answer();
        assert_eq!(error(answer, status), text, "{method} {path}");
    }
    assert_eq!(error(hub.post(&format!("/rooms/{room}/health"), &json!({ "id": "b" })), 404), "Participant not found");
    assert_eq!(hub.get(&path).expect(405).header("allow"), Some("POST, OPTIONS"));
    error(Conn::open(hub.addr()).ask("POST", &path, &[("Connection", "close")], Some("[]")).answer(), 400);
    let small = TestHub::limited(|limits| limits.body_bytes = 100);
    error(small.post("/rooms", &json!({ "name": "x".repeat(500) })), 413);
}

#[test]
fn credentials_in_a_join_are_refused_and_the_tunnel_is_named_instead() {
    let hub = TestHub::start();
    let room = hub.room();
    let ask = |headers: Value| {
        let mut body = json!({ "id": "a", "nickname": "A", "model": "m", "endpoint": "http://10.0.0.9:1" });
        body["authHeaders"] = headers;
        hub.post(&format!("/rooms/{room}/join"), &body)
    };
    for headers in [json!({ "Authorization": "Bearer s3cret" }), json!([]), json!("Bearer s3cret")] {
        let told = error(ask(headers), 400);
        assert!(told.contains("stay on the participant's machine"), "{told}");
        assert!(told.contains("gambi participant join --header-env") && !told.contains("s3cret"), "{told}");
    }
    assert_eq!(hub.get(&format!("/rooms/{room}/participants")).json(), json!({ "participants": [] }));
    for headers in [json!({}), Value::Null] {
        ask(headers).expect(201);
    }
}

#[test]
fn an_id_belongs_to_one_of_the_planes_while_its_owner_is_up() {
    let hub = TestHub::start();
    let room = hub.room();
    join(&hub, &room, "d", "http://127.0.0.1:9");
    let taken = hub.put(
        &format!("/v1/rooms/{room}/participants/d"),
        &json!({ "nickname": "x", "model": "m", "endpoint": "http://x" }),
    );
    assert_eq!(taken.expect(409).json()["error"]["code"], "PARTICIPANT_CONFLICT");
    let _ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let body = json!({ "id": "ann", "nickname": "A", "model": "m", "endpoint": "http://127.0.0.1:9" });
    error(hub.post(&format!("/rooms/{room}/join"), &body), 409);
}

#[test]
fn a_direct_participant_is_called_whole_and_streamed() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    join(&hub, &room, "alice", &format!("{}/v1/", provider.url()));
    let old = hub.watch_legacy(&room);
    let answer = hub.chat(&room, "model:m").expect(200);
    assert_eq!((answer.json()["model"].as_str(), answer.header("x-gambi-participant")), (Some("m"), Some("alice")));
    assert_eq!(old.next("llm:request"), json!({ "participantId": "alice", "model": "model:m" }));
    let done = old.next("llm:complete");
    assert_eq!(keys(&done), ["metrics", "model", "participantId"]);
    assert!(hub.stream(&room, "alice").answer().text().ends_with("data: [DONE]\n\n"));
    let before = provider.connections();
    (0..10).for_each(|_| drop(hub.chat(&room, "alice").expect(200)));
    assert_eq!(provider.connections(), before, "connections are used again");
    assert_eq!(
        hub.get(&format!("/rooms/{room}/v1/models")).json()["data"][0]["gambi"]["connection"]["transport"],
        "direct"
    );

    provider.set(Script::Slam);
    let failed = hub.chat(&room, "alice").expect(502).json();
    assert!(failed["error"].as_str().unwrap().starts_with("Failed to proxy request: "));
    let told = old.next("llm:error");
    assert_eq!(keys(&told), ["error", "participantId"]);
    provider.set(Script::StreamAndDie(vec!["data: 1\n\n".into()]));
    let broken = hub.stream(&room, "alice").answer();
    assert_eq!((broken.status, broken.whole), (200, false));
    assert!(broken.text().starts_with("data: 1\n\ndata: {\"error\":{"), "{}", broken.text());
}

#[test]
fn a_direct_participant_gets_requests_in_parallel() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    join(&hub, &room, "alice", &provider.url());
    assert_eq!(hub.participant(&room, "alice")["concurrency"], 256);
    let mut chats: Vec<Conn> = (0..3).map(|_| hub.stream(&room, "alice")).collect();
    // None is answered before the last has arrived.
    provider.wait_for_request(3);
    (0..3).for_each(|_| provider.release());
    for chat in &mut chats {
        assert!(chat.answer().expect(200).text().ends_with("data: [DONE]\n\n"));
    }
}

#[test]
fn a_direct_participant_gets_no_more_requests_than_it_stated() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let alice = json!({ "id": "a", "nickname": "A", "model": "m", "endpoint": provider.url(), "concurrency": 2 });
    hub.post(&format!("/rooms/{room}/join"), &alice).expect(201);
    let mut chats: Vec<Conn> = (0..3).map(|_| hub.stream(&room, "any")).collect();
    wait_until("the third request to be queued", || hub.hub.waiting() == 1);
    assert_eq!(provider.wait_for_request(2).path, "/v1/chat/completions");
    (0..3).for_each(|_| provider.release());
    chats.iter_mut().for_each(|chat| drop(chat.answer().expect(200)));
    assert_eq!(provider.seen().len(), 3);
}

#[test]
fn hanging_up_on_a_direct_participant_leaves_its_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    join(&hub, &room, "alice", &provider.url());
    for (number, script) in [
        Script::Held(Box::new(Script::Echo)),
        Script::StreamAndHang(vec!["data: 1\n\n".into()]),
        Script::Endless("data: x\n\n".into()),
    ]
    .into_iter()
    .enumerate()
    {
        provider.set(script.clone());
        let mut chat = hub.stream(&room, "alice");
        provider.wait_for_request(number + 1);
        assert_eq!(hub.participant(&room, "alice")["status"], "busy");
        if number > 0 {
            assert_eq!(chat.head().status, 200);
            chat.chunk().unwrap();
        }
        chat.hang_up();
        wait_until("the provider to be left", || provider.abandoned() == number + 1);
        hub.wait_for_status(&room, "alice", "online");
    }
}

#[test]
fn responses_and_the_line_work_for_direct_participants_too() {
    let hub = TestHub::start();
    let room = hub.room();
    let chat =
        json!({ "choices": [{ "finish_reason": "stop", "message": { "role": "assistant", "content": "Hello" } }] });
    let held = Script::Held(Box::new(Script::Answer { status: 200, kind: "application/json", body: chat.to_string() }));
    let provider = FakeProvider::start(held);
    provider.set_path("/v1/responses", Script::Missing);
    let alice = json!({ "id": "alice", "nickname": "A", "model": "m", "endpoint": provider.url(), "concurrency": 1 });
    hub.post(&format!("/rooms/{room}/join"), &alice).expect(201);
    let ask = || {
        let mut conn = Conn::open(hub.addr());
        conn.ask("POST", &format!("/rooms/{room}/v1/responses"), &[], Some(r#"{"model":"any","input":"Hi"}"#));
        conn
    };
    let mut first = ask();
    provider.wait_for_request(2);
    let mut second = ask();
    wait_until("the request to stand in line", || hub.hub.waiting() == 1);
    provider.release();
    provider.release();
    assert_eq!(first.answer().expect(200).json()["output_text"], "Hello");
    provider.release();
    assert_eq!(second.answer().expect(200).json()["output_text"], "Hello");
}

#[test]
fn health_checks_keep_a_direct_participant_online() {
    let hub = TestHub::start();
    let room = hub.room();
    let old = hub.watch_legacy(&room);
    join(&hub, &room, "alice", "http://127.0.0.1:9");
    let beat = || hub.post(&format!("/rooms/{room}/health"), &json!({ "id": "alice" })).expect(200);
    for _ in 0..4 {
        hub.clock.advance(Duration::from_secs(20));
        beat();
        assert_eq!(hub.participant(&room, "alice")["status"], "online");
    }
    hub.clock.advance(Duration::from_secs(31));
    assert_eq!(old.next("participant:offline"), json!({ "participantId": "alice" }));
    assert_eq!(hub.chat(&room, "alice").expect(503).json()["error"], "Participant is offline");
    assert_eq!(hub.chat(&room, "any").status, 404);
    beat();
    assert_eq!(hub.participant(&room, "alice")["status"], "online");
    hub.delete(&format!("/rooms/{room}/leave/alice"));
    // Going offline was told once, and coming back by the only event with a participant's status.
    for (name, status) in [("joined", "\"status\":\"online\""), ("left", "alice")] {
        let event = old.raw();
        assert!(event.starts_with(&format!("event: participant:{name}\n")) && event.contains(status), "{event}");
    }
}

#[test]
fn addresses_that_a_stranger_must_not_name_are_refused() {
    let hub = TestHub::start();
    let room = hub.room();
    let ask = |hub: &TestHub, room: &str, endpoint: &str| {
        let body = json!({ "id": "x", "nickname": "x", "model": "m", "endpoint": endpoint });
        hub.post(&format!("/rooms/{room}/join"), &body)
    };
    for bad in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]:80",
        "http://8.8.8.8",
        "http://0.0.0.0:1",
        "http://[::ffff:169.254.1.1]",
        "http://[fd00:ec2::254]",
        "http://[64:ff9b::169.254.169.254]",
        "http://224.0.0.1",
        "http://no-such-host.invalid",
    ] {
        assert!(error(ask(&hub, &room, bad), 403).contains("gambi participant join"), "{bad}");
    }
    for good in ["http://127.0.0.1:1", "http://localhost:1", "http://10.0.0.1", "http://[fd00::1]"] {
        ask(&hub, &room, good).expect(201);
    }
    let any = TestHub::with(|options| options.direct = DirectPolicy::Any);
    let room = any.room();
    ask(&any, &room, "http://8.8.8.8").expect(201);
    error(ask(&any, &room, "http://169.254.169.254"), 403);
    let off = TestHub::with(|options| options.direct = DirectPolicy::Off);
    error(ask(&off, &off.room(), "http://127.0.0.1:1"), 403);
}

#[test]
fn an_endpoint_chooses_neither_a_request_nor_credentials() {
    let hub = TestHub::start();
    let room = hub.room();
    let ask = |endpoint: &str| {
        let body = json!({ "id": "x", "nickname": "x", "model": "m", "endpoint": endpoint });
        hub.post(&format!("/rooms/{room}/join"), &body)
    };
    for (bad, named) in [
        ("http://127.0.0.1:1/admin?cmd=1", "\"?\""),
        ("http://127.0.0.1:1/admin#", "\"#\""),
        ("http://127.0.0.1:1?x#", "\"?\""),
        ("http://user@127.0.0.1:1", "\"@\""),
        ("http://user:pw@127.0.0.1:1/v1", "\"@\""),
    ] {
        let told = error(ask(bad), 400);
        assert!(told.contains(named), "{bad}: {told}");
    }
    ask("http://127.0.0.1:1/base/v1").expect(201);
}

#[test]
fn the_hub_is_no_endpoint_of_its_own() {
    let hub = TestHub::with(|options| {
        options.host = "0.0.0.0".into();
        options.public_url = Some("http://Localhost:9".into());
    });
    let (room, port) = (hub.room(), hub.addr().port());
    let told = |endpoint: String| {
        let body = json!({ "id": "x", "nickname": "x", "model": "m", "endpoint": endpoint });
        error(hub.post(&format!("/rooms/{room}/join"), &body), 403)
    };
    for own in [
        format!("http://127.0.0.1:{port}/rooms/{room}"),
        format!("http://127.1.2.3:{port}"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://localhost:9/rooms/{room}"),
    ] {
        let told = told(own.clone());
        assert!(told.contains("this hub itself"), "{own}: {told}");
    }
}

/// Passes bytes on to an address, as a proxy would that nobody told the hub of; counts the connections.
fn forwarder(to: std::net::SocketAddr) -> (std::net::SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, count) = (listener.local_addr().unwrap(), std::sync::Arc::default());
    let counted: std::sync::Arc<std::sync::atomic::AtomicUsize> = std::sync::Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let hub = std::net::TcpStream::connect(to).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), hub.try_clone().unwrap()), (hub, client)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (addr, count)
}

#[test]
fn a_request_that_comes_back_goes_no_second_round() {
    let hub = TestHub::start();
    let room = hub.room();
    let (proxy, rounds) = forwarder(hub.addr());
    for n in 0..20 {
        join(&hub, &room, &format!("mirror-{n}"), &format!("http://{proxy}/rooms/{room}"));
    }
    for model in ["any", "mirror-3"] {
        for stream in [false, true] {
            let body = json!({ "model": model, "messages": [], "stream": stream });
            let answer = hub.post(&format!("/rooms/{room}/v1/chat/completions"), &body).expect(508).json();
            assert!(answer["error"].as_str().unwrap().contains("leads back to this hub"), "{answer}");
        }
    }
    let rounds = rounds.load(std::sync::atomic::Ordering::SeqCst);
    assert!(rounds <= 4, "{rounds} calls for 4 questions");
    wait_until("all to be free again", || {
        (0..20).all(|n| hub.participant(&room, &format!("mirror-{n}"))["status"] == "online")
    });
}

#[test]
fn a_request_that_comes_back_through_a_tunnel_goes_no_second_round() {
    let (first, second) = (TestHub::start(), TestHub::start());
    let (here, there) = (first.room(), second.room());
    // Each hub's participant has the other hub as its provider: a round of two, over two tunnels.
    let provider = FakeProvider::start(Script::Echo);
    let _model =
        Session::builder(second.url(), &there).participant_id("m").model("m").endpoint(provider.url()).start().unwrap();
    let join = |hub: &TestHub, room: &str, (id, model): (&str, &str), other: &TestHub, others: &str| {
        let endpoint = format!("{}/rooms/{others}", other.url());
        let builder = Session::builder(hub.url(), room).participant_id(id).model(model).concurrency(4);
        builder.endpoint(endpoint).start().unwrap()
    };
    let _there = join(&first, &here, ("far", "m"), &second, &there);
    assert_eq!(first.chat(&here, "far").expect(200).json()["model"], "m", "hubs in a row are fine");
    second.client.participants(&there).remove("m").unwrap();
    let _back = join(&second, &there, ("m", "far"), &first, &here);
    let answer = first.chat(&here, "far").expect(508).json();
    assert!(answer["error"].as_str().unwrap().contains("leads back to this hub"), "{answer}");
}

#[test]
fn an_id_that_a_header_can_not_carry_is_told_percent_encoded() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    join(&hub, &room, "größe 7%", &provider.url());
    let answer = hub.chat(&room, "größe 7%").expect(200);
    assert_eq!(answer.header("x-gambi-participant"), Some("gr%C3%B6%C3%9Fe%207%25"));
    let asked = hub.client.room(&room).chat().participant("größe 7%").user("Hi").stream().unwrap();
    assert_eq!(asked.participant(), "größe 7%");
    for dots in [".", ".."] {
        let body = json!({ "id": dots, "nickname": "x", "model": "m", "endpoint": provider.url() });
        error(hub.post(&format!("/rooms/{room}/join"), &body), 400);
        let path = format!("/v1/rooms/{room}/participants/{}", dots.replace('.', "%2E"));
        hub.put(&path, &body).expect(400);
    }
}

#[test]
fn redirects_become_errors_and_are_not_followed() {
    let hub = TestHub::start();
    let room = hub.room();
    let secret = FakeProvider::start(Script::Echo);
    let answer = format!(
        "HTTP/1.1 307 Elsewhere\r\nLocation: {}/v1/chat/completions\r\nContent-Length: 0\r\n\r\n",
        secret.url()
    );
    let provider = FakeProvider::start(Script::Raw(answer.into_bytes()));
    join(&hub, &room, "alice", &provider.url());
    let told = hub.chat(&room, "alice").expect(502).json();
    assert!(told["error"].as_str().unwrap().contains("307, a redirect"), "{told}");
    assert!(secret.seen().is_empty());
}

#[test]
fn a_room_is_deleted_by_its_host_alone() {
    let hub = TestHub::start();
    for plane in ["/v1/rooms", "/rooms"] {
        let made = hub.post("/rooms", &json!({ "name": "x" })).json();
        let (code, host) = (made["room"]["code"].as_str().unwrap(), made["hostId"].as_str().unwrap());
        let mut ann = RawParticipant::join(&hub, code, "ann");
        hub.wait_for_status(code, "ann", "online");
        let (old, everywhere) = (hub.watch_legacy(code), hub.watch("/v1/events"));
        let path = format!("{plane}/{code}");
        assert_eq!(hub.delete(&path).status, 403);
        let wrong = [("X-Gambi-Host-Id", "nobody"), ("Connection", "close")];
        assert_eq!(Conn::open(hub.addr()).ask("DELETE", &path, &wrong, None).answer().status, 403);
        let gone = if plane == "/rooms" {
            let right = [("X-Gambi-Host-Id", host), ("Connection", "close")];
            Conn::open(hub.addr()).ask("DELETE", &path, &right, None).answer()
        } else {
            let body = json!({ "hostId": host }).to_string();
            Conn::open(hub.addr()).ask("DELETE", &path, &[("Connection", "close")], Some(&body)).answer()
        };
        assert_eq!(gone.status, 200);
        assert_eq!(ann.closed(), 1000);
        assert_eq!(old.next("room:deleted")["code"], code);
        assert_eq!(everywhere.next("room.deleted")["code"], code);
        old.wait_for_end();
        assert_eq!(hub.delete(&path).status, 404);
        assert_eq!(hub.get(&format!("/v1/rooms/{code}")).status, 404);
    }
}

#[test]
fn rooms_that_nobody_needs_go_when_told_to() {
    let hub = TestHub::with(|options| options.empty_room_ttl = Some(Duration::from_secs(60)));
    let room = hub.room();
    join(&hub, &room, "alice", "http://127.0.0.1:9");
    hub.clock.advance(Duration::from_secs(100));
    hub.wait_for_status(&room, "alice", "offline");
    hub.get(&format!("/v1/rooms/{room}")).expect(200);
    hub.delete(&format!("/rooms/{room}/leave/alice")).expect(200);
    hub.clock.advance(Duration::from_secs(61));
    wait_until("the room to go", || hub.get(&format!("/v1/rooms/{room}")).status == 404);
}

#[test]
fn declared_rooms_are_there_from_the_start() {
    let bad = gambi::hub::Hub::bind(gambi::hub::HubOptions {
        host: "127.0.0.1".into(),
        port: 0,
        rooms: vec![DeclaredRoom {
            code: "LAB001".into(),
            name: "x".into(),
            password: Some(RoomPassword::Hashed("nonsense".into())),
            ..DeclaredRoom::default()
        }],
        ..Default::default()
    });
    assert!(bad.map(drop).unwrap_err().to_string().contains("LAB001"));
    let hub = TestHub::with(|options| {
        options.room_ttl = Some(Duration::from_secs(1));
        options.rooms = vec![
            DeclaredRoom { code: "lab001".into(), name: "Lab".into(), ..DeclaredRoom::default() },
            DeclaredRoom {
                code: "LAB002".into(),
                name: "Shut".into(),
                password: Some(RoomPassword::Plain("pw".into())),
                ..DeclaredRoom::default()
            },
        ];
    });
    hub.clock.advance(Duration::from_secs(100));
    let provider = FakeProvider::start(Script::Echo);
    let builder =
        |room: &str| Session::builder(hub.url(), room).participant_id("p").model("m").endpoint(provider.url());
    builder("LAB001").start().unwrap();
    assert_eq!(builder("LAB002").start().map(drop).unwrap_err().status(), Some(401));
    builder("LAB002").password("pw").start().unwrap();
}

#[test]
fn curl_alone_can_play_a_participant() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "curl is missing, which CI does not allow");
        return eprintln!("SKIPPED: curl");
    }
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::Echo);
    let script = format!(
        r#"set -e
        json='Content-Type: application/json'
        curl -sSf -X POST {url}/rooms/{room}/join -H "$json" -d '{{"id":"c","nickname":"C","model":"m","endpoint":"{}"}}'
        curl -sSf -X POST {url}/rooms/{room}/health -H "$json" -d '{{"id":"c"}}'
        curl -sSf {url}/rooms/{room}/v1/chat/completions -H "$json" -d '{{"model":"c","messages":[]}}'
        curl -sSf -X DELETE {url}/rooms/{room}/leave/c"#,
        provider.url()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#"{"success":true}{"model":"m","messages":[]}{"success":true}"#), "{text}");
}
