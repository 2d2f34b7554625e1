//! BITFIELD: integers of 1 to 64 bits, anywhere in a string, the highest bit first.

use std::collections::BTreeMap;
use std::ops::Range;

use emberkv_resp::{Args, format};

use super::bits::BAD_OFFSET;
use crate::stop::Stop;

const BAD_TYPE: Stop =
    Stop::error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");

/// What an integer is stored as: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    signed: bool,
    bits: u32,
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    /// Its low bits are kept.
    Wrap,
    /// The nearest one that fits takes its place.
    Saturate,
    /// Nothing is written.
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    kind: Kind,
    /// In bits.
    offset: u64,
    verb: Verb,
}

impl Kind {
    fn parse(text: &[u8]) -> Result<Self, Stop> {
        let (signed, bits) = match text {
            [b'i', bits @ ..] => (true, bits),
            [b'u', bits @ ..] => (false, bits),
            _ => return Err(BAD_TYPE),
        };
        let max = if signed { 64 } else { 63 };
        let bits = format::parse_integer(bits).filter(|bits| (1..=max).contains(bits)).ok_or(BAD_TYPE)?;
        Ok(Self { signed, bits: bits as u32 })
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The number that the low bits of `raw` stand for.
    fn read(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { (raw << unused) as i64 >> unused } else { (raw << unused >> unused) as i64 }
    }

    /// What is stored for `number`, if anything.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        if (self.min()..=self.max()).contains(&number) {
            return Some(number as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.read(number as u64)),
            Overflow::Saturate if number > self.max() => Some(self.max() as i64),
            Overflow::Saturate => Some(self.min() as i64),
            Overflow::Fail => None,
        }
    }

    /// A number of SET: to an unsigned field a negative one is one that is too large, and so is to a shorter signed one, in redis,
    /// what is so small that its distance to the field's greatest number does not fit in 64 bits.
    fn given(self, number: i64) -> i128 {
        let is_far = self.bits < 64 && self.max() - i128::from(number) > i128::from(i64::MAX);
        if self.signed && !is_far { i128::from(number) } else { i128::from(number as u64) }
    }
}

/// An offset in bits, or with a `#` in integers of this kind.
fn parse_offset(text: &[u8], kind: Kind, max_bytes: usize) -> Result<u64, Stop> {
    let (digits, unit) = text.strip_prefix(b"#").map_or((text, 1), |digits| (digits, i64::from(kind.bits)));
    let offset = format::parse_integer(digits).and_then(|number| number.checked_mul(unit));
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).ok_or(BAD_OFFSET)?;
    // its last bits may lie beyond: what writes them says so then
    if offset / 8 < max_bytes as u64 { Ok(offset) } else { Err(BAD_OFFSET) }
}

