//! What a hub tells of a room's activity: who waits, the last hour, who used how much, how one's own request went, and where
//! others find the room.

mod support;

use std::time::Duration;

use gambi::proto::management::CreateRoom;
use serde_json::json;

use support::{Conn, FakeProvider, RawParticipant, Response, Script, TestHub, wait_until};

const CHAT: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":40,"total_tokens":43}}"#;

fn answering(status: u16, body: &str) -> FakeProvider {
    FakeProvider::start(Script::Answer { status, kind: "application/json", body: body.into() })
}

/// A hub that takes a client's address from `X-Forwarded-For`.
fn behind_proxy() -> TestHub {
    TestHub::with(|options| options.trusted_proxies = vec!["127.0.0.1".parse().unwrap()])
}

/// Sends a chat with these headers. The response is left to be read.
fn ask(hub: &TestHub, room: &str, model: &str, headers: &[(&str, &str)]) -> Conn {
    let mut conn = Conn::open(hub.addr());
    let body = json!({ "model": model, "messages": [] }).to_string();
    conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), headers, Some(&body));
    conn
}

fn get(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut conn = Conn::open(hub.addr());
    conn.ask("GET", path, headers, None).answer()
}

#[test]
fn a_room_tells_who_waits_in_which_place_without_addresses() {
    let hub = behind_proxy();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let _running = ask(&hub, &room, "any", &[("X-Forwarded-For", "10.0.0.1")]);
    ann.receive();
    let mut waiting = Vec::new();
    for (count, (address, model)) in [("10.0.0.1", "ann"), ("10.0.0.1", "any"), ("10.0.0.2", "any")].iter().enumerate()
    {
        waiting.push(ask(&hub, &room, model, &[("X-Forwarded-For", address)]));
        wait_until("it to wait", || hub.hub.waiting() == count + 1);
    }
    hub.clock.advance(Duration::from_secs(3));
    let path = format!("/v1/rooms/{}/queue", room.to_lowercase());
    let told = get(&hub, &path, &[("X-Forwarded-For", "10.0.0.2")]).expect(200);
    assert!(!told.text().contains("10.0.0."), "{}", told.text());
    let queue = &told.json()["data"];
    assert_eq!((&queue["roomCode"], &queue["queued"]), (&json!(room), &json!(3)));
    let of = |field: &str| queue["requests"].as_array().unwrap().iter().map(|r| r[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("place"), [1, 2, 3]);
    assert_eq!(of("client"), [1, 2, 2], "the newcomer goes first");
    assert_eq!(of("own"), [true, false, false]);
    assert_eq!(of("model"), ["any", "ann", "any"]);
    let waited = queue["timestamp"].as_u64().unwrap() - of("since")[0].as_u64().unwrap();
    assert!(waited >= 3_000, "{waited} ms");
    assert_eq!(hub.client.rooms().queue(&room).unwrap().requests.iter().filter(|r| r.own).count(), 0);
}

#[test]
fn a_long_queue_is_told_by_its_first_hundred() {
    let hub = TestHub::with(|options| options.timeouts.queue_limit = 200);
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let _running = ask(&hub, &room, "ann", &[]);
    ann.receive();
    let _waiting: Vec<Conn> = (0..120).map(|_| ask(&hub, &room, "any", &[])).collect();
    wait_until("all to wait", || hub.hub.waiting() == 120);
    let queue = hub.client.rooms().queue(&room).unwrap();
    assert_eq!((queue.queued, queue.requests.len(), queue.requests[99].place), (120, 100, 100));
    wait_until("the minute to tell the queue", || {
        hub.client.rooms().history(&room).unwrap().minutes.iter().any(|minute| minute.queued == 120)
    });
}

#[test]
fn the_last_hour_is_told_by_minutes_to_a_page_that_was_just_opened() {
    let hub = TestHub::start();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(500, "{}"));
    let _sessions = [hub.join(&room, "ann", &good), hub.join(&room, "bob", &bad)];
    for (who, status) in [("ann", 200), ("ann", 200), ("bob", 500)] {
        hub.chat(&room, who).expect(status);
    }
    hub.clock.advance(Duration::from_secs(120));
    for who in ["ann", "bob"] {
        hub.client.participants(&room).heartbeat(who).unwrap();
    }
    hub.chat(&room, "ann").expect(200);
    let history = hub.client.rooms().history(&room).unwrap();
    let counts: Vec<_> = history.minutes.iter().map(|m| (m.figures.requests, m.figures.errors)).collect();
    assert_eq!(counts, [(3, 1), (1, 0)]);
    let [first, last] = &history.minutes[..] else { panic!("{history:?}") };
    assert_eq!((first.figures.output_tokens, last.at - first.at), (80, 120_000));
    assert!(first.figures.ttft_ms.is_some() && last.at <= history.timestamp);
    let ann = history.participants.iter().find(|one| one.participant_id == "ann").unwrap();
    assert_eq!((ann.output_tokens.len(), ann.output_tokens.iter().sum::<u64>()), (15, 120));
    assert_eq!((ann.requests[12], ann.requests[14]), (2, 1));
    let unnamed = &history.callers[..];
    assert_eq!((unnamed.len(), unnamed[0].caller.as_deref()), (1, None));
    assert_eq!((unnamed[0].requests, unnamed[0].errors), (4, 1));
    hub.clock.advance(Duration::from_secs(3_700));
    wait_until("the hour to be over", || hub.client.rooms().history(&room).unwrap().minutes.is_empty());
    hub.get("/v1/rooms/ZZZZZZ/history").expect(404);
}

