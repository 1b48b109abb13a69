//! Event streams: who sees what, in which form.

mod support;

use std::time::Duration;

use serde_json::json;

use gambi::proto::management::Registration;
use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, Watcher, registration, wait_until};

#[test]
fn events_have_the_form_that_old_clients_parse() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut conn = Conn::open(hub.addr());
    conn.ask("GET", &format!("/v1/rooms/{}/events", room.to_lowercase()), &[], None);
    let head = conn.head();
    assert_eq!((head.status, head.header("cache-control")), (200, Some("no-cache")));
    let first = String::from_utf8(conn.chunk().unwrap()).unwrap();
    let data = first.strip_prefix("event: connected\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    assert!(data.starts_with("{\"type\":\"connected\",\"timestamp\":"), "{data}");
    let event: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["roomCode"], json!(room));
    assert!(event["data"]["clientId"].is_string());
}

#[test]
fn a_participants_life_is_told_to_its_room_and_to_the_whole_hub_only() {
    let hub = TestHub::start();
    let room = hub.room();
    let (here, everywhere) = (hub.watch_room(&room), hub.watch("/v1/events"));
    let other = hub.room();
    let there = hub.watch_room(&other);
    assert_eq!(here.next("room.created")["code"], json!(other));
    assert_eq!(everywhere.next("room.created")["code"], json!(other));
    for id in ["ann", "bob"] {
        hub.client.participants(&room).upsert(id, &registration()).unwrap();
        assert_eq!(here.next("participant.joined")["id"], json!(id));
        assert_eq!(everywhere.next("participant.joined")["id"], json!(id));
    }
    hub.client.participants(&room).upsert("bob", &registration()).unwrap();
    assert_eq!(here.next("participant.updated")["id"], "bob");
    hub.client.participants(&room).remove("bob").unwrap();
    assert_eq!(here.next("participant.left"), json!({ "participantId": "bob" }));
    let mark = hub.room();
    assert!(there.raw().contains(&format!("\"code\":\"{mark}\"")), "the other room's watcher saw nothing in between");
}

#[test]
fn going_offline_is_told_once() {
    let hub = TestHub::start();
    let room = hub.room();
    let watcher = hub.watch_room(&room);
    let ann = RawParticipant::join(&hub, &room, "ann");
    watcher.next("participant.updated");
    drop(ann);
    watcher.next("participant.offline");
    for _ in 0..3 {
        hub.clock.advance(Duration::from_secs(40));
        let seen = hub.clock.now().mono;
        wait_until("the monitor to look", || hub.clock.now().mono > seen + 600);
    }
    hub.client.participants(&room).remove("ann").unwrap();
    assert!(watcher.raw().starts_with("event: participant.left\n"));
}

#[test]
fn a_requests_event_has_the_model_that_was_asked_for_and_its_end_the_participants_own() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    let (new, old) = (hub.watch_room(&room), hub.watch_legacy(&room));
    hub.chat(&room, "any").expect(200);
    assert_eq!((&new.next("llm.request")["model"], &new.next("llm.complete")["model"]), (&json!("any"), &json!("m")));
    assert_eq!((&old.next("llm:request")["model"], &old.next("llm:complete")["model"]), (&json!("any"), &json!("m")));
    provider.set(Script::Slam);
    hub.chat(&room, "*").expect(502);
    assert_eq!((&new.next("llm.request")["model"], &new.next("llm.error")["model"]), (&json!("*"), &json!("m")));
}

#[test]
fn watchers_that_go_are_forgotten() {
    let hub = TestHub::start();
    let room = hub.room();
    let before = hub.hub.connections();
    let mut conn = Conn::open(hub.addr());
    conn.ask("GET", &format!("/v1/rooms/{room}/events"), &[], None);
    conn.head();
    conn.chunk().unwrap();
    conn.hang_up();
    wait_until("the watcher's thread to end", || hub.hub.connections() == before);
}

/// The participants that a watcher is told of, up to the last one.
fn told_of(watcher: &Watcher, last: &str) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.last().is_none_or(|id| id != last) {
        ids.push(watcher.next("participant.joined")["id"].as_str().unwrap().to_owned());
    }
    ids
}

#[test]
fn a_hundred_watchers_see_all_events_of_a_burst_in_order() {
    let hub = TestHub::start();
    let room = hub.room();
    let watchers: Vec<_> =
        (0..100).map(|n| if n % 2 == 0 { hub.watch_room(&room) } else { hub.watch("/v1/events") }).collect();
    let ids: Vec<_> = (0..200).map(|n| format!("p{n}")).collect();
    for id in &ids {
        hub.client.participants(&room).upsert(id, &registration()).unwrap();
    }
    for watcher in &watchers {
        assert_eq!(&told_of(watcher, "p199"), &ids);
    }
}

#[test]
fn the_first_event_does_not_wait_for_others() {
    let hub = TestHub::start();
    let room = hub.room();
    let watcher = hub.watch_room(&room);
    for id in ["a", "b", "c"] {
        hub.client.participants(&room).upsert(id, &registration()).unwrap();
        assert_eq!(watcher.next("participant.joined")["id"], id, "it came before the next one was sent");
    }
}

#[test]
fn a_watcher_that_does_not_read_is_dropped_and_harms_nobody() {
    let hub = TestHub::limited(|limits| limits.write = Duration::from_secs(1));
    let room = hub.room();
    let quick = hub.watch_room(&room);
    let mut slow = Conn::open(hub.addr());
    slow.ask("GET", &format!("/v1/rooms/{room}/events"), &[], None);
    slow.head();
    slow.chunk().unwrap();
    // Each event is 100 KiB long, so that some fill the socket's buffers.
    let models = (0..100).map(|n| format!("{n:0>1000}")).collect();
    let long = Registration { models, ..registration() };
    hub.client.participants(&room).upsert("p", &long).unwrap();
    quick.next("participant.joined");
    while !hub.get("/metrics").expect(200).text().contains("gambi_watchers 1\n") {
        hub.client.participants(&room).upsert("p", &long).unwrap();
        quick.next("participant.updated");
    }
}
