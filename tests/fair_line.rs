//! The order of the requests that wait for a participant: callers take turns, and each learns its place.

mod support;

use std::time::Duration;

use gambi::hub::{HubOptions, KeysFile};
use gambi::proto::management::Status;
use serde_json::{Value, json};
use support::{Conn, RawParticipant, TestHub, wait_until};

/// A hub that takes a client's address from `X-Forwarded-For`, and a participant that answers one request at a time.
struct Line {
    hub: TestHub,
    room: String,
    participant: RawParticipant,
}

impl Line {
    fn with_limit(limit: usize) -> Self {
        Self::with(limit, "", |_| ())
    }

    /// `key`: with which the room is made, on a hub that has keys.
    fn with(limit: usize, key: &str, change: impl FnOnce(&mut HubOptions)) -> Self {
        let mut hub = TestHub::with(|options| {
            options.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            options.timeouts.queue_limit = limit;
            options.timeouts.comment = Duration::from_millis(50);
            change(options);
        });
        if !key.is_empty() {
            hub.client = hub.client.with_key(key);
        }
        let room = hub.room();
        let participant = RawParticipant::join(&hub, &room, "ann");
        let status = || hub.client.participants(&room).list().unwrap()[0].status;
        wait_until("the participant to be online", || status() == Status::Online);
        Line { hub, room, participant }
    }

    /// Sends a chat from an address, or with a key from the one address of all who have one.
    fn ask(&self, caller: &str, text: &str, stream: bool) -> Conn {
        let messages = json!([{ "role": "user", "content": text }]);
        let body = json!({ "model": "any", "stream": stream, "messages": messages }).to_string();
        let mut conn = Conn::open(self.hub.addr());
        let path = format!("/rooms/{}/v1/chat/completions", self.room);
        let bearer = format!("Bearer {caller}");
        let header = if caller.starts_with("gk-") { ("Authorization", &*bearer) } else { ("X-Forwarded-For", caller) };
        conn.ask("POST", &path, &[header], Some(&body));
        conn
    }

    /// As `ask`, once the request is in the line.
    fn wait(&self, caller: &str, text: &str) -> Conn {
        let before = self.hub.hub.waiting();
        let conn = self.ask(caller, text, false);
        wait_until("the request to be in the line", || self.hub.hub.waiting() == before + 1);
        conn
    }

    /// The next request that the participant is sent, and its text.
    fn next(&mut self) -> (Value, String) {
        let request = self.participant.receive();
        let text = request["body"]["messages"][0]["content"].as_str().unwrap().to_owned();
        (request, text)
    }

    fn answer(&mut self, request: &Value) {
        self.participant.begin(request, "application/json", &["{}"]);
        self.participant.end(request);
    }
}

#[test]
fn a_newcomer_is_served_after_the_running_request_of_a_flood() {
    let mut line = Line::with_limit(64);
    let _running = line.ask("10.0.0.1", "flood 0", false);
    let (running, _) = line.next();
    let flood: Vec<Conn> = (1..5).map(|number| line.wait("10.0.0.1", &format!("flood {number}"))).collect();
    let mut newcomer = line.wait("10.0.0.2", "newcomer");
    line.answer(&running);
    let (request, text) = line.next();
    assert_eq!(text, "newcomer");
    line.answer(&request);
    newcomer.answer().expect(200);
    for (number, mut conn) in (1..5).zip(flood) {
        let (request, text) = line.next();
        assert_eq!(text, format!("flood {number}"), "one caller's requests keep their order");
        line.answer(&request);
        conn.answer().expect(200);
    }
}

#[test]
fn a_person_waits_for_one_request_of_another_persons_flood_at_most() {
    const ANN: &str = "gk-ann-0123456789abcdef";
    const BOB: &str = "gk-bob-0123456789abcdef";
    const ADMIN: &str = "gk-admin-0123456789abcdef";
    const FLOOD: usize = 50;
    let file = std::env::temp_dir().join(format!("gambi-fair-line-{}.json", std::process::id()));
    let keys = json!([
        { "name": "ann", "key": ANN },
        { "name": "bob", "key": BOB },
        { "name": "carol", "key": ADMIN, "admin": true },
    ]);
    std::fs::write(&file, keys.to_string()).unwrap();
    let mut line = Line::with(64, ADMIN, |options| options.keys = Some(KeysFile::read(&file).unwrap()));
    std::fs::remove_file(&file).unwrap();
    let _running = line.ask(ANN, "ann 0", false);
    let (mut running, _) = line.next();
    let _flood: Vec<Conn> = (1..FLOOD).map(|number| line.wait(ANN, &format!("ann {number}"))).collect();
    // Each of Bob's requests comes while one of Ann's runs, and is the next to be served.
    for number in 0..5 {
        let mut bobs = line.wait(BOB, &format!("bob {number}"));
        line.answer(&running);
        let (request, text) = line.next();
        assert_eq!(text, format!("bob {number}"));
        line.answer(&request);
        bobs.answer().expect(200);
        let (request, text) = line.next();
        assert_eq!(text, format!("ann {}", number + 1), "the flood goes on in between");
        running = request;
    }
}

#[test]
fn a_stream_that_waits_is_told_its_place() {
    let mut line = Line::with_limit(64);
    let _running = line.ask("10.0.0.1", "running", false);
    let (running, _) = line.next();
    let _second = line.wait("10.0.0.1", "second");
    let mut newcomer = line.ask("10.0.0.2", "newcomer", true);
    let mut waiting = line.ask("10.0.0.1", "third", true);
    for (conn, place) in [(&mut newcomer, ": waiting in line, 1 of 3\n"), (&mut waiting, ": waiting in line, 3 of 3\n")]
    {
        assert_eq!(conn.head().status, 200);
        wait_until(place, || conn.chunk().is_some_and(|chunk| chunk == place.as_bytes()));
    }
    line.answer(&running);
    let (request, text) = line.next();
    assert_eq!(text, "newcomer");
    line.participant.begin(&request, "text/event-stream", &["data: [DONE]\n\n"]);
    line.participant.end(&request);
    wait_until("its answer", || newcomer.chunk().is_some_and(|chunk| chunk == b"data: [DONE]\n\n"));
}

#[test]
fn a_flood_that_fills_the_line_loses_its_newest_place_to_a_newcomer() {
    let mut line = Line::with_limit(2);
    let _running = line.ask("10.0.0.1", "running", false);
    let (running, _) = line.next();
    let _first = line.wait("10.0.0.1", "first");
    let mut second = line.wait("10.0.0.1", "second");
    line.ask("10.0.0.1", "third", false).answer().expect(503);
    let mut newcomer = line.ask("10.0.0.2", "newcomer", false);
    let evicted = second.answer();
    assert_eq!((evicted.status, evicted.json()["code"].clone()), (503, json!("PARTICIPANT_BUSY")));
    line.answer(&running);
    let (request, text) = line.next();
    assert_eq!(text, "newcomer");
    line.answer(&request);
    newcomer.answer().expect(200);
}
