//! The participant's runtime against a real hub: probe, serve, cancel, and the three ways to end.

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use gambi::Error;
use gambi::participant::{Builder, CloseReason, Reconnect, ReconnectEvent, Session};
use serde_json::json;

use support::{Conn, FakeHub, FakeProvider, Part, Script, Sent, TestHub, metric, wait_for, wait_until};

#[test]
fn a_model_that_is_not_there_is_told_before_anything_is_registered() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a", "b:latest"]);
    let start = |model: &str| {
        Session::builder(hub.url(), &room).participant_id("p").model(model).endpoint(provider.url()).start()
    };
    match start("c").map(drop) {
        Err(Error::ModelMissing { available, .. }) => assert_eq!(available, ["a", "b:latest"]),
        other => panic!("{other:?}"),
    }
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
    start("b").unwrap();
}

#[test]
fn a_provider_that_is_away_and_values_that_are_wrong_are_told() {
    let hub = TestHub::start();
    let room = hub.room();
    let builder = || Session::builder(hub.url(), &room).participant_id("p").model("m");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(builder().endpoint(format!("http://{free}")).start().map(drop), Err(Error::Provider { .. })));
    assert!(matches!(builder().endpoint("nonsense").start().map(drop), Err(Error::Invalid { .. })));
    let provider = FakeProvider::start(Script::Echo);
    assert!(matches!(
        builder().participant_id("").endpoint(provider.url()).start().map(drop),
        Err(Error::Invalid { .. })
    ));
    let elsewhere =
        Session::builder(hub.url(), "ABC234").participant_id("p").model("m").endpoint(provider.url()).start();
    assert_eq!(elsewhere.map(drop).unwrap_err().status(), Some(404));
}

#[test]
fn credentials_stay_with_the_participant() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = Session::builder(hub.url(), &room)
        .participant_id("p")
        .model("m")
        .endpoint(provider.url() + "/v1/")
        .auth_header("Authorization", "Bearer s3cret")
        .start()
        .unwrap();
    hub.chat(&room, "any").expect(200);
    let seen = provider.wait_for_request(1);
    assert_eq!((seen.header("authorization"), seen.path.as_str()), (Some("Bearer s3cret"), "/v1/chat/completions"));
    assert!(!hub.get(&format!("/v1/rooms/{room}/participants")).text().contains("s3cret"));
}

#[test]
fn connections_to_the_provider_are_used_again() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session =
        Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    hub.chat(&room, "any").expect(200);
    let before = provider.connections();
    for _ in 0..20 {
        hub.chat(&room, "any").expect(200);
    }
    assert_eq!(provider.connections(), before);
}

#[test]
fn closing_removes_the_participant_once() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let session =
        Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    assert_eq!(session.participant().id, "p");
    let waiter = {
        let handle = session.handle();
        std::thread::spawn(move || handle.wait_until_closed())
    };
    session.close();
    session.close();
    assert_eq!(waiter.join().unwrap().reason, CloseReason::Closed);
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn a_hub_that_goes_ends_the_session_as_tunnel_closed() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let session =
        Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    hub.hub.shutdown();
    let end = session.wait_until_closed();
    assert_eq!(end.reason, CloseReason::TunnelClosed);
    assert!(end.error.is_some());
    session.close();
}

#[test]
fn being_removed_ends_the_session() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let session =
        Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    hub.client.participants(&room).remove("p").unwrap();
    assert_eq!(session.wait_until_closed().reason, CloseReason::TunnelClosed);
}

#[test]
fn a_session_that_ends_leaves_its_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let session =
        Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    let mut chat = hub.stream(&room, "p");
    provider.wait_for_request(1);
    session.close();
    assert_eq!(chat.answer().status, 502);
    wait_until("the provider to be left", || provider.abandoned() == 1);
}

#[test]
fn several_sessions_in_one_process_are_independent() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let start = |id: &str| {
        Session::builder(hub.url(), &room).participant_id(id).model("m").endpoint(provider.url()).start().unwrap()
    };
    let (a, b) = (start("a"), start("b"));
    a.close();
    assert_eq!(hub.chat(&room, "b").expect(200).json()["model"], json!("m"));
    b.close();
}

