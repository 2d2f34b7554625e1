//! Compaction: what lives in a segment that is mostly dead is copied to the tail, in slices, until the segment can be
//! freed (C1, C2, C5, T1, T2).
//!
//! It is paid for in bytes of segments that are gone through. What clients append earns some, the more the larger the debt is; time
//! earns a little, and a turn in which nothing else happens a slice. Nothing is earned while the log is less than
//! `amplification_percent` of what lives in it, or takes three segments. Where little lives that may be many times as much: it is
//! what writes are spared for. So when few come, a small log is compacted further ([`Rest`], decision 0061).

use emberkv_index::Fingerprint;
use emberkv_log::disk::Disk;
use emberkv_log::failpoint::{self, Point};
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Candidate, Kind, LogPosition, Purpose, Record, Refusal, SegmentSequence, Shape, Victim};

use crate::databases::RESERVED;
use crate::evict::Shortage;
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;

/// A slice ends after so many records, each a look into the index and perhaps a copy. Chosen, not measured ...
const SLICE_RECORDS: u32 = 128;
/// ... or after so many copied bytes.
const SLICE_BYTES: u64 = 64 << 10;

/// So many records' index rows are asked for at once: their cache misses overlap.
const LOOK_AHEAD: usize = 16;

/// Slices of one turn at most: many clients' turn has earned many.
const SLICES_PER_TURN: u32 = 16;

/// What may be saved up.
const MAX_BUDGET: u64 = 1 << 20;

/// What a millisecond earns, so that a debt is paid off under a load of reads too.
const EARNED_PER_MS: u64 = 16 << 10;

/// How many segments of the data set's size a log may take whatever lives in it.
const FLOOR_SEGMENTS: u64 = 3;

/// A log is at rest when clients append no more than this in so long. With all that is copied for them then that is some megabytes
/// a second: little work, for memory that nobody else could use.
const REST_BYTES: u64 = 512 << 10;
const REST_MS: u64 = 500;

/// At rest a small log may have this part of the dead bytes that it may have otherwise.
const REST_FRACTION: u64 = 4;

/// A segment is worth emptying if it gives back one part in so many.
const MIN_GAIN: u64 = 16;
/// For a full compaction.
const MIN_GAIN_FULL: u64 = 64;

/// On a full disk: what is given back is what tombstones and new values may take then.
const MIN_GAIN_WHEN_FULL: u64 = 1024;

/// When nothing was found to do, how soon to look again.
const LOOK_AGAIN_MS: u64 = 100;

/// What compaction has done since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CompactionStats {
    /// Bytes of records that were copied.
    pub copied_bytes: u64,
    /// Segments that were emptied.
    pub freed_segments: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Compaction {
    pub(crate) victim: Option<Victim>,
    /// A full compaction goes through all segments up to this one.
    full: Option<SegmentSequence>,
    amplification_percent: u64,
    /// Bytes of victims that may be gone through.
    budget: u64,
    /// What an appended byte earns, in quarters.
    rate: u64,
    /// Where the tail was at the end of the last call, and when that was.
    seen: (LogPosition, u64),
    rest: Rest,
    /// When and behind which head nothing was found to do.
    found_nothing: Option<(u64, SegmentSequence)>,
    stats: CompactionStats,
}

/// Whether clients append so little that there is time for what is not worth it otherwise.
#[derive(Clone, Copy, Debug)]
struct Rest {
    since_ms: u64,
    appended: u64,
    is_at_rest: bool,
}

impl Rest {
    fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, appended: 0, is_at_rest: false }
    }

    fn note(&mut self, appended: u64, now_ms: u64) {
        self.appended += appended;
        if self.appended > REST_BYTES {
            *self = Self::new(now_ms);
        } else if now_ms.saturating_sub(self.since_ms) >= REST_MS {
            *self = Self { is_at_rest: true, ..Self::new(now_ms) };
        }
    }
}

/// What copies of so many bytes take, with the frames that they are in: one for the slices of a turn.
fn with_frames(bytes: u64) -> u64 {
    bytes + bytes / 1024 + 256
}

