//! A page: the blocks of one power-of-two range of tags.

use crate::{
    arena::BlockId,
    block::BLOCK_SLOTS,
    fingerprint::{TAG_BITS, Tag},
};

/// Blocks that a page may have; with one more it becomes two pages of [`MIN_BLOCKS`].
pub(crate) const MAX_BLOCKS: usize = 7;

/// Blocks that a page has at least, but for the page of a small index that covers all tags.
pub(crate) const MIN_BLOCKS: usize = 4;

/// Least tag bits of a page: with fewer a block would cover less than one tag.
const MIN_BITS: u32 = 3;

/// Most halvings of the tags: 2^21 pages hold 13 billion entries, and 38 bits of address cannot tell as many
/// apart when records have 20 bytes and more.
pub(crate) const MAX_DEPTH: usize = (TAG_BITS - MIN_BITS) as usize;

/// Which blocks hold the entries of a range of tags.
///
/// ```text
///   0                                      28     30   31   32
///  +------+------+------+------+------+------+------+----+----+
///  | block numbers, 7 x u32, `count` in use  | live |n   |bits|
///  +------+------+------+------+------+------+------+----+----+
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct Page {
    blocks: [u32; MAX_BLOCKS],
    /// Entries in its blocks.
    pub(crate) live: u16,
    /// Blocks in use.
    count: u8,
    /// The page covers 2^bits tags.
    bits: u8,
}

const _: () = assert!(size_of::<Page>() == 32);
const _: () = assert!(MAX_BLOCKS * BLOCK_SLOTS <= u16::MAX as usize);

/// Which of `count` blocks a tag belongs to, in a page of 2^bits tags.
///
/// Monotone in the tag, and for `count + 1` either the same or one more: growth moves entries to the
/// next block only. For 8 it is the block among 4 of either half: splitting a page of 8 moves nothing.
#[inline]
pub(crate) const fn block_of(tag: Tag, bits: u32, count: usize) -> usize {
    let within = tag.raw() & ((1 << bits) - 1);
    // at most 2^24 * 8.
    ((within * count as u32) >> bits) as usize
}

impl Page {
    /// A page of 2^bits tags with these blocks, which hold `live` entries.
    pub(crate) fn new(bits: u32, blocks: &[BlockId], live: usize) -> Self {
        assert!(blocks.len() <= MAX_BLOCKS && !blocks.is_empty());
        assert!(live <= blocks.len() * BLOCK_SLOTS && bits <= TAG_BITS);
        let mut page = Self { blocks: [0; MAX_BLOCKS], live: live as u16, count: blocks.len() as u8, bits: bits as u8 };
        for (to, block) in page.blocks.iter_mut().zip(blocks) {
            *to = block.raw();
        }
        page
    }

    /// The block that holds all entries with this tag.
    #[inline]
    pub(crate) fn block_of(&self, tag: Tag) -> BlockId {
        BlockId::from_raw(self.blocks[block_of(tag, self.bits(), self.count())])
    }

    /// The blocks, in the order of their tags.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.blocks[..self.count()].iter().map(|&raw| BlockId::from_raw(raw))
    }

    /// Number of blocks.
    #[inline]
    pub(crate) const fn count(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub(crate) const fn live(&self) -> usize {
        self.live as usize
    }

    /// The page covers 2^bits tags.
    #[inline]
    pub(crate) const fn bits(&self) -> u32 {
        self.bits as u32
    }

    /// How often the tags were halved to arrive at this page's range.
    pub(crate) const fn depth(&self) -> usize {
        (TAG_BITS - self.bits()) as usize
    }

    /// The page's tags, given one of them: first, and one past the last.
    pub(crate) const fn range(&self, tag: Tag) -> (u32, u32) {
        let first = tag.raw() >> self.bits() << self.bits();
        (first, first + (1 << self.bits()))
    }

    /// One past the last tag of the block that `tag` belongs to.
    pub(crate) const fn block_end(&self, tag: Tag) -> u32 {
        let next = block_of(tag, self.bits(), self.count()) as u32 + 1;
        self.range(tag).0 + (next << self.bits()).div_ceil(self.count as u32)
    }

    /// Writes `to` for `from` after the arena renumbered a block of this page.
    pub(crate) fn renumber(&mut self, from: BlockId, to: BlockId) {
        let count = self.count();
        let renumbered = self.blocks[..count].iter_mut().find(|raw| **raw == from.raw());
        debug_assert!(renumbered.is_some());
        if let Some(raw) = renumbered {
            *raw = to.raw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_moves_a_tag_by_at_most_one_block() {
        for bits in [3, 4, 10, 24] {
            for raw in (0..1u32 << bits).step_by(1 + (1 << bits) / 5000) {
                let tag = Tag::from_raw(raw);
                for count in 1..=MAX_BLOCKS {
                    let (now, then) = (block_of(tag, bits, count), block_of(tag, bits, count + 1));
                    assert!(now < count && (then == now || then == now + 1));
                }
                let (whole, half) = (block_of(tag, bits, 8), block_of(tag, bits - 1, 4));
                assert_eq!(whole % 4, half);
                assert_eq!(whole / 4, (raw >> (bits - 1)) as usize);
            }
        }
    }

    #[test]
    fn a_block_ends_where_the_next_begins() {
        for bits in [3, 5, 12] {
            for count in 1..=MAX_BLOCKS {
                let blocks: Vec<BlockId> = (0..count as u32).map(BlockId::from_raw).collect();
                let page = Page::new(bits, &blocks, 0);
                for raw in 0..1u32 << bits {
                    let tag = Tag::from_raw(raw + (5 << bits));
                    let end = page.block_end(tag);
                    let (_, page_end) = page.range(tag);
                    assert_eq!(page.block_of(Tag::from_raw(end - 1)), page.block_of(tag));
                    assert!(end == page_end || page.block_of(Tag::from_raw(end)) != page.block_of(tag));
                }
            }
        }
    }
}
