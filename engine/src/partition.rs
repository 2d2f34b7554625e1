//! The partition: the room that log, index and expiry share.

use std::sync::Arc;

use emberkv_index::{Index, ScanCursor};
pub use emberkv_log::StartError as OpenError;
use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Log, LogPosition, Options, PartitionId, Progress, StartReport, Whose};

use crate::checkpoint::Saver;
use crate::chunks::Deal;
use crate::collections::{Compact, CompactSet, ListFill, Sweeper};
use crate::commands::BegunWalk;
use crate::compact::Compaction;
use crate::databases::Databases;
use crate::events::Events;
use crate::evict::Eviction;
use crate::expiry::Wheel;
use crate::flush::Sweep;
use crate::follow::Follower;
use crate::hash::KeyHasher;
use crate::locks::Locks;
use crate::overlay::Overlay;
use crate::published::Published;
use crate::replay::Replay;
use crate::serve::Served;
use crate::spill::Spill;
use crate::stats::{DbStats, Stats};
use crate::tracking::Tracking;
use crate::transact::Transactions;
use crate::waiters::Waiters;
use crate::watch::Watchers;

/// Limits that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many databases there are.
    pub databases: usize,
    /// The longest value, in bytes (`proto-max-bulk-len`).
    pub max_value_bytes: usize,
    /// Values of so many bytes and more are kept compressed; `usize::MAX` for none (`compress-values-from`).
    pub pack_from_bytes: usize,
    /// Up to which size redis would keep a hash in the simpler way (`hash-max-listpack-entries`, `hash-max-listpack-value`).
    pub compact_hash: Compact,
    /// The same for sorted sets (`zset-max-listpack-entries`, `zset-max-listpack-value`).
    pub compact_zset: Compact,
    /// Up to which size redis would keep a list as one listpack (`list-max-listpack-size`).
    pub list_fill: ListFill,
    /// The same for a set (`set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`).
    pub compact_set: CompactSet,
    /// Up to how many bytes a HyperLogLog is sparse (`hll-sparse-max-bytes`).
    pub hll_sparse_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            databases: 16,
            max_value_bytes: 512 << 20,
            pack_from_bytes: usize::MAX,
            compact_hash: Compact { entries: 512, value: 64 },
            compact_zset: Compact { entries: 128, value: 64 },
            list_fill: ListFill(-2),
            compact_set: CompactSet { integers: 512, listpack: Compact { entries: 128, value: 64 } },
            hll_sparse_max_bytes: 3000,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Partition<D: Disk> {
    pub(crate) log: Log<D>,
    pub(crate) index: Index,
    pub(crate) hasher: KeyHasher,
    pub(crate) wheel: Wheel,
    /// Up to where keys that came from a checkpoint were entered in it.
    pub(crate) unentered: Option<ScanCursor>,
    /// By physical number, as are the floors.
    pub(crate) dbs: Vec<DbStats>,
    pub(crate) databases: Databases,
    /// Records of a database that lie before this are gone (T4).
    pub(crate) floors: Vec<LogPosition>,
    pub(crate) sweep: Sweep,
    /// Leaves that belong to nobody.
    pub(crate) sweeper: Sweeper,
    /// A string that is being dealt out to chunks.
    pub(crate) deal: Option<Deal>,
    /// How many ids were given in this life.
    pub(crate) ids: u64,
    /// Indexes that were emptied: dropping a large one takes time, so another thread does it.
    pub(crate) dropped: Vec<Index>,
    /// What other threads know of it, once there is a reader.
    pub(crate) published: Option<Arc<Published>>,
    pub(crate) limits: Limits,
    /// How many partitions the data set has.
    pub(crate) partitions: u16,
    pub(crate) stats: Stats,
    /// The clock of this turn, in ms since 1970.
    pub(crate) now_ms: u64,
    /// The latest position that a reply since [`Partition::take_dependency`] depends on.
    pub(crate) depends: LogPosition,
    /// The end of the newest tombstone or floor: what a "no such key" depends on.
    pub(crate) last_delete: LogPosition,
    /// The state of [`Partition::next_random`].
    pub(crate) random: u64,
    /// Whose request is executed.
    pub(crate) whose: Whose,
    /// Where a value is copied that is appended again.
    pub(crate) scratch: Vec<u8>,
    /// Where a value is packed.
    pub(crate) packing: Vec<u8>,
    /// Who has which keys to himself. Empty but while a transaction over several partitions is under way.
    pub(crate) locks: Locks,
    pub(crate) transactions: Transactions,
    /// While commands of a transaction are executed: what they have changed so far.
    pub(crate) overlay: Option<Box<Overlay>>,
    pub(crate) watchers: Watchers,
    pub(crate) events: Events,
    pub(crate) tracking: Tracking,
    /// Clients that wait for elements, and the replies of those that have got one.
    pub(crate) waiters: Waiters,
    pub(crate) served: Vec<Served>,
    pub(crate) compaction: Compaction,
    pub(crate) saver: Saver,
    pub(crate) eviction: Eviction,
    /// KEYS that wait for records which are not in memory.
    pub(crate) walks: Vec<BegunWalk>,
    pub(crate) spill: Spill,
    /// It follows another partition.
    pub(crate) follower: Option<Box<Follower>>,
}

