//! HTTP/1.1 calls to a server: a persistent connection, one request at a time, each answer read piece by piece. The
//! callers open the connection and encode the requests.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::chunked::Malformed;
use super::framing::UnreadBody;
use super::io::{Peek, remaining};
pub use super::response_head::ResponseHead;
use super::response_head::{broken, read_head};
use super::stream::Stream;

/// The size of one read at first, in bytes.
const BUFFER_SIZE: usize = 16 << 10;
/// The size of one read of an answer that comes fast, in bytes. Its message fits into one read of a tunnel, of 64 KiB, also as base64,
/// and into a queue of the hub for which no memory is kept back.
const LARGE_BUFFER: usize = 44 << 10;
/// How much of what a server on this machine has sent waits to be read, in bytes. The system would let it become megabytes, which are
/// in none of the processor's caches any more when they are read.
const RECEIVE_BUFFER: usize = 64 << 10;
/// A read of so many bytes or more has brought several pieces of a stream. Most reads of a fast one stay below 4 KiB.
const SEVERAL_PIECES: usize = 2 << 10;
/// How soon after a request the end of a reused connection is taken for the server's answer to the idle time before it. A server
/// that ends the connection later may have been at work on the request.
const IDLE_CLOSE_WINDOW: Duration = Duration::from_secs(1);
/// The most interim heads (RFC 9110, section 15.2) before an answer's final one. A server that sends them without end would keep a
/// processor busy until the deadline.
pub const MAX_INTERIM: u8 = 16;

/// A connection to a server.
pub struct ClientConnection {
    stream: Arc<Stream>,
    /// `from..to` has been read and not consumed yet.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    body: UnreadBody,
    /// Requests sent on it.
    requests_sent: u32,
    /// Whether a byte of the answer has arrived.
    answer_begun: bool,
    /// Whether the server has closed the connection for its idle time, and not answered the latest request.
    stale: bool,
    /// Whether the connection can be reused after the answer.
    reusable: bool,
    /// Deadline for the whole answer; `None`: unlimited.
    deadline: Option<Instant>,
}

impl ClientConnection {
    /// Wraps a new connection.
    ///
    /// # Errors
    /// If the socket options cannot be set.
    pub fn new(stream: impl Into<Stream>) -> io::Result<Self> {
        let stream = stream.into();
        stream.set_nodelay()?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        stream.limit_receive_buffer_if_local(RECEIVE_BUFFER);
        let stream = Arc::new(stream);
        let (buffer, body) = (vec![0; BUFFER_SIZE], UnreadBody::Done);
        Ok(ClientConnection {
            stream,
            buffer,
            from: 0,
            to: 0,
            body,
            requests_sent: 0,
            answer_begun: false,
            stale: false,
            reusable: true,
            deadline: None,
        })
    }

    /// The connection. Shutting it down from another thread cancels the call.
    pub fn stream(&self) -> Arc<Stream> {
        self.stream.clone()
    }

