//! A block: 128 rows of 8 slots, and nothing else.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::{fingerprint::Tag, slot::Word, sync::AtomicU64};

/// Slots of a row.
#[cfg(not(all(test, loom)))]
pub(crate) const SLOTS: usize = 8;
/// Rows of a block.
#[cfg(not(all(test, loom)))]
pub(crate) const ROWS: usize = 128;
/// For the models: so few that all interleavings can be tried.
#[cfg(all(test, loom))]
pub(crate) const SLOTS: usize = 1;
#[cfg(all(test, loom))]
pub(crate) const ROWS: usize = 4;
/// Slots of a block.
pub(crate) const BLOCK_SLOTS: usize = ROWS * SLOTS;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 8192;

/// One cache line of slots: what a probe reads.
///
/// The slots are atomics because other cores read them. The one writer needs no more than relaxed loads for itself; its
/// stores are releases: who finds an entry sees the record too (D2).
#[repr(C, align(64))]
pub(crate) struct Row {
    slots: [AtomicU64; SLOTS],
}

/// 128 rows. An entry sits in one of the two rows that its fingerprint names.
#[repr(C)]
pub(crate) struct Block {
    rows: [Row; ROWS],
}

#[cfg(not(all(test, loom)))]
const _: () = assert!(size_of::<Row>() == 64 && size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == 64);

impl Row {
    /// The content of slot `slot & 7`.
    #[inline]
    pub(crate) fn load(&self, slot: usize) -> Word {
        Word::from_raw(self.slots[slot & (SLOTS - 1)].load(Relaxed))
    }

    /// The same for another thread than the writer's: what was stored before the word is seen too.
    #[inline]
    pub(crate) fn load_shared(&self, slot: usize) -> Word {
        Word::from_raw(self.slots[slot & (SLOTS - 1)].load(Acquire))
    }

    #[inline]
    pub(crate) fn store(&self, slot: usize, word: Word) {
        self.slots[slot & (SLOTS - 1)].store(word.raw(), Release);
    }

    /// Puts `new` in place of `old` for another thread than the writer's; nothing happens if the writer has changed the slot.
    #[inline]
    pub(crate) fn exchange_shared(&self, slot: usize, old: Word, new: Word) {
        // a load, then this, and never a blind `or`: that would write into a slot that was cleared meanwhile (D11)
        let _ = self.slots[slot & (SLOTS - 1)].compare_exchange(old.raw(), new.raw(), Relaxed, Relaxed);
    }

    #[cfg(all(test, loom))]
    pub(crate) fn store_ordered(&self, slot: usize, word: Word, ordering: std::sync::atomic::Ordering) {
        self.slots[slot].store(word.raw(), ordering);
    }

    /// One bit per slot: set where the tag is `tag`. Empty slots pass for tag 0.
    ///
    /// No branch: highest slot first, so that each step is a comparison and an addition with carry.
    #[inline]
    pub(crate) fn matches(&self, tag: Tag) -> u32 {
        let mut mask = 0;
        for slot in (0..SLOTS).rev() {
            mask = mask + mask + u32::from(self.load(slot).has_tag(tag));
        }
        mask
    }

    /// The first empty slot.
    #[inline]
    pub(crate) fn empty(&self) -> Option<usize> {
        (0..SLOTS).find(|&slot| self.load(slot).is_empty())
    }
}

impl Block {
    /// A block out of no arena.
    #[cfg(all(test, loom))]
    pub(crate) fn empty() -> Self {
        let row = |_| Row { slots: std::array::from_fn(|_| AtomicU64::new(0)) };
        Self { rows: std::array::from_fn(row) }
    }

    /// Row `row & 127`.
    #[inline]
    pub(crate) fn row(&self, row: usize) -> &Row {
        &self.rows[row & (ROWS - 1)]
    }

    /// All words of the block, empty ones included.
    pub(crate) fn words(&self) -> impl Iterator<Item = Word> + '_ {
        self.rows.iter().flat_map(|row| (0..SLOTS).map(|slot| row.load(slot)))
    }

    /// Entries in the block. Reads all of it.
    pub(crate) fn count(&self) -> usize {
        self.words().filter(|word| !word.is_empty()).count()
    }

    /// Takes over the content of `from`.
    pub(crate) fn copy_from(&self, from: &Block) {
        for (to, from) in self.rows.iter().zip(&from.rows) {
            for slot in 0..SLOTS {
                to.store(slot, from.load(slot));
            }
        }
    }

    /// Makes every slot empty.
    pub(crate) fn clear(&self) {
        for row in &self.rows {
            for slot in 0..SLOTS {
                row.store(slot, Word::EMPTY);
            }
        }
    }
}
