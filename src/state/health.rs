//! A participant's recent health: its mean time to first token, and a circuit breaker that diverts requests from one
//! that fails.

/// How long a participant is avoided after a failure, milliseconds. Doubles with each consecutive failure.
const AVOID: u64 = 5_000;
/// The longest that a participant is avoided, milliseconds.
const AVOID_MOST: u64 = 60_000;
/// Consecutive failures after which the breaker opens. An open breaker admits one request at a time as a probe.
const OPEN_AFTER: u32 = 3;
/// Weight of the newest sample in the exponentially weighted mean.
const NEWEST: f64 = 0.3;

/// A participant's recent health.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Exponentially weighted mean of the time to first token, milliseconds; `None` before the first answer.
    ttft: Option<f64>,
    /// Consecutive failures.
    failures: u32,
    /// Milliseconds on the monotonic clock.
    avoid_until: u64,
}

impl Health {
    /// Records an answer.
    pub fn served(&mut self, ttft_ms: u64) {
        let newest = ttft_ms as f64;
        self.ttft = Some(self.ttft.map_or(newest, |mean| mean + (newest - mean) * NEWEST));
        self.failures = 0;
        self.avoid_until = 0;
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
        let mut health = Health::default();
        assert!(health.ttft() < 0.1);
        health.served(100);
        health.served(200);
        assert!((health.ttft() - 130.0).abs() < 0.001);
    }

    #[test]
    fn the_breaker_opens_further_with_each_failure_and_probes_its_way_back() {
        let mut health = Health::default();
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
        health.served(1);
        assert!(!health.is_avoided(0, 9));
    }
}
