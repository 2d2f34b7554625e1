//! Hashes that grow faster than a field at a time.

use emberkv_log::{DbId, SyncPolicy};

use super::rig::{Rig, bulk};
use crate::collections::Root;

fn root(rig: &Rig, key: &str) -> Root {
    let found = rig.partition.peek(rig.partition.key(DbId(0), key.as_bytes())).live();
    found.and_then(|found| rig.partition.root(found)).expect("it is split")
}

fn hset(key: &str, fields: std::ops::Range<usize>) -> String {
    let pairs: String = fields.map(|i| format!(" field{i} value{i}")).collect();
    format!("hset {key}{pairs}")
}

#[test]
fn thousands_of_fields_come_in_one_command() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    assert_eq!(rig.ask(0, &hset("h", 0..3000)), ":3000\r\n");
    // into one that is split, and half of them are there
    assert_eq!(rig.ask(0, &hset("h", 1500..4500)), ":1500\r\n");
    // one that was whole
    assert_eq!(rig.ask(0, &hset("g", 0..3)), ":3\r\n");
    assert_eq!(rig.ask(0, &hset("g", 1..2000)), ":1997\r\n");
    for (key, count) in [("h", 4500), ("g", 2000)] {
        assert_eq!(rig.ask(0, &format!("hlen {key}")), format!(":{count}\r\n"));
        (0..count).for_each(|i| assert_eq!(rig.ask(0, &format!("hget {key} field{i}")), bulk(&format!("value{i}"))));
        let root = root(&rig, key);
        assert!((100..=400).contains(&(root.bytes / u64::from(root.leaves))), "{root:?}");
    }
    let removed: String = (0..4490).map(|i| format!(" field{i}")).collect();
    assert_eq!(rig.ask(0, &format!("hdel h{removed}")), ":4490\r\n");
    assert_eq!(rig.ask(0, "hlen h"), ":10\r\n");
    while rig.partition.sweep(1000) {}
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn a_long_value_brings_no_more_leaves_than_its_field_does() {
    let mut rig = Rig::new(4, SyncPolicy::EverySec);
    rig.ask(0, &hset("h", 0..500));
    let before = root(&rig, "h").leaves;
    let long = "v".repeat(100_000);
    assert_eq!(rig.ask(0, &format!("hset h long {long}")), ":1\r\n");
    let after = root(&rig, "h").leaves;
    assert!(after > before && after <= before + 2, "{before} and {after}");
    assert_eq!(rig.ask(0, "hdel h long"), ":1\r\n");
    (0..500).for_each(|i| assert_eq!(rig.ask(0, &format!("hget h field{i}")), bulk(&format!("value{i}"))));
    rig.check_counts();
}