#[test]
fn an_answer_can_be_looked_into_as_soon_as_its_client_has_it() {
    let hub = behind_proxy();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(503, "{}"));
    let _bad = hub.join(&room, "bad", &bad);
    let own = [("X-Forwarded-For", "10.0.0.1")];
    let id = |response: &Response| response.header("x-gambi-request-id").unwrap().to_owned();
    let refused = ask(&hub, &room, "bad", &own).answer().expect(503);
    let _good = hub.join(&room, "good", &good);
    let path = |room: &str, id: &str| format!("/v1/rooms/{room}/requests/{id}");
    let trace = get(&hub, &path(&room, &id(&refused)), &own).expect(200).json()["data"].take();
    let attempt = &trace["attempts"][0];
    assert_eq!(
        (&attempt["participantId"], &attempt["outcome"], &attempt["status"]),
        (&json!("bad"), &json!("failed"), &json!(503))
    );
    let answered = ask(&hub, &room, "any", &own).answer().expect(200);
    let trace = get(&hub, &path(&room, &id(&answered)), &own).expect(200).json()["data"].take();
    assert_eq!(
        (&trace["model"], &trace["stream"], &trace["protocol"]),
        (&json!("any"), &json!(false), &json!("chatCompletions"))
    );
    let last = trace["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["participantId"], &last["outcome"], &last["outputTokens"]),
        (&json!("good"), &json!("complete"), &json!(40))
    );
    let times: Vec<f64> =
        ["startedMs", "headMs", "firstTokenMs", "endedMs"].map(|name| last[name].as_f64().unwrap()).into();
    assert!(times.is_sorted() && trace["endedMs"] == last["endedMs"], "{trace}");

    // Events tell the id to all who watch: it is of no use to others, nor in another room.
    get(&hub, &path(&room, &id(&answered)), &[("X-Forwarded-For", "10.0.0.2")]).expect(404);
    get(&hub, &path(&hub.room(), &id(&answered)), &own).expect(404);
    get(&hub, &path(&room, "00000000-0000-4000-8000-000000000000"), &own).expect(404);
}

#[test]
fn every_attempt_and_a_refusal_are_told() {
    let hub = TestHub::with(|options| options.timeouts.queue = Duration::from_millis(20));
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let trace = |response: &Response| {
        hub.client.rooms().request(&room, response.header("x-gambi-request-id").unwrap()).unwrap()
    };
    let mut first = ask(&hub, &room, "any", &[]);
    let request = ann.receive();
    let refused = ask(&hub, &room, "any", &[]).answer().expect(409);
    let told = trace(&refused);
    assert_eq!((told.refused.as_deref(), told.attempts.len()), (Some("PARTICIPANT_BUSY"), 0));
    assert!(told.ended_ms >= 20.0, "{told:?}");
    let good = answering(200, CHAT);
    let _good = hub.join(&room, "good", &good);
    ann.fail(&request, "connection refused");
    let told = trace(&first.answer().expect(200));
    let attempts: Vec<_> =
        told.attempts.iter().map(|a| (a.participant_id.as_str(), &*a.outcome, a.stage.as_deref())).collect();
    assert_eq!(attempts, [("ann", "failed", Some("fetch")), ("good", "complete", None)]);
    assert!(told.attempts[0].ended_ms <= told.attempts[1].started_ms, "{told:?}");
    assert_eq!(told.attempts[0].error.as_deref(), Some("connection refused"));
}

