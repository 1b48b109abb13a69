//! Who may do what: the hub's key, private rooms, participants' tokens, web sites, proxies.

mod support;

use gambi::client::Client;
use gambi::hub::{DeclaredRoom, HubKey, RoomPassword};
use gambi::participant::{Builder, Reconnect, ReconnectEvent, Session};
use gambi::proto::management::{CreateRoom, Registration};
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
fn a_token_that_is_shown_and_wrong_is_refused_on_every_hub() {
    let hub = TestHub::start();
    let room = hub.room();
    hub.client.participants(&room).upsert("ann", &support::registration()).unwrap();
    let other = hub.client.clone().with_participant_token("0123456789abcdef0123456789abcdef");
    let people = other.participants(&room);
    assert_eq!(people.heartbeat("ann").unwrap_err().status(), Some(401));
    assert_eq!(people.remove("ann").unwrap_err().status(), Some(401));
    assert!(hub.client.participants(&room).heartbeat("ann").is_ok(), "who shows none is an older client");
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
            ReconnectEvent::Joined(session) => {
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
            ReconnectEvent::Waiting { error, .. } => panic!("{error}"),
            _ => {}
        })
        .unwrap();
    assert_eq!(joined, 2);
    wait_until("it to have left", || hub.client.participants(&room).list().unwrap().is_empty());
}

/// What a page can ask of a hub: a method and a path. All of it changes, asks, or tells something.
fn asked_by_pages(room: &str) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = closed(room).into_iter().filter(|(method, _)| *method != "HEAD").collect();
    all.extend([
        ("GET", "/v1/rooms".to_owned()),
        ("GET", "/rooms".into()),
        ("GET", "/v1/events".into()),
        ("GET", "/metrics".into()),
        ("GET", format!("/v1/rooms/{room}")),
        ("POST", "/v1/rooms".into()),
        ("POST", "/rooms".into()),
        ("DELETE", format!("/v1/rooms/{room}")),
        ("PUT", format!("/v1/rooms/{room}/participants/ann")),
        ("DELETE", format!("/v1/rooms/{room}/participants/ann")),
        ("POST", format!("/v1/rooms/{room}/participants/ann/heartbeat")),
        ("GET", format!("/v1/rooms/{room}/participants/ann/tunnel?token=x")),
        ("POST", format!("/rooms/{room}/join")),
        ("POST", format!("/rooms/{room}/health")),
        ("DELETE", format!("/rooms/{room}/leave/ann")),
        ("POST", format!("/rooms/{room}/v1/messages")),
    ]);
    all
}

#[test]
fn pages_of_other_sites_neither_drive_a_hub_nor_read_it_wherever_it_listens() {
    for host in ["127.0.0.1", "0.0.0.0"] {
        let hub = TestHub::with(|options| options.host = host.into());
        let room = hub.room();
        for (method, path) in asked_by_pages(&room) {
            for foreign in [
                ("Origin", "https://evil.example"),
                ("Origin", "null"),
                ("Origin", "file://"),
                ("Origin", "vscode-webview://x"),
                ("Origin", "chrome-extension://abc"),
                ("Origin", "app://obsidian.md"),
                ("Sec-Fetch-Site", "cross-site"),
            ] {
                // The kind of body that a page may send without asking first.
                let headers = [foreign, ("Content-Type", "text/plain")];
                let refused = ask(&hub, method, &path, &headers, (method != "GET").then(chat).as_ref());
                assert_eq!(refused.status, 403, "{method} {path} with {foreign:?} on {host}");
                assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
                assert!(refused.text().contains("--cors"), "it says which flag opens it: {}", refused.text());
            }
        }
        assert_eq!(ask(&hub, "GET", "/v1/health", &[("Origin", "https://evil.example")], None).status, 200);
        assert_eq!(hub.get("/v1/rooms").json()["data"].as_array().unwrap().len(), 1, "nothing was made");
    }
}

