//! Checkpoints, step by step.

use emberkv_log::SyncPolicy;
use emberkv_log::disk::Disk;

use super::rig::{Rig, bulk};

fn filled(keys: usize) -> Rig {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    for key in 0..keys {
        rig.ask(0, &format!("set k{key} {key}"));
    }
    rig
}

fn names(rig: &Rig) -> Vec<String> {
    let mut names = rig.disk.list().unwrap();
    names.retain(|name| name.starts_with("checkpoint-"));
    names
}

#[test]
fn a_start_goes_on_from_a_checkpoint() {
    let mut rig = filled(3000);
    rig.ask(1, "set k1 other px 1000");
    assert!(rig.checkpoint());
    rig.ask(0, "del k7");
    rig.ask(0, "set late 1");
    rig.run_all();
    let mut again = rig.killed();
    assert!(again.from_checkpoint);
    assert_eq!(again.contents(), rig.contents());
    again.check_counts();
    assert_eq!(again.ask(0, "dbsize"), ":3000\r\n");
    // what expires is found without being asked for
    again.pass(2000);
    for _ in 0..10_000 {
        again.partition.expire(10);
    }
    assert_eq!(again.ask(1, "dbsize"), ":0\r\n");
    assert_eq!(again.ask(0, "get k8"), bulk("8"));
}

#[test]
fn two_are_kept_and_a_damaged_one_is_left_out() {
    let mut rig = filled(100);
    for round in 0..4 {
        rig.ask(0, &format!("set round {round}"));
        assert!(rig.checkpoint());
    }
    assert_eq!(names(&rig), ["checkpoint-0-3", "checkpoint-0-4"]);
    rig.disk.flip_bit("checkpoint-0-4", 5000 * 8);
    let mut again = rig.killed();
    assert!(again.from_checkpoint, "the older one will do");
    assert_eq!(again.contents(), rig.contents());
    assert_eq!(names(&again), ["checkpoint-0-3"]);
    again.disk.flip_bit("checkpoint-0-3", 3);
    let mut last = again.killed();
    assert!(!last.from_checkpoint && names(&last).is_empty());
    assert_eq!(last.contents(), rig.contents());
}

#[test]
fn a_flush_ends_a_checkpoint_and_another_is_begun() {
    for flush in ["flushall", "flushdb"] {
        let mut rig = filled(3000);
        rig.ask(1, "set other 1");
        rig.partition.begin_checkpoint();
        rig.partition.save_some(1);
        rig.run_all();
        rig.ask(0, flush);
        rig.ask(0, "set k1 1");
        assert!(rig.partition.is_saving());
        assert!(rig.checkpoint());
        let mut again = rig.killed();
        assert!(again.from_checkpoint);
        assert_eq!(again.contents(), rig.contents());
        assert_eq!(again.ask(0, "dbsize"), ":1\r\n");
        again.check_counts();
    }
}

#[test]
fn a_disk_that_takes_none_changes_nothing_else() {
    let mut rig = filled(3000);
    rig.run_all();
    rig.disk.set_capacity(Some(rig.disk.used()));
    assert!(!rig.checkpoint());
    assert!(rig.partition.checkpoint_stats().has_failed);
    assert!(names(&rig).is_empty(), "nothing is left of it");
    rig.disk.set_capacity(None);
    assert!(rig.checkpoint());
    assert!(!rig.partition.checkpoint_stats().has_failed);
    assert_eq!(rig.killed().contents(), rig.contents());
}
