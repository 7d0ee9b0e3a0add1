//! Latencies in a fixed amount of memory: buckets that grow with the value.
//!
//! 64 buckets for every doubling keep each answer within 1.6 % of the truth from a microsecond to
//! more than an hour. Nothing is dropped and nothing is sampled.

use std::time::Duration;

/// Buckets of one doubling, as a power of two.
const STEP_BITS: u32 = 6;

/// Buckets of one doubling.
const STEP: usize = 1 << STEP_BITS;

/// Doublings that are told apart: 2³² µs is more than an hour, longer than any run.
const DOUBLINGS: usize = 27;

/// How often each latency occurred.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_micros: u64,
}

impl Histogram {
    /// Without any latency.
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; STEP * DOUBLINGS], count: 0, max_micros: 0 }
    }

    /// Counts one latency; one beyond the range counts as the longest.
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros).min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_micros = self.max_micros.max(micros);
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += theirs;
        }
        self.count += other.count;
        self.max_micros = self.max_micros.max(other.max_micros);
    }

    /// Latencies counted.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The longest latency in microseconds.
    pub(super) const fn max_micros(&self) -> u64 {
        self.max_micros
    }

    /// The latency in microseconds that `per_mille` of 1000 requests did not exceed, at most 1.6 %
    /// too long; 0 without any.
    pub(super) fn per_mille_micros(&self, per_mille: u64) -> u64 {
        let wanted = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(at).min(self.max_micros);
            }
        }
        self.max_micros
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEP as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEP_BITS;
    let within = (micros >> doubling) as usize - STEP;
    STEP * (doubling as usize + 1) + within
}

fn upper_bound(bucket: usize) -> u64 {
    let (doubling, within) = (bucket / STEP, (bucket % STEP) as u64);
    match doubling.checked_sub(1) {
        None => within,
        Some(shift) => ((within + STEP as u64 + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_its_bucket_within_two_per_cent() {
        for micros in (0..5000).chain([65_535, 65_536, 1_000_000, 3_600_000_000]) {
            let bound = upper_bound(bucket(micros));
            assert!(bound >= micros && bound <= micros + micros / 50, "{micros} {bound}");
            assert!(bucket(micros) < STEP * DOUBLINGS, "{micros}");
        }
    }

    #[test]
    fn shares_are_those_of_a_sorted_list() {
        let (mut even, mut odd) = (Histogram::new(), Histogram::new());
        for micros in 1..=1000u64 {
            let half = if micros % 2 == 0 { &mut even } else { &mut odd };
            half.record(Duration::from_micros(micros));
        }
        even.merge(&odd);
        assert_eq!(even.count(), 1000);
        assert_eq!(even.max_micros(), 1000);
        for (per_mille, exact) in [(500, 500), (990, 990), (1000, 1000)] {
            let told = even.per_mille_micros(per_mille);
            assert!(told >= exact && told <= exact + exact / 50, "{per_mille}: {told}");
        }
        assert_eq!(Histogram::new().per_mille_micros(990), 0);
    }

    #[test]
    fn latency_beyond_the_range_counts_as_the_longest() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 1);
    }
}
