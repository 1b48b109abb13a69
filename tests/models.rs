//! Participants with several models: how they are listed and asked, and how they follow their provider.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use gambi::Error;
use gambi::participant::{Builder, Session};
use gambi::proto::management::Registration;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, registration, wait_until};

/// Long enough never to end during a test.
const NEVER: Duration = Duration::from_secs(3600);

fn builder(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) -> Builder {
    let builder = Session::builder(hub.url(), room).participant_id(id).endpoint(provider.url());
    builder.heartbeat_interval(Duration::from_millis(20)).refresh_interval(NEVER)
}

fn with_models(models: &[&str]) -> Registration {
    let models = models.iter().map(|&name| name.to_owned());
    Registration { model: models.clone().next().unwrap(), models: models.collect(), ..registration() }
}

/// The entries of a room's list of models: id, and for a name the number of participants that have it.
fn listed(hub: &TestHub, room: &str) -> Vec<(String, Option<u64>)> {
    let list = hub.get(&format!("/rooms/{room}/v1/models")).expect(200).json();
    let entry = |entry: &Value| (entry["id"].as_str().unwrap().to_owned(), entry["gambi"]["participants"].as_u64());
    list["data"].as_array().unwrap().iter().map(entry).collect()
}

#[test]
fn a_participant_with_several_models_is_listed_under_each_of_their_names() {
    let hub = TestHub::start();
    let room = hub.room();
    let one = |id: &str, models: &[&str]| RawParticipant::join_as(&hub, &room, id, &with_models(models));
    let _single = one("single", &["only-here"]);
    assert_eq!(listed(&hub, &room), [("single".to_owned(), None)]);
    let _ann = one("ann", &["qwen3:8b", "llama3:latest", "llama3", "taken"]);
    let _bob = one("bob", &["llama3"]);
    let _taken = one("taken", &["phi"]);
    hub.client.participants(&room).upsert("away", &with_models(&["gone", "llama3"])).unwrap();
    let ids = ["single", "ann", "bob", "taken"].map(|id| (id.to_owned(), None));
    let names = [("llama3", 2), ("qwen3:8b", 1), ("any", 4)].map(|(name, count)| (name.to_owned(), Some(count)));
    assert_eq!(listed(&hub, &room), [&ids[..], &names].concat());
    let found = |name: &str| hub.get(&format!("/rooms/{room}/v1/models/{name}"));
    for (name, count) in [("llama3", 2), ("qwen3:8b", 1), ("any", 4)] {
        assert_eq!(found(name).expect(200).json()["gambi"]["participants"], count, "{name}");
    }
    for (name, id) in [("only-here", "single"), ("model:llama3:latest", "ann"), ("taken", "taken")] {
        assert_eq!(found(name).expect(200).json()["id"], id, "{name}");
    }
    found("gone").expect(404);

    let shown = hub.participant(&room, "ann");
    assert_eq!(shown["models"], json!(["qwen3:8b", "llama3:latest", "llama3", "taken"]));
    assert!(hub.participant(&room, "bob").get("models").is_none());
}

#[test]
fn a_list_of_thousands_of_names_has_each_of_them_once() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut expected = BTreeMap::new();
    let _all: Vec<_> = (0..24)
        .map(|n| {
            // Half of the names are everybody's.
            let names: Vec<String> =
                (0..512).map(|m| if m % 2 == 0 { format!("all-{m}") } else { format!("{n}-{m}:latest") }).collect();
            for name in &names {
                *expected.entry(name.replace(":latest", "")).or_default() += 1;
            }
            let registration = Registration { model: names[0].clone(), models: names, ..registration() };
            RawParticipant::join_as(&hub, &room, &format!("p{n}"), &registration)
        })
        .collect();
    let names = expected.into_iter().map(|(name, count)| (name, Some(count)));
    let any = [("any".to_owned(), Some(24))];
    assert!(listed(&hub, &room).split_off(24).into_iter().eq(names.chain(any)));
}

#[test]
fn a_request_goes_out_with_the_model_that_it_names() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join_as(&hub, &room, "ann", &with_models(&["one:latest", "two"]));
    hub.wait_for_status(&room, "ann", "online");
    let events = hub.watch_room(&room);
    for (asked, model) in [
        ("two", "two"),
        ("model:one", "one:latest"),
        ("ann", "one:latest"),
        ("any", "one:latest"),
        ("two:latest", "two"),
    ] {
        let mut conn = hub.stream(&room, asked);
        let request = ann.receive();
        assert_eq!(request["body"]["model"], model, "{asked}");
        ann.begin(&request, "text/event-stream", &["data: [DONE]\n\n"]);
        ann.end(&request);
        conn.answer().expect(200);
        assert_eq!(events.next("llm.complete")["model"], model, "{asked}");
    }
    hub.chat(&room, "three").expect(404);
}

