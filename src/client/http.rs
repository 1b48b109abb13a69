//! HTTP requests to a hub, and the conversion of its error responses to [`Error`].

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::http::{Request, Response};
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, Body};

use crate::error::{Error, HubError, Reason, TlsFault};
use crate::fingerprint::Fingerprint;
use crate::net::request::USER_AGENT;
use crate::net::resolve::Names;
use crate::net::ureq_tls::TlsConnector;
use crate::proto::management::{ErrorBody, Meta};
use crate::proto::openai::MAX_LIST;
use crate::proto::parsed::parse_within;
use crate::proto::read_json::{from_bytes, from_value};
use crate::proto::scan;
use crate::proto::text::cut;
use crate::proto::web::without_scheme;
use crate::sync::lock;

/// The time limit for opening a connection, here, for events and for chats.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of a whole call. Joining a protected room may wait while the hub hashes other passwords.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest response that is read, in bytes: ten thousand participants fit.
const MAX_RESPONSE: u64 = 32 << 20;
/// The most memory that an entry of a list takes once it is parsed; a longer one is skipped.
const MAX_ENTRY: usize = 4 << 20;
/// The largest error response that is read, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// The longest text of an error that is shown, in bytes.
const MAX_LINE: usize = 200;

/// A hub's address, and the headers of every request to it.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
    tls: TlsConnector,
    /// The fingerprint that the hub's certificate must have, if it is known.
    pub pin: Option<Fingerprint>,
    /// The time limit of a whole call.
    whole: Duration,
    /// The longest answer that is read, in bytes.
    pub max_answer: u64,
    /// The hub's URL, without a trailing slash.
    pub base: String,
    /// Headers of every request, such as the hub's key.
    pub headers: Vec<(String, String)>,
    /// The hub's id of the last request that it answered with success. Clones share it.
    request_id: Arc<Mutex<Option<String>>>,
}

/// An agent for calls on a local network: no proxy, no redirects, no compression; no status is an error.
///
/// `whole` bounds a call, `silence` the wait for its next bytes.
fn agent(tls: &TlsConnector, connect: Duration, whole: Option<Duration>, silence: Option<Duration>) -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(connect))
        .timeout_global(whole)
        .timeout_per_read(silence)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .accept_encoding("")
        .user_agent(USER_AGENT)
        .build();
    Agent::with_parts(config, ().chain(TcpConnector::default()).chain(tls.clone()), Names)
}

/// Checks an absolute http or https URL and drops its trailing slashes.
pub fn base_url(what: &'static str, url: &str) -> Result<String, Error> {
    let trimmed = url.trim().trim_end_matches('/');
    match without_scheme(trimmed) {
        Some(rest) if !rest.is_empty() && ureq::http::Uri::try_from(trimmed).is_ok() => Ok(trimmed.to_owned()),
        _ => {
            let example = if trimmed.is_empty() || url.contains("//") {
                "http://localhost:3000"
            } else {
                &format!("http://{trimmed}")
            };
            let must = format!("must be an absolute http or https URL, such as {example}, not \"{url}\"");
            Err(Error::Invalid { what, reason: must.into() })
        }
    }
}

impl Http {
    pub fn new(hub_url: &str) -> Result<Self, Error> {
        let tls = TlsConnector::new(None);
        Ok(Http {
            agent: agent(&tls, CONNECT_TIMEOUT, Some(CALL_TIMEOUT), None),
            tls,
            pin: None,
            whole: CALL_TIMEOUT,
            max_answer: MAX_RESPONSE,
            base: base_url("the hub's address", hub_url)?,
            headers: Vec::new(),
            request_id: Arc::default(),
        })
    }

    pub fn with_timeout(self, whole: Duration) -> Self {
        Http { agent: self.agent(CONNECT_TIMEOUT.min(whole), Some(whole), None), whole, ..self }
    }

    pub fn with_pin(self, pin: Option<Fingerprint>) -> Result<Self, Error> {
        // Without TLS anyone could answer in the hub's place.
        if pin.is_some() && !self.base.starts_with("https://") {
            let reason = format!("must begin with https:// where a fingerprint is given, unlike {}", self.base).into();
            return Err(Error::Invalid { what: "the hub's address", reason });
        }
        let whole = self.whole;
        Ok(Http { tls: TlsConnector::new(pin), pin, ..self }.with_timeout(whole))
    }

    /// An agent for calls with other time limits.
    pub fn agent(&self, connect: Duration, whole: Option<Duration>, silence: Option<Duration>) -> Agent {
        agent(&self.tls, connect, whole, silence)
    }

