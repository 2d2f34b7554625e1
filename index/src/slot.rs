//! The content of one slot.

use emberkv_log::{ADDRESS_BITS, Address};

use crate::fingerprint::{TAG_BITS, Tag};

/// Bits that say how lately, or how often, the record was read.
const VISITED_BITS: u32 = 2;
/// What they can say at most.
pub const MAX_VISITED: u8 = 3;

const TAG_SHIFT: u32 = ADDRESS_BITS + VISITED_BITS;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;

/// What a slot holds: an entry, or nothing.
///
/// ```text
///  63                            40 39     38 37                                    0
/// +--------------------------------+---------+---------------------------------------+
/// |     tag (24, in hash order)    | visited |       address (38, never zero)        |
/// +--------------------------------+---------+---------------------------------------+
/// ```
///
/// All zero is an empty slot. The tag is on top for two reasons: words sort by tag, and "has this tag" is
/// `(word ^ pattern) < 2^40`, one comparison. An empty slot looks like tag 0 until its address is looked at.
/// The visited bits are carried along when an entry moves, or its record does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub(crate) struct Word(u64);

const _: () = assert!(TAG_BITS + VISITED_BITS + ADDRESS_BITS == u64::BITS);
const _: () = assert!(size_of::<Word>() == 8);

impl Word {
    pub(crate) const EMPTY: Self = Self(0);

    #[inline]
    pub(crate) const fn new(tag: Tag, address: Address) -> Self {
        Self((tag.raw() as u64) << TAG_SHIFT | address.raw() & ADDRESS_MASK)
    }

    #[inline]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) const fn tag(self) -> Tag {
        Tag::from_raw((self.0 >> TAG_SHIFT) as u32)
    }

    /// Where the record lies; `None` for an empty slot.
    #[inline]
    pub(crate) const fn address(self) -> Option<Address> {
        match self.0 & ADDRESS_MASK {
            0 => None,
            raw => Some(Address::from_raw(raw)),
        }
    }

    /// The same entry with its record at another address.
    #[inline]
    pub(crate) const fn with_address(self, address: Address) -> Self {
        Self(self.0 & !ADDRESS_MASK | address.raw() & ADDRESS_MASK)
    }

    /// The same entry as if its record had never been read (K7).
    #[inline]
    pub(crate) const fn unvisited(self) -> Self {
        self.with_visited(0)
    }

    /// What was noted of reads: 0 to [`MAX_VISITED`].
    #[inline]
    pub(crate) const fn visited(self) -> u8 {
        (self.0 >> ADDRESS_BITS) as u8 & MAX_VISITED
    }

    /// The same entry with other visited bits.
    #[inline]
    pub(crate) const fn with_visited(self, visited: u8) -> Self {
        let mask = (MAX_VISITED as u64) << ADDRESS_BITS;
        Self(self.0 & !mask | ((visited & MAX_VISITED) as u64) << ADDRESS_BITS)
    }

    /// Whether the tag is `tag`; an empty slot passes for tag 0.
    #[inline]
    pub(crate) const fn has_tag(self, tag: Tag) -> bool {
        (self.0 ^ (tag.raw() as u64) << TAG_SHIFT) < 1 << TAG_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_address_do_not_touch_each_other() {
        let (tag, high) = (Tag::from_raw(0xff_ffff), Address::from_raw(ADDRESS_MASK));
        let word = Word::new(tag, high);
        assert_eq!((word.tag(), word.address()), (tag, Some(high)));
        let low = word.with_address(Address::from_raw(1));
        assert_eq!((low.tag(), low.address()), (tag, Some(Address::from_raw(1))));
        assert_eq!(Word::EMPTY.address(), None);
    }

    #[test]
    fn visited_bits_are_neither_tag_nor_address() {
        let plain = Word::new(Tag::from_raw(5), Address::from_raw(7));
        let visited = Word(plain.0 | 0b11 << ADDRESS_BITS);
        assert_eq!((visited.tag(), visited.address()), (plain.tag(), plain.address()));
        assert!(visited.has_tag(plain.tag()) && !visited.has_tag(Tag::from_raw(4)));
        assert_eq!(visited.with_address(Address::from_raw(8)).0 >> ADDRESS_BITS, visited.0 >> ADDRESS_BITS);
        assert_eq!((plain.visited(), visited.visited(), visited.with_visited(1).visited()), (0, 3, 1));
        assert_eq!(visited.with_visited(0), plain);
    }
}
