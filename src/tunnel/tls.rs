//! TLS for tunnels (hubs behind a TLS proxy) and for calls to a provider.
//!
//! A tunnel reads and writes one socket from two threads, and a call is cancelled by shutting its socket down. A TLS session
//! supports neither. So two threads copy between the encrypted socket and a local socket pair, and the caller gets the other
//! end of the pair.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;

use crate::net::io::remaining;
use crate::net::resolve::Server;
use crate::sync::{STACK_SIZE, lock};

/// How much is read at a time, in bytes: one TLS record.
const BUFFER: usize = 16 << 10;
/// How long one write to the network may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What both copying threads share. The lock is held while records are written, so that they stay in order.
struct TlsBridge {
    tls: Mutex<ClientConnection>,
    network: TcpStream,
    local: TcpStream,
}

/// Connects to a server at one of its addresses that `allow` lets pass, with TLS where its URL requires it.
///
/// # Errors
/// As [`Server::connect`]; when the TLS handshake fails, or is not complete before `deadline`.
pub fn dial(server: &Server, deadline: Instant, allow: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<TcpStream> {
    let stream = server.connect(deadline, allow)?;
    if server.secure { connect_tls(stream, &server.host, deadline) } else { Ok(stream) }
}

/// Performs the TLS handshake on `network` and returns a plain socket to the server `host`.
///
/// # Errors
/// If the handshake fails, or is not complete before `deadline`.
pub fn connect_tls(mut network: TcpStream, host: &str, deadline: Instant) -> io::Result<TcpStream> {
    network.set_nodelay(true)?;
    network.set_read_timeout(Some(remaining(deadline)?))?;
    network.set_write_timeout(Some(remaining(deadline)?))?;
    let config = crate::net::tls_roots::for_tunnels().map_err(io::Error::other)?;
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut network)?;
    }
    network.set_read_timeout(None)?;
    network.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (outer, local) = socket_pair()?;
    let bridge = Arc::new(TlsBridge { tls: Mutex::new(tls), network, local });
    for (name, copy) in
        [("tls in", TlsBridge::decrypt_all as fn(&TlsBridge) -> io::Result<()>), ("tls out", TlsBridge::encrypt_all)]
    {
        let bridge = bridge.clone();
        thread::Builder::new().name(name.into()).stack_size(STACK_SIZE).spawn(move || {
            // Shuts both sockets down, so that the other thread and both peers see the end.
            let _ = copy(&bridge);
            bridge.close();
        })?;
    }
    Ok(outer)
}

/// A pair of connected sockets within this process.
fn socket_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let outer = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (inner, peer) = listener.accept()?;
        // Another local process may have connected first.
        if peer == outer.local_addr()? {
            inner.set_nodelay(true)?;
            return Ok((outer, inner));
        }
    }
}

impl TlsBridge {
    fn lock(&self) -> MutexGuard<'_, ClientConnection> {
        lock(&self.tls)
    }

    fn close(&self) {
        let _ = self.network.shutdown(Shutdown::Both);
        let _ = self.local.shutdown(Shutdown::Both);
    }

    fn flush(&self, tls: &mut ClientConnection) -> io::Result<()> {
        while tls.wants_write() {
            tls.write_tls(&mut &self.network)?;
        }
        Ok(())
    }

    /// Copies from the network to the local socket, beginning with what arrived together with the end of the handshake.
    fn decrypt_all(&self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        loop {
            let mut plain = Vec::new();
            let closed = self.decrypt(&buffer[..read], &mut plain)?;
            (&self.local).write_all(&plain)?;
            if closed {
                return Ok(());
            }
            read = (&self.network).read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Decrypts `records` and appends the result to `plain`. True after the server's close alert.
    fn decrypt(&self, mut records: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut tls = self.lock();
        loop {
            if !records.is_empty() {
                tls.read_tls(&mut records)?;
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let ready = state.plaintext_bytes_to_read();
            if ready > 0 {
                let from = plain.len();
                plain.resize(from + ready, 0);
                tls.reader().read_exact(&mut plain[from..])?;
            }
            self.flush(&mut tls)?;
            if records.is_empty() {
                return Ok(state.peer_has_closed());
            }
        }
    }

    /// Copies from the local socket to the network.
    fn encrypt_all(&self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = (&self.local).read(&mut buffer)?;
            let mut tls = self.lock();
            if read == 0 {
                tls.send_close_notify();
                return self.flush(&mut tls);
            }
            tls.writer().write_all(&buffer[..read])?;
            self.flush(&mut tls)?;
        }
    }
}
