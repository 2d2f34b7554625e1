//! All interleavings of a writer and a reader, and all that the memory model lets the reader see: `make loom`.
//!
//! Rows, versions, [`place`] and [`probe`] are the real ones, in a block of four rows with one slot each. Each model is also
//! run with the rule taken out, and has to find that.

use emberkv_log::Address;
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    block::{Block, ROWS},
    fingerprint::{Fingerprint, Tag},
    place::place,
    reader::{Probe, probe},
    slot::Word,
    version::PageVersion,
};

fn model(run: impl Fn() + Sync + Send + 'static) {
    loom::model(run);
}

/// A tag whose entries sit in two rows this far apart.
fn tag_with_step(step: usize, from: u32) -> Tag {
    let tag = (from..).map(Tag::from_raw).find(|tag| tag.other_row(0) == step);
    tag.unwrap_or_else(|| unreachable!())
}

fn address(raw: u64) -> Address {
    Address::from_raw(raw)
}

fn fingerprint(tag: Tag, row: usize) -> Fingerprint {
    Fingerprint::from_raw(tag.raw() << ROWS.trailing_zeros() | row as u32)
}

/// A block, its version, and a page that takes its place.
struct Page {
    block: Block,
    version: PageVersion,
}

impl Page {
    fn new() -> Self {
        Self { block: Block::empty(), version: PageVersion::new() }
    }

    /// What a reader finds of an entry that he looks for at `row` first.
    fn probe(&self, tag: Tag, row: usize, has_side: impl FnOnce() -> bool) -> Probe {
        probe(&self.block, &self.version, fingerprint(tag, row), has_side, |at| at == address(1))
    }
}

/// The new entry finds both of its rows full, so the one at row 0 moves to row 3; a reader looks at 3, then at 0.
fn displacement(marked: bool) {
    model(move || {
        let (moves, stays, new) = (tag_with_step(3, 100), tag_with_step(1, 200), tag_with_step(1, 300));
        let page = Arc::new(Page::new());
        page.block.row(0).store(0, Word::new(moves, address(1)));
        page.block.row(1).store(0, Word::new(stays, address(2)));
        let reader = Arc::clone(&page);
        let reader = thread::spawn(move || {
            assert_ne!(reader.probe(moves, 3, || false), Probe::Absent, "missed on its way");
        });
        let version = || marked.then_some(&page.version);
        assert!(place(&page.block, 0, Word::new(new, address(3)), version));
        assert_eq!(page.block.row(ROWS - 1).load(0).tag(), moves);
        reader.join().unwrap();
    });
}

#[test]
fn loom_an_entry_that_is_displaced_is_not_missed() {
    displacement(true);
}

#[test]
#[should_panic(expected = "missed on its way")]
fn loom_finds_a_displacement_without_a_version() {
    displacement(false);
}

/// An entry moves to another block, and the page that leads there takes the place of the other.
fn growth(retired: bool) {
    model(move || {
        let tag = tag_with_step(1, 100);
        let pages = Arc::new([Page::new(), Page::new()]);
        let current = Arc::new(AtomicUsize::new(0));
        pages[0].block.row(0).store(0, Word::new(tag, address(1)));
        let reader = {
            let (pages, current) = (Arc::clone(&pages), Arc::clone(&current));
            thread::spawn(move || {
                let page = &pages[current.load(Ordering::Acquire)];
                assert_ne!(page.probe(tag, 0, || false), Probe::Absent, "missed on its way");
            })
        };
        if retired {
            pages[0].version.retire();
        }
        pages[1].block.row(0).store(0, Word::new(tag, address(1)));
        pages[0].block.row(0).store(0, Word::EMPTY);
        current.store(1, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn loom_an_entry_that_goes_to_another_block_is_not_missed() {
    growth(true);
}

#[test]
#[should_panic(expected = "missed on its way")]
fn loom_finds_a_page_that_is_replaced_and_not_retired() {
    growth(false);
}

/// An entry comes out of the side table, which readers can't look into, to a slot.
fn from_the_side(marked: bool) {
    model(move || {
        let tag = tag_with_step(1, 100);
        let page = Arc::new(Page::new());
        let side = Arc::new(AtomicUsize::new(1));
        let reader = {
            let (page, side) = (Arc::clone(&page), Arc::clone(&side));
            thread::spawn(move || {
                let found = page.probe(tag, 0, || side.load(Ordering::Acquire) != 0);
                assert_ne!(found, Probe::Absent, "missed on its way");
            })
        };
        if marked {
            page.version.begin();
        }
        page.block.row(0).store(0, Word::new(tag, address(1)));
        side.store(0, Ordering::Release);
        if marked {
            page.version.end();
        }
        reader.join().unwrap();
    });
}

#[test]
fn loom_an_entry_that_comes_from_the_side_table_is_not_missed() {
    from_the_side(true);
}

#[test]
#[should_panic(expected = "missed on its way")]
fn loom_finds_a_side_table_that_is_left_without_a_version() {
    from_the_side(false);
}

/// A slot gets another address: who finds it reads the record there, which was written before.
fn replace(ordering: Ordering, expected: &'static str) {
    model(move || {
        let tag = tag_with_step(1, 100);
        let page = Arc::new(Page::new());
        let record = Arc::new(UnsafeCell::new(0));
        page.block.row(0).store(0, Word::new(tag, address(1)));
        let reader = {
            let (page, record) = (Arc::clone(&page), Arc::clone(&record));
            thread::spawn(move || {
                let found = probe(&page.block, &page.version, fingerprint(tag, 0), || false, |at| at == address(2));
                if found == Probe::Hit(address(2)) {
                    // SAFETY: this is what the model checks.
                    assert_eq!(record.with(|record| unsafe { *record }), 7, "{expected}");
                }
            })
        };
        // SAFETY: nobody reads it before its address is in the slot: this is what the model checks.
        record.with_mut(|record| unsafe { *record = 7 });
        page.block.row(0).store_ordered(0, Word::new(tag, address(2)), ordering);
        reader.join().unwrap();
    });
}

#[test]
fn loom_who_finds_an_address_sees_the_record() {
    replace(Ordering::Release, "the record");
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_finds_a_slot_that_is_stored_without_release() {
    replace(Ordering::Relaxed, "the record");
}

/// A key that is removed has its tombstone noted first: an absent key without one was never there.
fn removal(noted_first: bool) {
    model(move || {
        let tag = tag_with_step(1, 100);
        let page = Arc::new(Page::new());
        let noted = Arc::new(AtomicBool::new(false));
        page.block.row(1).store(0, Word::new(tag, address(1)));
        let reader = {
            let (page, noted) = (Arc::clone(&page), Arc::clone(&noted));
            thread::spawn(move || {
                if page.probe(tag, 0, || false) == Probe::Absent {
                    assert!(noted.load(Ordering::Acquire), "absent without a tombstone");
                }
            })
        };
        if noted_first {
            noted.store(true, Ordering::Release);
        }
        page.block.row(1).store(0, Word::EMPTY);
        noted.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn loom_who_finds_a_key_gone_sees_its_tombstone() {
    removal(true);
}

#[test]
#[should_panic(expected = "absent without a tombstone")]
fn loom_finds_an_entry_that_is_cleared_before_its_tombstone_is_noted() {
    removal(false);
}
