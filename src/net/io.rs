//! Operations on sockets that the standard library lacks: writes with one deadline for everything, and a check whether the
//! peer has disconnected.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::buffer::spare_capacity;
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(unix)]
use rustix::io::Errno;
#[cfg(unix)]
use rustix::net::RecvFlags;
#[cfg(target_os = "linux")]
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// What can be read from a socket at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// Nothing; the peer is connected.
    Nothing,
    /// Data. Whether the peer has disconnected after sending it is not known.
    Data,
    /// Nothing, ever: the peer has closed or reset the connection.
    Disconnected,
}

/// Whether an operation failed because the socket's timeout passed. Systems report it in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The time until a deadline, for a socket's timeout, which cannot be zero.
///
/// # Errors
/// `TimedOut` if the deadline has passed.
pub fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Cancels what is in progress on a connection: wakes all threads that use it, and resets it when it is closed. An orderly
/// close could leave the peer blocked in a write, since the window of a socket that is closed with data unread stays shut.
pub fn abort(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads once, and again if a signal interrupts it; 0 at the end of the stream.
///
/// # Errors
/// As `read`, never `Interrupted`.
pub fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Appends what has arrived to `out`, as far as its capacity reaches, and waits if that is nothing; 0 at the end of the stream. The
/// memory need not be set to zero before.
///
/// # Errors
/// As [`read`].
#[cfg(unix)]
pub(super) fn read_to(stream: &TcpStream, out: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(stream, spare_capacity(out)) {
            Err(Errno::INTR) => {}
            read => return read.map_err(io::Error::from),
        }
    }
}

/// As on unix, but for systems where this crate must set the memory to zero.
///
/// # Errors
/// As [`read`].
#[cfg(not(unix))]
pub(super) fn read_to(stream: &TcpStream, out: &mut Vec<u8>) -> io::Result<usize> {
    append(out, usize::MAX, |buffer| read(stream, buffer))
}

/// How many bytes can be read without waiting; 0 where the system does not say.
#[cfg(unix)]
pub(super) fn arrived(stream: &TcpStream) -> usize {
    rustix::io::ioctl_fionread(stream).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or(0)
}

/// As on unix, but where no system says.
#[cfg(not(unix))]
pub(super) fn arrived(_: &TcpStream) -> usize {
    0
}

/// Appends what `read` reads to `out`: at most `most` bytes, and no more than its capacity holds.
///
/// # Errors
/// As `read`.
pub(super) fn append(
    out: &mut Vec<u8>,
    most: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let old = out.len();
    out.resize(old + most.min(out.capacity() - old), 0);
    let read = read(&mut out[old..]);
    out.truncate(old + read.as_ref().copied().unwrap_or(0));
    read
}

/// Writes all slices, in one system call if the socket takes them. The deadline is for all of them together, so that a peer
/// which reads one byte a second does not hold up the thread. `timeout` must be the socket's write timeout; it is restored.
///
/// # Errors
/// If the connection is broken, or the deadline has passed (see [`is_timeout`]).
pub fn write_all(stream: &TcpStream, slices: &mut [IoSlice<'_>], timeout: Option<Duration>) -> io::Result<()> {
    within(stream, timeout, |deadline, shortened| write_until(stream, slices, deadline, shortened))
}

/// Calls `write` with the deadline of a write that begins now, and restores the socket's write timeout if `write` sets the
/// flag that it is given.
///
/// # Errors
/// As `write`.
pub(super) fn within(
    stream: &TcpStream,
    timeout: Option<Duration>,
    write: impl FnOnce(Option<Instant>, &mut bool) -> io::Result<()>,
) -> io::Result<()> {
    let mut shortened = false;
    let result = write(timeout.map(|timeout| Instant::now() + timeout), &mut shortened);
    if shortened {
        stream.set_write_timeout(timeout)?;
    }
    result
}

/// Writes all slices; `shortened` is set if the socket's write timeout was changed to the time left.
///
/// # Errors
/// As [`write_all`].
pub(super) fn write_until(
    mut stream: &TcpStream,
    mut slices: &mut [IoSlice<'_>],
    deadline: Option<Instant>,
    shortened: &mut bool,
) -> io::Result<()> {
    // Removes empty slices from the front: a write of nothing would return 0, which means an error below.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if let Some(deadline) = deadline.filter(|_| !slices.is_empty()) {
            let left = remaining(deadline)?;
            *shortened = true;
            stream.set_write_timeout(Some(left))?;
        }
    }
    Ok(())
}

/// Writes what the socket takes at once, and returns how much that is.
///
/// # Errors
/// When the connection is broken.
#[cfg(target_os = "linux")]
pub(super) fn write_ready(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        sent => Ok(sent?),
    }
}

/// As on Linux, but for systems where a write cannot be kept from waiting, or from raising a signal.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub(super) fn write_ready(_stream: &TcpStream, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(0)
}

/// Reads what has arrived, without waiting. No other thread may use the socket meanwhile.
///
/// # Errors
/// As `read`; see [`is_timeout`] if nothing has arrived.
pub(super) fn read_ready(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let result = read(stream, buffer);
    stream.set_nonblocking(false)?;
    result
}

