//! INFO replication: a primary without replicas.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, shard: &Shard, _: &[Snapshot]) {
    lines! { text,
        "role": "master",
        "connected_slaves": 0,
        "master_failover_state": "no-failover",
        "master_replid": shard.facts.run_id,
        "master_replid2": "0".repeat(40),
        "master_repl_offset": 0,
        "second_repl_offset": -1,
        "repl_backlog_active": 0,
        "repl_backlog_size": 0,
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    }
}
