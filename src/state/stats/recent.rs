//! The last fifteen minutes, in slices of time. Slices in which nothing ended take no memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::ended::{Ended, Ending};
use super::log_histogram::LogHistogram;
use crate::proto::metrics::{Figures, Quantiles, Windows};

/// How long a slice is, milliseconds. A window may hold that much more than it is called.
const SLICE: u64 = 10_000;
const MINUTE: u64 = 60_000;
/// What is kept, milliseconds.
const KEPT: u64 = 15 * MINUTE;

/// What ended lately.
#[derive(Debug, Default)]
pub struct Recent {
    /// The oldest first.
    slices: VecDeque<Slice>,
}

/// What ended in one slice of time, or in several.
#[derive(Debug, Default)]
struct Slice {
    /// The slice's number on the forward-only clock.
    number: u64,
    requests: u64,
    errors: u64,
    cancelled: u64,
    input: u64,
    output: u64,
    /// What the answers took whose output tokens were told, microseconds.
    telling: u64,
    ttft: LogHistogram,
    duration: LogHistogram,
}

impl Slice {
    fn add(&mut self, ended: &Ended) {
        self.requests += 1;
        self.errors += u64::from(matches!(ended.ending, Ending::Failed | Ending::Rejected));
        self.cancelled += u64::from(ended.ending == Ending::Cancelled);
        self.input = self.input.saturating_add(ended.usage.input.unwrap_or(0));
        self.output = self.output.saturating_add(ended.usage.output.unwrap_or(0));
        if ended.usage.output.is_some() {
            self.telling = self.telling.saturating_add(micros(ended.duration));
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
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.telling = self.telling.saturating_add(other.telling);
        self.ttft.merge(&other.ttft);
        self.duration.merge(&other.duration);
    }

    fn figures(&self) -> Figures {
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        Figures {
            requests: self.requests,
            errors: self.errors,
            cancelled: self.cancelled,
            error_rate: share(self.errors, self.requests).map(|rate| rounded(rate, 1e4)),
            ttft_ms: quantiles(&self.ttft),
            duration_ms: quantiles(&self.duration),
            tokens_per_second: share(self.output, self.telling).map(|rate| rounded(rate * 1e6, 1e2)),
            input_tokens: self.input,
            output_tokens: self.output,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rounded(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}

fn quantiles(spread: &LogHistogram) -> Option<Quantiles> {
    let at = |share| spread.quantile(share).map(|value| rounded(value, 1e2));
    Some(Quantiles { p50: at(0.5)?, p95: at(0.95)? })
}

/// The first slice that belongs to so long a window.
fn first(now: u64, window: u64) -> u64 {
    now.saturating_sub(window) / SLICE
}

impl Recent {
    /// Counts a request that ended now, on the forward-only clock.
    pub fn add(&mut self, ended: &Ended, now: u64) {
        self.forget(now);
        // Threads may come in another order than their clocks: what is a moment late goes with the newest.
        let number = self.slices.back().map_or(0, |slice| slice.number).max(now / SLICE);
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice { number, ..Slice::default() });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.add(ended);
        }
    }

    /// Lets go of what is too old.
    pub fn forget(&mut self, now: u64) {
        let first = first(now, KEPT);
        while self.slices.front().is_some_and(|slice| slice.number < first) {
            self.slices.pop_front();
        }
        if self.slices.is_empty() && self.slices.capacity() > 0 {
            self.slices = VecDeque::new();
        }
    }
}

/// What several participants have done together, over one, five and fifteen minutes.
#[derive(Debug, Default)]
pub struct Sum {
    windows: [Slice; 3],
}

impl Sum {
    /// Adds a participant's.
    pub fn add(&mut self, recent: &Recent, now: u64) {
        for (window, minutes) in self.windows.iter_mut().zip([1, 5, 15]) {
            let first = first(now, minutes * MINUTE);
            recent.slices.iter().filter(|slice| slice.number >= first).for_each(|slice| window.merge(slice));
        }
    }

    /// The figures.
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
        let mut sum = Sum::default();
        recents.iter().for_each(|recent| sum.add(recent, now));
        sum.windows()
    }

    #[test]
    fn each_window_has_what_ended_in_it() {
        let mut recent = Recent::default();
        let start = 7 * 60 * MINUTE;
        for minute in 0..30 {
            recent.add(&ended(Ending::Complete, 1000, None), start + minute * MINUTE);
        }
        let now = start + 29 * MINUTE;
        let told = windows(&[&recent], now);
        let counts = [&told.one_minute, &told.five_minutes, &told.fifteen_minutes].map(|figures| figures.requests);
        // Both ends of a window count.
        assert_eq!(counts, [2, 6, 16]);
        assert_eq!(windows(&[&recent], now + MINUTE / 2).one_minute.requests, 1);
        let later = windows(&[&recent], now + 16 * MINUTE);
        assert_eq!(later, Windows::default());
        recent.forget(now + 16 * MINUTE);
        assert_eq!(recent.slices.capacity(), 0, "and then it takes no memory");
    }

    #[test]
    fn figures_tell_apart_what_failed_and_who_left() {
        let mut recent = Recent::default();
        recent.add(&ended(Ending::Complete, 500, Some(10)), 0);
        recent.add(&ended(Ending::Complete, 1500, Some(30)), 1);
        recent.add(&ended(Ending::Failed, 90_000, None), 2);
        recent.add(&ended(Ending::Rejected, 90_000, None), 3);
        recent.add(&ended(Ending::Cancelled, 90_000, None), 4);
        let told = windows(&[&recent], 5).one_minute;
        assert_eq!((told.requests, told.errors, told.cancelled, told.error_rate), (5, 2, 1, Some(0.4)));
        assert_eq!((told.input_tokens, told.output_tokens, told.tokens_per_second), (6, 40, Some(20.0)));
        let close = |told: f64, exact: f64| (told / exact - 1.0).abs() < 0.07;
        let (ttft, duration) = (told.ttft_ms.unwrap(), told.duration_ms.unwrap());
        assert!(close(ttft.p50, 50.0) && close(ttft.p95, 150.0), "{ttft:?}");
        assert!(close(duration.p50, 500.0) && close(duration.p95, 1500.0), "{duration:?}");
    }

    #[test]
    fn participants_add_up() {
        let (mut one, mut two) = (Recent::default(), Recent::default());
        (0..95).for_each(|_| one.add(&ended(Ending::Complete, 100, Some(1)), 20 * MINUTE));
        (0..5).for_each(|_| two.add(&ended(Ending::Complete, 10_000, None), 20 * MINUTE));
        two.add(&ended(Ending::Failed, 1, None), 20 * MINUTE);
        let both = windows(&[&one, &two], 20 * MINUTE).fifteen_minutes;
        assert_eq!((both.requests, both.errors), (101, 1));
        let duration = both.duration_ms.unwrap();
        assert!(duration.p95 < 110.0, "exactly nineteen in twenty were quick: {duration:?}");
    }

    #[test]
    fn a_clock_a_moment_behind_is_counted_and_memory_has_a_bound() {
        let mut recent = Recent::default();
        recent.add(&ended(Ending::Complete, 1, None), 10 * SLICE);
        recent.add(&ended(Ending::Complete, 1, None), 10 * SLICE - 1);
        assert_eq!((recent.slices.len(), recent.slices[0].requests), (1, 2));
        for n in 0..100_000 {
            recent.add(&ended(Ending::Complete, n, None), n * 100);
        }
        assert!(recent.slices.len() <= 92, "{} slices", recent.slices.len());
    }
}
