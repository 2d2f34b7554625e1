//! What INFO tells of one core, for the core that was asked.

use bytes::Bytes;
use emberkv_engine::{CheckpointStats, CompactionStats, DbStats, Memory, SpillStats, Stats};
use emberkv_log::{ColdStats, DbId, Debt, Unread};
use emberkv_resp::schema::CommandId;

use crate::core::Kind;
use crate::core::connection::Connection;
use crate::core::shard::{Data, Shard};
use crate::meter::{Errors, Row};
use crate::process;
use crate::stats::{Rates, ServerStats};

/// What INFO tells of one core.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub core: u16,
    pub clients: usize,
    /// What they take.
    pub client_bytes: u64,
    pub longest_input: usize,
    pub longest_output: usize,
    pub waiting: usize,
    /// Clients that wait for elements, but not for ever, and keys at which somebody waits.
    pub in_timeout_table: usize,
    pub awaited_keys: usize,
    pub stats: ServerStats,
    pub rates: Rates,
    pub errors: Errors,
    /// Channels, patterns and shard channels.
    pub names: [Vec<Bytes>; Kind::ALL.len()],
    pub listening: usize,
    pub commands: Vec<(CommandId, Row)>,
    /// What is at other cores.
    pub away: usize,
    pub busy_ms: u64,
    /// How many connections track, and by which prefixes some of them.
    pub tracking: usize,
    pub prefixes: Vec<Bytes>,
    /// Of how many keys readers are remembered, and how many.
    pub tracked: (usize, usize),
    /// When it told.
    pub now_ms: u64,
    /// `None`: they are being loaded.
    pub partitions: Option<Vec<PartitionSnapshot>>,
}

/// And of one partition.
#[derive(Debug)]
pub(crate) struct PartitionSnapshot {
    pub number: u16,
    pub stats: Stats,
    pub dbs: Vec<DbStats>,
    pub memory: Memory,
    pub live_bytes: u64,
    pub segments: usize,
    pub log_bytes: u64,
    pub tail: u64,
    pub written: u64,
    pub synced: u64,
    /// For how long the oldest record has waited to be synced.
    pub sync_lag_ms: u64,
    pub is_read_only: bool,
    pub no_space: Option<String>,
    pub debt: Debt,
    pub compaction: CompactionStats,
    pub checkpoint: CheckpointStats,
    pub is_compacting_fully: bool,
    pub cold_segments: u64,
    /// What no start has looked at.
    pub unread: Unread,
    pub unread_at_start: u64,
    /// Of records that were read from segments that are not in memory.
    pub kept_bytes: u64,
    pub cold_reads: ColdStats,
    pub spill: SpillStats,
}

impl Snapshot {
    pub fn is_loading(&self) -> bool {
        self.partitions.is_none()
    }

    /// Whether a log takes no writes: it has failed, or there is no room.
    pub fn refuses_writes(&self) -> bool {
        let refuses = |partition: &PartitionSnapshot| partition.is_read_only || partition.no_space.is_some();
        self.partitions.iter().flatten().any(refuses)
    }
}

impl Shard {
    /// What INFO tells of this core.
    /// `with_times`: how long commands take as well.
    pub(crate) fn snapshot(&self, with_times: bool) -> Snapshot {
        let databases = self.config.databases;
        let partitions = match &self.data {
            Data::Loading { .. } => None,
            Data::Ready(owned) => Some(&owned.list),
        };
        let partitions = partitions.map(|list| {
            let one = |own: &crate::core::Own| {
                let (partition, log) = (&own.partition, own.partition.log());
                let (segments, log_bytes) = log.segments();
                PartitionSnapshot {
                    number: own.number,
                    stats: partition.stats(),
                    dbs: (0..databases).map(|db| partition.db_stats(DbId(db as u8))).collect(),
                    memory: partition.memory(),
                    live_bytes: log.table().live_bytes(),
                    segments,
                    log_bytes,
                    tail: log.tail().0,
                    written: log.written().0,
                    synced: log.synced().0,
                    sync_lag_ms: own.lag.ms(log.synced(), self.up_ms),
                    is_read_only: log.read_only().is_some(),
                    no_space: log.no_space().map(ToString::to_string),
                    debt: log.debt(),
                    compaction: partition.compaction_stats(),
                    checkpoint: partition.checkpoint_stats(),
                    is_compacting_fully: partition.is_compacting_fully(),
                    cold_segments: log.table().cold_segments() as u64,
                    unread: log.unread(),
                    unread_at_start: own.unread_at_start,
                    kept_bytes: log.kept_bytes(),
                    cold_reads: log.cold_stats(),
                    spill: partition.spill_stats(),
                }
            };
            list.iter().map(one).collect()
        });
        Snapshot {
            core: self.me.0,
            clients: self.connections.len(),
            client_bytes: self.client_bytes(),
            longest_input: self.connections.iter().map(|connection| connection.query.len()).max().unwrap_or(0),
            longest_output: self.connections.iter().map(Connection::unsent).max().unwrap_or(0),
            waiting: self.waiting.len()
                + self.locked_out.len()
                + self.awaiting.len()
                + self.blocks.len()
                + self.pulls.waits(),
            in_timeout_table: self.blocks.deadlines(),
            awaited_keys: match &self.data {
                Data::Ready(owned) => owned.list.iter().map(|own| own.partition.awaited_keys()).sum(),
                Data::Loading { .. } => 0,
            },
            stats: self.stats.clone(),
            rates: self.stats.rates(),
            errors: self.meter.errors.clone(),
            names: Kind::ALL.map(|kind| self.subscriptions.names(kind)),
            listening: self.connections.iter().filter(|connection| connection.listening.is_some()).count(),
            commands: self.meter.rows(with_times),
            tracking: self.trackers.len(),
            prefixes: self.tracked_prefixes(),
            tracked: self.tracked(),
            now_ms: self.now_ms,
            away: self.away.load.requests,
            busy_ms: process::thread_cpu_ms(),
            partitions,
        }
    }
}

pub(super) fn partitions(cores: &[Snapshot]) -> impl Iterator<Item = &PartitionSnapshot> {
    cores.iter().filter_map(|core| core.partitions.as_ref()).flatten()
}

pub(super) fn total(cores: &[Snapshot], of: impl Fn(&PartitionSnapshot) -> u64) -> u64 {
    partitions(cores).map(of).sum()
}

pub(super) fn sum<N: std::iter::Sum>(cores: &[Snapshot], of: impl Fn(&Snapshot) -> N) -> N {
    cores.iter().map(of).sum()
}
