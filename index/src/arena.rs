//! Where blocks come from: anonymous memory in chunks of 2 MiB, used densely from the front.
//!
//! Blocks are numbered without gaps: a new one is the next number, and freeing moves the last one into the
//! hole. So memory goes back to the system from the end, however scattered the freed blocks were.
//!
//! Unsafe code of the index is here, in `prefetch` and in `published`.

use std::ptr::NonNull;

#[cfg(target_os = "linux")]
use memmap2::{Advice, UncheckedAdvice};
use memmap2::{MmapMut, MmapRaw};

use crate::{
    block::{BLOCK_BYTES, Block},
    error::IndexError,
};

/// Blocks of a chunk: as many as a huge page of x86-64 (and of aarch64 with 4-KiB pages) has room for.
const CHUNK_BLOCKS: usize = 256;
const CHUNK_BYTES: usize = CHUNK_BLOCKS * BLOCK_BYTES;

/// Chunks at the front that are made of small pages, touched a few at a time. A whole huge page is
/// touched at once, so up to 2 MiB lie idle: from 16 MiB on that is an eighth at most, and huge pages
/// (a quarter faster to hit at 10M keys) are worth it. Once full, small ones may be joined by the kernel.
const SMALL_CHUNKS: usize = 8;

/// Blocks that are touched together in a small chunk: 32 KiB, which is what an empty index costs.
const SMALL_STEP: usize = 4;

/// What is given back of a small chunk starts at a multiple of this: 64 KiB, the largest page size there is. The
/// system gives back whole pages, so anything less would take a block in use along where pages are that large.
const DISCARD_STEP: usize = 8;

/// Most blocks that may be idle at the end before memory is given back: see [`Arena::slack`].
const MAX_SLACK: usize = 64;

/// Blocks left when a reserve is asked for: time for some 100,000 inserts, which is 50 ms and more.
const RESERVE_AHEAD: usize = 128;

/// Number of a block. Changes when another block is freed: see [`Arena::fill_hole`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockId(u32);

impl BlockId {
    /// The block with this number, which must have come from [`BlockId::raw`].
    #[inline]
    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) const fn raw(self) -> u32 {
        self.0
    }
}

/// 2 MiB of memory, seen as blocks.
#[derive(Debug)]
struct Chunk {
    blocks: NonNull<[Block; CHUNK_BLOCKS]>,
    /// Owns the memory; may be larger than the blocks, to align them.
    map: MmapRaw,
}

