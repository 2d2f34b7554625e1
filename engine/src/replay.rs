//! From the log to the index: what a start does with each record.

use emberkv_index::{Index, IndexError, Loader, ScanCursor};
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Entry, Kind, Log, LogPosition, Record, SavedPages, SegmentTable, Shape, Whose};

use crate::checkpoint::Saver;
use crate::collections::{Sweeper, due_ms_of};
use crate::compact::Compaction;
use crate::databases::{Databases, MAP_KEY, RESERVED};
use crate::evict::Eviction;
use crate::expiry::Wheel;
use crate::flush::Sweep;
use crate::hash::KeyHasher;
use crate::locks::Locks;
use crate::lookup::TextBuf;
use crate::partition::{Limits, Partition};
use crate::spill::Spill;
use crate::stats::{DbStats, Stats};
use crate::transact::Transactions;

/// As many as a record can name.
const DATABASES: usize = 256;

/// The index as far as the log has been replayed.
pub(crate) struct Replay {
    index: Index,
    wheel: Wheel,
    /// Keys that came from a checkpoint are not in the wheel yet.
    unentered: Option<ScanCursor>,
    dbs: Vec<DbStats>,
    databases: Databases,
    floors: Vec<LogPosition>,
    sweep: Sweep,
    limits: Limits,
    hasher: KeyHasher,
    now_ms: u64,
}

impl Replay {
    /// `seed` is the data set's hash seed.
    pub fn new(limits: Limits, seed: u64, now_ms: u64) -> Result<Self, IndexError> {
        Ok(Self {
            hasher: KeyHasher::new(seed),
            index: Index::new()?,
            wheel: Wheel::new(now_ms),
            unentered: None,
            // dead records may be of any: only what lives has to have a database
            dbs: vec![DbStats::default(); DATABASES],
            databases: Databases::new(),
            floors: vec![LogPosition(0); DATABASES],
            sweep: Sweep::Done,
            limits,
            now_ms,
        })
    }

    /// The record that says which database is which.
    fn take_map(&mut self, record: &Record<'_>) -> Result<(), String> {
        if record.db() == RESERVED && record.key() == MAP_KEY {
            let mut text = TextBuf::default();
            let databases = Databases::from_bytes(text.text(record.value()));
            self.databases = databases.ok_or("the record of which database is which makes no sense")?;
        }
        Ok(())
    }

    /// The entry of a record's key, and whether its record lies below the floor.
    fn find(
        &self,
        fingerprint: emberkv_index::Fingerprint,
        table: &SegmentTable,
        record: &Record<'_>,
    ) -> Option<(emberkv_index::SlotRef, Address, Shape, bool)> {
        let mut hit = None;
        let found = self.index.find(fingerprint, |address| {
            let other = table.record(address);
            let same = other.key() == record.key() && other.db() == record.db();
            if same {
                hit = Some(Shape::of(&other));
            }
            same
        });
        let ((slot, address), shape) = (found?, hit?);
        let below = table.position(address) < self.floors[usize::from(record.db().0)];
        Some((slot, address, shape, below))
    }

    fn put(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), IndexError> {
        let fingerprint = self.hasher.fingerprint(record.db(), record.key());
        let expires_at_ms = record.expires_at_ms();
        table.retain(address, Shape::of(record));
        let mut old_expiry = None;
        let stats = usize::from(record.db().0);
        match self.find(fingerprint, table, record) {
            Some((slot, old, shape, below)) => {
                self.index.replace(slot, address);
                table.release(old, shape);
                if below {
                    self.dbs[stats].add(expires_at_ms);
                } else {
                    old_expiry = shape.expires_at_ms;
                    self.dbs[stats].set_expiry(old_expiry, expires_at_ms);
                }
            }
            None => {
                self.index.insert(fingerprint, address)?;
                self.dbs[stats].add(expires_at_ms);
            }
        }
        if let Some(ms) = expires_at_ms
            && old_expiry.is_none_or(|old| old > ms)
        {
            self.wheel.insert(fingerprint, ms);
        }
        let due_ms = due_ms_of(record.value());
        if due_ms > 0 {
            self.wheel.insert(fingerprint, due_ms);
        }
        Ok(())
    }

    fn delete(&mut self, table: &mut SegmentTable, record: &Record<'_>) {
        let fingerprint = self.hasher.fingerprint(record.db(), record.key());
        if let Some((slot, old, shape, below)) = self.find(fingerprint, table, record) {
            self.index.remove(slot);
            table.release(old, shape);
            if !below {
                self.dbs[usize::from(record.db().0)].remove(shape.expires_at_ms);
            }
        }
    }

    fn flush(&mut self, db: Option<DbId>, table: &mut SegmentTable, position: LogPosition) -> Result<(), IndexError> {
        let Some(db) = db else {
            self.index = Index::new()?;
            table.drop_below_floor(position);
            self.dbs.fill(DbStats::default());
            self.databases = Databases::new();
            self.wheel = Wheel::new(self.now_ms);
            self.unentered = None;
            self.sweep = Sweep::Done;
            return Ok(());
        };
        if let Some(floor) = self.floors.get_mut(usize::from(db.0)) {
            #[cfg(any(test, feature = "sim"))]
            let position = if plant::is(Plant::T4) { LogPosition(0) } else { position };
            *floor = position;
            self.dbs[usize::from(db.0)] = DbStats::default();
            self.sweep = Sweep::At(ScanCursor::START);
        }
        Ok(())
    }

