//! The v1 management plane: routes, shapes, error codes, validation.

mod support;

use std::time::Duration;

use gambi::hub::HubKey;
use gambi::participant::Session;
use gambi::proto::management::CreateRoom;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, registration};

fn body() -> Value {
    json!({ "nickname": "Ann", "model": "llama3", "endpoint": "http://localhost:11434" })
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn is_uuid(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if [8, 13, 18, 23].contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() })
}

#[test]
fn rooms_are_made_listed_and_shown() {
    let hub = TestHub::start();
    let room =
        json!({ "name": "Lab", "password": "pw", "defaults": { "temperature": 1, "instructions": "Be brief." } });
    let made = hub.post("/v1/rooms", &room).expect(201);
    assert_eq!(made.header("content-type"), Some("application/json; charset=utf-8"));
    let made = made.json();
    assert!(is_uuid(&made["meta"]["requestId"]));
    assert_eq!(keys(&made), ["data", "meta"]);
    assert_eq!(keys(&made["data"]), ["hostId", "room"]);
    let room = &made["data"]["room"];
    let all = ["code", "createdAt", "defaults", "hostId", "id", "name", "participantCount", "passwordProtected"];
    assert_eq!(keys(room), all);
    assert!(is_uuid(&room["hostId"]));
    assert_eq!(room["id"].as_str().unwrap().len(), 21);
    assert_eq!(room["defaults"], json!({ "temperature": 1, "hasInstructions": true }));
    assert_eq!(
        (&room["name"], &room["passwordProtected"], &room["participantCount"]),
        (&json!("Lab"), &json!(true), &json!(0))
    );
    let code = room["code"].as_str().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|b| b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789".contains(&b)), "{code}");

    assert_eq!(hub.get(&format!("/v1/rooms/{}", code.to_lowercase())).expect(200).json()["data"], *room);
    hub.room();
    let list = hub.get("/v1/rooms").expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert!(list["data"].as_array().unwrap().contains(room));
    let plain = &list["data"].as_array().unwrap().iter().find(|r| *r != room).unwrap();
    assert!(plain.get("defaults").is_none());
}

