//! HyperLogLog: about how many different elements there were, out of 16,384 registers. The value is a string with the bytes that redis
//! gives it, so it can be read and set as one.
//!
//! ```text
//! 0       4           5         8              16
//! +-------+-----------+---------+--------------+------------------------------------------+
//! | HYLL  | encoding  |    0    | count, le    | registers: 0 dense, 1 sparse             |
//! +-------+-----------+---------+--------------+------------------------------------------+
//! ```
//!
//! The count is the one that was estimated last; its highest bit says that the registers have changed since.

mod estimate;
mod murmur;
mod sparse;

use std::borrow::Cow;

use emberkv_log::Value;
pub use estimate::self_test;

use crate::collections::WRONG_TYPE;
use crate::lookup::TextBuf;
use crate::stop::Stop;

/// How many registers there are.
pub(crate) const REGISTERS: usize = 1 << INDEX_BITS;
/// How many bits of an element's hash say which register it is for.
const INDEX_BITS: u32 = 14;
/// How many are left for what the register is told.
const RANK_BITS: u32 = 64 - INDEX_BITS;
const HASH_SEED: u64 = 0xadc8_3b19;

const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const HEADER_BYTES: usize = 16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Six bits each.
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
/// In the last byte of the count.
const STALE: u8 = 0x80;

const NOT_AN_ESTIMATE: Stop = Stop::error("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: Stop = Stop::error("INVALIDOBJ Corrupted HLL object detected");

/// Such a value, which is copied when it is changed.
#[derive(Clone, Debug)]
pub(crate) struct HyperLogLog<'a> {
    bytes: Cow<'a, [u8]>,
}

/// The register that an element is for, and what it is told.
fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur::hash(element, HASH_SEED);
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS; // so that it ends somewhere
    (hash as usize % REGISTERS, rest.trailing_zeros() as u8 + 1)
}

/// Appends registers, six bits each, the lowest ones first.
fn pack(registers: &Registers, bytes: &mut Vec<u8>) {
    for four in registers.0.as_chunks::<4>().0 {
        let bits = four.iter().rev().fold(0, |bits, register| bits << 6 | u32::from(*register));
        bytes.extend_from_slice(&bits.to_le_bytes()[..3]);
    }
}

impl<'a> HyperLogLog<'a> {
    /// One that has seen nothing.
    pub fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[SPARSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        sparse::push_run(&mut bytes, 0, REGISTERS);
        Self { bytes: bytes.into() }
    }

    /// Reads a string.
    ///
    /// # Errors
    /// If it is no such value.
    pub fn read(text: &'a [u8]) -> Result<Self, Stop> {
        let is_one = text.len() >= HEADER_BYTES
            && text.starts_with(MAGIC)
            && match text[ENCODING_AT] {
                DENSE => text.len() == DENSE_BYTES,
                encoding => encoding == SPARSE,
            };
        if is_one { Ok(Self { bytes: text.into() }) } else { Err(NOT_AN_ESTIMATE) }
    }

