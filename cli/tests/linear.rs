//! Concurrent histories over real sockets: every key, every group of keys that MSET writes as a whole and every
//! database that FLUSHDB empties is linearizable, and pipelines keep redis's order over several keys. The long form is
//! `emberkv-torture linear`; `EMBERKV_LINEAR_SECONDS` and `EMBERKV_LINEAR_SEED` change this short one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::number;
use emberkv_torture::linear::{self, LinearPlan};

fn histories(args: &[&str], kills: bool) {
    let (seconds, seed) = (number("EMBERKV_LINEAR_SECONDS", 3), number("EMBERKV_LINEAR_SEED", 1));
    for io in common::drivers() {
        let dir = common::dir("linear");
        let spec = common::spec(dir.path(), args).args(common::driver_args(io));
        let mut plan = LinearPlan::new(spec, Duration::from_secs(seconds), seed);
        plan.kills = kills;
        let report = linear::run(&plan).unwrap();
        println!("{args:?}, io {io}, seed {seed}\n{report}\n");
        assert!(report.is_clean(), "{args:?}, io {io}, seed {seed}\n{report}");
        assert!(report.explained > 10 * report.undecided, "too little was decided\n{report}");
    }
}

#[test]
fn histories_of_one_core_are_linearizable() {
    histories(&["--cores", "1"], false);
}

#[test]
fn histories_of_two_cores_with_direct_reads_are_linearizable() {
    histories(&["--cores", "2", "--direct-reads", "yes"], false);
}

#[test]
fn histories_of_two_cores_without_direct_reads_are_linearizable() {
    histories(&["--cores", "2", "--direct-reads", "no"], false);
}

#[test]
fn nothing_that_was_answered_by_two_cores_is_gone_after_a_kill() {
    histories(&["--cores", "2"], true);
    histories(&["--cores", "2", "--appendfsync", "always"], true);
}
