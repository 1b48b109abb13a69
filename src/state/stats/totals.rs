//! What is counted since a participant came, as Prometheus wants it: counters that only grow.

use std::time::Duration;

use super::ended::{Ended, Ending};

/// What requests ask for, as events call it. What has no name here is counted as the last.
const PROTOCOLS: [&str; 7] =
    ["chatCompletions", "openResponses", "embeddings", "completions", "rerank", "messages", "other"];

/// Counts of times, in buckets with bounds that never change.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Upper bounds, milliseconds, the smallest first.
    bounds: &'static [u32],
    /// One for each bound, and one for all that is longer.
    counts: Box<[u64]>,
    micros: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new(bounds: &'static [u32]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len() + 1].into(), micros: 0 }
    }

    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        let above = |bound: &&u32| time > Duration::from_millis(u64::from(**bound));
        self.counts[self.bounds.iter().take_while(above).count()] += 1;
        self.micros = self.micros.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts all that another with the same bounds has counted.
    fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.micros = self.micros.saturating_add(other.micros);
    }

    /// Each upper bound in seconds, and how many did not exceed it.
    pub fn below(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        self.bounds.iter().zip(&self.counts).map(move |(&bound, count)| {
            sum += count;
            (f64::from(bound) / 1000.0, sum)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, seconds.
    pub fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }
}

/// What a participant has done since it came.
#[derive(Debug, Clone)]
pub struct Totals {
    requests: [[u64; Ending::ALL.len()]; PROTOCOLS.len()],
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
    /// Times to first token of good answers.
    pub ttft: Histogram,
    /// Durations of good answers.
    pub duration: Histogram,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            requests: Default::default(),
            input: 0,
            output: 0,
            ttft: Histogram::new(&[10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000]),
            duration: Histogram::new(&[10, 100, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000]),
        }
    }
}

impl Totals {
    /// Counts a request.
    pub fn add(&mut self, ended: &Ended) {
        let protocol = PROTOCOLS.iter().position(|&name| name == ended.protocol).unwrap_or(PROTOCOLS.len() - 1);
        self.requests[protocol][ended.ending as usize] += 1;
        self.input = self.input.saturating_add(ended.usage.input.unwrap_or(0));
        self.output = self.output.saturating_add(ended.usage.output.unwrap_or(0));
        if ended.ending == Ending::Complete {
            self.ttft.add(ended.ttft);
            self.duration.add(ended.duration);
        }
    }

    /// Counts all that another has counted.
    pub fn merge(&mut self, other: &Totals) {
        let counts = self.requests.iter_mut().flatten().zip(other.requests.iter().flatten());
        counts.for_each(|(count, more)| *count += more);
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.ttft.merge(&other.ttft);
        self.duration.merge(&other.duration);
    }

    /// How many requests of which protocol ended how, where there were any.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, Ending, u64)> {
        let all = PROTOCOLS.iter().zip(&self.requests);
        let each = all.flat_map(|(&protocol, counts)| Ending::ALL.map(|e| (protocol, e, counts[e as usize])));
        each.filter(|(_, _, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::usage::Usage;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::new(&[10, 100]);
        for millis in [10, 11, 100, 101, 5000] {
            histogram.add(Duration::from_millis(millis));
        }
        assert_eq!(histogram.below().collect::<Vec<_>>(), [(0.01, 1), (0.1, 3)]);
        assert_eq!((histogram.count(), histogram.seconds()), (5, 5.222));
    }

    #[test]
    fn requests_are_counted_by_what_and_how() {
        let mut totals = Totals::default();
        let time = Duration::from_secs(1);
        for (protocol, ending) in [
            ("openResponses", Ending::Complete),
            ("openResponses", Ending::Complete),
            ("messages", Ending::Cancelled),
            ("news", Ending::Failed),
        ] {
            let usage = Usage { input: Some(2), output: None, total: None };
            totals.add(&Ended { protocol, ending, ttft: time, duration: time, usage });
        }
        assert_eq!(
            totals.requests().collect::<Vec<_>>(),
            [("openResponses", Ending::Complete, 2), ("messages", Ending::Cancelled, 1), ("other", Ending::Failed, 1)]
        );
        assert_eq!((totals.input, totals.ttft.count(), totals.duration.count()), (8, 2, 2));
        let mut both = totals.clone();
        both.merge(&totals);
        assert_eq!((both.input, both.ttft.count(), both.duration.seconds()), (16, 4, 4.0));
        assert_eq!(both.requests().map(|(_, _, count)| count).sum::<u64>(), 8);
    }
}