// SAFETY: `blocks` points into `map`, which the chunk owns and which may be sent and shared between threads;
// a block consists of atomics only.
unsafe impl Send for Chunk {}
// SAFETY: as above: all that can be done through `&Chunk` is loading and storing atomics.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Maps a chunk of zeroes, aligned to its size so that it can be one huge page.
    fn map(huge: bool) -> Result<Self, IndexError> {
        let map = |bytes| match MmapMut::map_anon(bytes) {
            Ok(map) => Ok(MmapRaw::from(map)),
            Err(source) => Err(IndexError::OutOfMemory { bytes, source }),
        };
        let mut memory = map(CHUNK_BYTES)?;
        // recent kernels align a mapping of this size by themselves; elsewhere twice the address space is
        // taken, of which only an aligned half is ever touched.
        if !memory.as_ptr().addr().is_multiple_of(CHUNK_BYTES) {
            memory = map(2 * CHUNK_BYTES)?;
        }
        let offset = memory.as_ptr().addr().next_multiple_of(CHUNK_BYTES) - memory.as_ptr().addr();
        // SAFETY: the offset is 0 or, in a mapping of two chunks, less than one chunk: the 2 MiB from there on are inside
        // the mapping. Not null, as the mapping is not.
        let start = unsafe { NonNull::new_unchecked(memory.as_mut_ptr().add(offset)) };
        let chunk = Self { blocks: start.cast(), map: memory };
        chunk.advise_huge(huge);
        Ok(chunk)
    }

    #[inline]
    fn blocks(&self) -> &[Block; CHUNK_BLOCKS] {
        // SAFETY: `blocks` points to CHUNK_BYTES bytes of the mapping (see `map`), aligned to 2 MiB, which live as
        // long as `self`; any bytes, zeroes included, are valid atomics, and the memory is accessed in no other way
        // while a reference exists (`discard` takes `&mut self`).
        unsafe { self.blocks.as_ref() }
    }

    /// Asks for one huge page, or for none. Where huge pages are not to be had this changes nothing.
    #[cfg(target_os = "linux")]
    fn advise_huge(&self, huge: bool) {
        let advice = if huge { Advice::HugePage } else { Advice::NoHugePage };
        let _ = self.map.advise(advice);
    }

    /// Has the system back blocks `first..first + count` with memory now, in one call. A kernel that
    /// does not know how (before 5.14) does it later, at first touch.
    #[cfg(target_os = "linux")]
    fn populate(&self, first: usize, count: usize) {
        let offset = self.blocks.addr().get() - self.map.as_ptr().addr();
        let _ = self.map.advise_range(Advice::PopulateWrite, offset + first * BLOCK_BYTES, count * BLOCK_BYTES);
    }

    /// Gives the memory of all blocks from `first` on back to the system. They read as empty afterwards.
    #[cfg(target_os = "linux")]
    fn discard(&mut self, first: usize) {
        let offset = self.blocks.addr().get() - self.map.as_ptr().addr();
        let count = CHUNK_BLOCKS - first;
        assert!(first.is_multiple_of(DISCARD_STEP) && first <= CHUNK_BLOCKS);
        // SAFETY: the range lies within the mapping, and begins at a page boundary (see DISCARD_STEP). Its memory is private
        // and anonymous, so it reads as zeroes afterwards; its blocks are not in use, so it was zeroes before: a reader
        // on another thread who still looks there sees empty slots all the while.
        let _ = unsafe {
            self.map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                offset + first * BLOCK_BYTES,
                count * BLOCK_BYTES,
            )
        };
    }

    #[cfg(not(target_os = "linux"))]
    fn advise_huge(&self, _huge: bool) {}

    #[cfg(not(target_os = "linux"))]
    fn populate(&self, _first: usize, _count: usize) {}

    #[cfg(not(target_os = "linux"))]
    fn discard(&mut self, _first: usize) {}
}

/// Memory for an index to grow into, mapped and touched ahead of need.
///
/// To touch 2 MiB for the first time takes 0.2 to 9 ms (the latter measured in a virtual machine), which
/// no core should wait for: another thread makes a reserve when [`Index::wants_reserve`] says so.
///
/// [`Index::wants_reserve`]: crate::Index::wants_reserve
#[derive(Debug)]
pub struct Reserve(Chunk);

impl Reserve {
    /// Maps and touches 2 MiB. Takes milliseconds: not for a core's thread.
    ///
    /// # Errors
    /// If the system has no memory to give.
    pub fn new() -> Result<Self, IndexError> {
        let chunk = Chunk::map(true)?;
        chunk.populate(0, CHUNK_BLOCKS);
        Ok(Self(chunk))
    }
}

