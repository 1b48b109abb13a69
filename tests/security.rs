//! Who may do what: the hub's key, private rooms, participants' tokens, web sites, proxies.

mod support;

use gambi::client::Client;
use gambi::hub::HubKey;
use gambi::participant::{Builder, Reconnect, Session, Step};
use gambi::proto::management::CreateRoom;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, Response, Script, TestHub, wait_until};

const PASSWORD: &str = "open sesame";

fn private_room(client: &Client) -> String {
    let room =
        CreateRoom { name: "Shut".into(), password: Some(PASSWORD.into()), private: true, ..CreateRoom::default() };
    client.rooms().create(&room).unwrap().room.code
}

fn ask(hub: &TestHub, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
    let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
    Conn::open(hub.addr()).ask(method, path, &headers, body.map(Value::to_string).as_deref()).answer()
}

fn chat() -> Value {
    json!({ "model": "any", "messages": [{ "role": "user", "content": "Hi" }] })
}

fn builder(hub: &TestHub, room: &str, provider: &FakeProvider) -> Builder {
    Session::builder(hub.url(), room).participant_id("ann").model("m").endpoint(provider.url())
}

/// What a private room keeps to itself: a method, and a path with the room's code in it.
fn closed(room: &str) -> Vec<(&'static str, String)> {
    let inference = |rest: &str| format!("/rooms/{room}/v1/{rest}");
    vec![
        ("GET", inference("models")),
        ("GET", inference("models/any")),
        ("POST", inference("chat/completions")),
        ("POST", inference("responses")),
        ("POST", inference("embeddings")),
        ("GET", inference("responses/r1")),
        ("POST", inference("responses/r1/cancel")),
        ("GET", format!("/rooms/{}/participants", room.to_lowercase())),
        ("GET", format!("/v1/rooms/{room}/participants")),
        ("GET", format!("/rooms/{room}/events")),
        ("HEAD", format!("/v1/rooms/{room}/events")),
    ]
}

#[test]
fn a_private_room_opens_to_its_password_only() {
    let hub = TestHub::start();
    let room = private_room(&hub.client);
    let provider = FakeProvider::start(Script::Echo);
    let _session = builder(&hub, &room, &provider).password(PASSWORD).start().unwrap();
    let bearer = format!("Bearer {PASSWORD}");
    for (method, path) in closed(&room) {
        let body = (method == "POST").then(chat);
        for headers in [&[][..], &[("Authorization", "Bearer wrong")], &[("X-Gambi-Room-Password", "Open Sesame")]] {
            let refused = ask(&hub, method, &path, headers, body.as_ref());
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}");
        }
        for right in [("Authorization", bearer.as_str()), ("x-api-key", PASSWORD), ("X-Gambi-Room-Password", PASSWORD)]
        {
            if path.ends_with("/events") && method == "GET" {
                assert_eq!(Conn::open(hub.addr()).ask(method, &path, &[right], None).head().status, 200);
            } else {
                assert_ne!(ask(&hub, method, &path, &[right], body.as_ref()).status, 401, "{method} {path}");
            }
        }
    }
    let asked = format!("/rooms/{room}/v1/chat/completions");
    ask(&hub, "POST", &asked, &[("Authorization", &bearer)], Some(&chat())).expect(200);
    assert!(provider.wait_for_request(1).header("authorization").is_none());
    let summary = hub.get(&format!("/v1/rooms/{room}")).expect(200).json();
    assert_eq!((&summary["data"]["private"], &summary["data"]["passwordProtected"]), (&json!(true), &json!(true)));

    let client = hub.client.clone().with_room_password(PASSWORD);
    assert_eq!(client.participants(&room).list().unwrap().len(), 1);
    assert_eq!(client.room(&room).models().unwrap()[0].id, "ann");
    assert!(client.room(&room).chat().user("Hi").send().is_ok());
    assert!(client.events(Some(&room)).is_ok());
    assert_eq!(hub.client.room(&room).models().unwrap_err().status(), Some(401));
}

