//! What a partition lets other threads know of itself, beside its index and its records (D4 to D6).

#[cfg(all(test, loom))]
use loom::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};

use emberkv_index::Fingerprint;
use emberkv_log::{DbId, LogPosition};

use crate::visits::Visits;

/// On a cache line of its own (two, as processors fetch pairs): it changes when its neighbours do not.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

/// A position that its owner stores and anybody loads.
#[derive(Debug)]
pub(crate) struct SharedPosition(Padded<AtomicU64>);

impl SharedPosition {
    pub fn new(position: LogPosition) -> Self {
        Self(Padded(AtomicU64::new(position.0)))
    }

    #[inline]
    pub fn load(&self) -> LogPosition {
        LogPosition(self.0.0.load(Acquire))
    }

    #[inline]
    pub fn store(&self, position: LogPosition) {
        self.0.0.store(position.0, Release);
    }
}

/// How many counters there are: so many that two keys in use seldom share one.
#[cfg(not(all(test, loom)))]
const COUNTERS: usize = 256;
/// Databases that may be swapped.
#[cfg(not(all(test, loom)))]
const DATABASES: u32 = 256;
/// For the models.
#[cfg(all(test, loom))]
const COUNTERS: usize = 2;
/// For the models.
#[cfg(all(test, loom))]
const DATABASES: u32 = 2;

/// How many writes are under way to the keys of each hash, and to any key at all (D6).
///
/// Raised before a write's message is published or a lock granted, lowered after the entry is: who finds zero finds in the
/// index what was written.
#[derive(Debug)]
pub(crate) struct WriteCounters {
    keys: Box<[AtomicU32]>,
    all: Padded<AtomicU32>,
}

impl WriteCounters {
    pub fn new() -> Self {
        Self { keys: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect(), all: Padded(AtomicU32::new(0)) }
    }

    #[inline]
    fn of(&self, fingerprint: Option<Fingerprint>) -> &AtomicU32 {
        match fingerprint {
            Some(fingerprint) => &self.keys[fingerprint.raw() as usize % COUNTERS],
            None => &self.all.0,
        }
    }

    /// `None` for a write to keys that are not known yet.
    #[inline]
    pub fn raise(&self, fingerprint: Option<Fingerprint>) {
        self.of(fingerprint).fetch_add(1, AcqRel);
    }

    /// # Panics
    /// If it was not raised before.
    #[inline]
    pub fn lower(&self, fingerprint: Option<Fingerprint>) {
        let before = self.of(fingerprint).fetch_sub(1, AcqRel);
        assert!(before > 0, "a write ends that has not begun");
    }

    /// Whether a write to this key may be under way. To be asked before the index is.
    #[inline]
    pub fn is_written(&self, fingerprint: Fingerprint) -> bool {
        self.of(Some(fingerprint)).load(Acquire) != 0 || self.of(None).load(Acquire) != 0
    }
}

/// Which database is which, for readers (D14). The version is odd while that changes.
#[derive(Debug)]
pub(crate) struct Swaps {
    version: Padded<AtomicU64>,
    physical: Box<[AtomicU32]>,
}

impl Swaps {
    pub fn new() -> Self {
        Self { version: Padded(AtomicU64::new(0)), physical: (0..DATABASES).map(AtomicU32::new).collect() }
    }

    /// The owner's map is another one from now on.
    pub fn publish(&self, physical: impl Fn(DbId) -> DbId) {
        self.begin();
        (0..=u8::MAX).map(DbId).for_each(|db| self.store(db, physical(db)));
        self.end();
    }

    /// The owner is about to change something.
    pub fn begin(&self) {
        self.version.0.fetch_add(1, AcqRel);
    }

    pub fn store(&self, db: DbId, physical: DbId) {
        if let Some(entry) = self.physical.get(usize::from(db.0)) {
            entry.store(physical.0.into(), Release);
        }
    }

    /// It has.
    pub fn end(&self) {
        self.version.0.fetch_add(1, AcqRel);
    }

    /// The physical number of a database, and what [`Swaps::is_still`] is to be asked once all has been read that it leads to.
    #[inline]
    pub fn physical(&self, db: DbId) -> (DbId, u64) {
        let version = self.version.0.load(Acquire);
        if version == 0 {
            return (db, version);
        }
        let physical = self.physical.get(usize::from(db.0)).map_or(db, |entry| DbId(entry.load(Acquire) as u8));
        (physical, version)
    }

    /// Whether nothing has changed since.
    #[inline]
    pub fn is_still(&self, version: u64) -> bool {
        version.is_multiple_of(2) && self.version.0.load(Acquire) == version
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Published {
    /// [`Log::gate`](emberkv_log::Log::gate) as of the last end of a turn (D4).
    pub gate: SharedPosition,
    /// The end of the newest tombstone or floor: stored before an entry is cleared for it (D5).
    pub last_delete: SharedPosition,
    /// By database: what lies before is gone (T4).
    floors: Box<[SharedPosition]>,
    pub writes: WriteCounters,
    /// How reads are noted: changed by CONFIG SET only.
    visits: std::sync::atomic::AtomicU8,
    pub swaps: Swaps,
}

impl Published {
    pub fn new(gate: LogPosition, last_delete: LogPosition, floors: &[LogPosition]) -> Self {
        Self {
            gate: SharedPosition::new(gate),
            last_delete: SharedPosition::new(last_delete),
            floors: floors.iter().map(|floor| SharedPosition::new(*floor)).collect(),
            writes: WriteCounters::new(),
            visits: std::sync::atomic::AtomicU8::new(Visits::Off as u8),
            swaps: Swaps::new(),
        }
    }

    /// How reads are noted.
    #[inline]
    pub fn visits(&self) -> Visits {
        Visits::from_bits(self.visits.load(std::sync::atomic::Ordering::Relaxed))
    }

    pub fn set_visits(&self, visits: Visits) {
        self.visits.store(visits as u8, std::sync::atomic::Ordering::Relaxed);
    }

    #[inline]
    pub fn floor(&self, db: DbId) -> &SharedPosition {
        &self.floors[usize::from(db.0)]
    }
}