#[test]
fn a_rooms_fields_are_checked() {
    let hub = TestHub::start();
    let refused = |body: &str| {
        let answer = Conn::open(hub.addr()).ask("POST", "/v1/rooms", &[("Connection", "close")], Some(body)).answer();
        let answer = answer.expect(400).json();
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{body}");
        answer["error"].clone()
    };
    for body in ["{}", r#"{"name":""}"#, r#"{"name":"  "}"#, r#"{"name":null}"#] {
        assert_eq!(refused(body)["message"], "Name is required", "{body}");
    }
    for body in ["", "[]", "nonsense", "\"x\"", "{\"name\":", "\u{feff}\u{feff}{}"] {
        let error = refused(body);
        assert_eq!(error["message"], "Invalid JSON body.", "{body}");
        assert!(error["hint"].is_string() && error["details"]["cause"].is_string(), "{error}");
    }
    assert!(refused("{\"name\":")["details"]["cause"].as_str().unwrap().contains("EOF"), "the parser's words");
    for (field, value) in [
        ("name", json!(1)),
        ("name", json!("x".repeat(2000))),
        ("password", json!(1)),
        ("password", json!("x".repeat(2000))),
        ("defaults", json!([])),
    ] {
        let mut room = json!({ "name": "x" });
        room[field] = value;
        assert_eq!(refused(&room.to_string())["details"]["field"], field);
    }
    let error = refused(r#"{"name":"x","defaults":{"temperature":2.1}}"#);
    assert_eq!(error["message"], "Invalid room defaults.");
    assert_eq!(error["hint"], "\"defaults.temperature\" must be between 0 and 2");
    assert_eq!(error["details"], json!({ "field": "defaults.temperature", "problem": "must be between 0 and 2" }));
    assert_eq!(refused(r#"{"name":"x","defaults":{"seed":0.5}}"#)["details"]["field"], "defaults.seed");
    let taken = hub.post("/v1/rooms", &json!({ "name": "x", "password": null, "defaults": null, "unknown": {} }));
    assert_eq!(taken.expect(201).json()["data"]["room"]["passwordProtected"], false);
}

#[test]
fn a_room_may_set_no_limit_of_tokens_in_the_ways_that_servers_take() {
    let hub = TestHub::start();
    for limit in [0, -1] {
        let made =
            hub.post("/v1/rooms", &json!({ "name": "x", "defaults": { "max_tokens": limit } })).expect(201).json();
        assert_eq!(made["data"]["room"]["defaults"]["max_tokens"], limit);
    }
}

#[test]
fn a_management_body_may_begin_with_a_byte_order_mark_and_nest_deep() {
    let hub = TestHub::start();
    let send = |method: &str, path: &str, body: &str| {
        Conn::open(hub.addr()).ask(method, path, &[("Connection", "close")], Some(body)).answer()
    };
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let room = format!("\u{feff}{{\"unknown\":{deep},\"defaults\":{{\"unknown\":{deep}}},\"name\":\"x\"}}");
    let made = send("POST", "/v1/rooms", &room).expect(201).json()["data"].clone();
    let code = made["room"]["code"].as_str().unwrap();
    let ann = format!(
        "\u{feff}{{\"nickname\":\"A\",\"model\":\"m\",\"endpoint\":\"http://x\",\"specs\":{{\"x\":{deep}}},\"x\":{deep}}}"
    );
    send("PUT", &format!("/v1/rooms/{code}/participants/ann"), &ann).expect(201);
    let refused = send("POST", "/v1/rooms", &format!("{{\"name\":{deep}}}")).expect(400).json();
    assert_eq!(refused["error"]["details"], json!({ "field": "name", "problem": "must be text" }));
    let host = format!("\u{feff}{{\"x\":{deep},\"hostId\":{}}}", made["hostId"]);
    send("DELETE", &format!("/v1/rooms/{code}"), &host).expect(200);
}

#[test]
fn lists_keep_the_order_in_which_rooms_and_participants_were_made() {
    let hub = TestHub::start();
    let codes: Vec<String> = (0..40).map(|_| hub.room()).collect();
    let ids: Vec<String> = (0..40).map(|n| format!("{}", n * 37 % 101)).collect();
    for id in &ids {
        hub.client.participants(&codes[0]).upsert(id, &registration()).unwrap();
    }
    hub.client.participants(&codes[0]).upsert(&ids[0], &registration()).unwrap();
    let listed = |path: &str, list: &str, key: &str| -> Vec<String> {
        let answer = hub.get(path).expect(200).json();
        answer[list].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("/v1/rooms", "data", "code"), codes);
    assert_eq!(listed("/rooms", "rooms", "code"), codes);
    assert_eq!(listed(&format!("/v1/rooms/{}/participants", codes[0]), "data", "id"), ids);
    assert_eq!(listed(&format!("/rooms/{}/participants", codes[0]), "participants", "id"), ids);
}

#[test]
fn a_participant_that_the_hub_calls_is_shown_as_a_tunnel_since_clients_know_no_other_kind() {
    let hub = TestHub::start();
    let room = hub.room();
    let direct = json!({ "id": "d", "nickname": "D", "model": "m", "endpoint": "http://127.0.0.1:9" });
    hub.post(&format!("/rooms/{room}/join"), &direct).expect(201);
    let shown = json!({ "kind": "tunnel", "connected": true, "lastTunnelSeenAt": null, "transport": "direct" });
    assert_eq!(hub.participant(&room, "d")["connection"], shown);
    assert!(hub.client.participants(&room).list().unwrap()[0].connection.is_direct());
    let ann = hub.put(&format!("/v1/rooms/{room}/participants/ann"), &body()).expect(201).json();
    assert_eq!(ann["data"]["participant"]["connection"]["transport"], Value::Null);
}

#[test]
fn a_participant_is_registered_renewed_and_removed() {
    let hub = TestHub::start();
    let room = hub.room();
    let path = format!("/v1/rooms/{room}/participants/ann");
    let mut sent = body();
    sent["specs"] = json!({ "gpu": "X", "vram": 24, "unknown": 1 });
    sent["config"] = json!({ "top_p": 0.5, "instructions": "secret" });
    let first = hub.put(&path, &sent).expect(201).json()["data"].clone();
    assert_eq!(keys(&first), ["participant", "participantToken", "roomId", "tunnel"]);
    let participant = &first["participant"];
    let all = [
        "capabilities",
        "config",
        "connection",
        "endpoint",
        "id",
        "joinedAt",
        "lastSeen",
        "model",
        "nickname",
        "specs",
        "status",
        "updatedAt",
    ];
    assert_eq!(keys(participant), all);
    assert_eq!(participant["status"], "offline");
    assert_eq!(participant["connection"], json!({ "kind": "tunnel", "connected": false, "lastTunnelSeenAt": null }));
    assert_eq!(participant["specs"], json!({ "gpu": "X", "vram": 24 }));
    assert_eq!(participant["config"], json!({ "top_p": 0.5, "hasInstructions": true }));
    assert_eq!(participant["capabilities"], json!({ "openResponses": "unknown", "chatCompletions": "unknown" }));
    assert_eq!(first["tunnel"]["url"], format!("ws://test/v1/rooms/{room}/participants/ann/tunnel"));
    assert!(first["tunnel"]["token"].as_str().unwrap().len() >= 21);

    let second = hub.put(&path, &body()).expect(200).json()["data"].clone();
    assert_eq!(second["participant"]["joinedAt"], participant["joinedAt"]);
    assert_ne!(second["tunnel"]["token"], first["tunnel"]["token"]);
    assert_eq!(second["participant"]["specs"], json!({}));

    assert_eq!(hub.get(&format!("/v1/rooms/{room}")).json()["data"]["participantCount"], 1);
    assert_eq!(hub.participant(&room, "ann"), second["participant"]);
    let beat = hub.post(&format!("{path}/heartbeat"), &json!({})).expect(200).json()["data"].clone();
    assert_eq!(keys(&beat), ["lastSeen", "status", "success"]);
    assert_eq!(beat["success"], true);

    assert_eq!(hub.delete(&path).expect(200).json()["data"], json!({ "success": true }));
    let missing = hub.delete(&path).expect(404).json()["error"].clone();
    assert_eq!(
        (&missing["code"], &missing["message"]),
        (&json!("PARTICIPANT_NOT_FOUND"), &json!("Participant not found."))
    );
    assert_eq!(hub.post(&format!("{path}/heartbeat"), &json!({})).status, 404);
}

#[test]
fn a_registration_is_checked() {
    let hub = TestHub::start();
    let room = hub.room();
    let path = format!("/v1/rooms/{room}/participants/ann");
    for field in ["nickname", "model", "endpoint"] {
        for value in [Value::Null, json!("")] {
            let mut sent = body();
            sent[field] = value;
            let error = hub.put(&path, &sent).expect(400).json()["error"].clone();
            assert_eq!(error["message"], "Missing required fields.");
            assert_eq!(error["details"], json!({ "required": ["nickname", "model", "endpoint"] }));
        }
    }
    let mut sent = body();
    sent["authHeaders"] = json!({ "Authorization": "Bearer secret" });
    let answer = hub.put(&path, &sent).expect(400);
    assert!(!answer.text().contains("secret"));
    assert_eq!(answer.json()["error"]["message"], "Participant auth headers are not accepted by the hub.");
    assert_eq!(answer.json()["error"]["details"], json!({ "forbidden": ["authHeaders"] }));
    for (field, value) in [
        ("endpoint", json!("localhost:11434")),
        ("endpoint", json!("ftp://x")),
        ("nickname", json!(["x"])),
        ("model", json!("m".repeat(2000))),
        ("password", json!(1)),
        ("specs", json!({ "vram": "24" })),
        ("config", json!({ "top_p": 2 })),
        ("capabilities", json!({ "openResponses": "maybe" })),
    ] {
        let mut sent = body();
        sent[field] = value;
        let error = hub.put(&path, &sent).expect(400).json()["error"].clone();
        assert_eq!(error["message"], "Invalid participant registration.", "{field}");
        assert!(error["details"]["field"].as_str().unwrap().starts_with(field), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(field), "{error}");
    }
    for id in ["%00", &"x".repeat(129), "%0A"] {
        assert_eq!(hub.put(&format!("/v1/rooms/{room}/participants/{id}"), &body()).status, 400, "{id}");
    }
    let odd = hub.put(&format!("/v1/rooms/{room}/participants/a%20b%C3%BC"), &body()).expect(201).json();
    assert_eq!(odd["data"]["participant"]["id"], "a bü");
    assert!(odd["data"]["tunnel"]["url"].as_str().unwrap().ends_with("/a%20b%C3%BC/tunnel"));
    assert_eq!(hub.get(&format!("/v1/rooms/{room}")).json()["data"]["participantCount"], 1);
}

#[test]
fn a_protected_room_asks_for_its_password() {
    let hub = TestHub::start();
    let room =
        hub.room_with(&CreateRoom { name: "Lab".into(), password: Some("pässword".into()), ..CreateRoom::default() });
    let path = format!("/v1/rooms/{room}/participants/ann");
    let mut sent = body();
    assert_eq!(hub.put(&path, &sent).expect(401).json()["error"]["code"], "INVALID_PASSWORD");
    sent["password"] = json!("wrong");
    let refused = hub.put(&path, &sent).expect(401).json();
    assert_eq!(refused["error"]["message"], "Invalid password.");
    assert!(refused["error"]["hint"].is_string());
    sent["password"] = json!("pässword");
    let taken = hub.put(&path, &sent).expect(201);
    assert!(!taken.text().contains("pässword") && !taken.text().contains("argon2"));
    assert!(!hub.get("/v1/rooms").text().contains("argon2"));
}

#[test]
fn who_is_not_there_is_not_found() {
    let hub = TestHub::start();
    for path in ["/v1/rooms/ABC234", "/v1/rooms/ABC234/participants", "/v1/rooms/ABC234/events", "/v1/rooms/x/events"] {
        let error = hub.get(path).expect(404).json()["error"].clone();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("ROOM_NOT_FOUND"), &json!("Room not found.")),
            "{path}"
        );
        assert!(error["hint"].is_string());
    }
    assert_eq!(hub.put("/v1/rooms/ABC234/participants/a", &body()).status, 404);
    assert_eq!(hub.delete("/v1/rooms/ABC234/participants/a").json()["error"]["code"], "ROOM_NOT_FOUND");
}

#[test]
fn a_tunnels_address_is_the_one_that_the_client_used() {
    let hub = TestHub::with(|options| options.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let room = hub.room();
    let path = format!("/v1/rooms/{room}/participants/ann");
    let url = |hub: &TestHub, headers: &[(&str, &str)]| {
        let answer = Conn::open(hub.addr()).ask("PUT", &path, headers, Some(&body().to_string())).answer().json();
        answer["data"]["tunnel"]["url"].as_str().unwrap().to_owned()
    };
    assert_eq!(url(&hub, &[]), format!("ws://test{path}/tunnel"));
    assert_eq!(url(&hub, &[("X-Forwarded-Proto", "https")]), format!("wss://test{path}/tunnel"));
    let public = TestHub::with(|options| options.public_url = Some("https://hub.example/base".into()));
    let room = public.room();
    let path = format!("/v1/rooms/{room}/participants/ann");
    let answer = public.put(&path, &body()).json();
    assert_eq!(answer["data"]["tunnel"]["url"], format!("wss://hub.example/base{path}/tunnel"));
}

#[test]
fn an_upsert_leaves_a_live_tunnel_as_it_is() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let (again, created) = hub.client.participants(&room).upsert("ann", &registration()).unwrap();
    assert!(!created);
    assert!(again.participant.connection.connected);
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
    ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(ann.receive()["type"], "tunnel.pong");
}

#[test]
fn a_hub_with_a_key_asks_everybody_for_it() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
        Conn::open(hub.addr()).ask("GET", path, &headers, None).answer()
    };
    for path in ["/v1/rooms", "/rooms", "/health", "/v1/events", "/rooms/ABC234/v1/models", "/nothing"] {
        for headers in [&[][..], &[("Authorization", "Bearer no")], &[("Authorization", "k3y")], &[("x-api-key", "k3")]]
        {
            let refused = ask(path, headers);
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        }
        // Who guesses on and on waits; this is not about that.
        hub.clock.advance(Duration::from_secs(1000));
    }
    assert_eq!(ask("/v1/rooms", &[("Authorization", "bearer k3y")]).status, 200);
    assert_eq!(ask("/rooms", &[("x-api-key", "k3y")]).status, 200);
    assert_eq!(ask("/v1/health", &[]).status, 200);

    let client = gambi::client::Client::new(&hub.url()).unwrap().with_key("k3y");
    let room = client.rooms().create(&CreateRoom { name: "Lab".into(), ..CreateRoom::default() }).unwrap().room.code;
    let provider = FakeProvider::start(Script::Echo);
    let builder = || Session::builder(hub.url(), &room).participant_id("ann").model("m").endpoint(provider.url());
    assert_eq!(builder().start().map(drop).unwrap_err().status(), Some(401));
    let _session = builder().hub_key("k3y").start().unwrap();
    assert!(client.room(&room).chat().user("Hi").send().is_ok());
    let seen = provider.wait_for_request(1);
    assert!(seen.header("authorization").is_none(), "the hub's key is no business of the provider's");
    for bad in ["", "  ", "two words", "l\u{f6}sung"] {
        assert!(HubKey::new(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn guessing_a_password_is_slowed() {
    let hub = TestHub::start();
    let room = hub.room_with(&CreateRoom { name: "Lab".into(), password: Some("pw".into()), ..CreateRoom::default() });
    let guess = |room: &str, password: &str| {
        let mut sent = body();
        sent["password"] = json!(password);
        hub.put(&format!("/v1/rooms/{room}/participants/ann"), &sent)
    };
    for n in 0..5 {
        assert_eq!(guess(&room, &format!("wrong {n}")).status, 401);
    }
    let slowed = guess(&room.to_lowercase(), "pw");
    assert_eq!((slowed.status, slowed.header("retry-after")), (429, Some("1")));
    // Command lines of the v1 plane end with 3 for this code, which is otherwise a 401's.
    assert_eq!(slowed.json()["error"]["code"], "INVALID_PASSWORD");
    let other =
        hub.room_with(&CreateRoom { name: "Other".into(), password: Some("pw".into()), ..CreateRoom::default() });
    assert_eq!(guess(&other, "pw").status, 201, "another room is no matter of this");
    hub.clock.advance(Duration::from_secs(2));
    assert_eq!(guess(&room, "pw").status, 201);
    assert_eq!(guess(&room, "wrong").status, 401, "who knew it begins anew");
}

#[test]
fn a_long_list_goes_out_in_pieces_and_a_short_one_with_its_length() {
    let hub = TestHub::start();
    let room = hub.room();
    assert!(hub.get("/v1/rooms").expect(200).header("content-length").is_some());
    let name = "\u{1}".repeat(1000);
    for n in 0..150 {
        hub.client.rooms().create(&CreateRoom { name: name.clone(), ..CreateRoom::default() }).unwrap();
        let mut participant = registration();
        participant.nickname.clone_from(&name);
        hub.client.participants(&room).upsert(&format!("p{n}"), &participant).unwrap();
    }
    let members = format!("/v1/rooms/{room}/participants");
    let legacy = format!("/rooms/{room}/participants");
    for (path, key, count) in
        [("/v1/rooms", "data", 151), ("/rooms", "rooms", 151), (&members, "data", 150), (&legacy, "participants", 150)]
    {
        let answer = hub.get(path).expect(200);
        assert!(answer.whole && answer.header("transfer-encoding") == Some("chunked"), "{path}");
        let list = answer.json()[key].as_array().unwrap().clone();
        let order: Vec<u64> =
            list.iter().map(|item| item["createdAt"].as_u64().or(item["joinedAt"].as_u64()).unwrap()).collect();
        assert!(list.len() == count && order.is_sorted(), "{path}");

        let old = Conn::open(hub.addr()).send(format!("GET {path} HTTP/1.0\r\n\r\n")).answer();
        assert_eq!(old.json()[key].as_array().unwrap().len(), count, "{path}");

        let mut head = Conn::open(hub.addr());
        head.ask("HEAD", path, &[], None);
        assert_eq!(head.head().status, 200);
        assert_eq!(head.send("GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n").answer().status, 200, "{path}");
    }
}

#[test]
fn model_names_that_wait_for_a_slow_reader_are_counted() {
    let hub = TestHub::limited(|limits| limits.memory = 128 << 10);
    let room = hub.room();
    let models = format!("/rooms/{room}/v1/models");
    let join = |at: usize| {
        let model = format!("{}{}", at / 2, "m".repeat(1000));
        let endpoint = "http://127.0.0.1:9";
        let body = json!({ "id": format!("p{at}"), "nickname": "n", "model": model, "endpoint": endpoint });
        hub.post(&format!("/rooms/{room}/join"), &body).expect(201);
    };
    (0..20).for_each(join);
    assert_eq!(hub.get(&models).expect(200).json()["data"].as_array().unwrap().len(), 20 + 10 + 1);
    (20..200).for_each(join);
    assert!(hub.get(&models).expect(503).header("retry-after").is_some());
    hub.get(&format!("/v1/rooms/{room}/participants")).expect(200);
}