/// How a slice has ended.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Slice {
    /// There is more to do.
    More,
    /// All was judged.
    Emptied,
    /// A transaction has the next record's key.
    Locked,
    /// The log is preparing a segment, or takes nothing.
    Waits,
    /// The disk is full.
    NoRoom,
}

impl Slice {
    /// Why it could not append.
    pub fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSpace(_) => Self::NoRoom,
            Refusal::Wait | Refusal::NoMemory | Refusal::ReadOnly(_) => Self::Waits,
        }
    }
}

impl Compaction {
    pub fn new(tail: LogPosition, now_ms: u64) -> Self {
        Self {
            victim: None,
            full: None,
            amplification_percent: 150,
            budget: 0,
            rate: 0,
            seen: (tail, now_ms),
            rest: Rest::new(now_ms),
            found_nothing: None,
            stats: CompactionStats::default(),
        }
    }
}

impl<D: Disk> Partition<D> {
    /// How large the log may become, in percent of what lives in it.
    pub fn set_amplification(&mut self, percent: u64) {
        self.compaction.amplification_percent = percent.max(100);
        self.compaction.found_nothing = None;
    }

    /// Begins to compact all that there is. False if that is under way.
    pub fn begin_full_compaction(&mut self) -> bool {
        if self.compaction.full.is_some() || self.is_follower() {
            return false;
        }
        self.compaction.full = Some(self.log.head_sequence());
        self.compaction.found_nothing = None;
        true
    }

    /// Whether a full compaction is under way.
    pub fn is_compacting_fully(&self) -> bool {
        self.compaction.full.is_some()
    }

    /// What compaction has done since the start.
    pub fn compaction_stats(&self) -> CompactionStats {
        self.compaction.stats
    }

    /// Does what compaction has earned; once a turn. `is_idle`: nothing else was done in it. Returns whether more can
    /// be done at once.
    pub fn compact(&mut self, is_idle: bool) -> bool {
        if self.is_follower() {
            return false; // its primary does
        }
        let (tail, now_ms) = (self.log.tail(), self.now_ms);
        let (seen, seen_ms) = std::mem::replace(&mut self.compaction.seen, (tail, now_ms));
        let appended = tail.0.saturating_sub(seen.0);
        self.compaction.rest.note(appended, now_ms);
        self.log.set_resting(self.compaction.rest.is_at_rest);
        if self.compaction.victim.is_none() && !self.choose_victim() {
            self.compaction.budget = 0;
            return false;
        }
        let earned = appended * self.compaction.rate / 4 + now_ms.saturating_sub(seen_ms).min(16) * EARNED_PER_MS;
        let is_full = self.log.is_full() || self.eviction.shortage == Shortage::Now;
        let earned = match (is_full, is_idle) {
            (true, _) => earned.max(4 * SLICE_BYTES), // others wait for the room, or for memory
            (false, true) => earned.max(SLICE_BYTES),
            (false, false) => earned,
        };
        self.compaction.budget = (self.compaction.budget + earned).min(MAX_BUDGET);
        let mut goes_on = true;
        for _ in 0..SLICES_PER_TURN {
            if self.compaction.budget == 0 || !goes_on {
                break;
            }
            goes_on = self.compact_slice(SLICE_RECORDS);
        }
        // its own copies earn nothing
        self.compaction.seen.0 = self.log.tail();
        goes_on && (is_idle || is_full)
    }

