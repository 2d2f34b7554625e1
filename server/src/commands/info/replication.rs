//! INFO replication: a primary without replicas.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, _: &Shard, _: &[Snapshot]) {
    lines! { text,
        "role": "master",
        "connected_slaves": 0,
    }
}