#[test]
fn the_operator_opens_a_hub_to_one_origin_or_to_all() {
    let make = |hub: &TestHub, origin: &str| {
        ask(hub, "POST", "/v1/rooms", &[("Origin", origin)], Some(&json!({ "name": "x" }))).status
    };
    let one = TestHub::with(|options| options.cors = Some("https://app.example".into()));
    assert_eq!((make(&one, "https://app.example"), make(&one, "https://evil.example")), (201, 403));
    let all = TestHub::with(|options| options.cors = Some("*".into()));
    for origin in ["https://evil.example", "null", "app://x"] {
        assert_eq!(make(&all, origin), 201, "{origin}");
    }
    assert_eq!(ask(&all, "GET", "/v1/rooms", &[("Sec-Fetch-Site", "cross-site")], None).status, 200);
    // With a key, a page has to show what only its user can have given it.
    let keyed = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let origin = ("Origin", "https://app.example");
    let body = json!({ "name": "x" });
    assert_eq!(ask(&keyed, "POST", "/v1/rooms", &[origin, ("Authorization", "Bearer k3y")], Some(&body)).status, 201);
    assert_eq!(ask(&keyed, "POST", "/v1/rooms", &[origin], Some(&body)).status, 401);
}

#[test]
fn a_hub_takes_its_own_pages_and_programs_by_each_of_its_names() {
    let status = |hub: &TestHub, host: &str, more: &str| {
        let body = r#"{"name":"x"}"#;
        let head = format!("POST /v1/rooms HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {}\r\n\r\n", body.len());
        Conn::open(hub.addr()).send(head + body).answer().status
    };
    let named = |options: &mut gambi::hub::HubOptions| {
        options.allowed_hosts = vec!["hub.uni.example".into()];
        options.public_url = Some("https://gambi.example".into());
    };
    let network = TestHub::with(|options| {
        options.host = "0.0.0.0".into();
        named(options);
    });
    let local = TestHub::with(named);
    for hub in [&network, &local] {
        for (host, origin) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("localhost:3000", "http://localhost:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("192.168.1.2:3000", "http://192.168.1.2:3000"),
            ("pi.local", "http://pi.local"),
            ("hub.uni.example", "http://hub.uni.example"),
            // A proxy in front may tell the hub the page's host, or not.
            ("gambi.example", "https://gambi.example"),
            ("127.0.0.1:3000", "https://gambi.example"),
        ] {
            assert_eq!(status(hub, host, &format!("Origin: {origin}\r\n")), 201, "{origin} at {host}");
        }
        assert_eq!(status(hub, "127.0.0.1:3000", ""), 201, "a program");
        let rebound = "Origin: http://evil.example:3000\r\nSec-Fetch-Site: same-origin\r\n";
        assert_eq!(status(hub, "evil.example:3000", rebound), 403, "a name that was made to point here");
    }
    let by_tls = "Origin: https://other.example\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(status(&local, "other.example", by_tls), 201, "a proxy with TLS that the hub was not told of");
    // On the network neighbours' pages are as good as neighbours; on loopback nobody is reached by them but the hub.
    let neighbour = "Origin: http://192.168.1.9:8080\r\n";
    assert_eq!((status(&network, "192.168.1.2", neighbour), status(&local, "127.0.0.1", neighbour)), (201, 403));
    assert_eq!((status(&network, "evil.example", ""), status(&local, "proxied.example", "")), (403, 201));
}

#[test]
fn pages_open_no_tunnels() {
    let hub = TestHub::start();
    let room = hub.room();
    let (registered, _) = hub.client.participants(&room).upsert("ann", &support::registration()).unwrap();
    let path = format!("/v1/rooms/{room}/participants/ann/tunnel?token={}", registered.tunnel.token);
    let open = |more: &[(&str, &str)]| {
        let handshake = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers: Vec<_> = handshake.iter().chain(more).copied().collect();
        Conn::open(hub.addr()).ask("GET", &path, &headers, None).head().status
    };
    assert_eq!(open(&[("Origin", "https://evil.example")]), 403);
    assert_eq!(open(&[]), 101, "the token was not spent");
}

