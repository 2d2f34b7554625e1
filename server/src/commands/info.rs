//! INFO.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use emberkv_engine::{CheckpointStats, CompactionStats, DbStats, Stats};
use emberkv_log::{DbId, Debt};
use emberkv_resp::Args;

use super::{Outcome, REDIS_VERSION};
use crate::config::AppendFsync;
use crate::core::Question;
use crate::core::connection::Connection;
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;
use crate::process;
use crate::stats::{Rates, ServerStats};

/// In their order; the last is shown only when it is asked for, or everything is.
const SECTIONS: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "keyspace", "cores"];

/// What INFO tells of one core.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub core: u16,
    clients: usize,
    longest_input: usize,
    longest_output: usize,
    waiting: usize,
    stats: ServerStats,
    rates: Rates,
    /// What is at other cores.
    away: usize,
    busy_ms: u64,
    /// `None`: they are being loaded.
    partitions: Option<Vec<PartitionSnapshot>>,
}

/// And of one partition.
#[derive(Debug)]
struct PartitionSnapshot {
    number: u16,
    stats: Stats,
    dbs: Vec<DbStats>,
    /// Of segments, index and expiry.
    memory_bytes: (u64, u64, u64),
    live_bytes: u64,
    segments: usize,
    log_bytes: u64,
    tail: u64,
    written: u64,
    synced: u64,
    is_read_only: bool,
    no_space: Option<String>,
    debt: Debt,
    compaction: CompactionStats,
    checkpoint: CheckpointStats,
    is_compacting_fully: bool,
}

/// Appends lines of `name:value` to a string.
macro_rules! lines {
    ($text:expr, $($name:literal: $value:expr),* $(,)?) => {
        // writing to a string does not fail
        $( let _ = write!($text, concat!($name, ":{}\r\n"), $value); )*
    };
}

