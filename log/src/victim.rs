//! What compaction asks of the log: which segments it may empty, their records one by one, and copies at the tail.

use std::sync::Arc;

use crate::address::{Address, AddressSplit, SegmentSequence, SegmentSlot};
use crate::disk::Disk;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::log::{Appended, Log};
use crate::memory::SegmentMemory;
use crate::record::{Kind, Record, copy_relocated};
use crate::segment::{Life, Residence, Segment};
use crate::tally::Shape;

/// How much of the log is needed, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Debt {
    /// All that was appended to segments that are not on their way out.
    pub log_bytes: u64,
    /// The records of it that the index refers to.
    pub live_bytes: u64,
}

impl Debt {
    /// The bytes that nothing refers to: dead records, tombstones, frames.
    pub fn dead_bytes(&self) -> u64 {
        self.log_bytes.saturating_sub(self.live_bytes)
    }
}

/// A segment that may be emptied: sealed, listed, wholly safe (C2).
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub sequence: SegmentSequence,
    /// What was appended to it.
    pub bytes: u64,
    /// What would have to be copied, at most.
    pub cost: u64,
    /// Bytes that were appended since it was begun.
    pub age: u64,
    /// Whether it is in memory: else it is to be loaded first.
    pub is_resident: bool,
    /// Whether there is no older segment that is not on its way out: its tombstones have nothing left to hide (T1).
    pub is_oldest: bool,
    /// Whether what lives in it can be copied: a record that is larger than a segment can't.
    pub is_movable: bool,
}

impl Candidate {
    /// The bytes that need not be copied.
    pub fn gain(&self) -> u64 {
        self.bytes.saturating_sub(self.cost)
    }
}

/// A segment that is being emptied, and how far that is. It goes through the records in their order.
#[derive(Debug)]
pub struct Victim {
    sequence: SegmentSequence,
    slot: SegmentSlot,
    split: AddressSplit,
    memory: Arc<SegmentMemory>,
    end: u64,
    cursor: Cursor,
}

/// A place between the records of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Offset of the next record, or of the next frame.
    pub at: u64,
    /// How many more records there are in this frame.
    pub left: u32,
}

/// See [`Victim::place`].
#[derive(Clone, Copy, Debug)]
pub struct Place(Cursor);

impl Cursor {
    /// Goes to the next record, if it is not there; false at the end.
    #[inline]
    pub fn seek(&mut self, bytes: &[u8]) -> bool {
        while self.left == 0 {
            let frame_at = frame_boundary(self.at);
            if frame_at >= bytes.len() as u64 {
                return false;
            }
            let Some(frame) = FrameHeader::peek(bytes, frame_at) else { return false };
            self.left = frame.records;
            // a filler has no records, and its body means nothing
            self.at = if frame.records == 0 { frame.end(frame_at) } else { frame_at + FRAME_HEADER_BYTES as u64 };
        }
        true
    }

    #[inline]
    pub fn record<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        match Record::decode(&bytes[self.at as usize..]) {
            Some(record) if self.left > 0 => record,
            _ => panic!("no record at offset {} of a segment that is being emptied", self.at),
        }
    }

    #[inline]
    pub fn advance(&mut self, record: Record<'_>) {
        self.at += record.encoded_len() as u64;
        self.left -= 1;
    }
}

impl Victim {
    fn bytes(&self) -> &[u8] {
        self.memory.closed_bytes(0..self.end)
    }

    /// Which segment it is.
    pub fn sequence(&self) -> SegmentSequence {
        self.sequence
    }

    /// Shows the next `count` records, as many as there are, to prepare for them.
    pub fn look_ahead(&self, count: usize, mut show: impl FnMut(Record<'_>)) {
        let (mut cursor, bytes) = (self.cursor, self.bytes());
        for _ in 0..count {
            if !cursor.seek(bytes) {
                return;
            }
            let record = cursor.record(bytes);
            show(record);
            cursor.advance(record);
        }
    }

    /// Goes to the next record, if it is not there; false at the end.
    pub fn seek(&mut self) -> bool {
        self.cursor.seek(self.memory.closed_bytes(0..self.end))
    }

    /// The record that [`Victim::seek`] has found.
    ///
    /// # Panics
    /// If it has found none.
    pub fn record(&self) -> Record<'_> {
        self.cursor.record(self.bytes())
    }