#[test]
fn a_participant_keeps_no_connection_to_the_hub_beside_its_tunnel() {
    let hub = TestHub::start();
    let provider = FakeProvider::start(Script::Echo);
    let connections = || metric(hub.addr(), "gambi_connections");
    let builder = Session::builder(hub.url(), hub.room()).participant_id("p").model("m").endpoint(provider.url());
    let before = connections();
    let session = builder.heartbeat_interval(Duration::from_millis(20)).start().unwrap();
    wait_until("the tunnel alone", || connections() == before + 1);
    session.close();
}

fn quick(hub: &FakeHub, provider: &FakeProvider) -> Builder {
    Session::builder(hub.url(), "ABC234")
        .participant_id("p")
        .model("m")
        .endpoint(provider.url())
        .heartbeat_interval(Duration::from_millis(20))
        .hub_timeout(Duration::from_millis(400))
}

#[test]
fn heartbeats_that_fail_end_the_session() {
    let provider = FakeProvider::start(Script::Echo);
    for status in [404, 500] {
        let hub = FakeHub::start(Part::Heartbeats(status));
        let end = quick(&hub, &provider).start().unwrap().wait_until_closed();
        assert_eq!(end.reason, CloseReason::HeartbeatFailed);
        assert_eq!(end.error.unwrap().status(), Some(status));
    }
}

#[test]
fn a_heartbeat_without_an_answer_does_not_delay_the_next_for_long() {
    let (hub, provider) = (FakeHub::start(Part::Stalls), FakeProvider::start(Script::Echo));
    let session = quick(&hub, &provider).start().unwrap();
    wait_until("the third heartbeat", || hub.heartbeats.load(Ordering::SeqCst) > 2);
    session.close();
}

#[test]
fn a_hub_that_falls_silent_ends_the_session_as_tunnel_closed() {
    let (hub, provider) = (FakeHub::start(Part::Silent), FakeProvider::start(Script::Echo));
    let end = quick(&hub, &provider).start().unwrap().wait_until_closed();
    assert_eq!(end.reason, CloseReason::TunnelClosed);
    assert!(end.error.unwrap().to_string().contains("silent"));
}

#[test]
fn a_tunnel_that_cannot_be_opened_takes_the_registration_back() {
    let (hub, provider) = (FakeHub::start(Part::NoTunnel), FakeProvider::start(Script::Echo));
    assert!(matches!(quick(&hub, &provider).start().map(drop), Err(Error::Tunnel { .. })));
    assert_eq!(hub.registered.load(Ordering::SeqCst), 0);
}

#[test]
fn the_hubs_key_and_the_tunnels_token_go_to_the_hub_that_the_user_named_alone() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let hub = FakeHub::start(Part::Announces(elsewhere.local_addr().unwrap()));
    let provider = FakeProvider::start(Script::Echo);
    let session = quick(&hub, &provider).hub_key("s3cret-key").start().unwrap();
    let handshakes = hub.handshakes.lock().unwrap().clone();
    assert!(handshakes[0].starts_with("GET /v1/rooms/ABC234/participants/p/tunnel?token=t&"), "{handshakes:?}");
    assert!(handshakes[0].contains("Bearer s3cret-key"));
    assert!(elsewhere.accept().is_err(), "the server that the hub announced was called");
    session.close();
}

