//! A connection, plain or encrypted: callers do not see the difference.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::io::{self as net_io, Peek, remaining};
use super::poll_set::{Number, PollSet};
use super::tls_session::TlsSession;

/// How much memory is set to zero for one read, in bytes. An encrypted connection decrypts no more ahead.
const ZEROED_STEP: usize = 32 << 10;
/// The size of one read of what is discarded, in bytes.
const LINGER_STEP: usize = 4 << 10;

/// How much of a message has been sent without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentNow {
    /// All of it.
    All,
    /// All but so many bytes, which have to be sent before anything else.
    Part(usize),
    /// Nothing.
    Nothing,
}

/// A connection. One thread reads at a time; any thread may write or shut it down.
pub struct Stream {
    socket: Arc<TcpStream>,
    tls: Option<Box<TlsSession>>,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Arc::new(socket).into()
    }
}

impl From<Arc<TcpStream>> for Stream {
    fn from(socket: Arc<TcpStream>) -> Self {
        Stream { socket, tls: None }
    }
}

impl Stream {
    /// A connection that is encrypted by `session`.
    pub(super) fn encrypted(socket: Arc<TcpStream>, session: TlsSession) -> Self {
        Stream { socket, tls: Some(Box::new(session)) }
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends each write at once.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.socket.set_nodelay(true)
    }

    /// Limits how many bytes wait to be read, where the peer is on this machine and not reached over a network, of which full speed
    /// takes as many as are on their way. Only on Linux, which uses as much again for its own account of them (socket(7)). Where it
    /// can't be done, the system goes on to choose.
    pub fn limit_receive_buffer_if_local(&self, bytes: usize) {
        if cfg!(target_os = "linux") && self.is_local() {
            let _ = socket2::SockRef::from(&*self.socket).set_recv_buffer_size(bytes);
        }
    }

    /// Whether its peer has a loopback address.
    fn is_local(&self) -> bool {
        self.socket.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
    }

    /// The address at this end.
    ///
    /// # Errors
    /// If the socket has none.
    #[cfg(test)]
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.local_addr()
    }

    /// Sets the timeout of reads.
    ///
    /// # Errors
    /// If it is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Sets the timeout of writes.
    ///
    /// # Errors
    /// If it is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// Reads once; 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`net_io::read`]; `UnexpectedEof` if an encrypted stream ends without a close alert.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            Some(session) => session.read(&self.socket, buffer),
            None => net_io::read(&self.socket, buffer),
        }
    }

    /// How many bytes can be read without waiting; 0 where that is not known, as of an encrypted connection.
    pub fn arrived(&self) -> usize {
        if self.is_encrypted() { 0 } else { net_io::arrived(&self.socket) }
    }

    /// Appends up to `most` bytes of what has arrived to `out`, as far as its capacity reaches, and waits if that is nothing; 0 at
    /// the end of the stream.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub fn read_to(&self, out: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        if self.tls.is_none() && out.capacity() - out.len() <= most {
            return net_io::read_to(&self.socket, out);
        }
        net_io::append(out, most.min(ZEROED_STEP), |buffer| self.read(buffer))
    }

    /// Writes all slices. `timeout` must be the write timeout; it bounds the whole write.
    ///
    /// # Errors
    /// As [`net_io::write_all`]. An encrypted connection cannot be written to any more then.
    pub fn write_all(&self, slices: &mut [IoSlice<'_>], timeout: Option<Duration>) -> io::Result<()> {
        let Some(session) = &self.tls else { return net_io::write_all(&self.socket, slices, timeout) };
        net_io::within(&self.socket, timeout, |deadline, shortened| {
            session.write_until(&self.socket, slices, deadline, shortened)
        })
    }

    /// Writes what the peer takes at once, and returns how much that is: nothing where the connection is encrypted.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write_ready(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_encrypted() { Ok(0) } else { net_io::write_ready(&self.socket, slices) }
    }

    /// As [`net_io::peek`]. No other thread may use the connection meanwhile.
    pub fn peek(&self) -> Peek {
        match &self.tls {
            Some(session) => session.peek(&self.socket),
            None => net_io::peek(&self.socket),
        }
    }

    /// As [`net_io::is_closed_by_peer`].
    pub fn is_closed_by_peer(&self) -> bool {
        net_io::is_closed_by_peer(&self.socket)
    }

    /// As [`net_io::wait_for_either`], for this connection and another one.
    ///
    /// # Errors
    /// Where one of them is encrypted, too: what it has decrypted ahead is not seen by the system.
    pub fn wait_for_either(&self, other: &Stream, timeout: Duration) -> io::Result<[bool; 2]> {
        if self.is_encrypted() || other.is_encrypted() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        net_io::wait_for_either([&self.socket, &other.socket], timeout)
    }

    /// Adds it to a set, which tells by this number when it has something to read.
    ///
    /// # Errors
    /// If the system refuses; where it is encrypted, too: what it has decrypted ahead is not seen by the system.
    pub fn add_to(&self, set: &PollSet, number: Number) -> io::Result<()> {
        if self.is_encrypted() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        set.add(&self.socket, number)
    }

    /// Takes it out of a set.
    pub fn remove_from(&self, set: &PollSet) {
        set.remove(&self.socket);
    }

    /// Ends the sending direction in order: the peer knows that nothing is missing.
    pub fn finish(&self) {
        if let Some(session) = &self.tls {
            // A peer that does not get the alert takes what it has for cut, as it should.
            let _ = session.close(&self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends the sending direction in order, and discards what the peer still sends, up to `most` bytes and for `time` at most. Closing
    /// a socket with unread bytes resets the connection, and the peer might not receive what was sent last.
    pub fn linger(&self, most: usize, time: Duration) {
        self.finish();
        let deadline = Instant::now() + time;
        let (mut total, mut piece) = (0, [0; LINGER_STEP]);
        while total < most
            && remaining(deadline).and_then(|left| self.set_read_timeout(Some(left))).is_ok()
            && let Ok(read @ 1..) = self.read(&mut piece)
        {
            total += read;
        }
    }

    /// Ends both directions at once, and wakes the threads that use the connection.
    pub fn shutdown(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// As [`net_io::abort`].
    pub fn abort(&self) {
        net_io::abort(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;
    use crate::net::io::socket_pair;

    #[test]
    fn lingering_ends_at_its_deadline_although_the_peer_goes_on_sending() {
        let (mut peer, socket) = socket_pair();
        let stream = Stream::from(socket);
        thread::scope(|scope| {
            // A byte at a time, with pauses much shorter than the time limit, until the connection is closed.
            scope.spawn(move || {
                while peer.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            stream.linger(usize::MAX, Duration::from_millis(100));
            stream.shutdown();
        });
    }
}