    /// A place between its records, to go back to.
    pub fn place(&self) -> Place {
        Place(self.cursor)
    }

    /// Goes back to a place.
    pub fn go_back(&mut self, place: Place) {
        self.cursor = place.0;
    }

    /// Whether it holds a record that is larger than a segment of the usual size, which can't be copied.
    pub fn is_oversize(&self) -> bool {
        self.memory.size() > self.split.segment_size()
    }

    /// Where that record is.
    pub fn address(&self) -> Address {
        self.split.address(self.slot, self.cursor.at)
    }

    /// Done with that record.
    pub fn advance(&mut self) {
        self.cursor.advance(self.cursor.record(self.memory.closed_bytes(0..self.end)));
    }
}

impl<D: Disk> Log<D> {
    /// How much of the log is needed.
    pub fn debt(&self) -> Debt {
        let kept = self.segments.iter().filter(|segment| matches!(segment.life, Life::Sealed { .. }));
        let log_bytes = kept.map(|segment| segment.end).sum::<u64>() + self.writer.at();
        Debt { log_bytes, live_bytes: self.table.live_bytes() }
    }

    /// The newest segment.
    pub fn head_sequence(&self) -> SegmentSequence {
        self.head().sequence()
    }

    /// The oldest segment that is not on its way out; `None` if it is the newest too.
    pub fn oldest_sequence(&self) -> Option<SegmentSequence> {
        let leaves = |life| matches!(life, Life::FreePendingSafe(..) | Life::FreePendingManifest(_));
        let oldest = self.segments.iter().find(|segment| !leaves(segment.life)).map(Segment::sequence);
        oldest.filter(|oldest| *oldest != self.head_sequence())
    }

    /// The bytes of a segment where much lives: the data set's size.
    pub fn segment_size(&self) -> u64 {
        self.table.split().segment_size()
    }