/// `1.50M` and the like, as redis writes it for people.
fn for_people(bytes: u64) -> String {
    let units = [("G", 1u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

impl Shard {
    pub(super) fn info(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let sections = args.from(1).iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
        self.ask_all(conn, Question::Info(sections));
        Ok(())
    }

    /// What INFO tells of this core.
    pub(crate) fn snapshot(&self) -> Snapshot {
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
                    memory_bytes: partition.memory(),
                    live_bytes: log.table().live_bytes(),
                    segments,
                    log_bytes,
                    tail: log.tail().0,
                    written: log.written().0,
                    synced: log.synced().0,
                    is_read_only: log.read_only().is_some(),
                    no_space: log.no_space().map(ToString::to_string),
                    debt: log.debt(),
                    compaction: partition.compaction_stats(),
                    checkpoint: partition.checkpoint_stats(),
                    is_compacting_fully: partition.is_compacting_fully(),
                }
            };
            list.iter().map(one).collect()
        });
        Snapshot {
            core: self.me.0,
            clients: self.connections.len(),
            longest_input: self.connections.iter().map(|connection| connection.query.len()).max().unwrap_or(0),
            longest_output: self.connections.iter().map(Connection::unsent).max().unwrap_or(0),
            waiting: self.waiting.len() + self.locked_out.len(),
            stats: self.stats.clone(),
            rates: self.stats.rates(),
            away: self.away.load.requests,
            busy_ms: process::thread_cpu_ms(),
            partitions,
        }
    }

    /// The text of INFO, out of what all cores have told.
    pub(crate) fn info_text(&self, wanted: &[String], cores: &[Snapshot]) -> String {
        let asked = |names: &[&str]| wanted.iter().any(|name| names.contains(&&**name));
        let usual = wanted.is_empty() || asked(&["default"]);
        let everything = asked(&["all", "everything"]);
        let mut text = String::new();
        for section in SECTIONS {
            if !(everything || usual && section != "cores" || asked(&[section])) {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let mut heading = section.to_owned();
            if section == "cpu" {
                heading = "CPU".into();
            } else if let Some(first) = heading.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            let _ = write!(text, "# {heading}\r\n");
            match section {
                "server" => self.info_server(&mut text),
                "clients" => self.info_clients(&mut text, cores),
                "memory" => self.info_memory(&mut text, cores),
                "persistence" => self.info_persistence(&mut text, cores),
                "stats" => info_stats(&mut text, cores),
                "replication" => info_replication(&mut text),
                "cpu" => info_cpu(&mut text),
                "keyspace" => self.info_keyspace(&mut text, cores),
                _ => info_cores(&mut text, cores),
            }
        }
        text
    }

    fn info_server(&self, text: &mut String) {
        let uptime = self.now_ms.saturating_sub(self.facts.started_ms) / 1000;
        lines! { text,
            "redis_version": REDIS_VERSION,
            "redis_mode": "standalone",
            "emberkv_version": env!("CARGO_PKG_VERSION"),
            "os": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            "arch_bits": usize::BITS,
            "io_driver": self.facts.driver,
            "cores": self.peers.len(),
            "process_id": std::process::id(),
            "run_id": self.facts.run_id,
            "tcp_port": self.facts.port,
            "server_time_usec": self.now_ms * 1000,
            "uptime_in_seconds": uptime,
            "uptime_in_days": uptime / 86_400,
            "hz": self.config.hz,
            "configured_hz": self.config.hz,
            "executable": self.facts.executable,
            "config_file": self.facts.config_file,
        }
    }

    fn info_clients(&self, text: &mut String, cores: &[Snapshot]) {
        lines! { text,
            "connected_clients": sum(cores, |core| core.clients),
            "maxclients": self.config.maxclients,
            "client_recent_max_input_buffer": cores.iter().map(|core| core.longest_input).max().unwrap_or(0),
            "client_recent_max_output_buffer": cores.iter().map(|core| core.longest_output).max().unwrap_or(0),
            "blocked_clients": sum(cores, |core| core.waiting),
        }
    }

    fn info_memory(&self, text: &mut String, cores: &[Snapshot]) {
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
            "maxmemory": self.config.maxmemory,
            "maxmemory_human": for_people(self.config.maxmemory),
            "maxmemory_policy": String::from_utf8_lossy(
                &self.config.get(&[b"maxmemory-policy"]).pop().map(|(_, value)| value).unwrap_or_default()
            ),
            "mem_allocator": "libc",
        }
    }

    fn info_persistence(&self, text: &mut String, cores: &[Snapshot]) {
        let fsync = match self.config.appendfsync {
            AppendFsync::Always => "always",
            AppendFsync::EverySec => "everysec",
            AppendFsync::No => "no",
        };
        match &self.data {
            Data::Loading { progress, since_ms } => {
                let (total, loaded, records) = progress.get();
                let elapsed_ms = self.now_ms.saturating_sub(*since_ms).max(1);
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
                self.info_checkpoints(text, cores);
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
                    "log_space": no_space.unwrap_or("ok"),
                }
            }
        }
    }

    /// What redis tells of its dump, of checkpoints.
    fn info_checkpoints(&self, text: &mut String, cores: &[Snapshot]) {
        let all = || partitions(cores).map(|partition| partition.checkpoint);
        let last_s = self.peers.saves.last_s.load(Ordering::Relaxed).max(self.facts.started_ms / 1000);
        let seconds = |ms: Option<u64>| ms.map_or(-1, |ms| (ms / 1000) as i64);
        let began_ms = all().filter_map(|stats| stats.began_ms).min();
        lines! { text,
            "rdb_changes_since_last_save": all().map(|stats| stats.changes).sum::<u64>(),
            "rdb_bgsave_in_progress": u8::from(all().any(|stats| stats.is_under_way)),
            "rdb_last_save_time": last_s,
            "rdb_last_bgsave_status": if all().any(|stats| stats.has_failed) { "err" } else { "ok" },
            "rdb_last_bgsave_time_sec": seconds(all().filter_map(|stats| stats.last_took_ms).max()),
            "rdb_current_bgsave_time_sec": seconds(began_ms.map(|began| self.now_ms.saturating_sub(began))),
            "rdb_saves": all().map(|stats| stats.taken).min().unwrap_or(0),
            "rdb_last_cow_size": 0,
        }
    }

    fn info_keyspace(&self, text: &mut String, cores: &[Snapshot]) {
        for db in 0..self.config.databases as usize {
            let mut all = DbStats::default();
            for stats in partitions(cores).filter_map(|partition| partition.dbs.get(db)) {
                all.keys += stats.keys;
                all.expires += stats.expires;
                all.expiry_sum_ms += stats.expiry_sum_ms;
            }
            if all.keys > 0 {
                let _ = write!(
                    text,
                    "db{db}:keys={},expires={},avg_ttl={},subexpiry=0\r\n",
                    all.keys,
                    all.expires,
                    all.average_ttl_ms(self.now_ms)
                );
            }
        }
    }
}

