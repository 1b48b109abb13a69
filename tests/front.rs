//! The front: framing, limits and deadlines, seen from plain sockets.

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use support::{Conn, TestHub, wait_until};

const HEALTH: &str = "GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_connection_serves_many_requests_also_when_they_come_at_once() {
    let hub = TestHub::start();
    let mut conn = Conn::open(hub.addr());
    for _ in 0..100 {
        assert_eq!(conn.send(HEALTH).answer().status, 200);
    }
    conn.send(HEALTH.repeat(20));
    for _ in 0..20 {
        assert_eq!(conn.answer().json()["data"]["status"], "ok");
    }
}

#[test]
fn connection_close_and_http_1_0_are_honoured() {
    let hub = TestHub::start();
    let mut conn = Conn::open(hub.addr());
    let answer = conn.ask("GET", "/v1/health", &[("Connection", "close")], None).answer();
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(conn.rest().is_empty());

    let mut old = Conn::open(hub.addr());
    assert_eq!(old.send("GET /v1/health HTTP/1.0\r\n\r\n").answer().status, 200);
    assert!(old.rest().is_empty());

    let mut kept = Conn::open(hub.addr());
    for _ in 0..2 {
        let answer = kept.send("GET /v1/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer();
        assert!(answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("keep-alive")));
    }
}

#[test]
fn head_is_get_without_a_body() {
    let hub = TestHub::start();
    let mut conn = Conn::open(hub.addr());
    let get = conn.send(HEALTH).answer();
    let head = conn.ask("HEAD", "/v1/health", &[], None).head();
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    // Had a body been sent, it would stand where the next answer is looked for.
    assert_eq!(conn.send(HEALTH).answer().status, 200);
}

