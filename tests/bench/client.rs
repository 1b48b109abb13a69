//! A load client: a keep-alive connection, a prepared request, and a response read at minimal cost.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::provider::Task;
use super::socket::{Wire, connect};
use super::wire::{Chunks, Length, head_end, length};

/// Where chats are sent.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address of the hub or provider.
    pub addr: SocketAddr,
    /// The path before `/v1`.
    pub base: String,
    /// Whether it serves TLS.
    pub tls: bool,
}

/// A chat request whose prompt has that many bytes.
pub fn request(target: &Target, task: Task, prompt: usize) -> Vec<u8> {
    let stream = task != Task::Whole;
    let body = format!(
        r#"{{"bench":"{}","model":"bench","stream":{stream},"messages":[{{"role":"user","content":"{}"}}]}}"#,
        task.letter(),
        "x".repeat(prompt)
    );
    let head = format!(
        "POST {}/v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        target.base,
        body.len()
    );
    (head + &body).into_bytes()
}

/// One keep-alive connection.
pub struct Client {
    stream: Wire,
    buffer: Vec<u8>,
}

/// Measurements of one response.
pub struct Answer {
    /// Time to the first byte of the body.
    pub first: Duration,
    /// Length of the body in bytes.
    pub bytes: usize,
}

impl Client {
    pub fn connect(target: &Target) -> io::Result<Self> {
        Ok(Client { stream: connect(target.addr, target.tls)?, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and reads the whole response. `seen` is called after each read with the body's bytes so far.
    pub fn watch(&mut self, request: &[u8], mut seen: impl FnMut(Instant, usize)) -> io::Result<Answer> {
        let start = Instant::now();
        self.stream.write_all(request)?;
        let mut filled = 0;
        let end = loop {
            filled += self.read(filled)?;
            if let Some(end) = head_end(&self.buffer[..filled]) {
                break end;
            }
        };
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            let answer = String::from_utf8_lossy(&self.buffer[..filled.min(500)]).into_owned();
            return Err(io::Error::other(format!("an answer that was not expected: {answer}")));
        }
        match length(&self.buffer[..end]) {
            Length::Known(bytes) => {
                let first = start.elapsed();
                while filled < end + bytes {
                    filled += self.read(0)?;
                }
                Ok(Answer { first, bytes })
            }
            Length::Chunked => self.chunks(start, end..filled, &mut seen),
        }
    }

    fn chunks(
        &mut self,
        start: Instant,
        ready: std::ops::Range<usize>,
        seen: &mut impl FnMut(Instant, usize),
    ) -> io::Result<Answer> {
        let mut chunks = Chunks::default();
        let mut first = None;
        chunks.push(&self.buffer[ready]);
        loop {
            if chunks.bytes > 0 {
                let now = Instant::now();
                first.get_or_insert(now - start);
                seen(now, chunks.bytes);
            }
            if chunks.is_over() {
                return Ok(Answer { first: first.unwrap_or_default(), bytes: chunks.bytes });
            }
            let read = self.read(0)?;
            chunks.push(&self.buffer[..read]);
        }
    }

    fn read(&mut self, at: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[at..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// Sends one request on a connection of its own, for setup. Returns the response as text.
pub fn call(addr: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    call_with(addr, false, method, path, body)
}

/// The same, over TLS if so wished.
pub fn call_with(addr: SocketAddr, tls: bool, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = connect(addr, tls)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