/// Reads the operations; one that writes is an error if it may not.
pub(super) fn parse(args: Args<'_>, may_write: bool, max_bytes: usize) -> Result<Vec<Operation>, Stop> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut i = 0;
    while let Some(name) = args.get(i) {
        let left = args.len() - 1 - i;
        let is = |verb: &str| name.eq_ignore_ascii_case(verb.as_bytes());
        if is("OVERFLOW") && left >= 1 {
            overflow = match args.at(i + 1).to_ascii_uppercase().as_slice() {
                b"WRAP" => Overflow::Wrap,
                b"SAT" => Overflow::Saturate,
                b"FAIL" => Overflow::Fail,
                _ => return Err(Stop::error("ERR Invalid OVERFLOW type specified")),
            };
            i += 2;
            continue;
        }
        let takes = if is("GET") && left >= 2 {
            2
        } else if (is("SET") || is("INCRBY")) && left >= 3 {
            3
        } else {
            return Err(Stop::SYNTAX);
        };
        let kind = Kind::parse(args.at(i + 1))?;
        let offset = parse_offset(args.at(i + 2), kind, max_bytes)?;
        let verb = if takes == 2 {
            Verb::Get
        } else {
            let number = format::parse_integer(args.at(i + 3)).ok_or(Stop::NOT_AN_INTEGER)?;
            if is("SET") { Verb::Set(number, overflow) } else { Verb::Add(number, overflow) }
        };
        operations.push(Operation { kind, offset, verb });
        i += 1 + takes;
    }
    if !may_write && operations.iter().any(|operation| !matches!(operation.verb, Verb::Get)) {
        return Err(Stop::error("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    Ok(operations)
}

impl Operation {
    fn writes(self) -> bool {
        !matches!(self.verb, Verb::Get)
    }

    /// The first byte that its field lies in, and the one behind the last.
    fn span(self) -> Range<usize> {
        (self.offset / 8) as usize..((self.offset + u64::from(self.kind.bits) - 1) / 8) as usize + 1
    }

    /// The bytes that its field lies in, of a string of so many.
    pub fn bytes(self, len: usize) -> Range<usize> {
        let span = self.span();
        span.start.min(len)..span.end.min(len)
    }
}

/// What operations come to.
#[derive(Debug)]
pub(super) struct Done {
    /// What each answers; `None` if it did not fit.
    pub answers: Vec<Option<i64>>,
    /// The bytes to be written, and where.
    pub written: Vec<(usize, Vec<u8>)>,
}

/// A string of which parts are being changed.
struct Window<F> {
    /// A byte of it; beyond the end there are zeros.
    old: F,
    /// The bytes of all fields that are written.
    new: BTreeMap<usize, u8>,
}

impl<F: Fn(usize) -> u8> Window<F> {
    /// A byte as it is now.
    fn byte(&self, at: usize) -> u8 {
        self.new.get(&at).copied().unwrap_or_else(|| (self.old)(at))
    }

    fn read(&self, operation: Operation) -> i64 {
        let Operation { kind, offset, .. } = operation;
        let span = operation.span();
        // at most nine bytes
        let all = span.clone().fold(0u128, |all, at| all << 8 | u128::from(self.byte(at)));
        let behind = span.end as u64 * 8 - (offset + u64::from(kind.bits));
        kind.read((all >> behind) as u64)
    }

    fn write(&mut self, Operation { kind, offset, .. }: Operation, number: i64) {
        for i in 0..u64::from(kind.bits) {
            let bit = offset + u64::from(kind.bits) - 1 - i;
            let (at, mask) = ((bit / 8) as usize, 0x80 >> (bit % 8));
            let byte = self.byte(at) & !mask | if number >> i & 1 == 1 { mask } else { 0 };
            self.new.insert(at, byte);
        }
    }

    /// The bytes that are written, those together that follow each other.
    fn parts(self) -> Vec<(usize, Vec<u8>)> {
        let mut parts: Vec<(usize, Vec<u8>)> = Vec::new();
        for (at, byte) in self.new {
            match parts.last_mut() {
                Some((from, part)) if *from + part.len() == at => part.push(byte),
                _ => parts.push((at, vec![byte])),
            }
        }
        parts
    }
}

/// Runs the operations on a string of so many bytes.
pub(super) fn run(operations: &[Operation], len: usize, old: impl Fn(usize) -> u8) -> Done {
    let written = || operations.iter().filter(|operation| operation.writes()).flat_map(|write| write.span());
    let new = written().map(|at| (at, old(at))).collect();
    let end = written().max().map_or(0, |last| last + 1);
    let mut window = Window { old, new };
    let mut answers = Vec::with_capacity(operations.len());
    for operation in operations {
        let old = window.read(*operation);
        let (number, overflow) = match operation.verb {
            Verb::Get => {
                answers.push(Some(old));
                continue;
            }
            Verb::Set(number, overflow) => (operation.kind.given(number), overflow),
            Verb::Add(number, overflow) => (i128::from(old) + i128::from(number), overflow),
        };
        let new = operation.kind.fit(number, overflow);
        if let Some(new) = new {
            window.write(*operation, new);
        }
        answers.push(new.map(|new| if matches!(operation.verb, Verb::Set(..)) { old } else { new }));
    }
    // a string becomes as long as its fields need, even if nothing fits into them
    let changed = end > len || window.new.iter().any(|(at, byte)| (window.old)(*at) != *byte);
    Done { answers, written: if changed { window.parts() } else { Vec::new() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(signed: bool, bits: u32) -> Kind {
        Kind { signed, bits }
    }

    #[test]
    fn numbers_that_do_not_fit() {
        use Overflow::{Fail, Saturate, Wrap};
        assert_eq!(kind(false, 2).fit(5, Wrap), Some(1));
        assert_eq!(kind(false, 2).fit(-1, Wrap), Some(3));
        assert_eq!(kind(false, 2).fit(-1, Saturate), Some(0));
        assert_eq!(kind(true, 8).fit(128, Wrap), Some(-128));
        assert_eq!(kind(true, 8).fit(-129, Saturate), Some(-128));
        assert_eq!(kind(true, 64).fit(i128::from(i64::MAX) + 1, Wrap), Some(i64::MIN));
        assert_eq!(kind(true, 64).fit(i128::from(i64::MAX) + 1, Saturate), Some(i64::MAX));
        assert_eq!(kind(true, 1).fit(1, Fail), None);
        assert_eq!(kind(false, 8).fit(kind(false, 8).given(-1), Saturate), Some(255));
        assert_eq!(kind(true, 8).fit(kind(true, 8).given(i64::MIN), Saturate), Some(127));
        assert_eq!(kind(true, 8).fit(kind(true, 8).given(i64::MIN + 128), Saturate), Some(-128));
    }

    #[test]
    fn fields_lie_across_bytes() {
        let set = |signed, bits, offset, number| Operation {
            kind: kind(signed, bits),
            offset,
            verb: Verb::Set(number, Overflow::Wrap),
        };
        let on = |operations: &[Operation], text: &[u8]| {
            run(operations, text.len(), |at| text.get(at).copied().unwrap_or(0))
        };
        let done = on(&[set(true, 5, 6, -3)], b"\xff\xff\xff");
        assert_eq!(done.answers, [Some(-1)]);
        assert_eq!(done.written, [(0, vec![0xff, 0xbf])]);
        // what lies in between is not touched
        let done = on(&[set(false, 8, 0, 1), set(false, 8, 8, 2), set(false, 8, 1 << 20, 3)], b"");
        assert_eq!(done.written, [(0, vec![1, 2]), (1 << 17, vec![3])]);
        let get = Operation { kind: kind(true, 5), offset: 6, verb: Verb::Get };
        assert_eq!(on(&[get], b"\xff\xbf").answers, [Some(-3)]);
        // what is written first is read afterwards
        assert_eq!(
            on(&[set(false, 63, 100, i64::MAX), set(false, 63, 100, 0)], b"").answers,
            [Some(0), Some(i64::MAX)]
        );
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        let set = Operation { kind: kind(false, 8), offset: 0, verb: Verb::Set(255, Overflow::Wrap) };
        assert_eq!(run(&[set], 1, |_| 0xff).written, []);
        assert!(!run(&[set], 0, |_| 0).written.is_empty());
    }
}
