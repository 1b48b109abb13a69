//! The hub's end of a tunnel: who may open one, what keeps it, and how it ends.

mod support;

use std::time::Duration;

use serde_json::json;
use tungstenite::{Error, Message};

use support::{RawParticipant, TestHub, registration, wait_until};

fn url(hub: &TestHub, room: &str, id: &str) -> String {
    let (registered, _) = hub.client.participants(room).upsert(id, &registration()).unwrap();
    format!("{}?token={}", registered.tunnel.url, registered.tunnel.token)
}

fn refused(hub: &TestHub, url: &str) -> u16 {
    match RawParticipant::open(hub, url).map_err(|e| *e) {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a tunnel was opened"),
    }
}

#[test]
fn a_token_opens_one_tunnel() {
    let hub = TestHub::start();
    let room = hub.room();
    let good = url(&hub, &room, "ann");
    let bare = good.split('?').next().unwrap();
    assert_eq!(refused(&hub, bare), 400);
    assert_eq!(refused(&hub, &format!("{bare}?token=wrong")), 401);
    assert_eq!(refused(&hub, &good.replace("/ann/", "/bob/")), 401);
    // A request that asks for no upgrade does not spend it.
    let plain = good.replace(&format!("ws://{}", hub.addr()), "");
    let refusal = hub.get(&plain).expect(426);
    assert_eq!((refusal.header("upgrade"), refusal.header("sec-websocket-version")), (Some("websocket"), Some("13")));
    let _tunnel = RawParticipant::open(&hub, &good).unwrap();
    hub.wait_for_status(&room, "ann", "online");
    assert_eq!(refused(&hub, &good), 401);
}

#[test]
fn a_token_dies_after_a_minute_and_with_the_next_registration() {
    let hub = TestHub::start();
    let room = hub.room();
    let old = url(&hub, &room, "ann");
    hub.clock.advance(Duration::from_secs(61));
    assert_eq!(refused(&hub, &old), 401);
    let fresh = url(&hub, &room, "ann");
    hub.clock.advance(Duration::from_secs(50));
    RawParticipant::open(&hub, &fresh).unwrap();
}

#[test]
fn a_tunnel_makes_its_participant_online_and_its_end_offline() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    assert_eq!(events.next("participant.joined")["status"], "offline");
    assert_eq!(events.next("participant.updated")["status"], "online");
    let seen = hub.participant(&room, "ann")["connection"].clone();
    assert_eq!((&seen["kind"], &seen["connected"]), (&json!("tunnel"), &json!(true)));
    assert!(seen["lastTunnelSeenAt"].is_u64());
    ann.socket.close(None).unwrap();
    assert_eq!(events.next("participant.offline"), json!({ "participantId": "ann" }));
    let gone = hub.participant(&room, "ann");
    assert_eq!(gone["connection"], json!({ "kind": "tunnel", "connected": false, "lastTunnelSeenAt": null }));
    // A heartbeat without a tunnel does not make it reachable.
    let beat = hub.post(&format!("/v1/rooms/{room}/participants/ann/heartbeat"), &json!({})).expect(200).json();
    assert_eq!(beat["data"]["status"], "offline");
}

#[test]
fn a_newer_tunnel_supersedes_the_older() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut first = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let stream = hub.stream(&room, "ann");
    let request = first.receive();
    assert_eq!(request["type"], "tunnel.request");
    let mut second = RawParticipant::join(&hub, &room, "ann");
    assert_eq!(first.closed(), 1000);
    let mut stream = stream;
    assert_eq!(stream.answer().status, 502);
    drop(first);
    // The old tunnel's late end must not take the new one's participant down.
    second.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(second.receive()["type"], "tunnel.pong");
    assert_eq!(hub.participant(&room, "ann")["status"], "online");
}

#[test]
fn removing_a_participant_closes_its_tunnel() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let mut chat = hub.stream(&room, "ann");
    ann.receive();
    hub.client.participants(&room).remove("ann").unwrap();
    assert_eq!(ann.closed(), 1000);
    assert_eq!(chat.answer().status, 502);
}

