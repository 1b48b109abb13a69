//! Participants with several models: how they are listed and asked, and how they follow their provider.

mod support;

use std::collections::BTreeMap;

use gambi::proto::management::Registration;
use serde_json::{Value, json};

use support::{RawParticipant, TestHub, registration};

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
