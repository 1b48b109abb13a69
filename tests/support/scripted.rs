//! A fake provider that follows a script and records its requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::{PATIENCE, wait_for};

/// What a participant asks its provider for itself. Answered 404 unless the path has a script.
const PROBES: [&str; 5] = ["/api/version", "/api/tags", "/api/ps", "/running", "/api/v0/models"];

/// How to respond to a request.
#[derive(Clone, Debug)]
pub enum Script {
    /// A complete response.
    Answer { status: u16, kind: &'static str, body: String },
    /// A stream of pieces, ended properly.
    Stream(Vec<String>),
    /// A stream of pieces, ended properly, of which each is sent once `allow` has allowed so many.
    Steps(Vec<String>),
    /// Lines of JSON, as Ollama streams, ended properly.
    Lines(Vec<String>),
    /// Lines of JSON whose connection then breaks.
    LinesAndDie(Vec<String>),
    /// A stream of pieces that then stays open without sending.
    StreamAndHang(Vec<String>),
    /// A stream of pieces whose connection then breaks.
    StreamAndDie(Vec<String>),
    /// A piece repeated until the client is gone.
    Endless(String),
    /// Raw bytes including the head; then the connection is closed.
    Raw(Vec<u8>),
    /// Waits for `release`, then follows the next script.
    Held(Box<Script>),
    /// 404, also to a probe: the provider lacks the endpoint.
    Missing,
    /// 200 with this content type and body, also to a probe: what some servers answer on endpoints that they lack.
    MissingButGood(&'static str, &'static str),
    /// Closes the connection without a response.
    Slam,
    /// Echoes the first request of a connection; at the next it closes it without a response, or resets it.
    CloseKept { reset: bool },
    /// Echoes the request's body, as JSON or as one event.
    Echo,
}

impl Script {
    /// A complete response with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Script::Answer { status, kind: "application/json", body: body.to_string() }
    }
}

/// The events of a streamed chat with these deltas. A delta's `finish` is its chunk's reason to finish.
pub fn chat_chunks(deltas: &[Value]) -> Vec<String> {
    let chunk = |delta: &Value| {
        let finish = delta.get("finish").cloned().unwrap_or_default();
        format!(
            "data: {}\n\n",
            json!({ "model": "qwen", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
        )
    };
    let mut chunks: Vec<_> = deltas.iter().map(chunk).collect();
    chunks.push("data: [DONE]\n\n".into());
    chunks
}

/// The delta of a streamed chat that calls a tool.
pub fn tool_call(name: &str, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "index": 0, "id": "c1", "function": { "name": name, "arguments": arguments } }] })
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

struct FakeState {
    script: Mutex<Script>,
    /// Scripts of single paths, which take precedence. Probes are answered with their status too.
    paths: Mutex<Vec<(String, Script)>>,
    models: Mutex<Vec<String>>,
    seen: Mutex<Vec<Seen>>,
    released: Mutex<usize>,
    release: Condvar,
    /// Requests whose client closed the connection before the script was done.
    abandoned: AtomicUsize,
    /// Connections accepted.
    connections: AtomicUsize,
    /// Pieces of streams that have been written.
    sent: AtomicUsize,
    /// Streams that could not be written to their end.
    broken_off: AtomicUsize,
    /// See [`Script::Steps`].
    allowed: AtomicUsize,
}

/// A fake provider with the model `m`.
#[derive(Clone)]
pub struct FakeProvider {
    addr: SocketAddr,
    state: Arc<FakeState>,
}

impl FakeProvider {
    pub fn start(script: Script) -> Self {
        Self::with_models(script, &["m"])
    }

