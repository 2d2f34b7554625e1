//! Latencies, collected in a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The range in which latencies are told apart, in ns: below 1 µs is a measurement error, above a
/// minute is a hang.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;

/// A histogram of latencies, exact to 0.1%.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        match Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3) {
            Ok(histogram) => Self(histogram),
            Err(error) => unreachable!("constant bounds are valid: {error}"),
        }
    }

    /// Adds `count` requests that took this long; longer than the range counts as its end.
    pub fn record(&mut self, latency: Duration, count: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(HIGHEST_NS);
        self.0.saturating_record_n(ns, count);
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        // the bounds are the same, so there is room for all.
        let _ = self.0.add(&other.0);
    }

    /// What came since `earlier`, a former state of the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        // what was counted before is still in it.
        let _ = rest.0.subtract(&earlier.0);
        rest
    }

    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in microseconds that this fraction of all requests did not exceed.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The longest one in microseconds.
    #[must_use]
    pub fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_microseconds() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(100), 99);
        latencies.record(Duration::from_millis(5), 1);
        assert!((latencies.quantile_us(0.5) - 100.0).abs() < 1.0);
        assert!((latencies.quantile_us(0.99) - 100.0).abs() < 1.0);
        assert!((latencies.quantile_us(0.999) - 5000.0).abs() < 10.0);
        assert!((latencies.max_us() - 5000.0).abs() < 10.0);
    }

    #[test]
    fn states_can_be_added_and_told_apart() {
        let (mut latencies, mut other) = (Latencies::new(), Latencies::new());
        latencies.record(Duration::from_micros(100), 5);
        let earlier = latencies.clone();
        other.record(Duration::from_millis(5), 2);
        latencies.add(&other);
        let rest = latencies.since(&earlier);
        assert_eq!((latencies.count(), rest.count()), (7, 2));
        assert!((rest.quantile_us(0.1) - 5000.0).abs() < 10.0);
    }

    #[test]
    fn a_hang_counts_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(3600), 1);
        assert!(latencies.max_us() >= 59_000_000.0);
    }
}
