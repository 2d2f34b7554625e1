//! FLUSHALL and FLUSHDB: a floor in the log, below which nothing exists (T4).

use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
use emberkv_log::failpoint::{self, Point};
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Entry, LogPosition, Purpose, Record, Shape};

use crate::cold::COLD_STEP;
use crate::collections::{LeafName, Sweeper};
use crate::databases::{Databases, RESERVED};
use crate::expiry::Wheel;
use crate::partition::Partition;
use crate::stats::DbStats;
use crate::stop::Stop;

/// The walk that takes a flushed database's entries out of the index, in slices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Sweep {
    /// There is nothing to take out.
    #[default]
    Done,
    /// To go on from here.
    At(ScanCursor),
}

impl<D: Disk> Partition<D> {
    /// Empties one database, or all.
    ///
    /// # Errors
    /// See [`Stop`].
    ///
    /// # Panics
    /// If the system has no memory for an empty index.
    pub(crate) fn flush(&mut self, db: Option<DbId>) -> Result<(), Stop> {
        if let Some(overlay) = &mut self.overlay {
            overlay.flush(db);
            self.invalidate_all();
            return Ok(());
        }
        let floor = self.floor(db);
        self.log.reserve(floor.encoded_len() as u64, Purpose::Free)?;
        let address = self.log.append(&floor).address;
        failpoint::pass(Point::FloorAppended);
        self.wait_for_write();
        self.note_delete();
        let Entry::Floor { db } = floor else { unreachable!("it is a floor") };
        self.apply_floor(db, address);
        Ok(())
    }

    /// What empties one database, or all: of the only one that has keys it is the same, and the latter is faster.
    pub(crate) fn floor(&self, db: Option<DbId>) -> Entry<'static> {
        let is_bare = self.databases == Databases::new();
        // the leaves of its own collections go with it
        let counts = |i: usize| i != usize::from(RESERVED.0) || !is_bare;
        let alone = db.is_none_or(|db| {
            let mut others = self.dbs.iter().enumerate().filter(|(i, _)| *i != usize::from(db.0) && counts(*i));
            others.all(|(_, stats)| stats.keys == 0)
        });
        Entry::Floor { db: if alone { None } else { db } }
    }

    /// What lies below the floor at `address` is gone.
    ///
    /// # Panics
    /// If the system has no memory for an empty index.
    pub(crate) fn apply_floor(&mut self, db: Option<DbId>, address: Address) {
        self.touch_watched(db);
        self.invalidate_all();
        if !self.waiters.is_empty() {
            // who reads for a group is told that it is gone
            let flushed = db.map(|db| self.databases.logical(db));
            self.waiters.note_all(|other| flushed.is_none_or(|db| db == other));
        }
        self.saver.flushed();
        let position = self.log.table().position(address);
        if let Some(db) = db {
            #[cfg(any(test, feature = "sim"))]
            let position = if plant::is(Plant::T4) { LogPosition(0) } else { position };
            self.floors[usize::from(db.0)] = position;
            if let Some(published) = &self.published {
                published.floor(db).store(position);
            }
            self.dbs[usize::from(db.0)] = DbStats::default();
            self.sweep = Sweep::At(ScanCursor::START);
            return;
        }
        // the map's record is gone with the others, and of databases that are empty it does not matter which is which
        #[cfg(any(test, feature = "sim"))]
        let databases = if plant::is(Plant::X8Flush) { self.databases.clone() } else { Databases::new() };
        #[cfg(not(any(test, feature = "sim")))]
        let databases = Databases::new();
        self.set_databases(databases);
        self.forget_before(position);
    }

    /// Forgets all that was ever said before a position.
    ///
    /// # Panics
    /// If the system has no memory for an empty index.
    fn forget_before(&mut self, position: LogPosition) {
        match self.index.take() {
            Ok(full) => self.dropped.push(full),
            Err(error) => panic!("{error}"),
        }
        self.log.table_mut().drop_below_floor(position);
        self.dbs.fill(DbStats::default());
        self.wheel = Wheel::new(self.now_ms);
        self.unentered = None;
        self.sweep = Sweep::Done;
        // a follower never knows that it has no leaves without a root
        let orphans = self.sweeper.orphans.filter(|_| self.is_follower());
        self.sweeper = Sweeper { orphans, ..Sweeper::default() };
    }

    /// Forgets all that was ever said.
    ///
    /// # Panics
    /// If the system has no memory for an empty index.
    pub(crate) fn forget_all(&mut self) {
        self.forget_before(self.log.tail());
        self.databases = Databases::new();
    }

    /// The floor that a record lies above, if anybody is to have it: of a leaf that of its collection's database.
    pub(crate) fn floor_of(&self, record: &Record<'_>) -> LogPosition {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O7) {
            return self.floors[usize::from(record.db().0)];
        }
        let db = LeafName::of(record.db(), record.key()).map_or(record.db(), |name| name.db);
        self.floors[usize::from(db.0)]
    }

    /// Takes some entries out of the index that nobody is to have: a flushed database's, and leaves without a root. Returns whether
    /// there are more.
    pub fn sweep(&mut self, limit: usize) -> bool {
        let flushed = self.sweep_flushed(limit);
        self.sweep_leaves(limit) || flushed
    }

    fn sweep_flushed(&mut self, limit: usize) -> bool {
        let Sweep::At(cursor) = self.sweep else { return false };
        let highest = self.floors.iter().copied().max().unwrap_or_default();
        let mut limit = limit;
        if self.log.table().has_cold() {
            limit = limit.min(COLD_STEP);
            let below = |partition: &Self, address| partition.log.table().position(address) < highest;
            // what can't be read now is asked for again in a later turn
            if !matches!(self.bring_step(cursor, limit, below), Ok(None)) {
                return false;
            }
        }
        let table = self.log.table();
        let mut gone = Vec::new();
        let next = self.index.scan(cursor, limit, |_, address| {
            if table.position(address) >= highest {
                return;
            }
            let record = table.record(address);
            if table.position(address) < self.floor_of(&record) {
                gone.push((address, Shape::of(&record), self.hasher.fingerprint(record.db(), record.key())));
            }
        });
        for (address, shape, fingerprint) in gone {
            if let Some((slot, _)) = self.index.find(fingerprint, |other| other == address) {
                self.index.remove(slot);
                self.log.table_mut().release(address, shape);
                if shape.db == RESERVED {
                    self.dbs[usize::from(RESERVED.0)].remove(None); // a leaf, which the flush has not counted
                }
            }
        }
        self.sweep = next.map_or(Sweep::Done, Sweep::At);
        self.sweep != Sweep::Done
    }
}