    pub fn with_models(script: Script, models: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(FakeState {
            script: Mutex::new(script),
            paths: Mutex::default(),
            models: Mutex::new(models.iter().map(|&m| m.to_owned()).collect()),
            seen: Mutex::default(),
            released: Mutex::new(0),
            release: Condvar::new(),
            abandoned: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = shared.clone();
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    let mut served = 0;
                    while state.serve(&mut reader, served).is_some() {
                        served += 1;
                    }
                });
            }
        });
        FakeProvider { addr, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn set(&self, script: Script) {
        *self.state.script.lock().unwrap() = script;
    }

    /// Sets the script of one path.
    pub fn set_path(&self, path: &str, script: Script) {
        let mut paths = self.state.paths.lock().unwrap();
        paths.retain(|(known, _)| known != path);
        paths.push((path.to_owned(), script));
    }

    /// The script of one path, if it has its own.
    pub fn script_of(&self, path: &str) -> Option<Script> {
        let paths = self.state.paths.lock().unwrap();
        paths.iter().find(|(known, _)| known == path).map(|(_, script)| script.clone())
    }

    /// Sets the models that it lists.
    pub fn set_models(&self, models: &[&str]) {
        *self.state.models.lock().unwrap() = models.iter().map(|&m| m.to_owned()).collect();
    }

    /// Releases one held request.
    pub fn release(&self) {
        *self.state.released.lock().unwrap() += 1;
        self.state.release.notify_all();
    }

    /// Allows so many pieces of each stream.
    pub fn allow(&self, pieces: usize) {
        self.state.allowed.store(pieces, Ordering::SeqCst);
    }

    /// Forgets the recorded requests.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// The recorded requests, without probes.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub fn wait_for_request(&self, number: usize) -> Seen {
        wait_for(&format!("request {number} to reach the provider"), || self.seen().get(number - 1).cloned())
    }

    pub fn abandoned(&self) -> usize {
        self.state.abandoned.load(Ordering::SeqCst)
    }

    pub fn broken_off(&self) -> usize {
        self.state.broken_off.load(Ordering::SeqCst)
    }

    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut first = line.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut seen = Seen { method, path, headers, body: String::new() };
    let length: usize = seen.header("content-length").map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

