//! Footprint: memory and threads of an idle process and per connection, start-up time, size of the binary.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::client::call;
use super::process::{Hub, JoinSpec, start_up};
use super::report::{Goal, Row, absolute};
use super::scenarios::{Effort, median};

const ROOM: &str = "LABAA2";
/// How long the hub gets to settle after the connections are opened.
const SETTLE: Duration = Duration::from_millis(300);

/// All footprint measurements.
pub fn rows(gambi: &Path, provider: SocketAddr, effort: Effort) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    {
        let hub = Hub::start(gambi, &[ROOM])?;
        call(hub.addr, "GET", "/v1/health", "")?;
        let (memory, threads) = hub.process.memory();
        rows.push(absolute("hub idle", "KiB", memory).goal(Goal::AtMost(4096.0)));
        rows.push(absolute("hub idle threads", "", threads));
        let joined = hub.join(gambi, ROOM, provider, JoinSpec { count: 1, concurrency: 1, json_frames: false })?;
        let (memory, threads) = joined[0].memory();
        rows.push(absolute("participant idle", "KiB", memory));
        rows.push(absolute("participant idle threads", "", threads));
    }
    let crowds: [(&str, usize, OpenConnection); 3] = [
        ("each participant", effort.crowd / 10, participant),
        ("each watcher", effort.crowd, watcher),
        ("each idle connection", effort.crowd, idle),
    ];
    for (name, count, open) in crowds {
        rows.extend(per_connection(gambi, name, count, open)?);
    }
    let starts = (0..effort.repeats * 3).map(|_| start_up(gambi)).collect::<io::Result<Vec<_>>>()?;
    rows.push(absolute("start-up", "ms", median(starts.into_iter())).goal(Goal::AtMost(5.0)));
    rows.push(absolute("binary", "KiB", gambi.metadata()?.len() as f64 / 1024.0).goal(Goal::AtMost(5120.0)));
    Ok(rows)
}

/// Opens one of many connections. The returned stream keeps it open.
type OpenConnection = fn(SocketAddr, usize) -> io::Result<TcpStream>;

/// The hub's memory and threads per connection.
fn per_connection(gambi: &Path, name: &str, count: usize, open: OpenConnection) -> io::Result<Vec<Row>> {
    let hub = Hub::start(gambi, &[ROOM])?;
    call(hub.addr, "GET", "/v1/health", "")?;
    let before = hub.process.memory();
    let _there = (0..count).map(|n| open(hub.addr, n)).collect::<io::Result<Vec<_>>>()?;
    thread::sleep(SETTLE);
    let after = hub.process.memory();
    let each = |before: f64, after: f64| (after - before) / count as f64;
    Ok(vec![
        absolute(name, "KiB", each(before.0, after.0)).goal(Goal::AtMost(24.0)),
        absolute(format!("{name}, threads"), "", each(before.1, after.1)),
    ])
}

/// Opens a connection, sends a request, and reads until the response contains `until`.
fn ask(addr: SocketAddr, request: &str, until: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains(until) {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(stream)
}

fn participant(addr: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let path = format!("/v1/rooms/{ROOM}/participants/p{number}");
    let body = r#"{"nickname":"n","model":"m","endpoint":"http://localhost:11434"}"#;
    let answer = call(addr, "PUT", &path, body)?;
    let token = answer.split(r#""token":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let upgrade = format!(
        "GET {path}/tunnel?token={token}&frames=binary HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    ask(addr, &upgrade, "101 Switching Protocols")
}

fn watcher(addr: SocketAddr, _: usize) -> io::Result<TcpStream> {
    ask(addr, &format!("GET /v1/rooms/{ROOM}/events HTTP/1.1\r\nHost: bench\r\n\r\n"), "connected")
}

fn idle(addr: SocketAddr, _: usize) -> io::Result<TcpStream> {
    ask(addr, "GET /v1/health HTTP/1.1\r\nHost: bench\r\n\r\n", "timestamp")
}