#[test]
fn silence_closes_a_tunnel_with_4001_and_makes_its_participant_offline() {
    let hub = TestHub::start();
    let room = hub.room();
    let events = hub.watch_room(&room);
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    events.next("participant.updated");
    for _ in 0..3 {
        hub.clock.advance(Duration::from_secs(20));
        ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
        assert_eq!(ann.receive()["type"], "tunnel.pong");
        hub.client.participants(&room).heartbeat("ann").unwrap();
    }
    hub.clock.advance(Duration::from_secs(31));
    assert_eq!(ann.closed(), 4001);
    assert_eq!(events.next("participant.offline"), json!({ "participantId": "ann" }));
}

#[test]
fn without_heartbeats_a_participant_is_offline_though_its_tunnel_lives() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    for _ in 0..2 {
        hub.clock.advance(Duration::from_secs(20));
        ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
        ann.receive();
    }
    hub.wait_for_status(&room, "ann", "offline");
    assert_eq!(hub.participant(&room, "ann")["connection"]["connected"], true);
    assert_eq!(hub.chat(&room, "any").status, 404);
    let beat = hub.client.participants(&room).heartbeat("ann").unwrap();
    assert_eq!(json!(beat.status), "online");
}

#[test]
fn what_a_participant_should_not_send_harms_nobody() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let mut bob = RawParticipant::join(&hub, &room, "bob");
    for text in [
        "no json",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"tunnel.unheard.of"}"#,
        r#"{"type":"tunnel.response.start"}"#,
        r#"{"type":"tunnel.response.chunk","requestId":"x","chunk":"AAAA"}"#,
        r#"{"type":"tunnel.response.chunk","requestId":"x","chunk":"***"}"#,
        r#"{"type":"tunnel.response.end","requestId":"x"}"#,
    ] {
        bob.socket.send(Message::text(text)).unwrap();
    }
    bob.socket.send(Message::binary(vec![255; 100])).unwrap();
    bob.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(bob.receive()["type"], "tunnel.pong");
    // What is no WebSocket at all ends that tunnel, and no other.
    let mut raw = bob.socket.get_ref();
    std::io::Write::write_all(&mut raw, &[0xff; 64]).unwrap();
    hub.wait_for_status(&room, "bob", "offline");
    ann.send(&json!({ "type": "tunnel.ping", "timestamp": 1 }));
    assert_eq!(ann.receive()["type"], "tunnel.pong");
}

#[test]
fn binary_frames_are_negotiated() {
    let hub = TestHub::start();
    let room = hub.room();
    let plain = RawParticipant::join(&hub, &room, "ann");
    assert!(!plain.headers.iter().any(|(name, _)| name == "gambi-frames"));
    let url = url(&hub, &room, "bob") + "&frames=binary";
    let mut bob = RawParticipant::open(&hub, &url).unwrap();
    assert!(bob.headers.contains(&("gambi-frames".into(), "binary".into())));
    hub.wait_for_status(&room, "bob", "online");
    let mut chat = hub.stream(&room, "bob");
    let request = bob.receive();
    bob.begin(&request, "application/json", &[]);
    let id = request["requestId"].as_str().unwrap().as_bytes();
    let mut frame = vec![u8::try_from(id.len()).unwrap()];
    frame.extend_from_slice(id);
    frame.extend_from_slice(b"{\"x\":1}");
    bob.socket.send(Message::binary(frame)).unwrap();
    bob.end(&request);
    assert_eq!(chat.answer().text(), "{\"x\":1}");
}

#[test]
fn a_hub_that_goes_down_closes_with_1001() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let watcher = hub.watch_room(&room);
    let going = std::thread::spawn(move || hub.hub.shutdown());
    assert_eq!(ann.closed(), 1001);
    watcher.wait_for_end();
    going.join().unwrap();
}

#[test]
fn a_killed_participant_is_noticed() {
    let hub = TestHub::start();
    let room = hub.room();
    let before = hub.hub.connections();
    let ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    drop(ann);
    hub.wait_for_status(&room, "ann", "offline");
    wait_until("its connection to be gone", || hub.hub.connections() == before);
}
