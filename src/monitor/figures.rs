//! Counts and speeds of a participant or a room, out of the events that were seen. Pure: the time is an argument.

use std::collections::VecDeque;

use gambi::proto::management::Metrics;

/// How far back speeds look, milliseconds.
const WINDOW: u64 = 300_000;
/// Answers that speeds are made of, at most.
const SAMPLES: usize = 64;

/// What has been seen of somebody's requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests that began.
    pub requests: u64,
    /// Those that failed, but for the ones whose client hung up.
    pub errors: u64,
    /// Those under way.
    pub in_flight: u32,
    /// When one last failed, milliseconds since the epoch.
    pub failed_at: Option<u64>,
    recent: VecDeque<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    at: u64,
    ttft_ms: u64,
    duration_ms: u64,
    /// Tokens of the answer, where the provider said.
    tokens: Option<u64>,
}

impl Figures {
    /// A request began. `followed`: its end will be known for its.
    pub fn began(&mut self, followed: bool) {
        self.requests += 1;
        self.in_flight = self.in_flight.saturating_add(u32::from(followed));
    }

    /// A request ended, well or not.
    pub fn ended(&mut self, followed: bool) {
        self.in_flight = self.in_flight.saturating_sub(u32::from(followed));
    }

    /// A request was answered.
    pub fn answered(&mut self, metrics: &Metrics, now: u64) {
        if self.recent.len() == SAMPLES {
            self.recent.pop_front();
        }
        let Metrics { ttft_ms, duration_ms, output_tokens: tokens, .. } = *metrics;
        self.recent.push_back(Sample { at: now, ttft_ms, duration_ms, tokens });
    }

    /// A request failed.
    pub fn failed(&mut self, now: u64) {
        self.errors += 1;
        self.failed_at = Some(now);
    }

    fn fresh(&self, now: u64) -> impl Iterator<Item = &Sample> {
        self.recent.iter().filter(move |sample| now.saturating_sub(sample.at) <= WINDOW)
    }

    /// Time to the first token of the middle one of the latest answers, milliseconds.
    pub fn ttft(&self, now: u64) -> Option<u64> {
        let mut times: Vec<u64> = self.fresh(now).map(|sample| sample.ttft_ms).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// Tokens per second over the latest answers.
    pub fn speed(&self, now: u64) -> Option<f64> {
        let told = self.fresh(now).filter_map(|sample| Some((sample.tokens?, sample.duration_ms)));
        let (tokens, millis) = told.fold((0, 0), |(t, m), (tokens, ms): (u64, u64)| {
            (u64::saturating_add(t, tokens), u64::saturating_add(m, ms))
        });
        // Far below where an f64 would round: these are tokens of a few minutes.
        (millis > 0).then(|| tokens as f64 * 1000.0 / millis as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ttft_ms: u64, duration_ms: u64, output_tokens: Option<u64>) -> Metrics {
        Metrics { ttft_ms, duration_ms, output_tokens, ..Metrics::default() }
    }

    #[test]
    fn requests_are_counted_once() {
        let mut figures = Figures::default();
        figures.began(true);
        figures.began(true);
        figures.began(false);
        figures.ended(true);
        figures.failed(5);
        // One that began before anybody looked.
        figures.ended(false);
        assert_eq!((figures.requests, figures.in_flight, figures.errors), (3, 1, 1));
    }

    #[test]
    fn speeds_are_of_late() {
        let mut figures = Figures::default();
        assert_eq!((figures.ttft(0), figures.speed(0)), (None, None));
        figures.answered(&answer(900, 1000, Some(1000)), 0);
        figures.answered(&answer(100, 1000, Some(10)), WINDOW);
        figures.answered(&answer(300, 1000, None), WINDOW);
        figures.answered(&answer(200, 3000, Some(30)), WINDOW);
        assert_eq!(figures.ttft(WINDOW + 1), Some(200));
        assert_eq!(figures.speed(WINDOW + 1), Some(10.0));
        assert_eq!(figures.ttft(3 * WINDOW), None);
        // A clock that was set back makes nothing go wrong.
        assert!(figures.ttft(0).is_some());
    }

    #[test]
    fn a_flood_keeps_only_the_latest() {
        let mut figures = Figures::default();
        for n in 0..100_000 {
            figures.answered(&answer(n, 0, Some(u64::MAX)), 1);
        }
        assert_eq!(figures.recent.len(), SAMPLES);
        assert_eq!(figures.speed(1), None);
    }
}
