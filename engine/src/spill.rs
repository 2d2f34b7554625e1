//! `maxmemory-policy spill`: nothing is lost, but what is asked for least is not in memory (M3).
//!
//! Segments are let go of when memory is over its budget, first the one whose records were asked for least, of equals the
//! oldest. So that what is asked for lies together, and not strewn over all segments, a record that is read from the disk
//! for the second time within some while is appended anew, as compaction would do it: it is *promoted*. A scan reads each
//! record once, so it moves nothing.

use emberkv_log::disk::Disk;
use emberkv_log::{Address, Purpose, SegmentSequence, Shape};

use crate::partition::Partition;

/// Memory is looked at so often, and whenever there is a new head.
const LOOK_MS: u64 = 20;

/// So many segments leave at a time, so that a turn stays short.
const UNLOADS: usize = 16;

/// How often what was counted of each segment loses an eighth.
const AGE_MS: u64 = 1000;

/// Segments come back as long as this part of the budget is not used: less than all, or the next write would drive them
/// out again.
const COMES_BACK: (u64, u64) = (7, 8);

/// The longest pause between two segments that come back.
const MAX_PAUSE_MS: u64 = 1000;

/// What may be promoted in a turn, in bytes.
const SLICE_BYTES: usize = 64 << 10;

/// Addresses that wait to be promoted; more are forgotten.
const MAX_PROMOTED: usize = 1024;

/// The part of the budget that records take which were read from the disk, and its bounds.
const KEPT_PART: u64 = 32;
const KEPT_BYTES: (u64, u64) = (256 << 10, 64 << 20);

/// One remembered address for so much of the budget: as many as records of that size would fit into it.
const GHOST_BYTES: u64 = 512;
const GHOSTS: (u64, u64) = (1 << 10, 1 << 22);

/// Addresses that were read from the disk some time ago: each in the one place that its hash has, until another one comes.
#[derive(Debug, Default)]
struct Ghosts(Vec<u32>);

impl Ghosts {
    fn resize(&mut self, budget: u64) {
        let count = (budget / GHOST_BYTES).clamp(GHOSTS.0, GHOSTS.1).next_power_of_two() as usize;
        if self.0.len() != count {
            self.0 = vec![0; count];
        }
    }

    /// Whether the address was read before; if not it is remembered.
    fn know(&mut self, address: Address) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let hash = address.raw().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (at, mark) = (hash as usize >> 20 & (self.0.len() - 1), (hash >> 32) as u32 | 1);
        let known = self.0[at] == mark;
        self.0[at] = if known { 0 } else { mark };
        known
    }
}

/// What was moved between memory and disk since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SpillStats {
    /// Segments that were let go of.
    pub unloaded: u64,
    /// Segments that were read again as a whole, because there was room.
    pub loaded: u64,
    /// Records that were appended anew because they were read twice.
    pub promoted: u64,
    /// And their bytes.
    pub promoted_bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    /// Bytes that may be in memory. `None`: all that there are.
    budget: Option<u64>,
    /// What can't be let go of takes all of it.
    pub is_full: bool,
    ghosts: Ghosts,
    /// Records to be promoted.
    wanted: Vec<Address>,
    looked: Option<(u64, SegmentSequence)>,
    aged_ms: u64,
    /// What compaction wants in memory first.
    wants_first: Option<SegmentSequence>,
    /// When the load that is under way was begun, and when the next one may be.
    began_ms: Option<u64>,
    not_before_ms: u64,
    /// There was room, at the last look, for what is not in memory.
    comes_back: bool,
    stats: SpillStats,
}

impl<D: Disk> Partition<D> {
    /// How many bytes of the partition may be in memory; `None` for all of them.
    pub fn set_memory_budget(&mut self, budget: Option<u64>) {
        self.spill.budget = budget;
        self.spill.looked = None;
        self.spill.is_full = false;
        match budget {
            Some(budget) => self.spill.ghosts.resize(budget),
            None => self.spill.ghosts = Ghosts::default(),
        }
    }

    /// What was moved between memory and disk.
    pub fn spill_stats(&self) -> SpillStats {
        self.spill.stats
    }

    /// Bytes of memory that the partition takes: segments, records that were read from the disk, index, expiry.
    pub fn resident_bytes(&self) -> u64 {
        self.log.resident_bytes() + self.log.kept_bytes() + self.fixed_bytes()
    }

    /// What can't be let go of.
    fn fixed_bytes(&self) -> u64 {
        (self.index.memory_bytes() + self.wheel.memory_bytes()) as u64
    }

    /// A record has come from the disk.
    pub(crate) fn note_cold_read(&mut self, address: Address) {
        if self.spill.wanted.len() < MAX_PROMOTED && self.spill.ghosts.know(address) {
            self.spill.wanted.push(address);
        }
    }

