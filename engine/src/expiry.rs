//! When keys expire: a timing wheel of fingerprints.
//!
//! An entry is four bytes and says no more than "look at the keys with this fingerprint now". Every key with
//! an expiry has an entry at or before that time; what is found not to be due yet is entered again. So a
//! later expiry of a key, or none, costs nothing, and stale entries are harmless.
//!
//! ```text
//!  level 0: 64 slots of 16 ms    level 1: 64 of 1 s    level 2: 64 of 65 s   ...   level 5: 64 of 199 days
//! ```

use std::collections::VecDeque;

use emberkv_index::Fingerprint;
use emberkv_log::Record;
use emberkv_log::disk::Disk;

use crate::cold::COLD_STEP;
use crate::collections::due_ms_of;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// What one tick of the wheel is, in ms: how late a key may be removed that nobody asks for.
const TICK_MS: u64 = 16;
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
const LEVELS: u32 = 6;

/// Ticks that one call catches up on at most, after the clock has jumped.
const MAX_TICKS: u64 = 4096;

/// A jump of a day or more is not caught up with tick by tick: a machine whose clock begins in 1970 and is set later has thousands of
/// millions of ticks behind it, and the entries are fewer.
const LEAP_TICKS: u64 = 86_400_000 / TICK_MS;

/// Keys whose records are read at a time to be looked at.
const MAX_WAITING: usize = 16;

/// When a key is looked at again whose record can't be read, in ms.
const UNREADABLE_MS: u64 = 5_000;

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    /// The tick that comes next.
    next: u64,
    slots: Vec<Vec<Fingerprint>>,
    /// What is due, or to be entered again at a lower level.
    due: VecDeque<Vec<Fingerprint>>,
}

impl Wheel {
    /// An empty wheel that begins at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        let slots = vec![Vec::new(); (LEVELS * SLOTS as u32) as usize];
        Self { next: now_ms / TICK_MS, slots, due: VecDeque::new() }
    }

    /// Enters a key that expires at `at_ms`.
    pub fn insert(&mut self, fingerprint: Fingerprint, at_ms: u64) {
        // rounded up: at its tick the key is due
        let tick = at_ms.div_ceil(TICK_MS).max(self.next);
        let ahead = tick - self.next;
        let level = (ahead | 1).ilog2() / SLOT_BITS;
        let (level, tick) = if level < LEVELS {
            (level, tick)
        } else {
            // beyond the wheel (35 years): the last slot, to be looked at again when it comes round
            (LEVELS - 1, self.next + ((SLOTS - 1) << (SLOT_BITS * (LEVELS - 1))))
        };
        let slot = (tick >> (SLOT_BITS * level)) % SLOTS;
        let entries = &mut self.slots[(u64::from(level) * SLOTS + slot) as usize];
        // a key that is entered over and over again must not fill the memory
        if entries.len() == entries.capacity() && entries.len() >= 1024 {
            let mut recent = entries.split_off(entries.len() - 1024);
            recent.sort_unstable();
            recent.dedup();
            entries.append(&mut recent);
        }
        entries.push(fingerprint);
    }

    /// Moves on to `now_ms`; what came due is taken by [`Wheel::take_due`].
    pub fn advance(&mut self, now_ms: u64) {
        let now = now_ms / TICK_MS;
        if now + SLOTS < self.next || now > self.next + LEAP_TICKS {
            // the clock was set: every entry is looked at, and entered again by the new time
            self.due.extend(self.slots.iter_mut().map(std::mem::take).filter(|entries| !entries.is_empty()));
            self.next = now;
        }
        let now = now.min(self.next + MAX_TICKS);
        while self.next <= now {
            for level in 0..LEVELS {
                let shift = SLOT_BITS * level;
                if level > 0 && self.next & ((1 << shift) - 1) != 0 {
                    break;
                }
                let slot = u64::from(level) * SLOTS + ((self.next >> shift) % SLOTS);
                let entries = std::mem::take(&mut self.slots[slot as usize]);
                if !entries.is_empty() {
                    self.due.push_back(entries);
                }
            }
            self.next += 1;
        }
    }

    /// Whether [`Wheel::advance`] has to be called again for `now_ms`: the clock has jumped.
    fn is_behind(&self, now_ms: u64) -> bool {
        self.next <= now_ms / TICK_MS
    }

    /// Up to `limit` keys to look at; each is to be entered again if it is not due.
    pub fn take_due(&mut self, limit: usize) -> Vec<Fingerprint> {
        let Some(entries) = self.due.front_mut() else { return Vec::new() };
        let mut taken = entries.split_off(entries.len().saturating_sub(limit));
        if entries.is_empty() {
            self.due.pop_front();
        }
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// Takes up to `limit` keys of those that expire soonest, with the time by which they do, as far as is known: each that
    /// does not is to be entered again.
    pub fn take_nearest(&mut self, limit: usize) -> (Vec<Fingerprint>, u64) {
        if !self.due.is_empty() {
            return (self.take_due(limit), self.next * TICK_MS);
        }
        for level in 0..LEVELS {
            let shift = SLOT_BITS * level;
            let first = self.next >> shift;
            // the slot that the level stands in is one round ahead, but for the first level
            for turn in u64::from(level > 0)..=SLOTS {
                let slot = u64::from(level) * SLOTS + (first + turn) % SLOTS;
                let entries = &mut self.slots[slot as usize];
                if entries.is_empty() {
                    continue;
                }
                let mut taken = entries.split_off(entries.len().saturating_sub(limit));
                taken.sort_unstable();
                taken.dedup();
                return (taken, (((first + turn + 1) << shift) - 1) * TICK_MS);
            }
        }
        (Vec::new(), 0)
    }

    /// Puts back what could not be seen to.
    pub(crate) fn put_back(&mut self, fingerprints: Vec<Fingerprint>) {
        self.due.push_back(fingerprints);
    }

    /// Bytes of memory that the entries take.
    pub fn memory_bytes(&self) -> usize {
        let all = self.slots.iter().chain(&self.due);
        all.map(|entries| entries.capacity() * size_of::<Fingerprint>()).sum()
    }
}