    /// One slice of the victim, of so many records, whatever was earned. Returns whether there is more to do that nothing is in the way of.
    pub(crate) fn compact_slice(&mut self, records: u32) -> bool {
        let Some(mut victim) = self.compaction.victim.take() else { return self.choose_victim() };
        if !self.log.is_there(&victim) {
            return self.choose_victim(); // a flush was faster
        }
        match self.empty_some(&mut victim, records) {
            Slice::More => {
                self.compaction.victim = Some(victim);
                true
            }
            Slice::Emptied => {
                self.log.emptied(&victim);
                failpoint::pass(Point::CompactEmptied);
                self.compaction.stats.freed_segments += 1;
                tracing::debug!(sequence = victim.sequence().0, "compaction has emptied a segment");
                self.choose_victim()
            }
            Slice::NoRoom => {
                // it was chosen when there was more: is there one that fits?
                self.log.claim(0);
                self.compaction.found_nothing = None;
                self.choose_victim() && self.log.claimed() > 0
            }
            Slice::Locked if self.log.claimed() > 0 => {
                // the transaction may wait for room itself: it has to be told that there is none. chosen anew next turn
                self.log.claim(0);
                false
            }
            Slice::Locked | Slice::Waits => {
                self.compaction.victim = Some(victim);
                false
            }
        }
    }

    /// Chooses what to empty next, if anything: where the most is got for the least, older dead bytes counting for more, as
    /// what is young may die by itself (Rosenblum and Ousterhout's cost-benefit).
    fn choose_victim(&mut self) -> bool {
        let (now_ms, head) = (self.now_ms, self.log.head_sequence());
        if self.log.is_loading() && self.waits_for_load() {
            return false;
        }
        if let Some((ms, behind)) = self.compaction.found_nothing
            && behind == head
            && !self.is_short()
            && now_ms.wrapping_sub(ms) < LOOK_AGAIN_MS
        {
            return false;
        }
        let chosen = self.chosen();
        if chosen.is_none() {
            self.log.claim(0);
        }
        self.compaction.victim = chosen.and_then(|sequence| self.log.victim(sequence));
        if let Some(sequence) = chosen
            && self.compaction.victim.is_none()
        {
            // it is chosen again, or another one, when it is there
            if !self.log.is_loading() {
                self.log.begin_load(sequence);
            } else if !self.log.loads(sequence) {
                self.load_first(sequence);
            }
        }
        let nothing = chosen.is_none();
        if nothing && self.is_resting() {
            self.log.discard_spare_memory();
        }
        self.compaction.found_nothing = if nothing { Some((now_ms, head)) } else { None };
        if self.compaction.victim.is_some() {
            failpoint::pass(Point::CompactChosen);
        }
        self.compaction.victim.is_some()
    }

    /// What is given back is waited for.
    pub(crate) fn look_again(&mut self) {
        self.compaction.found_nothing = None;
    }

    fn is_short(&self) -> bool {
        self.eviction.shortage != Shortage::None
    }

    fn chosen(&mut self) -> Option<SegmentSequence> {
        self.eviction.judges = false;
        let candidates = self.log.candidates();
        if self.log.is_full() {
            return self.chosen_on_a_full_disk(&candidates);
        }
        self.log.claim(0);
        if self.is_short() {
            // four bytes for one before anybody waits
            self.compaction.rate = if self.eviction.shortage == Shortage::Soon { 16 } else { 40 };
            return self.chosen_for_memory();
        }
        if let Some(upto) = self.compaction.full {
            // in order of age: the oldest one's tombstones need not be moved
            let worth = |c: &&Candidate| c.sequence < upto && c.gain() * MIN_GAIN_FULL >= c.bytes;
            if let Some(next) = candidates.iter().find(worth) {
                self.compaction.rate = 4;
                return Some(next.sequence);
            }
            self.compaction.full = None;
            tracing::info!("full compaction has ended");
        }
        let debt = self.log.debt();
        let allowed = self.allowed_bytes(debt.live_bytes);
        let excess = debt.log_bytes.checked_sub(allowed).filter(|excess| *excess > 0)?;
        if self.is_resting() && self.log.has_large_head() {
            self.log.leave_large_head();
            if debt.log_bytes <= self.usually_allowed(debt.live_bytes) {
                return None; // copies go into small segments, and this one is soon a candidate
            }
        }
        // two bytes for one at first: what a victim that is half dead costs. up to ten when the log is twice what it may be
        self.compaction.rate = 8 + (32 * excess / allowed).min(32);
        let worth = candidates.iter().filter(|c| c.gain() * MIN_GAIN >= c.bytes);
        let best = worth.max_by_key(|c| {
            let benefit = u128::from(c.gain()) * u128::from(c.age);
            let read = if c.is_resident { 0 } else { c.bytes };
            (benefit / u128::from(c.bytes + c.cost + read), std::cmp::Reverse(c.sequence))
        });
        if let Some(best) = best {
            return Some(best.sequence);
        }
        // what is left to gain are tombstones and floors, which go when all older segments have gone
        candidates.first().filter(|oldest| oldest.is_oldest && self.log.any_hides()).map(|oldest| oldest.sequence)
    }

