//! Bits of strings: one, or all within a range. The first bit of a string is the highest one of its first byte.

use std::collections::HashMap;
use std::ops::ControlFlow;

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use crate::chunks::{ChunkRoot, Pieces};
use crate::group::Request;
use crate::lookup::{Found, Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

pub(super) const BAD_OFFSET: Stop = Stop::error("ERR bit offset is not an integer or out of range");

/// Bits of a string from one to another, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bits {
    first: u64,
    last: u64,
}

impl Bits {
    /// The bytes that they are in.
    fn bytes(self) -> std::ops::Range<usize> {
        (self.first / 8) as usize..(self.last / 8) as usize + 1
    }

    /// Those that are in `len` bytes from `at` on, counted from there.
    fn within(self, at: usize, len: usize) -> Option<Self> {
        let (from, end) = (at as u64 * 8, (at + len) as u64 * 8);
        let (first, end) = (self.first.max(from), end.min(self.last + 1));
        (first < end).then(|| Self { first: first - from, last: end - 1 - from })
    }
}

/// BITCOUNT's and BITPOS' range, as it was given.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: i64,
    end: Option<i64>,
    in_bits: bool,
}

impl Range {
    const ALL: Self = Self { start: 0, end: None, in_bits: false };

    /// Reads `start [end [BYTE | BIT]]`, or nothing. A wrong unit is found before a wrong `end` or behind it.
    fn parse(args: Args<'_>, unit_first: bool) -> Result<Self, Stop> {
        let number = |text| format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER);
        let Some(start) = args.get(0) else { return Ok(Self::ALL) };
        if args.len() > 3 {
            return Err(Stop::SYNTAX);
        }
        let start = number(start)?;
        let in_bits = match args.get(2) {
            Some(unit) if unit.eq_ignore_ascii_case(b"BIT") => Ok(true),
            Some(unit) if !unit.eq_ignore_ascii_case(b"BYTE") => Err(Stop::SYNTAX),
            _ => Ok(false),
        };
        if unit_first {
            in_bits.clone()?;
        }
        Ok(Self { start, end: args.get(1).map(number).transpose()?, in_bits: in_bits? })
    }

    /// Whether both places are counted from the end, the last one before the first: nothing for BITCOUNT, while BITPOS takes what
    /// lies before the beginning for the beginning first.
    fn is_backwards(self) -> bool {
        self.start < 0 && self.end.is_some_and(|end| end < 0 && self.start > end)
    }

    /// The bits of a string of `len` bytes that it means; `None` if there are none.
    fn of(self, len: usize) -> Option<Bits> {
        let unit = if self.in_bits { 1 } else { 8 };
        let total = len as i64 * 8 / unit;
        let end = self.end.unwrap_or(-1);
        let place = |i: i64| if i < 0 { (total + i.max(-total)).max(0) } else { i };
        let (start, end) = (place(self.start), place(end).min(total - 1));
        (start <= end).then(|| Bits { first: (start * unit) as u64, last: (end * unit + unit - 1) as u64 })
    }
}

/// The byte that a range of bits begins and ends in, and the bits of those bytes that belong to it.
fn masks(Bits { first, last }: Bits) -> (usize, usize, u8, u8) {
    ((first / 8) as usize, (last / 8) as usize, 0xff >> (first % 8), 0xff << (7 - last % 8))
}

/// How many bits are set.
fn count(text: &[u8], bits: Bits) -> u64 {
    let (first, last, head, tail) = masks(bits);
    if first == last {
        return u64::from((text[first] & head & tail).count_ones());
    }
    let (words, rest) = text[first + 1..last].as_chunks::<8>();
    let ends = (text[first] & head).count_ones() + (text[last] & tail).count_ones();
    let rest: u32 = rest.iter().map(|byte| byte.count_ones()).sum();
    let words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    words + u64::from(ends + rest)
}

/// Where the first set (or clear) bit is.
fn position(text: &[u8], bits: Bits, wanted: bool) -> Option<u64> {
    let (first, last, head, tail) = masks(bits);
    let flip = if wanted { 0 } else { 0xff };
    let hit = |at: usize, mask: u8| {
        let byte = (text[at] ^ flip) & mask;
        (byte != 0).then(|| at as u64 * 8 + u64::from(byte.leading_zeros()))
    };
    if first == last {
        return hit(first, head & tail);
    }
    let between = || {
        let at = text[first + 1..last].iter().position(|byte| *byte != flip)?;
        hit(first + 1 + at, 0xff)
    };
    hit(first, head).or_else(between).or_else(|| hit(last, tail))
}

