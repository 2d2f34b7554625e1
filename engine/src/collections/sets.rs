//! How redis would keep a set, and what one more member does to that.

use emberkv_log::canonical_int;
use emberkv_log::disk::Disk;

use super::draft::Draft;
use super::pairs::push_pair;
use super::root::{Head, Whole};
use super::{Compact, Encoding, Type};
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// Up to which sizes redis keeps a set in the simpler ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactSet {
    /// Members, if all are integers.
    pub integers: u64,
    /// Any others.
    pub listpack: Compact,
}

impl CompactSet {
    /// What a new set begins as, if so many members are to come, and this one first.
    pub(crate) fn first(self, member: &[u8], expected: u64) -> Encoding {
        if int_of(member).is_some() && expected <= self.integers {
            Encoding::Intset
        } else if expected <= self.listpack.entries {
            Encoding::Listpack
        } else {
            Encoding::Hashtable
        }
    }

    /// What a set becomes before so many come, whether they are new to it or not.
    pub(crate) fn expecting(self, encoding: Encoding, expected: u64) -> Encoding {
        let most = match encoding {
            Encoding::Intset => self.integers,
            Encoding::Listpack => self.listpack.entries,
            _ => return encoding,
        };
        if expected > most { Encoding::Hashtable } else { encoding }
    }

    /// What a set of so many becomes with a new member, if the longest of its integers is `longest` bytes long.
    fn with(self, encoding: Encoding, count: u64, member: &[u8], longest: usize) -> Encoding {
        let fits = |len: usize| len as u64 <= self.listpack.value;
        let is_small = count < self.listpack.entries && fits(member.len());
        match encoding {
            Encoding::Intset if int_of(member).is_some() && count < self.integers => Encoding::Intset,
            Encoding::Intset if int_of(member).is_none() && is_small && fits(longest) => Encoding::Listpack,
            Encoding::Listpack if is_small => Encoding::Listpack,
            _ => Encoding::Hashtable,
        }
    }
}

/// The integer that a member is, with no second way to write it.
pub(crate) fn int_of(member: &[u8]) -> Option<i64> {
    // a quick no for most: canonical integers have at most 20 bytes
    if member.len() <= 20 { canonical_int(member) } else { None }
}

/// The place of an integer among all that there are.
pub(super) fn rank(member: &[u8]) -> u64 {
    int_of(member).unwrap_or(0) as u64 ^ 1 << 63
}

/// Different members that become a set.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    pub encoding: Encoding,
    pub list: Vec<&'a [u8]>,
}

impl<'a> Members<'a> {
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, list: Vec::new() }
    }

    /// Adds one that is not there yet.
    pub fn push(&mut self, member: &'a [u8], limits: CompactSet) {
        let count = self.list.len() as u64;
        let mut longest = 0;
        if self.encoding == Encoding::Intset && int_of(member).is_none() && count <= limits.listpack.entries {
            self.sort();
            longest = self.list.iter().map(|member| member.len()).max().unwrap_or(0);
        }
        self.encoding = limits.with(self.encoding, count, member, longest);
        self.list.push(member);
    }

    /// Puts integers into their order.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|member| int_of(member));
    }

    /// The image of the set.
    pub fn image(&self) -> Vec<u8> {
        let head = Head::new(Type::Set, self.encoding, self.list.len() as u64);
        let mut bytes = Vec::new();
        self.list.iter().for_each(|member| push_pair(&mut bytes, Type::Set.plain(), 0, member, b""));
        Whole::write(head, &bytes)
    }
}

impl<D: Disk> Partition<D> {
    /// Adds a member. Returns whether it is new.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_join(&mut self, key: Key<'_>, draft: &mut Draft, member: &[u8]) -> Result<bool, Stop> {
        if self.draft_has(key, draft, member)? {
            return Ok(false);
        }
        let (limits, Head { encoding, count, .. }) = (self.limits.compact_set, draft.head);
        let mut longest = 0;
        if encoding == Encoding::Intset && int_of(member).is_none() && count < limits.listpack.entries {
            longest = self.draft_sort(key, draft)?;
        }
        draft.head.encoding = limits.with(encoding, count, member, longest);
        self.draft_set(key, draft, member, b"")
    }
}
