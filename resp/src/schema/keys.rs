//! Which arguments of a request are keys.

use crate::args::Args;
use crate::format;

use super::{Begin, Command, CommandId, Find, KeyFlags, KeySpec};

/// The request's arguments do not say where its keys are: a count is no number, or larger than what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ERR Invalid arguments specified for command")]
pub struct InvalidKeys;

/// The indexes of the keys in a request, in the order of the specification.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    args: Args<'a>,
    specs: std::slice::Iter<'static, KeySpec>,
    range: Range,
}

/// Every `step`th argument from `next` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    next: usize,
    end: usize,
    step: usize,
}

const NOTHING: Range = Range { next: 0, end: 0, step: 1 };

impl Command {
    /// The indexes of the keys among `args`, a whole request of this command that its arity accepts.
    ///
    /// # Errors
    /// When the arguments contradict themselves.
    #[inline]
    pub fn keys<'a>(&self, args: Args<'a>) -> Result<Keys<'a>, InvalidKeys> {
        match self.id {
            CommandId::Migrate => migrated(args),
            CommandId::Sort => Ok(sorted(args)),
            _ => of(self.keys, args),
        }
    }

    /// Which specifications a request's keys are found by: of MIGRATE the first key, or those behind KEYS.
    fn specs_for(&self, args: Args<'_>) -> &'static [KeySpec] {
        match self.id {
            CommandId::Migrate if matches!(migrated_from(args), Ok(Some(_))) => &self.keys[1..],
            CommandId::Migrate => &self.keys[..1],
            _ => self.keys,
        }
    }

    /// The indexes that one of these finds; none if the arguments contradict themselves.
    fn found_by<'a>(&self, spec: &'static KeySpec, args: Args<'a>) -> impl Iterator<Item = usize> + use<'a> {
        let found = match self.id {
            CommandId::Migrate => migrated(args),
            CommandId::Sort if spec.flags.contains(KeyFlags::OW) => Ok(stored(args)),
            _ => of(std::slice::from_ref(spec), args),
        };
        found.into_iter().flatten()
    }

    /// The indexes of the keys in a request, each with what the request does to it, also of what is no key, though routed like one.
    pub(super) fn routed_with_flags<'a>(
        &'static self,
        args: Args<'a>,
    ) -> impl Iterator<Item = (usize, KeyFlags)> + use<'a> {
        self.specs_for(args).iter().flat_map(move |spec| {
            let flags = spec.flags_in(self.id, args);
            self.found_by(spec, args).map(move |i| (i, flags))
        })
    }

    /// The indexes of the keys in a request, each with what the request does to it. There are none if its arguments contradict
    /// themselves; what is no key, though routed like one, is left out.
    pub fn keys_with_flags<'a>(&'static self, args: Args<'a>) -> impl Iterator<Item = (usize, KeyFlags)> + use<'a> {
        let is_valid = self.keys(args).is_ok();
        self.routed_with_flags(args).filter(move |(_, flags)| is_valid && !flags.contains(KeyFlags::NOT_KEY))
    }

    /// First key, last key and step as COMMAND has always told them: what one range can say of all the
    /// specifications; all 0 when there are no keys at fixed places.
    #[must_use]
    pub fn key_range(&self) -> (i64, i64, i64) {
        let mut found: Option<(i64, i64, i64)> = None;
        for spec in self.keys {
            let (Begin::At(at), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                continue;
            };
            let (at, step) = (i64::from(at), i64::from(step));
            let last = i64::from(last) + if last >= 0 { at } else { 0 };
            match found {
                None => found = Some((at, last, step)),
                // a range that goes on where the one before ended.
                Some((first, previous, 1)) if step == 1 && previous + 1 == at => {
                    found = Some((first, last, 1));
                }
                Some(_) => {}
            }
        }
        found.unwrap_or_default()
    }
}

impl KeySpec {
    /// What a request does to these keys: where that depends on its arguments, as with SET and BITFIELD, by them.
    pub(super) fn flags_in(&self, id: CommandId, args: Args<'_>) -> KeyFlags {
        if !self.flags.contains(KeyFlags::VARIABLE_FLAGS) {
            return self.flags;
        }
        if id == CommandId::Bitfield {
            let changes = |i| args.at(i).eq_ignore_ascii_case(b"SET") || args.at(i).eq_ignore_ascii_case(b"INCRBY");
            let reads = KeyFlags::RO.and(KeyFlags::ACCESS);
            let writes = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE);
            return if (2..args.len()).any(changes) { writes } else { reads };
        }
        let gets = (3..args.len()).any(|i| args.at(i).eq_ignore_ascii_case(b"GET"));
        let how = if gets { KeyFlags::RW.and(KeyFlags::ACCESS) } else { KeyFlags::OW };
        how.and(KeyFlags::UPDATE)
    }
}