impl<D: Disk> Partition<D> {
    /// SETBIT's and GETBIT's offset.
    fn bit_offset(&self, args: Args<'_>) -> Result<usize, Stop> {
        let offset = format::parse_integer(args.at(2)).and_then(|offset| usize::try_from(offset).ok());
        offset.filter(|offset| offset / 8 < self.limits.max_value_bytes).ok_or(BAD_OFFSET)
    }

    /// The byte at an offset, or none beyond the end.
    fn byte_at(&mut self, key: Key<'_>, lookup: Lookup, at: usize) -> Result<Option<u8>, Stop> {
        let Some(found) = lookup.live() else { return Ok(None) };
        let Some(root) = self.chunked(found) else {
            return Ok(self.text(found, &mut TextBuf::default()).get(at).copied());
        };
        if at >= root.len as usize {
            return Ok(None);
        }
        self.bring_bytes(key, root, &(at..at + 1))?;
        let mut byte = 0;
        self.each_stretch(self.pieces(found, root), at..at + 1, |stretch| {
            byte = stretch.bytes.first().copied().unwrap_or(0);
            ControlFlow::Break(())
        });
        Ok(Some(byte))
    }

    pub(super) fn setbit(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let offset = self.bit_offset(request.args)?;
        let on = match format::parse_integer(request.args.at(3)) {
            Some(bit @ (0 | 1)) => bit == 1,
            _ => return Err(Stop::error("ERR bit is not an integer or out of range")),
        };
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_part(key)?;
        let byte = self.byte_at(key, old, offset / 8)?;
        let mask = 0x80 >> (offset % 8);
        let was_on = byte.is_some_and(|byte| byte & mask != 0);
        // what is as it should be is not written once more
        if was_on != on || byte.is_none() {
            let byte = byte.unwrap_or(0) & !mask | if on { mask } else { 0 };
            self.overwrite(key, old, offset / 8, &[byte])?;
        }
        reply.integer(i64::from(was_on));
        Ok(())
    }

    pub(super) fn getbit(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let offset = self.bit_offset(request.args)?;
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_part(key)?;
        let byte = self.byte_at(key, lookup, offset / 8)?;
        self.count_read(key, lookup);
        reply.integer(i64::from(byte.unwrap_or(0) >> (7 - offset % 8) & 1));
        Ok(())
    }

    pub(super) fn bitcount(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len() == 3 {
            return Err(Stop::SYNTAX);
        }
        let range = Range::parse(request.args.from(2), false)?;
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_part(key)?;
        let len = lookup.live().map_or(0, |found| self.text_len(found));
        let bits = range.of(len).filter(|_| !range.is_backwards());
        let root = lookup.live().and_then(|found| self.chunked(found));
        if let (Some(root), Some(bits)) = (root, bits) {
            self.bring_bytes(key, root, &bits.bytes())?;
        }
        self.count_read(key, lookup);
        let counted = match (lookup.live(), bits) {
            (Some(found), Some(bits)) => match root {
                Some(root) => self.count_chunks(self.pieces(found, root), bits),
                None => count(self.text(found, &mut TextBuf::default()), bits),
            },
            _ => 0,
        };
        reply.integer(counted as i64);
        Ok(())
    }

    fn count_chunks(&self, pieces: Pieces<'_>, bits: Bits) -> u64 {
        let mut counted = 0;
        self.each_stretch(pieces, bits.bytes(), |stretch| {
            counted += bits.within(stretch.at, stretch.bytes.len()).map_or(0, |bits| count(stretch.bytes, bits));
            ControlFlow::Continue(())
        });
        counted
    }

