//! What the index knows of a key: 31 bits of its hash.

use crate::block::ROWS;

/// Bits of a [`Tag`].
pub const TAG_BITS: u32 = 24;

/// Bits of a fingerprint that choose the row.
const ROW_BITS: u32 = ROWS.trailing_zeros();

/// Number of tags there are.
pub(crate) const TAGS: u32 = 1 << TAG_BITS;

/// The part of a fingerprint that a slot keeps: 24 bits in the order of the (skewed) hash.
/// Directory, page, block and the filter against other keys all come out of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Tag(u32);

impl Tag {
    /// The lowest 24 bits of `raw`, as a tag.
    #[inline]
    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw & (TAGS - 1))
    }

    /// The tag as an integer below 2^24.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The other row that an entry with this tag may sit in when it sits in `row`.
    ///
    /// Its own inverse, and never `row` itself (the step is odd): this is what lets an entry be moved
    /// between its rows when only its tag is known.
    #[inline]
    pub(crate) const fn other_row(self, row: usize) -> usize {
        // the top bits of a product with 2^32 / golden ratio: neighbouring tags get unrelated steps.
        let step = (self.0.wrapping_mul(0x9e37_79b9) >> (u32::BITS - ROW_BITS)) | 1;
        (row ^ step as usize) & (ROWS - 1)
    }
}

/// What the index keeps or derives of a key's hash.
///
/// ```text
///  31  30                           7 6           0
/// +---+------------------------------+-------------+
/// | 0 |   tag: hash order, skewed    |  first row  |
/// +---+------------------------------+-------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Fingerprint(u32);

impl Fingerprint {
    /// The fingerprint of a key with this 64-bit hash: the tag from the upper half, the row from the lowest bits.
    ///
    /// The tag is skewed, so that pages do not all fill up, and grow, at the same time: with an
    /// even hash every page would have the same load, and the bytes per key would swing with the size of
    /// the table. The skew `x * (0.656 + 0.344 x)` is monotone on [0, 1); its density goes from 1/0.656 at the
    /// bottom to 1/1.344 at the top, a ratio of about two: one whole cycle of a page's growth (4 to 8 blocks).
    #[inline]
    pub const fn from_hash(hash: u64) -> Self {
        /// 0.656 in units of 2^-32.
        const BASE: u64 = 2_817_498_546;
        const RISE: u64 = (1 << 32) - BASE;
        let x = hash >> 32;
        let slope = BASE + ((x * RISE) >> 32);
        // both factors are below 2^32.
        let skewed = (x * slope) >> 32;
        let tag = (skewed >> (32 - TAG_BITS)) as u32;
        Self(tag << ROW_BITS | (hash as u32 & (ROWS as u32 - 1)))
    }

    /// The fingerprint with these bits, as [`Fingerprint::raw`] gave them.
    ///
    /// # Panics
    /// If `raw` does not fit in 31 bits (debug builds only).
    #[inline]
    pub const fn from_raw(raw: u32) -> Self {
        debug_assert!(raw >> (TAG_BITS + ROW_BITS) == 0);
        Self(raw & ((1 << (TAG_BITS + ROW_BITS)) - 1))
    }

    /// The fingerprint as an integer of at most 31 bits.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The part that a slot keeps.
    #[inline]
    pub const fn tag(self) -> Tag {
        Tag(self.0 >> ROW_BITS)
    }

    /// The row that an entry is put in when there is room.
    #[inline]
    pub(crate) const fn first_row(self) -> usize {
        self.0 as usize & (ROWS - 1)
    }
}

/// A fingerprint as far as a slot can tell it: its tag and its two rows, without which is the first.
/// Two fingerprints of one `Family` compete for the same sixteen slots, and share everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Family(u32);

impl Family {
    /// The family of an entry with this tag that may sit in `row`.
    pub(crate) const fn new(tag: Tag, row: usize) -> Self {
        let other = tag.other_row(row);
        let lower = if row < other { row } else { other };
        Self(tag.0 << ROW_BITS | lower as u32)
    }

    /// The lowest family of this tag number, which may be one past the last tag.
    pub(crate) const fn lowest_of(tag: u32) -> Self {
        Self(tag << ROW_BITS)
    }

    pub(crate) const fn tag(self) -> Tag {
        Tag(self.0 >> ROW_BITS)
    }

    /// The next number, for walking in order.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The lower of the two rows.
    pub(crate) const fn row(self) -> usize {
        self.0 as usize & (ROWS - 1)
    }

    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_row_is_symmetric_and_different() {
        for tag in (0..TAGS).step_by(997).map(Tag::from_raw) {
            for row in 0..ROWS {
                let other = tag.other_row(row);
                assert!(other < ROWS && other != row);
                assert_eq!(tag.other_row(other), row);
                assert_eq!(Family::new(tag, row), Family::new(tag, other));
                assert_eq!(Family::new(tag, row).tag(), tag);
            }
        }
    }

    #[test]
    fn the_skew_is_monotone_and_covers_all_tags() {
        let mut last = Tag(0);
        for x in (0..=u64::from(u32::MAX)).step_by(65_537) {
            let tag = Fingerprint::from_hash(x << 32).tag();
            assert!(tag >= last);
            last = tag;
        }
        assert_eq!(Fingerprint::from_hash(0).tag().raw(), 0);
        // the slope ends below 1, so at most the very last tags are out of reach.
        assert!(Fingerprint::from_hash(u64::MAX).tag().raw() >= TAGS - 2);
    }

    #[test]
    fn a_fingerprint_survives_its_raw_form() {
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            let fingerprint = Fingerprint::from_hash(hash);
            assert!(fingerprint.raw() < 1 << 31);
            assert_eq!(Fingerprint::from_raw(fingerprint.raw()), fingerprint);
        }
    }
}
