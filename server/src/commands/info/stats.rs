//! INFO stats.

use std::fmt::Write;

use super::snapshot::{Snapshot, sum, total};
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, _: &Shard, cores: &[Snapshot]) {
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
