//! TLS under a tunnel, for hubs behind a proxy that speaks it, and under the calls to a provider that does.
//!
//! A tunnel reads and writes one socket from two threads, and a call is stopped by whoever shuts its socket down, which a
//! TLS session can't. So two pumps stand between the
//! encrypted socket and a local one, which the tunnel then has to itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::ClientConnection;

const STACK: usize = 256 << 10;
const BUFFER: usize = 16 << 10;
/// How long one write to the network may take.
const WRITE: Duration = Duration::from_secs(30);

/// What both pumps share. The lock is held while records are written: they must not overtake each other.
struct Session {
    tls: Mutex<ClientConnection>,
    network: TcpStream,
    local: TcpStream,
}

/// Makes a plain socket out of a connection to a server that speaks TLS. Its deadlines for the handshake are the
/// stream's own.
pub fn wrap(mut network: TcpStream, host: &str) -> io::Result<TcpStream> {
    let config = crate::net::tls_roots::for_tunnels().map_err(io::Error::other)?;
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut network)?;
    }
    network.set_read_timeout(None)?;
    network.set_write_timeout(Some(WRITE))?;
    let (outer, local) = pair()?;
    let session = Arc::new(Session { tls: Mutex::new(tls), network, local });
    for (name, pump) in [("tls in", Session::inwards as fn(&Session) -> io::Result<()>), ("tls out", Session::outwards)]
    {
        let session = session.clone();
        thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
            // However it ended, both sides learn of it.
            let _ = pump(&session);
            session.close();
        })?;
    }
    Ok(outer)
}

/// Two ends of a connection within this process.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let outer = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (inner, peer) = listener.accept()?;
        // Somebody else on this machine may have been quicker.
        if peer == outer.local_addr()? {
            inner.set_nodelay(true)?;
            return Ok((outer, inner));
        }
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, ClientConnection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// From the network to the tunnel. What came with the handshake's end goes first.
    fn inwards(&self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        loop {
            let mut plain = Vec::new();
            let over = self.decrypt(&buffer[..read], &mut plain)?;
            (&self.local).write_all(&plain)?;
            if over {
                return Ok(());
            }
            read = (&self.network).read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Decrypts what has come; true when the server has said that nothing more will.
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

    /// From the tunnel to the network.
    fn outwards(&self) -> io::Result<()> {
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
