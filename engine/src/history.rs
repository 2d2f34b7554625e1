//! How often keys were asked for, also those that have gone: a sketch of counters, for `lfu` policies.
//!
//! Two bits beside a key's address forget it when it is evicted, and are used up when it is spared: what they say is about one
//! round of the log. So what they say is added up here when eviction passes by, and a key that comes again is noted too. Reads
//! touch nothing of it.
//!
//! A key has two counters of four bits, shared with others; the smaller one counts. After some time all are halved.

use emberkv_index::Fingerprint;

/// The most that a counter says.
const MAX: u8 = 15;

/// Counters of a word.
const IN_A_WORD: usize = u64::BITS as usize / 4;

/// Counters for each key, at least; up to twice as many, as their number is a power of two. With four the hit ratios of zipfian keys
/// were 0.5 to 1.5% lower (a simulation of 5,000 to 60,000 keys of 200,000).
const FOR_A_KEY: usize = 8;

/// When so much was added for each key the counters are halved. More, and what was hot stays for longer when it is not any more; less, and
/// less is known of what is asked for seldom.
const AGE: u64 = 20;

/// What a key's two bits are worth ([`Visits`](crate::visits::Visits)): about as many reads as they stand for.
const WORTH: [u8; 4] = [0, 1, 3, 6];

/// Of what is judged of one segment, at least so many hundredths are to go: what is copied for them would be too much otherwise,
const LEAST_TO_GO: u64 = 20;
/// and at most so many, if others are asked for less.
const MOST_TO_GO: u64 = 40;

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    words: Box<[u64]>,
    added: u64,
    /// Keys whose count is not above this go.
    threshold: u8,
    /// Since the threshold was looked at: keys that were judged, those of them that have gone.
    judged: u64,
    gone: u64,
}

impl History {
    /// For so many keys, and more.
    pub fn new(keys: usize) -> Self {
        let counters = (keys.max(1024) * FOR_A_KEY).next_power_of_two();
        let words = vec![0; counters / IN_A_WORD].into_boxed_slice();
        Self { words, added: 0, threshold: 1, judged: 0, gone: 0 }
    }

    pub fn memory_bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    /// Where a key's two counters are: word and shift.
    fn places(&self, fingerprint: Fingerprint) -> [(usize, u32); 2] {
        let mixed = (u64::from(fingerprint.raw()) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // by low bits, so that twice as many counters begin with what those had
        [mixed >> 32, mixed.rotate_left(17) >> 32].map(|place| {
            let place = place as usize & (self.words.len() * IN_A_WORD - 1);
            (place / IN_A_WORD, 4 * (place % IN_A_WORD) as u32)
        })
    }

    fn counter(&self, (word, shift): (usize, u32)) -> u8 {
        (self.words[word] >> shift) as u8 & MAX
    }

    /// How often a key was asked for, about, up to [`MAX`].
    pub fn count(&self, fingerprint: Fingerprint) -> u8 {
        let [first, second] = self.places(fingerprint);
        self.counter(first).min(self.counter(second))
    }

    /// The same for a key of which so much was noted since.
    pub fn count_with(&self, fingerprint: Fingerprint, visited: u8) -> u8 {
        self.count(fingerprint) + WORTH[usize::from(visited & 3)]
    }

    fn add(&mut self, fingerprint: Fingerprint, times: u8) {
        let count = (self.count(fingerprint) + times).min(MAX);
        for place in self.places(fingerprint) {
            // the other keys that share the larger one have been counted already
            let less = count.saturating_sub(self.counter(place));
            self.words[place.0] += u64::from(less) << place.1;
        }
        self.added += u64::from(times);
    }

    /// A key is set that was not there. `keys`: how many there are.
    pub fn comes(&mut self, fingerprint: Fingerprint, keys: usize) {
        if keys * FOR_A_KEY > self.words.len() * IN_A_WORD {
            self.grow();
        }
        self.add(fingerprint, 1);
        if self.added >= AGE * (keys as u64).max(1024) {
            self.added = 0;
            self.words.iter_mut().for_each(|word| *word = *word >> 1 & 0x7777_7777_7777_7777);
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.words = [&self.words[..], &self.words[..]].concat().into_boxed_slice();
    }

    /// Eviction comes by a key of which so much was noted. Whether it is to go.
    pub fn judge(&mut self, fingerprint: Fingerprint, visited: u8) -> bool {
        self.add(fingerprint, WORTH[usize::from(visited & 3)]);
        let goes = self.count(fingerprint) <= self.threshold;
        self.judged += 1;
        self.gone += u64::from(goes);
        goes
    }

    /// A segment was judged: the threshold follows what has gone of it.
    pub fn settle(&mut self) {
        let (judged, gone) = (std::mem::take(&mut self.judged), std::mem::take(&mut self.gone));
        if gone * 100 < judged * LEAST_TO_GO {
            self.threshold = (self.threshold + 1).min(MAX - 1);
        } else if gone * 100 > judged * MOST_TO_GO {
            self.threshold = self.threshold.saturating_sub(1).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint::from_raw(number.wrapping_mul(0x9e37_79b9) >> 1)
    }

    #[test]
    fn what_was_asked_for_often_is_known_after_it_has_gone() {
        let mut history = History::new(0);
        for round in 0..3 {
            for number in 0..1000 {
                if round == 0 {
                    history.comes(key(number), 1000);
                }
                history.judge(key(number), if number % 10 == 0 { 3 } else { 0 });
            }
        }
        let counts: Vec<u8> = (0..1000).map(|number| history.count(key(number))).collect();
        assert!((0..1000).step_by(10).all(|number| counts[number] == MAX));
        let few = (0..1000).filter(|number| number % 10 != 0 && counts[*number] == 1).count();
        assert!(few > 800, "{few} of 900 are told from the others");
    }

    #[test]
    fn it_grows_without_forgetting_and_forgets_by_halves() {
        let mut history = History::new(1);
        (0..500).for_each(|number| history.add(key(number), 6));
        let before = history.memory_bytes();
        history.comes(key(1000), 20_000);
        assert!(history.memory_bytes() > before);
        assert!((0..500).all(|number| history.count(key(number)) >= 6));
        for _ in 0..AGE * 20_000 {
            history.comes(key(1000), 20_000);
        }
        assert!((0..500).filter(|number| history.count(key(*number)) == 3).count() > 450);
    }

    #[test]
    fn the_threshold_follows_what_goes() {
        let mut history = History::new(1000);
        for _ in 0..20 {
            for number in 0..100 {
                history.judge(key(number), 3);
            }
            history.settle();
        }
        assert_eq!(history.threshold, MAX - 1, "nothing goes, as all is asked for");
        for _ in 0..20 {
            for number in 0..100 {
                history.judge(key(5000 + number), 0);
            }
            history.settle();
        }
        assert_eq!(history.threshold, 1);
    }
}
