//! A participant whose provider stops and starts again, or that drains: what it reports, and where requests go meanwhile.

mod support;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gambi::hub::{Log, LogFormat, LogLevel};
use gambi::participant::Session;
use gambi::proto::management::{HeartbeatBody, Status};
use serde_json::{Value, json};

use support::{FakeProvider, Killed, Process, RawParticipant, Script, TestHub, wait_until};

fn down(is_down: bool) -> HeartbeatBody {
    HeartbeatBody { provider_down: Some(is_down), ..HeartbeatBody::default() }
}

fn draining(is_draining: bool) -> HeartbeatBody {
    HeartbeatBody { draining: Some(is_draining), ..HeartbeatBody::default() }
}

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8")
    }
}

/// An echo provider on a port; on a free one for 0.
fn provider(port: u64) -> (Process, u64) {
    let process = Process::start("", &format!("provider --host 127.0.0.1 --port {port}"));
    let url = process.first_line["data"]["url"].as_str().unwrap().to_owned();
    (process, url.rsplit(':').next().unwrap().parse().unwrap())
}

#[test]
fn a_participant_whose_provider_is_down_gets_no_requests_until_it_is_back() {
    let hub = TestHub::start();
    let room = hub.room();
    let (running, port) = provider(0);
    let (changes, changed) = crossbeam_channel::unbounded();
    let builder = Session::builder(hub.url(), &room).participant_id("ann").model("echo");
    let builder = builder.endpoint(format!("http://127.0.0.1:{port}")).heartbeat_interval(Duration::from_millis(50));
    let session = builder.on_provider_change(move |is_up| changes.send(is_up).unwrap()).start().unwrap();
    hub.chat(&room, "ann").expect(200);

    let events = hub.watch_room(&room);
    drop(running);
    assert_eq!(changed.recv_timeout(support::PATIENCE), Ok(false));
    let updated = events.next("participant.updated");
    assert_eq!((&updated["status"], &updated["providerDown"]), (&json!("offline"), &json!(true)));
    let refused = hub.chat(&room, "ann").expect(503).json();
    assert!(refused["error"].as_str().unwrap().contains("provider does not answer"), "{refused}");
    hub.chat(&room, "any").expect(404);
    assert_eq!(hub.get(&format!("/rooms/{room}/v1/models")).expect(200).json()["data"], json!([]));
    assert_eq!(hub.participant(&room, "ann")["connection"]["connected"], true);

    let (_running, _) = provider(port);
    assert_eq!(changed.recv_timeout(support::PATIENCE), Ok(true));
    assert_eq!(events.next("participant.updated")["status"], "online");
    hub.chat(&room, "any").expect(200);
    drop(session);
}

#[test]
fn a_request_that_fails_has_the_provider_looked_at_at_once() {
    let hub = TestHub::start();
    let room = hub.room();
    let (running, port) = provider(0);
    let builder = Session::builder(hub.url(), &room).participant_id("ann").model("echo");
    // No look is due during the test.
    let builder = builder.endpoint(format!("http://127.0.0.1:{port}")).heartbeat_interval(Duration::from_secs(3600));
    let _session = builder.hub_timeout(Duration::from_secs(7200)).start().unwrap();
    drop(running);
    assert!(hub.chat(&room, "ann").status >= 500);
    hub.wait_for_status(&room, "ann", "offline");
}

