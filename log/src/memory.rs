//! The memory of a resident segment: anonymous, written once from its beginning to its end by one
//! writer, read by anybody below the published mark.
//!
//! ```text
//!  0            closed              published            size
//!  +---------------+--------------------+------------------+
//!  |    frames     |  records of the    |   the writer's   |
//!  |               |  open frame        |   alone          |
//!  +---------------+--------------------+------------------+
//! ```
//!
//! All `unsafe` of this crate is here but that of `table_reader`. The rule that makes it sound: bytes below `published`
//! are not written any more, but for the header of the open frame; nobody makes a slice over that until the
//! frame is closed, which is when it is written. Memory begins anew, with nothing published, only in the hands
//! of who is alone with it ([`SegmentWriter::again`]).

#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use crate::frame::frame_boundary;

/// A resident segment, shared by its writer, by replies that are sent without a copy and by disk writes.
#[derive(Debug)]
pub struct SegmentMemory {
    map: MmapRaw,
    published: AtomicU64,
    closed: AtomicU64,
}

impl SegmentMemory {
    /// Anonymous memory for a segment of `size` bytes, untouched, in huge pages where the system has them.
    fn map(size: u64) -> io::Result<Self> {
        let size = usize::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapRaw::from(MmapOptions::new().len(size).map_anon()?);
        #[cfg(target_os = "linux")]
        if size >= 2 << 20 {
            // a kernel without huge pages is slower, not wrong
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, published: AtomicU64::new(0), closed: AtomicU64::new(0) })
    }

    /// The size of the mapping, in bytes.
    pub fn size(&self) -> u64 {
        self.map.len() as u64
    }

    /// Touches the pages of `range`, so that the writer will not fault there. Any thread may do it.
    pub fn prefault(&self, range: Range<u64>) {
        #[cfg(target_os = "linux")]
        {
            let end = range.end.min(self.size());
            if range.start < end {
                // before linux 5.14 there is no such advice: the writer faults, and nothing else changes
                let _ = self.map.advise_range(
                    memmap2::Advice::PopulateWrite,
                    range.start as usize,
                    (end - range.start) as usize,
                );
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// Memory in which nothing is ever published: what stands for a segment that is not resident.
    pub(crate) fn nothing() -> Arc<Self> {
        let map = MmapOptions::new().len(1).map_anon();
        let Ok(map) = map else { panic!("the system has no memory for a page") };
        Arc::new(Self { map: MmapRaw::from(map), published: AtomicU64::new(0), closed: AtomicU64::new(0) })
    }

    /// Whether a record may begin at `offset`: it is published.
    #[inline]
    pub(crate) fn has(&self, offset: u64) -> bool {
        offset < self.published.load(Ordering::Acquire)
    }

    /// The published bytes from `offset` on: a record begins there. `None` if `offset` is not published.
    #[inline]
    pub(crate) fn from(&self, offset: u64) -> Option<&[u8]> {
        let published = self.published.load(Ordering::Acquire);
        if offset >= published {
            return None;
        }
        // SAFETY: the range lies in the mapping, which lives as long as `self`. bytes below `published`
        // are initialised and only the open frame's header among them is still to be written; the writer
        // does that through `&mut SegmentWriter`, which its owner (the log) never does while a slice made
        // by its own `&self` methods is alive, and other threads get slices from `closed_bytes` only.
        Some(unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().add(offset as usize), (published - offset) as usize)
        })
    }

    /// Bytes of closed frames.
    ///
    /// # Panics
    /// If the range is not closed.
    pub fn closed_bytes(&self, range: Range<u64>) -> &[u8] {
        let closed = self.closed.load(Ordering::Acquire);
        assert!(range.start <= range.end && range.end <= closed, "{range:?} of a segment closed to {closed}");
        // SAFETY: in the mapping, initialised, and never written again: frames below `closed` are final.
        unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().add(range.start as usize), (range.end - range.start) as usize)
        }
    }

    /// The bytes of closed frames from `offset` on, for any thread; `None` if `offset` is not closed.
    #[inline]
    pub(crate) fn closed_from(&self, offset: u64) -> Option<&[u8]> {
        let closed = self.closed.load(Ordering::Acquire);
        (offset < closed).then(|| self.closed_bytes(offset..closed))
    }

    /// Hints the processor that the record at `offset` will be read.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at = self.map.as_ptr().wrapping_add(offset as usize).cast::<i8>();
            // SAFETY: a prefetch is a hint and never faults, whatever the address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(at);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }
}