    /// Whether the log is small, and there is time to make it smaller.
    fn is_resting(&self) -> bool {
        self.compaction.rest.is_at_rest && self.log.fitting_size() < self.log.segment_size()
    }

    /// How many bytes the log may have that so many live in.
    fn allowed_bytes(&self, live_bytes: u64) -> u64 {
        if self.is_resting() {
            let dead = live_bytes / 100 * (self.compaction.amplification_percent - 100);
            return live_bytes + (dead / REST_FRACTION).max(self.log.fitting_size() / 2);
        }
        self.usually_allowed(live_bytes)
    }

    /// The same while clients write much.
    fn usually_allowed(&self, live_bytes: u64) -> u64 {
        let allowed = live_bytes / 100 * self.compaction.amplification_percent;
        allowed.max(FLOOR_SEGMENTS * self.log.segment_size())
    }

    /// What gives back most for its cost among those that fit into the room that is left.
    fn chosen_on_a_full_disk(&mut self, candidates: &[Candidate]) -> Option<SegmentSequence> {
        self.compaction.rate = 40;
        let room = self.log.compaction_room();
        let worth =
            candidates.iter().filter(|c| c.gain() * MIN_GAIN_WHEN_FULL >= c.bytes && with_frames(c.cost) <= room);
        let best = worth.max_by_key(|c| (u128::from(c.gain()) << 32) / u128::from(c.bytes + c.cost))?;
        self.log.claim(with_frames(best.cost));
        Some(best.sequence)
    }

    /// Judges the next records of the victim, and moves what is needed.
    fn empty_some(&mut self, victim: &mut Victim, records: u32) -> Slice {
        let begins = victim.place();
        let mut upto = None;
        let mut ended = self.judge_some(victim, records, &mut upto);
        if let Some(upto) = upto
            && let Err(stopped) = self.finish_evictions(victim, upto)
        {
            // what was copied is not looked at again, what was to be evicted is
            victim.go_back(begins);
            ended = stopped;
        }
        ended
    }

    /// The same, but for evictions, which are only collected; `upto` says where the last record ends that was judged.
    fn judge_some(&mut self, victim: &mut Victim, records: u32, upto: &mut Option<LogPosition>) -> Slice {
        let mut copied = 0;
        let mut ahead = [None; LOOK_AHEAD];
        for nth in (0..LOOK_AHEAD).cycle().take(records as usize) {
            if copied >= SLICE_BYTES {
                break;
            }
            if nth == 0 {
                let mut places = ahead.iter_mut();
                victim.look_ahead(LOOK_AHEAD, |record| {
                    let fingerprint = self.prefetch_physical(record.db(), record.key());
                    if let Some(place) = places.next() {
                        *place = Some(fingerprint);
                    }
                });
            }
            if !victim.seek() {
                return Slice::Emptied;
            }
            let record = victim.record();
            let len = record.encoded_len() as u64;
            let fingerprint = ahead[nth].unwrap_or_else(|| self.hasher.fingerprint(record.db(), record.key()));
            let moved = match record.kind() {
                kind if kind.is_put() => self.move_value(victim, record, fingerprint),
                Kind::Delete => self.move_tombstone(victim, record, fingerprint),
                // floors and aborts: the victim is the oldest segment (`Log::candidates`). a part's records are looked
                // at one by one, and the others are the log's own
                // (an `evicted` speaks of a segment that is gone, as this is the oldest)
                _ => Ok(0),
            };
            let moved = match moved {
                Ok(moved) => moved,
                Err(stopped) => return stopped,
            };
            copied += moved;
            self.compaction.budget = self.compaction.budget.saturating_sub(len);
            self.compaction.stats.copied_bytes += moved;
            *upto = Some(self.log.table().position(victim.address()).plus(len));
            victim.advance();
        }
        Slice::More
    }

