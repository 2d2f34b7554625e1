//! Eviction: compaction that does not copy what nobody has read (T3, T5).
//!
//! While memory is short the oldest segment is emptied. What was read since it was written or passed by is copied to the tail, as
//! any survivor is, with less noted of its reads than before; the rest goes. So the log is the clock of the CLOCK algorithm and compaction
//! its hand. A slice's evictions are one record, not a tombstone for each key: `evicted(upto)` says that what still lived
//! before a position of the oldest segment is gone, which hides nothing in older segments, as there are none.

use emberkv_index::{Fingerprint, SlotRef};
use emberkv_log::disk::Disk;
use emberkv_log::failpoint::{self, Point};
use emberkv_log::{
    Address, Admission, Candidate, EVICTED_BYTES, LogPosition, Purpose, Record, SegmentSequence, Victim,
};

use emberkv_resp::schema::{CommandId, Flags};

use crate::collections::due_ms_of;
use crate::compact::Slice;
use crate::databases::RESERVED;
use crate::events::Cause;
use crate::history::History;
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;
use crate::visits::Visits;

/// Which keys go first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EvictionOrder {
    /// Those that were not read for longest.
    Lru,
    /// Those that were read least.
    Lfu,
    /// The oldest, read or not: at random as far as reads are.
    Random,
    /// Those that will expire soonest.
    Ttl,
}

/// What gives way when memory is short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvictionPolicy {
    /// Only keys that will expire.
    pub volatile_only: bool,
    /// And of those.
    pub order: EvictionOrder,
}

/// How short memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shortage {
    /// It is not.
    #[default]
    None,
    /// It will be soon: some is given back meanwhile.
    Soon,
    /// Writes that add data wait until some is given back.
    Now,
    /// There is nothing to be given back: they are refused.
    Hopeless,
}

/// While memory is short a segment is compacted, without a look at reads, if one part in so many of it is dead: that gives memory back
/// and nobody misses anything. Less, and much is copied for little.
const MIN_DEAD: u64 = 4;
/// The same where nothing can be evicted out of the oldest segment.
const MIN_DEAD_ALONE: u64 = 16;

/// So many segments on their way out at most: what is copied meanwhile takes memory, and they give it back only then.
const MAX_LEAVING: u64 = 4;

/// Keys that one slice evicts by the time when they will expire.
const NEAREST_PER_SLICE: usize = 128;

/// When to look again at what is on disk only.
const NOT_HERE_MS: u64 = 1000;

/// How many times the log is gone through without a key to evict before that is given up for the time being. The first may find only
/// keys that were read.
const FRUITLESS_PASSES: u32 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Eviction {
    policy: Option<EvictionPolicy>,
    pub visits: Visits,
    /// Whether the reads of whoever is served are not to be noted.
    is_untouched: bool,
    /// What is known of keys that have gone, and of those that were passed by; where it matters how often they were asked for.
    pub history: Option<Box<History>>,
    pub shortage: Shortage,
    /// Nothing was found that would give memory back.
    is_stuck: bool,
    /// Whether the victim's records are judged by their reads.
    pub judges: bool,
    /// This slice's evictions, out of the oldest segment.
    leaving: Vec<(Fingerprint, Address)>,
    /// The first segment that is not in this pass over the log; how many keys were evicted in it; how many before it were fruitless.
    pass: (u64, u64, u32),
}

/// Out of which segment records are evicted next.
enum Judged {
    /// There is nothing that may be evicted.
    Nothing,
    /// It may not be touched yet.
    Later,
    /// This one.
    Segment(SegmentSequence),
}

impl<D: Disk> Partition<D> {
    /// What gives way when memory is short; `None`: nothing.
    pub fn set_eviction(&mut self, policy: Option<EvictionPolicy>) {
        if self.eviction.policy == policy {
            return;
        }
        self.eviction.policy = policy;
        self.eviction.pass = (0, 0, 0);
        self.eviction.visits = match policy.map(|policy| policy.order) {
            Some(EvictionOrder::Lru) => Visits::Lately,
            Some(EvictionOrder::Lfu) => Visits::Often,
            Some(EvictionOrder::Random | EvictionOrder::Ttl) | None => Visits::Off,
        };
        let is_counted = self.eviction.visits == Visits::Often;
        self.eviction.history = is_counted.then(|| Box::new(History::new(self.index.len())));
        if let Some(published) = &self.published {
            published.set_visits(self.eviction.visits);
        }
        self.look_again();
    }

