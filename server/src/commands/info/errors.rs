//! INFO errorstats.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;
use crate::meter::Errors;

pub(super) fn write(text: &mut String, _: &Shard, cores: &[Snapshot]) {
    let mut all = Errors::default();
    cores.iter().for_each(|core| all.merge(&core.errors));
    for (code, count) in all.by_code() {
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
}
