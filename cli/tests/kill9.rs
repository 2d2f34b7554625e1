//! `kill -9` under pipelined writes: every acknowledged write is there after the restart, and
//! nothing that nobody wrote. The long form is `emberkv-torture kill`;
//! `EMBERKV_KILL_ROUNDS` and `EMBERKV_KILL_SEED` change this short one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::number;
use emberkv_torture::kill::{self, KillPlan};

fn survives_kill9(appendfsync: &str) {
    let (rounds, seed) = (number("EMBERKV_KILL_ROUNDS", 6), number("EMBERKV_KILL_SEED", 1));
    for io in common::drivers() {
        let dir = common::dir("kill9");
        let spec = common::spec(dir.path(), &["--appendfsync", appendfsync]);
        let spec = spec.args(common::driver_args(io));
        let report = kill::run(&KillPlan::new(spec, rounds, seed)).unwrap();
        println!("appendfsync {appendfsync}, io {io}, seed {seed}\n{report}\n");
        assert!(report.is_clean(), "appendfsync {appendfsync}, io {io}, seed {seed}\n{report}");
        assert!(report.acked > 0, "nothing was acknowledged: nothing was shown");
    }
}

#[test]
fn loses_no_acknowledged_write_in_everysec() {
    survives_kill9("everysec");
}

#[test]
fn loses_no_acknowledged_write_in_always() {
    survives_kill9("always");
}