/// Some bytes of closed frames or of a published record, kept alive for a reply or a disk write.
struct SegmentSlice {
    memory: Arc<SegmentMemory>,
    range: Range<u64>,
}

impl AsRef<[u8]> for SegmentSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the constructors below checked that the range is published and holds no header of an
        // open frame, or was written ahead; such bytes are never written again, and `memory` is kept alive by this value.
        unsafe {
            std::slice::from_raw_parts(
                self.memory.map.as_ptr().add(self.range.start as usize),
                (self.range.end - self.range.start) as usize,
            )
        }
    }
}

/// Closed frames as shared bytes: for a write that outlives the call.
///
/// # Panics
/// If the range is not closed.
pub(crate) fn share_closed(memory: &Arc<SegmentMemory>, range: Range<u64>) -> Bytes {
    assert!(range.end <= memory.closed.load(Ordering::Acquire), "only closed frames are shared");
    Bytes::from_owner(SegmentSlice { memory: Arc::clone(memory), range })
}

/// Part of one record as shared bytes: for a reply that is sent without a copy.
///
/// # Panics
/// If the record is not published.
pub(crate) fn share_record(memory: &Arc<SegmentMemory>, range: Range<u64>) -> Bytes {
    assert!(range.end <= memory.published.load(Ordering::Acquire), "only published records are shared");
    Bytes::from_owner(SegmentSlice { memory: Arc::clone(memory), range })
}

/// The one writer of a segment's memory. There is never a second one: it is made together with the
/// memory and can't be cloned.
#[derive(Debug)]
pub struct SegmentWriter {
    memory: Arc<SegmentMemory>,
    at: u64,
}

impl SegmentWriter {
    /// New memory and its writer.
    ///
    /// # Errors
    /// When the system has no memory to map.
    pub fn new(size: u64) -> io::Result<Self> {
        Ok(Self { memory: Arc::new(SegmentMemory::map(size)?), at: 0 })
    }

    /// A writer from the beginning over the memory of a segment that is gone, which saves the first touch of new memory.
    /// What was written there stays beyond what will be: frames of another nonce.
    ///
    /// # Errors
    /// If anybody else still holds the memory: that again.
    pub(crate) fn again(mut memory: Arc<SegmentMemory>) -> Result<Self, Arc<SegmentMemory>> {
        let Some(alone) = Arc::get_mut(&mut memory) else { return Err(memory) };
        (*alone.published.get_mut(), *alone.closed.get_mut()) = (0, 0);
        Ok(Self { memory, at: 0 })
    }

    /// The memory that is written to.
    #[inline]
    pub fn memory(&self) -> &Arc<SegmentMemory> {
        &self.memory
    }

