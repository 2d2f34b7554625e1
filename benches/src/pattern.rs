//! Which keys a cache is asked for: the same ones for every server, whatever it answers.

use clap::ValueEnum;
use emberkv_load::Random;
use emberkv_load::keys::{Keys, Spread};

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Few keys are asked for often, most seldom, and it stays like that.
    Zipfian,
    /// The same, and now and then somebody goes through keys that nobody asks for again.
    Scanned,
    /// A hot set, which moves on.
    Shifting,
}

impl Kind {
    /// In words, for the table.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Zipfian => "zipfian",
            Self::Scanned => "zipfian with scans",
            Self::Shifting => "shifting hot set",
        }
    }
}

/// A scan is as long as this part of what fits into the memory, and begins, on average, after so many requests as fit.
const SCAN_PART: u64 = 2;
/// Of [`Kind::Shifting`]: so many tenths of the requests go to the hot set,
const HOT_TENTHS: u64 = 9;
/// which is this part of what fits,
const HOT_PART: u64 = 2;
/// and goes on by so many tenths of itself
const SHIFT_TENTHS: u64 = 7;
/// after so many requests for each key that fits.
const SHIFT_AFTER: u64 = 10;

/// Numbers of keys.
pub struct Pattern {
    kind: Kind,
    keys: Keys,
    random: Random,
    count: u64,
    fits: u64,
    asked: u64,
    /// Keys of the scan that are still to come, and the next one.
    scan: (u64, u64),
}

impl Pattern {
    /// Of `count` keys, of which about `fits` fit into the memory.
    pub fn new(kind: Kind, count: u64, fits: u64, seed: u64) -> Self {
        let (count, fits) = (count.max(1), fits.max(2));
        let keys = Keys::new(Spread::Zipfian, count, seed, 0);
        Self { kind, keys, random: Random::new(seed ^ 0x5ca1), count, fits, asked: 0, scan: (0, count) }
    }

    /// The next key, and whether it counts: nobody hopes to find what a scan asks for.
    pub fn next_key(&mut self) -> (u64, bool) {
        self.asked += 1;
        match self.kind {
            Kind::Zipfian => (self.keys.next_key(), true),
            Kind::Scanned => {
                if self.scan.0 == 0 && self.random.below(self.fits) == 0 {
                    self.scan.0 = self.fits / SCAN_PART;
                }
                // while it goes on every second request is its
                if self.scan.0 == 0 || self.random.below(2) == 0 {
                    return (self.keys.next_key(), true);
                }
                self.scan = (self.scan.0 - 1, self.scan.1 + 1);
                (self.scan.1, false)
            }
            Kind::Shifting => {
                if self.random.below(10) >= HOT_TENTHS {
                    return (self.random.below(self.count), true);
                }
                let hot = (self.fits / HOT_PART).max(1);
                let begins = self.asked / (SHIFT_AFTER * self.fits) * (hot * SHIFT_TENTHS / 10);
                ((begins + self.random.below(hot)) % self.count, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn drawn(kind: Kind, requests: usize) -> Vec<(u64, bool)> {
        let mut pattern = Pattern::new(kind, 10_000, 1_000, 3);
        (0..requests).map(|_| pattern.next_key()).collect()
    }

    #[test]
    fn a_scan_asks_for_each_key_once_and_for_no_other_s() {
        let drawn = drawn(Kind::Scanned, 100_000);
        let scanned: Vec<u64> = drawn.iter().filter(|(_, counts)| !counts).map(|(key, _)| *key).collect();
        assert!((15_000..45_000).contains(&scanned.len()), "{}", scanned.len());
        assert_eq!(scanned.iter().collect::<HashSet<_>>().len(), scanned.len());
        assert!(scanned.iter().all(|key| *key >= 10_000));
        assert!(drawn.iter().all(|(key, counts)| !counts || *key < 10_000));
    }

    #[test]
    fn a_hot_set_moves_on() {
        let drawn = drawn(Kind::Shifting, 20_000);
        let hot =
            |part: &[(u64, bool)], from: u64| part.iter().filter(|(key, _)| (from..from + 500).contains(key)).count();
        assert!(hot(&drawn[..9_000], 0) > 8_000);
        assert!(hot(&drawn[10_000..19_000], 350) > 8_000);
        assert!(hot(&drawn[10_000..19_000], 0) < 4_000);
    }

    #[test]
    fn it_is_the_same_again() {
        for kind in [Kind::Zipfian, Kind::Scanned, Kind::Shifting] {
            assert_eq!(drawn(kind, 1000), drawn(kind, 1000));
        }
    }
}