    pub fn set_request_id(&self, id: String) {
        *lock(&self.request_id) = Some(id);
    }

    pub fn request_id(&self) -> Option<String> {
        lock(&self.request_id).clone()
    }

    /// Sends a request; the status (2xx) and body of the response.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Vec<u8>), Error> {
        let answer = self.send(&self.agent, method, path, body)?;
        let status = answer.status().as_u16();
        if !(200..300).contains(&status) {
            return Err(self.refused(path, answer));
        }
        Ok((status, read_within(answer.into_body(), self.max_answer).map_err(|e| self.unreachable(e))?))
    }

    /// Sends a request through the given agent; the response may have any status.
    pub fn send(&self, agent: &Agent, method: &str, path: &str, body: Option<&Value>) -> Result<Response<Body>, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        let bad = |e: ureq::http::Error| Error::Invalid { what: "a header for the hub", reason: Reason::of(e) };
        let sent = match method {
            "GET" | "DELETE" => agent.run(request.body(()).map_err(bad)?),
            _ => agent.run(request.body(text).map_err(bad)?),
        };
        sent.map_err(|e| self.unreachable(e))
    }

    pub fn unreachable(&self, error: ureq::Error) -> Error {
        let reason = match error {
            ureq::Error::Io(error) if TlsFault::of(&error) == Some(TlsFault::NoTls) => {
                Reason::caused_by("what answers there speaks no TLS", error)
            }
            // Its own text: the other begins with "io:".
            ureq::Error::Io(error) => Reason::of(error),
            error => Reason::of(error),
        };
        Error::Unreachable { url: self.base.clone(), reason }
    }

    /// Gets a list, and gives `take` its objects; `key` is the list's, with its quotes. One object is parsed at a time: the values of a
    /// long list can take a hundred times its memory.
    pub fn each_object(&self, path: &str, key: &str, take: &mut dyn FnMut(Value)) -> Result<(), Error> {
        let (_, text) = self.call("GET", path, None)?;
        let list = str::from_utf8(&text).ok().and_then(|text| scan::member(text, key));
        let objects = list.and_then(|list| scan::objects(list, MAX_LIST, |_, _, _| Some(())));
        let objects = objects.ok_or_else(|| self.bad_answer(path, format!("it has no list {key}").as_str().into()))?;
        objects.into_iter().filter_map(|object| parse_within(object.as_bytes(), MAX_ENTRY)).for_each(take);
        Ok(())
    }

    pub fn bad_answer(&self, path: &str, reason: Reason) -> Error {
        Error::BadAnswer { url: format!("{}{path}", self.base), status: None, reason }
    }

    /// The error of a response that is not what was asked for. Of its body no more than an error may have is read: one that is cut
    /// off is not JSON, and reported by its status.
    pub fn refused(&self, path: &str, answer: Response<Body>) -> Error {
        let status = answer.status().as_u16();
        let id = request_id(&answer);
        let mut text = Vec::new();
        let _ = answer.into_body().into_reader().take(MAX_ERROR as u64).read_to_end(&mut text);
        let mut error = self.refusal(path, status, &text);
        if let Error::Hub(refusal) = &mut error {
            refusal.request_id = refusal.request_id.take().or(id);
        }
        error
    }

    /// The error that a text of the hub tells, with the status of its response. As in [`Http::refused`], no more of it is read than an
    /// error may have.
    pub fn refusal(&self, path: &str, status: u16, text: &[u8]) -> Error {
        let text = &text[..text.len().min(MAX_ERROR)];
        let mut answer: Map<String, Value> = match from_bytes(text) {
            Ok(answer) => answer,
            Err(error) => {
                let said =
                    first_line(text).map_or_else(|| "without a JSON body".to_owned(), |line| format!("({line})"));
                let reason = Reason::caused_by(format!("status {status} {said}"), error);
                return Error::BadAnswer { url: format!("{}{path}", self.base), status: Some(status), reason };
            }
        };
        let request_id = answer.remove("meta").and_then(|meta| from_value::<Meta>(&meta).ok());
        let error = answer.remove("error").unwrap_or_default();
        let request_id = request_id.map(|meta| meta.request_id);
        let refused = match from_value::<ErrorBody>(&error) {
            Ok(body) => HubError {
                status,
                code: Some(body.code),
                message: body.message,
                hint: body.hint,
                details: body.details,
                request_id,
            },
            // An error code that is newer than this program, or another plane's or a proxy's error.
            Err(_) => {
                let message = error.as_str().or_else(|| error["message"].as_str());
                let message = message.map_or_else(|| format!("the hub answered {status}"), str::to_owned);
                // The inference plane has `code` beside `error`.
                let code = answer.remove("code").and_then(|code| from_value(&code).ok());
                HubError { status, code, message, hint: None, details: None, request_id }
            }
        };
        Error::Hub(Box::new(refused))
    }
}