#[test]
fn a_hub_reaches_no_route_of_the_provider_but_a_rooms_operations() {
    let provider = FakeProvider::start(Script::Echo);
    for (method, path) in [
        ("GET", "/api/delete"),
        ("DELETE", "/api/delete"),
        ("GET", "/..%2fsecret"),
        ("GET", "/v1/responses/%2e%2e%2fmodels"),
        ("GET", "/v1/models"),
    ] {
        let hub = FakeHub::start(Part::Asks(method, path));
        let session = quick(&hub, &provider).start().unwrap();
        let told = wait_for("an answer", || hub.told.lock().unwrap().first().cloned());
        assert!(told.contains("tunnel.response.error") && told.contains("refused"), "{path}: {told}");
        assert!(told.contains(r#""stage":"participant""#), "{path}: {told}");
        session.close();
    }
    assert!(provider.seen().is_empty(), "{:?}", provider.seen());
    let hub = FakeHub::start(Part::Asks("POST", "/v1/chat/completions"));
    let session = quick(&hub, &provider).start().unwrap();
    let seen = provider.wait_for_request(1);
    let passed = ["content-type", "cookie", "x-original-url"].map(|name| seen.header(name).is_some());
    assert_eq!(passed, [true, false, false]);
    session.close();
}

#[test]
fn a_hub_that_floods_a_participant_is_refused_what_is_too_much() {
    let (hub, provider) = (FakeHub::start(Part::Floods(600)), FakeProvider::start(Script::StreamAndHang(Vec::new())));
    let session = quick(&hub, &provider).hub_timeout(Duration::from_secs(60)).start().unwrap();
    wait_until("requests to be refused", || {
        hub.told.lock().unwrap().iter().filter(|told| told.contains("works at too many requests")).count() == 600 - 512
    });
    session.close();
}

#[test]
fn a_body_behind_its_request_reaches_the_provider() {
    const BODY: &str = r#"{"model":"m", "odd":"ü\u00fc" }"#;
    const SENT: &[Sent] = &[Sent::Announced(BODY.len()), Sent::Ping, Sent::Binary(BODY.as_bytes()), Sent::Ping];
    let provider = FakeProvider::start(Script::Echo);
    let hub = FakeHub::start(Part::Sends(SENT));
    let session = quick(&hub, &provider).start().unwrap();
    assert_eq!(provider.wait_for_request(1).body, BODY);
    assert!(hub.handshakes.lock().unwrap()[0].contains("&frames=binary&bodies=binary"));
    session.close();
    // A participant that sends JSON asks for no binary messages, and ignores them.
    let hub = FakeHub::start(Part::Sends(&[Sent::Binary(b"{}")]));
    let session = quick(&hub, &provider).json_frames().start().unwrap();
    assert!(!hub.handshakes.lock().unwrap()[0].contains("bodies="));
    session.close();
}

#[test]
fn a_hub_that_breaks_the_order_of_bodies_loses_that_tunnel_alone() {
    let provider = FakeProvider::start(Script::Echo);
    let good = TestHub::start();
    let room = good.room();
    let _other =
        Session::builder(good.url(), &room).participant_id("p").model("m").endpoint(provider.url()).start().unwrap();
    let cases: [(&'static [Sent], &str); 8] = [
        (&[Sent::Announced(0)], "in place of a request's body"),
        (&[Sent::Announced(0), Sent::Binary(b"{")], "announced length"),
        // Pongs to the participant's pings come in its place.
        (&[Sent::Announced(2)], "in place of a request's body"),
        (&[Sent::Announced(2), Sent::Announced(2)], "in place of a request's body"),
        (&[Sent::Announced(2), Sent::Binary(b"{")], "announced length"),
        (&[Sent::Announced(2), Sent::Binary(b"{} ")], "announced length"),
        (&[Sent::Binary(b"{}")], "unannounced"),
        (&[Sent::Announced(65 << 20)], "too long"),
    ];
    for (messages, reason) in cases {
        let hub = FakeHub::start(Part::Sends(messages));
        let session = quick(&hub, &provider).hub_timeout(Duration::from_secs(60)).start().unwrap();
        let end = session.wait_until_closed();
        assert_eq!(end.reason, CloseReason::TunnelClosed);
        let error = end.error.unwrap().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        session.close();
    }
    assert!(provider.seen().is_empty(), "{:?}", provider.seen());
    let hub = FakeHub::start(Part::Sends(&[Sent::Announced(2), Sent::Binary(b"{}"), Sent::Binary(b"{}")]));
    let session = quick(&hub, &provider).hub_timeout(Duration::from_secs(60)).start().unwrap();
    assert!(session.wait_until_closed().error.unwrap().to_string().contains("unannounced"), "a second body");
    session.close();
    good.chat(&room, "any").expect(200);
}

#[test]
fn a_long_prompt_reaches_the_provider_byte_for_byte_but_for_model_and_defaults() {
    let hub = TestHub::start();
    let provider = FakeProvider::start(Script::Echo);
    let room = hub.room();
    let list = format!(r#" {{"role": "user","content":"{}" }}, {{"x":1e400}} ]"#, "prompt ü\\n".repeat(100_000));
    let body = format!(r#"{{ "odd" :[1 , 2],"messages":[{list}, "model":"any","big":12345678901234567890123}}"#);
    for json_frames in [false, true] {
        let builder = Session::builder(hub.url(), &room)
            .participant_id("p")
            .model("m")
            .endpoint(provider.url())
            .config(serde_json::from_value(json!({ "instructions": "Be kind.", "seed": 7 })).unwrap());
        let session = if json_frames { builder.json_frames() } else { builder }.start().unwrap();
        hub.wait_for_status(&room, "p", "online");
        let before = provider.seen().len();
        let mut conn = Conn::open(hub.addr());
        conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
        conn.answer().expect(200);
        let first = r#"{"role":"system","content":"Be kind."}"#;
        let expected = format!(
            r#"{{"odd":[1 , 2],"messages":[{first},{list},"model":"m","big":12345678901234567890123,"seed":7}}"#
        );
        let seen = provider.wait_for_request(before + 1);
        assert!(seen.body == expected, "json_frames {json_frames}: {}", &seen.body[..200]);
        session.close();
    }
}

/// Pieces of 64 KiB that no sockets and no queue hold together.
const MANY: usize = 640;

fn pouring() -> FakeProvider {
    FakeProvider::start(Script::Stream(vec!["x".repeat(64 << 10); MANY]))
}

#[test]
fn a_slow_client_slows_its_provider_and_gets_its_whole_answer() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = pouring();
    let _session = Session::builder(hub.url(), &room)
        .participant_id("p")
        .model("m")
        .endpoint(provider.url())
        .concurrency(2)
        .start()
        .unwrap();
    let mut slow = hub.stream(&room, "p");
    wait_until("the answer to begin", || provider.sent() >= 16);
    provider.set(Script::Echo);
    for _ in 0..50 {
        hub.chat(&room, "p").expect(200);
    }
    assert!(provider.sent() < MANY, "the provider is not slowed down");
    let answer = slow.answer();
    assert_eq!((answer.whole, answer.body.len()), (true, MANY << 16));
}

#[test]
fn a_client_that_hangs_up_while_its_provider_is_paused_frees_it() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = pouring();
    let session = Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url());
    let _session = session.concurrency(2).start().unwrap();
    let slow = hub.stream(&room, "p");
    wait_until("the answer to begin", || provider.sent() >= 16);
    provider.set(Script::Echo);
    wait_until("the provider to stand still", || {
        let before = provider.sent();
        hub.chat(&room, "p").expect(200);
        provider.sent() == before
    });
    assert!(provider.sent() < MANY);
    slow.hang_up();
    wait_until("the provider to be left", || provider.broken_off() == 1);
    hub.chat(&room, "p").expect(200);
}

/// More requests at once than a participant reads with a thread for each.
const MANY_REQUESTS: usize = 24;

fn many_at_once(hub: &TestHub, room: &str, provider: &FakeProvider) -> Session {
    let session = Session::builder(hub.url(), room).participant_id("p").model("m").endpoint(provider.url());
    session.concurrency(64).start().unwrap()
}

#[test]
fn each_piece_of_many_slow_answers_arrives_before_the_next_is_made() {
    let hub = TestHub::start();
    let room = hub.room();
    let pieces: Vec<_> = (0..5).map(|n| format!("data: {n}\n\n")).collect();
    let provider = FakeProvider::start(Script::Steps(pieces.clone()));
    let _session = many_at_once(&hub, &room, &provider);
    // The second round's answers come on the first one's connections.
    for _ in 0..2 {
        provider.allow(0);
        let mut clients: Vec<_> = (0..MANY_REQUESTS).map(|_| hub.stream(&room, "p")).collect();
        for (at, piece) in pieces.iter().enumerate() {
            provider.allow(at + 1);
            for client in &mut clients {
                if at == 0 {
                    client.head().expect(200);
                }
                assert_eq!(client.chunk().unwrap(), piece.as_bytes());
            }
        }
        assert!(clients.iter_mut().all(|client| client.chunk().is_some_and(|last| last.is_empty())));
    }
    assert!(provider.connections() <= MANY_REQUESTS + 2, "{}", provider.connections());
}

#[test]
fn many_answers_that_follow_each_other_on_the_same_connections_are_whole() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Stream((0..3).map(|n| format!("data: {n}\n\n")).collect()));
    let _session = many_at_once(&hub, &room, &provider);
    let body = json!({ "model": "p", "stream": true, "messages": [] }).to_string();
    thread::scope(|scope| {
        for _ in 0..MANY_REQUESTS {
            scope.spawn(|| {
                let mut client = Conn::open(hub.addr());
                for _ in 0..30 {
                    client.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
                    let answer = client.answer();
                    assert_eq!((answer.whole, answer.text().as_str()), (true, "data: 0\n\ndata: 1\n\ndata: 2\n\n"));
                }
            });
        }
    });
}