#[test]
fn a_private_room_needs_a_password_that_clients_can_send() {
    let hub = TestHub::start();
    for (password, status) in [(Value::Null, 400), (json!("größe"), 400), (json!(" x"), 400), (json!("pw"), 201)] {
        for path in ["/v1/rooms", "/rooms"] {
            let made = hub.post(path, &json!({ "name": "x", "private": true, "password": password }));
            assert_eq!(made.status, status, "{path} {password}");
        }
    }
    assert_eq!(hub.post("/v1/rooms", &json!({ "name": "x", "private": "yes" })).status, 400);
    let open = hub.post("/v1/rooms", &json!({ "name": "x", "private": false })).expect(201).json();
    assert!(open["data"]["room"].get("private").is_none());
}

#[test]
fn whoever_watches_the_hub_hears_nothing_from_private_rooms() {
    let hub = TestHub::start();
    let watcher = hub.watch("/v1/events");
    let (private, open) = (private_room(&hub.client), hub.room());
    assert_eq!(watcher.next("room.created")["private"], true);
    let provider = FakeProvider::start(Script::Echo);
    let _hidden = builder(&hub, &private, &provider).password(PASSWORD).nickname("hidden").start().unwrap();
    let _shown = builder(&hub, &open, &provider).nickname("shown").start().unwrap();
    assert_eq!(watcher.next("participant.joined")["nickname"], "shown");
}

#[test]
fn a_rooms_password_and_the_hubs_key_each_open_their_own() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let keyed = hub.client.clone().with_key("k3y");
    let (private, open) =
        (private_room(&keyed), keyed.rooms().create(&CreateRoom { name: "x".into(), ..CreateRoom::default() }));
    let (models, list) = (|room: &str| format!("/rooms/{room}/v1/models"), "/v1/rooms");
    let (key, password) = (("Authorization", "Bearer k3y"), ("Authorization", "Bearer open sesame"));
    for _ in 0..20 {
        // The key is no guess at the room's password.
        assert_eq!(ask(&hub, "GET", &models(&private), &[key], None).status, 401);
    }
    assert_eq!(ask(&hub, "GET", &models(&private), &[password], None).status, 200);
    assert_eq!(ask(&hub, "GET", &models(&private), &[key, ("X-Gambi-Room-Password", PASSWORD)], None).status, 200);
    assert_eq!(ask(&hub, "GET", &models(&open.unwrap().room.code), &[password], None).status, 401);
    assert_eq!(ask(&hub, "GET", list, &[password], None).status, 401);
    assert_eq!(ask(&hub, "GET", list, &[key], None).status, 200);
    assert!(keyed.with_room_password(PASSWORD).room(&private).models().is_ok());
}

#[test]
fn guessing_is_slowed_for_the_key_and_for_private_rooms() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let room = private_room(&hub.client.clone().with_key("k3y"));
    for path in ["/v1/rooms".to_owned(), format!("/rooms/{room}/v1/models")] {
        let guess = |secret: &str| ask(&hub, "GET", &path, &[("Authorization", &format!("Bearer {secret}"))], None);
        // A script with an old secret makes itself wait, and nobody else.
        for n in 0..6 {
            assert_eq!(guess("always the same").status, if n < 5 { 401 } else { 429 });
        }
        assert_ne!(guess(if path == "/v1/rooms" { "k3y" } else { PASSWORD }).status, 429);
        guess("always the same");
        for n in 0..4 {
            assert_eq!(guess(&format!("guess {n}")).status, 401);
        }
        let slowed = guess(if path == "/v1/rooms" { "k3y" } else { PASSWORD });
        assert_eq!((slowed.status, slowed.header("retry-after")), (429, Some("1")), "{path}");
    }
    hub.clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(ask(&hub, "GET", "/v1/rooms", &[("Authorization", "Bearer k3y")], None).status, 200);
}

