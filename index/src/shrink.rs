//! Shrinking: one block less for a page, and two pages of four made one of seven.

use crate::{
    arena::BlockId,
    block::BLOCK_SLOTS,
    directory::PageId,
    fingerprint::{Family, Tag},
    index::Index,
    page::{MAX_BLOCKS, MIN_BLOCKS, Page, block_of},
    place::move_entries,
};

/// Entries per block up to which a page may be filled by shrinking: 27/32. Fuller, and blocks would be
/// full by mere chance (five sigma away here), and a page that shrank would soon grow again (at about 95%).
const SHRUNK_LOAD: usize = BLOCK_SLOTS * 27 / 32;

impl Index {
    /// Takes one block away from the page of this tag if the rest is room enough. Called after each removal.
    #[inline]
    pub(crate) fn shrink(&mut self, tag: Tag) {
        let id = self.directory.page_of(tag);
        let page = &self.pages[id as usize];
        let least = if page.depth() == 0 { 1 } else { MIN_BLOCKS };
        if page.count() > least {
            if page.live() <= (page.count() - 1) * SHRUNK_LOAD {
                self.drop_block(tag, id);
            }
        } else if page.depth() > 0 && page.live() <= (MAX_BLOCKS - MIN_BLOCKS) * SHRUNK_LOAD + SHRUNK_LOAD {
            self.merge(tag, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn drop_block(&mut self, tag: Tag, id: PageId) {
        let page = self.pages[id as usize];
        debug_assert_eq!(self.directory.page_of(tag), id);
        let blocks: Vec<BlockId> = page.blocks().collect();
        self.hide(page.range(tag));
        self.squeeze(id, page.bits(), &blocks, page.live());
        self.show(page.range(tag));
        self.free_block(blocks[blocks.len() - 1]);
    }

    /// Joins a page of four blocks and its sibling, if that has four too and seven are enough for both.
    #[cold]
    #[inline(never)]
    fn merge(&mut self, tag: Tag, id: PageId) {
        let page = self.pages[id as usize];
        let (first, _) = page.range(tag);
        let sibling_first = first ^ (1 << page.bits());
        let sibling_id = self.directory.page_of(Tag::from_raw(sibling_first));
        let sibling = self.pages[sibling_id as usize];
        let live = page.live() + sibling.live();
        if sibling.bits() != page.bits() || sibling.count() != MIN_BLOCKS || live > MAX_BLOCKS * SHRUNK_LOAD {
            return;
        }
        let start = first.min(sibling_first);
        let range = (start, start + (2 << page.bits()));
        #[allow(unused_mut)]
        let mut crosses_walk = self.walk.as_ref().is_some_and(|walk| walk.is_within(range));
        #[cfg(test)]
        if emberkv_log::plant::is(emberkv_log::plant::Plant::K4Merge) {
            crosses_walk = false;
        }
        if crosses_walk {
            return; // half of it is copied (K4)
        }
        let (lower, upper) = if first < sibling_first { (page, sibling) } else { (sibling, page) };
        let blocks: Vec<BlockId> = lower.blocks().chain(upper.blocks()).collect();
        let (bits, depth) = (page.bits() + 1, page.depth());
        for block in sibling.blocks() {
            self.owners[block.raw() as usize] = id;
        }
        self.hide(range);
        self.directory.set(range, id);
        self.free_pages.push(sibling_id);
        self.pages_at_depth[depth] -= 2;
        self.pages_at_depth[depth - 1] += 1;
        self.squeeze(id, bits, &blocks, live);
        self.show(range);
        self.free_block(blocks[blocks.len() - 1]);
        while self.directory.depth() > 0 && self.pages_at_depth[self.directory.depth()] == 0 {
            self.directory.halve();
        }
        self.show_directory();
    }

    /// Moves the entries of `blocks` together into all but the last, and makes page `id` of the others.
    fn squeeze(&mut self, id: PageId, bits: u32, blocks: &[BlockId], live: usize) {
        let count = blocks.len() - 1;
        let mut spilled = 0;
        // first block first: each has sent its own entries back before it takes any.
        for to in 0..count {
            let side = &mut self.side;
            move_entries(
                self.arena.block(blocks[to + 1]),
                self.arena.block(blocks[to]),
                |word| block_of(word.tag(), bits, count) == to,
                |row, word| {
                    if let Some(address) = word.address() {
                        side.push(Family::new(word.tag(), row), address);
                        spilled += 1;
                    }
                },
            );
        }
        debug_assert_eq!(self.arena.block(blocks[count]).count(), 0);
        self.pages[id as usize] = Page::new(bits, &blocks[..count], live - spilled);
    }

    /// Frees a block that no page refers to any more.
    fn free_block(&mut self, block: BlockId) {
        let last = self.arena.fill_hole(block);
        let owner = self.owners.pop();
        if let (Some(last), Some(owner)) = (last, owner) {
            self.owners[block.raw() as usize] = owner;
            self.pages[owner as usize].renumber(last, block);
            // its content is in both blocks now: readers are led to the one that stays before the other is cleared
            if let Some(first) = self.publisher.as_ref().map(|publisher| publisher.first_of(owner)) {
                let range = self.pages[owner as usize].range(first);
                self.hide(range);
                self.show(range);
            }
        }
        self.arena.drop_last();
    }
}