#[test]
fn models_weights_and_concurrency_have_bounds() {
    let hub = TestHub::start();
    let room = hub.room();
    let put = |field: &str, value: Value| {
        let mut body = json!({ "nickname": "x", "model": "m", "endpoint": "http://x" });
        body[field] = value;
        hub.put(&format!("/v1/rooms/{room}/participants/x"), &body)
    };
    let names = |count: usize| json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
    for (field, good) in [
        ("models", names(512)),
        ("models", json!(null)),
        ("loaded", names(512)),
        ("weight", json!(100)),
        ("fallback", json!(true)),
        ("concurrency", json!(4096)),
    ] {
        assert!(put(field, good).status < 300, "{field}");
    }
    for (field, bad) in [
        ("models", names(513)),
        ("models", json!([""])),
        ("models", json!(["x".repeat(1025)])),
        ("models", json!("m")),
        ("loaded", names(513)),
        ("weight", json!(0)),
        ("weight", json!(101)),
        ("fallback", json!("yes")),
        ("concurrency", json!(4097)),
    ] {
        assert_eq!(put(field, bad).expect(400).json()["error"]["details"]["field"], field);
    }
}

#[test]
fn a_heartbeat_tells_which_models_are_in_memory() {
    let hub = TestHub::start();
    let room = hub.room();
    let _ann = RawParticipant::join_as(&hub, &room, "ann", &with_models(&["one", "two"]));
    let beat = |body: Value| hub.post(&format!("/v1/rooms/{room}/participants/ann/heartbeat"), &body);
    beat(json!({ "loaded": ["two"] })).expect(200);
    assert_eq!(hub.participant(&room, "ann")["loaded"], json!(["two"]));
    for nothing in [json!({}), json!("no object"), json!({ "loaded": null })] {
        beat(nothing).expect(200);
        assert_eq!(hub.participant(&room, "ann")["loaded"], json!(["two"]));
    }
    assert_eq!(beat(json!({ "loaded": "two" })).expect(400).json()["error"]["details"]["field"], "loaded");
    beat(json!({ "loaded": [] })).expect(200);
    assert!(hub.participant(&room, "ann").get("loaded").is_none());
}

#[test]
fn one_participant_offers_all_models_of_its_provider() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a:latest", "b", "B"]);
    let session = builder(&hub, &room, "p", &provider).all_models().start().unwrap();
    assert_eq!((session.participant().model.as_str(), session.participant().models.len()), ("a:latest", 3));
    for (asked, model) in [("a", "a:latest"), ("model:b", "b"), ("B", "B"), ("p", "a:latest"), ("any", "a:latest")] {
        assert_eq!(hub.chat(&room, asked).expect(200).json()["model"], model, "{asked}");
    }
    assert_eq!(hub.client.participants(&room).list().unwrap().len(), 1);
}

#[test]
fn a_participant_offers_the_models_that_were_chosen_and_all_must_be_there() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a:latest", "b", "c"]);
    let start = |models: &[&str]| builder(&hub, &room, "p", &provider).models(models.iter().copied()).start();
    assert!(matches!(start(&["a", "d"]).map(drop), Err(Error::ModelMissing { model, .. }) if model == "d"));
    assert!(matches!(start(&[]).map(drop), Err(Error::Invalid { .. })));
    let session = start(&["c", "a"]).unwrap();
    assert_eq!(session.participant().models, ["c", "a:latest"]);
    hub.chat(&room, "b").expect(404);
}

#[test]
fn a_provider_without_models_is_told() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &[]);
    let error = builder(&hub, &room, "p", &provider).all_models().start().map(drop).unwrap_err();
    assert_eq!(error.to_string(), format!("the provider at {} has no models", provider.url()));
    assert!(error.hint().is_some() && hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn models_that_come_and_go_are_followed_without_a_new_tunnel() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a", "b"]);
    let quick = Duration::from_millis(20);
    let session = builder(&hub, &room, "p", &provider).all_models().refresh_interval(quick).start().unwrap();
    hub.wait_for_status(&room, "p", "online");
    let events = hub.watch_room(&room);
    provider.set_models(&["c", "b", "a"]);
    assert_eq!(events.next("participant.updated")["models"], json!(["a", "b", "c"]));
    hub.chat(&room, "c").expect(200);
    provider.set_models(&["c"]);
    let alone = events.next("participant.updated");
    assert_eq!((&alone["model"], alone.get("models")), (&json!("c"), None));
    assert_eq!(alone["connection"]["connected"], true);
    hub.chat(&room, "b").expect(404);
    // A provider that starts again lists nothing at first.
    provider.set_models(&[]);
    hub.chat(&room, "c").expect(200);
    provider.set_models(&["c", "d"]);
    assert_eq!(events.next("participant.updated")["models"], json!(["c", "d"]));
    session.close();
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn a_session_looks_at_its_providers_models_when_it_is_asked_to() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a", "b"]);
    let session = builder(&hub, &room, "p", &provider).models(["a", "b"]).start().unwrap();
    for (listed, offered) in [(&["a"][..], "a"), (&["b", "x"], "b")] {
        provider.set_models(listed);
        session.handle().refresh_models();
        wait_until("the models to be followed", || hub.participant(&room, "p")["model"] == offered);
    }
    provider.set_models(&["a", "b"]);
    session.handle().refresh_models();
    wait_until("a model to be back", || hub.participant(&room, "p")["models"] == json!(["b", "a"]));
}

