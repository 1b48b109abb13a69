//! A TLS session on a socket that one thread reads while another writes, as a tunnel's do.
//!
//! The session's lock is held to encrypt and to decrypt, never across I/O: a reader waits for the socket without it, and
//! a writer writes the records that it has taken out. A second lock keeps records in the order of their encryption.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::{Connection, InvalidMessage};

use super::io::{self as net_io, Peek, is_timeout, remaining};
use crate::error::{TlsFailure, TlsFault};
use crate::sync::lock;

/// The size of one read from the socket, in bytes: what the TLS library takes at a time. The buffer is on the stack, so that
/// an idle session has none.
const READ_STEP: usize = 4 << 10;
/// Decrypted bytes past which no further record is decrypted, as the TLS library sets it.
const MAX_DECRYPTED: usize = 16 << 10;
/// The most bytes of a peer's handshake, which may hold long chains of certificates.
const MAX_HANDSHAKE: usize = 128 << 10;
/// How often a check for data reads records that hold none.
const MAX_PEEK_READS: usize = 8;
/// How long writing the close alert may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A session whose handshake is complete. One thread reads at a time; any thread may write.
pub struct TlsSession {
    state: Mutex<TlsState>,
    /// Held while records are taken out and written.
    writing: Mutex<()>,
}

struct TlsState {
    connection: Connection,
    /// Records that were read from the socket and do not fit into the session yet.
    unread: Vec<u8>,
}

/// An error of the TLS library with the fault that it tells, and without the library's words around an error of our own.
pub(super) fn in_words(error: io::Error) -> io::Error {
    let Some(cause) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else { return error };
    let (fault, text) = match cause {
        // Only `tls_pin` makes one.
        rustls::Error::Other(own) => (TlsFault::OtherFingerprint, own.to_string()),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => (TlsFault::NoTls, cause.to_string()),
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            (TlsFault::Certificate, cause.to_string())
        }
        _ => return error,
    };
    io::Error::new(error.kind(), TlsFailure { fault, text })
}

