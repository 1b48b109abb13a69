//! Statistics of the last fifteen minutes, in slices of ten seconds, and their sums over windows. A slice in which no
//! request ended takes no memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::ended::{Ended, Ending};
use super::log_histogram::LogHistogram;
use crate::proto::metrics::{Figures, Quantiles, Windows};

/// The length of a slice, milliseconds. A window may reach back up to one slice further than its name implies.
const SLICE_MS: u64 = 10_000;
pub(super) const MINUTE_MS: u64 = 60_000;
/// How long slices are retained: minutes, and milliseconds.
const MINUTES: usize = 15;
const RETENTION_MS: u64 = MINUTES as u64 * MINUTE_MS;

/// The requests of one participant that ended in the last fifteen minutes.
#[derive(Debug, Default)]
pub struct Recent {
    /// Oldest first, in ascending order of their numbers.
    slices: VecDeque<Slice>,
}

/// The requests that ended in one slice of time, or in several.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// The slice's start on the monotonic clock, in units of its length. Unused in a sum.
    pub(super) number: u64,
    requests: u64,
    errors: u64,
    cancelled: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// The duration of those answers whose output tokens were reported, microseconds.
    reported_micros: u64,
    ttft: LogHistogram,
    duration: LogHistogram,
}

impl Slice {
    pub(super) fn new(number: u64) -> Self {
        Slice { number, ..Slice::default() }
    }

    pub(super) fn add(&mut self, ended: &Ended) {
        self.requests += 1;
        self.errors += u64::from(matches!(ended.ending, Ending::Failed | Ending::Rejected));
        self.cancelled += u64::from(ended.ending == Ending::Cancelled);
        self.input_tokens = self.input_tokens.saturating_add(ended.usage.input.unwrap_or(0));
        self.output_tokens = self.output_tokens.saturating_add(ended.usage.output.unwrap_or(0));
        if ended.usage.output.is_some() {
            self.reported_micros = self.reported_micros.saturating_add(micros(ended.duration));
        }
        if ended.ending == Ending::Complete {
            self.ttft.add(ended.ttft);
            self.duration.add(ended.duration);
        }
    }

    fn merge(&mut self, other: &Slice) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reported_micros = self.reported_micros.saturating_add(other.reported_micros);
        self.ttft.merge(&other.ttft);
        self.duration.merge(&other.duration);
    }

    pub(super) fn figures(&self) -> Figures {
        let ratio = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        Figures {
            requests: self.requests,
            errors: self.errors,
            cancelled: self.cancelled,
            error_rate: ratio(self.errors, self.requests).map(|rate| rounded(rate, 1e4)),
            ttft_ms: quantiles(&self.ttft),
            duration_ms: quantiles(&self.duration),
            tokens_per_second: ratio(self.output_tokens, self.reported_micros).map(|rate| rounded(rate * 1e6, 1e2)),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Rounds to a fraction of one: a `scale` of 100 retains two decimals.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

fn quantiles(histogram: &LogHistogram) -> Option<Quantiles> {
    let at = |fraction| histogram.quantile(fraction).map(|value| rounded(value, 1e2));
    Some(Quantiles { p50: at(0.5)?, p95: at(0.95)? })
}

/// The number of the first slice of a window of `window` milliseconds that ends at `now`.
fn first_slice(now: u64, window: u64) -> u64 {
    now.saturating_sub(window) / SLICE_MS
}

impl Recent {
    /// Counts a request that ended at `now`, milliseconds on the monotonic clock.
    pub fn add(&mut self, ended: &Ended, now: u64) {
        self.evict_old(now);
        // Threads may get here in another order than they read the clock: a late one is counted in the newest slice.
        let number = self.slices.back().map_or(0, |slice| slice.number).max(now / SLICE_MS);
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice::new(number));
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.add(ended);
        }
    }

    /// The requests and the output tokens of the last minutes, of which the last one ends at `now`, milliseconds on the
    /// monotonic clock. `None` where there were no requests.
    pub fn minutes(&self, now: u64) -> Option<(Vec<u64>, Vec<u64>)> {
        let (mut requests, mut tokens) = (vec![0; MINUTES], vec![0; MINUTES]);
        for slice in self.slices.iter().rev() {
            let ago = (now / SLICE_MS).saturating_sub(slice.number) * SLICE_MS / MINUTE_MS;
            let Some(minute) = (MINUTES as u64 - 1).checked_sub(ago) else { break };
            requests[minute as usize] += slice.requests;
            // Providers state the counts.
            tokens[minute as usize] = u64::saturating_add(tokens[minute as usize], slice.output_tokens);
        }
        requests.iter().any(|&count| count > 0).then_some((requests, tokens))
    }

    /// Drops slices that are older than fifteen minutes at `now`, and the memory once none is left.
    pub fn evict_old(&mut self, now: u64) {
        let first = first_slice(now, RETENTION_MS);
        while self.slices.front().is_some_and(|slice| slice.number < first) {
            self.slices.pop_front();
        }
        if self.slices.is_empty() && self.slices.capacity() > 0 {
            self.slices = VecDeque::new();
        }
    }
}

/// The sums of several participants over the last one, five and fifteen minutes.
#[derive(Debug, Default)]
pub struct WindowSums {
    windows: [Slice; 3],
}

impl WindowSums {
    /// Adds a participant's requests up to `now`, milliseconds on the monotonic clock.
    pub fn add(&mut self, recent: &Recent, now: u64) {
        for (window, minutes) in self.windows.iter_mut().zip([1, 5, 15]) {
            let first = first_slice(now, minutes * MINUTE_MS);
            for slice in recent.slices.iter().filter(|slice| slice.number >= first) {
                window.merge(slice);
            }
        }
    }

