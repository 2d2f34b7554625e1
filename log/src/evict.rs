//! Evictions out of the oldest segment (T5): what keeps their records, and how a start finds what they mean.
//!
//! ```text
//!   oldest segment                                          ...   tail
//!   | gone, copied or evicted | upto   not judged yet    |        ... copies | evicted(upto) | ...
//! ```

use std::sync::Arc;

use crate::address::{Address, LogPosition, SegmentSequence};
use crate::disk::Disk;
use crate::header::SEGMENT_HEADER_BYTES;
use crate::log::Log;
use crate::record::{Entry, Record};
use crate::recover::scan::Scanned;
use crate::table::SegmentTable;
use crate::victim::{Cursor, Victim};

/// Bytes that the record takes.
pub const EVICTED_BYTES: u64 = 15;

/// So many `evicted` records in one segment, about another one that still exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Evictions {
    /// The segment whose records are gone.
    pub of: SegmentSequence,
    /// Where that is said.
    pub in_: SegmentSequence,
    pub count: u64,
}

/// Notes one more.
pub(crate) fn note(all: &mut Vec<Evictions>, of: SegmentSequence, in_: SegmentSequence) {
    match all.last_mut() {
        Some(last) if last.of == of && last.in_ == in_ => last.count += 1,
        _ => all.push(Evictions { of, in_, count: 1 }),
    }
}

impl<D: Disk> Log<D> {
    /// Appends that what the victim's live records before `upto` have said is gone, unless a copy behind says it again. Room
    /// for [`EVICTED_BYTES`] was reserved. The index is to let go of them next.
    ///
    /// # Panics
    /// If the victim is not the oldest segment: an older one may hold what these records hide.
    pub fn append_evicted(&mut self, victim: &Victim, upto: LogPosition) {
        assert!(self.is_oldest(victim), "evictions of other segments leave a tombstone for each key");
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::T5) {
            return;
        }
        let address = self.append(&Entry::Evicted { upto }).address;
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::T5Keep) {
            return;
        }
        self.table.add_floor(address); // it stays as long as the victim exists
        let in_ = self.head().sequence();
        note(&mut self.evictions, victim.sequence(), in_);
    }

    /// A segment is gone: nothing needs to be said of it any more.
    pub(crate) fn forget_evictions(&mut self, of: SegmentSequence) {
        for gone in self.evictions.extract_if(.., |evictions| evictions.of == of) {
            if let Some(segment) = self.segments.iter().find(|segment| segment.sequence() == gone.in_) {
                self.table.remove_floors(segment.slot, gone.count);
                self.dead.insert(gone.in_);
                self.recheck_dead = true;
            }
        }
    }
}

/// How far a start has followed the evictions of one segment.
#[derive(Debug)]
pub(crate) struct Followed {
    segment: usize,
    cursor: Cursor,
}

/// The segment that an `evicted` record speaks of.
pub(crate) fn segment_of<F>(scanned: &[Scanned<F>], upto: LogPosition) -> Option<usize> {
    scanned.iter().position(|found| {
        let base = found.header.map(|header| header.base);
        base.is_some_and(|base| base < upto && upto <= base.plus(found.valid_end))
    })
}

/// Shows `evict` the records of a segment, which is in memory, that an `evicted` record speaks of and that none before it did.
pub(crate) fn follow<F>(
    followed: &mut Option<Followed>,
    segment: usize,
    found: &Scanned<F>,
    table: &mut SegmentTable,
    upto: LogPosition,
    mut evict: impl FnMut(&mut SegmentTable, Address, &Record<'_>),
) {
    let followed = match followed {
        Some(followed) if followed.segment == segment => followed,
        _ => followed.insert(Followed { segment, cursor: Cursor { at: SEGMENT_HEADER_BYTES, left: 0 } }),
    };
    let memory = Arc::clone(table.memory(found.entry.slot));
    let base = found.header.map_or(LogPosition(0), |header| header.base);
    let bytes = memory.closed_bytes(0..found.valid_end);
    while followed.cursor.seek(bytes) && base.plus(followed.cursor.at) < upto {
        let record = followed.cursor.record(bytes);
        let address = table.split().address(found.entry.slot, followed.cursor.at);
        evict(table, address, &record);
        followed.cursor.advance(record);
    }
}
