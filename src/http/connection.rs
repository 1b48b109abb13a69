//! One connection: what has been read ahead, writes with a deadline, and the loop over its requests.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::connections::{ConnectionState, network_of};
use super::exchange::Exchange;
use super::head::{self, Head, HeadError};
use super::{Handler, Limits};
use crate::budget::Budget;

/// What is read at a time, on the stack: a connection that waits has no buffer of its own.
const READ_STEP: usize = 4 << 10;
/// What is read of a large body at a time.
const BODY_STEP: usize = 64 << 10;
/// A buffer above this is let go between requests.
pub(super) const KEEP_BUFFER: usize = 8 << 10;
/// How much of an answer's unread request is read before the connection is closed, and for how long.
const LINGER_BYTES: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What all connections of a listener share.
pub struct ServerState {
    pub(super) limits: Limits,
    /// Set once the listener goes down.
    pub(super) stopping: AtomicBool,
    /// For bodies, and for what handlers hold for a request.
    pub(super) memory: Arc<Budget>,
    /// On answers that the front makes itself.
    pub(super) headers: Vec<(String, String)>,
}

/// A client's connection.
pub struct Connection {
    pub(super) stream: Arc<TcpStream>,
    pub(super) server: Arc<ServerState>,
    /// Whose memory its requests take: all connections of a client's network together have a part only.
    pub(super) network: IpAddr,
    /// Bytes read ahead: the rest of a body, the next request.
    pub(super) ahead: Vec<u8>,
    /// Put together here, then written at once.
    pub(super) out: Vec<u8>,
    /// The socket's read timeout, so that it is set only when it changes.
    timeout: Option<Duration>,
    /// Whether it may serve another request.
    pub(super) usable: bool,
    /// Bytes written since the request began.
    pub(super) written: u64,
}

/// Why no head came.
enum NoHead {
    /// The client is gone, or idle for too long.
    Quiet,
    /// The head is refused.
    Refused(HeadError),
}

