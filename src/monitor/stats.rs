//! Statistics of a participant or a room. Counts come from the events seen; latencies and rates come from the hub's own
//! metrics or, if it has none, from the events. Pure: the time is an argument.

use std::collections::VecDeque;

use gambi::proto::management::Metrics;
use gambi::proto::metrics;

/// How far back latencies and rates look, milliseconds.
const WINDOW_MS: u64 = 300_000;
/// The most responses that latencies and rates are computed from.
const MAX_SAMPLES: usize = 64;

/// Statistics of one participant's or one room's requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Requests that started since the monitor did.
    pub requests: u64,
    /// Requests that failed, without those whose client disconnected.
    pub errors: u64,
    /// Requests in flight whose start was seen.
    followed: u32,
    /// Requests in flight that started before the monitor did, as the hub counts them.
    unfollowed: u32,
    /// When a request last failed, milliseconds since the epoch, by the hub's clock.
    pub failed_at: Option<u64>,
    recent: VecDeque<Sample>,
    /// Tokens of each of the last minutes, the last one now; requests where the provider reports no tokens.
    pub minutes: Vec<u64>,
    /// The hub's metrics over the last five minutes.
    measured: Option<metrics::Figures>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    at: u64,
    ttft_ms: u64,
    duration_ms: u64,
    /// Output tokens, if the provider reported them.
    tokens: Option<u64>,
}

impl Stats {
    /// A request started. `followed`: its id is remembered, so that its end can be matched to it.
    pub fn began(&mut self, followed: bool) {
        self.requests += 1;
        self.followed = self.followed.saturating_add(u32::from(followed));
    }

    /// A request ended, successfully or not.
    pub fn ended(&mut self, followed: bool) {
        let one = if followed { &mut self.followed } else { &mut self.unfollowed };
        *one = one.saturating_sub(1);
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.followed.saturating_add(self.unfollowed)
    }

    /// Resets the requests in flight, after a gap in which their ends may have been missed.
    pub fn forget_in_flight(&mut self) {
        (self.followed, self.unfollowed) = (0, 0);
    }

    /// Takes the hub's own metrics, which take precedence.
    pub fn measured(&mut self, stats: metrics::Figures, in_flight: u64) {
        self.unfollowed = u32::try_from(in_flight).unwrap_or(u32::MAX).saturating_sub(self.followed);
        self.measured = Some(stats);
    }

    /// A request succeeded.
    pub fn answered(&mut self, metrics: &Metrics, now: u64) {
        if self.recent.len() == MAX_SAMPLES {
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

    fn recent_samples(&self, now: u64) -> impl Iterator<Item = &Sample> {
        self.recent.iter().filter(move |sample| now.saturating_sub(sample.at) <= WINDOW_MS)
    }

    /// Median time to the first token, milliseconds.
    pub fn ttft(&self, now: u64) -> Option<u64> {
        if let Some(times) = self.measured.as_ref().and_then(|measured| measured.ttft_ms) {
            return Some(times.p50 as u64);
        }
        let mut times: Vec<u64> = self.recent_samples(now).map(|sample| sample.ttft_ms).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// 95th percentile of the time to the first token, milliseconds. Only the hub measures it.
    pub fn ttft_p95(&self) -> Option<u64> {
        self.measured.as_ref()?.ttft_ms.map(|times| times.p95 as u64)
    }

    /// Output tokens per second, over all recent responses together.
    pub fn tokens_per_second(&self, now: u64) -> Option<f64> {
        if let Some(rate) = self.measured.as_ref().and_then(|measured| measured.tokens_per_second) {
            return Some(rate);
        }
        let info = self.recent_samples(now).filter_map(|sample| Some((sample.tokens?, sample.duration_ms)));
        let (tokens, millis) = info.fold((0, 0), |(t, m), (tokens, ms): (u64, u64)| {
            (u64::saturating_add(t, tokens), u64::saturating_add(m, ms))
        });
        // No precision is lost: a few minutes of tokens are far below 2^53.
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
        let mut stats = Stats::default();
        stats.began(true);
        stats.began(true);
        stats.began(false);
        stats.ended(true);
        stats.failed(5);
        // A request that started before the monitor did.
        stats.ended(false);
        assert_eq!((stats.requests, stats.in_flight(), stats.errors), (3, 1, 1));
    }

    #[test]
    fn latencies_and_rates_cover_recent_responses() {
        let mut stats = Stats::default();
        assert_eq!((stats.ttft(0), stats.tokens_per_second(0)), (None, None));
        stats.answered(&answer(900, 1000, Some(1000)), 0);
        stats.answered(&answer(100, 1000, Some(10)), WINDOW_MS);
        stats.answered(&answer(300, 1000, None), WINDOW_MS);
        stats.answered(&answer(200, 3000, Some(30)), WINDOW_MS);
        assert_eq!(stats.ttft(WINDOW_MS + 1), Some(200));
        assert_eq!(stats.tokens_per_second(WINDOW_MS + 1), Some(10.0));
        assert_eq!(stats.ttft(3 * WINDOW_MS), None);
        // A clock that was set back causes no error.
        assert!(stats.ttft(0).is_some());
    }

    #[test]
    fn metrics_of_the_hub_take_precedence() {
        let mut stats = Stats::default();
        stats.began(true);
        stats.answered(&answer(900, 1000, Some(10)), 0);
        let ttft_ms = Some(metrics::Quantiles { p50: 120.4, p95: 300.0 });
        stats.measured(metrics::Figures { ttft_ms, ..Default::default() }, 3);
        assert_eq!((stats.in_flight(), stats.ttft(0), stats.ttft_p95()), (3, Some(120), Some(300)));
        assert_eq!(stats.tokens_per_second(0), Some(10.0));
        stats.ended(false);
        stats.ended(true);
        assert_eq!(stats.in_flight(), 1);
        stats.forget_in_flight();
        assert_eq!(stats.in_flight(), 0);
    }

    #[test]
    fn a_flood_keeps_only_the_latest() {
        let mut stats = Stats::default();
        for n in 0..100_000 {
            stats.answered(&answer(n, 0, Some(u64::MAX)), 1);
        }
        assert_eq!(stats.recent.len(), MAX_SAMPLES);
        assert_eq!(stats.tokens_per_second(1), None);
    }
}