/// The keys of a MIGRATE. COMMAND tells that KEYS is searched for from the end, and that this is not all; what is found so may be a key.
fn migrated(args: Args<'_>) -> Result<Keys<'_>, InvalidKeys> {
    let range = match migrated_from(args)? {
        Some(next) => Range { next, end: args.len(), step: 1 },
        None => Range { next: 3, end: 4, step: 1 },
    };
    Ok(Keys { args, specs: [].iter(), range })
}

/// The keys of a SORT that its arguments name: what is sorted, and where the result is put.
fn sorted(args: Args<'_>) -> Keys<'_> {
    let range = match stored_at(args) {
        Some(at) => Range { next: 1, end: at + 1, step: at - 1 },
        None => Range { next: 1, end: 2, step: 1 },
    };
    Keys { args, specs: [].iter(), range }
}

/// Where a SORT puts its result.
fn stored(args: Args<'_>) -> Keys<'_> {
    let range = stored_at(args).map_or(NOTHING, |at| Range { next: at, end: at + 1, step: 1 });
    Keys { args, specs: [].iter(), range }
}

/// The argument behind the last STORE. Its options are read as it reads them: what is behind another option may be called STORE.
fn stored_at(args: Args<'_>) -> Option<usize> {
    let (mut at, mut found) = (2, None);
    while let Some(option) = args.get(at) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if is(b"store") && at + 1 < args.len() {
            found = Some(at + 1);
        }
        at += match () {
            () if is(b"limit") => 3,
            () if is(b"store") || is(b"by") || is(b"get") => 2,
            () => 1,
        };
    }
    found
}

#[inline]
pub(super) fn of<'a>(specs: &'static [KeySpec], args: Args<'a>) -> Result<Keys<'a>, InvalidKeys> {
    let Some((first, others)) = specs.split_first() else {
        let (specs, range) = (specs.iter(), NOTHING);
        return Ok(Keys { args, specs, range });
    };
    let range = range_of(first, args)?;
    for spec in others {
        range_of(spec, args)?;
    }
    let specs = others.iter();
    Ok(Keys { args, specs, range })
}

impl Iterator for Keys<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.range.next >= self.range.end {
            // validated when the iterator was made.
            self.range = range_of(self.specs.next()?, self.args).unwrap_or(NOTHING);
        }
        let index = self.range.next;
        self.range.next += self.range.step;
        Some(index)
    }
}

#[inline]
fn range_of(spec: &KeySpec, args: Args<'_>) -> Result<Range, InvalidKeys> {
    // nearly every command: at a fixed place, up to another.
    if let (Begin::At(at), Find::Range { last, step, limit: 0 }) = (spec.begin, spec.find) {
        return fixed_range(usize::from(at), last, step, args);
    }
    searched_range(spec, args)
}

#[inline]
fn fixed_range(begin: usize, last: i16, step: u16, args: Args<'_>) -> Result<Range, InvalidKeys> {
    let distance = usize::from(last.unsigned_abs());
    let end = if last >= 0 { begin + distance + 1 } else { (args.len() + 1).saturating_sub(distance) };
    checked(begin, end, step, args)
}

#[inline]
fn checked(next: usize, end: usize, step: u16, args: Args<'_>) -> Result<Range, InvalidKeys> {
    if next < end && end > args.len() {
        return Err(InvalidKeys);
    }
    let step = usize::from(step).max(1);
    Ok(Range { next, end, step })
}

/// The general case: EVAL, XREAD and the like.
#[inline(never)]
fn searched_range(spec: &KeySpec, args: Args<'_>) -> Result<Range, InvalidKeys> {
    let Some(begin) = begin_of(spec.begin, args) else {
        return Ok(NOTHING);
    };
    match spec.find {
        Find::Range { last, step, limit } if last < 0 && limit > 1 => {
            let part = args.len().saturating_sub(begin) / usize::from(limit);
            let end = (begin + part + 1).saturating_sub(usize::from(last.unsigned_abs()));
            checked(begin, end, step, args)
        }
        Find::Range { last, step, .. } => fixed_range(begin, last, step, args),
        Find::Counted { count_at, first, step } => {
            let count = args.get(begin + usize::from(count_at));
            let count = count.and_then(format::parse_integer).ok_or(InvalidKeys)?;
            let count = usize::try_from(count).map_err(|_| InvalidKeys)?;
            let Some(others) = count.checked_sub(1) else {
                return Ok(NOTHING);
            };
            let next = begin + usize::from(first);
            let distance = others.checked_mul(usize::from(step)).ok_or(InvalidKeys)?;
            let last = next.checked_add(distance).filter(|last| *last < args.len());
            checked(next, last.ok_or(InvalidKeys)? + 1, step, args)
        }
        Find::Unknown => Ok(NOTHING),
    }
}

/// Where the keys of a MIGRATE begin that are behind KEYS; `None` if its key is its third argument. Its options are read as it reads
/// them: of what follows the first KEYS each word is a key, and a password may be called KEYS.
///
/// # Errors
/// If both are there: then it will say so, and move nothing.
pub fn migrated_from(args: Args<'_>) -> Result<Option<usize>, InvalidKeys> {
    let mut at = 6;
    while let Some(option) = args.get(at) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if is(b"keys") {
            return if args.at(3).is_empty() { Ok(Some(at + 1)) } else { Err(InvalidKeys) };
        }
        at += if is(b"auth") {
            2
        } else if is(b"auth2") {
            3
        } else {
            1
        };
    }
    Ok(None)
}

/// The argument where a specification's keys begin; None where there are none.
fn begin_of(begin: Begin, args: Args<'_>) -> Option<usize> {
    match begin {
        Begin::At(index) => Some(usize::from(index)),
        Begin::After { keyword, from } => {
            let is_keyword = |i: &usize| {
                let argument = args.get(*i);
                argument.is_some_and(|a| a.eq_ignore_ascii_case(keyword.as_bytes()))
            };
            let start = usize::from(from.unsigned_abs());
            let found = if from >= 0 {
                (start..args.len()).find(is_keyword)
            } else {
                (1..=args.len().saturating_sub(start)).rev().find(is_keyword)
            };
            found.map(|i| i + 1)
        }
        Begin::Unknown => None,
    }
}