    /// Reads what a key holds.
    ///
    /// # Errors
    /// If it is no such value.
    pub fn of(value: Value<'a>, buf: &'a mut TextBuf) -> Result<Self, Stop> {
        match value {
            Value::Whole(_) | Value::Root(_) => Err(WRONG_TYPE),
            // one in chunks comes gathered
            value => Self::read(buf.text(value)),
        }
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    pub fn is_dense(&self) -> bool {
        self.bytes[ENCODING_AT] == DENSE
    }

    /// Adds an element. Returns whether that changes anything. One that would make it longer than `sparse_max_bytes` makes it dense.
    ///
    /// # Errors
    /// If its registers can't be read.
    pub fn add(&mut self, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Stop> {
        let (register, rank) = place_of(element);
        self.raise(register, rank, sparse_max_bytes)
    }

    /// Raises a register, if it is lower.
    fn raise(&mut self, register: usize, rank: u8, sparse_max_bytes: usize) -> Result<bool, Stop> {
        if self.is_dense() {
            return Ok(self.raise_dense(register, rank));
        }
        if rank > sparse::MAX_RANK {
            self.make_dense()?;
            return Ok(self.raise_dense(register, rank));
        }
        match sparse::raise(&self.bytes[HEADER_BYTES..], register, rank).ok_or(CORRUPTED)? {
            sparse::Raise::Is => Ok(false),
            sparse::Raise::Becomes(edit) => {
                if edit.grows_by() > 0 && self.bytes.len() + edit.grows_by() > sparse_max_bytes {
                    self.make_dense()?;
                    return Ok(self.raise_dense(register, rank));
                }
                edit.apply(self.bytes.to_mut(), HEADER_BYTES);
                Ok(true)
            }
        }
    }

    fn raise_dense(&mut self, register: usize, rank: u8) -> bool {
        let (at, shift) = (HEADER_BYTES + register * 6 / 8, register * 6 % 8);
        // the last one ends in its own byte
        let next = self.bytes.get(at + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([self.bytes[at], next]);
        if pair >> shift & 0x3f >= u16::from(rank) {
            return false;
        }
        let [low, high] = (pair & !(0x3f << shift) | u16::from(rank) << shift).to_le_bytes();
        let bytes = self.bytes.to_mut();
        bytes[at] = low;
        if let Some(next) = bytes.get_mut(at + 1) {
            *next = high;
        }
        true
    }

    /// Gives each register a place of its own. Returns whether it had none.
    ///
    /// # Errors
    /// If its registers can't be read.
    pub fn make_dense(&mut self) -> Result<bool, Stop> {
        if self.is_dense() {
            return Ok(false);
        }
        let registers = self.registers()?;
        let bytes = self.bytes.to_mut();
        bytes.truncate(HEADER_BYTES);
        bytes[ENCODING_AT] = DENSE;
        pack(&registers, bytes);
        Ok(true)
    }

    /// Its registers.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn registers(&self) -> Result<Registers, Stop> {
        let mut registers = Registers::new();
        let bytes = &self.bytes[HEADER_BYTES..];
        if self.is_dense() {
            for (four, bytes) in registers.0.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<3>().0) {
                let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
                *four = [0, 6, 12, 18].map(|shift| (bits >> shift & 0x3f) as u8);
            }
            return Ok(registers);
        }
        let mut first = 0;
        for run in sparse::runs(bytes) {
            let run = run.ok_or(CORRUPTED)?;
            registers.0.get_mut(first..first + run.len).ok_or(CORRUPTED)?.fill(run.rank);
            first += run.len;
        }
        if first == REGISTERS { Ok(registers) } else { Err(CORRUPTED) }
    }

    /// The runs of one that is sparse, as PFDEBUG DECODE shows them.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn shown(&self) -> Result<String, Stop> {
        let show = |run: Option<sparse::Run>| run.map(|run| run.to_string()).ok_or(CORRUPTED);
        let runs = sparse::runs(&self.bytes[HEADER_BYTES..]).map(show).collect::<Result<Vec<_>, _>>()?;
        Ok(runs.join(" "))
    }

    /// What was estimated last, if that is still true.
    pub fn kept_count(&self) -> Option<u64> {
        let count = u64::from_le_bytes(*self.bytes[8..].first_chunk()?);
        (count >> 63 == 0).then_some(count)
    }

