//! INFO server.

use std::fmt::Write;

use super::Snapshot;
use crate::commands::REDIS_VERSION;
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, shard: &Shard, _: &[Snapshot]) {
    let uptime = shard.up_ms / 1000;
    lines! { text,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": "0",
        "redis_mode": "standalone",
        "emberkv_version": env!("CARGO_PKG_VERSION"),
        "os": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "arch_bits": usize::BITS,
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": shard.facts.driver,
        "io_driver": shard.facts.driver,
        "cores": shard.peers.len(),
        "process_id": std::process::id(),
        "process_supervised": "no",
        "run_id": shard.facts.run_id,
        "tcp_port": shard.facts.port,
        "server_time_usec": shard.now_ms * 1000,
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime / 86_400,
        "hz": shard.config.hz,
        "configured_hz": shard.config.hz,
        "lru_clock": (shard.now_ms / 1000) & 0xff_ffff,
        "executable": shard.facts.executable,
        "config_file": shard.facts.config_file,
        "io_threads_active": 0,
    }
}