    /// The partition, one of `partitions`, when all is replayed.
    pub fn finish<D: Disk>(self, log: Log<D>, partitions: u16) -> Partition<D> {
        // what a replay has brought back though its root is gone
        let has_leaves = self.dbs[usize::from(RESERVED.0)].keys > 0;
        let orphans = has_leaves.then_some(ScanCursor::START);
        Partition {
            sweeper: Sweeper { orphans, ..Sweeper::default() },
            deal: None,
            ids: 0,
            last_delete: LogPosition(0),
            random: log.dataset() | 1,
            overlay: None,
            watchers: crate::watch::Watchers::default(),
            events: crate::events::Events::default(),
            tracking: crate::tracking::Tracking::default(),
            waiters: crate::waiters::Waiters::default(),
            served: Vec::new(),
            compaction: Compaction::new(log.tail(), self.now_ms),
            eviction: Eviction::default(),
            log,
            index: self.index,
            hasher: self.hasher,
            wheel: self.wheel,
            unentered: self.unentered,
            dbs: self.dbs,
            databases: self.databases,
            floors: self.floors,
            sweep: self.sweep,
            dropped: Vec::new(),
            published: None,
            limits: self.limits,
            partitions,
            stats: Stats::default(),
            now_ms: self.now_ms,
            depends: LogPosition(0),
            whose: Whose::default(),
            scratch: Vec::new(),
            packing: Vec::new(),
            locks: Locks::new(),
            transactions: Transactions::default(),
            saver: Saver::new(),
            walks: Vec::new(),
            spill: Spill::default(),
            follower: None,
        }
    }
}

impl emberkv_log::Replay for Replay {
    fn apply(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), String> {
        match record.kind() {
            kind if kind.is_put() => {
                self.put(table, address, record).map_err(|error| error.to_string())?;
                self.take_map(record)?;
            }
            Kind::Delete => self.delete(table, record),
            Kind::Floor => {
                if let Some(Entry::Floor { db }) = record.entry() {
                    self.flush(db, table, table.position(address)).map_err(|error| error.to_string())?;
                }
            }
            // the log's own; of a part it hands on what is in it
            _ => {}
        }
        Ok(())
    }

    fn looks_at(&self, record: &Record<'_>, addresses: &mut Vec<Address>) {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::K8Replay) {
            return;
        }
        if record.kind().is_put() || record.kind() == Kind::Delete {
            let fingerprint = self.hasher.fingerprint(record.db(), record.key());
            addresses.extend(self.index.candidates(fingerprint).map(|(_, address)| address));
        }
    }

    fn is_its_own(&self, address: Address, record: &Record<'_>) -> bool {
        let fingerprint = self.hasher.fingerprint(record.db(), record.key());
        record.kind().is_put() && self.index.find(fingerprint, |other| other == address).is_some()
    }

    fn begins_with(&self, addresses: &mut Vec<Address>) {
        let fingerprint = self.hasher.fingerprint(RESERVED, MAP_KEY);
        addresses.extend(self.index.candidates(fingerprint).map(|(_, address)| address));
    }

    fn begin_with(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.take_map(record)
    }

    fn clear(&mut self) -> Result<(), String> {
        self.index = Index::new().map_err(|error| error.to_string())?;
        (self.wheel, self.unentered) = (Wheel::new(self.now_ms), None);
        self.dbs.fill(DbStats::default());
        self.databases = Databases::new();
        self.floors.fill(LogPosition(0));
        self.sweep = Sweep::Done;
        Ok(())
    }

    fn restore(&mut self, table: &SegmentTable, pages: &mut SavedPages<'_>) -> Result<(), String> {
        let mut loader = Loader::expecting(pages.bytes()).map_err(|error| error.to_string())?;
        let mut chunk = Vec::new();
        while pages.next_chunk(&mut chunk)? {
            loader.load(&chunk, |address| pages.is_there(address)).map_err(|error| error.to_string())?;
        }
        self.index = loader.finish(|address| pages.is_there(address)).map_err(|error| error.to_string())?;
        self.floors.iter_mut().zip(pages.floors()).for_each(|(floor, saved)| *floor = saved);
        let all = table.keys();
        let keys: u64 = all.iter().map(|tally| tally.keys).sum();
        let agrees = keys == self.index.len() as u64;
        #[cfg(any(test, feature = "sim"))]
        let agrees = agrees || plant::is(Plant::K3);
        if !agrees {
            return Err(format!("it counts {keys} keys, and {} are there", self.index.len()));
        }
        for (stats, tally) in self.dbs.iter_mut().zip(&all) {
            let (keys, expires, expiry_sum_ms) = (tally.keys, tally.expires, tally.expiry_sum_ms);
            *stats = DbStats { keys, expires, expiry_sum_ms };
        }
        // which keys expire is in their records, and of which fields do too
        if keys > 0 {
            self.unentered = Some(ScanCursor::START);
        }
        Ok(())
    }

    fn evict(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) {
        if !record.kind().is_put() {
            return;
        }
        let fingerprint = self.hasher.fingerprint(record.db(), record.key());
        let Some((slot, _)) = self.index.find(fingerprint, |other| other == address) else { return };
        self.index.remove(slot);
        table.release(address, Shape::of(record));
        let db = usize::from(record.db().0);
        if table.position(address) >= self.floors[db] {
            self.dbs[db].remove(record.expires_at_ms());
        }
    }

    fn check(&self) -> Result<(), String> {
        let databases = self.limits.databases;
        let physical = |db: usize| usize::from(self.databases.physical(DbId(db as u8)).0);
        let reserved = usize::from(RESERVED.0);
        match (databases..reserved).find(|&db| self.dbs[physical(db)].keys > 0) {
            None => Ok(()),
            Some(found) => Err(format!(
                "the log holds keys of database {found}, and there are only {databases}: raise 'databases'"
            )),
        }
    }
}