impl TlsSession {
    /// Performs the handshake.
    ///
    /// # Errors
    /// If it fails, or is not complete before `deadline`.
    pub fn establish(connection: Connection, socket: &TcpStream, deadline: Instant) -> io::Result<Self> {
        let state = TlsState { connection, unread: Vec::new() };
        let session = TlsSession { state: Mutex::new(state), writing: Mutex::default() };
        let mut received = 0;
        loop {
            socket.set_write_timeout(Some(remaining(deadline)?))?;
            session.write_until(socket, &mut [], Some(deadline), &mut false)?;
            if !session.lock().connection.is_handshaking() {
                return Ok(session);
            }
            if received > MAX_HANDSHAKE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer's TLS handshake is too long"));
            }
            socket.set_read_timeout(Some(remaining(deadline)?))?;
            match session.receive(socket)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer left the TLS handshake")),
                read => received += read,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, TlsState> {
        lock(&self.state)
    }

    /// As [`net_io::read`]. The socket's read timeout is for the whole call, so that records which arrive byte by byte
    /// do not extend it.
    ///
    /// # Errors
    /// As `read`; `UnexpectedEof` if the peer closed the connection without a close alert, so that what it sent may be cut.
    pub fn read(&self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(read) = self.lock().take(buffer)? {
            return Ok(read);
        }
        let timeout = socket.read_timeout()?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut shortened = false;
        let result = loop {
            if let Err(error) = self.receive(socket) {
                break Err(error);
            }
            match self.lock().take(buffer) {
                Ok(None) => {}
                Ok(Some(read)) => break Ok(read),
                Err(error) => break Err(error),
            }
            if let Some(deadline) = deadline {
                shortened = true;
                let left = remaining(deadline).and_then(|left| socket.set_read_timeout(Some(left)));
                if let Err(error) = left {
                    break Err(error);
                }
            }
        };
        if shortened {
            socket.set_read_timeout(timeout)?;
        }
        result
    }

    /// Reads once from the socket and decrypts; 0 at the end of the stream.
    fn receive(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut records = [0; READ_STEP];
        let read = net_io::read(socket, &mut records)?;
        self.decrypt(socket, &records[..read])?;
        Ok(read)
    }

    fn decrypt(&self, socket: &TcpStream, records: &[u8]) -> io::Result<()> {
        let decrypted = self.lock().decrypt(records);
        if decrypted.is_err() {
            self.send_alert(socket);
        }
        decrypted
    }

    /// Tells the peer why its records were refused, unless another thread is writing.
    fn send_alert(&self, socket: &TcpStream) {
        if let Ok(_order) = self.writing.try_lock()
            && let Ok(records) = self.lock().take_records()
        {
            let _ = socket.set_write_timeout(Some(CLOSE_TIMEOUT));
            let _ = net_io::write_all(socket, &mut [IoSlice::new(&records)], Some(CLOSE_TIMEOUT));
        }
    }

    /// As [`net_io::write_until`], encrypted.
    ///
    /// # Errors
    /// If the connection is broken, or the deadline has passed. The session cannot be written to any more then.
    pub fn write_until(
        &self,
        socket: &TcpStream,
        mut slices: &mut [IoSlice<'_>],
        deadline: Option<Instant>,
        shortened: &mut bool,
    ) -> io::Result<()> {
        let _order = lock(&self.writing);
        IoSlice::advance_slices(&mut slices, 0);
        loop {
            let records = {
                let mut state = self.lock();
                if !slices.is_empty() {
                    let encrypted = state.connection.writer().write_vectored(slices)?;
                    IoSlice::advance_slices(&mut slices, encrypted);
                }
                state.take_records()?
            };
            net_io::write_until(socket, &mut [IoSlice::new(&records)], deadline, shortened)?;
            if slices.is_empty() {
                return Ok(());
            }
            if records.is_empty() {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }

    /// Sends the close alert: the peer knows that nothing is missing.
    ///
    /// # Errors
    /// If it cannot be written within a second.
    pub fn close(&self, socket: &TcpStream) -> io::Result<()> {
        self.lock().connection.send_close_notify();
        socket.set_write_timeout(Some(CLOSE_TIMEOUT))?;
        self.write_until(socket, &mut [], Some(Instant::now() + CLOSE_TIMEOUT), &mut false)
    }

    /// As [`net_io::peek`]. Records that have arrived are decrypted, because they need not hold data.
    pub fn peek(&self, socket: &TcpStream) -> Peek {
        let mut records = [0; READ_STEP];
        for _ in 0..MAX_PEEK_READS {
            match self.lock().peek() {
                Ok(Peek::Nothing) => {}
                Ok(found) => return found,
                Err(_) => return Peek::Disconnected,
            }
            let read = match net_io::read_ready(socket, &mut records) {
                Ok(read) => read,
                Err(error) if is_timeout(&error) => return Peek::Nothing,
                Err(_) => return Peek::Disconnected,
            };
            if self.decrypt(socket, &records[..read]).is_err() {
                return Peek::Disconnected;
            }
        }
        Peek::Data
    }
}

impl TlsState {
    /// Decrypts records, or notes the end of the stream if there are none. What does not fit is kept for later.
    fn decrypt(&mut self, mut records: &[u8]) -> io::Result<()> {
        loop {
            let taken = self.connection.read_tls(&mut records)?;
            let processed = self.connection.process_new_packets();
            let processed = processed.map_err(|error| in_words(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            // What follows a close alert is ignored.
            if taken == 0 || records.is_empty() {
                return Ok(());
            }
            if processed.plaintext_bytes_to_read() > MAX_DECRYPTED {
                self.unread = records.to_vec();
                return Ok(());
            }
        }
    }

    /// Decrypts what was kept.
    fn decrypt_unread(&mut self) -> io::Result<()> {
        let records = std::mem::take(&mut self.unread);
        self.decrypt(&records)
    }

    /// Moves decrypted bytes to `buffer`; 0 at the end of the stream, `None` if more records are needed.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if is_timeout(&error) && self.unread.is_empty() => return Ok(None),
                Err(error) if is_timeout(&error) => self.decrypt_unread()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(
                        error.kind(),
                        "the peer closed the connection without TLS's close alert",
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn peek(&mut self) -> io::Result<Peek> {
        loop {
            match self.connection.reader().fill_buf() {
                Ok([]) => return Ok(Peek::Disconnected),
                Ok(_) => return Ok(Peek::Data),
                Err(error) if !is_timeout(&error) => return Ok(Peek::Disconnected),
                Err(_) if self.unread.is_empty() => return Ok(Peek::Nothing),
                Err(_) => self.decrypt_unread()?,
            }
        }
    }

    /// Takes all records out that are to be written.
    fn take_records(&mut self) -> io::Result<Vec<u8>> {
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records)?;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

    use super::*;
    use crate::net::client::ClientConnection;
    use crate::net::io::socket_pair;
    use crate::net::stream::Stream;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Both ends' configuration, with a certificate of their own.
    fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        (Arc::new(client.with_root_certificates(roots).with_no_client_auth()), Arc::new(server))
    }

    /// A client and a server after their handshake, and the client's socket.
    fn pair() -> (Stream, Stream, Arc<TcpStream>) {
        let (client_config, server_config) = configs();
        let (client, server) = socket_pair();
        let deadline = Instant::now() + PATIENCE;
        let accepting = thread::spawn(move || {
            let session = ServerConnection::new(server_config).unwrap();
            let session = TlsSession::establish(session.into(), &server, deadline).unwrap();
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            Stream::encrypted(Arc::new(server), session)
        });
        let session = rustls::ClientConnection::new(client_config, "localhost".try_into().unwrap()).unwrap();
        let session = TlsSession::establish(session.into(), &client, deadline).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = Arc::new(client);
        (Stream::encrypted(socket.clone(), session), accepting.join().unwrap(), socket)
    }

    fn write(stream: &Stream, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&mut slices, Some(PATIENCE))
    }

    fn read_all(stream: &Stream, length: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 5000]);
        while all.len() < length {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the stream ended after {} bytes", all.len());
            all.extend_from_slice(&buffer[..read]);
        }
        all
    }

    #[test]
    fn both_directions_are_read_while_both_are_written() {
        let (client, server, _) = pair();
        let long: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        // More than all buffers hold: each end must go on reading while it writes.
        thread::scope(|scope| {
            for (reader, writer) in [(&client, &server), (&server, &client)] {
                scope.spawn(|| write(writer, &[&[], &long[..7], &[], &long[7..]]).unwrap());
                scope.spawn(|| assert!(read_all(reader, long.len()) == long));
            }
        });
    }

    #[test]
    fn a_peer_is_silent_or_has_sent_data_or_has_disconnected() {
        let (client, server, socket) = pair();
        assert_eq!(client.peek(), Peek::Nothing, "no more than session tickets have arrived");
        write(&server, &[b"ab"]).unwrap();
        while client.peek() == Peek::Nothing {
            thread::yield_now();
        }
        assert_eq!(client.peek(), Peek::Data);
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
        assert_eq!(client.peek(), Peek::Data, "decrypted already");
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 1);
        assert_eq!(client.peek(), Peek::Nothing);
        client.finish();
        while server.peek() == Peek::Nothing {
            thread::yield_now();
        }
        assert_eq!(server.peek(), Peek::Disconnected);
        drop((server, socket));
    }

    #[test]
    fn an_end_with_the_close_alert_differs_from_a_cut() {
        let (client, server, _) = pair();
        write(&server, &[b"whole"]).unwrap();
        server.finish();
        assert_eq!(read_all(&client, 5), b"whole");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);

        let (client, server, _) = pair();
        write(&server, &[b"cut"]).unwrap();
        drop(server);
        assert_eq!(read_all(&client, 3), b"cut");
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("close alert")), (io::ErrorKind::UnexpectedEof, true));
    }

    #[test]
    fn an_answer_that_ends_with_the_connection_is_told_from_one_that_is_cut() {
        let body = |cut: bool| {
            let (client, server, _) = pair();
            let mut call = ClientConnection::new(client).unwrap();
            thread::scope(|scope| {
                scope.spawn(move || {
                    assert!(server.read(&mut [0; 99]).unwrap() > 0);
                    write(&server, &[b"HTTP/1.1 200 OK\r\n\r\nall of it"]).unwrap();
                    if !cut {
                        server.finish();
                    }
                });
                call.send([b"GET / HTTP/1.1\r\n\r\n", b""], |head| assert_eq!(head.status, 200)).unwrap();
                let mut body = Vec::new();
                while !call.read(&mut body)? {}
                io::Result::Ok(body)
            })
        };
        assert_eq!(body(false).unwrap(), b"all of it");
        assert_eq!(body(true).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn records_that_arrive_byte_by_byte_do_not_extend_a_read() {
        let (client, server, socket) = pair();
        server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let done = AtomicBool::new(false);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                // A record of 16 KiB, which is refused once it is whole.
                let _ = (&*socket).write_all(&[23, 3, 3, 0x40, 0]);
                while !done.load(Ordering::SeqCst) {
                    let _ = (&*socket).write_all(&[0]);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let error = server.read(&mut [0; 9]).unwrap_err();
            done.store(true, Ordering::SeqCst);
            error
        });
        assert!(is_timeout(&error), "{error}");
        drop(client);
    }

    #[test]
    fn a_record_that_was_forged_ends_the_session() {
        let (client, server, socket) = pair();
        (&*socket).write_all(&[23, 3, 3, 0, 20]).unwrap();
        (&*socket).write_all(&[0; 20]).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::InvalidData, "it got the alert");
    }

    #[test]
    fn a_reader_wakes_when_the_connection_is_aborted() {
        let (client, server, _) = pair();
        thread::scope(|scope| {
            let reading = scope.spawn(|| client.read(&mut [0]).is_err());
            client.abort();
            assert!(reading.join().unwrap());
        });
        drop(server);
    }

    #[test]
    fn a_handshake_that_stalls_ends_at_its_deadline() {
        let (_, server_config) = configs();
        let (client, server) = socket_pair();
        (&client).write_all(&[22, 3, 1, 1, 0, 1]).unwrap();
        let session = ServerConnection::new(server_config).unwrap().into();
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = TlsSession::establish(session, &server, deadline).err().unwrap();
        assert!(is_timeout(&error), "{error}");
    }
}