impl<D: Disk> Partition<D> {
    /// Removes keys that have expired: looks at `limit` of those that are due. Returns whether more can be
    /// done at once: not when the log has no room for a tombstone now.
    pub fn expire(&mut self, limit: usize) -> bool {
        if self.is_follower() {
            return false; // its primary does
        }
        let enters = self.unentered.is_some() && self.enter_some(limit);
        self.expire_due(limit) || enters
    }

    /// Enters some of the keys that came from a checkpoint. Returns whether there are more.
    fn enter_some(&mut self, limit: usize) -> bool {
        let Some(cursor) = self.unentered else { return false };
        let mut limit = limit;
        if self.comes_back() {
            return false; // one by one they would take longer
        }
        if self.log.table().has_cold() {
            limit = limit.min(COLD_STEP);
            let expires = |partition: &Self, address| partition.log.table().may_expire(address);
            // what can't be read now is asked for again in a later turn
            if !matches!(self.bring_step(cursor, limit, expires), Ok(None)) {
                return false;
            }
        }
        let (table, wheel, hasher, now_ms) = (self.log.table(), &mut self.wheel, &self.hasher, self.now_ms);
        let mut due = Vec::new();
        self.unentered = self.index.scan(cursor, limit, |_, address| {
            // of what is not in memory, fields are removed when somebody asks for them
            if !table.may_expire(address) && !table.is_here(address) {
                return;
            }
            let record = table.record(address);
            match look_at_ms(&record).map(|ms| (ms, hasher.fingerprint(record.db(), record.key()))) {
                Some((ms, fingerprint)) if ms > now_ms => wheel.insert(fingerprint, ms),
                Some((_, fingerprint)) => due.push(fingerprint),
                None => {}
            }
        });
        if !due.is_empty() {
            self.wheel.put_back(due);
        }
        self.unentered.is_some()
    }

    fn expire_due(&mut self, limit: usize) -> bool {
        self.wheel.advance(self.now_ms);
        let due = self.wheel.take_due(limit);
        if due.is_empty() {
            return self.wheel.is_behind(self.now_ms);
        }
        let mut waiting = Vec::new();
        for (i, &fingerprint) in due.iter().enumerate() {
            match self.bring_to_judge(fingerprint) {
                Some(true) => {}
                Some(false) => {
                    waiting.push(fingerprint);
                    if waiting.len() < MAX_WAITING {
                        continue;
                    }
                    waiting.extend_from_slice(&due[i + 1..]);
                    break;
                }
                None => {
                    self.wheel.insert(fingerprint, self.now_ms + UNREADABLE_MS);
                    continue;
                }
            }
            if !self.expire_fingerprint(fingerprint) {
                waiting.extend_from_slice(&due[i..]);
                break;
            }
        }
        let all = waiting.is_empty();
        if !all {
            self.wheel.put_back(waiting);
        }
        all
    }

    /// Removes what has expired among the keys of a fingerprint and enters the others again. False if the
    /// log had no room for a tombstone.
    fn expire_fingerprint(&mut self, fingerprint: Fingerprint) -> bool {
        loop {
            let table = self.log.table();
            let mut expired = None;
            let mut later = Vec::new();
            for (slot, address) in self.index.candidates(fingerprint) {
                let record = table.record(address);
                let Some(ms) = look_at_ms(&record) else { continue };
                let is_fields = record.expires_at_ms().is_none_or(|ms| ms > self.now_ms);
                if ms > self.now_ms {
                    later.push(ms);
                } else if is_fields && table.position(address) < self.floors[usize::from(record.db().0)] {
                    // the floor has them
                } else if self.is_locked(record.db(), record.key()) {
                    // not now (C5): looked at again in the next tick
                    later.push(self.now_ms + TICK_MS);
                } else if expired.is_none() {
                    let found = Found::of(slot, address, &record);
                    expired = Some((found, record.db(), record.key().to_vec(), is_fields));
                }
            }
            let Some((found, db, key, is_fields)) = expired else {
                for ms in later {
                    self.wheel.insert(fingerprint, ms);
                }
                return true;
            };
            // the candidates' keys may differ from one another in fingerprint, but not in where they are found
            let key = Key { db, bytes: &key, fingerprint };
            if !is_fields {
                if !self.remove_expired(key, found) {
                    return false;
                }
                continue;
            }
            match self.remove_due(key, found) {
                Ok(()) => {}
                Err(Stop::Error(_)) => {
                    later.push(self.now_ms + UNREADABLE_MS);
                    later.iter().for_each(|ms| self.wheel.insert(fingerprint, *ms));
                    return true;
                }
                Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => return false,
            }
        }
    }
}

