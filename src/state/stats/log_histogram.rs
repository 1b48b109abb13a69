//! How times are spread, in buckets, eight to each doubling: whatever is said of one is wrong by 7 % at most. Whole numbers
//! all the way, as logarithms would bring a library into every hub.

use std::time::Duration;

/// Buckets: one for each of the first eight microseconds, then eight from each power of two to the next. The last begins after
/// four hours.
const BUCKETS: u32 = 256;
/// Bits of an entry that count; those above name the bucket.
const COUNT_BITS: u32 = 24;
const MOST: u32 = (1 << COUNT_BITS) - 1;

/// Counts of times, by bucket. Only buckets that hold something take memory, four bytes each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogHistogram(Vec<u32>);

fn bucket_of(time: Duration) -> u32 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let Some(octave @ 3..) = micros.checked_ilog2() else { return micros as u32 };
    let eighth = (micros >> (octave - 3)) as u32 & 7;
    ((octave - 2) * 8 + eighth).min(BUCKETS - 1)
}

/// The middle of a bucket, milliseconds.
fn middle_of(bucket: u32) -> f64 {
    let (eighth, width) = if bucket < 8 { (bucket, 1) } else { (8 + bucket % 8, 1u64 << (bucket / 8 - 1)) };
    (f64::from(eighth) + 0.5) * width as f64 / 1000.0
}

impl LogHistogram {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        self.count(bucket_of(time), 1);
    }

    /// Counts all that another has counted.
    pub fn merge(&mut self, other: &LogHistogram) {
        other.0.iter().for_each(|entry| self.count(entry >> COUNT_BITS, entry & MOST));
    }

    fn count(&mut self, bucket: u32, times: u32) {
        match self.0.binary_search_by_key(&bucket, |entry| entry >> COUNT_BITS) {
            Ok(at) => {
                let counted = (self.0[at] & MOST).saturating_add(times).min(MOST);
                self.0[at] = bucket << COUNT_BITS | counted;
            }
            Err(at) => self.0.insert(at, bucket << COUNT_BITS | times.min(MOST)),
        }
    }

    /// What a share of the times does not exceed, milliseconds; `None` where nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().map(|entry| u64::from(entry & MOST)).sum();
        // The rank of the nearest: the smallest time that at least this share does not exceed.
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let entry = self.0.iter().find(|&entry| {
            below += u64::from(entry & MOST);
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
            let mut spread = LogHistogram::default();
            (1..=1000).for_each(|n| spread.add(millis(f64::from(n) * scale)));
            for share in [0.05, 0.5, 0.95, 1.0] {
                let (told, exact) = (spread.quantile(share).unwrap(), 1000.0 * share * scale);
                assert!((told / exact - 1.0).abs() < 0.07, "{share} of {scale}: {told}, not {exact}");
            }
        }
    }

    #[test]
    fn it_counts_what_was_counted_elsewhere() {
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
        let mut spread = LogHistogram::default();
        assert_eq!(spread.quantile(0.5), None);
        spread.add(Duration::ZERO);
        assert!(spread.quantile(0.5).unwrap() < 0.011);
        (0..3).for_each(|_| spread.add(Duration::MAX));
        assert!(spread.quantile(0.5).unwrap() > 2.8 * 3_600_000.0);
        assert_eq!(spread.0.len(), 2);
    }

    #[test]
    fn a_full_bucket_stays_full() {
        let mut spread = LogHistogram(vec![3 << COUNT_BITS | (MOST - 1)]);
        spread.count(3, 5);
        spread.count(2, MOST);
        assert_eq!(spread.0, [2 << COUNT_BITS | MOST, 3 << COUNT_BITS | MOST]);
    }
}
