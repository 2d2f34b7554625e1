//! Reads of a partition by other threads than its owner's, without a message (D2 to D6, D10, D11).
//!
//! Such a read never waits and never guesses: either it has found what the owner would answer, and that will survive a
//! crash at the policy's level, or it says that the owner is to be asked.

use std::sync::Arc;

use crossbeam_epoch::Guard;
use emberkv_index::{Fingerprint, Probe, Reader};
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Located, LogPosition, TableReader};

use crate::databases::Databases;
use crate::hash::KeyHasher;
use crate::partition::Partition;
use crate::published::Published;
use crate::visits::Visits;

/// Reads a partition that another thread owns. See [`Partition::reader`].
///
/// All is read under a guard of [`crossbeam_epoch::pin`], which must not be held over a system call (D12). What the caller has
/// to see to: no command of the same connection is on its way to that owner (D1).
#[derive(Clone, Debug)]
pub struct PartitionReader {
    index: Reader,
    table: TableReader,
    published: Arc<Published>,
    hasher: KeyHasher,
}

/// What a read without the owner has found.
#[derive(Clone, Copy, Debug)]
pub enum Foreign<'g> {
    /// The key exists, and this is its record: value, expiry.
    Value(Located<'g>),
    /// There is no such key.
    Nil,
    /// The owner has to be asked.
    Ask,
}

impl PartitionReader {
    /// The fingerprint of a key, by which it is read and counted.
    #[inline]
    pub fn fingerprint(&self, db: DbId, key: &[u8]) -> Fingerprint {
        self.hasher.fingerprint(db, key)
    }

    /// Asks for the index rows of a key that will be read soon.
    #[inline]
    pub fn prefetch_row(&self, guard: &Guard, db: DbId, key: &[u8]) -> Fingerprint {
        let fingerprint = self.fingerprint(db, key);
        self.index.prefetch(guard, fingerprint);
        fingerprint
    }

    /// Asks for the records that the key may have, once its rows are there. What this sees is a hint (D2).
    #[inline]
    pub fn prefetch_record(&self, guard: &Guard, fingerprint: Fingerprint) {
        self.index.candidates(guard, fingerprint, |address| self.table.prefetch(guard, address));
    }

    /// The value of a key at `now_ms`, the clock of all cores (D10).
    #[inline]
    pub fn get<'g>(&self, guard: &'g Guard, db: DbId, key: &[u8], now_ms: u64) -> Foreign<'g> {
        self.record(guard, db, key, self.fingerprint(db, key), now_ms, true)
    }

    /// The same with the work of hashing done. `is_read`: whether it is to be noted as a read.
    pub fn record<'g>(
        &self,
        guard: &'g Guard,
        db: DbId,
        key: &[u8],
        fingerprint: Fingerprint,
        now_ms: u64,
        is_read: bool,
    ) -> Foreign<'g> {
        // D6, before the index is looked at: when a write is over, its entry is there
        if self.published.writes.is_written(fingerprint) {
            return Foreign::Ask;
        }
        let (physical, version) = self.published.swaps.physical(db);
        let fingerprint = if physical == db { fingerprint } else { self.fingerprint(physical, key) };
        let db = physical;
        let mut hit = None;
        let probe = self.index.find(guard, fingerprint, |address| match self.table.find(guard, address) {
            Some(record) if record.key() != key || record.db() != db => false,
            // the key's, or not to be read here: a frame that is still open is beyond the gate
            found => {
                hit = found;
                true
            }
        });
        let answer = match (probe, hit) {
            (Probe::Hit(address), Some(record)) => {
                let found = self.judge(db, record, now_ms);
                if is_read && matches!(found, Foreign::Value(_)) {
                    self.visit(guard, fingerprint, address);
                }
                found
            }
            (Probe::Absent, _) => self.nil(),
            (Probe::Hit(_), None) | (Probe::Unsure, _) => Foreign::Ask,
        };
        // D14: it may be another database's by now
        if self.published.swaps.is_still(version) { answer } else { Foreign::Ask }
    }

    #[inline]
    fn judge<'g>(&self, db: DbId, record: Located<'g>, now_ms: u64) -> Foreign<'g> {
        // D4: who is told of it must not see it taken back. what a copy says was safe before (C2)
        let promised = record.end() <= self.published.gate.load() || record.is_relocated();
        #[cfg(any(test, feature = "sim"))]
        let promised = promised || plant::is(Plant::D4);
        // D3: an expiry is an effect, which is the owner's to write down (T3)
        let expired = record.expires_at_ms().is_some_and(|ms| ms <= now_ms);
        #[cfg(any(test, feature = "sim"))]
        let expired = expired && !plant::is(Plant::D3);
        if !promised || expired {
            return Foreign::Ask;
        }
        if record.position() < self.published.floor(db).load() {
            return self.nil();
        }
        Foreign::Value(record)
    }

    /// Notes a read, as the owner does, if anybody asks for that.
    #[inline]
    fn visit(&self, guard: &Guard, fingerprint: Fingerprint, address: Address) {
        let visits = self.published.visits();
        if visits != Visits::Off {
            self.index.visit(guard, fingerprint, address, |visited| visits.after_read(visited));
        }
    }

    /// D5: an absent key has no record to wait for, but the tombstone or floor that may have removed it.
    #[inline]
    fn nil(&self) -> Foreign<'static> {
        let promised = self.published.last_delete.load() <= self.published.gate.load();
        #[cfg(any(test, feature = "sim"))]
        let promised = promised || plant::is(Plant::D5);
        if promised { Foreign::Nil } else { Foreign::Ask }
    }

    /// A write is on its way to the owner (D6): until [`PartitionReader::end_write`] the key is read by message. To be
    /// called before the message can be seen; `None` if the keys are not known, or too many.
    #[inline]
    pub fn begin_write(&self, fingerprint: Option<Fingerprint>) {
        self.published.writes.raise(fingerprint);
    }

    /// The owner has executed it.
    ///
    /// # Panics
    /// If it has not begun.
    #[inline]
    pub fn end_write(&self, fingerprint: Option<Fingerprint>) {
        self.published.writes.lower(fingerprint);
    }
}

impl<D: Disk> Partition<D> {
    /// A handle by which other threads read this partition; it may be cloned, and may outlive the partition. From the first
    /// one on [`Partition::publish`] has to be called at the end of each turn.
    pub fn reader(&mut self) -> PartitionReader {
        let published = self
            .published
            .get_or_insert_with(|| Arc::new(Published::new(self.log.gate(), self.last_delete, &self.floors)));
        published.set_visits(self.eviction.visits);
        if self.databases != Databases::new() {
            published.swaps.publish(|db| self.databases.physical(db));
        }
        PartitionReader {
            published: Arc::clone(published),
            index: self.index.reader(),
            table: self.log.table_mut().reader(),
            hasher: self.hasher,
        }
    }

    /// Ends a turn for readers: what has reached the policy's level since is theirs to read (D4).
    #[inline]
    pub fn publish(&mut self) {
        self.tell_arrivals();
        if let Some(published) = &self.published {
            published.gate.store(self.log.gate());
        }
    }

    /// What was appended last removes keys: what is said of absent keys depends on it from now on. Called before an
    /// entry is cleared for it (D5).
    #[inline]
    pub(crate) fn note_delete(&mut self) {
        self.note_delete_before(self.log.tail());
    }

    /// The same for what was appended before `end`.
    #[inline]
    pub(crate) fn note_delete_before(&mut self, end: LogPosition) {
        self.last_delete = self.last_delete.max(end);
        if let Some(published) = &self.published {
            published.last_delete.store(self.last_delete);
        }
    }
}