/// Checks what can be read, without waiting and without reading it. No other thread may use the socket meanwhile.
pub fn peek(stream: &TcpStream) -> Peek {
    match peek_now(stream) {
        Ok(0) => Peek::Disconnected,
        Ok(_) => Peek::Data,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Peek::Nothing,
        Err(_) => Peek::Disconnected,
    }
}

/// Peeks at one byte, without waiting. One system call instead of three: a kept connection is checked before each request.
#[cfg(unix)]
fn peek_now(stream: &TcpStream) -> io::Result<usize> {
    let (_, received) = rustix::net::recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(received)
}

#[cfg(not(unix))]
fn peek_now(stream: &TcpStream) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    peeked
}

/// Whether the peer has closed or reset the connection, whatever it has sent before. Only Linux tells; elsewhere it seems not to
/// have.
pub fn is_closed_by_peer(stream: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        false
    }
}

/// Waits until either of two sockets has data, or has ended, and tells of each whether it has. Neither has once the timeout has
/// passed.
///
/// # Errors
/// When the system cannot wait, or a signal has interrupted it.
#[cfg(unix)]
pub fn wait_for_either(streams: [&TcpStream; 2], timeout: Duration) -> io::Result<[bool; 2]> {
    let mut polled = streams.map(|stream| PollFd::new(stream, PollFlags::IN));
    let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
    poll(&mut polled, Some(&timeout))?;
    Ok(polled.map(|one| !one.revents().is_empty()))
}

/// As on unix, but for systems where this crate has no way to wait for two sockets.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn wait_for_either(_streams: [&TcpStream; 2], _timeout: Duration) -> io::Result<[bool; 2]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Both ends of a connection, for tests: of the one who connected, and of the one who accepted.
#[cfg(test)]
pub(crate) fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[cfg(unix)]
    #[test]
    fn whichever_of_two_has_something_to_read_ends_the_wait() {
        let ((one, mut ones_peer), (other, others_peer)) = (socket_pair(), socket_pair());
        let wait = |timeout| wait_for_either([&one, &other], timeout).unwrap();
        assert_eq!(wait(Duration::ZERO), [false, false]);
        ones_peer.write_all(b"x").unwrap();
        assert_eq!(wait(Duration::from_secs(20)), [true, false]);
        read(&one, &mut [0]).unwrap();
        drop(others_peer);
        assert_eq!(wait(Duration::from_secs(20)), [false, true]);
    }

    #[test]
    fn a_peer_is_silent_or_has_sent_data_or_has_disconnected() {
        let (stream, mut peer) = socket_pair();
        assert_eq!((peek(&stream), arrived(&stream)), (Peek::Nothing, 0));
        peer.write_all(b"x").unwrap();
        while peek(&stream) == Peek::Nothing {
            thread::yield_now();
        }
        assert_eq!(peek(&stream), Peek::Data);
        assert_eq!(arrived(&stream), usize::from(cfg!(unix)));
        assert_eq!(read(&stream, &mut [0; 2]).unwrap(), 1, "it has not been read, and reading blocks again");
        drop(peer);
        while peek(&stream) == Peek::Nothing {
            thread::yield_now();
        }
        assert_eq!(peek(&stream), Peek::Disconnected);
    }

    #[test]
    fn a_write_ends_at_its_deadline_although_the_peer_goes_on_reading() {
        let (stream, peer) = socket_pair();
        let timeout = Duration::from_millis(100);
        stream.set_write_timeout(Some(timeout)).unwrap();
        let done = AtomicBool::new(false);
        let large = vec![0; 64 << 20];
        let written = thread::scope(|scope| {
            scope.spawn(|| {
                // One KiB at a time, with pauses much shorter than the timeout.
                while !done.load(Ordering::SeqCst) && read(&peer, &mut [0; 1 << 10]).is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let written = write_all(&stream, &mut [IoSlice::new(b""), IoSlice::new(&large)], Some(timeout));
            done.store(true, Ordering::SeqCst);
            written
        });
        assert!(is_timeout(&written.unwrap_err()));
        // Linux rounds timeouts up to its clock's ticks.
        let restored = stream.write_timeout().unwrap().unwrap();
        assert!(restored >= timeout && restored < 2 * timeout, "{restored:?}");
    }

    #[test]
    fn writing_nothing_is_no_error() {
        let (stream, _peer) = socket_pair();
        write_all(&stream, &mut [IoSlice::new(b""), IoSlice::new(b"")], None).unwrap();
    }

    #[test]
    fn a_peer_that_is_blocked_in_a_write_fails_once_the_connection_is_aborted() {
        let (ours, mut theirs) = socket_pair();
        let peer = thread::spawn(move || {
            loop {
                if let Err(error) = theirs.write_all(&[0; 64 << 10]) {
                    return error.kind();
                }
            }
        });
        // Both buffers are full once nothing more arrives for a while; before that the abort works as well.
        while peek(&ours) == Peek::Nothing {
            thread::yield_now();
        }
        abort(&ours);
        drop(ours);
        assert!(matches!(peer.join().unwrap(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_that_has_closed_is_noticed_behind_what_it_sent() {
        let (mut peer, own) = socket_pair();
        peer.write_all(&[0; 9]).unwrap();
        assert!(!is_closed_by_peer(&own));
        drop(peer);
        while !is_closed_by_peer(&own) {
            std::thread::yield_now();
        }
        assert_eq!(peek(&own), Peek::Data);
    }
}
