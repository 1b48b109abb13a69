//! Faults: who dies when, and what the others see of it. The network between them is cut by network.sh.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::lab::{Lab, ROOM, is_full, scale};
use super::support::{Conn, FakeProvider, Process, Script, Seen, request, skip, wait_until};

/// At which stage of a request somebody dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for a participant that is busy.
    Queued,
    /// It was sent, and nothing has come back.
    BeforeHeaders,
    /// Some of the stream has come.
    MidStream,
    /// A whole answer has begun, and its client has seen none of it.
    WholeAnswer,
}

const STAGES: [Stage; 4] = [Stage::Queued, Stage::BeforeHeaders, Stage::MidStream, Stage::WholeAnswer];

impl Stage {
    fn script(self) -> Script {
        match self {
            Stage::Queued | Stage::BeforeHeaders => Script::Held(Box::new(Script::Echo)),
            Stage::MidStream | Stage::WholeAnswer => Script::StreamAndHang(vec!["data: {}\n\n".into()]),
        }
    }
}

/// A participant in a process of its own, that serves a provider of the test's.
fn join(addr: SocketAddr, id: &str, provider: &FakeProvider, more: &str) -> Process {
    let args = format!(
        "participant join --hub http://{addr} --room {ROOM} --participant-id {id} --model m --endpoint {} --no-specs {more}",
        provider.url()
    );
    Process::start("", &args)
}

fn status(addr: SocketAddr, id: &str) -> Value {
    let list = request(addr, "GET", &format!("/v1/rooms/{ROOM}/participants"), None).expect(200).json();
    list["data"].as_array().unwrap().iter().find(|p| p["id"] == id).map_or(Value::Null, |p| p["status"].clone())
}

fn ask(addr: SocketAddr, who: &str, stream: bool) -> Conn {
    let body = json!({ "model": who, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
    let mut conn = Conn::open(addr);
    conn.ask("POST", &format!("/rooms/{ROOM}/v1/chat/completions"), &[], Some(&body.to_string()));
    conn
}

/// Puts a request into a stage; the connections of all who wait, the one in question last.
fn at_stage(lab: &Lab, provider: &FakeProvider, stage: Stage) -> Vec<Conn> {
    let mut waiting = vec![ask(lab.addr, "victim", stage == Stage::MidStream)];
    provider.wait_for_request(1);
    if stage == Stage::Queued {
        waiting.push(ask(lab.addr, "victim", false));
    }
    if stage == Stage::MidStream {
        assert_eq!(waiting[0].head().status, 200);
        assert!(waiting[0].chunk().is_some());
    }
    waiting
}

#[test]
fn a_participant_that_dies_fails_its_own_requests_at_once() {
    let lab = Lab::open("", "");
    for stage in STAGES {
        lab.withstand(&format!("a participant killed: {stage:?}"), 16 << 10, |lab| {
            let provider = FakeProvider::start(stage.script());
            let mut participant = join(lab.addr, "victim", &provider, "");
            wait_until("it to be up", || status(lab.addr, "victim") == "online");
            let waiting = at_stage(lab, &provider, stage);
            participant.child.kill().unwrap();
            for mut conn in waiting {
                if stage == Stage::MidStream {
                    let event = String::from_utf8(conn.chunk().expect("an event that says why")).unwrap();
                    assert!(event.starts_with("data: {\"error\":"), "{event}");
                    assert!(conn.chunk().is_none(), "it ends without its last chunk");
                } else {
                    let answer = conn.answer();
                    let told = [502, 503].contains(&answer.status) || !answer.whole;
                    assert!(told, "{stage:?}: {} {}", answer.status, answer.text());
                }
            }
            assert_eq!(status(lab.addr, "victim"), "offline");
            lab.client.participants(ROOM).remove("victim").unwrap();
        });
    }
}

#[test]
fn a_provider_that_dies_costs_its_request_and_not_its_participant() {
    let lab = Lab::open("", "");
    lab.withstand("providers that die", 16 << 10, |lab| {
        let provider = FakeProvider::start(Script::Slam);
        let _participant = join(lab.addr, "victim", &provider, "");
        wait_until("it to be up", || status(lab.addr, "victim") == "online");
        assert_eq!(ask(lab.addr, "victim", false).answer().status, 502, "before its headers");
        let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"half\"";
        provider.set(Script::Raw(half.to_vec()));
        let answer = ask(lab.addr, "victim", false).answer();
        assert!(answer.status == 502 || !answer.whole, "within a whole answer");
        provider.set(Script::StreamAndDie(vec!["data: {}\n\n".into()]));
        let answer = ask(lab.addr, "victim", true).answer();
        assert!(answer.status == 200 && !answer.whole, "in mid-stream");
        provider.set(Script::Echo);
        assert_eq!(ask(lab.addr, "victim", false).answer().status, 200);
        lab.client.participants(ROOM).remove("victim").unwrap();
    });
}

/// The port that a hub had, for the next one.
fn port_of(hub: &Process) -> u64 {
    hub.first_line["data"]["port"].as_u64().unwrap()
}

fn addr_of(hub: &Process) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port_of(hub)).unwrap()))
}

