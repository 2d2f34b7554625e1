//! What is in memory and what is not: a part of INFO memory.

use std::fmt::Write;

use emberkv_log::ColdStats;

use super::snapshot::{Snapshot, partitions, total};

pub(super) fn write(text: &mut String, cores: &[Snapshot]) {
    let mut reads = ColdStats::default();
    partitions(cores).for_each(|partition| reads.add(&partition.cold_reads));
    let cold = total(cores, |partition| partition.cold_segments);
    lines! { text,
        "resident_segments": total(cores, |partition| partition.segments as u64) - cold,
        "cold_segments": cold,
        "cold_records_bytes": total(cores, |partition| partition.kept_bytes),
        "cold_reads": reads.reads,
        "cold_reads_shared": reads.shared,
        "cold_reads_failed": reads.failed,
        "cold_read_avg_us": reads.total_us.checked_div(reads.reads).unwrap_or(0),
        "cold_read_p99_us": reads.p99_us(),
        "spilled_segments": total(cores, |partition| partition.spill.unloaded),
        "loaded_segments": total(cores, |partition| partition.spill.loaded),
        "promoted_records": total(cores, |partition| partition.spill.promoted),
        "promoted_bytes": total(cores, |partition| partition.spill.promoted_bytes),
    }
}