/// The id by which the inference plane names a request, in a header of its answer.
pub fn request_id(answer: &Response<Body>) -> Option<String> {
    header(answer, "x-gambi-request-id").map(str::to_owned)
}

/// A header of an answer, if it is text.
pub fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// The first line of a text that was meant for people; none of a page.
fn first_line(text: &[u8]) -> Option<&str> {
    let line = cut(std::str::from_utf8(text).ok()?.lines().next()?.trim(), MAX_LINE);
    (!line.is_empty() && !line.starts_with(['<', '{', '['])).then_some(line)
}

/// The whole body of a response.
pub fn read(body: Body) -> Result<Vec<u8>, ureq::Error> {
    read_within(body, MAX_RESPONSE)
}

fn read_within(body: Body, most: u64) -> Result<Vec<u8>, ureq::Error> {
    body.into_with_config().limit(most).read_to_vec()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;
    use crate::proto::management::ErrorCode;

    #[test]
    fn urls_are_checked_and_trimmed() {
        assert_eq!(base_url("x", "http://h:1/").unwrap(), "http://h:1");
        assert_eq!(base_url("x", " https://h/gambi// ").unwrap(), "https://h/gambi");
        for bad in ["", "h:1", "ws://h", "http://", "http://a b"] {
            assert!(base_url("x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_is_never_ignored() {
        let pin = Some(Fingerprint::of(b"certificate"));
        assert!(Http::new("https://h").unwrap().with_pin(pin).is_ok());
        let error = Http::new("http://h").unwrap().with_pin(pin).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the hub's address must begin with https:// where a fingerprint is given, unlike http://h"
        );
        assert!(Http::new("http://h").unwrap().with_pin(None).is_ok());
    }

    #[test]
    fn a_refusal_keeps_the_hubs_code_and_message() {
        let http = Http::new("http://h").unwrap();
        let text =
            br#"{"error":{"code":"ROOM_NOT_FOUND","message":"Room not found","hint":"h"},"meta":{"requestId":"r"}}"#;
        let error = http.refusal("/x", 404, text);
        assert_eq!((error.code(), error.status()), (Some(ErrorCode::RoomNotFound), Some(404)));
        assert_eq!((error.hint().as_deref(), error.request_id()), (Some("h"), Some("r")));
        let error = http.refusal("/x", 503, br#"{"error":"busy"}"#);
        assert_eq!((error.to_string().as_str(), error.status()), ("busy", Some(503)));
        for (status, body, missing) in [
            (404, "Not Found", true),
            (404, r#"{"error":{"code":"INVALID_REQUEST","message":"m"},"meta":{"requestId":"r"}}"#, true),
            (404, r#"{"error":{"code":"ROOM_NOT_FOUND","message":"m"},"meta":{"requestId":"r"}}"#, false),
            (502, "<html>", false),
        ] {
            assert_eq!(http.refusal("/v1/x", status, body.as_bytes()).is_missing_route(), missing, "{body}");
        }
        assert!(matches!(http.refusal("/x", 502, b"<html>"), Error::BadAnswer { .. }));
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(MAX_ERROR));
        assert!(matches!(http.refusal("/x", 502, long.as_bytes()), Error::BadAnswer { .. }));
        assert!(matches!(http.refusal("/x", 502, b"[]"), Error::BadAnswer { .. }));
    }

    #[test]
    fn an_error_has_its_cause_as_its_source_and_names_it_once() {
        let error = Http::new("http://127.0.0.1:0").unwrap().call("GET", "/x", None).unwrap_err();
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(error.to_string(), format!("cannot reach http://127.0.0.1:0: {source}"));
        let http = Http::new("http://h").unwrap();
        let error = http.unreachable(ureq::Error::HostNotFound);
        assert!(matches!(error.source().unwrap().downcast_ref(), Some(ureq::Error::HostNotFound)));
        assert_eq!(error.to_string(), "cannot reach http://h: host not found");
        let error = http.refusal("/x", 502, b"<html>");
        assert!(error.source().unwrap().is::<serde_json::Error>());
        assert_eq!(error.to_string(), "http://h/x does not answer as a hub does: status 502 without a JSON body");
    }
}
