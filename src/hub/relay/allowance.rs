//! What people with keys of their own have used, of their limits and in all. The rules are in `state::limits`.

use std::collections::HashMap;
use std::ops::Add;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use memchr::memmem;

use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::usage::{Tokens, Usage};
use crate::state::Now;
use crate::state::limits::{Exceeded, Left, Limits, Used};
use crate::sync::lock;

/// People that are remembered: twice as many as a file of keys may have, as a file may be replaced.
const MAX_PEOPLE: usize = 20_000;
/// Bytes of text for a token, where a provider tells no count.
const BYTES_PER_TOKEN: u64 = 4;
/// Searches for events of a stream.
static DATA: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("data:"));

/// A header and its value.
pub type LimitHeader = (&'static str, String);

/// What people have used.
#[derive(Default)]
pub struct Allowances(Mutex<HashMap<Arc<str>, Account>>);

#[derive(Default)]
struct Account {
    used: Used,
    counts: Counts,
}

/// What a person has used since the hub started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were admitted.
    pub requests: u64,
    /// Requests past a limit.
    pub limited: u64,
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Counts {
            requests: self.requests + other.requests,
            limited: self.limited + other.limited,
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}

/// The permission to serve one request of a person. The request counts as running until it is dropped, or
/// [`RequestPermit::end`] is called.
pub struct RequestPermit {
    allowances: Arc<Allowances>,
    name: Arc<str>,
    ended: AtomicBool,
}

impl Allowances {
    /// Admits a request of a person, or rejects it with 429. Also returns the headers that tell what is left.
    pub fn admit(
        self: &Arc<Self>,
        name: &Arc<str>,
        limits: &Limits,
        now: Now,
    ) -> (Result<RequestPermit, Rejection>, Vec<LimitHeader>) {
        let mut table = lock(&self.0);
        if table.len() >= MAX_PEOPLE && !table.contains_key(name) {
            table.retain(|_, account| account.used.is_running());
        }
        let account = table.entry(name.clone()).or_default();
        let begun = account.used.begin(limits, now);
        let count = if begun.is_ok() { &mut account.counts.requests } else { &mut account.counts.limited };
        *count += 1;
        let headers = headers(&mut account.used, limits, now);
        drop(table);
        let permit = || RequestPermit { allowances: self.clone(), name: name.clone(), ended: AtomicBool::new(false) };
        (begun.map(|()| permit()).map_err(|exceeded| past_limit(name, exceeded)), headers)
    }

    /// Counts tokens that people used earlier in the day, before the hub started.
    pub fn restore(&self, tokens: impl IntoIterator<Item = (String, u64)>, now: Now) {
        let mut table = lock(&self.0);
        for (name, tokens) in tokens.into_iter().take(MAX_PEOPLE) {
            table.entry(name.into()).or_default().used.add_tokens(tokens, now);
        }
    }

    /// What each person has used, by name.
    pub fn counts(&self) -> Vec<(Arc<str>, Counts)> {
        let mut counts: Vec<_> = lock(&self.0).iter().map(|(name, account)| (name.clone(), account.counts)).collect();
        counts.sort_by(|a, b| a.0.cmp(&b.0));
        counts
    }
}

impl RequestPermit {
    /// Whose request it is.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Counts the tokens of an attempt.
    pub fn add_tokens(&self, usage: Usage, now: Now) {
        if let Some(account) = lock(&self.allowances.0).get_mut(&self.name) {
            let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
            account.counts.input = account.counts.input.saturating_add(input);
            account.counts.output = account.counts.output.saturating_add(output);
            account.used.add_tokens(input.saturating_add(output).max(usage.total.unwrap_or(0)), now);
        }
    }

    /// Ends the request, unless that has been done. To be called before the last byte of its response is sent, so that the
    /// person's next request does not count it.
    pub fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed)
            && let Some(account) = lock(&self.allowances.0).get_mut(&self.name)
        {
            account.used.end();
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.end();
    }
}

/// The size of a request and its response, from which their tokens are estimated.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExchangeSize {
    /// Bytes of the request's body.
    prompt: u64,
    /// Bytes of the response's body.
    answer: u64,
    /// Lines of the response's body that begin with `data:`. An event of a stream has a token, as a rule.
    events: u64,
    /// Whether the response is text: that of an embedding costs nothing.
    is_text: bool,
}

impl ExchangeSize {
    /// The size of a request of `prompt` bytes that has no response yet. `is_text`: whether the response will be text.
    pub fn new(prompt: u64, is_text: bool) -> Self {
        ExchangeSize { prompt, is_text, ..ExchangeSize::default() }
    }

    /// Counts a piece of the response.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.answer += bytes.len() as u64;
        self.events += DATA.find_iter(bytes).count() as u64;
    }

    /// The tokens, as the provider reported them or estimated.
    pub fn tokens(&self, reported: Usage) -> Tokens {
        if reported != Usage::default() {
            return Tokens { usage: reported, estimated: false };
        }
        let output = match self.events {
            _ if !self.is_text => 0,
            0 => self.answer / BYTES_PER_TOKEN,
            events => events,
        };
        let input = self.prompt.div_ceil(BYTES_PER_TOKEN);
        Tokens { usage: Usage { input: Some(input), output: Some(output), total: None }, estimated: true }
    }
}