fn partitions(cores: &[Snapshot]) -> impl Iterator<Item = &PartitionSnapshot> {
    cores.iter().filter_map(|core| core.partitions.as_ref()).flatten()
}

fn total(cores: &[Snapshot], of: impl Fn(&PartitionSnapshot) -> u64) -> u64 {
    partitions(cores).map(of).sum()
}

fn sum<N: std::iter::Sum>(cores: &[Snapshot], of: impl Fn(&Snapshot) -> N) -> N {
    cores.iter().map(of).sum()
}

fn info_stats(text: &mut String, cores: &[Snapshot]) {
    lines! { text,
        "total_connections_received": sum(cores, |core| core.stats.connections),
        "total_commands_processed": sum(cores, |core| core.stats.commands),
        "instantaneous_ops_per_sec": sum(cores, |core| core.rates.commands),
        "total_net_input_bytes": sum(cores, |core| core.stats.bytes_in),
        "total_net_output_bytes": sum(cores, |core| core.stats.bytes_out),
        "instantaneous_input_kbps": format!("{:.2}", sum(cores, |core| core.rates.kib_in)),
        "instantaneous_output_kbps": format!("{:.2}", sum(cores, |core| core.rates.kib_out)),
        "rejected_connections": sum(cores, |core| core.stats.rejected_connections),
        "expired_keys": total(cores, |partition| partition.stats.expired),
        "evicted_keys": 0,
        "keyspace_hits": total(cores, |partition| partition.stats.hits) + sum(cores, |core| core.stats.direct_hits),
        "keyspace_misses": total(cores, |partition| partition.stats.misses) + sum(cores, |core| core.stats.direct_misses),
        "pubsub_channels": 0,
        "pubsub_patterns": 0,
        "total_error_replies": sum(cores, |core| core.stats.error_replies),
        "client_query_buffer_limit_disconnections": sum(cores, |core| core.stats.query_buffer_disconnections),
        "client_output_buffer_limit_disconnections": sum(cores, |core| core.stats.output_buffer_disconnections),
        "total_turns": sum(cores, |core| core.stats.turns),
    }
}

fn info_replication(text: &mut String) {
    lines! { text,
        "role": "master",
        "connected_slaves": 0,
    }
}

fn info_cpu(text: &mut String) {
    let (user, system) = process::cpu_seconds();
    lines! { text,
        "used_cpu_sys": format!("{system:.6}"),
        "used_cpu_user": format!("{user:.6}"),
    }
}

/// A line for each core. `ops`: commands of its connections; `hops`: those of them that were sent to other cores, in so
/// many `parcels`; `visits`: commands that others have sent; `away`: those not answered yet; `busy_ms`: cpu time of
/// its thread.
fn info_cores(text: &mut String, cores: &[Snapshot]) {
    for Snapshot { core, clients, stats, rates, away, busy_ms, partitions, .. } in cores {
        let partitions: Vec<String> =
            partitions.iter().flatten().map(|partition| partition.number.to_string()).collect();
        let _ = write!(
            text,
            "core{core}:partitions={},clients={clients},ops={},ops_per_sec={},hops={},parcels={},visits={},\
             direct_reads={},transactions={},away={away},longest_inbox={},wakes={},turns={},busy_ms={busy_ms}\r\n",
            partitions.join("/"),
            stats.commands,
            rates.commands,
            stats.hops,
            stats.parcels,
            stats.visits,
            stats.direct_reads,
            stats.transactions,
            stats.longest_inbox,
            stats.wakes,
            stats.turns,
        );
    }
}
