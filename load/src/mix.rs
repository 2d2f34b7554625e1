//! A mixture of requests: reads and writes of keys that are chosen by a law, with values of several sizes.

use crate::error::LoadError;
use crate::keys::{Keys, fraction};
use crate::random::Random;
use crate::scanner::Scanner;
use crate::workload::Workload;

/// Digits of a key: `key:` and twelve of them, as redis-benchmark has them.
const KEY_DIGITS: usize = 12;

/// Values are cut out of so many random bytes, and the longest value.
const POOL_BYTES: usize = 1 << 20;

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `GET key`
    Get,
    /// `SET key value`, with `EX` if keys are to expire.
    Set,
    /// `GET key`, and then `SET key value` of the same key, on the same connection.
    Modify,
    /// `INCR counter`
    Incr,
    /// `ZADD board score player`
    ZAdd,
    /// `ZREVRANGE board 0 9 WITHSCORES`
    ZTop,
}

/// How long values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// The shortest.
    pub least: usize,
    /// The longest.
    pub most: usize,
}

impl Sizes {
    /// One: as many from each doubling, so that small ones are not rare beside large ones.
    fn draw(self, random: &mut Random) -> usize {
        if self.least >= self.most {
            return self.least;
        }
        let (least, most) = ((self.least.max(1)) as f64, (self.most + 1) as f64);
        let size = least * (most / least).powf(fraction(random));
        (size as usize).clamp(self.least, self.most)
    }
}

/// What a mixture is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Kinds of requests, and how many parts of each.
    pub steps: Vec<(u32, Step)>,
    /// The length of values.
    pub sizes: Sizes,
    /// Seconds until a key that was set expires.
    pub ttl: Option<u64>,
}

/// What was counted.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// GETs that were sent.
    pub reads: u64,
    /// Replies that were null: keys that are not there.
    pub misses: u64,
    /// Replies that were errors.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

/// The mixture, endless unless it is limited.
#[derive(Debug)]
pub struct Mix {
    recipe: Recipe,
    parts: u64,
    keys: Keys,
    random: Random,
    pool: Vec<u8>,
    out: Vec<u8>,
    left: u64,
    counts: Counts,
}

/// A connection's part of it.
#[derive(Debug, Default)]
pub struct Lane {
    scanner: Scanner,
    /// The key that was read to be written.
    owed: Option<u64>,
}

impl Mix {
    /// So many requests (`u64::MAX`: endless) by a recipe.
    #[must_use]
    pub fn new(recipe: Recipe, keys: Keys, seed: u64, requests: u64) -> Self {
        let mut random = Random::new(seed);
        // random, so that no server gains by compressing them; printable, so that they can be looked at.
        let pool = (0..POOL_BYTES + recipe.sizes.most).map(|_| b'!' + random.below(94) as u8).collect();
        let parts = recipe.steps.iter().map(|(parts, _)| u64::from(*parts)).sum::<u64>().max(1);
        Self { recipe, parts, keys, random, pool, out: Vec::new(), left: requests, counts: Counts::default() }
    }

    /// What was counted since this was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn draw(&mut self) -> Step {
        let mut at = self.random.below(self.parts);
        for (parts, step) in &self.recipe.steps {
            match at.checked_sub(u64::from(*parts)) {
                Some(rest) => at = rest,
                None => return *step,
            }
        }
        Step::Get
    }

    fn write(&mut self, step: Step, key: u64) {
        match step {
            Step::Get | Step::Modify => {
                self.counts.reads += 1;
                self.out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                write_key(b"key:", key, &mut self.out);
            }
            Step::Set => {
                let head: &[u8] =
                    if self.recipe.ttl.is_some() { b"*5\r\n$3\r\nSET\r\n" } else { b"*3\r\n$3\r\nSET\r\n" };
                self.out.extend_from_slice(head);
                write_key(b"key:", key, &mut self.out);
                let size = self.recipe.sizes.draw(&mut self.random);
                let at = self.random.below((self.pool.len() - size + 1) as u64) as usize;
                write_text(&self.pool[at..at + size], &mut self.out);
                if let Some(seconds) = self.recipe.ttl {
                    self.out.extend_from_slice(b"$2\r\nEX\r\n");
                    write_text(seconds.to_string().as_bytes(), &mut self.out);
                }
            }
            Step::Incr => {
                self.out.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n");
                write_key(b"num:", key, &mut self.out);
            }
            Step::ZAdd => {
                self.out.extend_from_slice(b"*4\r\n$4\r\nZADD\r\n$5\r\nboard\r\n");
                let score = self.random.below(1_000_000).to_string();
                write_text(score.as_bytes(), &mut self.out);
                write_key(b"who:", key, &mut self.out);
            }
            Step::ZTop => {
                let request = b"*5\r\n$9\r\nZREVRANGE\r\n$5\r\nboard\r\n$1\r\n0\r\n$1\r\n9\r\n$10\r\nWITHSCORES\r\n";
                self.out.extend_from_slice(request);
            }
        }
    }
}

impl Workload for Mix {
    type Lane = Lane;

    fn lane(&mut self, _: usize) -> Lane {
        Lane::default()
    }