fn past_limit(name: &str, exceeded: Exceeded) -> Rejection {
    let Exceeded { what, limit, wait } = exceeded;
    let seconds = u32::try_from(wait.div_ceil(1000)).unwrap_or(u32::MAX);
    let message = format!("The key of {name} is past its limit ({what}: {limit}): try again in {seconds} s");
    Rejection::new(ErrorCode::RateLimitExceeded, message).retry_after(seconds)
}

/// The headers in which OpenAI tells the same.
fn headers(used: &mut Used, limits: &Limits, now: Now) -> Vec<LimitHeader> {
    const REQUESTS: [&str; 3] =
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
    const TOKENS: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
    let left = [(REQUESTS, used.requests_left(limits, now)), (TOKENS, used.tokens_left(limits, now))];
    let lines = |(names, left): ([&'static str; 3], Option<Left>)| {
        let left = left.map(|left| [left.limit.to_string(), left.remaining.to_string(), time(left.reset)]);
        left.into_iter().flat_map(move |values| names.into_iter().zip(values))
    };
    left.into_iter().flat_map(lines).collect()
}

/// A time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`, `2h5m0s`.
fn time(millis: u64) -> String {
    let (hours, minutes, rest) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let seconds = if rest % 1000 == 0 { format!("{}s", rest / 1000) } else { format!("{}s", rest as f64 / 1000.0) };
    match (hours, minutes) {
        (0, 0) if (1..1000).contains(&millis) => format!("{millis}ms"),
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { wall: 86_400_000 * 5, mono: 0 };

    #[test]
    fn a_request_runs_until_it_is_ended_or_dropped() {
        let (allowances, name) = (Arc::new(Allowances::default()), Arc::from("ann"));
        let limits = Limits { at_once: Some(1), ..Limits::default() };
        let admit = || allowances.admit(&name, &limits, NOW).0;
        let first = admit().unwrap();
        assert!(admit().is_err());
        first.end();
        let second = admit().unwrap();
        drop(first);
        assert!(admit().is_err(), "an ended request is not ended twice");
        drop(second);
        assert!(admit().is_ok());
        assert_eq!(allowances.counts(), [(name, Counts { requests: 3, limited: 2, input: 0, output: 0 })]);
    }

    #[test]
    fn tokens_from_before_the_start_count_for_the_day_and_in_no_metric() {
        let (allowances, name) = (Arc::new(Allowances::default()), Arc::from("ann"));
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        allowances.restore([("ann".to_owned(), 100)], NOW);
        assert!(allowances.admit(&name, &limits, NOW).0.is_err());
        assert_eq!(allowances.counts(), [(name.clone(), Counts { limited: 1, ..Counts::default() })]);
        let tomorrow = Now { wall: NOW.wall + 86_400_000, ..NOW };
        assert!(allowances.admit(&name, &limits, tomorrow).0.is_ok());
    }

    #[test]
    fn only_limits_that_there_are_have_headers() {
        let (allowances, name) = (Arc::new(Allowances::default()), Arc::from("ann"));
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let (permit, _) = allowances.admit(&name, &limits, NOW);
        permit.unwrap().add_tokens(Usage { input: Some(10), output: Some(20), total: None }, NOW);
        let (_, headers) = allowances.admit(&name, &limits, NOW);
        let expected = [("limit", "100"), ("remaining", "70"), ("reset", "24h0m0s")];
        let expected = expected.map(|(what, value)| (format!("x-ratelimit-{what}-tokens"), value.to_owned()));
        assert_eq!(headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>(), expected);
        assert!(allowances.admit(&name, &Limits::default(), NOW).1.is_empty());
    }

    #[test]
    fn tokens_are_estimated_only_where_the_provider_tells_none() {
        let estimate = |is_text, pieces: &[&str]| {
            let mut size = ExchangeSize::new(400, is_text);
            pieces.iter().for_each(|piece| size.receive(piece.as_bytes()));
            let reported = Usage { input: Some(1), output: None, total: None };
            assert_eq!(size.tokens(reported), Tokens { usage: reported, estimated: false });
            size.tokens(Usage::default()).usage
        };
        assert_eq!(
            estimate(true, &["{\"text\":", "12345678901}"]),
            Usage { input: Some(100), output: Some(5), total: None }
        );
        assert_eq!(estimate(true, &["data: {}\n\ndata: {}\n\n", "data: [DONE]\n\n"]).output, Some(3));
        assert_eq!((estimate(true, &[]).output, estimate(false, &["[0.5,0.25]"]).output), (Some(0), Some(0)));
    }

    #[test]
    fn times_are_written_as_openai_writes_them() {
        let written = [0, 120, 1500, 60_000, 86_399_000].map(time);
        assert_eq!(written, ["0s", "120ms", "1.5s", "1m0s", "23h59m59s"]);
    }
}
