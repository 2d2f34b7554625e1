//! INFO replication: redis's fields, and where each partition is.

use std::fmt::Write;

use super::Snapshot;
use crate::core::shard::{Data, Shard};
use crate::replicate::{Link, State, replid};

pub(super) fn write(text: &mut String, shard: &Shard, _: &[Snapshot]) {
    match &shard.link {
        Some(link) => write_replica(text, shard, link),
        None => {
            lines! { text, "role": "master" }
        }
    }
    let cut_off = shard.peers.replication.openings().cut_off;
    if !cut_off.is_empty() {
        lines! { text, "repl_cut_off_files": cut_off.len() }
    }
    for (i, cut) in cut_off.iter().enumerate() {
        let (partition, from, to, file) = (cut.partition.0, cut.from.0, cut.to.0, shard.config.dir.join(cut.name()));
        let file = file.display();
        // writing to a string does not fail
        let _ = write!(text, "repl_cut_off_{i}:partition={partition},from={from},to={to},file={file}\r\n");
    }
    let now_ms = shard.up_ms;
    let replicas: Vec<_> = shard.peers.replication.replicas().connected().cloned().collect();
    lines! { text, "connected_slaves": replicas.len() }
    if shard.link.is_none() && shard.config.min_replicas_to_write > 0 && shard.config.min_replicas_max_lag > 0 {
        lines! { text, "min_slaves_good_slaves": shard.peers.replication.good() }
    }
    for (i, replica) in replicas.iter().enumerate() {
        let (ip, port, offset) = (&replica.ip, replica.port, replica.offset());
        let lag = now_ms.saturating_sub(replica.seen_ms) / 1000;
        // writing to a string does not fail
        let _ = write!(text, "slave{i}:ip={ip},port={port},state=online,offset={offset},lag={lag}\r\n");
    }
    let feed = shard.link.as_ref().and_then(|link| link.feed());
    let replid = match (&feed, &shard.data) {
        (Some(feed), _) => {
            let (dataset, life) = feed.names();
            replid(dataset, life)
        }
        (None, Data::Ready(owned)) => owned.ships.replid().to_owned(),
        (None, Data::Loading { .. }) => shard.facts.run_id.clone(),
    };
    lines! { text,
        "master_failover_state": "no-failover",
        "master_replid": replid,
        "master_replid2": "0".repeat(40),
        "master_repl_offset": shard.replication_offset(),
        "second_repl_offset": -1,
        "repl_backlog_active": 0,
        "repl_backlog_size": 0,
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    }
    if let Some(feed) = feed {
        for (partition, (followed, acked)) in feed.followed().into_iter().zip(feed.acked()).enumerate() {
            let _ = write!(text, "repl_partition_{partition}:position={},durable={}\r\n", followed.0, acked.0);
        }
    } else if let Data::Ready(owned) = &shard.data {
        for (partition, gate) in owned.ships.gates().enumerate() {
            let _ = write!(text, "repl_partition_{partition}:position={}", gate.0);
            for (i, replica) in replicas.iter().enumerate() {
                let position = replica.positions().nth(partition).unwrap_or_default();
                let lag = gate.0.saturating_sub(position.0);
                let _ = write!(text, ",slave{i}={},slave{i}_lag_bytes={lag}", position.0);
            }
            text.push_str("\r\n");
        }
    }
}

fn write_replica(text: &mut String, shard: &Shard, link: &Link) {
    let offset = shard.replication_offset();
    let is_up = link.is_up();
    let openings = shard.peers.replication.openings();
    lines! { text,
        "role": "slave",
        "master_host": link.primary.host,
        "master_port": link.primary.port,
        "master_link_status": if is_up { "up" } else { "down" },
        "master_last_io_seconds_ago": if is_up { link.silent_s() } else { -1 },
        "master_sync_in_progress": u8::from(link.state() == State::Sync),
        "slave_read_repl_offset": offset,
        "slave_repl_offset": offset,
        "master_total_sync_attempts": link.attempts(),
        "master_full_syncs": openings.full,
        "master_partial_syncs": openings.partial,
    }
    if !is_up {
        lines! { text, "master_link_down_since_seconds": link.down_s() }
        if let Some(error) = link.error() {
            lines! { text, "master_link_error": error.replace(['\r', '\n'], " ") }
        }
    }
    lines! { text,
        "slave_priority": shard.config.replica_priority,
        "slave_read_only": 1,
        "replica_announced": 1,
    }
}
