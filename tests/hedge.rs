//! Hedging: a request whose participant is silent for too long is sent to a second one beside it, and the first to speak
//! answers.

mod support;

use std::time::Duration;

use serde_json::json;

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, wait_until};

fn held() -> FakeProvider {
    FakeProvider::start(Script::Held(Box::new(Script::Echo)))
}

/// A hub that asks a second participant once the first has been silent for a tenth of a second.
fn hedging() -> TestHub {
    TestHub::with(|options| options.hedge_after_min = Some(Duration::from_millis(100)))
}

#[test]
fn a_second_participant_answers_for_one_that_is_silent_for_too_long() {
    for (path, body) in [("chat/completions", json!({ "messages": [] })), ("responses", json!({ "input": "Hi" }))] {
        for (stream, direct) in [(true, false), (false, true)] {
            let hub = hedging();
            let room = hub.room();
            let wedged = held();
            let _wedged = (!direct).then(|| hub.join(&room, "wedged", &wedged));
            if direct {
                let body = json!({ "id": "wedged", "nickname": "wedged", "model": "m", "endpoint": wedged.url() });
                hub.post(&format!("/rooms/{room}/join"), &body).expect(201);
            }
            let events = hub.watch_room(&room);
            let mut body = body.clone();
            (body["model"], body["stream"]) = (json!("any"), json!(stream));
            let mut conn = Conn::open(hub.addr());
            conn.ask("POST", &format!("/rooms/{room}/v1/{path}"), &[], Some(&body.to_string()));
            wedged.wait_for_request(1);
            let _free = hub.join(&room, "free", &FakeProvider::start(Script::Echo));
            let answer = conn.answer().expect(200);
            assert_eq!((answer.whole, answer.header("x-gambi-participant")), (true, Some("free")));
            let lost = events.next("llm.error");
            assert_eq!((&lost["participantId"], &lost["stage"]), (&json!("wedged"), &json!("hedge")));
            assert_eq!(events.next("llm.complete")["participantId"], "free");
            wait_until("the silent one to be cancelled", || wedged.abandoned() == 1);
            assert!(hub.get("/metrics").text().contains("gambi_hedges_total 1\n"));
            // It counts as failed, and is not asked while another is free.
            (0..5).for_each(|_| assert_eq!(hub.chat(&room, "any").status, 200));
            assert_eq!(wedged.seen().len(), 1);
        }
    }
}

#[test]
fn a_head_without_data_is_silence_too() {
    let hub = hedging();
    let room = hub.room();
    let mut wedged = RawParticipant::join(&hub, &room, "wedged");
    hub.wait_for_status(&room, "wedged", "online");
    let mut chat = hub.stream(&room, "any");
    let request = wedged.receive();
    wedged.begin(&request, "text/event-stream", &[]);
    assert_eq!(chat.head().status, 200);
    let _good = hub.join(&room, "good", &FakeProvider::start(Script::Echo));
    assert_eq!(chat.chunk().unwrap(), b": answered by good\n");
    assert!(chat.chunk().unwrap().starts_with(b"data: {"));
    assert_eq!(wedged.receive(), json!({ "type": "tunnel.cancel", "requestId": request["requestId"] }));
}

#[test]
fn the_first_to_speak_wins_and_the_other_is_cancelled() {
    let hub = hedging();
    let room = hub.room();
    let mut first = RawParticipant::join(&hub, &room, "first");
    hub.wait_for_status(&room, "first", "online");
    let mut chat = hub.stream(&room, "m");
    let request = first.receive();
    let mut second = RawParticipant::join(&hub, &room, "second");
    let again = second.receive();
    assert_eq!(again["requestId"], format!("{}.2", request["requestId"].as_str().unwrap()));
    assert_eq!(again["body"], request["body"]);
    let events = hub.watch_room(&room);
    // A head is not yet a word.
    second.begin(&again, "text/event-stream", &[": ping\n\n"]);
    assert_eq!(chat.head().status, 200);
    first.begin(&request, "text/event-stream", &["data: 1\n\n"]);
    first.end(&request);
    assert_eq!(chat.chunk().unwrap(), b": answered by first\n");
    assert_eq!(chat.chunk().unwrap(), b"data: 1\n\n");
    assert_eq!(second.receive(), json!({ "type": "tunnel.cancel", "requestId": again["requestId"] }));
    let lost = events.next("llm.error");
    assert_eq!((&lost["participantId"], &lost["stage"]), (&json!("second"), &json!("hedge")));
    assert_eq!(events.next("llm.complete")["participantId"], "first");
    hub.wait_for_status(&room, "second", "online");
}

#[test]
fn a_second_participant_that_fails_leaves_the_first_its_time() {
    for script in [Script::Answer { status: 503, kind: "text/plain", body: "no".into() }, Script::Slam, Script::Missing]
    {
        let hub = hedging();
        let room = hub.room();
        let slow = held();
        let _slow = hub.join(&room, "slow", &slow);
        let events = hub.watch_room(&room);
        let mut chat = hub.stream(&room, "any");
        slow.wait_for_request(1);
        let _failing = hub.join(&room, "failing", &FakeProvider::start(script));
        assert_eq!(events.next("llm.error")["participantId"], "failing");
        slow.release();
        let answer = chat.answer().expect(200);
        assert_eq!(answer.header("x-gambi-participant"), Some("slow"));
    }
}

#[test]
fn a_client_that_hangs_up_cancels_both() {
    let hub = hedging();
    let room = hub.room();
    let (first, second) = (held(), held());
    let _first = hub.join(&room, "first", &first);
    let chat = hub.stream(&room, "any");
    first.wait_for_request(1);
    let _second = hub.join(&room, "second", &second);
    second.wait_for_request(1);
    chat.hang_up();
    wait_until("both to be left", || first.abandoned() == 1 && second.abandoned() == 1);
    for id in ["first", "second"] {
        hub.wait_for_status(&room, id, "online");
    }
}

#[test]
fn no_second_participant_is_asked_for_a_named_one_or_by_a_hub_that_does_not_hedge() {
    for (hedge_after_min, model) in [(Some(Duration::from_millis(1)), "ann"), (None, "any")] {
        let hub = TestHub::with(|options| {
            options.hedge_after_min = hedge_after_min;
            options.timeouts.comment = Duration::from_millis(100);
        });
        let room = hub.room();
        let (silent, free) = (held(), FakeProvider::start(Script::Echo));
        let _silent = hub.join(&room, "ann", &silent);
        let mut chat = hub.stream(&room, model);
        silent.wait_for_request(1);
        let _free = hub.join(&room, "free", &free);
        assert_eq!(chat.head().status, 200);
        // Each comment follows a look at how long the participant has been silent.
        for _ in 0..4 {
            assert!(chat.chunk().unwrap().starts_with(b":"));
        }
        assert!(free.seen().is_empty());
        silent.release();
    }
}
