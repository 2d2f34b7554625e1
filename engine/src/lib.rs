//! One partition of emberkv: its log, the index into it, expiry, and the commands on data. It knows
//! nothing of sockets: requests come in as arguments, replies go out as bytes, and with each reply comes
//! the log position that it must wait for (law 2).

mod checkpoint;
mod chunks;
mod cold;
mod collections;
mod commands;
mod compact;
mod databases;
mod dump;
mod events;
mod evict;
mod expiry;
mod flush;
mod follow;
mod foreign;
mod geo;
mod group;
mod hash;
mod held;
mod history;
mod hyperloglog;
mod locks;
mod long_double;
mod lookup;
mod memory;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod names;
mod overlay;
mod partition;
mod published;
mod replay;
mod serve;
pub mod slots;
mod spill;
mod stats;
mod stop;
#[cfg(test)]
mod tests;
mod tracking;
pub mod transact;
mod visits;
mod waiters;
mod waiting;
mod watch;
mod write;

/// What redis's payloads and files are made of, for those who read its files.
pub mod payload {
    pub use crate::dump::{crc64_from, intset_members, listpack_elements, lzf_unpack};
}

pub use checkpoint::CheckpointStats;
pub use collections::{Compact, CompactSet, End as ListEnd, ListFill};
pub use commands::{Direct, may_wait, sort_refusal, timeout_of};
pub use compact::CompactionStats;
pub use databases::RESERVED;
pub use events::{Event, EventClass};
pub use evict::{EvictionOrder, EvictionPolicy, Shortage};
pub use expiry::Wheel;
pub use follow::{READ_ONLY, open_follower};
pub use foreign::{Foreign, PartitionReader};
pub use group::Request;
pub use held::Held;
pub use hyperloglog::self_test as test_estimates;
pub use memory::{EXPIRY_BYTES, INDEX_BYTES, Memory};
pub use names::names;
pub use partition::{Limits, OpenError, Partition, open};
pub use serve::Served;
pub use spill::SpillStats;
pub use stats::{DbStats, Stats};
pub use stop::Stop;
pub use tracking::{Author, Invalid, Reader, is_tracked};
pub use waiting::{Waiter, Waiting};
pub use watch::Watch;
