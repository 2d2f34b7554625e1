//! INFO cluster: this is none.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, _: &Shard, _: &[Snapshot]) {
    lines! { text,
        "cluster_enabled": 0,
    }
}
