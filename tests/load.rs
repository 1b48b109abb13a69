//! Many at once: nothing is lost, and running out of descriptors is survived.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use support::{Conn, FakeProvider, Killed, Script, TestHub, metric, request, wait_until};

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

/// A hub in a process of its own that may open so many descriptors, and its address.
fn hub_with_descriptors(limit: usize) -> (Killed, SocketAddr) {
    let gambi = env!("CARGO_BIN_EXE_gambi");
    let script = format!("ulimit -n {limit} && exec {gambi} hub serve --host 127.0.0.1 --port 0 --format ndjson");
    let mut child = Command::new("sh");
    child.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut hub = Killed(child.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(hub.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    let port = u16::try_from(started["data"]["port"].as_u64().unwrap()).unwrap();
    (hub, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let (_hub, addr) = hub_with_descriptors(48);
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The hub has taken as many as it can; the others wait in the system's queue, which is longer than that.
    assert!(crowd.len() > 48);
    drop(crowd);
    wait_until("the hub to serve again", || request(addr, "GET", "/v1/health", None).status == 200);
}

#[cfg(target_os = "linux")]
mod descriptors {
    use std::fs;
    use std::io::Read;
    use std::process::Child;

    use super::*;
    use support::{Conn, skip};

    fn open_descriptors(process: u32) -> usize {
        fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
    }

    /// Python as a client with a source address of its own.
    fn client_from(address: &str, addr: SocketAddr, script: &str) -> Option<Killed> {
        let script = format!(
            "import socket, sys\nfrom_there = lambda: socket.create_connection(('127.0.0.1', {}), 60, ('{address}', 0))\n{script}",
            addr.port()
        );
        let mut python = Command::new("python3");
        python.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        python.spawn().ok().map(Killed)
    }

    fn line_of(child: &mut Child) -> String {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn idle_sockets_of_two_addresses_do_not_shut_out_a_third() {
        let (mut hub, addr) = hub_with_descriptors(64);
        let idle = "crowd = [from_there() for _ in range(80)]\nprint('there', flush=True)\nsys.stdin.read()";
        let Some(mut other) = client_from("127.0.0.2", addr, idle) else { return skip("no python3") };
        let _mine: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(addr).unwrap()).collect();
        assert_eq!(line_of(&mut other.0), "there\n");
        let ask = "one = from_there()\none.sendall(b'GET /v1/health HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')\nprint(one.recv(12).decode(), flush=True)";
        let mut third = client_from("127.0.0.3", addr, ask).unwrap();
        assert_eq!(line_of(&mut third.0), "HTTP/1.1 200\n");
        // 32 of the 64 are for connections, so that there are always some left for other things.
        let open = open_descriptors(hub.0.id());
        assert!(open < 60, "{open} descriptors are open");
        hub.signal("-TERM");
        let mut warning = String::new();
        hub.0.stderr.take().unwrap().read_to_string(&mut warning).unwrap();
        assert!(warning.starts_with("Warning: --max-connections is 32 instead of 1024"), "{warning}");
        assert!(warning.lines().next().unwrap().contains("ulimit -n"), "{warning}");
    }

    #[test]
    fn the_idlest_connection_is_closed_when_no_descriptor_is_left_to_accept_with() {
        let (hub, addr) = hub_with_descriptors(256);
        let mut idle: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let mut active = Conn::open(addr);
        active.ask("GET", "/v1/health", &[], None).answer().expect(200);
        wait_until("all to be accepted", || metric(addr, "gambi_connections") >= 12);
        // Descriptors have the lowest numbers that are free, apart from those that the hub may have inherited.
        let (process, limit) = (hub.0.id().to_string(), format!("--nofile={}:256", open_descriptors(hub.0.id())));
        match Command::new("prlimit").args(["--pid", &process, &limit]).status() {
            Ok(status) => assert!(status.success()),
            Err(error) => return skip(&format!("no prlimit: {error}")),
        }
        // Far more newcomers than numbers that are free below the limit.
        let newcomers: Vec<Conn> = (0..10)
            .map(|_| {
                let mut conn = Conn::open(addr);
                conn.ask("GET", "/v1/health", &[], None).answer().expect(200);
                conn
            })
            .collect();
        assert_eq!(newcomers.len(), 10);
        idle[0].set_read_timeout(Some(support::PATIENCE)).unwrap();
        assert_eq!(idle[0].read(&mut [0]).unwrap(), 0, "the one that has waited longest is closed");
        active.ask("GET", "/v1/health", &[], None).answer().expect(200);
    }
}