/// Opens the partitions of a data set: replays their logs. If there is no data set it is created, with so many
/// `partitions`; later their number is what it is.
///
/// # Errors
/// See [`OpenError`]; nothing was changed then.
pub fn open<D: Disk>(
    disk: Arc<D>,
    options: Options,
    limits: Limits,
    partitions: u16,
    progress: &Progress,
) -> Result<(Vec<Partition<D>>, StartReport), OpenError> {
    let now_ms = (options.now_ms)();
    let (logs, report) = emberkv_log::start(disk, options, partitions, progress, |_, seed| {
        Replay::new(limits, seed, now_ms).map_err(|error| error.to_string())
    })?;
    let count = logs.len() as u16;
    Ok((logs.into_iter().map(|(log, replay)| replay.finish(log, count)).collect(), report))
}

impl<D: Disk> Partition<D> {
    /// Which partition of the data set this is.
    pub fn id(&self) -> PartitionId {
        self.log.partition()
    }

    /// How many partitions the data set has.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The log below.
    pub fn log(&self) -> &Log<D> {
        &self.log
    }

    /// The log below, for its jobs and its ends of turns.
    pub fn log_mut(&mut self) -> &mut Log<D> {
        &mut self.log
    }

    /// The index, for what memory it has.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The index, to be given memory for its growth.
    pub fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Begins a turn: the time that it is for all its commands.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The position that the replies since the last call depend on: they may be sent when
    /// [`Log::gate`] has reached it.
    #[inline]
    pub fn take_dependency(&mut self) -> LogPosition {
        std::mem::take(&mut self.depends)
    }

    /// Changes the limits; the number of databases stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = Limits { databases: self.limits.databases, ..limits };
    }

    /// Counts of a database, as clients number it.
    pub fn db_stats(&self, db: DbId) -> DbStats {
        self.dbs[usize::from(self.databases.physical(db).0)]
    }

    /// Counts of the partition.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Resets what CONFIG RESETSTAT resets.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
        self.log.reset_cold_stats();
    }

    /// Indexes that a flush has replaced and that no reader is in any more: to be dropped by another thread.
    pub fn take_dropped(&mut self) -> Vec<Index> {
        self.dropped.extract_if(.., |index| index.is_unread()).collect()
    }

    /// Syncs and ends the log; see [`Log::close`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn close(self) -> std::io::Result<()> {
        self.log.close()
    }

    pub(crate) fn next_random(&mut self) -> u64 {
        // xorshift64*: for RANDOMKEY, nothing that needs to be secret
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