#[test]
fn strangers_do_not_learn_who_is_in_a_private_room_nor_touch_them() {
    for key in [None, HubKey::new("k3y")] {
        let keyed = key.is_some();
        let hub = TestHub::with(|options| {
            options.key = key.clone();
            options.offline_ttl = None;
        });
        let client = if keyed { hub.client.clone().with_key("k3y") } else { hub.client.clone() };
        let room = private_room(&client);
        let body = json!({ "nickname": "A", "model": "m", "endpoint": "http://127.0.0.1:1", "password": PASSWORD });
        let authorized = [("Authorization", "Bearer k3y")];
        let path = |id: &str, rest: &str| format!("/v1/rooms/{room}/participants/{id}{rest}");
        let made = ask(&hub, "PUT", &path("ann", ""), &authorized[..usize::from(keyed)], Some(&body)).expect(201);
        let token = made.json()["data"]["participantToken"].as_str().unwrap().to_owned();
        let asked = |id: &str| {
            [
                ("POST", path(id, "/heartbeat"), None),
                ("POST", format!("/rooms/{room}/health"), Some(json!({ "id": id }))),
                ("DELETE", path(id, ""), None),
                ("DELETE", format!("/rooms/{room}/leave/{id}"), None),
            ]
        };
        let told = |id: &str, headers: &[(&str, &str)]| -> Vec<(u16, String)> {
            asked(id)
                .iter()
                .map(|(method, path, body)| {
                    let mut answer = ask(&hub, method, path, headers, body.as_ref());
                    let mut text: Value = serde_json::from_slice(&std::mem::take(&mut answer.body)).unwrap();
                    text.as_object_mut().unwrap().remove("meta");
                    (answer.status, text.to_string())
                })
                .collect()
        };
        let wrong = ("X-Gambi-Participant-Token", "0123456789abcdef0123456789abcdef");
        for headers in [&[][..], &[wrong], &authorized] {
            let headers = if keyed { headers } else { &headers[..headers.len().min(1)] };
            let here = told("ann", headers);
            hub.clock.advance(std::time::Duration::from_secs(900));
            let nobody = told("nobody", headers);
            hub.clock.advance(std::time::Duration::from_secs(900));
            assert_eq!(here, nobody, "{headers:?}");
            assert!(here.iter().all(|(status, _)| *status == 401), "{here:?}");
        }
        if keyed {
            // Nor whether there is a room at all.
            let at = |code: &str| {
                let answer = ask(&hub, "POST", &format!("/rooms/{code}/health"), &[], Some(&json!({})));
                (answer.status, answer.text())
            };
            assert_eq!(at(&room), at("ABC234"));
        }
        // Its own token lets a participant in, and so does the room's password.
        ask(&hub, "POST", &path("ann", "/heartbeat"), &[("X-Gambi-Participant-Token", &token)], None).expect(200);
        let password = ("X-Gambi-Room-Password", PASSWORD);
        ask(&hub, "POST", &path("ann", "/heartbeat"), &[password], None).expect(200);
        ask(&hub, "POST", &path("nobody", "/heartbeat"), &[password], None).expect(404);
        ask(&hub, "DELETE", &path("ann", ""), &[password, wrong], None).expect(401);
        ask(&hub, "DELETE", &path("ann", ""), &[("X-Gambi-Participant-Token", &token)], None).expect(200);
    }
}

#[test]
fn a_tunnels_wrong_token_is_told_nothing_and_slowed() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let client = hub.client.clone().with_key("k3y");
    let room = client.rooms().create(&CreateRoom { name: "x".into(), ..CreateRoom::default() }).unwrap().room.code;
    client.participants(&room).upsert("ann", &support::registration()).unwrap();
    let told = |room: &str, id: &str, token: &str| {
        let headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let path = format!("/v1/rooms/{room}/participants/{id}/tunnel?token={token}");
        let answer = Conn::open(hub.addr()).ask("GET", &path, &headers, None).answer();
        (answer.status, answer.json()["error"]["message"].clone())
    };
    let first = told(&room, "ann", "x");
    assert_eq!(first.0, 401);
    assert_eq!(told(&room, "nobody", "x"), first);
    assert_eq!(told("ABC234", "ann", "x"), first);
    let statuses: Vec<u16> = (0..8).map(|n| told("ABC234", "ann", &format!("guess {n}").replace(' ', "")).0).collect();
    assert_eq!((statuses[0], statuses[7]), (401, 429), "{statuses:?}");
}

