//! HSCAN and SSCAN. A cursor is a place in the order of hashes, their lowest bit first: a leaf holds a range of it however many leaves there are, so
//! what is there all the time is shown, whatever comes and goes meanwhile.

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Reply, format, glob};

use crate::collections::{Root, Type, bits_of};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

/// One beyond the last place.
const END: u64 = 1 << 32;

struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    values: bool,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, kind: Type) -> Result<Self, Stop> {
        let mut options = Self { pattern: None, count: 10, values: kind != Type::Set };
        let mut rest = args.iter();
        while let Some(name) = rest.next() {
            let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
            if is(b"COUNT") && rest.len() > 0 {
                let count = rest.next().and_then(format::parse_integer).ok_or(Stop::NOT_AN_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Stop::SYNTAX)?;
            } else if is(b"MATCH") && rest.len() > 0 {
                options.pattern = rest.next().filter(|pattern| *pattern != b"*");
            } else if is(b"NOVALUES") {
                if kind != Type::Hash {
                    return Err(Stop::error("ERR NOVALUES option can only be used in HSCAN"));
                }
                options.values = false;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }

    fn take(&self, field: &[u8], value: &[u8], into: &mut Strings) {
        if self.pattern.is_none_or(|pattern| glob::matches(pattern, field)) {
            into.push(field);
            if self.values {
                into.push(value);
            }
        }
    }
}

/// The cursor, as a client sends it.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The leaf that a place is in, and the place behind it.
fn step(root: Root, place: u64) -> (u32, u64) {
    let hash = (place as u32).reverse_bits();
    let leaf = root.leaf_of(hash);
    let width = END >> bits_of(leaf, root.leaves);
    (leaf, (place / width + 1) * width)
}

impl<D: Disk> Partition<D> {
    /// Shows some elements of a collection of this type.
    pub(in crate::commands) fn element_scan(
        &mut self,
        request: Request<'_>,
        kind: Type,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let cursor = Self::parse_scan(request)?;
        let (key, found) = self.read_collection(request, kind)?;
        let (next, shown) = self.scan_pairs(request, kind, key, found, cursor)?;
        reply.array(2);
        reply.bulk_integer(next as i64);
        reply.array(shown.len());
        shown.iter().for_each(|text| reply.bulk(text));
        Ok(())
    }

    /// The cursor of HSCAN and its like.
    pub(in crate::commands) fn parse_scan(request: Request<'_>) -> Result<u64, Stop> {
        parse_cursor(request.args.at(2)).ok_or(Stop::error("ERR invalid cursor"))
    }

    /// The next elements from a cursor on, each with its value behind it if that is wanted, and the next cursor.
    pub(in crate::commands) fn scan_pairs(
        &mut self,
        request: Request<'_>,
        kind: Type,
        key: Key<'_>,
        found: Option<Found>,
        cursor: u64,
    ) -> Result<(u64, Strings), Stop> {
        let mut pairs = Strings::default();
        let Some(found) = found else { return Ok((0, pairs)) };
        let options = Options::parse(request.args.from(3), kind)?;
        let Some(root) = self.root(found).filter(|root| root.head.encoding.is_by_hash()) else {
            // what redis keeps in one piece it shows in one, whatever the cursor
            self.each_pair(key, found, |pair| options.take(pair.field, pair.value, &mut pairs))?;
            return Ok((0, pairs));
        };
        let (mut place, mut seen) = (cursor, 0);
        while place < END && seen < options.count {
            let (leaf, behind) = step(root, place);
            let shown = self.each_of_leaf(key, root, leaf, |pair| {
                seen += 1;
                options.take(pair.field, pair.value, &mut pairs);
            });
            match shown {
                // what it has found so far is an answer
                Err(Stop::Cold(_)) if seen > 0 => break,
                other => other?,
            }
            place = behind;
        }
        Ok((if place < END { place } else { 0 }, pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::{Encoding, Head};

    fn root(leaves: u32) -> Root {
        let head = Head::new(Type::Hash, Encoding::Hashtable, 1);
        Root { head, bytes: 0, leaves, next: 1, id: 1, tree: crate::collections::TreeRoot::default() }
    }

    #[test]
    fn a_walk_comes_to_every_hash_whatever_the_number_of_leaves_becomes() {
        for seed in 1..200u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut draw = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let hashes: Vec<u32> = (0..60).map(|_| draw(END) as u32).collect();
            let mut seen = vec![false; hashes.len()];
            let (mut place, mut steps) = (0, 0);
            while place < END {
                let root = root(1 + draw(70) as u32);
                let (leaf, behind) = step(root, place);
                assert!(behind > place);
                for (hash, seen) in hashes.iter().zip(&mut seen) {
                    *seen |= root.leaf_of(*hash) == leaf;
                }
                (place, steps) = (behind, steps + 1);
            }
            assert!(seen.iter().all(|seen| *seen), "seed {seed}");
            assert!(steps < 200);
        }
    }
}
