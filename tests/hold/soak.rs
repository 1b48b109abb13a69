//! A mixed load for long: nothing may grow. `make soak` says for how many minutes; among the other tests it is seconds.

use std::time::{Duration, Instant};

use gambi::participant::Session;
use serde_json::json;

use super::lab::{Lab, ROOM, Vitals, in_threads};
use super::support::{Conn, FakeProvider, Script, wait_until};

/// Rounds before the first look: buffers, pools and what the allocator keeps have their size by then.
const WARM: usize = 2000;
/// Rounds before the first look where there are only seconds.
const WARM_QUICK: usize = 5;
/// What memory may grow by after that, KiB.
const GROWTH: usize = 4 << 10;
/// Connections that are being closed while one looks.
const CLOSING: usize = 8;

fn minutes() -> Option<u64> {
    std::env::var("SOAK_MINUTES").ok().map(|text| text.parse().expect("SOAK_MINUTES: a whole number"))
}

/// A little of everything that a hub does, once.
fn round(lab: &Lab, provider: &FakeProvider) {
    let session = Session::builder(format!("http://{}", lab.addr), ROOM).participant_id("guest").model("m");
    let session = session.endpoint(provider.url()).start().unwrap();
    let mut watcher = Conn::open(lab.addr);
    watcher.ask("GET", &format!("/v1/rooms/{ROOM}/events"), &[], None);
    assert_eq!(watcher.head().status, 200);
    in_threads(4, 40, || assert_eq!(lab.chat(), 200));
    for (who, stream) in [("guest", true), ("guest", false), ("nobody", false)] {
        let body =
            json!({ "model": who, "stream": stream, "messages": [{ "role": "user", "content": "x".repeat(50_000) }] });
        let answer = ask(lab, &body.to_string()).answer();
        assert_eq!(answer.status, if who == "nobody" { 404 } else { 200 });
    }
    provider.set(Script::Endless("data: {}\n\n".into()));
    let mut gone = ask(lab, &json!({ "model": "guest", "stream": true, "messages": [] }).to_string());
    assert_eq!(gone.head().status, 200);
    drop(gone);
    provider.set(Script::Echo);
    let room = gambi::proto::management::CreateRoom { name: "passing".into(), ..Default::default() };
    let made = lab.client.rooms().create(&room).unwrap();
    lab.client.rooms().delete(&made.room.code, &made.host_id).unwrap();
    let _ = Conn::open(lab.addr).send("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n").answer();
    session.close();
}

fn ask(lab: &Lab, body: &str) -> Conn {
    let mut conn = Conn::open(lab.addr);
    conn.ask("POST", &format!("/rooms/{ROOM}/v1/chat/completions"), &[], Some(body));
    conn
}

#[test]
fn nothing_grows() {
    let lab = Lab::open("", "");
    let provider = FakeProvider::start(Script::Echo);
    for _ in 0..minutes().map_or(WARM_QUICK, |_| WARM) {
        round(&lab, &provider);
        provider.forget();
    }
    let before = lab.vitals();
    let end = Instant::now() + Duration::from_secs(minutes().map_or(2, |minutes| minutes * 60));
    let mut rounds = 0;
    let mut told = Instant::now();
    while Instant::now() < end {
        round(&lab, &provider);
        provider.forget();
        rounds += 1;
        if told.elapsed() > Duration::from_secs(30) {
            println!("{rounds} rounds: {:?}", lab.vitals());
            told = Instant::now();
        }
    }
    let small =
        |now: Vitals| now.threads <= before.threads + CLOSING && now.descriptors <= before.descriptors + CLOSING;
    wait_until("threads and descriptors to return", || small(lab.vitals()));
    let after = lab.vitals();
    println!("soak, {rounds} rounds: before {before:?}, after {after:?}");
    assert!(after.memory <= before.memory + GROWTH, "memory grew by {} KiB", after.memory - before.memory);
}
