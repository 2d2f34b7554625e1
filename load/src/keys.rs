//! Which keys are asked for.

use crate::random::Random;

/// YCSB's constant: of a million keys the most asked for gets about one request in fifteen.
const THETA: f64 = 0.99;

/// Of a hot set: this part of the requests goes to [`HOT_KEYS`] of the keys.
const HOT_REQUESTS: f64 = 0.9;
/// See [`HOT_REQUESTS`].
const HOT_KEYS: f64 = 0.01;

/// How requests are spread over keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// Few are asked for often, most seldom (Zipf, with YCSB's exponent); which is which is scattered.
    Zipfian,
    /// One after the other, round and round.
    Sequential,
    /// Nine requests of ten go to one key of a hundred.
    Hot,
}

/// Numbers of keys below a bound.
#[derive(Clone, Debug)]
pub struct Keys {
    spread: Spread,
    count: u64,
    random: Random,
    next: u64,
    zipf: Option<Zipf>,
}

impl Keys {
    /// Of `count` keys, at least one; `start` is where those begin that go round.
    #[must_use]
    pub fn new(spread: Spread, count: u64, seed: u64, start: u64) -> Self {
        let count = count.max(1);
        let zipf = (spread == Spread::Zipfian).then(|| Zipf::new(count));
        Self { spread, count, random: Random::new(seed), next: start % count, zipf }
    }

    /// The next one.
    pub fn next_key(&mut self) -> u64 {
        match (self.spread, &self.zipf) {
            (Spread::Sequential, _) => {
                let key = self.next;
                self.next = (key + 1) % self.count;
                key
            }
            (Spread::Hot, _) => {
                let hot = ((self.count as f64 * HOT_KEYS) as u64).max(1);
                let bound = if fraction(&mut self.random) < HOT_REQUESTS { hot } else { self.count };
                scatter(self.random.below(bound), self.count)
            }
            (Spread::Zipfian, Some(zipf)) => scatter(zipf.rank(fraction(&mut self.random)), self.count),
            (Spread::Uniform | Spread::Zipfian, _) => self.random.below(self.count),
        }
    }
}

/// At least 0, below 1.
pub(crate) fn fraction(random: &mut Random) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Always the same number below `count` for a rank, so that hot keys do not lie side by side.
fn scatter(rank: u64, count: u64) -> u64 {
    Random::new(rank).below(count)
}

/// Ranks by Zipf's law, as Gray and others draw them ("Quickly generating billion-record synthetic databases").
#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(count: u64) -> Self {
        let zeta = zeta(count);
        let n = count as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - zeta_of_two() / zeta);
        Self { count: n, alpha: 1.0 / (1.0 - THETA), zeta, eta }
    }

    /// For a number between 0 and 1.
    fn rank(&self, drawn: f64) -> u64 {
        let scaled = drawn * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_of_two() {
            return 1.min(self.count as u64 - 1);
        }
        let rank = self.count * (self.eta * drawn - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

fn zeta_of_two() -> f64 {
    1.0 + 0.5_f64.powf(THETA)
}

/// The sum of 1/i^theta. Beyond the first terms by the integral, whose error is far below what is drawn.
fn zeta(count: u64) -> f64 {
    const EXACT: u64 = 10_000;
    let exact: f64 = (1..=count.min(EXACT)).map(|i| (i as f64).powf(-THETA)).sum();
    if count <= EXACT {
        return exact;
    }
    let power = 1.0 - THETA;
    // by the midpoint rule: from EXACT + 1/2 to count + 1/2.
    exact + ((count as f64 + 0.5).powf(power) - (EXACT as f64 + 0.5).powf(power)) / power
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn drawn(spread: Spread, count: u64) -> Vec<u64> {
        let mut keys = Keys::new(spread, count, 7, 0);
        let mut times: HashMap<u64, u64> = HashMap::new();
        for _ in 0..100_000 {
            let key = keys.next_key();
            assert!(key < count);
            *times.entry(key).or_default() += 1;
        }
        let mut times: Vec<u64> = times.into_values().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times
    }

    #[test]
    fn uniform_keys_are_alike() {
        let times = drawn(Spread::Uniform, 100);
        assert!(times.len() == 100 && times[0] < 1300 && times[99] > 700, "{times:?}");
    }

    #[test]
    fn zipf_s_law_holds() {
        let times = drawn(Spread::Zipfian, 1000);
        // 1 / zeta(1000): 13%; the second half of that, the tenth a tenth. scattering lets some ranks share a key.
        assert!((12_000..16_000).contains(&times[0]), "{}", times[0]);
        assert!((5_500..9_000).contains(&times[1]), "{}", times[1]);
        assert!((900..2_000).contains(&times[9]), "{}", times[9]);
        assert!(times.len() > 500);
    }

    #[test]
    fn the_integral_is_the_sum() {
        let sum: f64 = (1..=100_000_u64).map(|i| (i as f64).powf(-THETA)).sum();
        assert!((zeta(100_000) - sum).abs() / sum < 1e-9);
    }

    #[test]
    fn a_hot_set_is_asked_for_nine_times_of_ten() {
        let times = drawn(Spread::Hot, 10_000);
        let hot: u64 = times[..100].iter().sum();
        assert!((89_000..93_000).contains(&hot), "{hot}");
    }

    #[test]
    fn sequential_keys_go_round() {
        let mut keys = Keys::new(Spread::Sequential, 3, 0, 1);
        let drawn: Vec<u64> = (0..5).map(|_| keys.next_key()).collect();
        assert_eq!(drawn, [1, 2, 0, 1, 2]);
        for spread in [Spread::Uniform, Spread::Zipfian, Spread::Sequential, Spread::Hot] {
            assert_eq!(Keys::new(spread, 1, 5, 9).next_key(), 0, "{spread:?}");
        }
    }
}