    /// Keeps what was estimated.
    pub fn keep_count(&mut self, count: u64) {
        self.bytes.to_mut()[8..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// What was estimated last is not true any more.
    pub fn forget_count(&mut self) {
        self.bytes.to_mut()[HEADER_BYTES - 1] |= STALE;
    }
}

/// What each register was told at most.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registers(Box<[u8; REGISTERS]>);

impl Registers {
    pub fn new() -> Self {
        Self(Box::new([0; REGISTERS]))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u8> {
        self.0.iter().copied()
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(own, other)| *own = (*own).max(*other));
    }
}

/// What several values have seen together.
#[derive(Debug)]
pub(crate) struct Merged {
    registers: Registers,
    any_dense: bool,
}

impl Merged {
    /// Of what keys hold; of those that are not there nothing.
    ///
    /// # Errors
    /// If one is no such value.
    pub fn of<'a>(values: impl Iterator<Item = Option<Value<'a>>>) -> Result<Self, Stop> {
        let mut merged = Self { registers: Registers::new(), any_dense: false };
        for value in values.flatten() {
            let mut buf = TextBuf::default();
            let hll = HyperLogLog::of(value, &mut buf)?;
            merged.any_dense |= hll.is_dense();
            merged.registers.merge(&hll.registers()?);
        }
        Ok(merged)
    }

    /// How many different elements that are, about.
    pub fn estimate(&self) -> u64 {
        self.registers.estimate()
    }

    /// What a key is to hold that has held `old`, one of those that were merged.
    ///
    /// # Errors
    /// If its registers can't be read.
    pub fn onto(self, old: Option<Value<'_>>, sparse_max_bytes: usize) -> Result<Vec<u8>, Stop> {
        let mut buf = TextBuf::default();
        let mut hll = old.map_or_else(|| Ok(HyperLogLog::new()), |old| HyperLogLog::of(old, &mut buf))?;
        if self.any_dense {
            hll.make_dense()?;
        }
        for (register, rank) in self.registers.iter().enumerate().filter(|(_, rank)| *rank > 0) {
            hll.raise(register, rank, sparse_max_bytes)?;
        }
        hll.forget_count();
        Ok(hll.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 3000;

    #[test]
    fn is_made_of_the_bytes_that_redis_makes() {
        let mut hll = HyperLogLog::new();
        assert_eq!(hll.clone().into_bytes(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert_eq!(hll.kept_count(), Some(0));
        assert!(hll.add(b"x", MAX).unwrap());
        assert!(!hll.add(b"x", MAX).unwrap());
        assert_eq!(hll.shown().unwrap(), "Z:16374 v:2,1 z:9"); // as redis 8.2 says
        hll.keep_count(1);
        assert_eq!(hll.kept_count(), Some(1));
        hll.forget_count();
        assert_eq!(hll.kept_count(), None);
        assert!(hll.make_dense().unwrap());
        assert!(!hll.make_dense().unwrap());
        assert!(!hll.add(b"x", MAX).unwrap());
        assert_eq!(hll.into_bytes().len(), 12304);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in
            [&b""[..], b"HYLL", b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff"]
        {
            assert_eq!(HyperLogLog::read(text).unwrap_err(), NOT_AN_ESTIMATE);
        }
        for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00"] {
            let text = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", runs].concat();
            assert_eq!(HyperLogLog::read(&text).unwrap().registers().unwrap_err(), CORRUPTED, "{runs:?}");
        }
    }

    fn raises() -> impl Strategy<Value = Vec<(usize, u8)>> {
        let register = prop_oneof![0..60usize, 0..REGISTERS, REGISTERS - 70..REGISTERS];
        proptest::collection::vec((register, prop_oneof![4 => 1..4u8, 1 => 1..33u8]), 0..400)
    }

    proptest! {
        #[test]
        fn registers_are_those_of_a_plain_array(raises in raises(), max in 20..800usize) {
            let (mut hll, mut plain) = (HyperLogLog::new(), Registers::new());
            let mut dense = hll.clone();
            dense.make_dense().unwrap();
            for (register, rank) in raises {
                let changes = plain.0[register] < rank;
                plain.0[register] = plain.0[register].max(rank);
                prop_assert_eq!(hll.raise(register, rank, max).unwrap(), changes);
                prop_assert_eq!(dense.raise(register, rank, max).unwrap(), changes);
                prop_assert!(hll.is_dense() || hll.bytes.len() <= max);
            }
            prop_assert_eq!(&hll.registers().unwrap(), &plain);
            prop_assert_eq!(&dense.registers().unwrap(), &plain);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 16..60), element in any::<u16>()) {
            bytes[..5].copy_from_slice(b"HYLL\x01");
            let mut hll = HyperLogLog::read(&bytes).unwrap();
            let _ = hll.add(&element.to_le_bytes(), MAX);
            let _ = (hll.registers(), hll.shown(), hll.kept_count());
        }
    }

    #[test]
    fn merges_into_what_was_there() {
        let many = |range: std::ops::Range<u32>| {
            let mut hll = HyperLogLog::new();
            for n in range {
                hll.add(&n.to_be_bytes(), MAX).unwrap();
            }
            hll.into_bytes()
        };
        let (few, all) = (many(0..50), many(0..5000));
        assert_eq!(many(0..50)[ENCODING_AT], SPARSE);
        let values = [Some(Value::Bytes(&few)), None, Some(Value::Bytes(&all))];
        let merged = Merged::of(values.into_iter()).unwrap();
        let into = merged.onto(Some(Value::Bytes(&few)), MAX).unwrap();
        let whole = HyperLogLog::read(&all).unwrap().registers().unwrap();
        assert_eq!(into[ENCODING_AT], DENSE);
        assert_eq!(HyperLogLog::read(&into).unwrap().registers().unwrap(), whole);
        assert_eq!(Merged::of([Some(Value::Int(7))].into_iter()).unwrap_err(), NOT_AN_ESTIMATE);
        assert_eq!(Merged::of([Some(Value::Whole(b""))].into_iter()).unwrap_err(), WRONG_TYPE);
    }
}