#[test]
fn in_a_strict_hub_only_the_participant_speaks_for_itself() {
    let hub = TestHub::with(|options| options.strict = true);
    let room = hub.room();
    let body = json!({ "nickname": "Ann", "model": "m", "endpoint": "http://localhost:1" });
    let at = |rest: &str| format!("/v1/rooms/{room}/participants/ann{rest}");
    let made = ask(&hub, "PUT", &at(""), &[], Some(&body)).expect(201).json();
    let token = made["data"]["participantToken"].as_str().unwrap().to_owned();
    let old = ask(
        &hub,
        "POST",
        &format!("/rooms/{room}/join"),
        &[],
        Some(&json!({
            "id": "bob", "nickname": "Bob", "model": "m", "endpoint": "http://127.0.0.1:1"
        })),
    );
    let old_token = old.expect(201).json()["participantToken"].as_str().unwrap().to_owned();

    let legacy = |rest: &str| format!("/rooms/{room}/{rest}");
    let speaking = [
        ("PUT", at(""), Some(body.clone()), &token),
        ("POST", at("/heartbeat"), None, &token),
        ("POST", legacy("health"), Some(json!({ "id": "bob" })), &old_token),
        ("DELETE", legacy("leave/bob"), None, &old_token),
        ("DELETE", at(""), None, &token),
    ];
    for (method, path, body, token) in &speaking {
        for headers in [&[][..], &[("X-Gambi-Participant-Token", "0123456789abcdef0123456789abcdef")]] {
            let refused = ask(&hub, method, path, headers, body.as_ref());
            assert_eq!(refused.status, 401, "{method} {path}");
        }
        let right = [("X-Gambi-Participant-Token", token.as_str())];
        ask(&hub, method, path, &right, body.as_ref()).expect(200);
    }
    for n in 0..10 {
        let wrong = format!("{n}-23456789abcdef0123456789abcdef");
        ask(&hub, "PUT", &at(""), &[], Some(&body));
        let refused = ask(&hub, "POST", &at("/heartbeat"), &[("X-Gambi-Participant-Token", &wrong)], None);
        assert_eq!(refused.status, if n < 4 { 401 } else { 429 }, "{n}");
    }
}

#[test]
fn elsewhere_nobody_asks_for_tokens_and_sessions_work_in_both() {
    for strict in [false, true] {
        let hub = TestHub::with(|options| options.strict = strict);
        let room = hub.room();
        let provider = FakeProvider::start(Script::Echo);
        let session = builder(&hub, &room, &provider).start().unwrap();
        let removed = hub.client.participants(&room).remove("ann").map_err(|error| error.status());
        assert_eq!(removed, if strict { Err(Some(401)) } else { Ok(()) });
        let again = builder(&hub, &room, &provider).start().map(drop).map_err(|error| error.status());
        assert_eq!(again, if strict { Err(Some(401)) } else { Ok(()) });
        session.close();
        assert!(hub.client.participants(&room).list().unwrap().is_empty());
    }
}

