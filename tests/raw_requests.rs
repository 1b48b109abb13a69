//! Raw requests, well formed and not: which are served, which are refused, and what becomes of the connection.

mod support;
#[path = "raw_requests/table.rs"]
mod table;

use std::net::{Shutdown, SocketAddr};
use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

use gambi::Error;
use gambi::participant::Session;
use serde_json::json;
use support::{Conn, FakeHub, FakeProvider, Part, Response, Script, TestHub};
use table::{After, GROUPS};

const LAST: &str = "GET /v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// One request, or several at once.
struct Case {
    name: String,
    raw: Vec<u8>,
    statuses: &'static [u16],
    after: After,
}

impl Case {
    fn new(name: &str, raw: impl Into<Vec<u8>>, statuses: &'static [u16], after: After) -> Self {
        Case { name: name.to_owned(), raw: raw.into(), statuses, after }
    }

    /// Sends it on a connection of its own.
    ///
    /// # Panics
    /// When what comes back is something else.
    fn check(&self, addr: SocketAddr) {
        let mut conn = Conn::open(addr);
        conn.stream().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        conn.send(&self.raw);
        if self.after == After::Ended {
            conn.stream().shutdown(Shutdown::Write).unwrap();
        }
        for (number, status) in self.statuses.iter().enumerate() {
            let bodyless = matches!(status, 100 | 204) || number == 0 && self.raw.starts_with(b"HEAD ");
            let answer: Response = if bodyless { conn.head() } else { conn.answer() };
            assert_eq!(answer.status, *status, "{}: answer {number}: {}", self.name, answer.text());
            assert!(bodyless || answer.whole, "{}: answer {number} is cut short", self.name);
        }
        if self.after == After::Open {
            // Closed behind this one, so that an answer too many would show.
            assert_eq!(conn.send(LAST).answer().status, 200, "{}: the request behind it", self.name);
        }
        let rest = conn.rest();
        assert!(rest.is_empty(), "{}: {}", self.name, String::from_utf8_lossy(&rest));
    }
}

/// The table's rows, written out.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for group in GROUPS {
        let at = group.template.iter().position(|byte| *byte == b'@').expect("a place for the row");
        for (name, bytes, statuses, after) in group.rows {
            let mut raw = Vec::new();
            for byte in [&group.template[..at], bytes, &group.template[at + 1..]].concat() {
                match byte {
                    b'~' => raw.extend_from_slice(b"\r\n"),
                    _ => raw.push(byte),
                }
            }
            cases.push(Case::new(&format!("{name} ({})", group.rfc), raw, statuses, *after));
        }
    }
    cases
}

/// Requests at the limits of their size (RFC 9110, 15.5.15; RFC 6585, 5; RFC 9112, 7.1).
fn long_cases() -> Vec<Case> {
    use After::{Closed, Open};
    let head = |lines: &str| format!("GET /v1/health HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let target = |length: usize| format!("GET /v1/health?{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(length));
    let chunked =
        |body: &str| format!("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        Case::new("a hundred header lines", head(&"X: y\r\n".repeat(99)), &[200], Open),
        Case::new("a hundred and one header lines", head(&"X: y\r\n".repeat(100)), &[431], Closed),
        Case::new("a value of 31 KiB", head(&format!("X: {}\r\n", "y".repeat(31 << 10))), &[200], Open),
        Case::new("a value of 33 KiB", head(&format!("X: {}\r\n", "y".repeat(33 << 10))), &[431], Closed),
        Case::new("a name of 33 KiB", head(&format!("{}: y\r\n", "x".repeat(33 << 10))), &[431], Closed),
        Case::new("a target of 31 KiB", target(31 << 10), &[200], Open),
        Case::new("a target of 33 KiB", target(33 << 10), &[431], Closed),
        Case::new("a head without an end", "x".repeat(33 << 10), &[431], Closed),
        Case::new("a method of 1 KiB", format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "X".repeat(1024)), &[405], Open),
        Case::new("a host of 1 KiB", format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "h".repeat(1024)), &[400], Closed),
        Case::new("an extension of 5 KiB", chunked(&format!("0;{}\r\n\r\n", "x".repeat(5 << 10))), &[400], Closed),
        Case::new("a trailer of 5 KiB", chunked(&format!("0\r\nX: {}\r\n\r\n", "x".repeat(5 << 10))), &[400], Closed),
        Case::new("trailers of 20 KiB", chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(5 << 10))), &[400], Closed),
        Case::new("chunks of a byte", chunked(&("1\r\n \r\n".repeat(1000) + "2\r\n{}\r\n0\r\n\r\n")), &[400], Open),
    ]
}

