//! INFO persistence.

use std::fmt::Write;

use super::snapshot::{PartitionSnapshot, Snapshot, partitions, total};
use crate::config::AppendFsync;
use crate::core::shard::{Data, Shard};

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    let fsync = match shard.config.appendfsync {
        AppendFsync::Always => "always",
        AppendFsync::EverySec => "everysec",
        AppendFsync::No => "no",
    };
    match &shard.data {
        Data::Loading { progress, since_ms } => {
            let (total, loaded, records) = progress.get();
            let elapsed_ms = shard.now_ms.saturating_sub(*since_ms).max(1);
            let eta = (total.saturating_sub(loaded) * elapsed_ms).div_ceil((loaded * 1000).max(1));
            lines! { text,
                "loading": 1,
                "async_loading": 0,
                "loading_start_time": since_ms / 1000,
                "loading_total_bytes": total,
                "loading_loaded_bytes": loaded,
                "loading_loaded_perc": format!("{:.2}", loaded as f64 * 100.0 / total.max(1) as f64),
                "loading_eta_seconds": eta,
                "loading_replayed_records": records,
            }
        }
        Data::Ready(_) => {
            let is_refused = |partition: &PartitionSnapshot| partition.is_read_only || partition.no_space.is_some();
            let status = if partitions(cores).any(is_refused) { "err" } else { "ok" };
            let rewriting = partitions(cores).any(|partition| partition.is_compacting_fully);
            let log_bytes = total(cores, |partition| partition.debt.log_bytes);
            let live_bytes = total(cores, |partition| partition.debt.live_bytes);
            let no_space = partitions(cores).find_map(|partition| partition.no_space.as_deref());
            lines! { text,
                "loading": 0,
                "async_loading": 0,
            }
            write_unread(text, shard, cores);
            write_checkpoints(text, shard, cores);
            lines! { text,
                "aof_enabled": 1,
                "aof_rewrite_in_progress": u8::from(rewriting),
                "aof_rewrite_scheduled": 0,
                "aof_last_write_status": status,
                "aof_current_size": total(cores, |partition| partition.log_bytes),
                "log_appendfsync": fsync,
                "log_segments": total(cores, |partition| partition.segments as u64),
                "log_tail": total(cores, |partition| partition.tail),
                "log_written": total(cores, |partition| partition.written),
                "log_synced": total(cores, |partition| partition.synced),
                "log_live_bytes": live_bytes,
                "log_dead_bytes": total(cores, |partition| partition.debt.dead_bytes()),
                "log_amplification": format!("{:.2}", log_bytes as f64 / live_bytes.max(1) as f64),
                "compaction_copied_bytes": total(cores, |partition| partition.compaction.copied_bytes),
                "compaction_freed_segments": total(cores, |partition| partition.compaction.freed_segments),
                "compressed_values": total(cores, |partition| partition.stats.packing_values),
                "compressed_bytes_in": total(cores, |partition| partition.stats.packing_bytes_in),
                "compressed_bytes_out": total(cores, |partition| partition.stats.packing_bytes_out),
                "log_space": no_space.unwrap_or("ok"),
            }
        }
    }
}

/// What was not read before the server began to serve, and comes into memory by and by.
fn write_unread(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    let left = total(cores, |partition| partition.unread.bytes);
    let read = total(cores, |partition| partition.unread_at_start).saturating_sub(left);
    let elapsed_ms = shard.now_ms.saturating_sub(shard.facts.started_ms);
    // -1: nothing has come yet, so that nothing can be said
    let eta = if left == 0 { Some(0) } else { (left * elapsed_ms / 1000).checked_div(read) };
    lines! { text,
        "unread_segments": total(cores, |partition| partition.unread.segments as u64),
        "unread_bytes": left,
        "unread_eta_seconds": eta.map_or(-1, |eta| eta as i64),
    }
}

/// What redis tells of its dump, of checkpoints.
fn write_checkpoints(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    let all = || partitions(cores).map(|partition| partition.checkpoint);
    let seconds = |ms: Option<u64>| ms.map_or(-1, |ms| (ms / 1000) as i64);
    let began_ms = all().filter_map(|stats| stats.began_ms).min();
    lines! { text,
        "rdb_changes_since_last_save": all().map(|stats| stats.changes).sum::<u64>(),
        "rdb_bgsave_in_progress": u8::from(all().any(|stats| stats.is_under_way)),
        "rdb_last_save_time": shard.last_save_s(),
        "rdb_last_bgsave_status": if all().any(|stats| stats.has_failed) { "err" } else { "ok" },
        "rdb_last_bgsave_time_sec": seconds(all().filter_map(|stats| stats.last_took_ms).max()),
        "rdb_current_bgsave_time_sec": seconds(began_ms.map(|began| shard.now_ms.saturating_sub(began))),
        "rdb_saves": all().map(|stats| stats.taken).min().unwrap_or(0),
        "rdb_last_cow_size": 0,
    }
}
