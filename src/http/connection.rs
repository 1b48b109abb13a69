//! One client's connection: buffered reads with a timeout, and writes with a deadline. What is read and written is decided
//! in `request_loop`, `body`, `exchange` and `stream_body`.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

use super::connections::network_of;
use super::server_state::ServerState;
use crate::net::io::{Peek, is_timeout};
use crate::net::stream::Stream;

/// The size of one read, in bytes. The buffer is on the stack, so that an idle connection has none.
const READ_STEP: usize = 4 << 10;
/// How many bytes that a client sends while its request is served are read to notice its disconnect; and the time limit of
/// reading them, although they have arrived already.
const MAX_READ_AHEAD: usize = 32 << 10;
const READ_AHEAD_TIME: Duration = Duration::from_millis(10);
/// A buffer with a larger capacity, in bytes, is freed between requests.
pub(super) const RETAINED_BUFFER: usize = 8 << 10;
/// How much of an unread request is read before the connection is closed, in bytes, and for how long.
const LINGER_BYTES: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// A client's connection. Only its own thread uses it; the table of connections may shut its socket down.
pub struct Connection {
    pub(super) stream: Arc<Stream>,
    pub(super) server: Arc<ServerState>,
    /// The client's address, as it was accepted: the socket has none any more once the client has disconnected.
    pub(super) peer: IpAddr,
    /// The client's network, whose connections share one part of the memory.
    pub(super) network: IpAddr,
    /// Bytes read and not yet used: the rest of a body, the next request.
    pub(super) read_ahead: Vec<u8>,
    /// The buffer in which a response is assembled for one write.
    pub(super) write_buffer: Vec<u8>,
    /// The socket's read timeout, so that it is set only when it changes.
    read_timeout: Option<Duration>,
    /// Whether the connection may serve another request.
    pub(super) keep_alive: bool,
    /// Whether the last response is incomplete. Its client can tell by the missing close alert of TLS.
    pub(super) cut: bool,
    /// Bytes written since the request began.
    pub(super) written: u64,
    /// The second of the last response, since the epoch, and its date.
    date: (u64, String),
}

impl Connection {
    pub(super) fn new(stream: Stream, peer: IpAddr, server: Arc<ServerState>) -> io::Result<Self> {
        stream.set_nodelay()?;
        stream.set_write_timeout(Some(server.limits.write))?;
        Ok(Connection {
            stream: Arc::new(stream),
            server,
            peer: peer.to_canonical(),
            network: network_of(peer),
            read_ahead: Vec::new(),
            write_buffer: Vec::new(),
            read_timeout: None,
            keep_alive: true,
            cut: false,
            written: 0,
            date: Default::default(),
        })
    }

    /// Frees large buffers between requests.
    pub(super) fn shrink_buffers(&mut self) {
        if self.read_ahead.is_empty() && self.read_ahead.capacity() > RETAINED_BUFFER {
            self.read_ahead = Vec::new();
        }
        if self.write_buffer.capacity() > RETAINED_BUFFER {
            self.write_buffer = Vec::new();
        }
    }

    /// Reads what has arrived into `read_ahead`, and waits for it if necessary; 0 at the end of the stream.
    pub(super) fn read_more(&mut self, timeout: Duration) -> io::Result<usize> {
        let mut piece = [0; READ_STEP];
        let read = self.read(&mut piece, timeout)?;
        self.read_ahead.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// Appends what has arrived to `out`, within its capacity and at most `max` bytes; 0 at the end of the stream. `waits`: whether
    /// that may be nothing yet.
    pub(super) fn read_into(
        &mut self,
        out: &mut Vec<u8>,
        max: u64,
        timeout: Duration,
        waits: bool,
    ) -> io::Result<usize> {
        if waits || timeout.is_zero() {
            self.set_read_timeout(timeout)?;
        }
        self.stream.read_to(out, usize::try_from(max).unwrap_or(usize::MAX))
    }

    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.set_read_timeout(timeout)?;
        self.stream.read(buffer)
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        if timeout.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // In whole milliseconds: what is left of a deadline differs by microseconds from request to request.
        let timeout = Duration::from_millis(timeout.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        if self.read_timeout != Some(timeout) {
            self.stream.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }

    /// The time as responses state it (RFC 9110, section 6.6.1).
    pub(super) fn date(&mut self) -> &str {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.date.0 != second || self.date.1.is_empty() {
            self.date = (second, HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string());
        }
        &self.date.1
    }

    /// Writes all slices within the deadline of one write. After a failure the connection serves no other request.
    pub(super) fn write_all(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.written += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let written = self.stream.write_all(slices, Some(self.server.limits.write));
        self.keep_alive &= written.is_ok();
        self.cut |= written.is_err();
        written
    }

    /// Whether the client has closed or reset the connection. Bytes that it sent ahead would hide that, so up to
    /// [`MAX_READ_AHEAD`] of them are read; behind more, it is noticed where the system tells.
    pub(super) fn client_gone(&mut self) -> bool {
        loop {
            match self.stream.peek() {
                Peek::Nothing => return false,
                Peek::Disconnected => return true,
                Peek::Data if self.read_ahead.len() >= MAX_READ_AHEAD => return self.stream.is_closed_by_peer(),
                Peek::Data => match self.read_more(READ_AHEAD_TIME) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return !is_timeout(&error),
                },
            }
        }
    }

    /// Closes the connection although its request has not been read to its end.
    pub(super) fn linger(&self) {
        self.stream.linger(LINGER_BYTES, LINGER_TIME);
    }
}
