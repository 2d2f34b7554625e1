//! BITOP: strings, combined bit by bit. A string that is shorter than others has zeros where it has ended.

use emberkv_log::disk::Disk;
use emberkv_log::{Entry, Purpose};
use emberkv_resp::{Args, Reply};

use crate::group::Request;
use crate::lookup::TextBuf;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::write::stored;

/// What is made of the strings. The first one counts apart where it says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    And,
    Or,
    Xor,
    /// Of the only one.
    Not,
    /// In the first one and in no other.
    Diff,
    /// In another one and not in the first.
    Diff1,
    /// In the first one and in another.
    Andor,
    /// In one and in no second.
    One,
}

impl Operation {
    /// Reads a BITOP.
    pub fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let (operation, name) = match args.at(1).to_ascii_uppercase().as_slice() {
            b"AND" => (Self::And, "AND"),
            b"OR" => (Self::Or, "OR"),
            b"XOR" => (Self::Xor, "XOR"),
            b"NOT" => (Self::Not, "NOT"),
            b"DIFF" => (Self::Diff, "DIFF"),
            b"DIFF1" => (Self::Diff1, "DIFF1"),
            b"ANDOR" => (Self::Andor, "ANDOR"),
            b"ONE" => (Self::One, "ONE"),
            _ => return Err(Stop::SYNTAX),
        };
        let sources = args.len() - 3;
        match operation {
            Self::Not if sources != 1 => Err(Stop::error("ERR BITOP NOT must be called with a single source key.")),
            Self::Diff | Self::Diff1 | Self::Andor if sources < 2 => {
                Err(Stop::Error(format!("ERR BITOP {name} must be called with at least two source keys.").into()))
            }
            _ => Ok(operation),
        }
    }

    /// What it makes of these strings; as long as the longest.
    pub fn combine(self, sources: &[&[u8]]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or_default();
        let padded = |source: &[u8]| {
            let mut bytes = Vec::with_capacity(len);
            bytes.extend_from_slice(source);
            bytes.resize(len, 0);
            bytes
        };
        let Some((first, others)) = sources.split_first() else { return Vec::new() };
        let mut result = padded(first);
        match self {
            Self::And => {
                for other in others {
                    each(&mut result, other, |a, b| a & b);
                    result[other.len()..].fill(0);
                }
            }
            Self::Or => others.iter().for_each(|other| each(&mut result, other, |a, b| a | b)),
            Self::Xor => others.iter().for_each(|other| each(&mut result, other, |a, b| a ^ b)),
            Self::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
            Self::Diff | Self::Diff1 | Self::Andor => {
                let mut any = padded(&[]);
                others.iter().for_each(|other| each(&mut any, other, |a, b| a | b));
                let how = match self {
                    Self::Diff => |first: u8, any: u8| first & !any,
                    Self::Diff1 => |first: u8, any: u8| !first & any,
                    _ => |first: u8, any: u8| first & any,
                };
                each(&mut result, &any, how);
            }
            Self::One => {
                let mut twice = padded(&[]);
                for other in others {
                    for ((once, twice), byte) in result.iter_mut().zip(&mut twice).zip(*other) {
                        *twice |= *once & byte;
                        *once |= byte;
                    }
                }
                each(&mut result, &twice, |once, twice| once & !twice);
            }
        }
        result
    }
}

/// Combines each byte with the other's, as far as that goes.
fn each(bytes: &mut [u8], others: &[u8], how: impl Fn(u8, u8) -> u8) {
    for (byte, other) in bytes.iter_mut().zip(others) {
        *byte = how(*byte, *other);
    }
}

impl<D: Disk> Partition<D> {
    pub(super) fn bitop(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let operation = Operation::parse(request.args)?;
        let to = self.key(request.db, request.args.at(2));
        let keys: Vec<_> = request.args.from(3).iter().map(|key| self.key(request.db, key)).collect();
        // a lookup that removes an expired key moves others in the index: removals first, then the reads
        self.lookup(to)?;
        self.bring_texts(&keys)?;
        for key in &keys {
            let lookup = self.lookup_string(*key)?;
            self.count_read(*key, lookup);
        }
        let mut buffers: Vec<_> = keys.iter().map(|_| TextBuf::default()).collect();
        let texts = keys.iter().zip(&mut buffers).map(|(key, buffer)| match self.peek(*key).live() {
            Some(found) => self.text(found, buffer),
            None => &[],
        });
        let result = operation.combine(&texts.collect::<Vec<_>>());
        let old = self.peek(to);
        if result.is_empty() {
            if let Some(found) = old.live() {
                self.reserve_delete(std::iter::once(to.bytes))?;
                self.delete(to, found);
            }
        } else {
            // not ahead, a slice at a time: the sources may be others by the next
            let value = stored(&result);
            let put = Entry::Put { db: to.db, key: to.bytes, value, expires_at_ms: None };
            self.reserve(put.encoded_len() as u64, Purpose::Grow)?;
            self.put(to, value, None, old);
        }
        reply.integer(result.len() as i64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit: how many of the others have it, and whether the first one does.
    fn plain(operation: Operation, sources: &[Vec<u8>]) -> Vec<u8> {
        let len = sources.iter().map(Vec::len).max().unwrap_or_default();
        let bit = |source: &Vec<u8>, i: usize| source.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1);
        let mut result = vec![0; len];
        for i in 0..len * 8 {
            let (first, others) = (bit(&sources[0], i), sources[1..].iter().filter(|source| bit(source, i)).count());
            let all = usize::from(first) + others;
            let is_set = match operation {
                Operation::And => all == sources.len(),
                Operation::Or => all > 0,
                Operation::Xor => all % 2 == 1,
                Operation::Not => !first,
                Operation::Diff => first && others == 0,
                Operation::Diff1 => !first && others > 0,
                Operation::Andor => first && others > 0,
                Operation::One => all == 1,
            };
            result[i / 8] |= u8::from(is_set) << (i % 8);
        }
        result
    }

    proptest! {
        #[test]
        fn each_bit_is_what_the_operation_says(sources in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..5)) {
            use Operation::*;
            let views: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            for operation in [And, Or, Xor, Diff, Diff1, Andor, One] {
                prop_assert_eq!(operation.combine(&views), plain(operation, &sources), "{:?}", operation);
            }
            prop_assert_eq!(Not.combine(&views[..1]), plain(Not, &sources[..1]));
        }
    }
}
