//! What other threads see of an index (D2, D5): the blocks of each range of tags.
//!
//! ```text
//!   directory ---> entries ---> page view (immutable, but for its version) ---> blocks (the writer's own)
//! ```
//!
//! The writer has a directory and pages of its own, and changes them in place. Beside them it keeps these, once there is a
//! reader: a page that changes its blocks gets a new view, a directory that changes its size is copied. What was
//! replaced is retired and goes when nobody can be in it any more. Slots are read where the writer changes them.

#![allow(unsafe_code)]

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned, Shared};

use crate::{
    arena::Arena,
    block::Block,
    directory::{Directory, PageId},
    fingerprint::{TAG_BITS, TAGS, Tag},
    page::{MAX_BLOCKS, Page, block_of},
    version::PageVersion,
};

/// A page as readers see it: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct PageView {
    blocks: [NonNull<Block>; MAX_BLOCKS],
    pub(crate) version: PageVersion,
    count: u8,
    bits: u8,
}

#[cfg(all(not(all(test, loom)), target_pointer_width = "64"))]
const _: () = assert!(size_of::<PageView>() == 64);

// SAFETY: a view's pointers are followed by `block` only, to blocks of atomics, which any thread may use; that they are
// there is argued at `block`.
unsafe impl Send for PageView {}
// SAFETY: as above.
unsafe impl Sync for PageView {}

impl PageView {
    fn new(arena: &Arena, page: &Page) -> Self {
        let mut blocks = [NonNull::dangling(); MAX_BLOCKS];
        for (to, id) in blocks.iter_mut().zip(page.blocks()) {
            *to = NonNull::from(arena.block(id));
        }
        Self { blocks, version: PageVersion::new(), count: page.count() as u8, bits: page.bits() as u8 }
    }

    /// The block that holds all entries with this tag.
    #[inline]
    pub(crate) fn block(&self, tag: Tag) -> &Block {
        let block = self.blocks[block_of(tag, u32::from(self.bits), usize::from(self.count))];
        // SAFETY: the pointer came from a reference to a block of the arena (`block_of` is below `count`). a chunk of
        // the arena is unmapped, when it has readers, only after a grace period that began when no view led to it
        // (`Arena::give_back`, `Index::drop`), and who has this view under a guard has had it since before then.
        unsafe { block.as_ref() }
    }
}

/// Views by the top bits of a tag, as [`Directory`] has pages.
#[derive(Debug)]
struct Views {
    entries: Box<[Atomic<PageView>]>,
    shift: u32,
}

impl Views {
    /// The places of the tags in `first..end`.
    fn places(&self, (first, end): (u32, u32)) -> std::ops::Range<usize> {
        (first >> self.shift) as usize..(end >> self.shift) as usize
    }
}

/// The root of what readers see. `null` when the index is gone.
#[derive(Debug)]
pub(crate) struct Published {
    views: Atomic<Views>,
    /// Entries in the side table, which readers can't look into.
    side_len: AtomicUsize,
}

impl Published {
    /// The view of a tag's page; `None` if there is no index any more.
    #[inline]
    pub(crate) fn view<'g>(&self, guard: &'g Guard, tag: Tag) -> Option<&'g PageView> {
        debug_assert!(emberkv_log::protects(guard));
        // SAFETY: not null, or it is not followed; loaded with Acquire from where it was stored with Release when it was
        // complete; destroyed only after a grace period that began when it was unlinked: the guard keeps it.
        let views = unsafe { self.views.load(Acquire, guard).as_ref() }?;
        let entry = views.entries.get((tag.raw() >> views.shift) as usize)?;
        // SAFETY: as above. an entry of a directory that was replaced meanwhile leads to a view that was reachable when it
        // was replaced, which was after the guard began: the guard keeps that too.
        unsafe { entry.load(Acquire, guard).as_ref() }
    }

    /// Whether entries may lie where readers do not look.
    #[inline]
    pub(crate) fn has_side_entries(&self) -> bool {
        self.side_len.load(Acquire) != 0
    }
}

/// The writer's end of [`Published`]: there is one.
#[derive(Debug)]
pub(crate) struct Publisher {
    published: Arc<Published>,
    /// The first tag of each page, by number.
    firsts: Vec<u32>,
}

impl Publisher {
    /// Shows an index as it is now.
    pub(crate) fn new(directory: &Directory, pages: &[Page], arena: &Arena, side_len: usize) -> Self {
        let published = Published { views: Atomic::null(), side_len: AtomicUsize::new(side_len) };
        let mut publisher = Self { published: Arc::new(published), firsts: Vec::new() };
        publisher.show_all(directory, pages, arena, side_len);
        publisher
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.views().map_or(0, |views| views.entries.len() * size_of::<Atomic<PageView>>())
            + self.firsts.len() * (size_of::<PageView>() + size_of::<u32>())
    }

    /// The first tag of a page that is shown.
    pub(crate) fn first_of(&self, page: PageId) -> Tag {
        Tag::from_raw(self.firsts[page as usize])
    }

    fn views(&self) -> Option<&Views> {
        // SAFETY: only this writer replaces what is published, through `&mut self`: while `self` is borrowed it is there.
        unsafe { self.published.views.load(Relaxed, epoch::unprotected()).as_ref() }
    }