    /// Moves a slice between memory and disk; once a turn. Returns whether there is more to do at once.
    pub fn spill(&mut self) -> bool {
        if self.spill.budget.is_none() && !self.log.table().has_cold() {
            return false;
        }
        if self.is_follower() {
            return false; // what comes is looked at together with what it replaces
        }
        self.promote();
        let (now_ms, head) = (self.now_ms, self.log.head_sequence());
        if self.spill.looked.is_some_and(|(ms, last)| last == head && now_ms.wrapping_sub(ms) < LOOK_MS) {
            return !self.spill.wanted.is_empty();
        }
        self.spill.looked = Some((now_ms, head));
        if now_ms.wrapping_sub(self.spill.aged_ms) >= AGE_MS {
            self.spill.aged_ms = now_ms;
            self.log.table_mut().age_uses();
        }
        self.fit_into_memory();
        !self.spill.wanted.is_empty()
    }

    fn fit_into_memory(&mut self) {
        let budget = self.spill.budget.unwrap_or(u64::MAX);
        self.spill.is_full = self.fixed_bytes() >= budget;
        self.log.shrink_kept((budget / KEPT_PART).clamp(KEPT_BYTES.0, KEPT_BYTES.1));
        let used = self.resident_bytes();
        let mut excess = used.saturating_sub(budget);
        if excess > 0 {
            let mut segments = self.log.unloadable();
            segments.sort_by_key(|segment| segment.uses);
            for segment in segments.into_iter().take(UNLOADS) {
                if excess == 0 {
                    break;
                }
                self.log.unload(segment.sequence);
                self.spill.stats.unloaded += 1;
                excess = excess.saturating_sub(segment.bytes);
            }
            return;
        }
        let free = (budget / COMES_BACK.1 * COMES_BACK.0).saturating_sub(used);
        let newest = self.log.newest_cold().filter(|(_, bytes)| *bytes <= free);
        self.spill.comes_back = newest.is_some() && self.log.may_load();
        if self.log.is_loading() {
            return;
        }
        // as long a pause as the load has taken: half a thread's time and half a disk's at most
        if let Some(began_ms) = self.spill.began_ms.take() {
            self.spill.not_before_ms = self.now_ms + self.now_ms.saturating_sub(began_ms).min(MAX_PAUSE_MS);
        }
        if let Some((newest, _)) = newest
            && self.now_ms >= self.spill.not_before_ms
            && self.log.may_load()
        {
            self.log.begin_load(self.spill.wants_first.take().unwrap_or(newest));
            self.spill.began_ms = Some(self.now_ms);
            self.spill.stats.loaded += 1;
        }
    }

    /// Compaction waits for this segment: it is the next one to be read.
    pub(crate) fn load_first(&mut self, sequence: SegmentSequence) {
        self.spill.wants_first = Some(sequence);
    }

    /// Whether compaction waits for a segment.
    pub(crate) fn waits_for_load(&self) -> bool {
        self.spill.wants_first.is_some()
    }

    /// Whether what is not in memory comes back by itself, as there is room: what is better done then is put off.
    pub(crate) fn comes_back(&self) -> bool {
        self.log.table().has_cold() && self.spill.comes_back
    }

    /// Appends records anew that were read twice, if they are what the index refers to now (C1).
    fn promote(&mut self) {
        let mut copied = 0;
        while copied < SLICE_BYTES
            && let Some(address) = self.spill.wanted.pop()
        {
            let table = self.log.table();
            // its segment has been freed or loaded meanwhile, or it was forgotten: it will be read again
            let Some(record) = table.kept_record(address) else { continue };
            let (shape, len, db) = (Shape::of(&record), record.encoded_len(), record.db());
            let fingerprint = self.hasher.fingerprint(db, record.key());
            let Some((slot, _)) = self.index.find(fingerprint, |other| other == address) else { continue };
            let is_flushed = table.position(address) < self.floor_of(&record);
            if is_flushed || self.is_locked(db, record.key()) || self.log.is_large(len) {
                continue;
            }
            if self.log.reserve(len as u64, Purpose::Grow).is_err() {
                self.spill.wanted.clear(); // nothing depends on it
                return;
            }
            let copy = self.log.relocate_kept(address);
            self.index.replace(slot, copy.address);
            self.log.table_mut().release(address, shape);
            copied += len;
            self.spill.stats.promoted += 1;
            self.spill.stats.promoted_bytes += len as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_the_second_time() {
        let mut ghosts = Ghosts::default();
        ghosts.resize(100 << 20);
        let addresses = || (1..1000).map(|i| Address::from_raw(i * 77));
        assert!(addresses().all(|address| !ghosts.know(address)));
        let known = addresses().filter(|address| ghosts.know(*address)).count();
        assert!(known > 990, "{known}");
        assert!(addresses().filter(|address| ghosts.know(*address)).count() < 10, "and then begins anew");
    }
}
