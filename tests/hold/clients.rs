//! Hostile clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gambi::proto::management::Registration;

use super::lab::{Lab, ROOM, in_threads, is_full, scale};
use super::support::{Conn, PATIENCE, Wire, skip, wait_until};

/// More than one attack leaves behind in the allocator's pockets, KiB; less than a leak of anything would.
const POCKETS: usize = 24 << 10;

/// The same after that many connections. The allocator keeps part of what sessions of TLS took, for the next ones.
fn pockets(tls: bool, connections: usize) -> usize {
    POCKETS + if tls { connections * 20 } else { 0 }
}

/// Each attack is a test of a hub that serves plain HTTP, and of one that serves TLS.
macro_rules! plain_and_over_tls {
    ($($attack:ident),* $(,)?) => {
        mod plain {
            $(#[test] fn $attack() { super::$attack(false); })*
        }
        mod over_tls {
            $(#[test] fn $attack() { super::$attack(true); })*
        }
    };
}

plain_and_over_tls!(
    idle_connections_cost_little_and_keep_nobody_out,
    more_connections_than_there_are_places_keep_nobody_out,
    short_connections_leave_nothing_behind,
    heads_without_end_and_bodies_that_lie_are_cut_off,
    nothing_is_smuggled,
    watchers_that_never_read_are_dropped_and_the_others_hear_all,
    running_out_of_descriptors_is_over_when_they_return,
);

/// What the hub says until it closes.
fn all(stream: &mut Wire) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

fn idle_connections_cost_little_and_keep_nobody_out(tls: bool) {
    let number = scale(5000, 400);
    let lab = Lab::open_with(tls, "", &format!("--max-connections {}", number + number / 10));
    lab.withstand(&format!("{number} idle connections"), pockets(tls, number), |lab| {
        let crowd: Vec<Wire> = (0..number).map(|_| lab.connect()).collect();
        wait_until("all to be let in", || lab.vitals().threads > number);
        for _ in 0..20 {
            assert_eq!(lab.chat(), 200);
        }
        drop(crowd);
    });
}

fn more_connections_than_there_are_places_keep_nobody_out(tls: bool) {
    let number = scale(5000, 400);
    let lab = Lab::open_with(tls, "", &format!("--max-connections {}", number / 8));
    lab.withstand(&format!("{number} idle connections for {} places", number / 8), POCKETS, |lab| {
        // From another address, as an attacker's would be.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hold/crowd.py");
        let args = [script, &lab.addr.port().to_string(), &number.to_string(), if tls { "tls" } else { "plain" }];
        let mut crowd =
            Command::new("python3").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut said = String::new();
        BufReader::new(crowd.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "all there");
        for _ in 0..20 {
            assert_eq!(lab.chat(), 200);
        }
        drop(crowd.stdin.take());
        assert!(crowd.wait().unwrap().success());
    });
}

fn short_connections_leave_nothing_behind(tls: bool) {
    let lab = Lab::open_with(tls, "", "");
    // A handshake takes much longer than a connection.
    let number = if tls { scale(10_000, 200) } else { scale(100_000, 2_000) };
    lab.withstand(&format!("{number} short connections"), POCKETS, |lab| {
        in_threads(8, number, || {
            let mut stream = lab.connect();
            // Half of them ask, and half of those wait for the answer.
            let say = stream.socket().local_addr().map_or(0, |addr| addr.port() % 4);
            if say < 2 {
                let _ = stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n");
            }
            if say == 0 {
                let _ = stream.read(&mut [0; 512]);
            }
        });
    });
}

fn heads_without_end_and_bodies_that_lie_are_cut_off(tls: bool) {
    let lab = Lab::open_with(tls, "", "--head-timeout 2s --body-timeout 2s");
    let number = scale(64, 16);
    lab.withstand("heads without end, bodies that lie", POCKETS, |lab| {
        in_threads(16, number, || {
            let mut stream = lab.connect();
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n");
            for n in 0..100_000 {
                if stream.write_all(format!("X-Header-{n}: {}\r\n", "x".repeat(200)).as_bytes()).is_err() {
                    break;
                }
            }
        });
        in_threads(16, number, || {
            let mut stream = lab.connect();
            let _ = stream.write_all(&[b'G'; 1 << 20]);
            all(&mut stream);
        });
        in_threads(16, number, || {
            let mut short = lab.connect();
            let _ = short.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{\"name\"");
            short.finish();
            all(&mut short);
        });
        in_threads(16, number, || {
            let mut slow = lab.connect();
            let _ = slow.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{\"name\"");
            assert!(all(&mut slow).starts_with("HTTP/1.1 408 "));
        });
        in_threads(16, number, || {
            let mut huge = lab.connect();
            let _ = huge.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n");
            assert!(all(&mut huge).starts_with("HTTP/1.1 413 "));
        });
    });
}

/// Whoever begins a TLS handshake and does not go on has as long as for a request's head.
#[test]
fn handshakes_that_stall_are_cut_off() {
    let lab = Lab::open_with(true, "", "--head-timeout 2s");
    let number = scale(500, 32);
    lab.withstand(&format!("{number} stalled handshakes"), POCKETS, |lab| {
        in_threads(32, number, || {
            let mut stalled = TcpStream::connect(lab.addr).expect("a connection");
            stalled.set_read_timeout(Some(PATIENCE)).unwrap();
            // A record of 16 KiB, which never becomes whole, byte by byte.
            let mut sent = stalled.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]);
            while sent.is_ok() && stalled.peek(&mut [0]).is_err() {
                stalled.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                sent = stalled.write_all(&[3]);
            }
        });
        // Ended by the client, in the middle and at once.
        in_threads(8, number, || {
            let mut left = TcpStream::connect(lab.addr).expect("a connection");
            let _ = left.write_all(&[22, 3, 1, 0x40]);
        });
    });
}

