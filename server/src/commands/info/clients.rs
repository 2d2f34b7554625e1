//! INFO clients.

use std::fmt::Write;

use super::snapshot::{Snapshot, sum};
use crate::core::shard::Shard;

pub(super) fn write(text: &mut String, shard: &Shard, cores: &[Snapshot]) {
    lines! { text,
        "connected_clients": sum(cores, |core| core.clients),
        "maxclients": shard.config.maxclients,
        "client_recent_max_input_buffer": cores.iter().map(|core| core.longest_input).max().unwrap_or(0),
        "client_recent_max_output_buffer": cores.iter().map(|core| core.longest_output).max().unwrap_or(0),
        "blocked_clients": sum(cores, |core| core.waiting),
    }
}
