//! From the top bits of a tag to its page.

use crate::fingerprint::{TAG_BITS, TAGS, Tag};

/// Number of a page.
pub(crate) type PageId = u32;

/// 2^depth page numbers; a page that covers several of the 2^depth ranges is named by each of them.
///
/// Doubling and halving copy it: 4 bytes for some 2,500 entries, 16 KiB at 10M keys (a microsecond),
/// about 2 MiB at a billion (a few hundred).
pub(crate) struct Directory {
    pages: Vec<PageId>,
    /// `tag >> shift` is the place in `pages`.
    shift: u32,
}

impl Directory {
    /// One page for all tags.
    pub(crate) fn new(page: PageId) -> Self {
        Self { pages: vec![page], shift: TAG_BITS }
    }

    /// Pages that follow one another, each of 2^bits tags, numbered in that order.
    pub(crate) fn of_pages(bits: impl Iterator<Item = u32> + Clone) -> Self {
        let shift = bits.clone().min().unwrap_or(TAG_BITS);
        let named = |(page, bits): (usize, u32)| std::iter::repeat_n(page as PageId, 1 << (bits - shift));
        Self { pages: bits.enumerate().flat_map(named).collect(), shift }
    }

    #[inline]
    pub(crate) fn page_of(&self, tag: Tag) -> PageId {
        self.pages[(tag.raw() >> self.shift) as usize]
    }

    /// The place of a tag's page is `tag >> shift`.
    pub(crate) const fn shift(&self) -> u32 {
        self.shift
    }

    /// How many bits of the tag are looked at.
    pub(crate) const fn depth(&self) -> usize {
        (TAG_BITS - self.shift) as usize
    }

    /// Names `page` for all tags in `first..end`, which must be as wide as one entry at least.
    pub(crate) fn set(&mut self, (first, end): (u32, u32), page: PageId) {
        debug_assert!(first < end && end <= TAGS && end - first >= 1 << self.shift);
        self.pages[(first >> self.shift) as usize..(end >> self.shift) as usize].fill(page);
    }

    /// Looks at one more bit.
    pub(crate) fn double(&mut self) {
        debug_assert!(self.shift > 0);
        self.pages = self.pages.iter().flat_map(|&page| [page, page]).collect();
        self.shift -= 1;
    }

    /// Looks at one bit less. No page may be that narrow.
    pub(crate) fn halve(&mut self) {
        debug_assert!(self.pages.chunks_exact(2).all(|pair| pair[0] == pair[1]));
        self.pages = self.pages.iter().copied().step_by(2).collect();
        self.shift += 1;
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<PageId>()
    }
}
