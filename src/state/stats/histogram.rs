//! Durations counted in buckets with fixed bounds, for Prometheus.
//!
//! [`LogHistogram`](super::log_histogram::LogHistogram) counts the same durations for the windows of a room. Neither
//! can replace the other: these bounds are round figures that lie within logarithmic buckets, so exact counts cannot be
//! derived from those; and quantiles from a dozen buckets would be off by a factor of two.

use std::time::Duration;

/// Counts of durations by bucket, and their sum. The counts only grow.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Inclusive upper bounds in milliseconds, ascending.
    bounds: &'static [u32],
    /// One count for each bound, and one for durations above the last.
    counts: Box<[u64]>,
    /// The sum of all durations, microseconds.
    sum_micros: u64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in milliseconds, ascending.
    pub fn new(bounds: &'static [u32]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len() + 1].into(), sum_micros: 0 }
    }

    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        let above = |bound: &&u32| duration > Duration::from_millis(u64::from(**bound));
        self.counts[self.bounds.iter().take_while(above).count()] += 1;
        self.sum_micros = self.sum_micros.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds the counts of another histogram with the same bounds.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }

    /// Each upper bound in seconds, with the count of durations that do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        self.bounds.iter().zip(&self.counts).map(move |(&bound, count)| {
            sum += count;
            (f64::from(bound) / 1000.0, sum)
        })
    }

    /// The count of all durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations, seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::new(&[10, 100]);
        for millis in [10, 11, 100, 101, 5000] {
            histogram.add(Duration::from_millis(millis));
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0.01, 1), (0.1, 3)]);
        assert_eq!((histogram.count(), histogram.sum_seconds()), (5, 5.222));
    }
}