    fn view(&self, tag: Tag) -> Option<&PageView> {
        let views = self.views()?;
        // SAFETY: as in `views`.
        unsafe { views.entries[(tag.raw() >> views.shift) as usize].load(Relaxed, epoch::unprotected()).as_ref() }
    }

    /// The version of a tag's page, which is marked while entries move within their blocks.
    #[inline]
    pub(crate) fn version(&self, tag: Tag) -> Option<&PageVersion> {
        Some(&self.view(tag)?.version)
    }

    pub(crate) fn set_side_len(&mut self, len: usize) {
        self.published.side_len.store(len, Release);
    }

    /// From here on until [`Publisher::show`] of the same tags, readers who find nothing there know nothing.
    pub(crate) fn hide(&mut self, (first, end): (u32, u32)) {
        let Some(views) = self.views() else { return };
        let mut next = first;
        while next < end {
            if let Some(view) = self.view(Tag::from_raw(next)) {
                view.version.retire();
            }
            next += 1 << views.shift;
        }
    }

    /// Shows the pages of the tags in `range`, which are whole pages, as they are now.
    pub(crate) fn show(&mut self, range: (u32, u32), directory: &Directory, pages: &[Page], arena: &Arena) {
        let guard = &epoch::pin();
        self.resize(directory.shift());
        self.firsts.resize(pages.len(), 0);
        let (published, firsts) = (&self.published, &mut self.firsts);
        // SAFETY: as in `views`.
        let Some(views) = (unsafe { published.views.load(Relaxed, guard).as_ref() }) else { return };
        let mut retired = Vec::new();
        let mut next = range.0;
        while next < range.1 {
            let tag = Tag::from_raw(next);
            let id = directory.page_of(tag) as usize;
            let page = &pages[id];
            let (first, end) = page.range(tag);
            debug_assert!(first == next && end <= range.1);
            firsts[id] = first;
            let view = Owned::new(PageView::new(arena, page)).into_shared(guard);
            for entry in &views.entries[views.places((first, end))] {
                let old = entry.swap(view, Release, guard);
                if retired.last() != Some(&old) {
                    retired.push(old);
                }
            }
            next = end;
        }
        for &old in &retired {
            // SAFETY: `old` came from `Owned::new` and is in no entry any more: its entries all lay in the range, whose
            // pages are whole. nobody else retires, and each is in `retired` once, as its entries are neighbours.
            unsafe { guard.defer_destroy(old) };
        }
    }

    /// Takes over the size of the writer's directory, whose pages are as wide as an entry of it at least.
    pub(crate) fn resize(&mut self, shift: u32) {
        let guard = &epoch::pin();
        let Some(views) = self.views() else { return };
        if views.shift == shift {
            return;
        }
        let entries = (0..TAGS >> shift)
            .map(|place| Atomic::from(views.entries[((place << shift) >> views.shift) as usize].load(Relaxed, guard)))
            .collect();
        let old = self.published.views.swap(Owned::new(Views { entries, shift }), Release, guard);
        // SAFETY: it came from `Owned::new`, and is unlinked now; the views that it leads to are not destroyed with it.
        unsafe { guard.defer_destroy(old) };
    }

    /// Shows another index, or the same for the first time.
    pub(crate) fn show_all(&mut self, directory: &Directory, pages: &[Page], arena: &Arena, side_len: usize) {
        let guard = &epoch::pin();
        let shift = directory.shift();
        let mut entries: Vec<Atomic<PageView>> = Vec::with_capacity(1 << (TAG_BITS - shift));
        self.firsts = vec![0; pages.len()];
        let mut next = 0;
        while next < TAGS {
            let id = directory.page_of(Tag::from_raw(next)) as usize;
            let page = &pages[id];
            self.firsts[id] = next;
            let (_, end) = page.range(Tag::from_raw(next));
            let view = Owned::new(PageView::new(arena, page)).into_shared(guard);
            entries.extend((next >> shift..end >> shift).map(|_| Atomic::from(view)));
            next = end;
        }
        let views = Views { entries: entries.into(), shift };
        self.set_side_len(side_len);
        let old = self.published.views.swap(Owned::new(views).into_shared(guard), Release, guard);
        retire_all(old, guard);
    }
}

/// Retires a directory that was unlinked, and its views with it.
fn retire_all(views: Shared<'_, Views>, guard: &Guard) {
    // SAFETY: it is null or was complete when it was published; the caller has just unlinked it, so it is there.
    let Some(entries) = (unsafe { views.as_ref() }) else { return };
    let mut last = Shared::null();
    for entry in &entries.entries {
        let view = entry.load(Relaxed, guard);
        if view != last {
            // SAFETY: it came from `Owned::new`; with its directory it can't be found any more, and as its entries are
            // neighbours it is retired once.
            unsafe { guard.defer_destroy(view) };
        }
        last = view;
    }
    // SAFETY: it came from `Owned::new` and was unlinked by the caller.
    unsafe { guard.defer_destroy(views) };
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let guard = &epoch::pin();
        retire_all(self.published.views.swap(Shared::null(), Release, guard), guard);
    }
}
