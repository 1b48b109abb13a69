//! A fake hub for behaviour that a real one does not show: refused heartbeats on a live tunnel, silence.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;

/// How the fake hub behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Answers heartbeats with this status, and pings normally.
    Heartbeats(u16),
    /// Never answers the first two heartbeats.
    Stalls,
    /// Reads everything and sends nothing on the tunnel.
    Silent,
    /// Refuses the tunnel.
    NoTunnel,
    /// Announces the tunnel at another server.
    Announces(SocketAddr),
    /// Sends a request with this method and path, and with headers that the provider must not get.
    Asks(&'static str, &'static str),
    /// Sends that many chats at once.
    Floods(usize),
    /// Accepts the tunnel with this header line too, which nobody asked for.
    Picks(&'static str),
    /// Agrees to bodies of requests as binary messages, and sends these messages.
    Sends(&'static [Sent]),
}

/// A message of a fake hub.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A chat whose body of so many bytes follows.
    Announced(usize),
    /// A binary message.
    Binary(&'static [u8]),
    /// A WebSocket ping.
    Ping,
}

/// A fake hub on a port of its own.
#[derive(Clone)]
pub struct FakeHub {
    addr: SocketAddr,
    /// Registrations minus removals.
    pub registered: Arc<AtomicUsize>,
    /// Heartbeats received.
    pub heartbeats: Arc<AtomicUsize>,
    /// The heads of the handshakes received.
    pub handshakes: Arc<Mutex<Vec<String>>>,
    /// The messages received through the tunnel, without pings.
    pub told: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    pub fn start(part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let hub = FakeHub {
            addr,
            registered: Arc::default(),
            heartbeats: Arc::default(),
            handshakes: Arc::default(),
            told: Arc::default(),
        };
        let shared = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = shared.clone();
                thread::spawn(move || serve(stream, part, &hub));
            }
        });
        hub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn serve(mut stream: TcpStream, part: Part, hub: &FakeHub) -> Option<()> {
    loop {
        // The head is only peeked at, since the tunnel's handshake reads it again.
        let mut seen = [0; 4096];
        let n = stream.peek(&mut seen).ok().filter(|&n| n > 0)?;
        let head = String::from_utf8_lossy(&seen[..n]).into_owned();
        let Some(end) = head.find("\r\n\r\n") else { continue };
        if head.contains("/tunnel?") && part != Part::NoTunnel {
            hub.handshakes.lock().unwrap().push(head);
            return tunnel(stream, part, hub);
        }
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        stream.read_exact(&mut vec![0; end + 4 + length]).ok()?;
        if head.contains("/heartbeat ") && hub.heartbeats.fetch_add(1, Ordering::SeqCst) < 2 && part == Part::Stalls {
            // Until the participant gives up.
            let _ = stream.read(&mut [0]);
            return None;
        }
        let (status, body) = answer(&head, part, hub);
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Part\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

fn answer(head: &str, part: Part, hub: &FakeHub) -> (u16, Value) {
    let FakeHub { addr, registered, .. } = hub;
    let addr = if let Part::Announces(elsewhere) = part { elsewhere } else { *addr };
    let meta = json!({ "requestId": "r" });
    if head.starts_with("PUT ") {
        registered.fetch_add(1, Ordering::SeqCst);
        let participant = json!({
            "id": "p", "nickname": "p", "model": "m", "endpoint": "http://e", "status": "offline", "joinedAt": 1, "lastSeen": 1,
            "updatedAt": 1, "connection": { "kind": "tunnel", "connected": false, "lastTunnelSeenAt": null },
        });
        let tunnel = json!({ "url": format!("ws://{addr}/v1/tunnel"), "token": "t" });
        return (201, json!({ "data": { "participant": participant, "roomId": "x", "tunnel": tunnel }, "meta": meta }));
    }
    if head.starts_with("DELETE ") {
        registered.fetch_sub(1, Ordering::SeqCst);
        return (200, json!({ "data": { "success": true }, "meta": meta }));
    }
    match part {
        Part::Heartbeats(200)
        | Part::Stalls
        | Part::Silent
        | Part::Announces(_)
        | Part::Asks(..)
        | Part::Floods(_)
        | Part::Sends(_) => {
            (200, json!({ "data": { "success": true, "status": "online", "lastSeen": 1 }, "meta": meta }))
        }
        Part::Heartbeats(404) => {
            (404, json!({ "error": { "code": "PARTICIPANT_NOT_FOUND", "message": "gone" }, "meta": meta }))
        }
        _ => (500, json!({ "error": { "code": "INTERNAL_ERROR", "message": "it burns" }, "meta": meta })),
    }
}

impl Sent {
    fn message(self) -> Message {
        match self {
            Sent::Announced(bytes) => Message::text(
                json!({
                    "type": "tunnel.request", "requestId": "r", "operation": "chat.completions.create", "method": "POST",
                    "path": "/v1/chat/completions", "headers": { "Content-Type": "application/json" }, "stream": false,
                    "bodyBytes": bytes,
                })
                .to_string(),
            ),
            Sent::Binary(bytes) => Message::binary(bytes),
            Sent::Ping => Message::Ping(Vec::new().into()),
        }
    }
}

// The type of the refusal is tungstenite's.
#[allow(clippy::result_large_err)]
fn tunnel(stream: TcpStream, part: Part, hub: &FakeHub) -> Option<()> {
    let picked = if let Part::Picks(line) = part { line.split_once(": ") } else { None };
    let mut socket = tungstenite::accept_hdr(stream, |_: &Request, mut answer: Response| {
        if let Some((name, value)) = picked {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        if let Part::Sends(_) = part {
            answer.headers_mut().insert("Gambi-Frames", HeaderValue::from_static("binary"));
            answer.headers_mut().insert("Gambi-Bodies", HeaderValue::from_static("binary"));
        }
        Ok(answer)
    })
    .ok()?;
    let (requests, method, path) = match part {
        Part::Asks(method, path) => (1, method, path),
        Part::Floods(requests) => (requests, "POST", "/v1/chat/completions"),
        _ => (0, "", ""),
    };
    for number in 0..requests {
        let headers = json!({ "Content-Type": "application/json", "Cookie": "a=b", "X-Original-URL": "/api/delete" });
        let request = json!({
            "type": "tunnel.request", "requestId": format!("r{number}"), "operation": "chat.completions.create",
            "method": method, "path": path, "headers": headers, "body": { "model": "m" }, "stream": false,
        });
        socket.send(Message::text(request.to_string())).ok()?;
    }
    for sent in if let Part::Sends(messages) = part { messages } else { &[] } {
        socket.send(sent.message()).ok()?;
    }
    loop {
        let message = socket.read().ok()?;
        if part != Part::Silent && message.to_text().is_ok_and(|text| text.contains("tunnel.ping")) {
            socket.send(Message::text(r#"{"type":"tunnel.pong","timestamp":1}"#)).ok()?;
        } else if let Ok(text) = message.to_text() {
            hub.told.lock().unwrap().push(text.to_owned());
        }
    }
}
