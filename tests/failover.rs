//! Failover: what is tried again, where, and until when. The client sees one answer, or one error in its protocol's form.

mod support;

use std::time::Duration;

use serde_json::json;

use support::{Conn, FakeProvider, Script, TestHub, wait_until};

/// Registers a direct participant of the legacy plane.
fn join_direct(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) {
    let body = json!({ "id": id, "nickname": id, "model": "m", "endpoint": provider.url() });
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

fn held() -> FakeProvider {
    FakeProvider::start(Script::Held(Box::new(Script::Echo)))
}

fn loading() -> Script {
    Script::Answer { status: 503, kind: "application/json", body: r#"{"error":"loading the model"}"#.into() }
}

/// Sends a chat that is not streamed. The response is left to be read.
fn ask(hub: &TestHub, room: &str, model: &str, n: usize) -> Conn {
    let body = json!({ "model": model, "messages": [], "n": n }).to_string();
    let mut conn = Conn::open(hub.addr());
    conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
    conn
}

#[test]
fn a_request_that_failed_waits_for_a_participant_that_is_busy() {
    for script in [loading(), Script::Slam] {
        let hub = TestHub::start();
        let room = hub.room();
        let (failing, busy) = (FakeProvider::start(script), held());
        let _failing = hub.join(&room, "failing", &failing);
        let _busy = hub.join(&room, "busy", &busy);
        let mut conns = vec![ask(&hub, &room, "busy", 0)];
        busy.wait_for_request(1);
        for n in 1..4 {
            conns.push(ask(&hub, &room, "any", n));
            wait_until("it to fail and stand in line", || hub.hub.waiting() == n);
        }
        (0..4).for_each(|_| busy.release());
        for (n, conn) in conns.iter_mut().enumerate() {
            let answer = conn.answer().expect(200);
            assert_eq!(
                (answer.json()["n"].as_u64(), answer.header("x-gambi-participant")),
                (Some(n as u64), Some("busy"))
            );
        }
        let served: Vec<_> = busy.seen().iter().map(|seen| seen.body.clone()).collect();
        assert!(served.is_sorted_by_key(|body| body.split_once("\"n\":").unwrap().1.to_owned()), "{served:?}");
    }
}

#[test]
fn a_refusal_is_passed_on_when_the_wait_for_another_was_in_vain() {
    let hub = TestHub::with(|options| options.timeouts.queue = Duration::from_millis(200));
    let room = hub.room();
    let (failing, busy) = (FakeProvider::start(loading()), held());
    let _failing = hub.join(&room, "failing", &failing);
    let _busy = hub.join(&room, "busy", &busy);
    let mut first = hub.stream(&room, "busy");
    busy.wait_for_request(1);
    assert_eq!(hub.chat(&room, "any").expect(503).text(), r#"{"error":"loading the model"}"#);
    failing.set(Script::Slam);
    let told = hub.chat(&room, "any").expect(502).json();
    assert!(told["error"].as_str().unwrap().starts_with("Failed to proxy request: "), "{told}");
    busy.release();
    assert_eq!((first.answer().status, busy.seen().len()), (200, 1));
}

#[test]
fn whoever_hangs_up_after_a_failed_try_leaves_the_line() {
    let hub = TestHub::start();
    let room = hub.room();
    let (failing, busy) = (FakeProvider::start(loading()), held());
    let _failing = hub.join(&room, "failing", &failing);
    let _busy = hub.join(&room, "busy", &busy);
    let mut first = hub.stream(&room, "busy");
    busy.wait_for_request(1);
    let events = hub.watch_room(&room);
    let second = ask(&hub, &room, "any", 2);
    assert_eq!(events.next("llm.error")["participantId"], "failing");
    wait_until("it to stand in line", || hub.hub.waiting() == 1);
    second.hang_up();
    assert_eq!(events.next("llm.error")["stage"], "cancelled");
    wait_until("it to leave the line", || hub.hub.waiting() == 0);
    busy.release();
    assert_eq!((first.answer().status, busy.seen().len()), (200, 1));
}
