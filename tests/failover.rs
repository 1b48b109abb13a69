//! Failover: what is tried again, where, and until when. The client sees one answer, or one error in its protocol's form.

mod support;

use support::{FakeProvider, Script, TestHub};

/// Registers a direct participant of the legacy plane.
fn join_direct(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) {
    let body = serde_json::json!({ "id": id, "nickname": id, "model": "m", "endpoint": provider.url() });
    hub.post(&format!("/rooms/{room}/join"), &body).expect(201);
}

#[test]
fn a_request_on_a_kept_connection_that_closes_is_sent_once_more_on_a_new_one() {
    for reset in [false, true] {
        let hub = TestHub::start();
        let room = hub.room();
        let tunnelled = FakeProvider::start(Script::CloseKept { reset });
        let direct = FakeProvider::start(Script::CloseKept { reset });
        let _session = hub.join(&room, "tunnelled", &tunnelled);
        join_direct(&hub, &room, "direct", &direct);
        for (id, provider) in [("tunnelled", &tunnelled), ("direct", &direct)] {
            for _ in 0..4 {
                hub.chat(&room, id).expect(200);
            }
            let seen = provider.seen().len();
            assert!((7..=8).contains(&seen), "each but the first is sent twice: {seen} to {id}");
        }
    }
}

#[test]
fn a_request_that_a_new_connection_does_not_answer_is_not_repeated() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let _session = hub.join(&room, "ann", &provider);
    hub.chat(&room, "ann").expect(200);
    provider.forget();
    provider.set(Script::Slam);
    hub.chat(&room, "ann").expect(502);
    assert_eq!(provider.seen().len(), 2, "on the kept connection, and on a new one");
    hub.chat(&room, "ann").expect(502);
    assert_eq!(provider.seen().len(), 3, "none was kept");
}
