//! INFO keyspace.

use std::fmt::Write;

use emberkv_engine::DbStats;

use super::snapshot::{Snapshot, partitions};
use crate::core::shard::Shard;

/// Counts of each database, over all partitions.
pub(crate) fn dbs(shard: &Shard, cores: &[Snapshot]) -> impl Iterator<Item = (usize, DbStats)> {
    (0..shard.config.databases as usize).map(|db| {
        let mut all = DbStats::default();
        for stats in partitions(cores).filter_map(|partition| partition.dbs.get(db)) {
            all.keys += stats.keys;
            all.expires += stats.expires;
            all.expiry_sum_ms += stats.expiry_sum_ms;
        }
        (db, all)
    })
}

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    for (db, all) in dbs(shard, cores).filter(|(_, all)| all.keys > 0) {
        let _ = write!(
            text,
            "db{db}:keys={},expires={},avg_ttl={},subexpiry=0\r\n",
            all.keys,
            all.expires,
            all.average_ttl_ms(shard.now_ms)
        );
    }
}