    /// Says how short memory is: what is given back, and what becomes of writes that add data.
    pub fn set_shortage(&mut self, shortage: Shortage) {
        if self.eviction.shortage == shortage {
            return;
        }
        self.eviction.shortage = shortage;
        if shortage == Shortage::None {
            (self.eviction.is_stuck, self.eviction.pass) = (false, (0, 0, 0));
        }
        self.look_again();
        self.log.admit(match shortage {
            Shortage::None | Shortage::Soon => Admission::Open,
            Shortage::Now => Admission::Waits,
            Shortage::Hopeless => Admission::Refused,
        });
    }

    /// Whether a command is refused for want of memory: those that may add data are, whatever they would do.
    #[inline]
    pub(crate) fn is_refused(&self, id: CommandId) -> bool {
        let is_full = self.spill.is_full || self.eviction.shortage == Shortage::Hopeless;
        is_full && id.command().flags.contains(Flags::DENYOOM)
    }

    /// Whether nothing was found lately that would give memory back.
    pub fn is_stuck(&self) -> bool {
        self.eviction.is_stuck
    }

    /// Whether what is read from now on is noted: not that of a client that has said CLIENT NO-TOUCH ON.
    #[inline]
    pub fn set_untouched(&mut self, is_untouched: bool) {
        self.eviction.is_untouched = is_untouched;
    }

    /// Notes a read of a key, if anybody asks for that.
    #[inline]
    pub(crate) fn visit(&mut self, slot: SlotRef) {
        if self.eviction.visits != Visits::Off && !self.eviction.is_untouched {
            self.note_visit(slot);
        }
    }

    /// TOUCH, which is noted whoever says it.
    pub(crate) fn count_touch(&mut self, key: Key<'_>, lookup: Lookup) {
        self.count_look(key, lookup);
        if let Some(found) = lookup.live() {
            self.note_visit(found.slot);
        }
    }

    /// Whether reads are counted (lfu).
    pub(crate) fn counts_reads(&self) -> bool {
        self.eviction.visits == Visits::Often
    }

    /// About how often a key was asked for; `None` if nobody counts.
    pub(crate) fn frequency(&self, key: Key<'_>, found: Found) -> Option<u8> {
        let history = self.eviction.history.as_ref()?;
        Some(history.count_with(key.fingerprint, self.index.visited(found.slot).unwrap_or(0)))
    }

    fn note_visit(&mut self, slot: SlotRef) {
        if let Some(visited) = self.index.visited(slot).and_then(|visited| self.eviction.visits.after_read(visited)) {
            self.index.set_visited(slot, visited);
        }
    }

    /// What to empty while memory is short: what is mostly dead, else the oldest, whose records are judged.
    pub(crate) fn chosen_for_memory(&mut self) -> Option<SegmentSequence> {
        self.eviction.judges = false;
        if self.log.leaving_bytes() >= MAX_LEAVING * self.log.segment_size() {
            return None; // it will be there soon
        }
        let candidates = self.log.evictable();
        let (judged, waits) = match self.judged(&candidates) {
            Judged::Nothing => (None, false),
            Judged::Later => (None, true),
            Judged::Segment(sequence) => (Some(sequence), false),
        };
        let min_dead = if judged.is_some() { MIN_DEAD } else { MIN_DEAD_ALONE };
        let movable = candidates.iter().filter(|c| c.is_movable && c.gain() * min_dead >= c.bytes);
        let best = movable.max_by_key(|c| (u128::from(c.gain()) << 32) / u128::from(c.bytes + c.cost));
        let chosen = best.map(|best| best.sequence).or_else(|| {
            self.eviction.judges = judged.is_some();
            if let Some(history) = &mut self.eviction.history {
                history.settle();
            }
            judged
        });
        let by_ttl = chosen.is_none() && self.is_by_ttl() && self.evict_nearest(NEAREST_PER_SLICE);
        // after a start from a checkpoint the wheel fills up by and by
        let waits = waits || self.is_by_ttl() && self.unentered.is_some();
        self.eviction.is_stuck = chosen.is_none() && !by_ttl && !waits && self.log.leaving_bytes() == 0;
        chosen
    }

