//! How a connection becomes a tunnel: the handshake, from both sides. The only user of tungstenite.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderName, HeaderValue, Uri};

use super::reader::{LOOK_EVERY, Reader};
use super::tls;
use super::writer::{Limits, Role, TunnelStream, Writer, is_timeout, remaining};

/// The longest body of a refused handshake that is kept, in bytes.
const MAX_REFUSAL: usize = 4096;
/// The longest head of an answer to a handshake, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Why a request does not become a WebSocket (RFC 6455, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// It asks for no upgrade.
    NotAnUpgrade,
    /// It has no key, several, or one that is not base64 of 16 bytes.
    NoKey,
    /// It speaks another version.
    Version,
}

impl HandshakeError {
    /// The HTTP status to answer with.
    pub fn status(self) -> u16 {
        match self {
            HandshakeError::NotAnUpgrade | HandshakeError::Version => 426,
            HandshakeError::NoKey => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::NotAnUpgrade => "This address is a WebSocket: the request must ask for an upgrade to it",
            HandshakeError::NoKey => "The WebSocket handshake needs one Sec-WebSocket-Key: 16 bytes in base64",
            HandshakeError::Version => "The WebSocket version must be 13",
        })
    }
}

/// Why no tunnel could be opened.
#[derive(Debug)]
pub enum ConnectError {
    /// The URL is none that can be opened.
    Url(String),
    /// Nobody answered.
    Io(io::Error),
    /// The hub answered with something else than 101.
    Refused {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The answer makes no sense.
    Handshake(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Url(reason) => write!(f, "the tunnel's URL can't be opened: {reason}"),
            ConnectError::Io(error) => write!(f, "the hub could not be reached: {error}"),
            ConnectError::Refused { status, body } => {
                write!(f, "the hub refused the tunnel with status {status}: {body}")
            }
            ConnectError::Handshake(reason) => write!(f, "the hub's handshake failed: {reason}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Checks a request for the upgrade, and gives the `Sec-WebSocket-Accept` of its answer. `lines` gives all values of a
/// header, in the order of their lines.
///
/// # Errors
/// Which rule the request breaks.
pub fn accept<'a>(http11: bool, lines: impl Fn(&str) -> Vec<&'a str>) -> Result<String, HandshakeError> {
    let holds = |name: &str, token: &str| {
        let mut parts = lines(name).into_iter().flat_map(|line| line.split(','));
        parts.any(|part| part.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
    };
    // HTTP/1.0 has no upgrade (RFC 9110, section 7.8).
    if !http11 || !holds("upgrade", "websocket") || !holds("connection", "upgrade") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if lines("sec-websocket-version") != ["13"] {
        return Err(HandshakeError::Version);
    }
    let [key] = lines("sec-websocket-key")[..] else { return Err(HandshakeError::NoKey) };
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
        return Err(HandshakeError::NoKey);
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// A connection that has been upgraded, from the server's side. `read_ahead` is what came after the request's head.
///
/// # Errors
/// When the socket can't be set up.
pub fn serve(stream: Arc<TcpStream>, read_ahead: Vec<u8>, limits: Limits) -> io::Result<(Reader, Writer)> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let wire = TunnelStream::new(stream, Role::Server, limits.write)?;
    Ok((Reader::new(wire.clone(), read_ahead, limits.max_message), Writer(wire)))
}

/// A tunnel's two ends, and the headers of the 101 that opened it.
pub type Connected = (Reader, Writer, Vec<(String, String)>);

/// Opens a tunnel: a `ws://` or `wss://` URL, more request headers, and the time that all of it may take. Gives the headers of the
/// 101 too.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(
    url: &str,
    headers: &[(&str, &str)],
    limits: Limits,
    timeout: Duration,
) -> Result<Connected, ConnectError> {
    let uri = Uri::try_from(url).map_err(|e| ConnectError::Url(e.to_string()))?;
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|e| ConnectError::Io(io::Error::other(e.to_string())))?;
    let key = STANDARD.encode(key);
    let request = request(&uri, headers, &key)?;
    let deadline = Instant::now() + timeout;
    let stream = dial(&uri, deadline)?;
    let (answer, read_ahead) = ask(&stream, request.as_bytes(), deadline)?;
    let (status, said) = (answer.status().as_u16(), answer.headers());
    if status != 101 {
        let body = String::from_utf8_lossy(&read_ahead[..read_ahead.len().min(MAX_REFUSAL)]).into_owned();
        return Err(ConnectError::Refused { status, body });
    }
    let says = |name, value: &str| said.get(name).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(value.as_bytes()));
    // The key's answer is compared as it is: it is no word, but bytes.
    let accepted = said.get("sec-websocket-accept").is_some_and(|v| *v == derive_accept_key(key.as_bytes()));
    if !says("upgrade", "websocket") || !says("connection", "upgrade") || !accepted {
        return Err(ConnectError::Handshake("the answer's headers do not fit the request".into()));
    }
    // None was offered: a hub that picks one speaks something else from here on (RFC 6455, section 4.1).
    for picked in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if said.contains_key(picked) {
            return Err(ConnectError::Handshake(format!("the answer has {picked}, which was not asked for")));
        }
    }
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = said.iter().map(header).collect();
    stream.set_read_timeout(Some(LOOK_EVERY)).map_err(ConnectError::Io)?;
    let wire = TunnelStream::new(Arc::new(stream), Role::Client, limits.write).map_err(ConnectError::Io)?;
    Ok((Reader::new(wire.clone(), read_ahead, limits.max_message), Writer(wire), headers))
}