#[test]
fn among_many_answers_slow_clients_broken_answers_and_cancels_concern_their_own_alone() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndHang(vec!["data: 1\n\n".into()]));
    let _session = many_at_once(&hub, &room, &provider);
    let mut waiting: Vec<_> = (0..MANY_REQUESTS).map(|_| hub.stream(&room, "p")).collect();
    for client in &mut waiting {
        client.head().expect(200);
        client.chunk().unwrap();
    }
    let sent = provider.sent();
    provider.set(Script::Stream(vec!["x".repeat(64 << 10); MANY]));
    let mut slow = hub.stream(&room, "p");
    wait_until("the answer to begin", || provider.sent() >= sent + 16);
    provider.set(Script::StreamAndDie(vec!["data: 2\n\n".into()]));
    let broken = hub.stream(&room, "p").answer();
    assert!(!broken.whole && broken.text().contains("broke off"), "{}", broken.text());
    let left = waiting.pop().unwrap();
    left.hang_up();
    wait_until("the provider to be left", || provider.abandoned() == 1);
    assert!(provider.sent() < MANY, "the slow client's provider is not slowed down");
    let answer = slow.answer();
    assert_eq!((answer.whole, answer.body.len()), (true, MANY << 16));
    drop(waiting);
    wait_until("the provider to be left by all", || provider.abandoned() == MANY_REQUESTS);
}

