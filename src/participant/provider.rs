//! Calls to the local provider: the only place that sees its credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;
use ureq::http::{HeaderName, HeaderValue, Request, Response};
use ureq::{Agent, Body};

use crate::client::http::{agent, base_url};
use crate::error::Error;
use crate::proto::web::route_url;

const CONNECT: Duration = Duration::from_secs(10);

/// A provider's address and credentials.
#[derive(Clone)]
pub struct Provider {
    /// Base URL without a trailing slash.
    pub endpoint: String,
    auth: Vec<(HeaderName, HeaderValue)>,
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
        let header = |(name, value): &(String, String)| {
            let parsed =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(format!("has no valid name: {name:?}")))?;
            let mut value =
                HeaderValue::from_str(value).map_err(|_| bad(format!("{name} has a value that cannot be sent")))?;
            value.set_sensitive(true);
            Ok((parsed, value))
        };
        let auth = auth.iter().map(header).collect::<Result<_, Error>>()?;
        Ok(Provider { endpoint: base_url("the endpoint", endpoint)?, auth })
    }

    /// A connection pool of its own, which can be shut down to cut off the call that uses it.
    pub fn agent(&self) -> Agent {
        agent(CONNECT, None, None)
    }

    /// Makes a call.
    ///
    /// # Errors
    /// In one sentence, why it could not be made or got no answer.
    pub fn call(
        &self,
        agent: &Agent,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Option<&RawValue>,
    ) -> Result<Response<Body>, String> {
        if !matches!(method, "GET" | "POST" | "DELETE") {
            return Err(format!("the method {method:?} is not passed on"));
        }
        let mut request = Request::builder().method(method).uri(self.url(path)?);
        for (name, value) in headers.iter().filter(|(name, _)| !self.is_auth(name)) {
            request = request.header(name, value);
        }
        for (name, value) in &self.auth {
            request = request.header(name, value);
        }
        let bad = |e: ureq::http::Error| format!("the request cannot be sent: {e}");
        let sent = match body {
            None if method == "POST" => agent.run(request.body("").map_err(bad)?),
            None => agent.run(request.body(()).map_err(bad)?),
            Some(body) => agent.run(request.body(body.get()).map_err(bad)?),
        };
        sent.map_err(|e| format!("the provider at {} does not answer: {e}", self.endpoint))
    }

    fn is_auth(&self, name: &str) -> bool {
        self.auth.iter().any(|(auth, _)| auth.as_str().eq_ignore_ascii_case(name))
    }

    /// The URL of a path. A hub must not reach anything but this provider, whatever path it sends.
    fn url(&self, path: &str) -> Result<String, String> {
        let clean = path.bytes().all(|b| b.is_ascii_graphic()) && !path.contains(['\\', '#']);
        let steps_up = path
            .split(['/', '?'])
            .any(|part| matches!(part.to_ascii_lowercase().as_str(), ".." | "%2e%2e" | ".%2e" | "%2e."));
        if !path.starts_with('/') || path.starts_with("//") || !clean || steps_up {
            return Err("the hub asked for a path that is not passed on".into());
        }
        Ok(route_url(&self.endpoint, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_stay_within_the_provider() {
        let provider = Provider::new("http://h:1/", &[]).unwrap();
        assert_eq!(provider.url("/v1/models?x=1").unwrap(), "http://h:1/v1/models?x=1");
        for bad in
            ["", "x", "//evil/", "/../x", "/v1/%2E%2e/x", "/a b", "/a\r\nX: y", "@evil", "/v1/..?x", "/a#b", "/\\x"]
        {
            assert!(provider.url(bad).is_err(), "{bad:?}");
        }
        let versioned = Provider::new("http://h/v1/", &[]).unwrap();
        assert_eq!(versioned.url("/v1/chat/completions").unwrap(), "http://h/v1/chat/completions");
    }

    #[test]
    fn credentials_are_never_printed() {
        let provider = Provider::new("http://h", &[("Authorization".into(), "Bearer s3cret".into())]).unwrap();
        assert!(!format!("{provider:?}").contains("s3cret"));
        assert!(Provider::new("http://h", &[("bad name".into(), "x".into())]).is_err());
        assert!(Provider::new("http://h", &[("X".into(), "a\nb".into())]).is_err());
    }
}