#[test]
fn the_participant_with_the_model_in_memory_is_asked_where_the_provider_tells() {
    let loaded = [
        ("/api/ps", json!({ "models": [{ "name": "big" }] })),
        (
            "/running",
            json!({ "running": [{ "model": "big", "state": "ready" }, { "model": "a", "state": "stopping" }] }),
        ),
        (
            "/api/v0/models",
            json!({ "data": [{ "id": "big", "state": "loaded" }, { "id": "a", "state": "not-loaded" }] }),
        ),
    ];
    for (path, answer) in loaded {
        let hub = TestHub::start();
        let room = hub.room();
        let [cold, warm] = [0; 2].map(|_| FakeProvider::with_models(Script::Echo, &["a", "big"]));
        let _cold = builder(&hub, &room, "cold", &cold).all_models().start().unwrap();
        warm.set_path(path, Script::json(200, &answer));
        let session = builder(&hub, &room, "warm", &warm).all_models().start().unwrap();
        assert_eq!(session.participant().loaded, ["big"], "{path}");
        for _ in 0..9 {
            assert_eq!(hub.chat(&room, "big").expect(200).header("x-gambi-participant"), Some("warm"), "{path}");
        }
        assert_eq!(hub.chat(&room, "warm").expect(200).json()["model"], "big", "{path}");
        let nothing =
            answer.to_string().replace("big", "a").replace("stopping", "ready").replace("not-loaded", "loaded");
        warm.set_path(path, Script::json(200, &serde_json::from_str(&nothing).unwrap()));
        wait_until("a heartbeat to tell", || hub.participant(&room, "warm")["loaded"] == json!(["a"]));
    }
}

#[test]
fn a_participant_with_one_model_tells_whether_it_is_in_memory() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["a:latest"]);
    provider.set_path("/api/ps", Script::json(200, &json!({ "models": [] })));
    let _session = builder(&hub, &room, "p", &provider).model("a").start().unwrap();
    assert!(hub.participant(&room, "p").get("loaded").is_none());
    provider.set_path("/api/ps", Script::json(200, &json!({ "models": [{ "name": "a:latest" }] })));
    wait_until("a heartbeat to tell", || hub.participant(&room, "p")["loaded"] == json!(["a"]));
}

#[test]
fn a_model_that_is_gone_is_asked_for_elsewhere_and_offered_no_longer() {
    let hub = TestHub::start();
    let room = hub.room();
    let gone = json!({ "error": { "message": "model \"b\" not found, try pulling it first" } });
    for route in ["chat/completions", "responses", "messages"] {
        let [bad, good] = [0; 2].map(|_| FakeProvider::with_models(Script::Echo, &["a", "b"]));
        let _good = builder(&hub, &room, "good", &good).all_models().fallback().start().unwrap();
        let _bad = builder(&hub, &room, "bad", &bad).all_models().start().unwrap();
        let chat = json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hi" } }] });
        good.set(Script::json(200, &chat));
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            bad.set_path(path, Script::json(404, &gone));
            if path != "/v1/chat/completions" {
                good.set_path(path, Script::Missing);
            }
        }
        bad.set_models(&["a"]);
        let body =
            json!({ "model": "b", "max_tokens": 9, "input": "Hi", "messages": [{ "role": "user", "content": "Hi" }] });
        let answer = hub.post(&format!("/rooms/{room}/v1/{route}"), &body).expect(200);
        assert_eq!(answer.header("x-gambi-participant"), Some("good"), "{route}");
        assert!(!bad.seen().is_empty(), "the fallback is asked last");
        wait_until("the list to be looked at", || hub.participant(&room, "bad").get("models").is_none());
        // Nothing was wrong with the participant itself.
        bad.set_path("/v1/chat/completions", Script::Echo);
        assert_eq!(hub.chat(&room, "a").expect(200).header("x-gambi-participant"), Some("bad"), "{route}");
    }
}