#[test]
fn a_second_start_supersedes_the_first_which_removes_nothing() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    for token in [None, Some("0123456789abcdef0123456789abcdef")] {
        let start = || {
            let builder = Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url());
            token.into_iter().fold(builder, |builder, token| builder.participant_token(token)).start().unwrap()
        };
        let (first, second) = (start(), start());
        let end = first.wait_until_closed();
        assert_eq!((end.reason, end.code), (CloseReason::Superseded, Some(1000)));
        assert!(end.error.unwrap().to_string().contains("another start of the participant \"p\""));
        first.close();
        drop(first);
        hub.chat(&room, "p").expect(200);
        second.close();
        assert!(hub.client.participants(&room).list().unwrap().is_empty());
    }
}

#[test]
fn a_reconnect_that_is_superseded_stops_instead_of_fighting() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let builder = || Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url());
    let mut newcomer = None;
    let ended = Reconnect::new(builder()).run(|step| match step {
        ReconnectEvent::Joined(_) => newcomer = Some(builder().start().unwrap()),
        ReconnectEvent::Lost(_) | ReconnectEvent::Waiting { .. } => panic!("it came back"),
        _ => {}
    });
    let error = ended.unwrap_err();
    assert!(error.to_string().contains("another start"));
    assert!(std::error::Error::source(&error).unwrap().is::<Arc<Error>>(), "the session's own error: {error:?}");
    hub.chat(&room, "p").expect(200);
    newcomer.unwrap().close();
}

#[test]
fn the_command_that_is_superseded_exits_with_3_and_says_so() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    for reconnect in [&[][..], &["--reconnect"]] {
        let mut join = std::process::Command::new(env!("CARGO_BIN_EXE_gambi"));
        join.args([
            "participant",
            "join",
            "--participant-id",
            "p",
            "-m",
            "m",
            "-r",
            &room,
            "-H",
            &hub.url(),
            "--no-specs",
        ]);
        join.args(["-e", &provider.url()]).args(reconnect).stdin(std::process::Stdio::null());
        let join = join.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        hub.wait_for_status(&room, "p", "online");
        let builder = Session::builder(hub.url(), &room).participant_id("p").model("m").endpoint(provider.url());
        let newcomer = builder.start().unwrap();
        let ended = join.wait_with_output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{told}");
        assert!(told.contains("another start of the participant \"p\""), "{told}");
        hub.chat(&room, "p").expect(200);
        newcomer.close();
    }
}
