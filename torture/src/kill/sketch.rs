//! What a hyperloglog holds, from the elements and from redis's bytes: its registers.

use std::collections::BTreeMap;

use super::collection::Bytes;

/// The registers that are not 0.
pub type Registers = BTreeMap<u16, u8>;

const SEED: u64 = 0xadc8_3b19;
const REGISTER_BITS: u32 = 14;
const HASH_BITS: u32 = 50;
const HEADER_BYTES: usize = 16;
const DENSE_BITS: usize = 6;

/// Adds an element; whether that has changed a register.
pub fn add(registers: &mut Registers, element: &[u8]) -> bool {
    let hash = murmur64a(element);
    let place = (hash & ((1 << REGISTER_BITS) - 1)) as u16;
    let rank = ((hash >> REGISTER_BITS) | 1 << HASH_BITS).trailing_zeros() as u8 + 1;
    raise(registers, place, rank)
}

/// Adds all of another one's elements.
pub fn merge(registers: &mut Registers, other: &Registers) {
    for (place, rank) in other {
        raise(registers, *place, *rank);
    }
}

fn raise(registers: &mut Registers, place: u16, rank: u8) -> bool {
    let old = registers.entry(place).or_default();
    let rises = *old < rank;
    *old = rank.max(*old);
    rises
}

/// The registers in a string, if it is a hyperloglog; what it remembers of its count is left out.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Registers> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let mut registers = Registers::new();
    match (&header[..4], header[4]) {
        (b"HYLL", 0) => {
            for place in 0..1_usize << REGISTER_BITS {
                let (at, shift) = (place * DENSE_BITS / 8, place * DENSE_BITS % 8);
                let two = u16::from(*body.get(at)?) | u16::from(body.get(at + 1).copied().unwrap_or(0)) << 8;
                raise(&mut registers, place as u16, (two >> shift) as u8 & 63);
            }
        }
        (b"HYLL", 1) => {
            let (mut place, mut rest) = (0_u32, body.iter());
            while let Some(code) = rest.next() {
                let (run, rank) = match code >> 6 {
                    0 => (u32::from(code & 63) + 1, 0),
                    1 => ((u32::from(code & 63) << 8 | u32::from(*rest.next()?)) + 1, 0),
                    _ => (u32::from(code & 3) + 1, (code >> 2 & 31) + 1),
                };
                for place in place..place + run {
                    raise(&mut registers, place as u16, rank);
                }
                place += run;
            }
            if place != 1 << REGISTER_BITS {
                return None;
            }
        }
        _ => return None,
    }
    registers.retain(|_, rank| *rank > 0);
    Some(registers)
}

/// Austin Appleby's MurmurHash64A.
fn murmur64a(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |word: u64| {
        let word = word.wrapping_mul(M);
        (word ^ word >> 47).wrapping_mul(M)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let start = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let mut hash = words.iter().fold(start, |hash, word| (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(M));
    if !rest.is_empty() {
        let mut last = Bytes::from(rest);
        last.resize(8, 0);
        hash ^= last.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis 7.0 has after `PFADD h a b c`.
    const OF_REDIS: &[u8] = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80`\xf3\x80P\xb1\x84K\xfb\x80BZ";

    #[test]
    fn the_registers_of_a_string_are_those_of_its_elements() {
        let mut registers = Registers::new();
        assert!(["a", "b", "c"].iter().all(|element| add(&mut registers, element.as_bytes())));
        assert!(!add(&mut registers, b"b"));
        assert_eq!(decode(OF_REDIS), Some(registers));
        assert_eq!(decode(&OF_REDIS[..OF_REDIS.len() - 1]), None);
    }

    #[test]
    fn dense_registers_have_six_bits() {
        let mut dense = b"HYLL".to_vec();
        dense.resize(HEADER_BYTES + (DENSE_BITS << REGISTER_BITS) / 8, 0);
        dense[HEADER_BYTES] = 0b0100_0011;
        dense[HEADER_BYTES + 1] = 0b0000_0001;
        assert_eq!(decode(&dense), Some(Registers::from([(0, 3), (1, 5)])));
    }
}
