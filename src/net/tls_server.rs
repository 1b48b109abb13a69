//! The server side of TLS: the certificate, which can be replaced while connections are open, and the handshake.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::io::remaining;
use super::self_signed::SelfSigned;
use super::stream::Stream;
use super::tls_session::TlsSession;
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;
use crate::sync::lock;

/// A server's certificate and key. Clones share them.
///
/// ```no_run
/// use gambi::hub::{Hub, HubOptions, ServerTls};
///
/// let tls = ServerTls::from_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
/// let hub = Hub::bind(HubOptions { tls: Some(tls.clone()), ..Default::default() })?;
/// // After the files have been renewed:
/// tls.replace(&ServerTls::from_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<Mutex<Certified>>);

/// A certificate with its key, as the TLS library takes them.
#[derive(Clone)]
struct Certified {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a connection was not encrypted.
pub enum AcceptError {
    /// The client speaks HTTP without TLS. Nothing has been read.
    PlainHttp(Arc<TcpStream>),
    /// The handshake failed.
    Failed,
}

impl ServerTls {
    /// A certificate, followed by those that vouch for it, and its key, each in PEM.
    ///
    /// # Errors
    /// If one of them cannot be used, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        let invalid = |what, text: String| Error::Invalid { what, reason: text.into() };
        let must = |reason: &dyn fmt::Display| invalid("the TLS certificate", format!("must be in PEM: {reason}"));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|e| must(&e))?;
        if chain.is_empty() {
            return Err(must(&"it has no CERTIFICATE section"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|e| invalid("the TLS key", format!("must be in PEM, without a passphrase: {e}")))?;
        Self::new(chain, key)
    }

    /// A new key, and the certificate by which it vouches for itself, in PEM: both arguments of [`ServerTls::from_pem`]. Keep
    /// it in a file that nobody else can read, so that clients which know the fingerprint recognise the hub.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate_pem() -> Result<String, Error> {
        let made = SelfSigned::generate();
        let failed = |_| Error::System { what: "making a key", reason: "the system has no random bytes".into() };
        let made = made.map_err(failed)?;
        Ok(made.pem())
    }

    /// The fingerprint of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        lock(&self.0).fingerprint
    }

    /// A certificate, followed by those that vouch for it, and its key.
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let fingerprint = Fingerprint::of(chain.first().map_or(&[][..], |certificate| certificate));
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
        let config = config.map_err(|e| Error::Invalid {
            what: "the TLS certificate",
            reason: Reason::caused_by(format!("must be usable, and match the key: {e}"), e),
        })?;
        let config = Arc::new(config);
        Ok(ServerTls(Arc::new(Mutex::new(Certified { config, fingerprint }))))
    }

    /// Replaces the certificate and the key. Connections that are open keep theirs.
    pub fn replace(&self, with: &ServerTls) {
        let renewed = lock(&with.0).clone();
        *lock(&self.0) = renewed;
    }

    /// Performs the handshake with a client.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub(crate) fn accept(&self, socket: Arc<TcpStream>, deadline: Instant) -> Result<Stream, AcceptError> {
        match self.try_accept(&socket, deadline) {
            Ok(Some(session)) => Ok(Stream::encrypted(socket, session)),
            Ok(None) => Err(AcceptError::PlainHttp(socket)),
            Err(_) => Err(AcceptError::Failed),
        }
    }

    /// `None` if the client speaks HTTP without TLS.
    fn try_accept(&self, socket: &TcpStream, deadline: Instant) -> io::Result<Option<TlsSession>> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(remaining(deadline)?))?;
        let mut first = [0];
        // A method begins with a letter; a TLS record with its type, a number below 26.
        if socket.peek(&mut first)? == 1 && first[0].is_ascii_alphabetic() {
            return Ok(None);
        }
        let config = lock(&self.0).config.clone();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        TlsSession::establish(connection.into(), socket, deadline).map(Some)
    }
}