#[test]
fn a_participant_that_comes_back_is_the_same_one() {
    let hub = TestHub::with(|options| options.strict = true);
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let quiet = builder(&hub, &room, &provider).heartbeat_interval(std::time::Duration::from_secs(3600));
    let reconnect = Reconnect::new(quiet);
    let handle = reconnect.handle();
    let mut joined = 0;
    reconnect
        .run(|step| match step {
            Step::Joined(session) => {
                joined += 1;
                if joined == 2 {
                    return handle.close();
                }
                // Its tunnel falls silent: the hub ends it, and keeps the registration.
                assert_eq!(hub.participant(&room, "ann")["status"], "online");
                wait_until("the hub to give it up", || {
                    // Again and again: its first ping may still be under way.
                    hub.clock.advance(std::time::Duration::from_secs(31));
                    hub.participant(&room, "ann")["status"] == "offline"
                });
                assert_eq!(session.wait_until_closed().code, Some(4001));
            }
            Step::Waiting { error, .. } => panic!("{error}"),
            _ => {}
        })
        .unwrap();
    assert_eq!(joined, 2);
    wait_until("it to have left", || hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn a_hub_on_the_network_takes_no_changes_from_foreign_sites() {
    let hub = TestHub::with(|options| {
        options.host = "0.0.0.0".into();
        options.known_as = vec!["hub.uni.example".into()];
    });
    let room = hub.room();
    let status = |host: &str, origin: Option<&str>| {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let body = r#"{"name":"x"}"#;
        let head = format!("POST /v1/rooms HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: {}\r\n\r\n", body.len());
        Conn::open(hub.addr()).send(head + body).answer().status
    };
    assert_eq!(status("evil.example:3000", None), 403);
    assert_eq!(status("192.168.1.2:3000", Some("https://evil.example")), 403);
    assert_eq!(status("192.168.1.2:3000", Some("null")), 403);
    assert_eq!(status("192.168.1.2:3000", Some("http://192.168.1.9:8080")), 201);
    assert_eq!(status("hub.uni.example", Some("http://hub.uni.example")), 201);
    assert_eq!(status("localhost:3000", None), 201);
    // A chat is a change too; reading is none.
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(ask(&hub, "POST", &format!("/rooms/{room}/v1/chat/completions"), &foreign, Some(&chat())).status, 403);
    assert_eq!(ask(&hub, "GET", "/v1/rooms", &foreign, None).status, 200);

    // With a key, sites have nothing to send; on loopback alone, proxies may call the hub what they like.
    let keyed = TestHub::with(|options| {
        options.host = "0.0.0.0".into();
        options.key = HubKey::new("k3y");
    });
    let headers = [("Origin", "https://evil.example"), ("Authorization", "Bearer k3y")];
    assert_eq!(ask(&keyed, "POST", "/v1/rooms", &headers, Some(&json!({ "name": "x" }))).status, 201);
    let local = TestHub::start();
    assert_eq!(ask(&local, "POST", "/v1/rooms", &foreign, Some(&json!({ "name": "x" }))).status, 201);
}

#[test]
fn only_trusted_proxies_say_where_a_request_came_from() {
    let said = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "hub.example"), ("X-Forwarded-For", "9.9.9.9")];
    let body = json!({ "nickname": "Ann", "model": "m", "endpoint": "http://127.0.0.1:1", "id": "bob" });
    for (trusted, url) in [(false, "ws://test/"), (true, "wss://hub.example/")] {
        let hub = TestHub::with(|options| {
            options.trusted_proxies.extend(trusted.then(|| "127.0.0.0/8".parse::<gambi::hub::Proxy>().unwrap()));
        });
        let room = hub.room();
        let made = ask(&hub, "PUT", &format!("/v1/rooms/{room}/participants/ann"), &said, Some(&body)).expect(201);
        assert!(made.json()["data"]["tunnel"]["url"].as_str().unwrap().starts_with(url));
        // Somebody else's loopback is not the hub's, whoever says so.
        assert_eq!(ask(&hub, "POST", &format!("/rooms/{room}/join"), &said, Some(&body)).status, 403);
        assert_eq!(ask(&hub, "POST", &format!("/rooms/{room}/join"), &[], Some(&body)).status, 201);
    }
}

#[test]
fn passwords_by_the_hundred_are_refused_past_a_few_at_a_time() {
    let hub = TestHub::start();
    let body = json!({ "name": "Lab", "password": "secret" }).to_string();
    let mut conns: Vec<Conn> = (0..40).map(|_| Conn::open(hub.addr())).collect();
    for conn in &mut conns {
        conn.ask("POST", "/v1/rooms", &[], Some(&body));
    }
    let answers: Vec<_> = conns.iter_mut().map(Conn::answer).collect();
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(made >= 8 && !refused.is_empty() && made + refused.len() == 40, "{made} made");
    assert!(refused.iter().all(|answer| answer.header("retry-after") == Some("1")));
    // Those that came in time are out of the way again.
    hub.post("/v1/rooms", &json!({ "name": "Lab", "password": "secret" })).expect(201);
}