/// When a record is to be looked at: it expires then, or a field of it does.
fn look_at_ms(record: &Record<'_>) -> Option<u64> {
    let due_ms = Some(due_ms_of(record.value())).filter(|ms| *ms > 0);
    record.expires_at_ms().into_iter().chain(due_ms).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_by(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        while wheel.next <= now_ms / TICK_MS {
            wheel.advance(now_ms);
        }
        let mut all = Vec::new();
        loop {
            let taken = wheel.take_due(100);
            if taken.is_empty() {
                break all;
            }
            all.extend(taken.iter().map(|fingerprint| fingerprint.raw()));
        }
    }

    #[test]
    fn an_entry_comes_up_at_its_time_or_is_asked_about_before() {
        for ahead in [0, 1, 15, 16, 17, 1000, 1024, 5000, 70_000, 5_000_000, 400_000_000] {
            let mut wheel = Wheel::new(1_000_003);
            let at = 1_000_003 + ahead;
            wheel.insert(Fingerprint::from_raw(7), at);
            let mut now = 1_000_003;
            let mut asked = 0;
            loop {
                now += (at.saturating_sub(now) / 3).max(16);
                if !due_by(&mut wheel, now).is_empty() {
                    asked += 1;
                    if now >= at {
                        break;
                    }
                    wheel.insert(Fingerprint::from_raw(7), at);
                }
                assert!(now < at + 2 * TICK_MS || asked > 0, "{ahead} ms ahead: nothing by {now}");
                assert!(now < at + 100 * TICK_MS, "{ahead} ms ahead: never");
            }
            assert!(asked <= LEVELS, "{ahead} ms ahead: asked {asked} times");
        }
    }

    #[test]
    fn a_leap_of_any_length_is_caught_up_with_in_few_calls() {
        const DAY_MS: u64 = 86_400_000;
        for leap_ms in [DAY_MS, 40 * 365 * DAY_MS, u64::MAX / 4] {
            let mut wheel = Wheel::new(1_000_000);
            let times = [1_000_100, 1_000_000 + DAY_MS, 1_000_000 + leap_ms, 2_000_000 + leap_ms];
            for (nth, at) in times.into_iter().enumerate() {
                wheel.insert(Fingerprint::from_raw(nth as u32), at);
            }
            let now_ms = 1_000_000 + leap_ms;
            let calls = (1..).find(|_| {
                wheel.advance(now_ms);
                !wheel.is_behind(now_ms)
            });
            assert!(calls <= Some((LEAP_TICKS / MAX_TICKS + 2) as usize), "{leap_ms}: {calls:?}");
            let due = due_by(&mut wheel, now_ms);
            assert!([0, 1, 2].iter().all(|nth| due.contains(nth)), "{leap_ms}: {due:?}");
            if due.contains(&3) {
                wheel.insert(Fingerprint::from_raw(3), times[3]);
            }
            assert!(due_by(&mut wheel, times[3] + TICK_MS).contains(&3), "{leap_ms}");
        }
    }

    #[test]
    fn a_key_entered_again_and_again_takes_little_memory() {
        let mut wheel = Wheel::new(0);
        for _ in 0..1_000_000 {
            wheel.insert(Fingerprint::from_raw(7), 10_000_000);
        }
        assert!(wheel.memory_bytes() < 64 << 10, "{}", wheel.memory_bytes());
    }

    #[test]
    fn the_nearest_are_taken_first() {
        let mut wheel = Wheel::new(1_000_003);
        let ahead = [5_u64, 400, 900, 2_000, 30_000, 70_000, 3_000_000, 90_000_000, 40_000_000_000];
        for (i, ms) in ahead.iter().enumerate().rev() {
            wheel.insert(Fingerprint::from_raw(i as u32), 1_000_003 + ms);
        }
        for (i, ms) in ahead.iter().enumerate() {
            let (taken, until_ms) = wheel.take_nearest(10);
            assert_eq!(taken.iter().map(|fingerprint| fingerprint.raw()).collect::<Vec<_>>(), [i as u32]);
            assert!(until_ms >= 1_000_003 + ms && until_ms <= 1_000_003 + 3 * ms + 20_000, "{ms}: {until_ms}");
        }
        assert!(wheel.take_nearest(10).0.is_empty());
    }

    #[test]
    fn times_beyond_the_wheel_are_kept() {
        let mut wheel = Wheel::new(0);
        wheel.insert(Fingerprint::from_raw(1), u64::MAX);
        wheel.advance(100_000);
        assert!(wheel.take_due(10).is_empty());
        assert!(wheel.memory_bytes() > 0);
    }
}
