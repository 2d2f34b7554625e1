//! Medians, spread and ratios of samples.

use crate::metric::{Better, Metric, Sample};

/// What several rounds say about one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Summarises; `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }

    /// The same number over several samples.
    pub fn of_samples(samples: &[Sample], metric: Metric) -> Option<Self> {
        Self::of(samples.iter().filter_map(|s| s.get(metric)).collect())
    }

    /// (max - min) / median, %: two servers that differ by less are not told apart.
    pub fn spread_percent(&self) -> f64 {
        100.0 * (self.max - self.min) / self.median
    }
}

/// The subject's number over the better one of its peers'; `None` without peers or where neither
/// direction is better.
pub fn ratio_to_better(metric: Metric, subject: f64, peers: &[f64]) -> Option<f64> {
    let best = match metric.better() {
        Better::Higher => peers.iter().copied().reduce(f64::max),
        Better::Lower => peers.iter().copied().reduce(f64::min),
        Better::Neither => None,
    };
    let ratio = subject / best?;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between() {
        let summary = Summary::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.max), (2.5, 1.0, 4.0));
        assert_eq!(Summary::of(vec![5.0, 1.0, 3.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of(vec![]), None);
    }

    #[test]
    fn the_spread_is_relative_to_the_median() {
        let summary = Summary::of(vec![90.0, 100.0, 120.0]).unwrap();
        assert_eq!(summary.spread_percent(), 30.0);
    }

    #[test]
    fn the_better_peer_depends_on_the_metric() {
        let peers = [50.0, 100.0];
        assert_eq!(ratio_to_better(Metric::OpsPerCpuSecond, 150.0, &peers), Some(1.5));
        assert_eq!(ratio_to_better(Metric::P99Us, 25.0, &peers), Some(0.5));
        assert_eq!(ratio_to_better(Metric::EmptyMib, 25.0, &peers), None);
        assert_eq!(ratio_to_better(Metric::P99Us, 25.0, &[]), None);
    }

    #[test]
    fn samples_without_the_number_are_skipped() {
        let mut one = Sample::default();
        one.push(Metric::P50Us, 7.0);
        one.push(Metric::P99Us, f64::NAN);
        let samples = [one, Sample::default()];
        assert_eq!(Summary::of_samples(&samples, Metric::P50Us).unwrap().median, 7.0);
        assert_eq!(Summary::of_samples(&samples, Metric::P99Us), None);
    }
}
