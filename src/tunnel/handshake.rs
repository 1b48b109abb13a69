//! The WebSocket handshake, from both sides: it turns a connection into a tunnel.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::codec::Role;
use super::reader::{READ_TIMEOUT, Reader};
use super::writer::{TunnelStream, Writer};
use crate::error::Reason;
use crate::fingerprint::Fingerprint;
use crate::net::header_list::has_token;
use crate::net::io::{is_timeout, remaining};
use crate::net::request::{encode_head, host_header};
use crate::net::resolve::Server;
use crate::net::stream::Stream;
use crate::net::tls::dial;

/// How much of the body of a refused handshake is kept for the error, in bytes.
const MAX_REFUSAL: usize = 4096;
/// The longest head of a handshake's response, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The limits of one tunnel.
#[derive(Debug, Clone, Copy)]
pub struct TunnelLimits {
    /// The longest message that is read, in bytes.
    pub max_message: usize,
    /// The longest time that one write may take.
    pub write_timeout: Duration,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        TunnelLimits { max_message: 16 << 20, write_timeout: Duration::from_secs(30) }
    }
}

/// Why a request cannot be upgraded to a WebSocket (RFC 6455, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The request does not ask for an upgrade to `websocket`.
    NotAnUpgrade,
    /// `Sec-WebSocket-Key` is missing, repeated, or not base64 of 16 bytes.
    NoKey,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
}

impl HandshakeError {
    /// The HTTP status of the response: 426 or 400.
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

/// Why a tunnel could not be opened.
#[derive(Debug)]
pub enum ConnectError {
    /// The URL, or a header of the request, is invalid.
    Url(Reason),
    /// The connection failed, or the timeout expired.
    Io(io::Error),
    /// The hub responded with a status other than 101.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body: the part that arrived with the head, up to 4 KiB.
        body: String,
    },
    /// The response violates HTTP or the WebSocket handshake.
    Handshake(Reason),
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

impl From<ConnectError> for Reason {
    fn from(error: ConnectError) -> Self {
        let text = error.to_string();
        match error {
            ConnectError::Io(error) => Reason::caused_by(text, error),
            ConnectError::Url(reason) | ConnectError::Handshake(reason) => reason.with_text(text),
            ConnectError::Refused { .. } => text.into(),
        }
    }
}

/// Validates an upgrade request and returns the `Sec-WebSocket-Accept` for its response. `lines` returns all values of a
/// header, in the order of their lines.
///
/// # Errors
/// [`HandshakeError`]: the rule that the request violates.
pub fn accept<'a>(http11: bool, lines: impl Fn(&str) -> Vec<&'a str>) -> Result<String, HandshakeError> {
    // HTTP/1.0 does not support upgrades (RFC 9110, section 7.8).
    if !http11 || !has_token(lines("upgrade"), "websocket") || !has_token(lines("connection"), "upgrade") {
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

/// The two ends of this side of a tunnel.
pub struct TunnelEnds {
    /// What the peer sends is read from it.
    pub reader: Reader,
    /// What is sent to the peer is written to it.
    pub writer: Writer,
}

impl TunnelEnds {
    fn new(stream: Arc<Stream>, role: Role, read_ahead: Vec<u8>, limits: TunnelLimits) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let stream = TunnelStream::new(stream, role, limits.write_timeout)?;
        Ok(TunnelEnds { reader: Reader::new(stream.clone(), read_ahead, limits.max_message), writer: Writer(stream) })
    }
}

/// The tunnel on an upgraded connection, on the server's side. `read_ahead` are the bytes received after the request's head.
///
/// # Errors
/// If the socket options cannot be set.
pub fn serve(stream: Arc<Stream>, read_ahead: Vec<u8>, limits: TunnelLimits) -> io::Result<TunnelEnds> {
    TunnelEnds::new(stream, Role::Server, read_ahead, limits)
}

/// A tunnel that has been opened on the client's side.
pub struct Connected {
    /// Reads and writes it.
    pub ends: TunnelEnds,
    /// The headers of the 101 response that opened it.
    pub headers: Vec<(String, String)>,
}

/// Opens a tunnel to a `ws://` or `wss://` URL. `headers` are sent in addition to those of the handshake; `timeout` covers
/// everything from connecting to the response; the lookup of the hub's name counts, but cannot be cut short. With a `pin`, the hub's
/// certificate must have that fingerprint.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(
    url: &str,
    headers: &[(&str, &str)],
    pin: Option<Fingerprint>,
    limits: TunnelLimits,
    timeout: Duration,
) -> Result<Connected, ConnectError> {
    let uri = Uri::try_from(url).map_err(|e| ConnectError::Url(Reason::of(e)))?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        return Err(ConnectError::Url("it must begin with ws:// or wss://".into()));
    }
    let server = Server::of(&uri).ok_or_else(|| ConnectError::Url("it names no host".into()))?;
    let mut key = [0; 16];
    crate::random::fill(&mut key).map_err(|e| ConnectError::Io(io::Error::other(e)))?;
    let key = STANDARD.encode(key);
    let request = request(&uri, headers, &key)?;
    let deadline = Instant::now() + timeout;
    let stream = dial(&server, pin, deadline, |_| Ok(())).map_err(ConnectError::Io)?;
    let (response, read_ahead) = send_request(&stream, &request, deadline)?;
    let status = response.status().as_u16();
    if status != 101 {
        let body = String::from_utf8_lossy(&read_ahead[..read_ahead.len().min(MAX_REFUSAL)]).into_owned();
        return Err(ConnectError::Refused { status, body });
    }
    check_response(response.headers(), &key)?;
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    let ends = TunnelEnds::new(Arc::new(stream), Role::Client, read_ahead, limits).map_err(ConnectError::Io)?;
    Ok(Connected { ends, headers })
}

