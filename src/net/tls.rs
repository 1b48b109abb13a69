//! Opening connections to servers, with TLS where their URLs require it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection};

use super::resolve::Server;
use super::stream::Stream;
use super::tls_roots;
use super::tls_session::TlsSession;
use crate::fingerprint::Fingerprint;

/// Connects to a server at one of its addresses that `allow` lets pass, with TLS where its URL requires it.
/// With a `pin`, its certificate must have that fingerprint.
///
/// # Errors
/// As [`Server::connect`]; when the TLS handshake fails, or is not complete before `deadline`.
pub fn dial(
    server: &Server,
    pin: Option<Fingerprint>,
    deadline: Instant,
    allow: impl Fn(SocketAddr) -> io::Result<()>,
) -> io::Result<Stream> {
    let socket = server.connect(deadline, allow)?;
    if !server.secure {
        return Ok(socket.into());
    }
    let config = tls_roots::client_config(pin).map_err(io::Error::other)?;
    connect(socket, config, &server.host, deadline)
}

/// Performs the handshake with the server `host`.
fn connect(socket: TcpStream, config: Arc<ClientConfig>, host: &str, deadline: Instant) -> io::Result<Stream> {
    socket.set_nodelay(true)?;
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let session = TlsSession::establish(connection.into(), &socket, deadline)?;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok(Stream::encrypted(Arc::new(socket), session))
}
