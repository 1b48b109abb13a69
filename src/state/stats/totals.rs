//! Counters of a participant since it registered, for Prometheus. They only grow.

use super::ended::{Ended, Ending};
use super::histogram::Histogram;

/// The protocols that requests are counted by, as events name them. Any other one is counted as the last.
const PROTOCOLS: [&str; 8] =
    ["chatCompletions", "openResponses", "embeddings", "completions", "rerank", "messages", "ollama", "other"];

/// The counters of one participant, or of several together.
#[derive(Debug, Clone)]
pub struct Totals {
    requests: [[u64; Ending::ALL.len()]; PROTOCOLS.len()],
    /// Tokens of prompts, as far as providers reported them.
    pub input_tokens: u64,
    /// Tokens of answers, as far as providers reported them.
    pub output_tokens: u64,
    /// Times to first token of complete answers.
    pub ttft: Histogram,
    /// Durations of complete answers.
    pub duration: Histogram,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            requests: Default::default(),
            input_tokens: 0,
            output_tokens: 0,
            ttft: Histogram::new(&[10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000]),
            duration: Histogram::new(&[10, 100, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000]),
        }
    }
}

impl Totals {
    /// Counts a request that ended.
    pub fn add(&mut self, ended: &Ended) {
        let protocol = PROTOCOLS.iter().position(|&name| name == ended.protocol).unwrap_or(PROTOCOLS.len() - 1);
        self.requests[protocol][ended.ending as usize] += 1;
        self.input_tokens = self.input_tokens.saturating_add(ended.usage.input.unwrap_or(0));
        self.output_tokens = self.output_tokens.saturating_add(ended.usage.output.unwrap_or(0));
        if ended.ending == Ending::Complete {
            self.ttft.add(ended.ttft);
            self.duration.add(ended.duration);
        }
    }

    /// Adds the counters of another participant.
    pub fn merge(&mut self, other: &Totals) {
        let counts = self.requests.iter_mut().flatten().zip(other.requests.iter().flatten());
        for (count, more) in counts {
            *count += more;
        }
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.ttft.merge(&other.ttft);
        self.duration.merge(&other.duration);
    }

    /// The count of requests by protocol and ending, where it is not zero.
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
    use std::time::Duration;

    #[test]
    fn requests_are_counted_by_protocol_and_ending() {
        let mut totals = Totals::default();
        let time = Duration::from_secs(1);
        for (protocol, ending) in [
            ("openResponses", Ending::Complete),
            ("openResponses", Ending::Complete),
            ("messages", Ending::Cancelled),
            ("unheard", Ending::Failed),
        ] {
            let usage = Usage { input: Some(2), output: None, total: None };
            totals.add(&Ended { protocol, ending, ttft: time, duration: time, usage });
        }
        assert_eq!(
            totals.requests().collect::<Vec<_>>(),
            [("openResponses", Ending::Complete, 2), ("messages", Ending::Cancelled, 1), ("other", Ending::Failed, 1)]
        );
        assert_eq!((totals.input_tokens, totals.ttft.count(), totals.duration.count()), (8, 2, 2));
        let mut both = totals.clone();
        both.merge(&totals);
        assert_eq!((both.input_tokens, both.ttft.count(), both.duration.sum_seconds()), (16, 4, 4.0));
        assert_eq!(both.requests().map(|(_, _, count)| count).sum::<u64>(), 8);
    }
}