    fn is_by_ttl(&self) -> bool {
        self.eviction.policy.is_some_and(|policy| policy.order == EvictionOrder::Ttl)
    }

    /// The segment that records are evicted out of next: the oldest, and no other, as the age of what was read lately is its place
    /// in the log.
    fn judged(&mut self, candidates: &[Candidate]) -> Judged {
        let policy = self.eviction.policy.filter(|policy| policy.order != EvictionOrder::Ttl);
        let (Some(policy), Some(oldest)) = (policy, self.log.oldest_sequence()) else { return Judged::Nothing };
        let volatile = policy.volatile_only;
        if !self.dbs.iter().any(|db| if volatile { db.expires > 0 } else { db.keys > 0 }) {
            return Judged::Nothing;
        }
        let mut found = candidates.iter().filter(|candidate| candidate.is_movable || !volatile);
        let next = match candidates.first() {
            // what can neither be copied nor evicted is in nobody's way
            Some(first) if first.sequence == oldest && volatile && !first.is_movable => found.next(),
            _ => found.find(|candidate| candidate.sequence == oldest),
        };
        // it is not safe yet, or on its way out
        let Some(next) = next.map(|next| next.sequence) else { return Judged::Later };
        let (until, evicted, fruitless) = self.eviction.pass;
        if next.0 >= until {
            let fruitless = if until > 0 && evicted == 0 { fruitless + 1 } else { 0 };
            if fruitless >= FRUITLESS_PASSES {
                return Judged::Nothing;
            }
            self.eviction.pass = (self.log.head_sequence().0 + 1, 0, fruitless);
        }
        Judged::Segment(next)
    }

    /// Whether a victim's record is not to be copied though it is its key's newest.
    pub(crate) fn is_to_go(
        &mut self,
        victim: &Victim,
        record: &Record<'_>,
        fingerprint: Fingerprint,
        slot: SlotRef,
    ) -> bool {
        let Some(policy) = self.eviction.policy.filter(|_| self.eviction.judges) else { return false };
        if record.db() == RESERVED {
            return false; // it is nobody's key
        }
        match record.expires_at_ms() {
            Some(ms) if ms <= self.now_ms => return true,
            None if policy.volatile_only => return false,
            _ => {}
        }
        match policy.order {
            EvictionOrder::Random | EvictionOrder::Ttl => true,
            EvictionOrder::Lru | EvictionOrder::Lfu => {
                // one that can't be copied has no second chance
                let is_too_large = victim.is_oversize() && record.encoded_len() as u64 > self.log.segment_size() / 2;
                let visited = self.index.visited(slot);
                is_too_large
                    || match (&mut self.eviction.history, visited) {
                        (Some(history), visited) => history.judge(fingerprint, visited.unwrap_or(1)),
                        (None, Some(visited)) => visited == 0,
                        (None, None) => Visits::is_unknown_to_go(),
                    }
            }
        }
    }

    /// A key was spared.
    pub(crate) fn pass_by(&mut self, slot: SlotRef) {
        if self.eviction.judges && self.index.visited(slot).is_some_and(|visited| visited > 0) {
            self.index.set_visited(slot, 0); // what it was is in the history, where there is one
        }
    }

    /// Evicts the victim's record: with others at the end of the slice, if the victim is the oldest segment, else with a tombstone.
    pub(crate) fn evict(
        &mut self,
        victim: &Victim,
        record: Record<'_>,
        fingerprint: Fingerprint,
        slot: SlotRef,
    ) -> Result<(), Slice> {
        let address = victim.address();
        if self.log.is_oldest(victim) {
            self.eviction.leaving.push((fingerprint, address));
            return Ok(());
        }
        let found = Found::of(slot, address, &record);
        self.evict_with_tombstone(Key { db: record.db(), bytes: record.key(), fingerprint }, found)
    }

    fn evict_with_tombstone(&mut self, key: Key<'_>, found: Found) -> Result<(), Slice> {
        let tombstone = key.bytes.len() as u64 + 12;
        self.log.reserve(tombstone, Purpose::Shrink).map_err(Slice::refused)?;
        let depends = self.depends;
        self.events.cause = self.cause_of_eviction(found.expires_at_ms);
        self.delete(key, found);
        self.depends = depends; // it is no command's effect
        self.count_evicted(found.expires_at_ms);
        failpoint::pass(Point::EvictTombstone);
        Ok(())
    }

