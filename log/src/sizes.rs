//! How large the next segment is: small where little lives, so that dead bytes take little beside it, and the data set's
//! size where there is much (decision 0061).

use crate::address::AddressSplit;
use crate::disk::Disk;
use crate::log::Log;
use crate::manifest::LEAST_SEGMENT;
use crate::segment::Next;
use crate::table::SegmentTable;

/// What lives in a log fills so many segments. Fewer, and the one that is being filled is a large part of the log; more, and there are
/// more files than that is worth.
const SEGMENTS: u64 = 8;

/// The manifest lists some 4,600 segments of all logs. Compaction lets a log have three of the data set's size whatever lives in it:
/// with this many of the smallest to a third of that they are 1,536 in all.
const SMALLEST_OF_ALL: u64 = 512;

/// What a segment takes beside copies of records that were in another one: its header and seal, what compaction leaves, and a frame
/// for the copies of each turn.
const BESIDE_BYTES: u64 = 2048;
const BESIDE_FRACTION: u64 = 256;

/// The sizes that a log's segments may have, powers of two. Only one that is made to measure for a large record has more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    least: u64,
    most: u64,
}

impl Sizes {
    /// Of a data set with so many partitions; `least` is wished for.
    pub fn new(least: u64, split: AddressSplit, partitions: usize) -> Self {
        let most = split.segment_size();
        let many = LEAST_SEGMENT.max(most.saturating_mul(partitions as u64) / SMALLEST_OF_ALL).next_power_of_two();
        Self { least: least.next_power_of_two().max(many).min(most), most }
    }

    /// The least size of a segment that holds the copies of one of `size` bytes, of which `needed` are to be copied. (One as large
    /// holds what was in it but for some frames, for which compaction has a part of the head.)
    pub fn holding(self, size: u64, needed: u64) -> u64 {
        let needed = needed.min(self.most);
        let copies = (needed + needed / BESIDE_FRACTION + BESIDE_BYTES).next_power_of_two();
        copies.min(size).clamp(self.least, self.most)
    }

    /// The same for the copies of any one segment. Not less than the head's: as it is, of which more may be needed later.
    pub fn holding_any(self, table: &SegmentTable) -> u64 {
        table.sizes().map(|(size, needed)| self.holding(size, needed)).max().unwrap_or(self.least)
    }

    /// What the next segment has where so much lives.
    pub fn fitting(self, live_bytes: u64) -> u64 {
        let below = (live_bytes / SEGMENTS).checked_ilog2().map_or(0, |bits| 1 << bits);
        below.clamp(self.least, self.most)
    }
}

impl<D: Disk> Log<D> {
    /// The bytes of the next segment, if it is begun now. At most [`Log::segment_size`].
    pub fn fitting_size(&self) -> u64 {
        if self.is_resting { self.sizes.fitting(self.table.live_bytes()) } else { self.segment_size() }
    }

    /// Says whether little is appended. While there is much, small segments would be full before those after them are made.
    pub fn set_resting(&mut self, is_resting: bool) {
        if std::mem::replace(&mut self.is_resting, is_resting) != is_resting && is_resting {
            self.refit();
        }
    }

    /// The size of a segment that holds the copies of the head, as it is.
    pub(crate) fn holding_head(&self) -> u64 {
        self.sizes.holding(self.head().size, self.needed_in_head())
    }

    /// The size of a spare file that is kept for compaction: it holds the copies of any segment (E3).
    pub(crate) fn spare_size(&self) -> u64 {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::E3Size) {
            return self.fitting_size();
        }
        self.fitting_size().max(self.most_sealed).max(self.holding_head())
    }

    fn needed_in_head(&self) -> u64 {
        self.table.needed(self.head().slot).bytes()
    }

    /// Gives up what was made ahead for a log that was larger. Once a second.
    pub(crate) fn refit(&mut self) {
        if self.is_follower() || self.is_full() {
            return;
        }
        self.most_sealed = self.sizes.holding_any(&self.table); // less than when the head was begun
        let (fitting, kept) = (self.fitting_size(), self.spare_size());
        let large: Vec<_> = self.spare_files.extract_if(.., |(_, size)| *size > kept).collect();
        large.into_iter().for_each(|(file, _)| self.discard_file(file));
        // one that was made to measure is waited for
        if matches!(&self.next, Next::Ready(next) if next.size > fitting) && self.wanted_size == 0 {
            self.drop_next();
            self.prepare_next();
        }
        self.prepare_spare();
        self.update_limits();
    }

    /// Whether the head is larger than a segment that is begun now.
    pub fn has_large_head(&self) -> bool {
        self.head().size > self.fitting_size()
    }

    /// Ends the head if the next one is smaller, so that it can be compacted.
    pub fn leave_large_head(&mut self) {
        let is_smaller = matches!(&self.next, Next::Ready(next) if next.size < self.head().size);
        if is_smaller && self.is_free_to_roll() {
            self.roll();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sizes(partitions: usize) -> Sizes {
        Sizes::new(4 * MIB, AddressSplit::for_segment_size(64 * MIB).unwrap(), partitions)
    }

    #[test]
    fn the_copies_of_a_segment_fit_into_one_that_holds_them() {
        let holding = |size: u64, needed: u64| sizes(1).holding(size, needed) / MIB;
        assert_eq!(holding(64 * MIB, 0), 4);
        assert_eq!(holding(64 * MIB, 3 * MIB), 4);
        assert_eq!(holding(64 * MIB, 4 * MIB), 8, "frames take some too");
        assert_eq!(holding(4 * MIB, 4 * MIB - 100), 4, "what was in one of this size is in one again");
        assert_eq!(holding(64 * MIB, 64 * MIB - 100), 64);
        assert_eq!(holding(1 << 40, 1 << 40), 64);
    }

    #[test]
    fn where_there_are_many_logs_small_segments_would_be_too_many() {
        let least = |partitions| sizes(partitions).holding(0, 0) / MIB;
        assert_eq!([1, 32, 64, 256, 512, 4000].map(least), [4, 4, 8, 32, 64, 64]);
        assert_eq!(Sizes::new(4 * MIB, AddressSplit::for_segment_size(MIB).unwrap(), 1).holding(0, 0), MIB);
    }
}
