//! Reading a request's body within its limits of size, time and memory.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::head::Framing;
use crate::budget::Share;
use crate::net::chunked::{ChunkedDecoder, Malformed};
use crate::net::framing::UnreadBody;
use crate::net::io::is_timeout;

/// The first allocation for a body, in bytes, and how many times its length a full one gets.
const INITIAL_CAPACITY: usize = 16 << 10;
const GROWTH: usize = 3;
/// The lowest average rate of a body, in bytes per second: twice that of Apache's mod_reqtimeout.
const MIN_RATE: u32 = 1024;

/// Why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// It is longer than allowed.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It has a content coding (RFC 9110, section 8.4.1), such as `gzip`.
    Encoded {
        /// The coding's name, of which no more than 64 characters.
        coding: String,
    },
    /// The memory budget, or the client's part of it, is exhausted.
    NoMemory,
    /// Its framing is broken.
    Malformed(&'static str),
    /// The client stopped sending, or sent too slowly.
    Timeout,
    /// The connection broke.
    Gone(io::Error),
}

impl BodyError {
    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::TooLarge { .. } => 413,
            BodyError::Encoded { .. } => 415,
            BodyError::Malformed(_) | BodyError::Gone(_) => 400,
            BodyError::Timeout => 408,
            BodyError::NoMemory => 503,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::TooLarge { limit } => write!(f, "The request body is larger than {limit} bytes"),
            BodyError::Encoded { coding } => {
                write!(f, "The request body has the content coding \"{coding}\": bodies must be sent uncompressed")
            }
            BodyError::NoMemory => f.write_str("The hub is busy with too many large requests"),
            BodyError::Malformed(reason) => f.write_str(reason),
            BodyError::Timeout => f.write_str("The request body did not come in time"),
            BodyError::Gone(error) => write!(f, "The connection broke while the body was read: {error}"),
        }
    }
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    /// What has not been read; `None` where its end is unknown, because reading it failed.
    unread: Option<UnreadBody>,
}

impl RequestBody {
    pub(super) fn new(framing: Framing) -> Self {
        let unread = match framing {
            Framing::Length(length) => UnreadBody::of_length(length),
            Framing::Chunked => UnreadBody::Chunked(ChunkedDecoder::strict()),
        };
        RequestBody { unread: Some(unread) }
    }

    /// Whether it has been read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.unread.as_ref().is_some_and(UnreadBody::is_done)
    }

    /// Whether reading it has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.unread.is_none()
    }

    /// Whether it is known that more than so many bytes of it have not been read.
    pub(super) fn is_longer_than(&self, bytes: u64) -> bool {
        matches!(self.unread, Some(UnreadBody::Length(left)) if left > bytes)
    }

    /// It will not be read: what follows cannot be told from it.
    pub(super) fn give_up(&mut self) {
        self.unread = None;
    }

    /// Reads the rest of the body. `gap` is the read timeout; `share` is charged with the body's size. After an error
    /// the body is unusable.
    pub(super) fn read_all(
        &mut self,
        connection: &mut Connection,
        share: &mut Share,
        limit: u64,
        gap: Duration,
    ) -> Result<Vec<u8>, BodyError> {
        let read = self.read_pieces(connection, share, limit, gap);
        if read.is_err() {
            self.give_up();
        }
        read
    }

    fn read_pieces(
        &mut self,
        connection: &mut Connection,
        share: &mut Share,
        limit: u64,
        gap: Duration,
    ) -> Result<Vec<u8>, BodyError> {
        let (mut out, start) = (Vec::new(), Instant::now());
        loop {
            let complete = self
                .take_read_ahead(&mut connection.read_ahead, &mut out)
                .map_err(|Malformed(reason)| BodyError::Malformed(reason))?;
            if out.len() as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if !share.grow_to(out.capacity() as u64) {
                return Err(BodyError::NoMemory);
            }
            if complete {
                return Ok(out);
            }
            let timeout = gap.min(time_left(gap, out.len(), start.elapsed()));
            if self.read_more(connection, share, &mut out, timeout)? == 0 {
                return Err(BodyError::Gone(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads more from the socket: directly to `out` if nothing can follow the body. Memory is reserved as the bytes arrive,
    /// not for the length that the client claims: for those that wait in the socket at least, so that one read takes them all.
    /// 0 at the end of the stream.
    fn read_more(
        &mut self,
        connection: &mut Connection,
        share: &mut Share,
        out: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<usize, BodyError> {
        let Some(UnreadBody::Length(left)) = &mut self.unread else {
            return connection.read_more(timeout).map_err(read_error);
        };
        let (arrived, max) = (connection.stream.arrived(), usize::try_from(*left).unwrap_or(usize::MAX));
        let spare = out.capacity() - out.len();
        if spare == 0 || spare < arrived.min(max) {
            let more = (GROWTH * out.len()).max(INITIAL_CAPACITY).max(arrived).min(max);
            if !share.grow_to((out.len() + more) as u64) {
                return Err(BodyError::NoMemory);
            }
            out.reserve_exact(more);
        }
        let read = connection.read_into(out, *left, timeout, arrived == 0).map_err(read_error)?;
        *left -= read as u64;
        Ok(read)
    }

    /// Moves the body's bytes from `read_ahead` to `out`; true when the body is complete.
    fn take_read_ahead(&mut self, read_ahead: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let unread = self.unread.as_mut().ok_or(Malformed("The request body could not be read"))?;
        // All that is ready belongs to the body: it is not copied.
        if let UnreadBody::Length(left) = unread
            && out.is_empty()
            && read_ahead.len() as u64 <= *left
        {
            std::mem::swap(out, read_ahead);
            *left -= out.len() as u64;
        }
        let used = unread.take(read_ahead, out)?;
        read_ahead.drain(..used);
        Ok(unread.is_done())
    }
}

fn read_error(error: io::Error) -> BodyError {
    if is_timeout(&error) { BodyError::Timeout } else { BodyError::Gone(error) }
}

/// The time left for a body of which `received` bytes arrived in `elapsed`: `gap`, plus the time for `received` bytes
/// at the lowest rate, less `elapsed`.
fn time_left(gap: Duration, received: usize, elapsed: Duration) -> Duration {
    let extra = Duration::from_secs(received as u64) / MIN_RATE;
    (gap + extra).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kib_of_a_body_extends_its_deadline_by_a_second() {
        let [gap, second] = [60, 1].map(Duration::from_secs);
        assert_eq!(time_left(gap, 0, gap), Duration::ZERO);
        assert_eq!(time_left(gap, 2048, gap), 2 * second);
        assert_eq!(time_left(gap, 2048, gap + 3 * second), Duration::ZERO);
        assert!(time_left(gap, 32 << 20, Duration::ZERO) > gap);
    }
}