    /// Of what has expired already it is not said that it had to give way.
    fn cause_of_eviction(&self, expires_at_ms: Option<u64>) -> Cause {
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) { Cause::Expiry } else { Cause::Eviction }
    }

    fn count_evicted(&mut self, expires_at_ms: Option<u64>) {
        self.eviction.pass.1 += 1;
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.stats.expired += 1;
        } else {
            self.stats.evicted += 1;
        }
    }

    /// Ends a slice of the oldest segment: the log says that what is to go has gone, and the index lets go of it. If there is no room
    /// for that nothing has happened.
    pub(crate) fn finish_evictions(&mut self, victim: &Victim, upto: LogPosition) -> Result<(), Slice> {
        if self.eviction.leaving.is_empty() {
            return Ok(());
        }
        let mut leaving = std::mem::take(&mut self.eviction.leaving);
        if let Err(refusal) = self.log.reserve(EVICTED_BYTES, Purpose::Shrink) {
            leaving.clear();
            self.eviction.leaving = leaving;
            return Err(Slice::refused(refusal));
        }
        self.log.append_evicted(victim, upto);
        failpoint::pass(Point::EvictSaid);
        self.note_delete(); // before an entry is cleared (D5)
        for (fingerprint, address) in leaving.drain(..) {
            let Some((slot, _)) = self.index.find(fingerprint, |other| other == address) else { continue };
            let record = self.log.table().record(address);
            let (db, expires_at_ms) = (record.db(), record.expires_at_ms());
            let found = Found::of(slot, address, &record);
            if !self.watchers.is_empty() | self.events.is_on | self.tracking.is_on {
                let key = record.key().to_vec();
                self.events.cause = self.cause_of_eviction(expires_at_ms);
                self.note_gone(Key { db, bytes: &key, fingerprint });
            }
            self.drop_entry(db, found);
            self.count_evicted(expires_at_ms);
        }
        self.eviction.leaving = leaving;
        failpoint::pass(Point::EvictDone);
        Ok(())
    }

    /// Evicts some of the keys that will expire soonest. False if there are none, or no room for a tombstone.
    pub(crate) fn evict_nearest(&mut self, limit: usize) -> bool {
        let mut left = limit;
        while left > 0 {
            let (nearest, until_ms) = self.wheel.take_nearest(left);
            if nearest.is_empty() {
                break;
            }
            for (i, &fingerprint) in nearest.iter().enumerate() {
                if self.evict_before(fingerprint, until_ms).is_err() {
                    self.wheel.put_back(nearest[i..].to_vec());
                    return left < limit || i > 0;
                }
            }
            left = left.saturating_sub(nearest.len());
        }
        left < limit
    }

    /// Evicts the keys of a fingerprint that expire before a time, and enters the others again.
    fn evict_before(&mut self, fingerprint: Fingerprint, until_ms: u64) -> Result<(), Slice> {
        loop {
            let table = self.log.table();
            let mut goes = None;
            let mut later = Vec::new();
            for (slot, address) in self.index.candidates(fingerprint) {
                if !table.is_here(address) {
                    later.push(until_ms + NOT_HERE_MS); // it takes no memory
                    continue;
                }
                let record = table.record(address);
                let Some(ms) = record.expires_at_ms() else {
                    // fields of it may expire
                    later.extend(Some(due_ms_of(record.value())).filter(|ms| *ms > 0));
                    continue;
                };
                let is_flushed = table.position(address) < self.floors[usize::from(record.db().0)];
                if ms > until_ms || is_flushed || self.is_locked(record.db(), record.key()) || goes.is_some() {
                    later.push(ms);
                } else {
                    let found = Found::of(slot, address, &record);
                    goes = Some((found, record.db(), record.key().to_vec()));
                }
            }
            let Some((found, db, key)) = goes else {
                later.iter().for_each(|ms| self.wheel.insert(fingerprint, *ms));
                return Ok(());
            };
            self.evict_with_tombstone(Key { db, bytes: &key, fingerprint }, found)?;
        }
    }
}
