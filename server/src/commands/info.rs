//! INFO.

use std::fmt::Write;

use emberkv_log::DbId;
use emberkv_resp::Args;

use super::{Outcome, REDIS_VERSION};
use crate::config::AppendFsync;
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;
use crate::process;

const SECTIONS: [&str; 8] = ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "keyspace"];

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
        let wanted: Vec<String> =
            args.from(1).iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
        let all = wanted.is_empty() || wanted.iter().any(|name| ["all", "everything", "default"].contains(&&**name));
        let mut text = String::new();
        for section in SECTIONS {
            if !all && !wanted.iter().any(|name| name == section) {
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
                "clients" => self.info_clients(&mut text),
                "memory" => self.info_memory(&mut text),
                "persistence" => self.info_persistence(&mut text),
                "stats" => self.info_stats(&mut text),
                "replication" => Self::info_replication(&mut text),
                "cpu" => Self::info_cpu(&mut text),
                _ => self.info_keyspace(&mut text),
            }
        }
        self.with_reply(conn, |reply| reply.verbatim(*b"txt", text.as_bytes()));
        Ok(())
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

    fn info_clients(&self, text: &mut String) {
        let input = self.connections.iter().map(|connection| connection.query.len()).max().unwrap_or(0);
        let output = self.connections.iter().map(crate::core::connection::Connection::unsent).max().unwrap_or(0);
        lines! { text,
            "connected_clients": self.connections.len(),
            "maxclients": self.config.maxclients,
            "client_recent_max_input_buffer": input,
            "client_recent_max_output_buffer": output,
            "blocked_clients": self.waiting.len(),
        }
    }

    fn info_memory(&self, text: &mut String) {
        let rss = process::resident_bytes();
        let peak = process::peak_resident_bytes().max(rss);
        let (segments, index, expiry) = match &self.data {
            Data::Ready(partition) => partition.memory(),
            Data::Loading { .. } => (0, 0, 0),
        };
        let live = match &self.data {
            Data::Ready(partition) => partition.log().table().live_bytes(),
            Data::Loading { .. } => 0,
        };
        lines! { text,
            "used_memory": rss,
            "used_memory_human": for_people(rss),
            "used_memory_rss": rss,
            "used_memory_rss_human": for_people(rss),
            "used_memory_peak": peak,
            "used_memory_peak_human": for_people(peak),
            "used_memory_dataset": live,
            "used_memory_index": index,
            "used_memory_expiry": expiry,
            "log_segment_bytes": segments,
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

    fn info_persistence(&self, text: &mut String) {
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
            Data::Ready(partition) => {
                let log = partition.log();
                let (segments, bytes) = log.segments();
                let status = if log.read_only().is_some() { "err" } else { "ok" };
                lines! { text,
                    "loading": 0,
                    "async_loading": 0,
                    "rdb_changes_since_last_save": 0,
                    "rdb_bgsave_in_progress": 0,
                    "rdb_last_save_time": self.facts.started_ms / 1000,
                    "rdb_last_bgsave_status": "ok",
                    "aof_enabled": 1,
                    "aof_rewrite_in_progress": 0,
                    "aof_last_write_status": status,
                    "aof_current_size": bytes,
                    "log_appendfsync": fsync,
                    "log_segments": segments,
                    "log_tail": log.tail().0,
                    "log_written": log.written().0,
                    "log_synced": log.synced().0,
                    "log_space": log.no_space().unwrap_or("ok"),
                }
            }
        }
    }

    fn info_stats(&self, text: &mut String) {
        let rates = self.stats.rates();
        let engine = match &self.data {
            Data::Ready(partition) => partition.stats(),
            Data::Loading { .. } => emberkv_engine::Stats::default(),
        };
        lines! { text,
            "total_connections_received": self.stats.connections,
            "total_commands_processed": self.stats.commands,
            "instantaneous_ops_per_sec": rates.commands,
            "total_net_input_bytes": self.stats.bytes_in,
            "total_net_output_bytes": self.stats.bytes_out,
            "instantaneous_input_kbps": format!("{:.2}", rates.kib_in),
            "instantaneous_output_kbps": format!("{:.2}", rates.kib_out),
            "rejected_connections": self.stats.rejected_connections,
            "expired_keys": engine.expired,
            "evicted_keys": 0,
            "keyspace_hits": engine.hits,
            "keyspace_misses": engine.misses,
            "pubsub_channels": 0,
            "pubsub_patterns": 0,
            "total_error_replies": self.stats.error_replies,
            "client_query_buffer_limit_disconnections": self.stats.query_buffer_disconnections,
            "client_output_buffer_limit_disconnections": self.stats.output_buffer_disconnections,
            "total_turns": self.stats.turns,
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

    fn info_keyspace(&self, text: &mut String) {
        let Data::Ready(partition) = &self.data else { return };
        for db in 0..self.config.databases {
            let stats = partition.db_stats(DbId(db as u8));
            if stats.keys > 0 {
                let _ = write!(
                    text,
                    "db{db}:keys={},expires={},avg_ttl={},subexpiry=0\r\n",
                    stats.keys,
                    stats.expires,
                    stats.average_ttl_ms(self.now_ms)
                );
            }
        }
    }
}
