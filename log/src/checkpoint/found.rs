//! What a start believes of the checkpoints that it finds (K1, K3).

use std::collections::BTreeSet;

use crate::address::{Address, AddressSplit, LogPosition, PartitionId, SegmentSequence};
use crate::checkpoint::file::Meta;
use crate::checkpoint::life_of;
use crate::disk::Disk;
use crate::evict::Evictions;
use crate::manifest::{Manifest, Section, SegmentEntry};
use crate::recover::scan::Scanned;
use crate::table::{Needed, SegmentTable};
use crate::tally::{Tallies, Tally};

/// A checkpoint that a start may begin with, if the log agrees.
#[derive(Debug)]
pub(crate) struct Candidate<F> {
    pub name: String,
    pub file: F,
    pub meta: Meta,
}

/// Those of each partition, newest first.
pub(crate) type Candidates<F> = Vec<Vec<Candidate<F>>>;

/// One that is of no use: its file, and why.
pub(crate) type Refused = (String, String);

/// The partition and generation of a checkpoint of this name.
fn parse(name: &str) -> Option<(u16, u64)> {
    let (partition, generation) = name.strip_prefix("checkpoint-")?.split_once('-')?;
    Some((partition.parse().ok()?, generation.parse().ok()?))
}

/// Whether a file of this name is a checkpoint that was never published.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with("checkpoint-") && name.ends_with(".new")
}

/// Whether a file of this name is a checkpoint.
pub(crate) fn is_checkpoint(name: &str) -> bool {
    parse(name).is_some()
}

/// The checkpoints of each partition, newest first, and those that can't be read.
pub(crate) fn candidates<D: Disk>(
    disk: &D,
    names: &[String],
    manifest: &Manifest,
) -> (Candidates<D::File>, Vec<Refused>) {
    let mut found: Vec<Vec<_>> = manifest.sections.iter().map(|_| Vec::new()).collect();
    let mut refused = Vec::new();
    for name in names {
        let Some((partition, generation)) = parse(name) else { continue };
        let read = disk.open(name).map_err(|error| error.to_string()).and_then(|file| {
            let meta = Meta::read(disk, &file).map_err(|error| error.to_string())?;
            let expected = (manifest.dataset, partition, generation, manifest.split.segment_size());
            if (meta.dataset, meta.partition, meta.generation, meta.segment_size) != expected {
                return Err("it belongs elsewhere".to_owned());
            }
            Ok(Candidate { name: name.clone(), file, meta })
        });
        match (read, found.get_mut(usize::from(partition))) {
            (Ok(candidate), Some(found)) => found.push(candidate),
            (Ok(_), None) => refused.push((name.clone(), "there is no such partition".to_owned())),
            (Err(reason), _) => refused.push((name.clone(), reason)),
        }
    }
    for found in &mut found {
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.meta.generation));
    }
    (found, refused)
}

/// The generation that the next checkpoint of a partition has to exceed.
pub(crate) fn last_generation(names: &[String], partition: PartitionId) -> u64 {
    let of = names.iter().filter_map(|name| parse(name)).filter(|(p, _)| *p == partition.0);
    of.map(|(_, generation)| generation).max().unwrap_or(0)
}

/// No log with these segments was ever longer.
fn listed_end(section: &Section) -> LogPosition {
    let begun = |entry: &SegmentEntry| entry.extent.base().map(|base| base.0.saturating_add(entry.size));
    let last = section.segments.iter().filter_map(begun).max().unwrap_or(0);
    // those that were not begun when that was written follow
    let prepared = section.segments.iter().filter(|entry| entry.extent.base().is_none());
    LogPosition(prepared.fold(last, |end, entry| end.saturating_add(entry.size)))
}