/// Requests that two servers in a row may read differently (RFC 9112, sections 5.1, 5.2, 6.3, 11.2): each is refused, and
/// what stands behind it is never taken for a request.
fn nothing_is_smuggled(tls: bool) {
    let lab = Lab::open_with(tls, "", "");
    let chat = format!("/rooms/{ROOM}/v1/chat/completions");
    let inner = "GET /v1/rooms HTTP/1.1\r\nHost: h\r\n\r\n";
    let lengths = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length : 5",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "X: y\r\n Content-Length: 5",
        "X: y\r\n\tfolded",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "X\0: y",
        "Host: other",
        "Bad Header: x",
        ": empty",
    ];
    for head in lengths {
        let request = format!("POST {chat} HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n0\r\n\r\n{inner}");
        let mut stream = lab.connect();
        let _ = stream.write_all(request.as_bytes());
        let said = all(&mut stream);
        assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 501"), "{head:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{head:?}: {said}");
    }
    for body in
        ["5\nhello\r\n0\r\n\r\n", "5;\r\nhel\r\n0\r\n\r\n", "-5\r\nhello", "5 \r\nhello\r\nx", "ffffffffffffffffff\r\n"]
    {
        let head = format!("POST {chat} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut stream = lab.connect();
        let _ = stream.write_all(format!("{head}{body}{inner}").as_bytes());
        let said = all(&mut stream);
        assert!(said.starts_with("HTTP/1.1 400 "), "{body:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{body:?}: {said}");
    }
    assert_eq!(lab.chat(), 200);
}

fn watchers_that_never_read_are_dropped_and_the_others_hear_all(tls: bool) {
    let lab = Lab::open_with(tls, "", "--max-connections 1200 --write-timeout 5s");
    let number = scale(1000, 20);
    // Who is behind holds the batch that it writes, beside the ring, which all share; over TLS the records of it, too, of which
    // the allocator keeps a part for the next ones.
    let pockets = pockets(tls, number) + (256 * 66) + if tls { number / 2 * 66 } else { 0 };
    lab.withstand(&format!("{number} watchers, half of which never read"), pockets, |lab| {
        let watch = || {
            let mut conn = lab.conn();
            conn.ask("GET", &format!("/v1/rooms/{ROOM}/events"), &[], None);
            // The head is sent after the subscription: from here on, no event is missed.
            assert_eq!(conn.head().status, 200);
            conn
        };
        let threads_before = lab.vitals().threads;
        let silent: Vec<Conn> = (0..number / 2).map(|_| watch()).collect();
        let readers: Vec<Conn> = (0..number / 2).map(|_| watch()).collect();
        let heard: Vec<AtomicUsize> = readers.iter().map(|_| AtomicUsize::new(0)).collect();
        thread::scope(|scope| {
            let read = |(reader, heard)| scope.spawn(move || count_events(reader, heard));
            let reading: Vec<_> = readers.into_iter().zip(&heard).map(read).collect();
            // Events of 64 KiB each, more of them than any buffer on the way to a watcher holds; only as fast as each of those
            // who read does so.
            let large = Registration { aliases: vec!["x".repeat(1000); 64], ..registration() };
            for n in 0..EVENTS {
                lab.client.participants(ROOM).upsert("large", &large).unwrap();
                let keep_up = || heard.iter().all(|heard| heard.load(Ordering::Relaxed) + MAX_LAG >= n);
                wait_until("the readers to keep up", keep_up);
            }
            lab.client.participants(ROOM).remove("large").unwrap();
            for reader in reading {
                assert_eq!(reader.join().unwrap(), EVENTS);
            }
        });
        let dropped = || lab.vitals().threads < threads_before + number / 2;
        wait_until("those that never read to be dropped", dropped);
        drop(silent);
    });
}

/// Large events, of 64 KiB each.
const EVENTS: usize = 200;
/// The next event is not sent before each reader has heard of all but so many. A stream's ring, of 1 MiB, has room for 15.
const MAX_LAG: usize = 8;

fn registration() -> Registration {
    Registration {
        nickname: "n".into(),
        model: "m".into(),
        endpoint: "http://localhost:1".into(),
        ..Default::default()
    }
}

/// Reads until the large participant has left, and counts how often it was heard of before.
fn count_events(mut reader: Conn, heard: &AtomicUsize) -> usize {
    let mut seen = Vec::new();
    loop {
        seen.extend(reader.chunk().expect("a stream that goes on"));
        while let Some(end) = memchr::memmem::find(&seen, b"\n\n") {
            let event: Vec<u8> = seen.drain(..end + 2).collect();
            if event.len() > 60_000 {
                heard.fetch_add(1, Ordering::Relaxed);
            }
            if event.starts_with(b"event: participant.left") {
                return heard.load(Ordering::Relaxed);
            }
        }
    }
}

fn running_out_of_descriptors_is_over_when_they_return(tls: bool) {
    // The limit on connections leaves descriptors over, so the hub runs out only if its limit is lowered afterwards. It
    // needs about thirty for itself and those who talk.
    let lab = Lab::open_with(tls, "ulimit -n 256;", "");
    let lowered = Command::new("prlimit").args(["--pid", &lab.hub.id().to_string(), "--nofile=64:256"]).status();
    match lowered {
        Ok(status) => assert!(status.success()),
        Err(error) => return skip(&format!("no prlimit: {error}")),
    }
    for _ in 0..scale(20, 2) {
        // Those that the hub can't take wait in the system's queue, which has 128 places.
        let crowd: Vec<_> = (0..150).map(|_| TcpStream::connect(lab.addr).expect("a connection")).collect();
        wait_until("the hub to have none left", || lab.vitals().descriptors >= 60);
        drop(crowd);
        let since = std::time::Instant::now();
        assert_eq!(lab.chat(), 200);
        println!("descriptors exhausted: served again {:?} after they returned", since.elapsed());
        // A bound of the project's own; elsewhere a test must not depend on the machine's speed.
        assert!(!is_full() || since.elapsed() < Duration::from_secs(1));
    }
}
