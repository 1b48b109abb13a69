//! The course of a room's last hour, by minutes: the requests that ended, and the longest queue. A minute in which nothing
//! happened takes no memory.

use std::collections::VecDeque;

use super::super::Now;
use super::ended::Ended;
use super::recent::{MINUTE_MS, Slice};
use crate::proto::history::HistoryMinute;

/// How many minutes are retained, beside the one that has begun.
const MINUTES: u64 = 60;

/// A room's last hour.
#[derive(Debug, Default)]
pub struct Course {
    /// Oldest first, in ascending order of their slices' numbers, which count minutes on the monotonic clock.
    minutes: VecDeque<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    slice: Slice,
    /// The most requests that were seen in the queue at once.
    queued: u64,
}

impl Course {
    /// Whether something that happens at `now`, milliseconds on the monotonic clock, begins a minute, which takes memory.
    pub fn begins_minute(&self, now: u64) -> bool {
        self.minutes.back().is_none_or(|minute| minute.slice.number < now / MINUTE_MS)
    }

    /// Counts a request that ended at `now`, milliseconds on the monotonic clock.
    pub fn add(&mut self, ended: &Ended, now: u64) {
        self.minute(now).slice.add(ended);
    }

    /// Counts the requests that wait in the queue at `now`, milliseconds on the monotonic clock.
    pub fn add_queue(&mut self, queued: u64, now: u64) {
        let minute = self.minute(now);
        minute.queued = minute.queued.max(queued);
    }

    /// Threads may get here in another order than they read the clock: what is late is counted in the newest minute.
    fn minute(&mut self, now: u64) -> &mut Minute {
        if self.begins_minute(now) {
            let slice = Slice::new(now / MINUTE_MS);
            self.minutes.push_back(Minute { slice, queued: 0 });
        }
        let newest = self.minutes.len() - 1;
        &mut self.minutes[newest]
    }

    /// Drops minutes that are older than an hour at `now`, milliseconds on the monotonic clock.
    pub fn evict_old(&mut self, now: u64) {
        let first = (now / MINUTE_MS).saturating_sub(MINUTES);
        while self.minutes.front().is_some_and(|minute| minute.slice.number < first) {
            self.minutes.pop_front();
        }
    }

    /// Drops the oldest minute. False where there is none.
    pub fn drop_oldest(&mut self) -> bool {
        self.minutes.pop_front().is_some()
    }

    /// The number of minutes that take memory.
    pub fn len(&self) -> usize {
        self.minutes.len()
    }

    /// Whether nothing has happened in the last hour.
    pub fn is_empty(&self) -> bool {
        self.minutes.is_empty()
    }

    /// The minutes, for the API.
    pub fn minutes(&self, now: Now) -> Vec<HistoryMinute> {
        let begun = |minute: &Minute| now.mono.saturating_sub(minute.slice.number * MINUTE_MS);
        let shown = |minute: &Minute| HistoryMinute {
            at: now.wall.saturating_sub(begun(minute)),
            queued: minute.queued,
            figures: minute.slice.figures(),
        };
        self.minutes.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ended::Ending;
    use super::*;
    use crate::proto::usage::Usage;

    fn ended() -> Ended {
        let time = Duration::from_millis(100);
        Ended { protocol: "x", ending: Ending::Complete, ttft: time, duration: time, usage: Usage::default() }
    }

    #[test]
    fn an_hour_is_kept_by_minutes() {
        let mut course = Course::default();
        let start = 1_000 * MINUTE_MS;
        for minute in 0..90 {
            course.add(&ended(), start + minute * MINUTE_MS + 5);
            course.add_queue(minute, start + minute * MINUTE_MS + 6);
            course.add_queue(1, start + minute * MINUTE_MS + 7);
            course.evict_old(start + minute * MINUTE_MS + 7);
        }
        let now = Now { wall: 5_000_000_000, mono: start + 89 * MINUTE_MS + 10 };
        let minutes = course.minutes(now);
        assert_eq!((minutes.len(), minutes[0].queued, minutes[60].queued), (61, 29, 89));
        assert_eq!((minutes[60].figures.requests, minutes[60].at), (1, now.wall - 10));
        assert_eq!(minutes[59].at, now.wall - 10 - MINUTE_MS);
        course.evict_old(now.mono + 61 * MINUTE_MS);
        assert!(course.is_empty());
    }

    #[test]
    fn what_is_late_counts_in_the_newest_minute() {
        let mut course = Course::default();
        course.add(&ended(), 2 * MINUTE_MS);
        assert!(!course.begins_minute(2 * MINUTE_MS - 1) && course.begins_minute(3 * MINUTE_MS));
        course.add(&ended(), 2 * MINUTE_MS - 1);
        assert_eq!(course.len(), 1);
    }
}
