//! INFO memory, and what MEMORY STATS and DOCTOR are made of.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use emberkv_engine::DbStats;

use super::snapshot::{Snapshot, partitions, sum, total};
use crate::core::shard::Shard;
use crate::process;

/// `1.50M` and the like, as redis writes it for people.
fn for_people(bytes: u64) -> String {
    let units = [("G", 1u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

/// What is used, for what, out of what all cores have told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Before the data were loaded.
    pub startup: u64,
    /// The drivers' receive buffers.
    pub pools: u64,
    /// Segments, with what is dead in them and what is kept for the next ones.
    pub segments: u64,
    /// Live records.
    pub dataset: u64,
    pub index: u64,
    pub expiry: u64,
    pub clients: u64,
    pub peak: u64,
    pub keys: u64,
    pub resident: process::Resident,
}

impl Used {
    pub fn of(shard: &Shard, cores: &[Snapshot]) -> Self {
        let keys = |dbs: &[DbStats]| dbs.iter().map(|db| db.keys).sum::<u64>();
        let startup = shard.facts.startup_bytes;
        let used = Self {
            startup,
            pools: shard.facts.pool_bytes,
            segments: total(cores, |partition| partition.memory.segments),
            dataset: total(cores, |partition| partition.live_bytes),
            index: total(cores, |partition| partition.memory.index),
            expiry: total(cores, |partition| partition.memory.expiry),
            clients: sum(cores, |core| core.client_bytes),
            peak: shard.peers.peak_memory.load(Ordering::Relaxed) + startup + shard.facts.pool_bytes,
            keys: partitions(cores).map(|partition| keys(&partition.dbs)).sum(),
            resident: process::resident(),
        };
        Self { peak: used.peak.max(used.total()), ..used }
    }

    /// All of it; without the pools it is what `maxmemory` is compared with.
    pub fn total(&self) -> u64 {
        self.startup + self.pools + self.segments + self.index + self.expiry + self.clients
    }

    /// What is not live records.
    pub fn overhead(&self) -> u64 {
        self.total().saturating_sub(self.dataset)
    }

    /// The part of all but the start that is live records, in percent.
    pub fn dataset_percent(&self) -> f64 {
        self.dataset as f64 * 100.0 / self.total().saturating_sub(self.startup + self.pools).max(1) as f64
    }

    /// Resident memory to what is accounted for.
    pub fn fragmentation(&self) -> f64 {
        self.resident.all as f64 / self.total().max(1) as f64
    }
}

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    let used = Used::of(shard, cores);
    let (all, rss) = (used.total(), used.resident.all);
    let system = process::system_memory_bytes();
    lines! { text,
        "used_memory": all,
        "used_memory_human": for_people(all),
        "used_memory_rss": rss,
        "used_memory_rss_human": for_people(rss),
        "used_memory_rss_anonymous": used.resident.anonymous,
        "used_memory_rss_mapped": used.resident.mapped,
        "used_memory_peak": used.peak,
        "used_memory_peak_human": for_people(used.peak),
        "used_memory_peak_perc": format!("{:.2}%", all as f64 * 100.0 / used.peak.max(1) as f64),
        "used_memory_overhead": used.overhead(),
        "used_memory_startup": used.startup,
        "used_memory_dataset": used.dataset,
        "used_memory_dataset_perc": format!("{:.2}%", used.dataset_percent()),
        "used_memory_index": used.index,
        "used_memory_expiry": used.expiry,
        "log_segment_bytes": used.segments,
        "log_leaving_bytes": total(cores, |partition| partition.memory.leaving),
        "allocator_allocated": all,
        "allocator_active": rss,
        "allocator_resident": rss,
        "total_system_memory": system,
        "total_system_memory_human": for_people(system),
        "maxmemory": shard.config.maxmemory,
        "maxmemory_human": for_people(shard.config.maxmemory),
        "maxmemory_policy": String::from_utf8_lossy(
            &shard.config.get(&[b"maxmemory-policy"]).pop().map(|(_, value)| value).unwrap_or_default()
        ),
        "mem_fragmentation_ratio": format!("{:.2}", used.fragmentation()),
        "mem_fragmentation_bytes": rss as i64 - all as i64,
        "mem_not_counted_for_evict": used.pools,
        "mem_clients_normal": used.clients,
        "mem_clients_slaves": 0,
        "mem_aof_buffer": 0,
        "mem_allocator": "libc",
        "lazyfree_pending_objects": 0,
    }
    super::residency::write(text, cores);
}