#[test]
fn a_refused_head_request_has_no_body() {
    let hub = TestHub::start();
    for request in ["HEAD * HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] {
        let mut stream = std::net::TcpStream::connect(hub.addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 ") && response.ends_with("\r\n\r\n"), "{response}");
        assert!(!response.contains("Content-Length: 0"), "{response}");
    }
}

#[test]
fn bodies_come_with_a_length_in_chunks_and_after_a_hundred_continue() {
    let hub = TestHub::start();
    let mut conn = Conn::open(hub.addr());
    let post = "POST /v1/rooms HTTP/1.1\r\nHost: h\r\n";
    assert_eq!(conn.send(format!("{post}Content-Length: 12\r\n\r\n{{\"name\":\"A\"}}")).answer().status, 201);
    let chunks = "5;ext=1\r\n{\"nam\r\n7\r\ne\":\"B\"}\r\n0\r\nTrailer: x\r\n\r\n";
    let answer = conn.send(format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}")).answer();
    assert_eq!(answer.expect(201).json()["data"]["room"]["name"], "B");

    conn.send(format!("{post}Content-Length: 12\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(conn.head().status, 100);
    assert_eq!(conn.send("{\"name\":\"C\"}").answer().expect(201).json()["data"]["room"]["name"], "C");
}

#[test]
fn what_is_no_http_is_answered_400_and_closed() {
    let hub = TestHub::start();
    for bad in [
        "nonsense\r\n\r\n",
        "GET /v1/health HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /v1/health HTTP/1.1\r\nName : x\r\n\r\n",
        "GET /v1/health HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\n{}",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}junk\r\n",
        "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let mut conn = Conn::open(hub.addr());
        let answer = conn.send(bad).answer();
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
        assert!(conn.rest().is_empty(), "{bad:?}");
    }
    assert_eq!(hub.get("/v1/health").status, 200);
}

#[test]
fn heads_have_a_length_and_a_number_of_lines() {
    let hub = TestHub::start();
    let long = format!("GET /v1/health HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(33 << 10));
    assert_eq!(Conn::open(hub.addr()).send(long).answer().status, 431);
    let many = format!("GET /v1/health HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(Conn::open(hub.addr()).send(many).answer().status, 431);
    let enough = format!("GET /v1/health HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(99));
    assert_eq!(Conn::open(hub.addr()).send(enough).answer().status, 200);

    let small = TestHub::limited(|limits| {
        limits.head_bytes = 64;
        limits.headers = 1;
    });
    assert_eq!(small.get("/v1/health").status, 431);
}

#[test]
fn bodies_have_a_length_in_chunks_too_and_the_client_can_read_why() {
    let hub = TestHub::limited(|limits| limits.body_bytes = 1000);
    let body = "x".repeat(100_000);
    let answer = Conn::open(hub.addr()).ask("POST", "/v1/rooms", &[], Some(&body)).answer();
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("INVALID_REQUEST")));

    let mut conn = Conn::open(hub.addr());
    conn.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        conn.send(format!("190\r\n{}\r\n", "x".repeat(400)));
    }
    assert_eq!(conn.answer().status, 413);

    let mut polite = Conn::open(hub.addr());
    polite.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(polite.answer().status, 413);
}

#[test]
fn a_head_that_does_not_come_is_answered_408_and_an_idle_connection_is_closed() {
    let hub = TestHub::limited(|limits| {
        limits.head_time = Duration::from_millis(100);
        limits.body_gap = Duration::from_millis(100);
        limits.idle = Duration::from_millis(100);
    });
    let mut slow = Conn::open(hub.addr());
    assert_eq!(slow.send("GET /v1/health HT").answer().status, 408);
    assert!(slow.rest().is_empty());

    let mut half = Conn::open(hub.addr());
    half.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{\"name\"");
    assert_eq!(half.answer().status, 408);

    let mut idle = Conn::open(hub.addr());
    assert_eq!(idle.send(HEALTH).answer().status, 200);
    assert!(idle.rest().is_empty(), "an idle connection is closed without a word");
}

#[test]
fn a_body_that_trickles_is_answered_408_though_it_is_never_silent() {
    let hub = TestHub::limited(|limits| limits.body_gap = Duration::from_millis(400));
    let mut slow = Conn::open(hub.addr());
    slow.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    slow.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let refused = |conn: &Conn| conn.stream().peek(&mut [0]).is_ok();
    while !refused(&slow) {
        slow.send("x");
    }
    slow.stream().set_read_timeout(Some(support::PATIENCE)).unwrap();
    assert_eq!(slow.answer().status, 408);
}

#[test]
fn blank_lines_do_not_keep_an_idle_connection_open() {
    let hub = TestHub::limited(|limits| limits.idle = Duration::from_millis(200));
    let mut conn = Conn::open(hub.addr());
    assert_eq!(conn.send(HEALTH).answer().status, 200);
    wait_until("the connection to be closed", || conn.stream().write_all(b"\r\n").is_err());
}

#[test]
fn a_head_that_comes_byte_by_byte_is_answered_408() {
    let hub = TestHub::limited(|limits| limits.head_time = Duration::from_millis(200));
    let conn = Conn::open(hub.addr());
    let mut writer = conn.stream().try_clone().unwrap();
    writer.write_all(b"GET /v1/health HTTP/1.1\r\nX: ").unwrap();
    let sender =
        std::thread::spawn(move || wait_until("the connection to be closed", || writer.write_all(b"x").is_err()));
    let mut conn = conn;
    assert_eq!(conn.answer().status, 408);
    conn.hang_up();
    sender.join().unwrap();
}

#[test]
fn a_full_house_says_so_and_has_room_again() {
    let hub = TestHub::limited(|limits| limits.connections = 3);
    let mut guests: Vec<Conn> = (0..3).map(|_| Conn::open(hub.addr())).collect();
    for guest in &mut guests {
        guest.ask("GET", "/v1/events", &[], None);
        assert_eq!(guest.head().status, 200);
    }
    let mut late = Conn::open(hub.addr());
    let answer = late.send(HEALTH).answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(late.rest().is_empty());
    drop(guests.pop());
    wait_until("room for another", || hub.hub.connections() < 3);
    assert_eq!(hub.get("/v1/health").status, 200);
}

#[test]
fn whoever_waits_for_nothing_makes_room() {
    let hub = TestHub::limited(|limits| limits.connections = 3);
    let mut served = Conn::open(hub.addr());
    assert_eq!(served.send(HEALTH).answer().status, 200);
    let mut silent: Vec<Conn> = (0..2).map(|_| Conn::open(hub.addr())).collect();
    wait_until("all to be there", || hub.hub.connections() == 3);
    let mut newcomers: Vec<Conn> = Vec::new();
    for _ in 0..2 {
        let mut newcomer = Conn::open(hub.addr());
        assert_eq!(newcomer.send(HEALTH).answer().status, 200);
        newcomers.push(newcomer);
        assert!(silent.remove(0).rest().is_empty(), "closed without a word");
    }
    assert_eq!(served.send(HEALTH).answer().status, 200, "it was not its turn to go");
}

#[test]
fn unknown_paths_and_methods_have_answers() {
    let hub = TestHub::start();
    let unknown = hub.get("/v1/nothing").expect(404).json()["error"].clone();
    assert_eq!((&unknown["code"], &unknown["message"]), (&json!("INVALID_REQUEST"), &json!("Route not found.")));
    assert_eq!(hub.get("/nothing").expect(404).json()["error"], "Not found");
    let answer = hub.delete("/v1/rooms").expect(405);
    assert_eq!(answer.header("allow"), Some("GET, POST, HEAD, OPTIONS"));
    assert_eq!(hub.get("/v1/rooms/%FF").status, 400);
}

#[test]
fn browsers_may_call_from_where_they_are_allowed_to() {
    let hub = TestHub::start();
    for (method, path, status) in [("GET", "/v1/health", 200), ("GET", "/none", 404), ("OPTIONS", "/any/thing", 204)] {
        let answer = Conn::open(hub.addr()).ask(method, path, &[("Connection", "close")], None).answer();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    }
    let headers = "Content-Type, Authorization, anthropic-version, anthropic-beta, x-api-key, X-Gambi-Host-Id, \
                   X-Gambi-Room-Password, X-Gambi-Participant-Token";
    let preflight = Conn::open(hub.addr()).ask("OPTIONS", "/v1/rooms", &[("Connection", "close")], None).answer();
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST, PUT, DELETE, OPTIONS"));
    let asked = "authorization,content-type,x-stainless-arch,x-stainless-new-in-a-release";
    let ask = |origin| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Headers", asked),
            ("Access-Control-Request-Private-Network", "true"),
            ("Connection", "close"),
        ];
        Conn::open(hub.addr()).ask("OPTIONS", "/v1/rooms", &headers, None).answer()
    };
    let own = format!("http://{}", hub.addr());
    assert_eq!(ask(own.as_str()).header("access-control-allow-headers"), Some(asked));
    assert_eq!(ask(own.as_str()).header("access-control-allow-private-network"), Some("true"));
    assert_eq!(ask("https://evil.example").header("access-control-allow-private-network"), None);
    let page =
        Conn::open(hub.addr()).ask("GET", "/v1/health", &[("Origin", &own), ("Connection", "close")], None).answer();
    let exposed = page.header("access-control-expose-headers").unwrap_or_default().to_owned();
    for name in ["Retry-After", "X-Request-Id", "X-Gambi-Participant", "X-Gambi-Request-Id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert_eq!(preflight.header("access-control-allow-headers"), Some(headers));
    let refused = Conn::open(hub.addr()).send("nonsense\r\n\r\n").answer();
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));

    let own = TestHub::with(|options| options.cors = Some("https://app.example".into()));
    assert_eq!(own.get("/v1/health").header("access-control-allow-origin"), Some("https://app.example"));
}

#[test]
fn a_client_that_resets_or_goes_half_way_harms_nobody() {
    let hub = TestHub::start();
    for cut in [1, 10, 30] {
        let mut conn = Conn::open(hub.addr());
        conn.send(&HEALTH[..cut]);
        conn.hang_up();
    }
    let mut conn = Conn::open(hub.addr());
    conn.send("POST /v1/rooms HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{");
    conn.hang_up();
    wait_until("all connections to be gone", || hub.hub.connections() == 0);
    assert_eq!(hub.get("/v1/health").status, 200);
}

#[test]
fn going_down_ends_idle_connections_and_frees_the_port() {
    let hub = TestHub::start();
    let addr = hub.addr();
    let mut idle = Conn::open(addr);
    assert_eq!(idle.send(HEALTH).answer().status, 200);
    hub.hub.shutdown();
    hub.hub.shutdown();
    assert!(idle.rest().is_empty());
    assert!(std::net::TcpStream::connect(addr).is_err());
}
