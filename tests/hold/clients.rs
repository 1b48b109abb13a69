//! Hostile clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gambi::proto::management::Registration;

use super::lab::{Lab, ROOM, in_threads, is_full, scale};
use super::support::{Conn, PATIENCE, skip, wait_until};

/// More than one attack leaves behind in the allocator's pockets, KiB; less than a leak of anything would.
const POCKETS: usize = 24 << 10;

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the hub says until it closes.
fn all(mut stream: &TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn idle_connections_cost_little_and_keep_nobody_out() {
    let number = scale(5000, 400);
    let lab = Lab::open("", &format!("--max-connections {}", number + number / 10));
    lab.withstand(&format!("{number} idle connections"), POCKETS, |lab| {
        let crowd: Vec<TcpStream> = (0..number).map(|_| connect(lab.addr)).collect();
        wait_until("all to be let in", || lab.vitals().threads > number);
        for _ in 0..20 {
            assert_eq!(lab.chat(), 200);
        }
        drop(crowd);
    });
}

#[test]
fn more_connections_than_there_are_places_keep_nobody_out() {
    let number = scale(5000, 400);
    let lab = Lab::open("", &format!("--max-connections {}", number / 8));
    lab.withstand(&format!("{number} idle connections for {} places", number / 8), POCKETS, |lab| {
        // From another address, as an attacker's would be.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hold/crowd.py");
        let args = [script, &lab.addr.port().to_string(), &number.to_string()];
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

#[test]
fn short_connections_leave_nothing_behind() {
    let lab = Lab::open("", "");
    let number = scale(100_000, 2_000);
    lab.withstand(&format!("{number} short connections"), POCKETS, |lab| {
        in_threads(8, number, || {
            let mut stream = connect(lab.addr);
            // Half of them ask, and half of those wait for the answer.
            let say = stream.local_addr().map_or(0, |addr| addr.port() % 4);
            if say < 2 {
                let _ = stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n");
            }
            if say == 0 {
                let _ = stream.read(&mut [0; 512]);
            }
        });
    });
}

#[test]
fn heads_without_end_and_bodies_that_lie_are_cut_off() {
    let lab = Lab::open("", "--head-timeout 2s --body-timeout 2s");
    let number = scale(64, 16);
    lab.withstand("heads without end, bodies that lie", POCKETS, |lab| {
        in_threads(16, number, || {
            let mut stream = connect(lab.addr);
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n");
            for n in 0..100_000 {
                if stream.write_all(format!("X-Header-{n}: {}\r\n", "x".repeat(200)).as_bytes()).is_err() {
                    break;
                }
            }
        });
        in_threads(16, number, || {
            let mut stream = connect(lab.addr);
            let _ = stream.write_all(&[b'G'; 1 << 20]);
            all(&stream);
        });
        in_threads(16, number, || {
            let mut short = connect(lab.addr);
            let _ = short.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{\"name\"");
            let _ = short.shutdown(Shutdown::Write);
            all(&short);
        });
        in_threads(16, number, || {
            let mut slow = connect(lab.addr);
            let _ = slow.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{\"name\"");
            assert!(all(&slow).starts_with("HTTP/1.1 408 "));
        });
        in_threads(16, number, || {
            let mut huge = connect(lab.addr);
            let _ = huge.write_all(b"POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n");
            assert!(all(&huge).starts_with("HTTP/1.1 413 "));
        });
    });
}

/// Requests that two servers in a row may read differently (RFC 9112, sections 5.1, 5.2, 6.3, 11.2): each is refused, and
/// what stands behind it is never taken for a request.
#[test]
fn nothing_is_smuggled() {
    let lab = Lab::open("", "");
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
        let mut stream = connect(lab.addr);
        let _ = stream.write_all(request.as_bytes());
        let said = all(&stream);
        assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 501"), "{head:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{head:?}: {said}");
    }
    for body in
        ["5\nhello\r\n0\r\n\r\n", "5;\r\nhel\r\n0\r\n\r\n", "-5\r\nhello", "5 \r\nhello\r\nx", "ffffffffffffffffff\r\n"]
    {
        let head = format!("POST {chat} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut stream = connect(lab.addr);
        let _ = stream.write_all(format!("{head}{body}{inner}").as_bytes());
        let said = all(&stream);
        assert!(said.starts_with("HTTP/1.1 400 "), "{body:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{body:?}: {said}");
    }
    assert_eq!(lab.chat(), 200);
}

#[test]
fn watchers_that_never_read_are_dropped_and_the_others_hear_all() {
    let lab = Lab::open("", "--max-connections 1200 --write-timeout 5s");
    let number = scale(1000, 20);
    // The queue of a watcher that is behind holds 256 events, which all that are behind share.
    let pockets = POCKETS + (256 * 66);
    lab.withstand(&format!("{number} watchers, half of which never read"), pockets, |lab| {
        let watch = || {
            let mut conn = Conn::open(lab.addr);
            conn.ask("GET", &format!("/v1/rooms/{ROOM}/events"), &[], None);
            // The head is sent after the subscription: from here on, no event is missed.
            assert_eq!(conn.head().status, 200);
            conn
        };
        let silent: Vec<Conn> = (0..number / 2).map(|_| watch()).collect();
        let readers: Vec<Conn> = (0..number / 2).map(|_| watch()).collect();
        let heard = AtomicUsize::new(0);
        thread::scope(|scope| {
            let reading: Vec<_> =
                readers.into_iter().map(|reader| scope.spawn(|| count_events(reader, &heard))).collect();
            // Events of 64 KiB each, more of them than any buffer on the way to a watcher holds; only as fast as those
            // who read do so.
            let large = Registration { aliases: vec!["x".repeat(1000); 64], ..registration() };
            for n in 0..EVENTS {
                lab.client.participants(ROOM).upsert("large", &large).unwrap();
                let wanted = reading.len() * n.saturating_sub(20);
                wait_until("the readers to keep up", || heard.load(Ordering::Relaxed) >= wanted);
            }
            lab.client.participants(ROOM).remove("large").unwrap();
            for reader in reading {
                assert_eq!(reader.join().unwrap(), EVENTS);
            }
        });
        wait_until("those that never read to be dropped", || lab.vitals().threads < number / 2);
        drop(silent);
    });
}

/// Large events, of 64 KiB each.
const EVENTS: usize = 200;

fn registration() -> Registration {
    Registration {
        nickname: "n".into(),
        model: "m".into(),
        endpoint: "http://localhost:1".into(),
        ..Default::default()
    }
}

/// Reads until the large participant has left; how often it was heard of before.
fn count_events(mut reader: Conn, all: &AtomicUsize) -> usize {
    let (mut seen, mut heard) = (Vec::new(), 0);
    loop {
        seen.extend(reader.chunk().expect("a stream that goes on"));
        while let Some(end) = memchr::memmem::find(&seen, b"\n\n") {
            let event: Vec<u8> = seen.drain(..end + 2).collect();
            if event.len() > 60_000 {
                heard += 1;
                all.fetch_add(1, Ordering::Relaxed);
            }
            if event.starts_with(b"event: participant.left") {
                return heard;
            }
        }
    }
}

#[test]
fn running_out_of_descriptors_is_over_when_they_return() {
    // The limit on connections leaves descriptors over, so the hub runs out only if its limit is lowered afterwards. It
    // needs about thirty for itself and those who talk.
    let lab = Lab::open("ulimit -n 256;", "");
    let lowered = Command::new("prlimit").args(["--pid", &lab.hub.id().to_string(), "--nofile=64:256"]).status();
    match lowered {
        Ok(status) => assert!(status.success()),
        Err(error) => return skip(&format!("no prlimit: {error}")),
    }
    for _ in 0..scale(20, 2) {
        // Those that the hub can't take wait in the system's queue, which has 128 places.
        let crowd: Vec<TcpStream> = (0..150).map(|_| connect(lab.addr)).collect();
        wait_until("the hub to have none left", || lab.vitals().descriptors >= 60);
        drop(crowd);
        let since = std::time::Instant::now();
        assert_eq!(lab.chat(), 200);
        println!("descriptors exhausted: served again {:?} after they returned", since.elapsed());
        // A bound of the project's own; elsewhere a test must not depend on the machine's speed.
        assert!(!is_full() || since.elapsed() < Duration::from_secs(1));
    }
}
