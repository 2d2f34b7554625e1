//! `kill -9` under pipelined writes: every acknowledged write is there after the restart, and
//! nothing that nobody wrote; commands over several partitions are whole. The long form is `emberkv-torture kill`;
//! `EMBERKV_KILL_ROUNDS`, `EMBERKV_REPLICA_ROUNDS` and `EMBERKV_KILL_SEED` change this short one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::number;
use emberkv_torture::kill::{self, KillPlan};
use emberkv_torture::power::{self, PowerPlan};

fn survives_kill9(appendfsync: &str, cores: &[u16]) {
    let (rounds, seed) = (number("EMBERKV_KILL_ROUNDS", 6), number("EMBERKV_KILL_SEED", 1));
    for io in common::drivers() {
        let dir = common::dir("kill9");
        let spec = common::spec(dir.path(), &["--appendfsync", appendfsync]);
        let spec = spec.args(common::driver_args(io));
        let report = kill::run(&KillPlan::new(spec, rounds, seed).cores(cores)).unwrap();
        println!("appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}\n");
        assert!(report.is_clean(), "appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}");
        assert!(report.acked > 0, "nothing was acknowledged: nothing was shown");
    }
}

#[test]
fn loses_no_acknowledged_write_in_everysec() {
    survives_kill9("everysec", &[1]);
}

#[test]
fn loses_no_acknowledged_write_in_always() {
    survives_kill9("always", &[1]);
}

#[test]
fn loses_nothing_of_two_partitions_that_other_numbers_of_cores_serve() {
    if common::is_ember() {
        survives_kill9("everysec", &[2, 1, 3]);
        survives_kill9("always", &[2]);
    }
}

/// Both sides are killed, the link between them is cut, slow or breaks, and now and then they change places.
#[test]
fn a_replica_has_what_its_primary_has() {
    if !common::is_ember() {
        return;
    }
    let (rounds, seed) = (number("EMBERKV_REPLICA_ROUNDS", 6), number("EMBERKV_KILL_SEED", 1));
    for (io, appendfsync, cores) in [("uring", "everysec", [2, 3]), ("epoll", "always", [1, 2])] {
        let dir = common::dir("kill9-replica");
        let spec = common::spec(dir.path(), &["--appendfsync", appendfsync]).args(common::driver_args(io));
        let report = kill::run_with_replica(&KillPlan::new(spec, rounds, seed).cores(&cores)).unwrap();
        println!("with a replica, appendfsync {appendfsync}, io {io}, seed {seed}\n{report}\n");
        assert!(report.is_clean() && report.primary.acked > 0, "{appendfsync}, io {io}, seed {seed}\n{report}");
        assert!(report.replica_kills + report.promotions + report.breaks > 0, "nothing was in its way: {report}");
    }
}

/// Values are compressed, and most of what is old is read from the files.
#[test]
fn loses_nothing_of_what_is_not_in_memory() {
    if !common::is_ember() {
        return;
    }
    let seed = number("EMBERKV_KILL_SEED", 1);
    let dir = common::dir("kill9-spill");
    let args = ["--maxmemory", "16mb", "--maxmemory-policy", "spill", "--compress-values-from", "64"];
    let spec = common::spec(dir.path(), &args).args(["--segment-size", "1mb"]);
    let report = kill::run(&KillPlan::new(spec, number("EMBERKV_KILL_ROUNDS", 6), seed).cores(&[2, 1])).unwrap();
    println!("little memory, seed {seed}\n{report}\n");
    assert!(report.is_clean() && report.acked > 0, "little memory, seed {seed}\n{report}");
}

/// Unsynced ends of logs are taken away after the kill.
#[test]
fn transactions_are_whole_after_a_power_loss() {
    if !common::is_ember() {
        return;
    }
    let seed = number("EMBERKV_KILL_SEED", 1);
    for (io, cores) in common::drivers().into_iter().zip(["2", "3"]) {
        let dir = common::dir("power");
        let spec = common::spec(dir.path(), &["--cores", cores, "--segment-size", "1mb"]);
        let spec = spec.args(common::driver_args(io));
        let rounds = number("EMBERKV_KILL_ROUNDS", 6);
        let report = power::run(&PowerPlan { spec, rounds, connections: 4, seed }).unwrap();
        println!("io {io}, cores {cores}, seed {seed}\n{report}\n");
        assert!(report.is_clean(), "io {io}, cores {cores}, seed {seed}\n{report}");
        assert!(report.cuts > 0 && report.acked > 0, "nothing was lost: nothing was shown");
    }
}
