//! Asking a provider something, within limits of time and size, and reading lists in what it answers.

use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::provider::ProviderClient;
use crate::error::Reason;
use crate::proto::api_answer::{MAX_PEEK, is_event_stream};
use crate::proto::parsed::parse_within;

/// The most memory that an answer's JSON may take, in bytes: tiny objects take many times their text. A gateway's list of 1,000 models
/// takes two MiB.
const MAX_PARSED: usize = 32 << 20;

/// How much is waited for, and read.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// The time from connecting to the end of the answer.
    pub time: Duration,
    /// The longest answer to a `GET`, in bytes.
    pub bytes: usize,
}

impl CallLimits {
    /// The end of a call that begins now.
    pub fn deadline(self) -> Option<Instant> {
        Some(Instant::now() + self.time)
    }
}

/// Status, content type and body of an answer.
#[derive(Debug, Default)]
pub struct ProviderAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub kind: Option<String>,
    /// The body. Of the answer to a `POST` only the part that shows whether the route exists.
    pub body: Vec<u8>,
}

/// An answer, or why there is none.
pub type CallResult = Result<ProviderAnswer, Reason>;

impl ProviderAnswer {
    /// Its JSON; null where its status is another than 200, or its body is not JSON, or would take too much memory.
    pub fn json(&self) -> Value {
        if self.status == 200 { parse_within(&self.body, MAX_PARSED).unwrap_or_default() } else { Value::Null }
    }
}

/// The names of objects, by the key of a name. What has none is left out.
pub fn names<'e>(entries: impl IntoIterator<Item = &'e Value>, key: &str) -> Vec<String> {
    let names = entries.into_iter().filter_map(|entry| entry[key].as_str());
    names.filter(|name| !name.trim().is_empty()).map(str::to_owned).collect()
}

/// The answer to a call of another thread.
pub fn join(thread: ScopedJoinHandle<'_, CallResult>) -> CallResult {
    thread.join().unwrap_or_else(|_| Err("the request failed".into()))
}

/// Makes a `GET` request.
///
/// # Errors
/// When there is no answer within the limits.
pub fn get(provider: &ProviderClient, path: &str, limits: CallLimits) -> CallResult {
    call(provider, "GET", path, limits)
}

/// Makes a `POST` request with an empty JSON object.
///
/// # Errors
/// When there is no answer in time.
pub fn post_nothing(provider: &ProviderClient, path: &str, limits: CallLimits) -> CallResult {
    call(provider, "POST", path, limits)
}

fn call(provider: &ProviderClient, method: &str, path: &str, limits: CallLimits) -> CallResult {
    let json = [("Content-Type".to_owned(), "application/json".to_owned())];
    let (headers, body): (&[_], _) = if method == "POST" { (&json, Some("{}")) } else { (&[], None) };
    let head = provider.request_head(method, path, headers, body.map(str::len))?;
    let mut call = provider.connect_anew(limits.deadline())?;
    let mut answer = provider.send(&mut call, [&head, body.unwrap_or_default().as_bytes()], |head| {
        let kind = head.headers().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, kind)| String::from_utf8_lossy(kind).into_owned());
        ProviderAnswer { status: head.status, kind, body: Vec::new() }
    })?;
    let body = &mut answer.body;
    if method == "GET" {
        while !call.read(body).map_err(Reason::of)? {
            if body.len() > limits.bytes {
                return Err(format!("the provider's answer to {path} is too long").into());
            }
        }
        provider.pool(call);
    } else if matches!(answer.status, 200..300 | 404) && !is_event_stream(answer.kind.as_deref()) {
        // The body may be endless, and only its start matters, so a read error is no failure.
        while body.len() <= MAX_PEEK && matches!(call.read(body), Ok(false)) {}
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_would_take_too_much_memory_is_no_json() {
        let list = |count: usize| format!(r#"{{"version":"1","x":[{}]}}"#, vec![r#"{"":0}"#; count].join(","));
        let version =
            |count| ProviderAnswer { status: 200, body: list(count).into(), kind: None }.json()["version"].take();
        assert_eq!((version(10_000), version(500_000)), ("1".into(), Value::Null));
    }
}