    /// Sets the deadline for the answers that follow.
    ///
    /// # Errors
    /// If the deadline has passed.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if self.deadline != deadline {
            self.deadline = deadline;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            self.stream.set_write_timeout(left)?;
            self.stream.set_read_timeout(left)?;
        }
        Ok(())
    }

    /// Whether an idle connection can be used. Bytes that the server sent without a request, or the end of the stream,
    /// make it unusable.
    pub fn is_open(&self) -> bool {
        self.stream.peek() == Peek::Nothing
    }

    /// Whether a reused connection broke as soon as the latest request had been sent, before a byte of its answer arrived, or the
    /// server said that it had been idle for too long. Servers close idle connections after seconds, which can coincide with the
    /// next request: the caller should send it once more, on a new connection.
    pub fn was_stale(&self) -> bool {
        self.stale
    }

    /// Whether the answer is complete and another request can be sent.
    pub fn can_be_kept(&self) -> bool {
        self.reusable && self.body.is_done() && self.from == self.to
    }

    /// Releases the memory that only a long answer or head needed. For a connection that becomes idle.
    pub fn release_memory(&mut self) {
        if self.from == self.to && self.buffer.len() > BUFFER_SIZE {
            self.buffer = vec![0; BUFFER_SIZE];
            (self.from, self.to) = (0, 0);
        }
    }

    /// Sends a request in two parts, such as head and body, and waits for the answer's head, which is passed to `on_head`.
    ///
    /// # Errors
    /// If the request cannot be sent, no answer arrives, or the answer is malformed.
    pub fn send<T>(&mut self, request: [&[u8]; 2], on_head: impl FnOnce(&ResponseHead<'_>) -> T) -> io::Result<T> {
        self.send_and_wait(request, |_| (), on_head)
    }

    /// As [`ClientConnection::send`]. `wait` is called with the connection before each read that may have to wait for the answer's
    /// head.
    ///
    /// # Errors
    /// As [`ClientConnection::send`].
    pub fn send_and_wait<T>(
        &mut self,
        request: [&[u8]; 2],
        wait: impl FnMut(&Stream),
        on_head: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> io::Result<T> {
        (self.answer_begun, self.stale) = (false, false);
        self.requests_sent = self.requests_sent.saturating_add(1);
        let left = self.deadline.map(remaining).transpose()?;
        let sent = self.stream.write_all(&mut request.map(IoSlice::new), left);
        let sent_at = Instant::now();
        // A server that refuses a request before it has read all of it may have sent an answer.
        let mut status = 0;
        let shown = self.answer(wait, |answer| {
            status = answer.status;
            on_head(answer)
        });
        // A server that closes an idle connection may say so by a 408, which crosses the request (RFC 9110, section 15.5.9).
        let is_idle_close = if shown.is_ok() { status == 408 && !self.reusable } else { !self.answer_begun };
        self.stale = is_idle_close && self.requests_sent > 1 && sent_at.elapsed() < IDLE_CLOSE_WINDOW;
        if self.stale && shown.is_ok() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has closed the idle connection"));
        }
        shown.map_err(|error| sent.err().unwrap_or(error))
    }

    fn answer<T>(
        &mut self,
        mut wait: impl FnMut(&Stream),
        on_head: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> io::Result<T> {
        let (mut on_head, mut interim) = (Some(on_head), 0);
        loop {
            let mut shown = None;
            let show = |answer: &ResponseHead<'_>| shown = on_head.take().map(|on_head| on_head(answer));
            if let Some(head) = read_head(&self.buffer[self.from..self.to], show)? {
                self.from += head.length;
                // An interim answer is not passed on, and is followed by another one.
                let Some(shown) = shown else {
                    interim += 1;
                    if interim > MAX_INTERIM {
                        return Err(broken("the server sends interim answers (1xx) without end"));
                    }
                    continue;
                };
                (self.body, self.reusable) = (head.body, head.reusable);
                return Ok(shown);
            }
            wait(&self.stream);
            if self.fill_buffer()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed without an answer",
                ));
            }
        }
    }

    /// Appends the buffered part of the body to `out`, without waiting for more. True at the end of the body.
    ///
    /// # Errors
    /// If its framing is malformed.
    pub fn take(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let taken = self.body.take(&self.buffer[self.from..self.to], out);
        self.from += taken.map_err(|Malformed(reason)| broken(reason))?;
        Ok(self.body.is_done())
    }

    /// Appends the next piece of the body to `out`: buffered bytes, or else the next that arrive. True at the end of
    /// the body.
    ///
    /// # Errors
    /// If the body is incomplete, or its framing is malformed.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        loop {
            let over = self.take(out)?;
            if over || out.len() > before {
                return Ok(over);
            }
            // The server sends faster than what it sends is passed on: if it waits for this processor, it goes on first, so that the
            // next read finds more. What fills the buffer is not all that has come.
            if (SEVERAL_PIECES..self.buffer.len()).contains(&self.to) {
                thread::yield_now();
            }
            self.receive()?;
        }
    }

    /// As [`ClientConnection::read`], but reads once only, which does not wait if something has arrived. What that brings may be
    /// no byte of the body.
    ///
    /// # Errors
    /// As [`ClientConnection::read`].
    pub fn read_once(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        self.receive()?;
        self.take(out)
    }

    /// Reads more of the body into the buffer.
    fn receive(&mut self) -> io::Result<()> {
        if self.fill_buffer()? == 0 {
            if !matches!(self.body, UnreadBody::UntilClose) {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed too early"));
            }
            self.body = UnreadBody::Done;
        }
        Ok(())
    }

    /// Appends more bytes to the buffer; 0 at the end of the stream.
    fn fill_buffer(&mut self) -> io::Result<usize> {
        if self.from == self.to {
            // The last read filled the buffer, so more may be waiting in the socket.
            if self.to == self.buffer.len() && self.to < LARGE_BUFFER {
                self.buffer.resize(LARGE_BUFFER, 0);
            }
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            // Only a head must be complete in the buffer.
            if self.to == self.buffer.len() {
                self.buffer.resize(self.to * 2, 0);
            }
        }
        if let Some(deadline) = self.deadline {
            self.stream.set_read_timeout(Some(remaining(deadline)?))?;
        }
        let read = self.stream.read(&mut self.buffer[self.to..])?;
        self.to += read;
        self.answer_begun |= read > 0;
        Ok(read)
    }
}