    /// The offset of the next byte.
    #[inline]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Fills the next `len` bytes by `fill` and publishes them.
    ///
    /// # Panics
    /// If the segment has no room for them.
    #[inline]
    pub fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let end = self.at + len as u64;
        assert!(end <= self.memory.size(), "a segment is written to its end and no further");
        // SAFETY: the range lies in the mapping and above `published`, where only the one writer, borrowed
        // mutably here, reads or writes; a zeroed anonymous mapping is initialised memory.
        let space = unsafe { std::slice::from_raw_parts_mut(self.memory.map.as_mut_ptr().add(self.at as usize), len) };
        fill(space);
        self.at = end;
        self.memory.published.store(end, Ordering::Release);
    }

    /// Leaves `len` bytes, zeroed, to be written later by [`SegmentWriter::close_frame`]: a frame's header.
    ///
    /// # Panics
    /// If the segment has no room for them.
    pub fn skip(&mut self, len: usize) {
        self.append(len, |space| space.fill(0));
    }

    /// Lets `fill` write the first `header_len` bytes of the open frame, which began at `start` and ends
    /// here; it is given the header and the rest of the frame. Everything so far is then closed.
    ///
    /// # Panics
    /// If `start` is not the first boundary after the last closed frame.
    pub fn close_frame(&mut self, start: u64, header_len: usize, fill: impl FnOnce(&mut [u8], &[u8])) {
        let closed = self.memory.closed.load(Ordering::Relaxed);
        assert!(start == frame_boundary(closed), "frames are closed in order");
        assert!(start + header_len as u64 <= self.at);
        // SAFETY: both ranges lie in the mapping and do not overlap. the header's is above `closed` and
        // skipped by the writer, so nobody holds a slice over it (see the rule at the top); the body's is
        // published and not written again.
        let (header, body) = unsafe {
            let base = self.memory.map.as_mut_ptr();
            (
                std::slice::from_raw_parts_mut(base.add(start as usize), header_len),
                std::slice::from_raw_parts(
                    base.add(start as usize + header_len),
                    (self.at - start) as usize - header_len,
                ),
            )
        };
        fill(header, body);
        self.memory.closed.store(self.at, Ordering::Release);
    }

    /// Closed frames and what is behind them, zeros or frames of another nonce: what a write of whole blocks takes.
    ///
    /// # Panics
    /// If a frame is open, or the range goes beyond the segment.
    pub fn padded(&self, range: Range<u64>) -> &[u8] {
        assert!(self.memory.closed.load(Ordering::Relaxed) == self.at && range.end <= self.memory.size());
        // SAFETY: the range lies in the mapping, which began as zeroed memory and so is initialised. what is closed is
        // never written again, and what is above it only through `&mut self`.
        unsafe {
            std::slice::from_raw_parts(
                self.memory.map.as_ptr().add(range.start as usize),
                (range.end - range.start) as usize,
            )
        }
    }

    /// Only the first `end` bytes count: for bytes that were loaded from a file. What is behind them stays where it is and is
    /// written over.
    ///
    /// # Panics
    /// If there are not so many, or anybody else holds the memory.
    pub fn cut_loaded(&mut self, end: u64) {
        assert!(end <= self.at, "what counts was loaded");
        let Some(memory) = Arc::get_mut(&mut self.memory) else { unreachable!("nobody else has it yet") };
        (*memory.published.get_mut(), *memory.closed.get_mut()) = (end, end);
        self.at = end;
    }

    /// Everything written so far counts as closed: for bytes that were loaded from a file.
    pub fn close_loaded(&mut self) {
        self.memory.closed.store(self.at, Ordering::Release);
    }
}

/// A segment of which a part is written before its beginning is: nobody reads it until [`AheadWriter::finish`].
#[derive(Debug)]
pub(crate) struct AheadWriter {
    writer: SegmentWriter,
    from: u64,
    to: u64,
}

impl AheadWriter {
    /// Leaves the first `from` bytes for later.
    ///
    /// # Panics
    /// If the segment has been begun.
    pub fn new(writer: SegmentWriter, from: u64) -> Self {
        assert!(writer.at == 0 && from <= writer.memory.size(), "nothing is written yet");
        Self { writer, from, to: from }
    }

    /// The memory that is written to.
    pub fn memory(&self) -> &Arc<SegmentMemory> {
        &self.writer.memory
    }

    /// The offset after what is written.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// Fills the next `len` bytes by `fill`, and shows them as they are then.
    ///
    /// # Panics
    /// If the segment has no room for them.
    pub fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> &[u8] {
        let end = self.to + len as u64;
        assert!(end <= self.writer.memory.size(), "a segment is written to its end and no further");
        // SAFETY: the range lies in the mapping, which is initialised memory, and above all that `share` has handed out; the
        // one writer is owned by this value, which is borrowed mutably here.
        let space =
            unsafe { std::slice::from_raw_parts_mut(self.writer.memory.map.as_mut_ptr().add(self.to as usize), len) };
        fill(space);
        self.to = end;
        space
    }

