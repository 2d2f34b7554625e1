//! Concurrent histories over real sockets: every key, every group of keys that MSET writes as a whole and every
//! database that FLUSHDB empties is linearizable, and pipelines keep redis's order over several keys. The long form is
//! `emberkv-torture linear`; `EMBERKV_LINEAR_SECONDS` and `EMBERKV_LINEAR_SEED` change this short one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::number;
use emberkv_torture::linear::{self, LinearPlan};

fn histories(args: &[&str]) {
    let (seconds, seed) = (number("EMBERKV_LINEAR_SECONDS", 3), number("EMBERKV_LINEAR_SEED", 1));
    for io in common::drivers() {
        let dir = common::dir("linear");
        let spec = common::spec(dir.path(), args).args(common::driver_args(io));
        let report = linear::run(&LinearPlan::new(spec, Duration::from_secs(seconds), seed)).unwrap();
        println!("{args:?}, io {io}, seed {seed}\n{report}\n");
        assert!(report.is_clean(), "{args:?}, io {io}, seed {seed}\n{report}");
        assert!(report.explained > 10 * report.undecided, "too little was decided\n{report}");
    }
}

#[test]
fn histories_are_linearizable_in_everysec() {
    histories(&["--appendfsync", "everysec"]);
}

#[test]
fn histories_are_linearizable_in_always() {
    histories(&["--appendfsync", "always"]);
}
