//! A participant whose provider stops and starts again.

mod support;

use std::time::Duration;

use gambi::participant::Session;
use gambi::proto::management::{HeartbeatBody, Status};
use serde_json::json;

use support::{Process, RawParticipant, TestHub, wait_until};

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
fn what_a_heartbeat_leaves_out_stays_as_it_was() {
    let hub = TestHub::start();
    let room = hub.room();
    let _ann = RawParticipant::join(&hub, &room, "ann");
    let people = hub.client.participants(&room);
    let down = HeartbeatBody { provider_down: Some(true), ..HeartbeatBody::default() };
    assert_eq!(people.heartbeat_with("ann", &down).unwrap().status, Status::Offline);
    assert_eq!(people.heartbeat("ann").unwrap().status, Status::Offline);
    let path = format!("/v1/rooms/{room}/participants/ann/heartbeat");
    hub.post(&path, &json!({ "providerDown": "no" })).expect(400);
    hub.post(&path, &json!({ "providerDown": null })).expect(200);
    assert_eq!(people.heartbeat("ann").unwrap().status, Status::Offline);
    hub.post(&path, &json!({ "providerDown": false })).expect(200);
    wait_until("the participant to be online", || hub.participant(&room, "ann")["status"] == "online");
    people.heartbeat_with("ann", &down).unwrap();
    people.upsert("ann", &support::registration()).unwrap();
    assert_eq!(
        hub.participant(&room, "ann")["providerDown"],
        serde_json::Value::Null,
        "a registration says that it is up"
    );
}
