//! Requests, prepared once and then only patched with the next key.

use std::ops::Range;

use emberkv_load::Random;

use crate::cell::{MSET_KEYS, Op, ValueSize};
use crate::near::Homes;

/// Digits of a key: `key:` and twelve of them are 16 bytes.
const KEY_DIGITS: usize = 12;

/// `redis-benchmark`'s form of keys, so that both clients use the same data set.
pub const KEY_BYTES: usize = 4 + KEY_DIGITS;

/// Which keys are asked for.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Uniformly random ones below a bound, for ever.
    Random {
        /// The source of randomness.
        random: Random,
        /// The number of distinct keys.
        keyspace: u64,
        /// If only some of them are for each connection, which.
        homes: Option<Homes>,
    },
    /// Every number of a range, once.
    Sequential(Range<u64>),
}

impl Keys {
    fn next(&mut self, connection: usize) -> Option<u64> {
        match self {
            Self::Random { random, keyspace, homes: None } => Some(random.below(*keyspace)),
            Self::Random { random, keyspace, homes: Some(homes) } => {
                let keys = std::iter::repeat_with(|| random.below(*keyspace));
                keys.into_iter().find(|key| homes.are_right(connection, *key))
            }
            Self::Sequential(range) => range.next(),
        }
    }
}

/// The digits of 0 to 999: a key's number is written three digits at a time.
fn triplets() -> Box<[[u8; 3]]> {
    let digit = |value: usize| b'0' + (value % 10) as u8;
    (0..1000).map(|n| [digit(n / 100), digit(n / 10), digit(n)]).collect()
}

/// A pipeline's worth of requests of one shape, as bytes. Each has a value of its own, of random
/// printable bytes, so that no server gains by compressing it.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Length of one request.
    stride: usize,
    /// Where the keys' digits start in a request.
    digits_at: Vec<usize>,
    triplets: Box<[[u8; 3]]>,
}

impl Batch {
    /// Prepares `requests` requests.
    ///
    /// # Panics
    /// If `requests` is 0.
    pub fn new(op: Op, value: ValueSize, requests: usize, random: &mut Random) -> Self {
        assert!(requests > 0, "a batch holds at least one request");
        let key = format!("${KEY_BYTES}\r\nkey:{:0KEY_DIGITS$}\r\n", 0);
        let head = match op {
            Op::Get => "*2\r\n$3\r\nGET\r\n".to_owned(),
            Op::Set | Op::Churn => "*3\r\n$3\r\nSET\r\n".to_owned(),
            Op::SetEx => "*5\r\n$3\r\nSET\r\n".to_owned(),
            Op::Del => "*2\r\n$3\r\nDEL\r\n".to_owned(),
            Op::MSet => format!("*{}\r\n$4\r\nMSET\r\n", 1 + 2 * MSET_KEYS),
        };
        let (mut bytes, mut digits_at) = (Vec::new(), Vec::new());
        for _ in 0..requests {
            let start = bytes.len();
            digits_at.clear();
            bytes.extend_from_slice(head.as_bytes());
            for _ in 0..op.keys() {
                bytes.extend_from_slice(key.as_bytes());
                digits_at.push(bytes.len() - 2 - KEY_DIGITS - start);
                if !matches!(op, Op::Get | Op::Del) {
                    bytes.extend_from_slice(format!("${}\r\n", value.0).as_bytes());
                    bytes.extend((0..value.0).map(|_| b'!' + random.below(94) as u8));
                    bytes.extend_from_slice(b"\r\n");
                }
            }
            if op == Op::SetEx {
                bytes.extend_from_slice(b"$2\r\nEX\r\n$2\r\n10\r\n");
            }
        }
        Self { stride: bytes.len() / requests, bytes, digits_at, triplets: triplets() }
    }

    /// Writes the next keys for a connection into up to `limit` requests and returns how many there are (fewer,
    /// or none, when the keys run out) and their bytes.
    pub fn fill(&mut self, keys: &mut Keys, connection: usize, limit: usize) -> (usize, &[u8]) {
        let mut filled = 0;
        'requests: for request in self.bytes.chunks_exact_mut(self.stride).take(limit) {
            for at in &self.digits_at {
                let Some(key) = keys.next(connection) else { break 'requests };
                let mut rest = key;
                for group in request[*at..at + KEY_DIGITS].rchunks_exact_mut(3) {
                    group.copy_from_slice(&self.triplets[(rest % 1000) as usize]);
                    rest /= 1000;
                }
            }
            filled += 1;
        }
        (filled, &self.bytes[..filled * self.stride])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(op: Op, value: usize, keys: Range<u64>, limit: usize) -> (usize, String) {
        let mut batch = Batch::new(op, ValueSize(value), 4, &mut Random::new(1));
        let (count, bytes) = batch.fill(&mut Keys::Sequential(keys), 0, limit);
        (count, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_get_is_well_formed() {
        let (count, text) = filled(Op::Get, 64, 123_456_789_012..u64::MAX, 1);
        assert_eq!(count, 1);
        assert_eq!(text, "*2\r\n$3\r\nGET\r\n$16\r\nkey:123456789012\r\n");
    }

    #[test]
    fn a_set_has_a_value_of_its_size() {
        let (_, text) = filled(Op::Set, 64, 7..8, 4);
        let (head, value) = text.split_at(text.len() - 66);
        assert_eq!(head, "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$64\r\n");
        assert!(value.ends_with("\r\n") && !value[..64].contains(['\r', '\n']));
    }

    #[test]
    fn what_expires_says_when_and_a_del_has_no_value() {
        assert!(filled(Op::SetEx, 3, 0..1, 1).1.ends_with("\r\n$2\r\nEX\r\n$2\r\n10\r\n"));
        assert_eq!(filled(Op::Del, 3, 0..1, 1).1, "*2\r\n$3\r\nDEL\r\n$16\r\nkey:000000000000\r\n");
    }

    #[test]
    fn an_mset_has_ten_keys_of_its_own() {
        let (count, text) = filled(Op::MSet, 3, 0..25, 4);
        assert_eq!(count, 2, "keys for half a request are none");
        assert!(text.starts_with("*21\r\n$4\r\nMSET\r\n$16\r\nkey:000000000000\r\n$3\r\n"));
        let keys: Vec<&str> = text.lines().filter(|line| line.starts_with("key:")).collect();
        let expected: Vec<String> = (0..20).map(|key| format!("key:{key:012}")).collect();
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_batch_is_cut_where_the_keys_end() {
        let (count, text) = filled(Op::Get, 64, 0..3, 4);
        assert_eq!(count, 3);
        assert_eq!(text.matches("GET").count(), 3);
        assert_eq!(filled(Op::Get, 64, 5..5, 4), (0, String::new()));
    }
}
