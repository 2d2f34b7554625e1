//! INFO cpu.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::Shard;
use crate::process;

pub(super) fn write(text: &mut String, _: &Shard, _: &[Snapshot]) {
    let (user, system) = process::cpu_seconds();
    lines! { text,
        "used_cpu_sys": format!("{system:.6}"),
        "used_cpu_user": format!("{user:.6}"),
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
    }
}
