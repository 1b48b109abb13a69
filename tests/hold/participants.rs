//! Hostile participants.

use std::io::Write;
use std::net::TcpStream;

use gambi::client::Client;
use gambi::proto::management::Registration;
use serde_json::json;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket};

use super::lab::{Lab, ROOM, in_threads, scale};
use super::support::PATIENCE;

const POCKETS: usize = 24 << 10;
/// One message of the largest size may be under way in each tunnel, and is copied once.
const MESSAGES: usize = 64 << 10;

fn registration() -> Registration {
    Registration {
        nickname: "n".into(),
        model: "evil".into(),
        endpoint: "http://localhost:1".into(),
        ..Default::default()
    }
}

/// A tunnel by hand, and the socket under it.
fn tunnel(lab: &Lab, id: &str) -> (WebSocket<TcpStream>, TcpStream) {
    let (registered, _) = lab.client.participants(ROOM).upsert(id, &registration()).unwrap();
    let url = format!("{}?token={}&frames=binary", registered.tunnel.url, registered.tunnel.token);
    let stream = TcpStream::connect(lab.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let raw = stream.try_clone().unwrap();
    let (socket, _) = tungstenite::client(url, stream).map_err(|e| e.to_string()).expect("a tunnel");
    (socket, raw)
}

/// Sends what may be refused in mid-sentence, and waits for the end.
fn send_and_leave(mut socket: WebSocket<TcpStream>, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        if socket.send(message).is_err() {
            break;
        }
    }
    let _ = socket.close(None);
    while socket.read().is_ok() {}
}

#[test]
fn frames_that_nobody_asked_for_are_dropped() {
    let lab = Lab::open("", "");
    let number = scale(100_000, 2_000);
    lab.withstand("frames that nobody asked for", POCKETS, |lab| {
        let (mut socket, _) = tunnel(lab, "chatty");
        let text = |kind: &str, more: serde_json::Value| {
            let mut message = json!({ "type": kind, "requestId": "nobody's" });
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Message::text(message.to_string())
        };
        let odd = [
            text("tunnel.response.start", json!({ "status": 200, "headers": {} })),
            text("tunnel.response.start", json!({ "status": 99_999, "headers": { "a\r\nb": "c" } })),
            text("tunnel.response.chunk", json!({ "chunk": "AAAA" })),
            text("tunnel.response.chunk", json!({ "chunk": "no base64!" })),
            text("tunnel.response.chunk", json!({ "chunk": 5 })),
            text("tunnel.response.end", json!({})),
            text("tunnel.response.error", json!({ "stage": "x", "message": "y" })),
            text("tunnel.request", json!({})),
            text("unheard.of", json!({})),
            Message::text("no JSON"),
            Message::text("[1,2"),
            Message::text("[".repeat(100_000)),
            Message::binary(vec![0xff; 300]),
            Message::binary(vec![]),
        ];
        for n in 0..number {
            socket.send(odd[n % odd.len()].clone()).unwrap();
        }
        socket.send(text("tunnel.ping", json!({ "timestamp": 1 }))).unwrap();
        assert!(socket.read().unwrap().to_text().unwrap().contains("tunnel.pong"), "it is still heard");
        send_and_leave(socket, []);
        lab.client.participants(ROOM).remove("chatty").unwrap();
    });
}

#[test]
fn a_message_without_end_is_refused() {
    let lab = Lab::open("", "");
    let pieces = scale(1 << 14, 1 << 10);
    lab.withstand(&format!("{} MiB in one message", pieces >> 4), MESSAGES, |lab| {
        // In one frame that says how long it is, and in fragments that do not.
        let (mut socket, mut raw) = tunnel(lab, "large");
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), mask: Some([0; 4]), ..FrameHeader::default() };
        let mut head = Vec::new();
        header.format((pieces as u64) << 16, &mut head).unwrap();
        let _ = raw.write_all(&head);
        let piece = vec![0; 64 << 10];
        for _ in 0..pieces {
            if raw.write_all(&piece).is_err() {
                break;
            }
        }
        while socket.read().is_ok() {}

        let (mut socket, mut raw) = tunnel(lab, "endless");
        for n in 0..pieces {
            let data = if n == 0 { Data::Text } else { Data::Continue };
            let mut frame = Frame::message(vec![b'x'; 64 << 10], OpCode::Data(data), false);
            frame.header_mut().mask = Some([0; 4]);
            let mut bytes = Vec::new();
            frame.format(&mut bytes).unwrap();
            if raw.write_all(&bytes).is_err() {
                break;
            }
        }
        while socket.read().is_ok() {}
        for id in ["large", "endless"] {
            lab.client.participants(ROOM).remove(id).unwrap();
        }
    });
}

#[test]
fn text_that_is_none_ends_its_own_tunnel_only() {
    let lab = Lab::open("", "");
    lab.withstand("text that is no UTF-8", POCKETS, |lab| {
        for _ in 0..scale(200, 10) {
            let (mut socket, mut raw) = tunnel(lab, "odd");
            let mut frame = Frame::message(vec![0xff, 0xfe, 0xfd], OpCode::Data(Data::Text), true);
            frame.header_mut().mask = Some([0; 4]);
            let mut bytes = Vec::new();
            frame.format(&mut bytes).unwrap();
            raw.write_all(&bytes).unwrap();
            let mut close = None;
            while let Ok(message) = socket.read() {
                if let Message::Close(frame) = message {
                    close = frame.map(|frame| u16::from(frame.code));
                }
            }
            assert_eq!(close, Some(1007), "RFC 6455, section 8.1");
        }
        lab.client.participants(ROOM).remove("odd").unwrap();
    });
}

#[test]
fn a_flood_of_pings_harms_nobody() {
    let lab = Lab::open("", "");
    let number = scale(500_000, 10_000);
    lab.withstand(&format!("{number} pings whose answers nobody reads"), POCKETS, |lab| {
        let (mut socket, _) = tunnel(lab, "pinging");
        for n in 0..number {
            let ping = if n % 2 == 0 {
                Message::Ping(vec![0; 125].into())
            } else {
                Message::text(json!({ "type": "tunnel.ping", "timestamp": n }).to_string())
            };
            // Once nobody takes the answers, the hub ends it.
            if socket.send(ping).is_err() {
                break;
            }
        }
        drop(socket);
        lab.client.participants(ROOM).remove("pinging").unwrap();
    });
}

#[test]
fn registrations_by_the_thousand_have_a_bound_and_an_end() {
    let lab = Lab::open("", "--registry-memory 32MiB --offline-ttl 1s");
    let number = scale(10_000, 2_000);
    lab.withstand(&format!("{number} registrations"), POCKETS, |lab| {
        let (n, full) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
        in_threads(4, number, || {
            let n = n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let nickname = "x".repeat(1000);
            let registration = Registration { nickname, ..registration() };
            let client = Client::new(&format!("http://{}", lab.addr)).unwrap();
            match client.participants(ROOM).upsert(&format!("p{n}"), &registration) {
                Ok(_) => {}
                Err(error) if error.status() == Some(503) => {
                    full.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        });
        println!("{number} registrations: {} refused", full.into_inner());
        super::support::wait_until("those that never came to be gone", || {
            lab.client.participants(ROOM).list().unwrap().len() == 1
        });
    });
}
