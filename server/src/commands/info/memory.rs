//! INFO memory.

use std::fmt::Write;

use super::snapshot::{Snapshot, total};
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

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    let rss = process::resident_bytes();
    let peak = process::peak_resident_bytes().max(rss);
    lines! { text,
        "used_memory": rss,
        "used_memory_human": for_people(rss),
        "used_memory_rss": rss,
        "used_memory_rss_human": for_people(rss),
        "used_memory_peak": peak,
        "used_memory_peak_human": for_people(peak),
        "used_memory_dataset": total(cores, |partition| partition.live_bytes),
        "used_memory_index": total(cores, |partition| partition.memory_bytes.1),
        "used_memory_expiry": total(cores, |partition| partition.memory_bytes.2),
        "log_segment_bytes": total(cores, |partition| partition.memory_bytes.0),
        "total_system_memory": process::system_memory_bytes(),
        "total_system_memory_human": for_people(process::system_memory_bytes()),
        "maxmemory": shard.config.maxmemory,
        "maxmemory_human": for_people(shard.config.maxmemory),
        "maxmemory_policy": String::from_utf8_lossy(
            &shard.config.get(&[b"maxmemory-policy"]).pop().map(|(_, value)| value).unwrap_or_default()
        ),
        "mem_allocator": "libc",
    }
    super::residency::write(text, cores);
}
