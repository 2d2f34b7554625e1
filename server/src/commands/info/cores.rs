//! INFO cores.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;

/// A line for each core. `ops`: commands of its connections; `hops`: those of them that were sent to other cores, in so
/// many `parcels`; `visits`: commands that others have sent; `away`: those not answered yet; `busy_ms`: cpu time of
/// its thread.
pub(super) fn write(text: &mut String, _: &Shard, cores: &[Snapshot]) {
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
