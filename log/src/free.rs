//! How a dead segment goes away (S4, T1, T4): nothing in it is needed, of itself or because compaction has moved the rest.

use std::sync::Arc;

use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::job::Job;
use crate::log::{Health, Log};
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::record::Entry;
use crate::room::Purpose;
use crate::segment::{Generation, Life, Next};

/// Segments are freed in bursts, as a sync and a manifest edit come between: the memory of some of one is kept for
/// what is written until the next, as much as so many of the data set's size have at most.
pub(crate) const SPARE_MEMORY: u64 = 4;

/// It is one part in so many of all that there is, and that of one segment at least.
const SEGMENTS_PER_SPARE: u64 = 8;

/// After so many seconds without a new head nobody waits for memory. Chosen, not measured.
const SPARE_MEMORY_TICKS: u8 = 10;

impl<D: Disk> Log<D> {
    /// Appends a `freed` record for each sealed segment that nothing needs any more.
    pub(crate) fn free_dead_segments(&mut self) {
        if self.is_follower() {
            return self.free_followed();
        }
        if self.table.any_emptied() {
            for slot in self.table.take_emptied() {
                if let Some(segment) = self.segments.iter().find(|segment| segment.slot == slot) {
                    self.dead.insert(segment.sequence());
                }
            }
            self.recheck_dead = true;
        }
        if !std::mem::take(&mut self.recheck_dead) || self.health != Health::Good {
            return;
        }
        for sequence in self.dead.clone() {
            let Some(at) = self.segments.iter().position(|segment| segment.sequence() == sequence) else {
                self.dead.remove(&sequence);
                continue;
            };
            match self.segments[at].life {
                // one that was made to measure for a large record may be all that the log takes on disk
                Life::Head if self.is_oversize_and_replaceable(at) => {
                    self.roll();
                    self.sync_soon = true;
                    continue;
                }
                Life::Head | Life::Sealed { listed: false } => continue, // asked again later
                Life::FreePendingSafe(..) | Life::FreePendingManifest(_) => {
                    self.dead.remove(&sequence);
                    continue;
                }
                Life::Sealed { listed: true } => {}
            }
            let needed = self.table.needed(self.segments[at].slot);
            if needed.live_bytes > 0 {
                self.dead.remove(&sequence);
                continue;
            }
            // an older segment exists until its removal is durable, and may hold what a tombstone here hides
            let tombstones_needed = needed.hides() && at > 0;
            #[cfg(any(test, feature = "sim"))]
            let tombstones_needed = tombstones_needed && !crate::plant::is(crate::plant::Plant::T1);
            if tombstones_needed {
                continue;
            }
            let until = self.horizon.next();
            let freed = Entry::Freed { sequence, until };
            if self.reserve(freed.encoded_len() as u64, Purpose::Free).is_err() {
                self.recheck_dead = true;
                return;
            }
            self.append(&freed);
            failpoint::pass(Point::FreedAppended);
            #[allow(unused_mut)]
            let mut safe_at = self.tail();
            #[cfg(any(test, feature = "sim"))]
            if crate::plant::is(crate::plant::Plant::S4) {
                safe_at = crate::LogPosition(0);
            }
            self.segments[at].life = Life::FreePendingSafe(safe_at, until);
            self.horizon.wait_for(until);
            self.dead.remove(&sequence);
            self.sync_soon = true;
            tracing::debug!(sequence = sequence.0, "segment is dead: to be freed once that is safe");
        }
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::S4) {
            self.after_sync();
        }
    }

    /// Has the memory unmapped of freed segments that no other thread reads any more, but for that in which the next ones
    /// can be written: what is overwritten all the time needs no new memory then.
    pub(crate) fn discard_left(&mut self) {
        let left = self.table.take_left().into_iter();
        let memory: Vec<_> = left.filter_map(|memory| self.keep_memory(memory)).collect();
        if !memory.is_empty() {
            self.discard(Job::Discard { files: Vec::new(), memory, cached: Vec::new() });
        }
    }

    /// Where memory has a bound, that of one segment of the data set's size is kept at most: it takes the place of data.
    pub fn set_memory_bounded(&mut self, is_bounded: bool) {
        self.most_spares = if is_bounded { 1 } else { SPARE_MEMORY };
    }

    /// Keeps memory for the next segment, or for those after it; gives back what is left over.
    fn keep_memory(&mut self, mut memory: Arc<SegmentMemory>) -> Option<Arc<SegmentMemory>> {
        if let Some(next) = self.next.prepared_mut()
            && next.prefaulted < next.size
            && next.size == memory.size()
        {
            match SegmentWriter::again(memory) {
                Ok(writer) => {
                    let untouched = std::mem::replace(&mut next.writer, writer);
                    next.prefaulted = next.size;
                    return Some(Arc::clone(untouched.memory()));
                }
                Err(shared) => memory = shared,
            }
        }
        let size = memory.size();
        let of_all = self.segments().1 / SEGMENTS_PER_SPARE;
        let wanted = of_all.min(self.most_spares * self.segment_size()).max(size);
        let kept = self.spare_memory.iter().map(|memory| memory.size()).sum::<u64>();
        if kept + size > wanted || size != self.fitting_size() {
            return Some(memory);
        }
        self.spare_memory.push(memory);
        None
    }

    /// Lets go of memory that is kept for the next segments, also of what has come since, when none was begun for some
    /// seconds. Once a second.
    pub(crate) fn discard_unwanted_memory(&mut self) {
        self.ticks_in_head = self.ticks_in_head.saturating_add(1);
        if self.ticks_in_head >= SPARE_MEMORY_TICKS {
            self.discard_kept_memory();
        }
    }

    /// Lets go of memory that is kept for those after the next.
    pub fn discard_spare_memory(&mut self) {
        let memory = std::mem::take(&mut self.spare_memory);
        if !memory.is_empty() {
            self.discard(Job::Discard { files: Vec::new(), memory, cached: Vec::new() });
        }
    }

    /// Lets go of all memory that is kept, at once.
    pub fn discard_kept_memory(&mut self) {
        let mut memory = std::mem::take(&mut self.spare_memory);
        if let Some(next) = self.next.prepared_mut()
            && next.prefaulted == next.size
            && let Ok(writer) = SegmentWriter::new(next.size)
        {
            memory.push(Arc::clone(next.writer.memory()));
            (next.writer, next.prefaulted) = (writer, 0);
        }
        if !memory.is_empty() {
            self.discard(Job::Discard { files: Vec::new(), memory, cached: Vec::new() });
        }
    }

    fn is_oversize_and_replaceable(&self, at: usize) -> bool {
        let segment = &self.segments[at];
        // what transactions hold has to fit into the head
        self.held == 0
            && self.table.needed(segment.slot).live_bytes == 0
            && matches!(&self.next, Next::Ready(next) if next.size < segment.size)
            && (segment.size > self.segment_size() || self.keeps_one())
    }

    /// Lets go of the segments that the manifest edit `durable`, which is durable now, has left out.
    pub(crate) fn finish_frees(&mut self, durable: Generation) {
        let mut at = 0;
        while at < self.segments.len() {
            if !matches!(self.segments[at].life, Life::FreePendingManifest(edit) if edit <= durable) {
                at += 1;
                continue;
            }
            failpoint::pass(Point::FreeListed);
            let segment = self.segments.remove(at);
            self.shipping.let_go(segment.sequence());
            self.is_shipping_stale = true;
            self.table.uninstall(segment.slot);
            self.forget_evictions(segment.sequence());
            self.recycle_file(segment.file_id, segment.size);
            drop(segment.memory);
            self.discard_left();
            // the tombstones of what is now the oldest have nothing left to hide
            if let Some(oldest) = self.segments.first() {
                self.dead.insert(oldest.sequence());
                self.recheck_dead = true;
            }
        }
    }
}
