//! Durations counted in logarithmic buckets, eight to each doubling, so that a quantile is off by 7 % at most. The bucket
//! is computed with integers, as a floating-point logarithm would link a mathematics library into static builds.

use std::time::Duration;

/// The number of buckets: one for each of the first eight microseconds, then eight from each power of two to the next. The
/// last begins after four hours and has no upper bound.
const BUCKETS: u32 = 256;
/// The low bits of an entry, which hold the count; the bits above hold the bucket.
const COUNT_BITS: u32 = 24;
/// The largest count of a bucket. A bucket that has reached it counts no further.
const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;

/// Counts of durations by bucket, ascending. Only buckets that are not empty take memory, four bytes each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogHistogram(Vec<u32>);

/// The bucket that a duration is counted in.
fn bucket_of(duration: Duration) -> u32 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let Some(octave @ 3..) = micros.checked_ilog2() else { return micros as u32 };
    let eighth = (micros >> (octave - 3)) as u32 & 7;
    ((octave - 2) * 8 + eighth).min(BUCKETS - 1)
}

/// The middle of a bucket, in milliseconds.
fn middle_of(bucket: u32) -> f64 {
    let (eighth, width) = if bucket < 8 { (bucket, 1) } else { (8 + bucket % 8, 1u64 << (bucket / 8 - 1)) };
    (f64::from(eighth) + 0.5) * width as f64 / 1000.0
}

impl LogHistogram {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        self.count(bucket_of(duration), 1);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &LogHistogram) {
        for entry in &other.0 {
            self.count(entry >> COUNT_BITS, entry & MAX_COUNT);
        }
    }

    fn count(&mut self, bucket: u32, times: u32) {
        match self.0.binary_search_by_key(&bucket, |entry| entry >> COUNT_BITS) {
            Ok(at) => {
                let counted = (self.0[at] & MAX_COUNT).saturating_add(times).min(MAX_COUNT);
                self.0[at] = bucket << COUNT_BITS | counted;
            }
            Err(at) => self.0.insert(at, bucket << COUNT_BITS | times.min(MAX_COUNT)),
        }
    }

    /// The duration that a fraction of all durations does not exceed, in milliseconds; `None` where nothing was counted.
    /// `fraction` is between 0 and 1.
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        let all: u64 = self.0.iter().map(|entry| u64::from(entry & MAX_COUNT)).sum();
        // Nearest rank: the smallest duration that at least this fraction does not exceed.
        let rank = ((all as f64 * fraction).ceil() as u64).max(1);
        let mut below = 0;
        let entry = self.0.iter().find(|&entry| {
            below += u64::from(entry & MAX_COUNT);
            below >= rank
        })?;
        Some(middle_of(entry >> COUNT_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(time: f64) -> Duration {
        Duration::from_secs_f64(time / 1000.0)
    }

    #[test]
    fn quantiles_are_within_seven_percent() {
        for scale in [0.02, 1.0, 37.0, 9000.0] {
            let mut histogram = LogHistogram::default();
            (1..=1000).for_each(|n| histogram.add(millis(f64::from(n) * scale)));
            for share in [0.05, 0.5, 0.95, 1.0] {
                let (estimated, exact) = (histogram.quantile(share).unwrap(), 1000.0 * share * scale);
                assert!((estimated / exact - 1.0).abs() < 0.07, "{share} of {scale}: {estimated}, not {exact}");
            }
        }
    }

    #[test]
    fn merged_histograms_count_as_one() {
        let (mut all, mut one, mut two) = (LogHistogram::default(), LogHistogram::default(), LogHistogram::default());
        for n in 1..200 {
            all.add(millis(f64::from(n)));
            if n % 3 == 0 { &mut one } else { &mut two }.add(millis(f64::from(n)));
        }
        one.merge(&two);
        assert_eq!(one, all);
    }

    #[test]
    fn the_shortest_and_the_longest_are_counted_too() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.add(Duration::ZERO);
        assert!(histogram.quantile(0.5).unwrap() < 0.011);
        (0..3).for_each(|_| histogram.add(Duration::MAX));
        assert!(histogram.quantile(0.5).unwrap() > 2.8 * 3_600_000.0);
        assert_eq!(histogram.0.len(), 2);
    }

    #[test]
    fn a_full_bucket_stays_full() {
        let mut histogram = LogHistogram(vec![3 << COUNT_BITS | (MAX_COUNT - 1)]);
        histogram.count(3, 5);
        histogram.count(2, MAX_COUNT);
        assert_eq!(histogram.0, [2 << COUNT_BITS | MAX_COUNT, 3 << COUNT_BITS | MAX_COUNT]);
    }
}