/// The request for the upgrade.
fn request(uri: &Uri, headers: &[(&str, &str)], key: &str) -> Result<String, ConnectError> {
    let authority = uri.authority().ok_or_else(|| ConnectError::Url("it names no host".into()))?.as_str();
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut out = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    for (name, value) in headers {
        HeaderName::from_bytes(name.as_bytes()).map_err(|e| ConnectError::Url(e.to_string()))?;
        HeaderValue::from_str(value).map_err(|e| ConnectError::Url(e.to_string()))?;
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    Ok(out + "\r\n")
}

/// Sends the request and reads the answer's head, and whatever comes with it.
fn ask(mut stream: &TcpStream, request: &[u8], deadline: Instant) -> Result<(Response, Vec<u8>), ConnectError> {
    let in_time =
        |error: io::Error| ConnectError::Io(if is_timeout(&error) { io::ErrorKind::TimedOut.into() } else { error });
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    stream.set_write_timeout(Some(remaining(deadline).map_err(ConnectError::Io)?)).map_err(ConnectError::Io)?;
    stream.write_all(request).map_err(in_time)?;
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let left = remaining(deadline).map_err(ConnectError::Io)?;
        stream.set_read_timeout(Some(left)).map_err(ConnectError::Io)?;
        match stream.read(&mut piece).map_err(in_time)? {
            0 => return Err(ConnectError::Handshake("the hub closed the connection".into())),
            n => read.extend_from_slice(&piece[..n]),
        }
        match Response::try_parse(&read).map_err(|e| ConnectError::Handshake(e.to_string()))? {
            Some((used, answer)) => return Ok((answer, read.split_off(used))),
            None if read.len() > MAX_HEAD => {
                return Err(ConnectError::Handshake("the answer's head is too long".into()));
            }
            None => {}
        }
    }
}

fn dial(uri: &Uri, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(ConnectError::Url("it must begin with ws:// or wss://".into())),
    };
    let host = uri.host().ok_or_else(|| ConnectError::Url("it names no host".into()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = crate::net::resolve::connect(host, port, deadline);
    let ready = stream.and_then(|stream| if secure { secured(stream, host, deadline) } else { Ok(stream) });
    ready.map_err(ConnectError::Io)
}

/// A plain socket in place of a connection to a server that speaks TLS, once they have agreed on it.
///
/// # Errors
/// When they don't, or not in time.
pub fn secured(stream: TcpStream, host: &str, deadline: Instant) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(remaining(deadline)?))?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    tls::wrap(stream, host)
}
