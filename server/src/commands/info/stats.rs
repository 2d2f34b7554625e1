//! INFO stats.

use std::collections::HashSet;
use std::fmt::Write;

use super::snapshot::{Snapshot, sum, total};
use crate::acl::Reason;
use crate::core::Kind;
use crate::core::shard::Shard;

/// How many names somebody listens to, at whatever core.
fn names(cores: &[Snapshot], kind: Kind) -> usize {
    cores.iter().flat_map(|core| &core.names[kind as usize]).collect::<HashSet<_>>().len()
}

pub(super) fn write(text: &mut String, _: &Shard, cores: &[Snapshot]) {
    lines! { text,
        "total_connections_received": sum(cores, |core| core.stats.connections),
        "total_commands_processed": sum(cores, |core| core.stats.commands),
        "instantaneous_ops_per_sec": sum(cores, |core| core.rates.commands),
        "total_net_input_bytes": sum(cores, |core| core.stats.bytes_in),
        "total_net_output_bytes": sum(cores, |core| core.stats.bytes_out),
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": format!("{:.2}", sum(cores, |core| core.rates.kib_in)),
        "instantaneous_output_kbps": format!("{:.2}", sum(cores, |core| core.rates.kib_out)),
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": sum(cores, |core| core.stats.rejected_connections),
        "sync_full": 0,
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_subkeys": total(cores, |partition| partition.stats.expired_fields),
        "expired_keys": total(cores, |partition| partition.stats.expired),
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "evicted_keys": total(cores, |partition| partition.stats.evicted),
        "evicted_clients": 0,
        "keyspace_hits": total(cores, |partition| partition.stats.hits) + sum(cores, |core| core.stats.direct_hits),
        "keyspace_misses": total(cores, |partition| partition.stats.misses) + sum(cores, |core| core.stats.direct_misses),
        "pubsub_channels": names(cores, Kind::Channel),
        "pubsub_patterns": names(cores, Kind::Pattern),
        "pubsubshard_channels": names(cores, Kind::Shard),
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": 0,
        "slave_expires_tracked_keys": 0,
        "tracking_total_keys": sum(cores, |core| core.tracked.0),
        "tracking_total_items": sum(cores, |core| core.tracked.1),
        "tracking_total_prefixes": cores.iter().flat_map(|core| &core.prefixes).collect::<HashSet<_>>().len(),
        "unexpected_error_replies": 0,
        "total_error_replies": sum(cores, |core| core.errors.total),
        "total_reads_processed": sum(cores, |core| core.stats.reads),
        "total_writes_processed": sum(cores, |core| core.stats.writes),
        "client_query_buffer_limit_disconnections": sum(cores, |core| core.stats.query_buffer_disconnections),
        "client_output_buffer_limit_disconnections": sum(cores, |core| core.stats.output_buffer_disconnections),
        "eventloop_cycles": sum(cores, |core| core.stats.turns),
        "acl_access_denied_auth": sum(cores, |core| core.stats.denied[Reason::Auth as usize]),
        "acl_access_denied_cmd": sum(cores, |core| core.stats.denied[Reason::Command as usize]),
        "acl_access_denied_key": sum(cores, |core| core.stats.denied[Reason::Key as usize]),
        "acl_access_denied_channel": sum(cores, |core| core.stats.denied[Reason::Channel as usize]),
        "total_turns": sum(cores, |core| core.stats.turns),
    }
}
