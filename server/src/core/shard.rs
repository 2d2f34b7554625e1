//! What a core's commands work on: everything but the driver.

use std::collections::VecDeque;
use std::sync::Arc;

use emberkv_engine::transact::{Coordinator, Effect, Extent};
use emberkv_engine::{Compact, CompactSet};
use emberkv_log::{LogPosition, Progress};
use emberkv_resp::Limits;
use emberkv_resp::schema::Names;

use crate::acl::Users;
use crate::clock::Clock;
use crate::config::{Config, EvictionPolicy, LogLevel};
use crate::core::away::Away;
use crate::core::blocking::Blocks;
use crate::core::budget::{Budget, eviction_policy};
use crate::core::calls::Calls;
use crate::core::cold::Awaits;
use crate::core::events::Untold;
use crate::core::gather::{GatherId, Gathers};
use crate::core::look::Pause;
use crate::core::message::{CoreId, Message};
use crate::core::owned::Owned;
use crate::core::peers::Peers;
use crate::core::pieces::Spares;
use crate::core::pipeline::Work;
use crate::core::pulls::Pulls;
use crate::core::saves::Saves;
use crate::core::several::Asks;
use crate::core::subscriptions::Subscriptions;
use crate::core::table::Connections;
use crate::core::visitors::Visitors;
use crate::driver::ConnId;
use crate::meter::Meter;
use crate::replicate::{Link, Me};
use crate::stats::ServerStats;

/// The data, or how far they are from being served.
#[derive(Debug)]
pub(crate) enum Data {
    Loading { progress: Arc<Progress>, since_ms: u64 },
    Ready(Box<Owned>),
}

/// Facts about this server that do not change.
#[derive(Debug)]
pub(crate) struct Facts {
    pub run_id: String,
    pub executable: String,
    pub config_file: String,
    pub driver: &'static str,
    pub started_ms: u64,
    /// Anonymous memory that was resident before the data were.
    pub startup_bytes: u64,
    /// What all drivers' receive buffers take: the same whatever the data, so it is not held against `maxmemory`.
    pub pool_bytes: u64,
    pub port: u16,
}

impl Facts {
    /// What this server tells a primary of itself.
    pub fn replica(&self) -> Me {
        Me { id: self.run_id.chars().take(16).collect(), port: self.port }
    }
}

/// See the module.
pub(crate) struct Shard {
    pub me: CoreId,
    pub peers: Arc<Peers>,
    pub config: Config,
    /// Which of [`crate::core::peers::Shared`]'s configurations that is.
    pub config_version: u64,
    pub users: Arc<Users>,
    /// Clients' commands wait.
    pub pause: Option<Pause>,
    /// The same, all of them, because the data are about to be opened otherwise.
    pub is_quiet: bool,
    /// Connections that may go on after that.
    pub unpaused: Vec<ConnId>,
    /// Connections that are shown what all clients ask for.
    pub monitors: Vec<ConnId>,
    /// Whether all clients' commands are looked at: they are paused, or somebody monitors.
    pub looks: bool,
    pub facts: Arc<Facts>,
    /// What clients call commands by.
    pub names: &'static Names,
    pub clock: Clock,
    /// The wall clock, in ms since 1970.
    pub now_ms: u64,
    /// How long the server has been up: what is due, and what has lasted, goes by this.
    pub up_ms: u64,
    pub data: Data,
    /// This core's partitions, until all cores have theirs.
    pub to_serve: Option<Box<Owned>>,
    /// Whether one partition is all that there is, and it is here.
    pub is_single: bool,
    pub connections: Connections,
    pub stats: ServerStats,
    /// What is measured of each command.
    pub meter: Meter,
    pub limits: Limits,
    /// Connections with something to send at the end of this turn.
    pub touched: Vec<ConnId>,
    /// Connections with replies that wait for the log.
    pub holding: Vec<ConnId>,
    /// Connections with replies that could be sent, and wait for those of other cores behind them.
    pub withheld: Vec<ConnId>,
    /// The gates of this core's partitions when they were looked at last.
    pub gates: Vec<LogPosition>,
    /// Connections whose next command waits for the log, in the order in which they came.
    pub waiting: VecDeque<ConnId>,
    /// Connections to close, whatever they still have to get, with their own numbers.
    pub condemned: Vec<(ConnId, u64)>,
    /// Set by SHUTDOWN or a signal.
    pub shutdown: Option<Shutdown>,
    /// Changes how much is logged.
    pub set_log_level: fn(LogLevel),
    /// What this core's connections listen to.
    pub subscriptions: Subscriptions,
    /// What it says to other cores in the course of its turns.
    pub calls: Calls,
    /// What this core's connections have at other cores.
    pub away: Away,
    /// Keeps what is read of other cores' partitions; for a group of requests at most, and never over a system call (D12).
    pub guard: Option<crossbeam_epoch::Guard>,
    /// Whether this core has changed its partitions since the last fence (D9).
    pub has_written: bool,
    /// Of commands over several partitions.
    pub coordinator: Coordinator<Asks>,
    /// What the coordinator wants to be done: empty but for its memory.
    pub effects: Vec<Effect<Asks>>,
    /// Connections whose next command waits for the coordinator to have fewer.
    pub for_coordinator: VecDeque<ConnId>,
    /// Connections that may go on after a [`crate::core::connection::Stall::Several`].
    pub resumable: Vec<ConnId>,
    /// Connections whose next command needs a record that is being read.
    pub awaiting: Vec<Awaits>,
    /// Connections whose next command is on a key that a transaction has.
    pub locked_out: VecDeque<ConnId>,
    /// This core's clients that wait for an element.
    pub blocks: Blocks,
    /// What other cores' connections have here.
    pub visitors: Visitors,
    /// What this core's memory is.
    pub budget: Budget,
    /// Questions to all cores that are not answered yet.
    pub gathers: Gathers,
    pub saves: Saves,
    /// MIGRATEs that are under way.
    pub migrations: usize,
    /// Whether what has expired is removed though nobody asks for it.
    pub expires_actively: bool,
    /// What has become of keys, and is not published yet.
    pub untold: Untold,
    /// Whether somebody is told of reads of what is not there.
    pub tells_misses: bool,
    /// Connections that keep what they read.
    pub trackers: Vec<ConnId>,
    /// The link to the primary; none: this server is one.
    pub link: Option<Arc<Link>>,
    /// Whether some commands are refused because of what this server is at the moment.
    pub has_role: bool,
    /// Cores that want to know what is settled, as soon as this turn's logs may be shipped.
    pub horizon_asked: Vec<GatherId>,
    /// Replicas that wait for more of a log, and clients that wait for replicas.
    pub pulls: Pulls,
    /// The server ends: no new requests.
    pub is_draining: bool,
    pub spares: Spares,
    /// Messages of a turn; a vector that is used anew.
    pub messages: Vec<Message>,
    /// Used anew for each buffer.
    #[allow(clippy::vec_box, reason = "they come and go as boxes")]
    pub works: Vec<Box<Work>>,
}