/// Checks the headers of a 101 response (RFC 6455, section 4.1).
fn check_response(headers: &HeaderMap, key: &str) -> Result<(), ConnectError> {
    let upgraded = headers.get("upgrade").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && has_token(headers.get_all("connection"), "upgrade");
    // Base64, so compared with regard to case.
    let accepted = headers.get("sec-websocket-accept").is_some_and(|v| *v == derive_accept_key(key.as_bytes()));
    if !upgraded || !accepted {
        return Err(ConnectError::Handshake("the response's headers do not match the request".into()));
    }
    // The request offers no extension and no subprotocol, so the hub must not select one.
    for selected in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if headers.contains_key(selected) {
            return Err(ConnectError::Handshake(
                format!("the response has {selected}, which was not requested").into(),
            ));
        }
    }
    Ok(())
}

/// Formats the upgrade request.
fn request(uri: &Uri, headers: &[(&str, &str)], key: &str) -> Result<Vec<u8>, ConnectError> {
    for (name, _) in headers {
        HeaderName::from_bytes(name.as_bytes()).map_err(|e| ConnectError::Url(Reason::of(e)))?;
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let lines = format!(
        "Host: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        host_header(uri)
    );
    let invalid = |name| ConnectError::Url(format!("the header {name} has a value that cannot be sent").into());
    encode_head("GET", target, &lines, headers.iter().copied(), None).map_err(invalid)
}

/// Sends the request and reads the response's head. Also returns the bytes received after the head.
fn send_request(stream: &Stream, request: &[u8], deadline: Instant) -> Result<(Response, Vec<u8>), ConnectError> {
    let timed =
        |error: io::Error| ConnectError::Io(if is_timeout(&error) { io::ErrorKind::TimedOut.into() } else { error });
    stream.set_nodelay().map_err(ConnectError::Io)?;
    let left = Some(remaining(deadline).map_err(ConnectError::Io)?);
    stream.set_write_timeout(left).map_err(ConnectError::Io)?;
    stream.write_all(&mut [IoSlice::new(request)], left).map_err(timed)?;
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let left = remaining(deadline).map_err(ConnectError::Io)?;
        stream.set_read_timeout(Some(left)).map_err(ConnectError::Io)?;
        match stream.read(&mut chunk).map_err(timed)? {
            0 => return Err(ConnectError::Handshake("the hub closed the connection".into())),
            n => received.extend_from_slice(&chunk[..n]),
        }
        match Response::try_parse(&received).map_err(|e| ConnectError::Handshake(Reason::of(e)))? {
            Some((head_len, response)) => return Ok((response, received.split_off(head_len))),
            None if received.len() > MAX_HEAD => {
                return Err(ConnectError::Handshake("the response's head is too long".into()));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(url: &str) -> (String, Reason) {
        let error = connect(url, &[], None, TunnelLimits::default(), Duration::from_secs(9)).map(drop).unwrap_err();
        (error.to_string(), error.into())
    }

    #[test]
    fn a_tunnel_that_cannot_be_opened_is_reported_with_its_cause() {
        let (text, unreachable) = reason("ws://127.0.0.1:0/t");
        let source = unreachable.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(text, format!("the hub could not be reached: {source}"));
        assert_eq!(unreachable.to_string(), text);
        let (text, invalid) = reason("ws://a b");
        let source = invalid.source().unwrap();
        assert_eq!((text, source.is::<io::Error>()), (format!("the tunnel's URL can't be opened: {source}"), false));
        assert!(reason("http://h").1.source().is_none());
    }

    #[test]
    fn a_request_names_the_host_as_the_url_does_and_no_user() {
        let text = |url: &str, headers: &[(&str, &str)]| {
            request(&url.parse().unwrap(), headers, "k").map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let own = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n";
        assert_eq!(
            text("ws://u:p@[::1]:8/a?b", &[("X-A", "c")]).unwrap(),
            format!("GET /a?b HTTP/1.1\r\nHost: [::1]:8\r\n{own}X-A: c\r\n\r\n")
        );
        assert_eq!(text("wss://h", &[]).unwrap(), format!("GET / HTTP/1.1\r\nHost: h\r\n{own}\r\n"));
        assert!(text("ws://h", &[("X", "a\r\nY: b")]).is_err());
        assert!(text("ws://h", &[("X: a\r\nY", "b")]).is_err());
    }

    #[test]
    fn a_response_may_list_more_than_the_upgrade() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let is_accepted = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
            headers.insert("sec-websocket-accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            check_response(&headers, key).is_ok()
        };
        assert!(is_accepted(&[("connection", "Upgrade")]));
        assert!(is_accepted(&[("connection", "keep-alive, Upgrade")]));
        assert!(is_accepted(&[("connection", "keep-alive"), ("connection", "upgrade")]));
        assert!(!is_accepted(&[("connection", "keep-alive")]));
        assert!(!is_accepted(&[("connection", "Upgrade"), ("sec-websocket-protocol", "x")]));
        assert!(!is_accepted(&[]));
    }
}
