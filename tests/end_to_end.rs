//! The main job: a chat over HTTP, through a hub and a tunnel, to a provider and back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use gambi::client::Client;
use gambi::hub::{Hub, HubOptions};
use gambi::participant::Session;
use gambi::proto::management::CreateRoom;

/// A provider that answers with the body it was sent: whole, or as one event where a stream is asked for.
fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    url
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let (kind, text) = match first.split(' ').nth(1).unwrap() {
        "/v1/models" => ("application/json", r#"{"data":[{"id":"m"}]}"#.to_owned()),
        _ if body.contains(r#""stream":true"#) => ("text/event-stream", format!("data: {body}\n\ndata: [DONE]\n\n")),
        _ => ("application/json", body),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    (&stream).write_all((head + &text).as_bytes()).unwrap();
}

fn post(hub: &Hub, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(hub.addr()).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_chat_goes_through_the_tunnel_whole_and_streamed() {
    let hub = Hub::bind(HubOptions { host: "127.0.0.1".into(), port: 0, ..HubOptions::default() }).unwrap();
    let url = format!("http://{}", hub.addr());
    let client = Client::new(&url).unwrap();
    let room = client.rooms().create(&CreateRoom { name: "Lab".into(), ..CreateRoom::default() }).unwrap().room;
    let session =
        Session::builder(&url, &room.code).participant_id("w").model("m").endpoint(provider()).start().unwrap();

    let path = format!("/rooms/{}/v1/chat/completions", room.code);
    let whole = post(&hub, &path, r#"{"big":12345678901234567890123,"model":"any","messages":[{"role":"user"}]}"#);
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    assert!(whole.ends_with(r#"{"big":12345678901234567890123,"model":"m","messages":[{"role":"user"}]}"#), "{whole}");

    let streamed = post(&hub, &path, r#"{"model":"w","stream":true,"messages":[]}"#);
    assert!(streamed.contains("Transfer-Encoding: chunked\r\n"), "{streamed}");
    assert!(streamed.contains("data: {\"model\":\"m\",\"stream\":true,\"messages\":[]}\n\n"), "{streamed}");
    assert!(streamed.ends_with("0\r\n\r\n"), "{streamed}");

    session.close();
    session.close();
    assert_eq!(session.wait_until_closed().reason.as_str(), "closed");
    assert!(client.participants(&room.code).list().unwrap().is_empty());
    let refused = post(&hub, &path, r#"{"model":"any","messages":[]}"#);
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
}