impl Connection {
    pub(super) fn new(stream: Arc<TcpStream>, server: Arc<ServerState>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(server.limits.write))?;
        let network = network_of(stream.peer_addr()?.ip());
        Ok(Connection {
            stream,
            server,
            network,
            ahead: Vec::new(),
            out: Vec::new(),
            timeout: None,
            usable: true,
            written: 0,
        })
    }

    /// Serves requests until the connection is over. `state` tells whether one is under way.
    pub(super) fn run(&mut self, handler: &dyn Handler, state: &ConnectionState) {
        while self.usable {
            state.wait();
            if self.server.stopping.load(Ordering::SeqCst) {
                return;
            }
            let head = self.read_head(state);
            match head {
                Ok(head) => self.serve(head, handler),
                Err(NoHead::Quiet) => return,
                Err(NoHead::Refused(error)) => {
                    state.work();
                    handler.refused(error.status, self.peer());
                    self.refuse(error.status, error.reason);
                    return self.linger();
                }
            }
            self.shrink();
        }
    }

    fn serve(&mut self, head: Head, handler: &dyn Handler) {
        let mut exchange = Exchange::new(self, head);
        // A bug that one request meets must not take more than that request's connection with it.
        let handled = catch_unwind(AssertUnwindSafe(|| handler.handle(&mut exchange)));
        let failed = !matches!(handled, Ok(Ok(())));
        if !exchange.answered() && !matches!(handled, Ok(Err(_))) {
            let _ = exchange.internal_error();
        }
        let drained = exchange.drain();
        if failed {
            self.usable = false;
        }
        if !drained {
            self.usable = false;
            self.linger();
        }
    }

    fn shrink(&mut self) {
        if self.ahead.is_empty() && self.ahead.capacity() > KEEP_BUFFER {
            self.ahead = Vec::new();
        }
        if self.out.capacity() > KEEP_BUFFER {
            self.out = Vec::new();
        }
    }

    fn read_head(&mut self, state: &ConnectionState) -> Result<Head, NoHead> {
        let limits = self.server.limits.clone();
        let idle_until = Instant::now() + limits.idle;
        let mut deadline = None;
        loop {
            self.skip_blank_lines();
            if !self.ahead.is_empty() {
                state.work();
                deadline.get_or_insert_with(|| Instant::now() + limits.head_time);
            }
            if let Some(end) = head::find_end(&self.ahead, &limits).map_err(NoHead::Refused)? {
                let head = head::parse(&self.ahead[..end], &limits).map_err(NoHead::Refused)?;
                self.ahead.drain(..end);
                return Ok(head);
            }
            // Measured from the start, so that blank lines do not put it off.
            let wait = deadline.unwrap_or(idle_until).saturating_duration_since(Instant::now());
            match self.read_more(wait) {
                Ok(0) => return Err(NoHead::Quiet),
                Ok(_) => {}
                Err(error) if is_timeout(&error) && deadline.is_some() => {
                    return Err(NoHead::Refused(HeadError {
                        status: 408,
                        reason: "The request's head did not come in time",
                    }));
                }
                Err(_) => return Err(NoHead::Quiet),
            }
        }
    }

    /// Empty lines before a request are to be ignored (RFC 9112, section 2.2).
    fn skip_blank_lines(&mut self) {
        let blank = self.ahead.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        self.ahead.drain(..blank);
    }

    /// Reads what is there into `ahead`; 0 at the end of the stream.
    pub(super) fn read_more(&mut self, wait: Duration) -> io::Result<usize> {
        let mut piece = [0; READ_STEP];
        let read = self.read(&mut piece, wait)?;
        self.ahead.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// Reads what is there to the end of `out`, as far as it has room already, and `most` bytes at most; 0 at the end
    /// of the stream.
    pub(super) fn read_into(&mut self, out: &mut Vec<u8>, most: u64, wait: Duration) -> io::Result<usize> {
        let old = out.len();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(BODY_STEP);
        out.resize(out.capacity().min(old + most), 0);
        let read = self.read(&mut out[old..], wait);
        out.truncate(old + read.as_ref().copied().unwrap_or(0));
        read
    }

    fn read(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize> {
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.timeout != Some(wait) {
            self.stream.set_read_timeout(Some(wait))?;
            self.timeout = Some(wait);
        }
        loop {
            match (&*self.stream).read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Writes all pieces, at once where the system takes them so, within the deadline of one write.
    pub(super) fn write_all(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let written = write_all(&self.stream, pieces, self.server.limits.write);
        self.usable &= written.is_ok();
        written
    }

    /// Whether the client has closed or reset the connection. Bytes that wait to be read hide it.
    pub(super) fn client_gone(&self) -> bool {
        if !self.ahead.is_empty() {
            return false;
        }
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let seen = self.stream.peek(&mut [0]);
        let restored = self.stream.set_nonblocking(false);
        match seen {
            Ok(0) => true,
            Ok(_) => restored.is_err(),
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Who is at the other end, unless the client has gone already.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.stream.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// An answer of the front's own, after which the connection is closed.
    fn refuse(&mut self, status: u16, reason: &str) {
        let server = self.server.clone();
        let answer = plain_error(status, reason, &server.headers);
        let _ = self.write_all(&mut [IoSlice::new(&answer)]);
        self.usable = false;
    }

    /// Closes for writing and reads on for a moment: closing with unread bytes would reset the connection, and the
    /// client might never see its answer.
    fn linger(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + LINGER_TIME;
        let mut total = 0;
        while total < LINGER_BYTES {
            self.ahead.clear();
            match self.read_more(deadline.saturating_duration_since(Instant::now())) {
                Ok(0) | Err(_) => return,
                Ok(n) => total += n,
            }
        }
    }
}

/// Writes all of it, with one deadline over all: a client that takes a byte a second must not hold the thread.
fn write_all(stream: &TcpStream, mut pieces: &mut [IoSlice<'_>], within: Duration) -> io::Result<()> {
    let deadline = Instant::now() + within;
    let mut shortened = false;
    IoSlice::advance_slices(&mut pieces, 0);
    let result = loop {
        if pieces.is_empty() {
            break Ok(());
        }
        match (&mut &*stream).write_vectored(pieces) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut pieces, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
        if !pieces.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(io::ErrorKind::TimedOut.into());
            }
            shortened = true;
            stream.set_write_timeout(Some(left))?;
        }
    };
    if shortened {
        stream.set_write_timeout(Some(within))?;
    }
    result
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A whole answer with an error in it, for requests that never reached a handler.
pub(super) fn plain_error(status: u16, reason: &str, headers: &[(String, String)]) -> Vec<u8> {
    let code = if status >= 500 && status != 505 { "INTERNAL_ERROR" } else { "INVALID_REQUEST" };
    let body = format!(r#"{{"error":"{reason}","code":"{code}"}}"#);
    let phrase = tiny_http::StatusCode(status).default_reason_phrase();
    let mut answer = format!("HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json; charset=utf-8\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    if status == 503 {
        answer.push_str("Retry-After: 1\r\n");
    }
    answer.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()));
    answer.into_bytes()
}