#[test]
fn two_hundred_guesses_at_once_learn_no_more_than_one_by_one() {
    let hash = format!("$argon2id$v=19$m=65536,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw${}", "A".repeat(43));
    let hub = TestHub::with(|options| {
        options.rooms.push(DeclaredRoom {
            code: "LAB001".into(),
            name: "Shut".into(),
            password: Some(RoomPassword::Hashed(hash)),
            private: true,
            ..DeclaredRoom::default()
        });
    });
    let start = std::sync::Barrier::new(200);
    let (hub, start) = (&hub, &start);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guess = |n: usize| {
            move || {
                let mut conn = Conn::open(hub.addr());
                start.wait();
                let guess = format!("Bearer guess-{n}");
                let headers = [("Authorization", guess.as_str()), ("Connection", "close")];
                conn.ask("GET", "/rooms/LAB001/v1/models", &headers, None).answer().status
            }
        };
        let guesses: Vec<_> = (0..200).map(|n| scope.spawn(guess(n))).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let learned = statuses.iter().filter(|status| **status == 401).count();
    // Five are free; a machine on which the others take seconds lets the first of them try again.
    assert!((5..=8).contains(&learned), "{statuses:?}");
    // The others have to wait, or found too many waiting before them.
    assert!(statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
}

#[test]
fn a_session_lives_and_leaves_in_a_private_room() {
    let hub = TestHub::start();
    let room = private_room(&hub.client);
    let provider = FakeProvider::start(Script::Echo);
    let beat = std::time::Duration::from_millis(20);
    let session = builder(&hub, &room, &provider).password(PASSWORD).heartbeat_interval(beat).start().unwrap();
    let inside = hub.client.clone().with_room_password(PASSWORD);
    let seen = || inside.participants(&room).list().unwrap()[0].last_seen;
    let before = seen();
    hub.clock.advance(std::time::Duration::from_secs(1));
    wait_until("its heartbeats to be taken", || seen() > before);
    // Once it is removed it learns that at its next heartbeat, or by its tunnel's end.
    inside.participants(&room).remove("ann").unwrap();
    assert_ne!(session.wait_until_closed().reason.as_str(), "closed");
    let session = builder(&hub, &room, &provider).password(PASSWORD).start().unwrap();
    session.close();
    assert!(inside.participants(&room).list().unwrap().is_empty());
}

#[test]
fn the_command_line_speaks_for_participants_of_private_rooms() {
    let hub = TestHub::start();
    let room = private_room(&hub.client);
    let registration = Registration { password: Some(PASSWORD.into()), ..support::registration() };
    hub.client.participants(&room).upsert("ann", &registration).unwrap();
    let (url, room) = (hub.url(), room.as_str());
    let gambi = |verb: &str, password: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(["participant", verb, "--hub", &url, "--room", room, "--participant-id", "ann"]);
        command.env_remove("GAMBI_ROOM_PASSWORD").envs(password.map(|password| ("GAMBI_ROOM_PASSWORD", password)));
        command.output().unwrap().status.success()
    };
    for verb in ["heartbeat", "leave"] {
        assert!(!gambi(verb, None) && !gambi(verb, Some("wrong")), "{verb}");
        assert!(gambi(verb, Some(PASSWORD)), "{verb}");
    }
}

