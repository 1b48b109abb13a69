//! HTTP over a socket, so that a test controls each byte.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wire::{Wire, connect};

/// A connection.
pub struct Conn {
    reader: BufReader<Wire>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body was complete.
    pub whole: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Conn {
    pub fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, false)
    }

    /// Opens a connection, over TLS if so wished.
    pub fn open_with(addr: SocketAddr, tls: bool) -> Self {
        Conn { reader: BufReader::new(connect(addr, tls).expect("a connection")) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref().socket()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("a write");
        self
    }

    /// Sends a request with the usual headers.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> &mut Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        self.send(head + "\r\n" + body.unwrap_or(""))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// Reads a response head.
    pub fn head(&mut self) -> Response {
        let first = self.line().expect("an answer");
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{first}"));
        let mut headers = Vec::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a header line: {line}"));
            headers.push((name.to_owned(), value.to_owned()));
        }
        Response { status, headers, body: Vec::new(), whole: false }
    }

    /// Reads one chunk; `None` if the body breaks off, empty at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line()?, 16).ok()?;
        let mut chunk = vec![0; length];
        self.reader.read_exact(&mut chunk).ok()?;
        self.line()?;
        Some(chunk)
    }

    /// Reads a response with its body.
    pub fn answer(&mut self) -> Response {
        let head = self.head();
        self.body_of(head)
    }

    /// Reads the body of the response that has this head.
    pub fn body_of(&mut self, mut response: Response) -> Response {
        if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a length");
            response.body = vec![0; length];
            response.whole = self.reader.read_exact(&mut response.body).is_ok();
        } else if response.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    response.whole = true;
                    break;
                }
                response.body.extend(chunk);
            }
        } else {
            response.whole = self.reader.read_to_end(&mut response.body).is_ok();
        }
        response
    }

    /// Waits until the peer closes. Returns the bytes before that.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset counts as closing.
        let _ = self.reader.read_to_end(&mut rest);
        rest
    }

    /// Reads and discards until the peer closes, or until `is_over` returns true.
    pub fn rest_until(&mut self, is_over: impl Fn() -> bool) {
        let _ = self.stream().set_read_timeout(Some(Duration::from_millis(100)));
        let mut piece = [0; 16 << 10];
        while !is_over() {
            match self.reader.read(&mut piece) {
                Ok(0) => return,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }

    /// Sends bytes. Returns whether they were written.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// Closes the connection.
    pub fn hang_up(self) {
        let _ = self.stream().shutdown(Shutdown::Both);
    }
}

/// Sends one request on a connection of its own.
pub fn request(addr: SocketAddr, method: &str, path: &str, body: Option<&str>) -> Response {
    Conn::open(addr).ask(method, path, &[("Connection", "close")], body).answer()
}

/// The value of a hub's metric that has no labels.
pub fn metric(addr: SocketAddr, name: &str) -> u64 {
    let text = request(addr, "GET", "/metrics", None).expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}"))
}