    /// Where the first set (or clear) bit is; chunks behind it are not looked at.
    fn find_in_chunks(
        &mut self,
        key: Key<'_>,
        found: Found,
        root: ChunkRoot,
        bits: Bits,
        wanted: bool,
    ) -> Result<Option<u64>, Stop> {
        let numbers = root.span(&bits.bytes());
        // who has to wait for some begins anew, and those that he has seen are to stay: so more at a time, from the first one on
        let mut upto = numbers.start;
        let mut many = 16;
        while upto < numbers.end {
            let from = upto;
            upto = upto.saturating_add(many).min(numbers.end);
            many = many.saturating_mul(2);
            self.bring_chunks(key, root, numbers.start..upto)?;
            let (first, last) = (root.bytes_of(from).start, root.bytes_of(upto - 1).end);
            let bytes = bits.bytes();
            let mut at = None;
            self.each_stretch(self.pieces(found, root), first.max(bytes.start)..last.min(bytes.end), |stretch| {
                let kept = bits.within(stretch.at, stretch.bytes.len());
                let zeros = stretch.at + stretch.bytes.len();
                at = kept.and_then(|bits| position(stretch.bytes, bits, wanted)).map(|at| at + stretch.at as u64 * 8);
                if !wanted && at.is_none() {
                    at = bits.within(zeros, stretch.zeros).map(|bits| bits.first + zeros as u64 * 8);
                }
                if at.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if at.is_some() {
                return Ok(at);
            }
        }
        Ok(None)
    }

    pub(super) fn bitpos(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let wanted = match format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)? {
            bit @ (0 | 1) => bit == 1,
            _ => return Err(Stop::error("ERR The bit argument must be 1 or 0.")),
        };
        let range = Range::parse(request.args.from(3), true)?;
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_part(key)?;
        let Some(found) = lookup.live() else {
            self.count_read(key, lookup);
            // as if it were all zeros, without an end
            reply.integer(if wanted { -1 } else { 0 });
            return Ok(());
        };
        let bits = range.of(self.text_len(found));
        let at = match (bits, self.chunked(found)) {
            (None, _) => None,
            (Some(bits), Some(root)) => self.find_in_chunks(key, found, root, bits, wanted)?,
            (Some(bits), None) => position(self.text(found, &mut TextBuf::default()), bits, wanted),
        };
        self.count_read(key, lookup);
        // without an end to the range a string is followed by zeros
        let beyond = bits.filter(|_| !wanted && range.end.is_none()).map(|bits| bits.last + 1);
        reply.integer(at.or(beyond).map_or(-1, |at| at as i64));
        Ok(())
    }

    pub(super) fn bitfield(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let may_write = request.id == CommandId::Bitfield;
        let operations = super::bitfield::parse(request.args.from(2), may_write, self.limits.max_value_bytes)?;
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_part(key)?;
        let len = old.live().map_or(0, |found| self.text_len(found));
        let done = match old.live().and_then(|found| Some((found, self.chunked(found)?))) {
            Some((found, root)) => {
                let parts: Vec<_> = operations.iter().map(|operation| operation.bytes(len)).collect();
                self.bring_chunks(key, root, parts.iter().flat_map(|part| root.span(part)))?;
                let pieces = self.pieces(found, root);
                let mut bytes = HashMap::new();
                for part in parts {
                    self.each_stretch(pieces, part, |stretch| {
                        bytes.extend((stretch.at..).zip(stretch.bytes.iter().copied()));
                        ControlFlow::Continue(())
                    });
                }
                super::bitfield::run(&operations, len, |at| bytes.get(&at).copied().unwrap_or(0))
            }
            None => {
                let mut buf = TextBuf::default();
                let text = old.live().map_or(&[][..], |found| self.text(found, &mut buf));
                super::bitfield::run(&operations, len, |at| text.get(at).copied().unwrap_or(0))
            }
        };
        if !may_write {
            self.count_read(key, old);
        }
        if may_write && done.written.is_empty() && old.live().is_none() {
            self.note_miss(key); // it only reads
        }
        if !done.written.is_empty() {
            self.overwrite_all(key, old, &done.written)?;
        }
        reply.array(done.answers.len());
        for answer in done.answers {
            match answer {
                Some(number) => reply.integer(number),
                None => reply.null(),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, against every range of a few strings.
    #[test]
    fn counts_and_finds_what_a_walk_over_the_bits_does() {
        for text in
            [&b"\x00"[..], b"\xff", b"\x00\x10", b"\x7f\xff\xfe", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            let bit = |i: u64| text[(i / 8) as usize] >> (7 - i % 8) & 1 == 1;
            let total = text.len() as u64 * 8;
            for first in 0..total {
                for last in first..total {
                    let bits = Bits { first, last };
                    assert_eq!(count(text, bits), (first..=last).filter(|i| bit(*i)).count() as u64);
                    for wanted in [false, true] {
                        assert_eq!(position(text, bits, wanted), (first..=last).find(|i| bit(*i) == wanted));
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_count_from_the_end_too() {
        let of = |start, end, in_bits, len| Range { start, end, in_bits }.of(len).map(|bits| (bits.first, bits.last));
        assert_eq!(of(0, None, false, 2), Some((0, 15)));
        assert_eq!(of(-1, None, false, 2), Some((8, 15)));
        assert_eq!(of(-5, Some(-2), true, 2), Some((11, 14)));
        assert_eq!(of(i64::MIN, Some(i64::MAX), false, 3), Some((0, 23)));
        assert_eq!(of(2, Some(1), false, 3), None);
        assert_eq!(of(-1, Some(-2), false, 3), None);
        assert_eq!(of(-4, Some(-9), false, 3), Some((0, 7)));
        assert_eq!(of(0, None, false, 0), None);
    }
}