#[test]
fn a_404_that_nobody_else_can_answer_or_that_names_no_model_passes_as_it_came() {
    let hub = TestHub::start();
    let room = hub.room();
    let [one, two] = [0; 2].map(|_| FakeProvider::with_models(Script::Echo, &["a", "b"]));
    let _one = builder(&hub, &room, "one", &one).models(["a", "b"]).start().unwrap();
    let gone = json!({ "error": "model 'a' not found" });
    one.set(Script::json(404, &gone));
    for model in ["a", "one"] {
        assert_eq!(hub.chat(&room, model).expect(404).json(), gone, "{model}");
    }
    let _two = builder(&hub, &room, "two", &two).models(["a", "b"]).fallback().start().unwrap();
    hub.chat(&room, "one").expect(404);
    one.set(Script::json(404, &json!({ "error": "no such tool" })));
    hub.chat(&room, "a").expect(404);
    assert!(two.seen().is_empty());
    one.set(Script::json(404, &gone));
    hub.chat(&room, "a").expect(200);
    assert_eq!(two.seen().len(), 1);
}

#[test]
fn a_conversation_returns_to_the_participant_that_answered_its_earlier_turns() {
    let hub = TestHub::with(|options| options.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _sessions = ["ann", "bob"].map(|id| hub.join(&room, id, &provider));
    ["ann", "bob"].iter().for_each(|id| hub.wait_for_status(&room, id, "online"));
    let served_by = |path: &str, body: &Value, client: &str| {
        let mut conn = Conn::open(hub.addr());
        let headers = [("x-forwarded-for", client)];
        conn.ask("POST", &format!("/rooms/{room}/v1/{path}"), &headers, Some(&body.to_string()));
        conn.answer().expect(200).header("x-gambi-participant").map(str::to_owned)
    };
    for (path, list) in [("chat/completions", "messages"), ("messages", "messages"), ("responses", "input")] {
        // Whichever is the quicker one, one of the two conversations is not its own.
        for (id, client) in [("ann", "10.0.0.1"), ("bob", "10.0.0.2")] {
            let turns = |count: usize| {
                let role = |n: usize| if n.is_multiple_of(2) { "user" } else { "assistant" };
                (0..count).map(|n| json!({ "role": role(n), "content": format!("turn {n}") })).collect::<Vec<_>>()
            };
            let body = |model: &str, count: usize| json!({ "model": model, "max_tokens": 9, list: turns(count) });
            assert_eq!(served_by(path, &body(id, 1), client).as_deref(), Some(id), "{path}");
            for count in (3..11).step_by(2) {
                for model in ["any", "m"] {
                    assert_eq!(served_by(path, &body(model, count), client).as_deref(), Some(id), "{path} {count}");
                }
            }
        }
    }
}

#[test]
fn names_that_differ_in_case_or_tag_are_listed_and_selected_apart() {
    let hub = TestHub::start();
    let room = hub.room();
    let one = |id: &str, models: &[&str]| RawParticipant::join_as(&hub, &room, id, &with_models(models));
    let mut ann = one("ann", &["qwen3:8b", "Qwen3:8b", "qwen3:latest"]);
    let _bob = one("bob", &["QWEN3:8B", "qwen3:4b"]);
    ["ann", "bob"].iter().for_each(|id| hub.wait_for_status(&room, id, "online"));
    let names = ["QWEN3:8B", "Qwen3:8b", "qwen3", "qwen3:4b", "qwen3:8b"].map(|name| (name.to_owned(), Some(1)));
    let ids = ["ann", "bob"].map(|id| (id.to_owned(), None));
    assert_eq!(listed(&hub, &room), [&ids[..], &names, &[("any".to_owned(), Some(2))]].concat());
    for (asked, model) in [("qwen3:8b", "qwen3:8b"), ("Qwen3:8b", "Qwen3:8b"), ("qwen3", "qwen3:latest")] {
        let mut conn = hub.stream(&room, asked);
        let request = ann.receive();
        assert_eq!(request["body"]["model"], model, "{asked}");
        ann.begin(&request, "text/event-stream", &["data: [DONE]\n\n"]);
        ann.end(&request);
        conn.answer().expect(200);
    }
    for unknown in ["qwen3:8B", "QWEN3", "Qwen3", "qwen3:14b"] {
        hub.chat(&room, unknown).expect(404);
    }
}

#[test]
fn a_model_of_a_server_that_emulates_ollama_is_asked_for_by_its_name_of_openais() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(Script::Echo, &["qwen3", "phi4"]);
    let tags = ["qwen3:latest", "phi4:latest"].map(|name| json!({ "name": name, "digest": "sha256:00c0ffee" }));
    provider.set_path("/api/tags", Script::json(200, &json!({ "models": tags })));
    let _session =
        Session::builder(hub.url(), &room).participant_id("ann").all_models().endpoint(provider.url()).start().unwrap();
    assert_eq!(hub.participant(&room, "ann")["models"], json!(["qwen3", "phi4"]));
    let answer = hub.chat(&room, "phi4:latest").expect(200).json();
    assert_eq!(answer["model"], "phi4", "{answer}");
}