#[test]
fn participant_join_prints_a_line_when_its_provider_goes_down_and_one_when_it_is_back() {
    let hub = TestHub::start();
    let room = hub.room();
    let (running, port) = provider(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(["participant", "join", "--room", &room, "--participant-id", "ann", "--model", "echo", "--no-specs"]);
    command.args(["--hub", &hub.url(), "--endpoint", &format!("http://127.0.0.1:{port}"), "--format", "ndjson"]);
    let mut child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _child = Killed(child);
    let mut printed = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON")["type"].clone());
    let mut wait = |event: &str| assert!(printed.any(|kind| kind == event), "{event} was not printed");
    wait("tunnel_connected");
    drop(running);
    // It has the provider looked at.
    assert!(hub.chat(&room, "ann").status >= 500);
    wait("provider_down");
    let _running = provider(port);
    assert_eq!(printed.next(), Some(json!("provider_up")));
}

#[test]
fn what_a_heartbeat_leaves_out_stays_as_it_was() {
    let hub = TestHub::start();
    let room = hub.room();
    let _ann = RawParticipant::join(&hub, &room, "ann");
    let people = hub.client.participants(&room);
    assert_eq!(people.heartbeat_with("ann", &down(true)).unwrap().status, Status::Offline);
    assert_eq!(people.heartbeat("ann").unwrap().status, Status::Offline);
    let path = format!("/v1/rooms/{room}/participants/ann/heartbeat");
    hub.post(&path, &json!({ "providerDown": "no" })).expect(400);
    hub.post(&path, &json!({ "providerDown": null })).expect(200);
    assert_eq!(people.heartbeat("ann").unwrap().status, Status::Offline);
    hub.post(&path, &json!({ "providerDown": false })).expect(200);
    wait_until("the participant to be online", || hub.participant(&room, "ann")["status"] == "online");
    people.heartbeat_with("ann", &down(true)).unwrap();
    people.upsert("ann", &support::registration()).unwrap();
    assert_eq!(hub.participant(&room, "ann")["providerDown"], Value::Null, "a registration says that it is up");
}

#[test]
fn requests_in_line_for_a_participant_whose_provider_is_down_go_elsewhere_or_are_told() {
    requests_in_line_go_elsewhere(&down(true), "provider does not answer");
}

#[test]
fn requests_in_line_for_a_participant_that_drains_go_elsewhere_or_are_told() {
    requests_in_line_go_elsewhere(&draining(true), "Participant is draining");
}

/// A report of a busy participant sends those in line for it elsewhere; those that name it are told why.
fn requests_in_line_go_elsewhere(report: &HeartbeatBody, why: &str) {
    let hub = TestHub::start();
    let room = hub.room();
    let people = hub.client.participants(&room);
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let _first = hub.stream(&room, "ann");
    ann.receive();
    let (mut named, any) = (hub.stream(&room, "ann"), hub.stream(&room, "any"));
    wait_until("two requests to be in line", || hub.hub.waiting() == 2);
    let mut bob = RawParticipant::join(&hub, &room, "bob");
    bob.receive();
    wait_until("the other one to be in line alone", || hub.hub.waiting() == 1);
    people.heartbeat_with("ann", report).unwrap();
    let told = named.answer().expect(503).json();
    assert!(told["error"].as_str().unwrap().contains(why), "{told}");
    drop(any);
}

#[test]
fn a_participant_that_drains_finishes_its_answer_while_requests_go_to_another() {
    let hub = TestHub::start();
    let room = hub.room();
    let people = hub.client.participants(&room);
    let held = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let ann = hub.join(&room, "ann", &held);
    let mut chat = hub.stream(&room, "any");
    held.wait_for_request(1);
    let other = FakeProvider::start(Script::Echo);
    let _bob = hub.join(&room, "bob", &other);
    let events = hub.watch_room(&room);
    assert_eq!(ann.handle().drain(), 1);
    let updated = events.next("participant.updated");
    assert_eq!((&updated["status"], &updated["draining"]), (&json!("offline"), &json!(true)));
    hub.chat(&room, "any").expect(200);
    assert_eq!((held.seen().len(), other.seen().len()), (1, 1));
    held.release();
    assert!(chat.answer().expect(200).text().ends_with("data: [DONE]\n\n"));
    people.upsert("ann", &support::registration()).unwrap();
    assert_eq!(hub.participant(&room, "ann")["draining"], Value::Null, "a registration says that it stays");
}

/// A hub that logs, its room, and a participant in it that is online.
fn hub_with_ann(logged: &Logged) -> (TestHub, String, RawParticipant) {
    let log = Log::to(logged.clone()).level(LogLevel::Info).format(LogFormat::Json);
    let hub = TestHub::with(|options| options.log = Some(log));
    let room = hub.room();
    let ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    (hub, room, ann)
}

#[test]
fn logs_and_metrics_tell_that_a_participant_drains() {
    let logged = Logged::default();
    let (hub, room, _ann) = hub_with_ann(&logged);
    let people = hub.client.participants(&room);
    for is_draining in [true, true, false] {
        people.heartbeat_with("ann", &draining(is_draining)).unwrap();
        let line = format!("\ngambi_participants_draining {}\n", u64::from(is_draining));
        assert!(hub.get("/metrics").expect(200).text().contains(&line), "{line}");
    }
    wait_until("one line", || logged.text().matches("\"about\":\"draining\"").count() == 1);
}

#[test]
fn lists_logs_and_metrics_tell_that_a_provider_is_down() {
    let logged = Logged::default();
    let (hub, room, _ann) = hub_with_ann(&logged);
    let people = hub.client.participants(&room);
    let gauge = |value: u64| {
        let line = format!("\ngambi_participants_provider_down {value}\n");
        assert!(hub.get("/metrics").expect(200).text().contains(&line), "{line}");
    };
    for is_down in [false, true, true, false, false] {
        people.heartbeat_with("ann", &down(is_down)).unwrap();
        gauge(is_down.into());
        let list = Command::new(env!("CARGO_BIN_EXE_gambi"))
            .args(["participant", "list", "--format", "text", "--hub", &hub.url(), "--room", &room])
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert_eq!(list.contains("provider down"), is_down, "{list}");
    }
    let about = |what: &str| logged.text().matches(&format!("\"about\":\"{what}\"")).count();
    wait_until("both lines", || (about("provider_down"), about("provider_up")) == (1, 1));
}
