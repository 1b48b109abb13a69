//! What a person with a key of their own may use: requests at a time, requests a minute, tokens a day. Time is an argument.

use super::Now;

/// Milliseconds of a minute.
const MINUTE: u64 = 60_000;
/// Milliseconds of a day.
pub const DAY: u64 = 86_400_000;
/// After how many seconds a caller with too many requests at a time may try again: one of them may end at any moment.
const RETRY_AT_ONCE: u64 = 1;

/// The limits of a person; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests at a time.
    pub at_once: Option<u32>,
    /// Requests in a minute, which may come together.
    pub per_minute: Option<u32>,
    /// Tokens of prompts and answers in a day, by UTC.
    pub tokens_per_day: Option<u64>,
}

/// A limit that a request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Which, as a sentence names it.
    pub what: &'static str,
    /// The limit.
    pub limit: u64,
    /// Milliseconds until a request may succeed.
    pub wait: u64,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Milliseconds until it is whole again, if nothing more is used.
    pub reset: u64,
}

/// What a person has used.
#[derive(Debug, Default)]
pub struct Used {
    running: u32,
    /// A leaky bucket: a request adds [`MINUTE`] units, and each millisecond drains one unit for each request a minute that the
    /// limit allows.
    recent: u64,
    /// When `recent` was last drained, milliseconds on the monotonic clock.
    at: u64,
    /// The day of `tokens`, since the epoch.
    day: u64,
    tokens: u64,
}

impl Used {
    /// Counts a request that begins.
    ///
    /// # Errors
    /// The limit that forbids it; then it is not counted.
    pub fn begin(&mut self, limits: &Limits, now: Now) -> Result<(), Exceeded> {
        self.update(limits, now);
        if let Some(limit) = limits.at_once.filter(|&limit| self.running >= limit) {
            return Err(Exceeded { what: "requests at a time", limit: limit.into(), wait: RETRY_AT_ONCE * 1000 });
        }
        if let Some(limit) = limits.tokens_per_day.filter(|&limit| self.tokens >= limit) {
            return Err(Exceeded { what: "tokens a day", limit, wait: until_tomorrow(now) });
        }
        if let Some(limit) = limits.per_minute.map(|limit| u64::from(limit.max(1))) {
            let excess = (self.recent + MINUTE).saturating_sub(limit * MINUTE);
            if excess > 0 {
                return Err(Exceeded { what: "requests a minute", limit, wait: excess.div_ceil(limit) });
            }
            self.recent += MINUTE;
        }
        self.running += 1;
        Ok(())
    }

    /// Counts a request that has ended.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Counts the tokens of a request.
    pub fn add_tokens(&mut self, tokens: u64, now: Now) {
        self.turn_day(now);
        self.tokens = self.tokens.saturating_add(tokens);
    }

    /// Whether a request is running.
    pub fn is_running(&self) -> bool {
        self.running > 0
    }

    /// What is left of the requests: those of a minute or, without such a limit, those at a time.
    pub fn requests_left(&mut self, limits: &Limits, now: Now) -> Option<Left> {
        self.update(limits, now);
        if let Some(limit) = limits.per_minute.map(|limit| u64::from(limit.max(1))) {
            let remaining = (limit * MINUTE).saturating_sub(self.recent) / MINUTE;
            return Some(Left { limit, remaining, reset: self.recent.div_ceil(limit) });
        }
        let limit = limits.at_once?;
        let reset = if self.running > 0 { RETRY_AT_ONCE * 1000 } else { 0 };
        Some(Left { limit: limit.into(), remaining: limit.saturating_sub(self.running).into(), reset })
    }

    /// What is left of the tokens of a day.
    pub fn tokens_left(&mut self, limits: &Limits, now: Now) -> Option<Left> {
        self.turn_day(now);
        let limit = limits.tokens_per_day?;
        Some(Left { limit, remaining: limit.saturating_sub(self.tokens), reset: until_tomorrow(now) })
    }

    fn update(&mut self, limits: &Limits, now: Now) {
        self.turn_day(now);
        let limit = limits.per_minute.map_or(0, |limit| u64::from(limit.max(1)));
        let left = now.mono.saturating_sub(self.at).saturating_mul(limit);
        // What came under a higher limit, or without one, is gone after a minute too.
        self.recent = self.recent.saturating_sub(left).min(limit * MINUTE);
        self.at = now.mono;
    }

