//! What the hub counts, as a room's figures show it.

mod support;

use gambi::participant::Session;
use gambi::proto::metrics::{Figures, RoomMetrics};
use serde_json::json;

use support::{FakeProvider, RawParticipant, Script, TestHub, wait_until};

const CHAT: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":40,"total_tokens":43}}"#;

fn answering(status: u16, body: &str) -> FakeProvider {
    FakeProvider::start(Script::Answer { status, kind: "application/json", body: body.into() })
}

fn join(hub: &TestHub, room: &str, id: &str, model: &str, provider: &FakeProvider) -> Session {
    Session::builder(hub.url(), room).participant_id(id).model(model).endpoint(provider.url()).start().unwrap()
}

fn metrics(hub: &TestHub, room: &str) -> RoomMetrics {
    hub.client.rooms().metrics(room).unwrap()
}

fn counts(figures: &Figures) -> [u64; 3] {
    [figures.requests, figures.errors, figures.cancelled]
}

#[test]
fn a_room_tells_how_each_participant_and_each_model_does() {
    let hub = TestHub::start();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(500, "{}"));
    let two =
        FakeProvider::with_models(Script::Answer { status: 200, kind: "application/json", body: CHAT.into() }, &["n"]);
    let _sessions = [
        join(&hub, &room, "ann", "m", &good),
        join(&hub, &room, "bob", "m", &bad),
        join(&hub, &room, "eve", "n", &two),
    ];
    for (who, status) in [("ann", 200), ("ann", 200), ("ann", 200), ("bob", 500)] {
        hub.chat(&room, who).expect(status);
    }
    let told = metrics(&hub, &room);
    assert_eq!((told.room_code.as_str(), told.in_flight, told.queued), (room.as_str(), 0, 0));
    assert_eq!(told.participants.iter().map(|p| p.participant_id.as_str()).collect::<Vec<_>>(), ["ann", "bob", "eve"]);
    let ann = &told.participants[0].windows;
    for figures in [&ann.one_minute, &ann.five_minutes, &ann.fifteen_minutes] {
        assert_eq!((counts(figures), figures.error_rate), ([3, 0, 0], Some(0.0)));
        assert_eq!((figures.input_tokens, figures.output_tokens), (9, 120));
        let (ttft, duration) = (figures.ttft_ms.unwrap(), figures.duration_ms.unwrap());
        assert!(ttft.p50 > 0.0 && ttft.p50 <= ttft.p95 && duration.p50 >= ttft.p50 / 1.2, "{figures:?}");
        assert!(figures.tokens_per_second.unwrap() > 0.0);
    }
    let bob = &told.participants[1].windows.one_minute;
    assert_eq!((counts(bob), bob.error_rate, bob.ttft_ms), ([1, 1, 0], Some(1.0), None));
    assert_eq!(told.participants[2].windows.one_minute, Figures::default());
    let models: Vec<_> =
        told.models.iter().map(|m| (m.model.as_str(), m.participants, counts(&m.windows.one_minute))).collect();
    assert_eq!(models, [("m", 2, [4, 1, 0]), ("n", 1, [0, 0, 0])]);
    assert_eq!((counts(&told.windows.one_minute), told.windows.one_minute.error_rate), ([4, 1, 0], Some(0.25)));
}

#[test]
fn it_tells_what_goes_on_now_and_who_hung_up() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let first = hub.stream(&room, "ann");
    ann.receive();
    let second = hub.stream(&room, "ann");
    wait_until("the second to stand in line", || metrics(&hub, &room).queued == 1);
    let told = metrics(&hub, &room);
    assert_eq!((told.in_flight, told.participants[0].in_flight, told.models[0].in_flight), (1, 1, 1));
    assert_eq!(counts(&told.windows.one_minute), [0, 0, 0], "what has not ended is not counted");
    second.hang_up();
    wait_until("it to leave the line", || metrics(&hub, &room).queued == 0);
    first.hang_up();
    wait_until("the first to be over", || counts(&metrics(&hub, &room).windows.one_minute) == [1, 0, 1]);
    assert_eq!(metrics(&hub, &room).in_flight, 0);
}

#[test]
fn figures_go_with_time_with_the_model_and_with_the_participant() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(
        Script::Answer { status: 200, kind: "application/json", body: CHAT.into() },
        &["m", "n"],
    );
    let session = join(&hub, &room, "ann", "m", &provider);
    hub.chat(&room, "ann").expect(200);
    hub.clock.advance(std::time::Duration::from_secs(120));
    hub.client.participants(&room).heartbeat("ann").unwrap();
    hub.chat(&room, "ann").expect(200);
    let windows = metrics(&hub, &room).windows;
    let requests = [&windows.one_minute, &windows.five_minutes, &windows.fifteen_minutes].map(|f| f.requests);
    assert_eq!(requests, [1, 2, 2]);

    session.close();
    let _session = join(&hub, &room, "ann", "m", &provider);
    assert_eq!(metrics(&hub, &room).windows.fifteen_minutes.requests, 0, "it is another participant now");
    hub.chat(&room, "ann").expect(200);
    let mut other = support::registration();
    other.model = "n".into();
    hub.client.participants(&room).upsert("ann", &other).unwrap();
    assert_eq!(metrics(&hub, &room).windows.fifteen_minutes.requests, 0, "that was done with another model");
    hub.chat(&room, "ann").expect(200);
    assert_eq!(metrics(&hub, &room).models[0].windows.fifteen_minutes.requests, 1);
}

#[test]
fn a_failover_counts_with_both_and_a_private_room_asks_for_its_password() {
    let hub = TestHub::start();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(503, "{}"));
    let _ann = join(&hub, &room, "ann", "m", &bad);
    hub.chat(&room, "ann").expect(503);
    let _bob = join(&hub, &room, "bob", "m", &good);
    // Whoever of the two is asked, it ends well.
    for _ in 0..4 {
        hub.chat(&room, "any").expect(200);
    }
    let told = metrics(&hub, &room);
    assert_eq!(counts(&told.participants[1].windows.one_minute), [4, 0, 0]);
    let all = counts(&told.windows.one_minute);
    assert_eq!(all[0], all[1] + 4, "{all:?}");

    hub.get("/v1/rooms/ZZZZZZ/metrics").expect(404);
    let private = gambi::proto::management::CreateRoom {
        name: "Shut".into(),
        password: Some("s3same".into()),
        private: true,
        ..Default::default()
    };
    let room = hub.room_with(&private);
    let refused = hub.get(&format!("/v1/rooms/{room}/metrics")).expect(401).json();
    assert_eq!(refused["error"]["code"], json!("INVALID_PASSWORD"));
    let client = hub.client.clone().with_room_password("s3same");
    assert_eq!(client.rooms().metrics(&room.to_lowercase()).unwrap().room_code, room);
}
