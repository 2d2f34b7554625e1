//! The invariants of an index, for tests.

use crate::{
    fingerprint::{TAGS, Tag},
    index::Index,
    page::MIN_BLOCKS,
};

impl Index {
    /// Reads all of the index.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn check(&self) {
        assert_eq!(self.owners.len(), self.arena.len());
        let (mut next, mut entries, mut blocks, mut pages) = (0, 0, 0, 0);
        let mut depths = vec![0; self.pages_at_depth.len()];
        while next < TAGS {
            let tag = Tag::from_raw(next);
            let id = self.directory.page_of(tag);
            let page = &self.pages[id as usize];
            let (first, end) = page.range(tag);
            assert_eq!(first, next, "a page begins where the one before ends");
            assert_eq!(self.directory.page_of(Tag::from_raw(end - 1)), id);
            assert!(page.depth() <= self.directory.depth());
            assert!(page.count() >= MIN_BLOCKS || page.depth() == 0);
            let mut live = 0;
            for block_id in page.blocks() {
                assert_eq!(self.owners[block_id.raw() as usize], id);
                let block = self.arena.block(block_id);
                for word in block.words().filter(|word| !word.is_empty()) {
                    assert!((first..end).contains(&word.tag().raw()));
                    assert_eq!(page.block_of(word.tag()), block_id);
                    assert!(word.address().is_some());
                }
                live += block.count();
            }
            assert_eq!(page.live(), live);
            entries += live;
            blocks += page.count();
            pages += 1;
            depths[page.depth()] += 1;
            next = end;
        }
        assert_eq!(blocks, self.arena.len(), "each block has one page");
        assert_eq!(entries + self.side.len(), self.len());
        assert_eq!(self.side.range(0, TAGS).count(), self.side.len());
        assert_eq!(depths, self.pages_at_depth);
        assert_eq!(pages + self.free_pages.len(), self.pages.len());
    }
}