    /// The figures of each window, for the API.
    pub fn windows(&self) -> Windows {
        let [one_minute, five_minutes, fifteen_minutes] = self.windows.each_ref().map(Slice::figures);
        Windows { one_minute, five_minutes, fifteen_minutes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::usage::Usage;

    fn ended(ending: Ending, millis: u64, output: Option<u64>) -> Ended {
        Ended {
            protocol: "chatCompletions",
            ending,
            ttft: Duration::from_millis(millis / 10),
            duration: Duration::from_millis(millis),
            usage: Usage { input: output.map(|_| 3), output, total: None },
        }
    }

    fn windows(recents: &[&Recent], now: u64) -> Windows {
        let mut sum = WindowSums::default();
        recents.iter().for_each(|recent| sum.add(recent, now));
        sum.windows()
    }

    #[test]
    fn each_window_has_the_requests_that_ended_in_it() {
        let mut recent = Recent::default();
        let start = 7 * 60 * MINUTE_MS;
        for minute in 0..30 {
            recent.add(&ended(Ending::Complete, 1000, None), start + minute * MINUTE_MS);
        }
        let now = start + 29 * MINUTE_MS;
        let found = windows(&[&recent], now);
        let counts = [&found.one_minute, &found.five_minutes, &found.fifteen_minutes].map(|figures| figures.requests);
        // Both ends of a window belong to it.
        assert_eq!(counts, [2, 6, 16]);
        assert_eq!(windows(&[&recent], now + MINUTE_MS / 2).one_minute.requests, 1);
        let later = windows(&[&recent], now + 16 * MINUTE_MS);
        assert_eq!(later, Windows::default());
        recent.evict_old(now + 16 * MINUTE_MS);
        assert_eq!(recent.slices.capacity(), 0, "an empty record takes no memory");
    }

    #[test]
    fn the_last_minutes_are_told_one_by_one() {
        let mut recent = Recent::default();
        assert_eq!(recent.minutes(0), None);
        let now = 100 * MINUTE_MS + 59_999;
        for (ago, tokens) in [(15 * MINUTE_MS, 1), (14 * MINUTE_MS, 2), (MINUTE_MS, 4), (59_000, 8), (0, 16)] {
            recent.add(&ended(Ending::Complete, 10, Some(tokens)), now - ago);
        }
        let (requests, tokens) = recent.minutes(now).unwrap();
        assert_eq!((requests.len(), tokens.len()), (15, 15));
        assert_eq!((requests[0], tokens[0]), (1, 2));
        assert_eq!((&requests[13..], &tokens[13..]), (&[1, 2][..], &[4, 24][..]));
        assert_eq!(recent.minutes(now + 16 * MINUTE_MS), None);
    }

    #[test]
    fn failed_and_cancelled_requests_are_counted_apart() {
        let mut recent = Recent::default();
        recent.add(&ended(Ending::Complete, 500, Some(10)), 0);
        recent.add(&ended(Ending::Complete, 1500, Some(30)), 1);
        recent.add(&ended(Ending::Failed, 90_000, None), 2);
        recent.add(&ended(Ending::Rejected, 90_000, None), 3);
        recent.add(&ended(Ending::Cancelled, 90_000, None), 4);
        let found = windows(&[&recent], 5).one_minute;
        assert_eq!((found.requests, found.errors, found.cancelled, found.error_rate), (5, 2, 1, Some(0.4)));
        assert_eq!((found.input_tokens, found.output_tokens, found.tokens_per_second), (6, 40, Some(20.0)));
        let close = |found: f64, exact: f64| (found / exact - 1.0).abs() < 0.07;
        let (ttft, duration) = (found.ttft_ms.unwrap(), found.duration_ms.unwrap());
        assert!(close(ttft.p50, 50.0) && close(ttft.p95, 150.0), "{ttft:?}");
        assert!(close(duration.p50, 500.0) && close(duration.p95, 1500.0), "{duration:?}");
    }

    #[test]
    fn figures_of_participants_are_summed() {
        let (mut one, mut two) = (Recent::default(), Recent::default());
        (0..95).for_each(|_| one.add(&ended(Ending::Complete, 100, Some(1)), 20 * MINUTE_MS));
        (0..5).for_each(|_| two.add(&ended(Ending::Complete, 10_000, None), 20 * MINUTE_MS));
        two.add(&ended(Ending::Failed, 1, None), 20 * MINUTE_MS);
        let both = windows(&[&one, &two], 20 * MINUTE_MS).fifteen_minutes;
        assert_eq!((both.requests, both.errors), (101, 1));
        let duration = both.duration_ms.unwrap();
        assert!(duration.p95 < 110.0, "exactly nineteen in twenty were fast: {duration:?}");
    }

    #[test]
    fn a_late_request_is_counted_and_memory_is_bounded() {
        let mut recent = Recent::default();
        recent.add(&ended(Ending::Complete, 1, None), 10 * SLICE_MS);
        recent.add(&ended(Ending::Complete, 1, None), 10 * SLICE_MS - 1);
        assert_eq!((recent.slices.len(), recent.slices[0].requests), (1, 2));
        for n in 0..100_000 {
            recent.add(&ended(Ending::Complete, n, None), n * 100);
        }
        assert!(recent.slices.len() <= 92, "{} slices", recent.slices.len());
    }
}