impl Drop for ClientConnection {
    /// Ends the connection even if a cancellation handle still holds the socket.
    fn drop(&mut self) {
        if self.body.is_done() {
            self.stream.shutdown();
        } else {
            self.stream.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::response_head::MAX_HEAD;
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    /// The result of an answer that a server writes in these pieces before it closes: status, body, and whether the
    /// connection could have been reused.
    fn outcome(pieces: &[&str]) -> io::Result<(u16, String, bool)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut call = ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut request = [0; 4];
                server.read_exact(&mut request).unwrap();
                for piece in pieces {
                    // A client that has rejected the answer may have disconnected.
                    let _ = server.write_all(piece.as_bytes());
                }
            });
            let status = call.send([b"GET ", b""], |answer| answer.status)?;
            let mut body = Vec::new();
            while !call.read(&mut body)? {}
            Ok((status, String::from_utf8(body).unwrap(), call.can_be_kept()))
        })
    }

    #[test]
    fn a_server_that_says_that_it_closes_an_idle_connection_has_not_answered() {
        let idle_close = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let kept = idle_close.replace("close", "keep-alive");
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        // Only the answer to a later request can be one, and only if the connection ends.
        for (answers, is_stale) in [(&[whole, idle_close][..], true), (&[whole, &kept], false), (&[idle_close], false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut call = ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let last = thread::scope(|scope| {
                scope.spawn(move || {
                    for answer in answers {
                        server.read_exact(&mut [0; 4]).unwrap();
                        server.write_all(answer.as_bytes()).unwrap();
                    }
                });
                let answers = answers.iter().map(|_| call.send([b"GET ", b""], |answer| answer.status));
                answers.last().unwrap()
            });
            assert_eq!((last.is_err(), call.was_stale()), (is_stale, is_stale), "{answers:?}");
        }
    }

    #[test]
    fn the_buffer_grows_for_an_answer_that_comes_fast_and_shrinks_for_an_idle_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut call = ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // All of it is there before the first read.
        let sent: Vec<u8> = (0..BUFFER_SIZE + LARGE_BUFFER).map(|at| at as u8).collect();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
        server.write_all(&[head.as_bytes(), &sent].concat()).unwrap();
        call.send([b"GET ", b""], |_| ()).unwrap();
        assert_eq!(call.buffer.len(), BUFFER_SIZE);
        let mut body = Vec::new();
        while !call.read(&mut body).unwrap() {}
        assert!(body == sent);
        assert_eq!(call.buffer.len(), LARGE_BUFFER);
        call.release_memory();
        assert!(call.can_be_kept() && call.buffer.len() == BUFFER_SIZE);
    }

    #[test]
    fn a_head_of_more_than_64_kib_is_refused_also_behind_an_interim_one() {
        let head = |start: &str, length: usize| format!("{start}\r\nX: {:x<1$}\r\n\r\n", "", length - start.len() - 9);
        let interim = head("HTTP/1.1 103 Early Hints", BUFFER_SIZE);
        assert_eq!(interim.len(), BUFFER_SIZE);
        for (length, fits) in [(MAX_HEAD, true), (MAX_HEAD + 1, false)] {
            let last = head("HTTP/1.1 200 OK", length);
            assert_eq!(outcome(&[&last]).is_ok(), fits, "{length}");
            assert_eq!(outcome(&[&interim, &last]).is_ok(), fits, "{length}");
        }
    }

    fn fine(status: u16, body: &str, reusable: bool) -> Option<(u16, String, bool)> {
        Some((status, body.to_owned(), reusable))
    }

    #[test]
    fn answers_end_as_their_framing_defines() {
        let ok = "HTTP/1.1 200 OK\r\n";
        let respond = |head: &str, body: &str| outcome(&[ok, head, "\r\n", body]).ok();
        assert_eq!(respond("Content-Length: 2\r\n", "ab"), fine(200, "ab", true));
        assert_eq!(respond("Content-Length: 2, 2\r\nConnection: x, Close\r\n", "ab"), fine(200, "ab", false));
        assert_eq!(respond("Transfer-Encoding: chunked\r\n", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), fine(200, "abc", true));
        assert_eq!(respond("X: y\r\n", "until the end"), fine(200, "until the end", false));
        assert_eq!(respond("Content-Length: 2\r\n", "abc"), fine(200, "ab", false), "something follows");
        let both = respond("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n");
        assert_eq!(both, fine(200, "a", false));
        assert_eq!(outcome(&["HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"]).ok(), fine(200, "a", false));
        assert_eq!(outcome(&["HTTP/1.1 204 No\r\n\r\n"]).ok(), fine(204, "", true));
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(outcome(&[early, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"]).ok(), fine(404, "", true));
    }

    #[test]
    fn the_number_of_interim_answers_is_limited() {
        let interim = |count: u8| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count.into());
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
        assert_eq!(outcome(&[&interim(MAX_INTERIM), last]).ok(), fine(200, "a", true));
        let error = outcome(&[&interim(MAX_INTERIM + 1), last]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }

    #[test]
    fn incomplete_and_malformed_answers_fail() {
        for bad in [
            "",
            "HTTP/1.1 200",
            "nonsense\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 999 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert!(outcome(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_length_of_a_head_is_limited() {
        let line = format!("X: {}\r\n", "y".repeat(20_000));
        let head = |lines: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{}\r\na", line.repeat(lines));
        assert_eq!(outcome(&[&head(2)]).ok(), fine(200, "a", true));
        assert!(outcome(&[&head(5)]).is_err());
    }

    #[test]
    fn an_idle_connection_is_checked_before_it_is_reused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let call = ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(call.is_open());
        server.write_all(b"HTTP/1.1 408 Too late\r\n\r\n").unwrap();
        while call.is_open() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_reused_connection_that_was_closed_is_distinguished_from_a_new_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || ClientConnection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let mut kept = connect();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"HTTP/1.1 204 No\r\n\r\n").unwrap();
        assert_eq!(kept.send([b"GET ", b""], |answer| answer.status).unwrap(), 204);
        drop(server);
        assert!(kept.send([b"GET ", b""], |_| ()).is_err() && kept.was_stale());
        let mut late = connect();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"HTTP/1.1 204 No\r\n\r\n").unwrap();
        assert_eq!(late.send([b"GET ", b""], |answer| answer.status).unwrap(), 204);
        // The server crashes while it works on the request.
        let mut server = Some(server);
        let crash = |_: &Stream| {
            thread::sleep(IDLE_CLOSE_WINDOW);
            server = None;
        };
        assert!(late.send_and_wait([b"GET ", b""], crash, |_| ()).is_err() && !late.was_stale());
        let mut new = connect();
        drop(listener.accept().unwrap());
        assert!(new.send([b"GET ", b""], |_| ()).is_err() && !new.was_stale());
    }
}