fn hub(port: u64, more: &str) -> Process {
    Process::start("", &format!("hub serve --host 127.0.0.1 --port {port} --room {ROOM}=Lab {more}"))
}

fn nonce(seen: &Seen) -> Value {
    serde_json::from_str::<Value>(&seen.body).unwrap()["nonce"].clone()
}

#[test]
fn participants_come_back_when_the_hub_does_and_answer_nothing_twice() {
    let number = scale(16, 4);
    let mut hub_process = hub(0, "");
    let (port, addr) = (port_of(&hub_process), addr_of(&hub_process));
    let provider = FakeProvider::start(Script::Echo);
    let participants: Vec<Process> =
        (0..number).map(|n| join(addr, &format!("p{n}"), &provider, "--reconnect")).collect();
    let online = |n: usize| status(addr, &format!("p{n}")) == "online";
    wait_until("all to be up", || (0..number).all(online));
    let asked = AtomicUsize::new(0);
    let chat = |answered: &mut Vec<Value>| {
        let nonce = asked.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "model": "any", "messages": [], "nonce": nonce }).to_string();
        let Ok(stream) = std::net::TcpStream::connect(addr) else { return };
        drop(stream);
        let answer = request(addr, "POST", &format!("/rooms/{ROOM}/v1/chat/completions"), Some(&body));
        if answer.status == 200 {
            answered.push(answer.json()["nonce"].clone());
        }
    };
    for round in 0..scale(3, 1) {
        let mut answered = Vec::new();
        (0..20).for_each(|_| chat(&mut answered));
        hub_process.child.kill().unwrap();
        hub_process.child.wait().unwrap();
        hub_process = hub(port, "");
        let since = std::time::Instant::now();
        wait_until("all to be back", || (0..number).all(online));
        println!("hub restarted under {number} participants, round {round}: all back after {:?}", since.elapsed());
        assert!(!is_full() || since.elapsed().as_secs() < 20);
        (0..20).for_each(|_| chat(&mut answered));
        assert_eq!(answered.len(), 40);
    }
    let mut nonces: Vec<u64> = provider.seen().iter().map(|seen| nonce(seen).as_u64().unwrap()).collect();
    let all = nonces.len();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), all, "a request reached a provider twice");
    drop(participants);
}

#[test]
fn a_hub_that_dies_ends_its_clients_streams_as_broken() {
    for stage in STAGES {
        let lab = Lab::open("", "");
        let provider = FakeProvider::start(stage.script());
        let _participant = join(lab.addr, "victim", &provider, "");
        wait_until("it to be up", || status(lab.addr, "victim") == "online");
        let waiting = at_stage(&lab, &provider, stage);
        lab.hub.signal("-KILL");
        for mut client in waiting {
            let rest = String::from_utf8(client.rest()).unwrap();
            assert!(!rest.ends_with("0\r\n\r\n") && !rest.contains("Content-Length"), "{stage:?}: {rest}");
        }
        if matches!(stage, Stage::MidStream | Stage::WholeAnswer) {
            wait_until("the provider's work to be given up", || provider.abandoned() > 0);
        }
    }
}