    /// What is written already, as shared bytes: for a write that outlives the call.
    ///
    /// # Panics
    /// If the range is not written.
    pub fn share(&self, range: Range<u64>) -> Bytes {
        assert!(self.from <= range.start && range.start <= range.end && range.end <= self.to, "only what is written");
        // these bytes are never written again: `append` goes on beyond them, `finish` writes before them
        Bytes::from_owner(SegmentSlice { memory: Arc::clone(&self.writer.memory), range })
    }

    /// Writes the beginning; the rest is published with it, and closed.
    ///
    /// # Panics
    /// If `front` is not as long as what was left for it.
    pub fn finish(mut self, front: &[u8]) -> SegmentWriter {
        assert!(front.len() as u64 == self.from, "the beginning ends where the rest begins");
        self.writer.append(front.len(), |space| space.copy_from_slice(front));
        self.writer.at = self.to;
        self.writer.memory.published.store(self.to, Ordering::Release);
        self.writer.close_loaded();
        self.writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_reads_back_and_frames_close_in_order() {
        let mut writer = SegmentWriter::new(1 << 16).unwrap();
        writer.skip(8);
        writer.append(5, |space| space.copy_from_slice(b"hello"));
        assert_eq!(&writer.memory().from(8).unwrap()[..5], b"hello");
        writer.close_frame(0, 8, |header, body| {
            assert_eq!(body, b"hello");
            header.copy_from_slice(b"headhead");
        });
        assert_eq!(writer.memory().closed_bytes(0..13), b"headheadhello");
        let shared = share_record(writer.memory(), 8..13);
        drop(writer);
        assert_eq!(&shared[..], b"hello", "shared bytes outlive the writer");
    }

    #[test]
    fn nobody_reads_what_is_not_published() {
        let writer = SegmentWriter::new(1 << 16).unwrap();
        assert!(writer.memory().from(0).is_none() && !writer.memory().has(0));
        assert!(SegmentMemory::nothing().from(0).is_none());
    }

    #[test]
    fn memory_is_written_again_only_by_who_is_alone_with_it() {
        let mut writer = SegmentWriter::new(1 << 16).unwrap();
        writer.append(8, |space| space.fill(7));
        writer.close_loaded();
        let held = share_closed(writer.memory(), 0..8);
        let memory = Arc::clone(writer.memory());
        drop(writer);
        let memory = SegmentWriter::again(memory).expect_err("somebody reads it");
        drop(held);
        let mut again = SegmentWriter::again(memory).unwrap();
        again.append(4, |space| space.fill(9));
        again.close_loaded();
        assert_eq!(again.padded(0..8), [9, 9, 9, 9, 7, 7, 7, 7]);
    }

    #[test]
    fn what_was_there_before_is_not_published() {
        let mut writer = SegmentWriter::new(1 << 16).unwrap();
        writer.append(8, |space| space.fill(7));
        let memory = Arc::clone(writer.memory());
        drop(writer);
        assert!(SegmentWriter::again(memory).unwrap().memory().from(0).is_none());
    }

    #[test]
    fn what_is_written_ahead_is_read_when_its_beginning_is_there() {
        let mut ahead = AheadWriter::new(SegmentWriter::new(1 << 16).unwrap(), 4);
        ahead.append(5, |space| space.copy_from_slice(b"hello"));
        let shared = ahead.share(4..9);
        let mut writer = ahead.finish(b"seg:");
        writer.append(1, |space| space.fill(b'!'));
        assert_eq!((&writer.memory().from(0).unwrap()[..10], &shared[..]), (&b"seg:hello!"[..], &b"hello"[..]));
    }

    #[test]
    fn prefaulting_beyond_the_end_is_harmless() {
        let writer = SegmentWriter::new(1 << 16).unwrap();
        writer.memory().prefault(0..1 << 30);
    }
}