impl FakeState {
    /// Serves one request of a connection that has served this many; `None` when the connection is done.
    fn serve(&self, reader: &mut BufReader<TcpStream>, served: usize) -> Option<()> {
        let seen = read_request(reader)?;
        let stream = reader.get_ref();
        let has_script = |path: &str| self.paths.lock().unwrap().iter().any(|(known, _)| known == path);
        if seen.method == "GET" && seen.path == "/v1/models" && !has_script("/v1/models") {
            let data: Vec<Value> = self.models.lock().unwrap().iter().map(|m| json!({ "id": m })).collect();
            return answer(stream, 200, "application/json", &json!({ "data": data }).to_string());
        }
        if PROBES.iter().any(|probe| seen.path.ends_with(probe)) || seen.body == "{}" {
            let paths = self.paths.lock().unwrap();
            let (status, kind, body) = match paths.iter().find(|(path, _)| *path == seen.path).map(|(_, own)| own) {
                Some(Script::Answer { status, kind, body }) => (*status, *kind, body.as_str()),
                Some(Script::MissingButGood(kind, body)) => (200, *kind, *body),
                Some(Script::Missing) => (404, "application/json", "{}"),
                _ => (if seen.body == "{}" { 400 } else { 404 }, "application/json", "{}"),
            };
            return answer(stream, status, kind, body);
        }
        let number = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.len()
        };
        let own =
            self.paths.lock().unwrap().iter().find(|(path, _)| *path == seen.path).map(|(_, script)| script.clone());
        let script = own.unwrap_or_else(|| self.script.lock().unwrap().clone());
        if let Script::CloseKept { reset } = script
            && served > 0
        {
            let linger = reset.then_some(std::time::Duration::ZERO);
            socket2::SockRef::from(stream).set_linger(linger).ok()?;
            return None;
        }
        self.play(&script, stream, &seen, number)
    }

    fn play(&self, script: &Script, stream: &TcpStream, seen: &Seen, number: usize) -> Option<()> {
        match script {
            Script::Answer { status, kind, body } => answer(stream, *status, kind, body),
            Script::Echo if seen.body.contains("\"stream\":true") => {
                self.pieces(stream, &[format!("data: {}\n\n", seen.body), "data: [DONE]\n\n".into()])?;
                send(stream, "0\r\n\r\n")
            }
            Script::Echo | Script::CloseKept { .. } => answer(stream, 200, "application/json", &seen.body),
            Script::Stream(pieces) => {
                self.pieces(stream, pieces)?;
                send(stream, "0\r\n\r\n")
            }
            Script::Steps(pieces) => {
                self.pieces(stream, &[])?;
                for (at, piece) in pieces.iter().enumerate() {
                    while self.allowed.load(Ordering::SeqCst) <= at {
                        thread::sleep(std::time::Duration::from_millis(1));
                    }
                    send(stream, &format!("{:x}\r\n{piece}\r\n", piece.len()))?;
                }
                send(stream, "0\r\n\r\n")
            }
            Script::Lines(lines) => {
                self.chunks(stream, "application/x-ndjson", lines)?;
                send(stream, "0\r\n\r\n")
            }
            Script::LinesAndDie(lines) => {
                self.chunks(stream, "application/x-ndjson", lines)?;
                None
            }
            Script::StreamAndDie(pieces) => {
                self.pieces(stream, pieces)?;
                None
            }
            Script::StreamAndHang(pieces) => {
                self.pieces(stream, pieces)?;
                self.until_abandoned(stream)
            }
            Script::Endless(piece) => {
                // A client that leaves early may be gone before the head is written.
                let begun = self.pieces(stream, &[]).is_some();
                let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                while begun && send(stream, &chunk).is_some() {}
                self.abandoned.fetch_add(1, Ordering::SeqCst);
                None
            }
            Script::Held(then) => {
                self.held(stream, number)?;
                self.play(then, stream, seen, number)
            }
            Script::Raw(bytes) => {
                let mut raw = stream;
                raw.write_all(bytes).ok()?;
                None
            }
            Script::Missing => answer(stream, 404, "text/plain", "404 page not found"),
            Script::MissingButGood(kind, body) => answer(stream, 200, kind, body),
            Script::Slam => None,
        }
    }

    fn pieces(&self, stream: &TcpStream, pieces: &[String]) -> Option<()> {
        self.chunks(stream, "text/event-stream", pieces)
    }

    fn chunks(&self, stream: &TcpStream, kind: &str, pieces: &[String]) -> Option<()> {
        send(stream, &format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))?;
        pieces.iter().try_for_each(|piece| {
            let sent = send(stream, &format!("{:x}\r\n{piece}\r\n", piece.len()));
            let counter = if sent.is_some() { &self.sent } else { &self.broken_off };
            counter.fetch_add(1, Ordering::SeqCst);
            sent
        })
    }

    /// Waits for `release`; `None` if the client closed first.
    fn held(&self, stream: &TcpStream, number: usize) -> Option<()> {
        stream.set_nonblocking(true).ok()?;
        let mut released = self.released.lock().unwrap();
        while *released < number {
            if matches!(stream.peek(&mut [0]), Ok(0)) {
                self.abandoned.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            released = self.release.wait_timeout(released, std::time::Duration::from_millis(5)).unwrap().0;
        }
        stream.set_nonblocking(false).ok()
    }

    fn until_abandoned(&self, mut stream: &TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        if !matches!(stream.read(&mut [0]), Ok(n) if n > 0) {
            self.abandoned.fetch_add(1, Ordering::SeqCst);
        }
        None
    }
}

fn send(mut stream: &TcpStream, text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).ok()
}

fn answer(stream: &TcpStream, status: u16, kind: &str, body: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} Script\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nX-Own: kept\r\n\r\n",
        body.len()
    );
    send(stream, &(head + body))
}