    /// Copies the victim's value if it is its key's newest. Returns the bytes that were copied, or why it has to wait.
    fn move_value(&mut self, victim: &Victim, record: Record<'_>, fingerprint: Fingerprint) -> Result<u64, Slice> {
        let address = victim.address();
        // C5: a part that is not published yet lives, though the index does not know it; and what a transaction is about
        // to replace stays where it is
        if self.is_locked_against_compaction(&record) {
            return Err(Slice::Locked);
        }
        #[allow(unused_mut)]
        let mut found = self.index.find(fingerprint, |other| other == address);
        #[cfg(any(test, feature = "sim"))]
        if found.is_none() && plant::is(Plant::C1) {
            let table = self.log.table();
            let same = |other| table.record(other).key() == record.key() && table.record(other).db() == record.db();
            found = self.index.find(fingerprint, same);
        }
        let Some((slot, old)) = found else { return Ok(0) };
        // the segment may be out of memory again: the victim is its memory
        let shape = if old == address { Shape::of(&record) } else { Shape::of(&self.log.table().record(old)) };
        if self.log.table().position(address) < self.floor_of(&record) {
            // it was flushed, and the sweep has not come by yet
            self.index.remove(slot);
            self.log.table_mut().release(old, shape);
            if record.db() == RESERVED {
                self.dbs[usize::from(RESERVED.0)].remove(None); // a leaf, which the flush has not counted
            }
            return Ok(0);
        }
        if self.is_to_go(victim, &record, fingerprint, slot) {
            return self.evict(victim, record, fingerprint, slot).map(|()| 0);
        }
        self.reserve_copy(record.encoded_len() as u64)?;
        let copy = self.log.relocate(victim);
        self.index.replace(slot, copy.address);
        self.pass_by(slot);
        self.log.table_mut().release(old, shape);
        failpoint::pass(Point::CompactCopied);
        Ok(copy.len as u64)
    }

    /// Copies the victim's tombstone if it hides anything: an older segment exists (T1), and its key has no newer value, which
    /// would hide the same (T2).
    fn move_tombstone(&mut self, victim: &Victim, record: Record<'_>, fingerprint: Fingerprint) -> Result<u64, Slice> {
        let needed = !self.log.is_oldest(victim);
        #[cfg(any(test, feature = "sim"))]
        let needed = needed && !plant::is(Plant::T2Drop);
        if !needed {
            return Ok(0);
        }
        if self.is_locked_against_compaction(&record) {
            return Err(Slice::Locked);
        }
        if self.bring_to_judge(fingerprint) != Some(true) {
            return Err(Slice::Waits);
        }
        let absent = matches!(self.peek(Key { db: record.db(), bytes: record.key(), fingerprint }), Lookup::Absent);
        #[cfg(any(test, feature = "sim"))]
        let absent = absent || plant::is(Plant::T2);
        if !absent {
            return Ok(0);
        }
        self.reserve_copy(record.encoded_len() as u64)?;
        let copy = self.log.relocate(victim);
        failpoint::pass(Point::CompactTombstone);
        Ok(copy.len as u64)
    }

    /// On a full disk a victim that was chosen for it, and so fits, uses the segment that is kept for that (E3).
    fn reserve_copy(&mut self, len: u64) -> Result<(), Slice> {
        let claimed = self.log.claimed();
        let purpose = if claimed > 0 { Purpose::Compact } else { Purpose::Keep };
        self.log.reserve(len, purpose).map_err(Slice::refused)?;
        if claimed > 0 {
            self.log.claim(claimed.saturating_sub(len).max(1));
        }
        Ok(())
    }

    fn is_locked_against_compaction(&self, record: &emberkv_log::Record<'_>) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::C5) {
            return false;
        }
        self.is_locked(record.db(), record.key())
    }
}