#[test]
fn every_raw_request_is_answered_as_its_rule_says_and_the_connection_is_kept_or_closed() {
    let hub = TestHub::start();
    let cases: Vec<Case> = cases().into_iter().chain(long_cases()).collect();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let addr = hub.addr();
    // Each failure is printed by its own panic.
    let fails = |case: &&Case| catch_unwind(|| case.check(addr)).is_err();
    let failed: Vec<&str> = cases.iter().filter(fails).map(|case| case.name.as_str()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), cases.len());
}

#[test]
fn a_client_that_expects_it_is_told_to_continue_and_then_served() {
    let hub = TestHub::start();
    let mut conn = Conn::open(hub.addr());
    conn.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(conn.head().status, 100);
    assert_eq!(conn.send("{\"name\":\"A\"}").answer().status, 201);
    assert_eq!(conn.send(LAST).answer().status, 200);
}

#[test]
fn an_answer_without_content_has_no_chunks_and_the_connection_serves_the_next_request() {
    let (hub, provider) = (TestHub::start(), FakeProvider::start(Script::Echo));
    let room = hub.room();
    let _session = hub.join(&room, "ann", &provider);
    let body = json!({ "model": "ann", "stream": true, "messages": [{ "role": "user", "content": "Hi" }] }).to_string();
    for (status, length) in [(204, None), (205, Some("0")), (304, None)] {
        let head = format!("HTTP/1.1 {status} Empty\r\nContent-Type: text/event-stream\r\n");
        let lines = if status == 205 { "Content-Length: 0\r\n\r\n" } else { "\r\n" };
        provider.set(Script::Raw((head + lines).into_bytes()));
        let mut conn = Conn::open(hub.addr());
        conn.ask("POST", &format!("/rooms/{room}/v1/chat/completions"), &[], Some(&body));
        let answer = conn.head();
        assert_eq!((answer.status, answer.header("transfer-encoding")), (status, None));
        assert_eq!(answer.header("content-length"), length, "{status}");
        // What the next answer is looked for behind is the head alone.
        assert_eq!(conn.send(LAST).answer().status, 200, "{status}");
        assert!(conn.rest().is_empty(), "{status}");
    }
}

#[test]
fn a_handshake_that_cannot_become_a_tunnel_does_not_spend_the_token() {
    let hub = TestHub::start();
    let room = hub.room();
    let (registered, _) = hub.client.participants(&room).upsert("ann", &support::registration()).unwrap();
    let path = format!("/v1/rooms/{room}/participants/ann/tunnel?token={}", registered.tunnel.token);
    let open = |version: &str, keys: &[&str]| {
        let mut raw = format!(
            "GET {path} {version}\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        );
        for key in keys {
            raw += &format!("Sec-WebSocket-Key: {key}\r\n");
        }
        Conn::open(hub.addr()).send(raw + "\r\n").head().status
    };
    let good = "MDEyMzQ1Njc4OWFiY2RlZg==";
    assert_eq!(open("HTTP/1.0", &[good]), 426);
    // Of 15 and of 17 bytes, without padding, with the other alphabet, with white space within, and no base64 at all.
    for bad in [
        "MDEyMzQ1Njc4OWFiY2Rl",
        "MDEyMzQ1Njc4OWFiY2RlZmc=",
        "MDEyMzQ1Njc4OWFiY2RlZg",
        "-_-_-_-_-_-_-_-_-_-_-w==",
        "MDEyMzQ1Njc4 OWFiY2RlZg==",
        "not base64 at all !!!!!!",
        "",
    ] {
        assert_eq!(open("HTTP/1.1", &[bad]), 400, "{bad:?}");
    }
    assert_eq!(open("HTTP/1.1", &[]), 400);
    assert_eq!(open("HTTP/1.1", &[good, good]), 400);
    assert_eq!(open("HTTP/1.1", &[good]), 101, "the token was not spent");
    assert_eq!(open("HTTP/1.1", &[good]), 401, "now it is");
}

#[test]
fn a_hub_that_picks_an_extension_or_a_protocol_unasked_gets_no_participant() {
    for header in ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"] {
        let (hub, provider) = (FakeHub::start(Part::Picks(header)), FakeProvider::start(Script::Echo));
        let session = Session::builder(hub.url(), "ABC234").participant_id("p").model("m").endpoint(provider.url());
        let Err(error) = session.start() else { panic!("{header}: the tunnel was opened") };
        assert!(matches!(error, Error::Tunnel { .. }), "{header}: {error}");
        let name = header.split(':').next().unwrap().to_lowercase();
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn the_hub_serves_on_while_bad_requests_come() {
    let hub = TestHub::start();
    let addr = hub.addr();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..25 {
                    assert_eq!(Conn::open(addr).send("nonsense\r\n\r\n").answer().status, 400);
                }
            })
        })
        .collect();
    for _ in 0..25 {
        assert_eq!(hub.get("/v1/health").status, 200);
    }
    for sender in senders {
        sender.join().unwrap();
    }
}