impl<F> Candidate<F> {
    /// Up to where it shows that the log was durable: if it is of the life that the log has had there, and can have been so long.
    pub fn proves_durable(&self, section: &Section) -> Option<LogPosition> {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::K1) {
            return None;
        }
        let upto = self.meta.records_end();
        let life = life_of(&section.incarnations, upto)?;
        ((life.term, life.id) == self.meta.life && upto <= listed_end(section)).then_some(upto)
    }

    /// Why it must not be used with a log of these segments that ends at `tail`, if there is a reason.
    pub fn disagrees(&self, section: &Section, tail: LogPosition) -> Option<String> {
        let Meta { from, upto, .. } = self.meta;
        let beyond = upto > tail.0;
        #[cfg(any(test, feature = "sim"))]
        let beyond = beyond && !crate::plant::is(crate::plant::Plant::K1);
        if beyond {
            return Some(format!("it was taken at position {upto}, and the log ends at {}", tail.0));
        }
        if from > upto {
            return Some("its positions are impossible".to_owned());
        }
        let life = life_of(&section.incarnations, self.meta.records_end()).map(|life| (life.term, life.id));
        if life != Some(self.meta.life) {
            return Some("it is of another life of the log".to_owned());
        }
        None
    }

    /// Whether this segment is the one that the checkpoint has at its place.
    pub fn has(&self, entry: &SegmentEntry) -> bool {
        let base = entry.extent.base();
        let mut segments = self.meta.segments.iter();
        segments.any(|s| {
            (s.sequence, s.slot) == (entry.sequence.0, entry.slot.0) && base.is_none_or(|base| base.0 == s.base)
        })
    }

    /// Tells the table what was needed of a segment at P1, if it is the same.
    pub fn restore_counts(&self, entry: &SegmentEntry, table: &mut SegmentTable) {
        let Some(saved) = self.meta.segments.iter().find(|saved| saved.sequence == entry.sequence.0) else { return };
        if !self.has(entry) {
            return;
        }
        let (live_bytes, tombstone_bytes, floors) = (saved.live_bytes, saved.tombstone_bytes, saved.floors);
        let tally = |&(keys, expires, expiry_sum_ms): &(u64, u64, u128)| Tally { keys, expires, expiry_sum_ms };
        let tallies = Tallies(saved.tallies.iter().map(tally).collect());
        table.restore(entry.slot, Needed { live_bytes, tombstone_bytes, floors }, tallies);
    }

    /// The segments that were on their way out at P1: their `freed` lies before it, and is not replayed. A start that
    /// finished the removal of a later one only would leave behind what that hid (T5).
    pub fn freed(&self) -> BTreeSet<SegmentSequence> {
        let freed = self.meta.segments.iter().filter(|segment| segment.is_freed);
        freed.map(|segment| SegmentSequence(segment.sequence)).collect()
    }

    /// What was said before P1 of keys that were evicted from segments that are still there. What was said of others keeps
    /// nothing any more, and is taken out of the table's counts.
    pub fn restore_evictions<T>(&self, scanned: &[Scanned<T>], table: &mut SegmentTable) -> Vec<Evictions> {
        let find = |sequence| scanned.iter().map(|found| &found.entry).find(|entry| entry.sequence == sequence);
        let mut left = Vec::new();
        for &(of, in_, count) in &self.meta.evictions {
            let said = Evictions { of: SegmentSequence(of), in_: SegmentSequence(in_), count };
            match (find(said.of), find(said.in_)) {
                (Some(_), Some(_)) => left.push(said),
                (None, Some(entry)) => table.remove_floors(entry.slot, count),
                (_, None) => {}
            }
        }
        left
    }

    /// Which slots still hold what they held, if a log has these segments now (K3).
    pub fn slots_left<'a>(&self, split: AddressSplit, now: impl Iterator<Item = &'a SegmentEntry>) -> Vec<bool> {
        let mut left = Vec::new();
        for entry in now {
            let (first, count) = (entry.slot.0 as usize, entry.size.div_ceil(split.segment_size()) as usize);
            left.resize(left.len().max(first + count), false);
            let is_left = self.has(entry);
            #[cfg(any(test, feature = "sim"))]
            let is_left = is_left || crate::plant::is(crate::plant::Plant::K3);
            left[first..first + count].fill(is_left);
        }
        left
    }
}

/// The pages of a checkpoint, for whoever builds an index of them.
pub struct SavedPages<'a> {
    pub(crate) split: AddressSplit,
    pub(crate) slots_left: Vec<bool>,
    pub(crate) floors: &'a [u64],
    pub(crate) bytes: u64,
    /// Reads the next chunk in place of what is in the vector; false if there is none.
    pub(crate) chunks: &'a mut dyn FnMut(&mut Vec<u8>) -> Result<bool, String>,
}

impl SavedPages<'_> {
    /// The positions below which nothing exists, for each database.
    pub fn floors(&self) -> impl Iterator<Item = LogPosition> + '_ {
        self.floors.iter().map(|floor| LogPosition(*floor))
    }

    /// Bytes of all chunks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next chunk, as it was handed over, checked, in place of what is in `bytes`; false if there is none.
    ///
    /// # Errors
    /// If it can't be read, or is damaged.
    pub fn next_chunk(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        (self.chunks)(bytes)
    }

    /// Whether an address in a page still leads to what was there (K3).
    #[inline]
    pub fn is_there(&self, address: Address) -> bool {
        let (slot, _) = self.split.parts(address);
        self.slots_left.get(slot.0 as usize).copied().unwrap_or(false)
    }
}