#[test]
fn what_a_provider_answers_is_never_a_page_of_the_hub() {
    let hub = TestHub::start();
    let room = hub.room();
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\nClear-Site-Data: \"*\"\r\n\
        Refresh: 0;url=http://evil.example\r\nService-Worker-Allowed: /\r\nAlt-Svc: h3=\":1\"\r\n\
        Strict-Transport-Security: max-age=9\r\nLocation: http://evil.example\r\nWWW-Authenticate: Basic\r\n\
        Content-Security-Policy: default-src *\r\nLink: <x>; rel=preload\r\nAccess-Control-Allow-Credentials: true\r\n\
        Connection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>";
    let provider = FakeProvider::start(Script::Echo);
    let _session = builder(&hub, &room, &provider).start().unwrap();
    provider.set(Script::Answer { status: 200, kind: "application/json", body: json!({ "id": "resp_1" }).to_string() });
    ask(&hub, "POST", &format!("/rooms/{room}/v1/responses"), &[], Some(&json!({ "model": "any", "input": "x" })))
        .expect(200);
    provider.set(Script::Raw(answer.as_bytes().to_vec()));
    let direct = json!({ "id": "bob", "nickname": "Bob", "model": "m", "endpoint": provider.url() });
    ask(&hub, "POST", &format!("/rooms/{room}/join"), &[], Some(&direct)).expect(201);
    let chat_with = |id: &str| {
        let body = json!({ "model": id, "messages": [] });
        ask(&hub, "POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body))
    };
    let kept_answer = ask(&hub, "GET", &format!("/rooms/{room}/v1/responses/resp_1"), &[], None);
    for passed in [chat_with("ann"), chat_with("bob"), kept_answer] {
        let passed = passed.expect(200);
        assert_eq!(passed.header("content-security-policy"), Some("sandbox; default-src 'none'"));
        assert_eq!(passed.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            passed.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-security-policy")).count(),
            1
        );
        assert_eq!((passed.header("x-kept"), passed.header("content-type")), (Some("1"), Some("text/html")));
        for gone in [
            "set-cookie",
            "clear-site-data",
            "refresh",
            "service-worker-allowed",
            "alt-svc",
            "strict-transport-security",
            "location",
            "www-authenticate",
            "link",
            "access-control-allow-credentials",
            "x-hop",
        ] {
            assert_eq!(passed.header(gone), None, "{gone}");
        }
    }
    let unread = Conn::open(hub.addr()).send("rubbish\r\n\r\n").answer();
    assert_eq!((unread.status, unread.header("x-content-type-options")), (400, Some("nosniff")));
    for path in ["/v1/rooms", "/rooms", "/v1/nothing", "/metrics", "/openapi.json"] {
        let own = hub.get(path);
        assert_eq!(own.header("content-security-policy"), Some("sandbox; default-src 'none'"), "{path}");
        assert_eq!(own.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[test]
fn a_providers_redirect_is_neither_followed_nor_passed_on() {
    let hub = TestHub::start();
    let room = hub.room();
    let elsewhere = FakeProvider::start(Script::Echo);
    let provider = FakeProvider::start(Script::Answer {
        status: 200,
        kind: "application/json",
        body: json!({ "id": "resp_1" }).to_string(),
    });
    let _session = builder(&hub, &room, &provider).start().unwrap();
    let body = json!({ "model": "any", "input": "x" });
    let responses = format!("/rooms/{room}/v1/responses");
    ask(&hub, "POST", &responses, &[], Some(&body)).expect(200);
    for status in [301, 302, 303, 307, 308] {
        let head =
            format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {}/v1\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
        provider.set(Script::Raw(head.into_bytes()));
        for (method, path, body) in [
            ("POST", format!("/rooms/{room}/v1/chat/completions"), Some(chat())),
            ("POST", responses.clone(), Some(body.clone())),
            ("GET", format!("{responses}/resp_1"), None),
            ("DELETE", format!("{responses}/resp_1"), None),
        ] {
            let refused = ask(&hub, method, &path, &[], body.as_ref()).expect(502);
            assert_eq!(refused.header("location"), None);
            let told = refused.json()["error"].as_str().unwrap().to_owned();
            assert!(told.contains("redirect") && told.contains("endpoint"), "{told}");
        }
    }
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn only_trusted_proxies_say_where_a_request_came_from() {
    let said = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "hub.example"), ("X-Forwarded-For", "9.9.9.9")];
    let body = json!({ "nickname": "Ann", "model": "m", "endpoint": "http://127.0.0.1:1", "id": "bob" });
    for (trusted, url) in [(false, "ws://test/"), (true, "wss://hub.example/")] {
        let hub = TestHub::with(|options| {
            options.trusted_proxies.extend(trusted.then(|| "127.0.0.0/8".parse::<gambi::hub::TrustedProxy>().unwrap()));
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