#[test]
fn a_signal_drains_and_a_second_one_ends_at_once() {
    let lab = Lab::open("", "--drain-timeout 60s");
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let _participant = join(lab.addr, "victim", &provider, "");
    wait_until("it to be up", || status(lab.addr, "victim") == "online");
    let mut watcher = Conn::open(lab.addr);
    watcher.ask("GET", &format!("/v1/rooms/{ROOM}/events"), &[], None);
    assert_eq!(watcher.head().status, 200);
    let mut under_way = ask(lab.addr, "victim", false);
    provider.wait_for_request(1);
    let mut early = Conn::open(lab.addr);
    assert_eq!(early.send("GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n").answer().status, 200);
    lab.hub.signal("-TERM");
    wait_until("new requests to be refused", || lab.chat() == 503);
    provider.release();
    assert_eq!(under_way.answer().status, 200, "what was under way may end");
    while watcher.chunk().is_some_and(|chunk| !chunk.is_empty()) {}
    let mut hub = lab.hub;
    assert_eq!(hub.child.wait().unwrap().code(), Some(0));

    let lab = Lab::open("", "--drain-timeout 60s");
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let _participant = join(lab.addr, "victim", &provider, "");
    wait_until("it to be up", || status(lab.addr, "victim") == "online");
    let _under_way = ask(lab.addr, "victim", false);
    provider.wait_for_request(1);
    lab.hub.signal("-TERM");
    wait_until("new requests to be refused", || lab.chat() == 503);
    let mut hub = lab.hub;
    hub.signal("-TERM");
    assert_ne!(hub.child.wait().unwrap().code(), Some(0), "it was not let end in order");
}

/// Liveness goes by the clock that only goes forward: setting the other one back or forward takes nobody offline.
#[test]
fn setting_the_clock_takes_nobody_offline() {
    let Some(library) = library() else { return skip("libfaketime") };
    let file = std::env::temp_dir().join(format!("gambi-clock-{}", std::process::id()));
    fs::write(&file, "+0").unwrap();
    let before = format!(
        "LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1",
        file.display()
    );
    let lab = Lab::open(&format!("export {before};"), "");
    let watcher = format!("/v1/rooms/{ROOM}/events");
    let mut watching = Conn::open(lab.addr);
    watching.ask("GET", &watcher, &[], None);
    watching.head();
    let wall = || request(lab.addr, "GET", "/v1/health", None).json()["data"]["timestamp"].as_u64().unwrap();
    let real = wall();
    for (set, moved) in [("+2d", 172_000_000), ("-2d", -172_000_000)] {
        fs::write(&file, set).unwrap();
        wait_until("the clock to have moved", || (i128::from(wall()) - i128::from(real)).abs() >= 172_000_000);
        assert_eq!((i128::from(wall()) - i128::from(real)).signum(), i128::from(moved).signum());
        // Heartbeats over several ticks of the hub's monitor: whoever counted as silent would be told of by then.
        let since = wall();
        wait_until("heartbeats", || last_seen(lab.addr, "steady").abs_diff(since) < 100_000_000);
        let first = last_seen(lab.addr, "steady");
        wait_until("more heartbeats", || last_seen(lab.addr, "steady") >= first + 1500);
        assert_eq!(status(lab.addr, "steady"), "online", "{set}");
        assert_eq!(lab.chat(), 200);
    }
    fs::remove_file(&file).unwrap();
    lab.hub.signal("-KILL");
    assert!(!String::from_utf8_lossy(&watching.rest()).contains("participant.offline"));
}

fn last_seen(addr: SocketAddr, id: &str) -> u64 {
    let list = request(addr, "GET", &format!("/v1/rooms/{ROOM}/participants"), None).expect(200).json();
    let participants = list["data"].as_array().unwrap();
    participants.iter().find(|p| p["id"] == id).and_then(|p| p["lastSeen"].as_u64()).unwrap()
}

fn library() -> Option<String> {
    // Nothing can be put before a C library that is linked in.
    if cfg!(target_feature = "crt-static") {
        return None;
    }
    let found =
        Command::new("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null"]).output().ok()?;
    String::from_utf8(found.stdout).ok()?.lines().next().map(str::to_owned)
}
