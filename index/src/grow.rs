//! Growing: one more block for a page, and a page of eight made two of four.

use crate::{
    arena::BlockId,
    block::BLOCK_SLOTS,
    directory::PageId,
    error::IndexError,
    fingerprint::{Family, Fingerprint, Tag},
    index::Index,
    page::{MAX_BLOCKS, MAX_DEPTH, MIN_BLOCKS, Page, block_of},
    place::{move_entries, place},
    slot::Word,
};

/// A page grows only if it is fuller than 5/8. With an even hash the first of its blocks is full when
/// it is at 90% and more (a small index, which covers the whole skew: at 70%). Below that its tags are clustered, as
/// no hash does it, and growth would add empty blocks: the side table takes the entry. More than 4/7, so that
/// entries that all lie in one half of a page of seven cannot split it, and again, down to single tags.
const GROWTH_LOAD: (usize, usize) = (5, 8);

impl Index {
    /// Whether one more block could make room for this fingerprint.
    #[cold]
    #[inline(never)]
    pub(crate) fn growth_helps(&self, fingerprint: Fingerprint) -> bool {
        let tag = fingerprint.tag();
        let page = &self.pages[self.directory.page_of(tag) as usize];
        let (num, den) = GROWTH_LOAD;
        let is_loaded = page.live() * den > page.count() * BLOCK_SLOTS * num;
        let can_grow = page.count() < MAX_BLOCKS || page.depth() < MAX_DEPTH;
        // sixteen entries with this very tag stay together for ever.
        let block = self.arena.block(page.block_of(tag));
        let rows = [fingerprint.first_row(), tag.other_row(fingerprint.first_row())];
        let is_family_full = rows.iter().all(|&row| block.row(row).matches(tag) == 0xff);
        is_loaded && can_grow && !is_family_full
    }

    /// Gives the page of this tag one more block. Moves about half of its entries, to the next block each.
    ///
    /// # Errors
    /// If there is no memory for a block; nothing was changed.
    #[cold]
    #[inline(never)]
    pub(crate) fn grow(&mut self, tag: Tag) -> Result<(), IndexError> {
        let id = self.directory.page_of(tag);
        let page = self.pages[id as usize];
        let (bits, count) = (page.bits(), page.count());
        let added = self.arena.allocate()?;
        debug_assert_eq!(self.owners.len(), added.raw() as usize);
        self.owners.push(id);
        self.hide(page.range(tag));

        let mut blocks = [added; MAX_BLOCKS + 1];
        for (to, block) in blocks.iter_mut().zip(page.blocks()) {
            *to = block;
        }
        let blocks = &blocks[..=count];
        // last block first: each has sent its own entries on before it takes any.
        let mut spilled = 0;
        for from in (0..count).rev() {
            let side = &mut self.side;
            move_entries(
                self.arena.block(blocks[from]),
                self.arena.block(blocks[from + 1]),
                |word| block_of(word.tag(), bits, count + 1) > from,
                |row, word| {
                    if let Some(address) = word.address() {
                        side.push(Family::new(word.tag(), row), address);
                        spilled += 1;
                    }
                },
            );
        }
        let live = page.live() - spilled;
        if count < MAX_BLOCKS {
            self.pages[id as usize] = Page::new(bits, blocks, live);
        } else {
            self.split(tag, id, blocks, live);
        }
        self.take_from_side(page.range(tag));
        self.show(page.range(tag));
        Ok(())
    }

    /// Makes the eight blocks of page `id` two pages of four. Moves nothing.
    fn split(&mut self, tag: Tag, id: PageId, blocks: &[BlockId], live: usize) {
        let page = self.pages[id as usize];
        let (bits, depth) = (page.bits() - 1, page.depth());
        if depth == self.directory.depth() {
            self.directory.double();
        }
        let (lower, upper) = blocks.split_at(MIN_BLOCKS);
        let lower_live = lower.iter().map(|&block| self.arena.block(block).count()).sum();
        self.pages[id as usize] = Page::new(bits, lower, lower_live);
        let upper_id = self.add_page(Page::new(bits, upper, live - lower_live));
        for block in upper {
            self.owners[block.raw() as usize] = upper_id;
        }
        let (first, end) = page.range(tag);
        self.directory.set((first + (1 << bits), end), upper_id);
        self.pages_at_depth[depth] -= 1;
        self.pages_at_depth[depth + 1] += 2;
    }

    fn add_page(&mut self, page: Page) -> PageId {
        if let Some(id) = self.free_pages.pop() {
            self.pages[id as usize] = page;
            return id;
        }
        self.pages.push(page);
        // fewer pages than blocks, whose numbers have 32 bits.
        (self.pages.len() - 1) as PageId
    }

    /// Moves entries of these tags, which are hidden from readers, from the side table to where they belong, as far as
    /// there is room now.
    fn take_from_side(&mut self, (first, end): (u32, u32)) {
        let mut from = Family::lowest_of(first);
        while let Some(family) = self.side.next_family(from, end) {
            from = family.next();
            let tag = family.tag();
            while let Some(address) = self.side.pop(family) {
                let page = &mut self.pages[self.directory.page_of(tag) as usize];
                if !place(self.arena.block(page.block_of(tag)), family.row(), Word::new(tag, address), || None) {
                    self.side.push(family, address);
                    break;
                }
                page.live += 1;
            }
        }
    }
}
