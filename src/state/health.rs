//! A participant's recent health: its mean time to first token, and a circuit breaker that diverts requests from one
//! that fails.

/// How long a participant is avoided after a failure, milliseconds. Doubles with each consecutive failure.
const AVOID: u64 = 5_000;
/// The longest that a participant is avoided, milliseconds.
const AVOID_MOST: u64 = 60_000;
/// Consecutive failures after which the breaker opens. An open breaker admits one request at a time as a probe.
const OPEN_AFTER: u32 = 3;
/// The number of times to first token that are retained.
const RECENT: usize = 8;
/// Weight of the newest sample in the exponentially weighted mean.
const NEWEST: f64 = 0.3;

/// A participant's recent health.
#[derive(Debug, Clone, Default)]
pub struct MemberHealth {
    /// Exponentially weighted mean of the time to first token, milliseconds; `None` before the first answer.
    ttft: Option<f64>,
    /// The latest times of streamed answers, and separately of whole ones, whose first byte comes when they are complete.
    streamed: Recent,
    whole: Recent,
    /// Consecutive failures.
    failures: u32,
    /// Milliseconds on the monotonic clock.
    avoid_until: u64,
}

/// The latest times to first token.
#[derive(Debug, Clone, Default)]
struct Recent {
    /// A ring buffer, in milliseconds; 0 in unused entries.
    times: [u64; RECENT],
    recorded: usize,
}

impl Recent {
    fn record(&mut self, time: u64) {
        self.times[self.recorded % RECENT] = time;
        self.recorded = self.recorded.wrapping_add(1);
    }
}

impl MemberHealth {
    /// Records an answer.
    pub fn served(&mut self, ttft_ms: u64, streamed: bool) {
        let newest = ttft_ms as f64;
        self.ttft = Some(self.ttft.map_or(newest, |mean| mean + (newest - mean) * NEWEST));
        if streamed {
            self.streamed.record(ttft_ms)
        } else {
            self.whole.record(ttft_ms)
        }
        self.failures = 0;
        self.avoid_until = 0;
    }

    /// The longest of the recent times to first token of streamed or of whole answers, milliseconds; 0 before the first one.
    pub fn slowest(&self, streamed: bool) -> u64 {
        let recent = if streamed { &self.streamed } else { &self.whole };
        recent.times.iter().copied().max().unwrap_or(0)
    }

    /// Records a failure that the participant caused.
    pub fn failed(&mut self, now: u64) {
        let doubled = AVOID.saturating_mul(1 << self.failures.min(8));
        self.failures += 1;
        self.avoid_until = now + doubled.min(AVOID_MOST);
    }

    /// Whether other participants should be preferred.
    pub fn is_avoided(&self, now: u64, in_flight: u32) -> bool {
        now < self.avoid_until || (self.failures >= OPEN_AFTER && in_flight > 0)
    }

    /// Recent time to first token, milliseconds; 0 before the first answer, so that new participants are tried.
    pub fn ttft(&self) -> f64 {
        self.ttft.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_slowly() {
        let mut health = MemberHealth::default();
        assert!(health.ttft() < 0.1);
        health.served(100, true);
        health.served(200, false);
        assert!((health.ttft() - 130.0).abs() < 0.001);
    }

    #[test]
    fn the_slowest_time_is_dropped_after_enough_newer_ones() {
        let mut health = MemberHealth::default();
        assert_eq!(health.slowest(true), 0);
        for time in [900, 5000, 700] {
            health.served(time, true);
        }
        assert_eq!((health.slowest(true), health.slowest(false)), (5000, 0), "whole answers are another matter");
        (0..RECENT).for_each(|_| health.served(800, true));
        assert_eq!(health.slowest(true), 800);
    }

    #[test]
    fn the_breaker_opens_further_with_each_failure_and_probes_its_way_back() {
        let mut health = MemberHealth::default();
        health.failed(1000);
        assert!(health.is_avoided(5999, 0) && !health.is_avoided(6000, 5));
        health.failed(6000);
        assert!(health.is_avoided(15_999, 0) && !health.is_avoided(16_000, 5));
        health.failed(16_000);
        assert!(health.is_avoided(35_999, 0));
        assert!(!health.is_avoided(36_000, 0) && health.is_avoided(36_000, 1), "one probe at a time");
        for _ in 0..100 {
            health.failed(0);
        }
        assert!(!health.is_avoided(60_000, 0), "never longer than a minute");
        health.served(1, true);
        assert!(!health.is_avoided(0, 9));
    }
}