/// All blocks of an index. Invariant: blocks that are not in use are empty.
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// Blocks in use: numbers `0..len`.
    len: usize,
    /// Blocks with memory behind them: `0..touched`.
    touched: usize,
    /// The next chunk, if another thread has made it ready.
    reserve: Option<Reserve>,
    /// Whether other threads may be reading blocks: chunks are unmapped when they have left.
    pub(crate) has_readers: bool,
}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0, touched: 0, reserve: None, has_readers: false }
    }

    /// Blocks in use.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory behind the blocks, used or not.
    pub(crate) const fn memory_bytes(&self) -> usize {
        let reserve = if self.reserve.is_some() { CHUNK_BYTES } else { 0 };
        self.touched * BLOCK_BYTES + reserve + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// # Panics
    /// If there never was such a block.
    #[inline]
    pub(crate) fn block(&self, id: BlockId) -> &Block {
        debug_assert!((id.0 as usize) < self.len);
        &self.chunks[id.0 as usize / CHUNK_BLOCKS].blocks()[id.0 as usize % CHUNK_BLOCKS]
    }

    /// An empty block. Mostly a counter; every few dozen KiB, later every 2 MiB, it asks the system for memory.
    pub(crate) fn allocate(&mut self) -> Result<BlockId, IndexError> {
        let Ok(id) = u32::try_from(self.len) else {
            return Err(IndexError::Full { blocks: u32::MAX });
        };
        if self.len == self.touched {
            self.touch_more()?;
        }
        self.len += 1;
        Ok(BlockId(id))
    }

    /// Takes the memory for so many blocks at once, in huge pages, as far as they fill whole chunks: an index that is loaded
    /// knows how large it is, and to take it step by step would take longer than to load it.
    ///
    /// # Panics
    /// If there are blocks already.
    pub(crate) fn expect(&mut self, blocks: usize) -> Result<(), IndexError> {
        assert!(self.touched == 0, "it is empty");
        for _ in 0..blocks / CHUNK_BLOCKS {
            let chunk = Chunk::map(true)?;
            chunk.populate(0, CHUNK_BLOCKS);
            self.chunks.push(chunk);
            self.touched += CHUNK_BLOCKS;
        }
        Ok(())
    }

    /// Whether growth will soon need a chunk of a huge page, and none is in reserve.
    #[inline]
    pub(crate) const fn wants_reserve(&self) -> bool {
        self.touched >= SMALL_CHUNKS * CHUNK_BLOCKS && self.len + RESERVE_AHEAD > self.touched && self.reserve.is_none()
    }

    /// Keeps a chunk for when it is needed.
    pub(crate) fn put_reserve(&mut self, reserve: Reserve) {
        self.reserve = Some(reserve);
    }

    fn touch_more(&mut self) -> Result<(), IndexError> {
        let (index, first) = (self.touched / CHUNK_BLOCKS, self.touched % CHUNK_BLOCKS);
        let is_small = index < SMALL_CHUNKS;
        let mut count = CHUNK_BLOCKS - first;
        if is_small {
            count = count.min(SMALL_STEP);
        }
        if index == self.chunks.len() {
            let chunk = match self.reserve.take() {
                Some(Reserve(chunk)) if !is_small => chunk,
                _ => {
                    let chunk = Chunk::map(!is_small)?;
                    chunk.populate(first, count);
                    chunk
                }
            };
            if is_small && let Some(last) = self.chunks.last() {
                last.advise_huge(true);
            }
            self.chunks.push(chunk);
        } else {
            self.chunks[index].populate(first, count);
        }
        self.touched += count;
        Ok(())
    }

    /// Begins to free a block: the last one's content is copied into it. If that is another one its number is returned,
    /// and whoever refers to it must say `id` before [`Arena::drop_last`].
    pub(crate) fn fill_hole(&mut self, id: BlockId) -> Option<BlockId> {
        debug_assert!((id.0 as usize) < self.len);
        let last = BlockId(self.len as u32 - 1);
        if id == last {
            return None;
        }
        self.block(id).copy_from(self.block(last));
        Some(last)
    }

    /// Ends it: nobody needs the last block any more.
    pub(crate) fn drop_last(&mut self) {
        self.block(BlockId(self.len as u32 - 1)).clear();
        self.len -= 1;
        self.give_back();
    }

    /// Unmaps everything when those who may be reading have left.
    pub(crate) fn leave_to_readers(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        crossbeam_epoch::pin().defer(move || drop(chunks));
    }

    /// Blocks that must be idle before memory is given back, so that a size that swings around a boundary
    /// does not map and unmap at every turn; a sixteenth of what is used, so that it does not show.
    fn slack(&self) -> usize {
        (self.len / 16).clamp(2 * SMALL_STEP, MAX_SLACK)
    }

    /// Returns memory at the end to the system, once enough of it is idle.
    fn give_back(&mut self) {
        let slack = self.slack();
        if self.touched - self.len < slack {
            return;
        }
        while self.chunks.len() > 1 && self.len + slack <= (self.chunks.len() - 1) * CHUNK_BLOCKS {
            let chunk = self.chunks.pop();
            if self.has_readers {
                // no view leads there any more, but a reader may have come by one before
                crossbeam_epoch::pin().defer(move || drop(chunk));
            }
            self.touched = self.touched.min(self.chunks.len() * CHUNK_BLOCKS);
            self.reserve = None;
        }
        let last = self.chunks.len() - 1;
        let keep = (self.len + slack / 2).next_multiple_of(DISCARD_STEP).max(last * CHUNK_BLOCKS);
        if last < SMALL_CHUNKS && keep + slack / 2 <= self.touched {
            self.chunks[last].discard(keep % CHUNK_BLOCKS);
            self.touched = keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use emberkv_log::Address;

    use super::*;
    use crate::{fingerprint::Tag, slot::Word};

    fn mark(arena: &Arena, id: BlockId, value: u64) {
        arena.block(id).row(3).store(5, Word::new(Tag::from_raw(1), Address::from_raw(value)));
    }

    fn marked(arena: &Arena, id: BlockId) -> Option<u64> {
        arena.block(id).row(3).load(5).address().map(Address::raw)
    }

    fn free(arena: &mut Arena, id: BlockId) -> Option<BlockId> {
        let last = arena.fill_hole(id);
        arena.drop_last();
        last
    }

    #[test]
    fn a_freed_block_is_replaced_by_the_last() {
        let mut arena = Arena::new();
        let ids: Vec<BlockId> = (0..600).map(|_| arena.allocate().unwrap()).collect();
        for (id, value) in ids.iter().zip(1..) {
            assert_eq!(marked(&arena, *id), None);
            mark(&arena, *id, value);
        }
        assert_eq!(free(&mut arena, ids[10]), Some(ids[599]));
        assert_eq!(marked(&arena, ids[10]), Some(600));
        assert_eq!(free(&mut arena, ids[598]), None);
        assert_eq!(arena.len(), 598);
        assert_eq!(marked(&arena, ids[597]), Some(598));
    }

    #[test]
    fn blocks_are_empty_however_often_they_were_used() {
        let mut arena = Arena::new();
        for round in 0..3 {
            for value in 1..=(700 + round * 1500) {
                let id = arena.allocate().unwrap();
                assert_eq!(arena.block(id).count(), 0);
                mark(&arena, id, value);
            }
            while arena.len() > 0 {
                let id = BlockId(arena.len() as u32 / 2);
                free(&mut arena, id);
            }
        }
    }

    #[test]
    fn memory_follows_use_up_and_down() {
        let mut arena = Arena::new();
        let mut most = 0;
        for _ in 0..3000 {
            arena.allocate().unwrap();
            let used = arena.len() * BLOCK_BYTES;
            assert!(arena.memory_bytes() <= used + (used / 8).max(2 * SMALL_STEP * BLOCK_BYTES) + 8192);
            most = most.max(arena.memory_bytes());
        }
        while arena.len() > 0 {
            free(&mut arena, BlockId(0));
            let used = arena.len() * BLOCK_BYTES;
            assert!(arena.memory_bytes() <= used + CHUNK_BYTES + MAX_SLACK * BLOCK_BYTES + 8192);
        }
        assert!(arena.memory_bytes() < 2 * MAX_SLACK * BLOCK_BYTES && most > 3000 * BLOCK_BYTES);
    }
}
