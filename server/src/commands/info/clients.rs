//! INFO clients.

use std::fmt::Write;

use super::snapshot::{Snapshot, sum};
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    lines! { text,
        "connected_clients": sum(cores, |core| core.clients),
        "cluster_connections": 0,
        "maxclients": shard.config.maxclients,
        "client_recent_max_input_buffer": cores.iter().map(|core| core.longest_input).max().unwrap_or(0),
        "client_recent_max_output_buffer": cores.iter().map(|core| core.longest_output).max().unwrap_or(0),
        "blocked_clients": sum(cores, |core| core.waiting),
        "tracking_clients": sum(cores, |core| core.tracking),
        "pubsub_clients": sum(cores, |core| core.listening),
        "watching_clients": 0,
        "clients_in_timeout_table": sum(cores, |core| core.in_timeout_table),
        "total_watched_keys": 0,
        "total_blocking_keys": sum(cores, |core| core.awaited_keys),
        "total_blocking_keys_on_nokey": 0,
    }
}