#[test]
fn a_private_room_tells_its_activity_to_those_with_its_password() {
    let hub = TestHub::start();
    let private =
        CreateRoom { name: "Shut".into(), password: Some("s3same".into()), private: true, ..Default::default() };
    let room = hub.room_with(&private);
    for part in ["history", "queue", "invitation", "requests/00000000-0000-4000-8000-000000000000"] {
        let path = format!("/v1/rooms/{room}/{part}");
        hub.get(&path).expect(401);
        let status = get(&hub, &path, &[("X-Gambi-Room-Password", "s3same")]).status;
        assert_eq!(status, if part.starts_with("requests") { 404 } else { 200 }, "{part}");
    }
}

#[test]
fn activity_is_told_by_get_and_head_alone_whatever_the_query_and_not_to_foreign_pages() {
    let hub = TestHub::start();
    let room = hub.room();
    let good = answering(200, CHAT);
    let _session = hub.join(&room, "ann", &good);
    let id = hub.chat(&room, "any").expect(200).header("x-gambi-request-id").unwrap().to_owned();
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut conn = Conn::open(hub.addr());
        conn.ask(method, path, headers, None);
        if matches!(method, "HEAD" | "OPTIONS") { conn.head() } else { conn.answer() }
    };
    for part in ["history", "queue", "invitation", &format!("requests/{id}")] {
        let path = format!("/v1/rooms/{room}/{part}");
        let whole = ask("GET", &path, &[]).expect(200);
        let head = ask("HEAD", &path, &[]);
        assert_eq!((head.status, head.header("content-type")), (200, whole.header("content-type")), "{part}");
        for query in
            ["?", "?limit=99999999999999999999&since=-1", "?a=%zz&&=&%00", &format!("?{}", "x".repeat(8 << 10))]
        {
            assert_eq!(ask("GET", &format!("{path}{query}"), &[]).status, 200, "{part} {query}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let refused = ask(method, &path, &[]).expect(405);
            assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"), "{method} {part}");
        }
        assert_eq!(ask("OPTIONS", &path, &[("Origin", "http://evil.example")]).status, 204);
        assert_eq!(ask("GET", &path, &[("Origin", "http://evil.example")]).status, 403, "{part}");
        assert_eq!(ask("GET", &path, &[("Sec-Fetch-Site", "cross-site")]).status, 403, "{part}");
        assert_eq!(ask("GET", &path, &[("Origin", &hub.url()), ("Host", "evil.example")]).status, 400, "two hosts");
        assert_eq!(ask("GET", &path.to_lowercase(), &[]).status, 200, "codes are read in any case: {part}");
    }
    let traced = |id: &str| ask("GET", &format!("/v1/rooms/{room}/requests/{id}"), &[]).status;
    assert_eq!(traced(&id.to_uppercase()), 200);
    for odd in ["x", "%00", "..", "%2e%2e%2f", "0", "-", &"f".repeat(33), &"9".repeat(8 << 10), "%F0%9F%90%99"] {
        assert_eq!(traced(odd), 404, "{odd}");
    }
    for broken in ["%zz", "%ff"] {
        assert_eq!(traced(broken), 400, "{broken}");
    }
}

#[test]
fn wrong_passwords_for_a_rooms_activity_are_throttled_like_others() {
    let hub = TestHub::start();
    let private =
        CreateRoom { name: "Shut".into(), password: Some("s3same".into()), private: true, ..Default::default() };
    let room = hub.room_with(&private);
    let parts = ["history", "queue", "invitation", "requests/x", "history", "queue"];
    let statuses = parts.into_iter().enumerate().map(|(number, part)| {
        let wrong = format!("wrong-{number}");
        get(&hub, &format!("/v1/rooms/{room}/{part}"), &[("X-Gambi-Room-Password", &wrong)]).status
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [401, 401, 401, 401, 401, 429]);
}
