//! The reference provider: a thread per connection, prepared responses, no parsing except of lengths. The first bytes
//! of the request's body name the [`Task`]; the hub passes them on unchanged.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Length, head_end, length};

/// Bytes of a piece of a small stream: one chat event with one token.
pub const PIECE: usize = 192;
/// Bytes of a piece of a wide stream.
pub const WIDE_PIECE: usize = 16 << 10;
/// Number of pieces of a short, a long and a wide stream.
pub const SHORT: usize = 4;
pub const LONG: usize = 4000;
pub const WIDE: usize = 2000;
/// Number of pieces of a paced stream, and the time between them.
pub const PACED: usize = 150;
pub const PACE: Duration = Duration::from_millis(10);
/// The same of one of many streams at once.
pub const CALM: usize = 64;
pub const CALM_PACE: Duration = Duration::from_millis(20);

/// Stack size of threads that only move bytes.
pub const STACK: usize = 128 << 10;

/// What the provider should send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One complete JSON response.
    Whole,
    /// [`SHORT`] pieces at once.
    Short,
    /// [`LONG`] pieces, each written by itself, as fast as it goes.
    Long,
    /// [`WIDE`] pieces of [`WIDE_PIECE`].
    Wide,
    /// [`PACED`] pieces, one every [`PACE`].
    Paced,
    /// [`CALM`] pieces, one every [`CALM_PACE`].
    Calm,
}

impl Task {
    /// The letter that selects it in a request.
    pub fn letter(self) -> char {
        match self {
            Task::Whole => 'w',
            Task::Short => 's',
            Task::Long => 'l',
            Task::Wide => 'b',
            Task::Paced => 'p',
            Task::Calm => 'c',
        }
    }

    /// Bytes per piece of its response, and the number of pieces.
    pub fn pieces(self) -> (usize, usize) {
        match self {
            Task::Whole => (0, 0),
            Task::Short => (PIECE, SHORT),
            Task::Long => (PIECE, LONG),
            Task::Wide => (WIDE_PIECE, WIDE),
            Task::Paced => (PIECE, PACED),
            Task::Calm => (PIECE, CALM),
        }
    }

    /// Whether its pieces come at a fixed pace.
    pub fn is_paced(self) -> bool {
        matches!(self, Task::Paced | Task::Calm)
    }
}

/// The prepared responses.
struct Answers {
    models: Vec<u8>,
    whole: Vec<u8>,
    refused: Vec<u8>,
    head: Vec<u8>,
    piece: Vec<u8>,
    wide: Vec<u8>,
}

const LAST: &[u8] = b"0\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";

impl Answers {
    fn new() -> Self {
        let json = |body: &str| format!("{JSON} {}\r\n\r\n{body}", body.len()).into_bytes();
        let chunk = |size: usize| {
            let mut event = String::from(r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"#);
            event.push_str(r#""delta":{"content":""#);
            let end = "\"}}]}\n\n";
            event.extend(std::iter::repeat_n('x', size - event.len() - end.len()));
            format!("{size:x}\r\n{event}{end}\r\n").into_bytes()
        };
        Answers {
            models: json(r#"{"object":"list","data":[{"id":"bench","object":"model"}]}"#),
            whole: json(
                r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"The answer, in as many words as it needs."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}"#,
            ),
            refused: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
            head: b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            piece: chunk(PIECE),
            wide: chunk(WIDE_PIECE),
        }
    }
}

/// Starts a provider and returns its address. It runs until the process ends.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let answers = Arc::new(Answers::new());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            let served = thread::Builder::new().stack_size(STACK).spawn(move || serve(stream, &answers));
            served.expect("a thread for a connection to the provider");
        }
    });
    Ok(addr)
}

/// Serves a connection until the client closes it.
fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        let end = loop {
            match head_end(&buffer[..filled]) {
                Some(end) => break end,
                None => filled += some(stream.read(&mut buffer[filled..])?)?,
            }
        };
        let Length::Known(body) = length(&buffer[..end]) else { return Ok(()) };
        // The task's letter follows `{"bench":"`.
        let letter = end + 10;
        while filled < (end + body).min(letter + 1) {
            filled += some(stream.read(&mut buffer[filled..])?)?;
        }
        let get = buffer.starts_with(b"GET /v1/models");
        let task = if body > 10 { buffer[letter] } else { 0 };
        let mut left = (end + body).saturating_sub(filled);
        filled = filled.saturating_sub(end + body);
        while left > 0 {
            left -= some(stream.read(&mut buffer[..left.min(64 << 10)])?)?;
        }
        answer(&mut stream, answers, if get { b'm' } else { task })?;
    }
}

fn some(read: usize) -> io::Result<usize> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

fn answer(stream: &mut TcpStream, answers: &Answers, task: u8) -> io::Result<()> {
    let piece = if task == b'b' { &answers.wide } else { &answers.piece };
    let (count, pace) = match task {
        b'm' => return stream.write_all(&answers.models),
        b'w' => return stream.write_all(&answers.whole),
        b's' => (SHORT, None),
        b'l' => (LONG, None),
        b'b' => (WIDE, None),
        b'p' => (PACED, Some(PACE)),
        b'c' => (CALM, Some(CALM_PACE)),
        _ => return stream.write_all(&answers.refused),
    };
    stream.write_all(&answers.head)?;
    let mut due = Instant::now();
    for _ in 0..count {
        if let Some(pace) = pace {
            due += pace;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        stream.write_all(piece)?;
    }
    stream.write_all(LAST)
}