    fn fill<'a>(&'a mut self, lane: &'a mut Lane, _: usize, limit: usize) -> (usize, &'a [u8]) {
        self.out.clear();
        let count = (limit as u64).min(self.left) as usize;
        self.left -= count as u64;
        for _ in 0..count {
            if let Some(key) = lane.owed.take() {
                self.write(Step::Set, key);
                continue;
            }
            let (step, key) = (self.draw(), self.keys.next_key());
            if step == Step::Modify {
                lane.owed = Some(key);
            }
            self.write(step, key);
        }
        (count, &self.out)
    }

    fn feed(&mut self, lane: &mut Lane, bytes: &[u8]) -> Result<u64, LoadError> {
        let complete = lane.scanner.feed(bytes)?;
        self.counts.misses += std::mem::take(&mut lane.scanner.nulls);
        self.counts.errors += std::mem::take(&mut lane.scanner.errors);
        if let Some(error) = lane.scanner.first_error.take() {
            self.counts.first_error.get_or_insert(error);
        }
        Ok(complete)
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Sixteen bytes: four of prefix, and the number.
fn write_key(prefix: &[u8; 4], key: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"$16\r\n");
    out.extend_from_slice(prefix);
    let mut digits = [b'0'; KEY_DIGITS];
    let mut rest = key;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Spread;

    const SMALL: Sizes = Sizes { least: 3, most: 3 };

    fn mix(steps: &[(u32, Step)], sizes: Sizes, ttl: Option<u64>, requests: u64) -> Mix {
        let recipe = Recipe { steps: steps.to_vec(), sizes, ttl };
        Mix::new(recipe, Keys::new(Spread::Sequential, 100, 1, 0), 1, requests)
    }

    fn sent(mix: &mut Mix, limit: usize) -> (usize, String) {
        let mut lane = mix.lane(0);
        let (count, bytes) = mix.fill(&mut lane, 0, limit);
        (count, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn requests_are_well_formed() {
        let one = |step, ttl| sent(&mut mix(&[(1, step)], SMALL, ttl, 9), 1).1;
        assert_eq!(one(Step::Get, None), "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
        let set = one(Step::Set, None);
        assert!(set.starts_with("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$3\r\n") && set.len() == 45, "{set:?}");
        assert!(one(Step::Set, Some(60)).ends_with("\r\n$2\r\nEX\r\n$2\r\n60\r\n"));
        assert!(one(Step::Incr, None).contains("INCR\r\n$16\r\nnum:"));
        assert!(one(Step::ZAdd, None).starts_with("*4\r\n$4\r\nZADD\r\n$5\r\nboard\r\n$"));
    }

    #[test]
    fn parts_are_kept_to() {
        let mut mix = mix(&[(95, Step::Get), (5, Step::Set)], SMALL, None, u64::MAX);
        let (_, text) = sent(&mut mix, 100_000);
        let sets = text.matches("SET").count();
        assert!((4_500..5_500).contains(&sets), "{sets}");
        assert_eq!(mix.take_counts().reads, 100_000 - sets as u64);
    }

    #[test]
    fn what_is_modified_is_read_first_by_the_same_connection() {
        let mut mix = mix(&[(1, Step::Modify)], SMALL, None, u64::MAX);
        let (mut one, mut other) = (mix.lane(0), mix.lane(1));
        let key = |mix: &mut Mix, lane: &mut Lane| {
            let text = String::from_utf8(mix.fill(lane, 0, 1).1.to_vec()).unwrap();
            let at = text.find("key:").unwrap();
            (text.contains("SET"), text[at..at + 16].to_owned())
        };
        let read = key(&mut mix, &mut one);
        assert_ne!(key(&mut mix, &mut other).1, read.1);
        assert_eq!(key(&mut mix, &mut one), (true, read.1));
    }

    #[test]
    fn sizes_are_spread_over_doublings() {
        let sizes = Sizes { least: 1024, most: 1 << 20 };
        let mut random = Random::new(1);
        let drawn: Vec<usize> = (0..10_000).map(|_| sizes.draw(&mut random)).collect();
        assert!(drawn.iter().all(|size| (1024..=1 << 20).contains(size)));
        let small = drawn.iter().filter(|size| **size < 32 << 10).count();
        assert!((4_500..5_500).contains(&small), "half of ten doublings: {small}");
        assert_eq!(Sizes { least: 0, most: 0 }.draw(&mut random), 0);
    }

    #[test]
    fn it_ends_and_counts() {
        let mut mix = mix(&[(1, Step::Get)], SMALL, None, 5);
        assert_eq!(sent(&mut mix, 3).0, 3);
        assert_eq!(sent(&mut mix, 3).0, 2);
        assert_eq!(sent(&mut mix, 3), (0, String::new()));
        let mut lane = mix.lane(0);
        assert_eq!(mix.feed(&mut lane, b"$-1\r\n-OOM x\r\n$3\r\nabc\r\n").unwrap(), 3);
        let counts = mix.take_counts();
        assert_eq!((counts.reads, counts.misses, counts.errors), (5, 1, 1));
        assert_eq!(counts.first_error.as_deref(), Some("OOM x"));
    }
}
