//! Calls to the local provider. Its credentials are used here and nowhere else.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::client::http::base_url;
use crate::error::{Error, Reason};
use crate::net::client::{ClientConnection, ResponseHead};
use crate::net::pool::Pool;
use crate::net::request::{self, USER_AGENT, host_header};
use crate::net::resolve::Server;
use crate::net::stream::Stream;
use crate::net::tls::dial;
use crate::proto::operations::{operation, passes_header};
use crate::proto::web::{PLAIN, route_url};

/// The time limit for opening a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a refused request an error shows, in characters.
const MAX_SHOWN: usize = 200;

/// A provider's address and credentials. Clones share its connections.
#[derive(Clone)]
pub struct ProviderClient {
    /// Base URL without a trailing slash.
    pub endpoint: String,
    upstream: Arc<ProviderServer>,
}

/// Where requests are sent, and what is part of each request.
struct ProviderServer {
    server: Server,
    /// The path prefix of the endpoint, without a trailing slash.
    base: String,
    /// Names of the headers that the user set, in lower case. They replace the hub's.
    own_headers: Vec<String>,
    /// The header lines of every request. They contain the credentials.
    lines: String,
    pool: Pool,
}

impl fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderClient").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ProviderClient {
    /// A provider at `endpoint`, an absolute http or https URL, called with these headers.
    ///
    /// # Errors
    /// When the URL or a header is invalid.
    pub fn new(endpoint: &str, auth: &[(String, String)]) -> Result<Self, Error> {
        let bad = |reason| Error::Invalid { what: "a provider header", reason };
        let mut own_headers = Vec::with_capacity(auth.len());
        let mut lines = String::new();
        for (name, value) in auth {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|e| bad(Reason::caused_by(format!("has no valid name: {name:?}"), e)))?;
            HeaderValue::from_str(value)
                .map_err(|e| bad(Reason::caused_by(format!("{name} has a value that cannot be sent"), e)))?;
            own_headers.push(parsed.as_str().to_owned());
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        let endpoint = base_url("the endpoint", endpoint)?;
        let must = format!("must be a URL, not \"{endpoint}\"");
        let no_url = |reason| Error::Invalid { what: "the endpoint", reason };
        let uri = Uri::try_from(endpoint.as_str()).map_err(|e| no_url(Reason::caused_by(&must, e)))?;
        let server = Server::of(&uri).ok_or_else(|| no_url(must.into()))?;
        // The endpoint is shown to all in the room.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let reason = "must not hold a user name or password: use --header-env Authorization=VARIABLE";
            return Err(no_url(reason.into()));
        }
        let host = host_header(&uri);
        let defaults = [("host", host.as_str()), ("user-agent", USER_AGENT), ("accept", "*/*"), PLAIN];
        for (name, value) in defaults.into_iter().filter(|(name, _)| !own_headers.iter().any(|own| own == name)) {
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        let upstream = ProviderServer {
            server,
            base: uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_owned(),
            own_headers,
            lines,
            pool: Pool::default(),
        };
        Ok(ProviderClient { endpoint, upstream: Arc::new(upstream) })
    }

    /// Encodes the head of a hub's request for the provider. Only the operations of the inference plane are allowed, so that no hub
    /// reaches the provider's other routes, such as those that delete a model.
    ///
    /// # Errors
    /// One sentence, when the request is not allowed or a header can't be sent.
    pub fn relay(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body_bytes: Option<usize>,
    ) -> Result<Vec<u8>, String> {
        if operation(method, path).is_none() {
            let shown: String = format!("{method} {path}").chars().take(MAX_SHOWN).collect();
            return Err(format!("the participant refused {shown:?}: it passes on a room's own operations only"));
        }
        self.request_head(method, path, headers, body_bytes)
    }

    /// Encodes the head of a request for the provider.
    ///
    /// # Errors
    /// One sentence, when a header can't be sent.
    pub fn request_head(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body_bytes: Option<usize>,
    ) -> Result<Vec<u8>, String> {
        let upstream = &*self.upstream;
        let headers = headers.iter().filter(|(name, _)| upstream.forwards(name));
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        request::encode_head(method, &route_url(&upstream.base, path), &upstream.lines, headers, body_bytes)
            .map_err(|name| format!("the hub's header {name} has a value that cannot be sent"))
    }

    /// An idle connection that is still open, if there is one. It may be stale (`ClientConnection::was_stale`).
    ///
    /// # Errors
    /// When it can't be used.
    pub fn idle(&self) -> Result<Option<ClientConnection>, Reason> {
        let Some(mut call) = self.upstream.pool.take() else { return Ok(None) };
        call.set_deadline(None).map_err(|error| self.no_answer(error))?;
        Ok(Some(call))
    }

    /// A new connection. `deadline` bounds the next response.
    ///
    /// # Errors
    /// When the provider can't be reached.
    pub fn connect_anew(&self, deadline: Option<Instant>) -> Result<ClientConnection, Reason> {
        let call = self.upstream.dial(deadline);
        let ready = call.and_then(|mut call| call.set_deadline(deadline).map(|()| call));
        ready.map_err(|error| self.no_answer(error))
    }

    /// Sends a request in two parts, such as head and body, and maps the head of the response.
    ///
    /// # Errors
    /// When there is no response.
    pub fn send<T>(
        &self,
        call: &mut ClientConnection,
        request: [&[u8]; 2],
        map: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> Result<T, Reason> {
        self.send_and_wait(call, request, |_| (), map)
    }

    /// As [`ProviderClient::send`]; `wait` as in [`ClientConnection::send_and_wait`].
    ///
    /// # Errors
    /// As [`ProviderClient::send`].
    pub fn send_and_wait<T>(
        &self,
        call: &mut ClientConnection,
        request: [&[u8]; 2],
        wait: impl FnMut(&Stream),
        map: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> Result<T, Reason> {
        call.send_and_wait(request, wait, map).map_err(|error| self.no_answer(error))
    }

    fn no_answer(&self, error: io::Error) -> Reason {
        Reason::caused_by(format!("the provider at {} does not answer: {error}", self.endpoint), error)
    }

    /// Keeps a connection for the next request, if it can serve one.
    pub fn pool(&self, call: ClientConnection) {
        self.upstream.pool.put(call);
    }
}

impl ProviderServer {
    /// Whether a hub's header is sent: one of the allowed ones, unless the user set it.
    fn forwards(&self, name: &str) -> bool {
        passes_header(name) && !self.own_headers.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn dial(&self, deadline: Option<Instant>) -> io::Result<ClientConnection> {
        let latest = Instant::now() + CONNECT_TIMEOUT;
        let deadline = deadline.map_or(latest, |deadline| deadline.min(latest));
        ClientConnection::new(dial(&self.server, None, deadline, |_| Ok(()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(provider: &ProviderClient, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<String, String> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        provider.request_head(method, path, &headers, None).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_hub_reaches_only_a_rooms_operations() {
        let provider = ProviderClient::new("http://h/a/v1/", &[]).unwrap();
        let relay = |method: &str, path: &str| provider.relay(method, path, &[], Some(2));
        assert!(
            relay("POST", "/v1/chat/completions").unwrap().starts_with(b"POST /a/v1/chat/completions HTTP/1.1\r\n")
        );
        for (method, path) in [("GET", "/api/delete"), ("GET", "/..%2fsecret"), ("BREW", "/v1/chat/completions")] {
            assert!(relay(method, path).unwrap_err().contains("refused"), "{method} {path}");
        }
        let long = relay("GET", &"\u{1b}".repeat(10_000)).unwrap_err();
        assert!(long.len() < 4096 && !long.contains('\u{1b}'), "{long}");
    }

    #[test]
    fn a_request_is_written_with_the_providers_own_lines() {
        let provider = ProviderClient::new("http://[::1]:8/", &[("Authorization".into(), "Bearer k".into())]).unwrap();
        let agent = format!("user-agent: {USER_AGENT}\r\naccept: */*\r\naccept-encoding: identity\r\n");
        let own = format!("Authorization: Bearer k\r\nhost: [::1]:8\r\n{agent}");
        let hubs = [
            ("anthropic-beta", "1"),
            ("authorization", "Bearer evil"),
            ("Content-Length", "9"),
            ("Cookie", "evil"),
            ("Host", "evil"),
            ("Proxy-Authorization", "evil"),
        ];
        assert_eq!(
            text(&provider, "GET", "/v1/x", &hubs).unwrap(),
            format!("GET /v1/x HTTP/1.1\r\n{own}anthropic-beta: 1\r\n\r\n")
        );
        let post = text(&provider, "POST", "/v1/x", &[]).unwrap();
        assert_eq!(post, format!("POST /v1/x HTTP/1.1\r\n{own}content-length: 0\r\n\r\n"));
        let forged = [("tracestate", "b\r\nCookie: d")];
        assert!(text(&provider, "GET", "/v1/x", &forged).is_err(), "{forged:?}");
        let named = ProviderClient::new("https://h", &[("Host".into(), "other".into())]).unwrap();
        assert!(text(&named, "GET", "/", &[]).unwrap().starts_with("GET / HTTP/1.1\r\nHost: other\r\nuser-agent"));
    }

    #[test]
    fn credentials_are_never_printed() {
        let provider = ProviderClient::new("http://h", &[("Authorization".into(), "Bearer s3cret".into())]).unwrap();
        assert!(!format!("{provider:?}").contains("s3cret"));
        assert!(ProviderClient::new("http://h", &[("bad name".into(), "x".into())]).is_err());
        assert!(ProviderClient::new("http://h", &[("X".into(), "a\nb".into())]).is_err());
        let error = ProviderClient::new("http://ann:s3cret@h/v1", &[]).unwrap_err().to_string();
        assert!(error.contains("user name") && !error.contains("s3cret"), "{error}");
    }
}