/// The longest argument and value: `proto-max-bulk-len`, as far as a record can hold it.
pub(crate) fn max_bulk_len(config: &Config) -> u64 {
    config.proto_max_bulk_len.min(1 << 30)
}

/// Up to which size redis would keep a sorted set in the simpler way.
fn compact_zset(config: &Config) -> emberkv_engine::Compact {
    emberkv_engine::Compact {
        entries: config.zset_max_listpack_entries.unsigned_abs(),
        value: config.zset_max_listpack_value,
    }
}

/// Up to which sizes redis would keep sets in the simpler ways.
fn compact_set(config: &Config) -> CompactSet {
    let listpack = Compact {
        entries: config.set_max_listpack_entries.unsigned_abs(),
        value: config.set_max_listpack_value.unsigned_abs(),
    };
    CompactSet { integers: config.set_max_intset_entries.unsigned_abs(), listpack }
}

/// Up to how many bytes a HyperLogLog is sparse.
fn hll_sparse_max_bytes(config: &Config) -> usize {
    usize::try_from(config.hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

/// What has to be known of the data set to take commands apart.
pub(crate) fn extent(config: &Config, partitions: u16) -> Extent {
    let max_value_bytes = usize::try_from(max_bulk_len(config)).unwrap_or(usize::MAX);
    Extent {
        partitions,
        databases: config.databases as usize,
        max_value_bytes,
        compact_set: compact_set(config),
        compact_zset: compact_zset(config),
        list_fill: emberkv_engine::ListFill(config.list_max_listpack_size),
        hll_sparse_max_bytes: hll_sparse_max_bytes(config),
    }
}

/// How the server ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shutdown {
    /// End even if the log can't be synced.
    pub force: bool,
    /// Take a last checkpoint.
    pub save: bool,
}

impl Shard {
    /// The partitions, when they are loaded.
    pub fn owned(&mut self) -> Option<&mut Owned> {
        match &mut self.data {
            Data::Ready(owned) => Some(owned),
            Data::Loading { .. } => None,
        }
    }

    /// Takes over what the configuration says of requests.
    pub fn apply_limits(&mut self) {
        self.clock.stand_still(self.config.import_mode);
        self.limits.max_bulk_len = max_bulk_len(&self.config);
        let limits = emberkv_engine::Limits {
            databases: self.config.databases as usize,
            max_value_bytes: usize::try_from(max_bulk_len(&self.config)).unwrap_or(usize::MAX),
            pack_from_bytes: match self.config.compress_values_from {
                0 => usize::MAX,
                bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
            },
            compact_hash: Compact {
                entries: self.config.hash_max_listpack_entries.unsigned_abs(),
                value: self.config.hash_max_listpack_value,
            },
            compact_zset: compact_zset(&self.config),
            list_fill: emberkv_engine::ListFill(self.config.list_max_listpack_size),
            compact_set: compact_set(&self.config),
            hll_sparse_max_bytes: hll_sparse_max_bytes(&self.config),
        };
        let amplification = u64::from(self.config.compaction_amplification);
        let interval = self.config.checkpoint_interval;
        let eviction = eviction_policy(self.config.maxmemory_policy);
        let events = self.config.notify_keyspace_events;
        let has_events = events.is_on();
        self.tells_misses = has_events && events.contains(b'm');
        self.settle_tracking();
        let (maxmemory, log_max_size) = (self.config.maxmemory, self.config.log_max_size);
        let spills = maxmemory > 0 && self.config.maxmemory_policy == EvictionPolicy::Spill;
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.set_eviction(eviction);
            own.partition.log_mut().set_memory_bounded(maxmemory > 0);
            own.partition.set_limits(limits);
            own.partition.set_amplification(amplification);
            let max_bytes = log_max_size / u64::from(own.partition.partitions());
            own.partition.log_mut().set_max_bytes((max_bytes > 0).then_some(max_bytes));
            let share = maxmemory / u64::from(own.partition.partitions());
            own.partition.set_memory_budget(spills.then_some(share));
            own.partition.set_checkpoint_interval(interval);
            own.partition.set_events(has_events);
        }
    }

    /// Puts a connection on the list of those with something to send.
    pub fn touch(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn)
            && !connection.touched
        {
            connection.touched = true;
            self.touched.push(conn);
        }
    }
}