    /// The segments that compaction may empty, oldest first.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = self.evictable();
        candidates.retain(|candidate| candidate.is_movable);
        candidates
    }

    /// The same, and those with a record that can't be copied, but be evicted.
    pub fn evictable(&self) -> Vec<Candidate> {
        let (horizon, ordinary, tail) = (self.horizon.horizon(), self.segment_size(), self.tail());
        let candidate = |(at, segment): (usize, &Segment<D::File>)| {
            let safe = segment.life == (Life::Sealed { listed: true }) && horizon >= segment.safe_below;
            #[cfg(any(test, feature = "sim"))]
            let safe = safe || crate::plant::is(crate::plant::Plant::C2) && matches!(segment.life, Life::Sealed { .. });
            let needed = self.table.needed(segment.slot);
            let is_oldest = self.has_only_leaving_before(at);
            let cost = needed.live_bytes + if is_oldest { 0 } else { needed.tombstone_bytes };
            // floors and aborts are not moved: they wait until they are the oldest. a record that is larger than a segment
            // is not copied: it goes with its segment. and what needs nothing goes by itself
            let may_go = needed.floors == 0 || is_oldest;
            let is_movable = segment.size <= ordinary || cost <= ordinary / 2;
            let is_empty = needed.live_bytes == 0 && (is_oldest || !needed.hides());
            let readable = segment.residence != Residence::Unreadable;
            (safe && may_go && !is_empty && readable).then(|| Candidate {
                sequence: segment.sequence(),
                bytes: segment.end,
                cost,
                age: tail.0 - segment.base().0,
                is_resident: segment.residence.is_resident(),
                is_oldest,
                is_movable,
            })
        };
        self.segments.iter().enumerate().filter_map(candidate).collect()
    }

    /// Whether any sealed segment keeps tombstones, floors or aborts because an older one exists.
    pub fn any_hides(&self) -> bool {
        let sealed = self.segments.iter().skip(1).filter(|segment| matches!(segment.life, Life::Sealed { .. }));
        sealed.into_iter().any(|segment| self.table.needed(segment.slot).hides())
    }

    /// Begins to empty a candidate that is in memory; `None` if it is not. Its memory is kept for that, whatever happens to
    /// the segment.
    pub fn victim(&self, sequence: SegmentSequence) -> Option<Victim> {
        let mut segments = self.segments.iter();
        let segment = segments.find(|s| s.sequence() == sequence && s.residence.is_resident())?;
        Some(Victim {
            sequence,
            slot: segment.slot,
            split: self.table.split(),
            memory: Arc::clone(&segment.memory),
            end: segment.end,
            cursor: Cursor { at: SEGMENT_HEADER_BYTES, left: 0 },
        })
    }

    /// Whether a victim is still there to be emptied: a flush may have freed it.
    pub fn is_there(&self, victim: &Victim) -> bool {
        let mut segments = self.segments.iter();
        segments.any(|s| s.sequence() == victim.sequence && matches!(s.life, Life::Sealed { .. }))
    }

    /// Whether no segment is older than the victim that will not be gone when the victim is, so that its tombstones have nothing
    /// left to hide (T1).
    pub fn is_oldest(&self, victim: &Victim) -> bool {
        self.oldest_sequence() == Some(victim.sequence)
    }

    /// Segments whose `freed` was appended are dead and go in the order of those records, also at a start (`list_removals`): none
    /// outlives a segment that is freed later.
    fn has_only_leaving_before(&self, at: usize) -> bool {
        let leaves = |life| matches!(life, Life::FreePendingSafe(..) | Life::FreePendingManifest(_));
        self.segments[..at].iter().all(|segment| leaves(segment.life))
    }

    /// Appends a copy of the victim's record, flagged as one (C2). [`Log::reserve`] has found room for it. It counts as
    /// referred to.
    ///
    /// # Panics
    /// If it is not a value or a tombstone, or does not fit.
    pub fn relocate(&mut self, victim: &Victim) -> Appended {
        let record = victim.record();
        let len = record.encoded_len();
        let raw = victim.memory.closed_bytes(victim.cursor.at..victim.cursor.at + len as u64);
        let address = self.append_with(len, |space| copy_relocated(raw, space));
        match record.kind() {
            kind if kind.is_put() => self.table.retain(address, Shape::of(&record)),
            Kind::Delete => self.table.add_tombstone(address, len),
            other => panic!("{other:?} is not moved"),
        }
        Appended { address, len }
    }

    /// Appends a copy, flagged as one, of a record that was read from a segment that is not in memory. That is wholly safe, as
    /// a victim is (C2). [`Log::reserve`] has found room for it. It counts as referred to.
    ///
    /// # Panics
    /// If the record is not here, or does not fit.
    pub fn relocate_kept(&mut self, address: Address) -> Appended {
        let Some(raw) = self.table.kept().get(address).cloned() else { panic!("{address:?} is not kept") };
        let len = raw.len();
        let shape = self.table.kept_record(address).as_ref().map(Shape::of);
        let address = self.append_with(len, |space| copy_relocated(&raw, space));
        if let Some(shape) = shape {
            self.table.retain(address, shape);
        }
        Appended { address, len }
    }

    /// All records of the victim were judged and what is needed was moved: it may be freed.
    ///
    /// # Panics
    /// If the index still refers to one of them.
    pub fn emptied(&mut self, victim: &Victim) {
        assert_eq!(self.table.needed(victim.slot).live_bytes, 0, "all that lives was moved");
        self.table.forget_tombstones(victim.slot);
        self.dead.insert(victim.sequence);
        self.recheck_dead = true;
    }
}
