//! Many at once: nothing is lost, and running out of descriptors is survived.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use support::{Conn, FakeProvider, Script, TestHub, request, wait_until};

#[test]
fn two_thousand_requests_of_fifty_clients_are_all_answered() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    // The provider serves many at a time, a participant one: so each client has a participant.
    let sessions: Vec<_> = (0..50)
        .map(|n| {
            let builder = gambi::participant::Session::builder(hub.url(), &room);
            builder.participant_id(format!("p{n}")).model("m").endpoint(provider.url()).start().unwrap()
        })
        .collect();
    let addr = hub.addr();
    thread::scope(|scope| {
        for n in 0..50 {
            let room = &room;
            scope.spawn(move || {
                let mut conn = Conn::open(addr);
                for k in 0..40 {
                    let body = format!(r#"{{"model":"p{n}","messages":[],"k":{k}}}"#);
                    let answer =
                        conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body)).answer();
                    assert_eq!(answer.expect(200).json()["k"], k);
                }
            });
        }
    });
    assert_eq!(provider.seen().len(), 2000);
    drop(sessions);
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let gambi = env!("CARGO_BIN_EXE_gambi");
    let script = format!("ulimit -n 48 && exec {gambi} hub serve --host 127.0.0.1 --port 0 --format ndjson");
    let mut hub = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(hub.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    let port = u16::try_from(started["data"]["port"].as_u64().unwrap()).unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The hub has taken as many as it can; the others wait in the system's queue, which is longer than that.
    assert!(crowd.len() > 48);
    drop(crowd);
    wait_until("the hub to serve again", || request(addr, "GET", "/v1/health", None).status == 200);
    hub.kill().unwrap();
    hub.wait().unwrap();
}