    /// Goes to the day of `now`. Only a later one begins without used tokens: a clock that is set back gives none back, until the day
    /// that it left begins again.
    fn turn_day(&mut self, now: Now) {
        let day = now.wall / DAY;
        if day > self.day {
            self.tokens = 0;
        }
        self.day = day;
    }
}

fn until_tomorrow(now: Now) -> u64 {
    DAY - now.wall % DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { wall: 10 * DAY + millis, mono: millis }
    }

    #[test]
    fn requests_at_a_time_are_free_again_when_one_ends() {
        let limits = Limits { at_once: Some(2), ..Limits::default() };
        let mut used = Used::default();
        used.begin(&limits, at(0)).unwrap();
        used.begin(&limits, at(0)).unwrap();
        assert_eq!(used.begin(&limits, at(0)), Err(Exceeded { what: "requests at a time", limit: 2, wait: 1000 }));
        assert_eq!(used.requests_left(&limits, at(0)).unwrap().remaining, 0);
        used.end();
        assert_eq!(used.begin(&limits, at(0)), Ok(()));
    }

    #[test]
    fn a_lowered_limit_of_a_minute_is_whole_again_after_a_minute() {
        let of_minute = |limit| Limits { per_minute: limit, ..Limits::default() };
        let mut used = Used::default();
        for _ in 0..100 {
            used.begin(&of_minute(Some(100)), at(0)).unwrap();
        }
        let lowered = of_minute(Some(2));
        assert_eq!(used.begin(&lowered, at(0)).unwrap_err().wait, 30_000);
        assert_eq!(used.requests_left(&lowered, at(60_000)), Some(Left { limit: 2, remaining: 2, reset: 0 }));
        used.begin(&lowered, at(60_000)).unwrap();
        used.begin(&of_minute(None), at(60_000)).unwrap();
        assert_eq!(used.requests_left(&lowered, at(60_000)).unwrap().remaining, 2, "unlimited requests do not count");
    }

    #[test]
    fn requests_of_a_minute_may_come_together_and_return_one_by_one() {
        let limits = Limits { per_minute: Some(3), ..Limits::default() };
        let mut used = Used::default();
        for _ in 0..3 {
            used.begin(&limits, at(5)).unwrap();
            used.end();
        }
        assert_eq!(used.begin(&limits, at(5)).unwrap_err().wait, 20_000);
        assert_eq!(used.begin(&limits, at(20_004)).unwrap_err().wait, 1);
        assert_eq!(used.begin(&limits, at(20_005)), Ok(()));
        assert_eq!(used.requests_left(&limits, at(20_005)), Some(Left { limit: 3, remaining: 0, reset: 60_000 }));
        assert_eq!(used.requests_left(&limits, at(80_005)), Some(Left { limit: 3, remaining: 3, reset: 0 }));
    }

    #[test]
    fn frequent_looks_do_not_hold_up_the_return_of_requests() {
        let limits = Limits { per_minute: Some(1), ..Limits::default() };
        let mut used = Used::default();
        used.begin(&limits, at(0)).unwrap();
        for millis in 0..60_000 {
            used.requests_left(&limits, at(millis));
        }
        assert_eq!(used.begin(&limits, at(60_000)), Ok(()));
    }

    #[test]
    fn tokens_are_counted_by_the_day() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut used = Used::default();
        used.begin(&limits, at(0)).unwrap();
        used.add_tokens(99, at(0));
        assert_eq!(used.begin(&limits, at(1)), Ok(()), "the last request may exceed the limit");
        used.add_tokens(50, at(2));
        assert_eq!(used.begin(&limits, at(DAY - 1500)).unwrap_err().wait, 1500);
        assert_eq!(used.tokens_left(&limits, at(DAY - 1)), Some(Left { limit: 100, remaining: 0, reset: 1 }));
        assert_eq!(used.begin(&limits, at(DAY)), Ok(()));
        assert_eq!(used.tokens_left(&limits, at(DAY)).unwrap().remaining, 100);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_tokens_back_before_the_next_day() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut used = Used::default();
        used.add_tokens(100, at(DAY));
        assert_eq!(used.tokens_left(&limits, at(DAY - 1)).unwrap().remaining, 0);
        assert_eq!(used.tokens_left(&limits, at(DAY)).unwrap().remaining, 100);
    }
}
