//! Calls to the local provider: the only place that sees its credentials.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::client::http::base_url;
use crate::error::Error;
use crate::net::client::{Answer, Call};
use crate::net::resolve;
use crate::proto::operations::{operation, passes_header};
use crate::proto::web::route_url;
use crate::tunnel::connect_tls;

const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept that nobody uses.
const KEEP: Duration = Duration::from_secs(15);

/// A provider's address and credentials. Copies share its connections.
#[derive(Clone)]
pub struct Provider {
    /// Base URL without a trailing slash.
    pub endpoint: String,
    server: Arc<Server>,
}

/// Where its requests go, and what stands in each.
struct Server {
    secure: bool,
    host: String,
    port: u16,
    /// What its paths begin with.
    base: String,
    /// Names of the headers that the user gave, in lower case.
    given: Vec<String>,
    /// The lines that every request has, credentials among them.
    lines: String,
    /// Connections that wait for a request, the latest last, each since when.
    kept: Mutex<Vec<(Instant, Call)>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider at `endpoint`, an absolute http or https URL, called with these headers.
    ///
    /// # Errors
    /// When the URL or a header is none.
    pub fn new(endpoint: &str, auth: &[(String, String)]) -> Result<Self, Error> {
        let bad = |reason: String| Error::Invalid { what: "a provider header", reason };
        let mut given = Vec::with_capacity(auth.len());
        let mut lines = String::new();
        for (name, value) in auth {
            let parsed =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(format!("has no valid name: {name:?}")))?;
            HeaderValue::from_str(value).map_err(|_| bad(format!("{name} has a value that cannot be sent")))?;
            given.push(parsed.as_str().to_owned());
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        let endpoint = base_url("the endpoint", endpoint)?;
        let no_url = || Error::Invalid { what: "the endpoint", reason: format!("must be a URL, not \"{endpoint}\"") };
        let uri = Uri::try_from(endpoint.as_str()).map_err(|_| no_url())?;
        let (host, secure) = (uri.host().ok_or_else(no_url)?, uri.scheme_str() == Some("https"));
        let written = uri.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let own = [("host", written.as_str()), ("user-agent", AGENT), ("accept", "*/*")];
        for (name, value) in own.into_iter().filter(|(name, _)| !given.iter().any(|given| given == name)) {
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        let server = Server {
            secure,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            base: uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_owned(),
            given,
            lines,
            kept: Mutex::default(),
        };
        Ok(Provider { endpoint, server: Arc::new(server) })
    }

    /// A hub's request as it is written to the provider. Only the operations of the inference plane pass, so that no hub
    /// reaches the provider's other routes, such as those that delete a model.
    ///
    /// # Errors
    /// In one sentence, when it is not passed on.
    pub fn relay(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        if operation(method, path).is_none() {
            let asked: String = format!("{method} {path}").chars().take(MAX_TOLD).collect();
            return Err(format!("the participant refused {asked:?}: it passes on a room's own operations only"));
        }
        self.request(method, path, headers, body)
    }

    /// A request as it is written to the provider: head and body.
    ///
    /// # Errors
    /// In one sentence, when a header can't be sent.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        let (server, body) = (&*self.server, body.or((method == "POST").then_some("")));
        let mut head = String::with_capacity(256 + path.len() + server.lines.len() + body.map_or(0, str::len));
        head.extend([method, " ", &route_url(&server.base, path), " HTTP/1.1\r\n", &server.lines]);
        for (name, value) in headers.iter().filter(|(name, _)| server.takes(name)) {
            if HeaderValue::from_str(value).is_err() {
                return Err(format!("the hub's header {name} has a value that cannot be sent"));
            }
            head.extend([name, ": ", value, "\r\n"]);
        }
        if let Some(body) = body {
            // Writing to memory does not fail.
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head.extend(["\r\n", body.unwrap_or_default()]);
        Ok(head.into_bytes())
    }

    /// A connection: one that is kept and still good, or a new one. `deadline` is for all that is asked on it.
    ///
    /// # Errors
    /// In one sentence, when there is none to be had.
    pub fn connect(&self, deadline: Option<Instant>) -> Result<Call, String> {
        let call = match self.server.kept() {
            Some(call) => Ok(call),
            None => self.server.dial(deadline).and_then(Call::new),
        };
        let ready = call.and_then(|mut call| call.set_deadline(deadline).map(|()| call));
        ready.map_err(|error| self.silent(&error))
    }

    /// Asks, and shows `see` the head of the answer.
    ///
    /// # Errors
    /// In one sentence, why there is no answer.
    pub fn ask<T>(&self, call: &mut Call, request: &[u8], see: impl FnOnce(&Answer<'_>) -> T) -> Result<T, String> {
        call.ask(request, see).map_err(|error| self.silent(&error))
    }

    fn silent(&self, error: &io::Error) -> String {
        format!("the provider at {} does not answer: {error}", self.endpoint)
    }

    /// Keeps a connection for the next request, if it is good for one.
    pub fn keep(&self, call: Call) {
        if call.can_be_kept() {
            self.server.lock().push((Instant::now(), call));
        }
    }
}

/// The most of a refused request that is told, in characters.
const MAX_TOLD: usize = 200;
const AGENT: &str = concat!("gambi/", env!("CARGO_PKG_VERSION"));

impl Server {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Call)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a header goes along: one of those that pass, unless the user gave it a value.
    fn takes(&self, name: &str) -> bool {
        passes_header(name) && !self.given.iter().any(|given| given.eq_ignore_ascii_case(name))
    }

    /// The connection that was used last, if it is still good. Those that nobody has needed for long are closed.
    fn kept(&self) -> Option<Call> {
        loop {
            let (since, call) = {
                let mut kept = self.lock();
                if kept.first().is_some_and(|(since, _)| since.elapsed() > KEEP) {
                    kept.retain(|(since, _)| since.elapsed() <= KEEP);
                }
                kept.pop()?
            };
            if since.elapsed() <= KEEP && call.is_open() {
                return Some(call);
            }
        }
    }

    fn dial(&self, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let latest = Instant::now() + CONNECT;
        let deadline = deadline.map_or(latest, |deadline| deadline.min(latest));
        let stream = resolve::connect(&self.host, self.port, deadline)?;
        if self.secure { connect_tls(stream, &self.host, deadline) } else { Ok(stream) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(provider: &Provider, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<String, String> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        provider.request(method, path, &headers, None).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_hub_reaches_only_a_rooms_operations() {
        let provider = Provider::new("http://h/a/v1/", &[]).unwrap();
        let relay = |method: &str, path: &str| provider.relay(method, path, &BTreeMap::new(), Some("{}"));
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
        let provider = Provider::new("http://[::1]:8/", &[("Authorization".into(), "Bearer k".into())]).unwrap();
        let agent = format!("user-agent: {AGENT}\r\naccept: */*\r\n");
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
        let named = Provider::new("https://h", &[("Host".into(), "other".into())]).unwrap();
        assert!(text(&named, "GET", "/", &[]).unwrap().starts_with("GET / HTTP/1.1\r\nHost: other\r\nuser-agent"));
    }

    #[test]
    fn credentials_are_never_printed() {
        let provider = Provider::new("http://h", &[("Authorization".into(), "Bearer s3cret".into())]).unwrap();
        assert!(!format!("{provider:?}").contains("s3cret"));
        assert!(Provider::new("http://h", &[("bad name".into(), "x".into())]).is_err());
        assert!(Provider::new("http://h", &[("X".into(), "a\nb".into())]).is_err());
    }
}
