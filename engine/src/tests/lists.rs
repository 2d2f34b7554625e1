//! Lists that are split, and what a change of a large one writes.

use emberkv_log::{DbId, SyncPolicy};

use super::rig::{Rig, bulk};
use crate::collections::Root;

fn root(rig: &Rig, key: &str) -> Option<Root> {
    let found = rig.partition.peek(rig.partition.key(DbId(0), key.as_bytes())).live();
    found.and_then(|found| rig.partition.root(found))
}

fn push(command: &str, key: &str, elements: std::ops::Range<usize>) -> String {
    let elements: String = elements.map(|i| format!(" element{i}")).collect();
    format!("{command} {key}{elements}")
}

#[test]
fn thousands_of_elements_come_and_go_in_one_command() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    assert_eq!(rig.ask(0, &push("rpush", "l", 0..3000)), ":3000\r\n");
    assert_eq!(rig.ask(0, &push("rpush", "l", 3000..6000)), ":6000\r\n");
    assert_eq!(rig.ask(0, &push("lpush", "m", 0..4000)), ":4000\r\n");
    for i in (0..6000).step_by(7) {
        assert_eq!(rig.ask(0, &format!("lindex l {i}")), bulk(&format!("element{i}")));
    }
    assert_eq!(rig.ask(0, "lindex m 0"), bulk("element3999"));
    assert_eq!(rig.ask(0, "lindex m -1"), bulk("element0"));
    let tree = root(&rig, "l").expect("it is split").tree;
    assert!(tree.height <= 3 && tree.nodes < 800, "{tree:?}");
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
    // what goes is more than what stays: made anew, and swept
    assert_eq!(rig.ask(0, "ltrim l 100 199"), "+OK\r\n");
    assert_eq!(rig.ask(0, "lindex l 0"), bulk("element100"));
    assert_eq!(rig.ask(0, "llen l"), ":100\r\n");
    // less than what stays
    assert_eq!(rig.ask(0, "ltrim m 1500 -1"), "+OK\r\n");
    assert_eq!(rig.ask(0, "lindex m 0"), bulk("element2499"));
    assert!(rig.ask(0, "rpop m 2490").starts_with("*2490\r\n"));
    assert!(rig.ask(0, "rpop m 9").starts_with("*9\r\n"));
    assert!(root(&rig, "m").is_none(), "one element is whole");
    while rig.partition.sweep(1000) {}
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn a_queue_has_as_many_nodes_as_its_elements_need() {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    rig.ask(0, &push("rpush", "q", 0..200));
    let mut ids = vec![root(&rig, "q").expect("it is split").id];
    for i in 0..6000 {
        assert_eq!(rig.ask(0, &format!("rpush q element{}", i + 200)), ":201\r\n");
        assert_eq!(rig.ask(0, "lpop q"), bulk(&format!("element{i}")));
        let Root { id, tree, .. } = root(&rig, "q").expect("it is split");
        assert!(tree.nodes < 30 && tree.next <= 201, "{tree:?}");
        // numbers come to an end, in tests earlier
        if ids.last() != Some(&id) {
            ids.push(id);
            assert!(tree.next < 30, "{tree:?}");
        }
    }
    assert!(ids.len() > 1);
    while rig.partition.sweep(1000) {}
    let tree = root(&rig, "q").expect("it is split").tree;
    // what is swept is what there is, not all that there ever was
    rig.ask(0, "del q");
    assert!(!rig.partition.sweep(100), "{tree:?}");
    rig.check_counts();
}

#[test]
fn an_end_is_pushed_and_popped_with_the_root_alone() {
    let mut rig = Rig::new(6, SyncPolicy::EverySec);
    rig.ask(0, &push("rpush", "l", 0..5000));
    rig.ask(0, "lpush l front");
    let nodes = root(&rig, "l").expect("it is split").tree;
    let before = rig.partition.log().tail();
    for _ in 0..10 {
        rig.ask(0, "lpush l a");
        rig.ask(0, "lpop l");
    }
    assert_eq!(root(&rig, "l").expect("it is split").tree, nodes);
    let bytes = rig.partition.log().tail().0 - before.0;
    assert!(bytes < 20 * 400, "{bytes} bytes");
}

#[test]
fn elements_that_are_longer_than_leaves_have_their_own() {
    let mut rig = Rig::new(7, SyncPolicy::EverySec);
    let long = |i: usize| format!("{i}{}", "x".repeat(300 + i));
    for i in 0..40 {
        rig.ask(0, &format!("{} l {}", if i % 2 == 0 { "rpush" } else { "lpush" }, long(i)));
    }
    assert_eq!(rig.ask(0, "lindex l 0"), bulk(&long(39)));
    assert_eq!(rig.ask(0, &format!("linsert l before {} y", long(4))), ":41\r\n");
    assert_eq!(rig.ask(0, &format!("lset l 3 {}", long(900))), "+OK\r\n");
    assert_eq!(rig.ask(0, "lindex l 3"), bulk(&long(900)));
    assert_eq!(rig.ask(0, "rpop l"), bulk(&long(38)));
    assert_eq!(rig.ask(0, "lrem l 0 y"), ":1\r\n");
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn the_ends_of_a_list_are_counted_once() {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    // the ends are nearly all of what takes memory
    for (key, push, element) in [("l", "rpush", "e".repeat(100)), ("x", "xadd", "e".repeat(100))] {
        let mut least = 0;
        for i in 0..40 {
            let line = if push == "xadd" {
                format!("xadd {key} 1-{} f {element}", i + 1)
            } else {
                format!("rpush {key} {element}")
            };
            rig.ask(0, &line);
            least += element.len() as u64;
            let usage = rig.ask(0, &format!("memory usage {key}"));
            let usage: u64 = usage.trim_start_matches(':').trim_end().parse().unwrap();
            let root = rig
                .partition
                .peek(rig.partition.key(DbId(0), key.as_bytes()))
                .live()
                .and_then(|found| rig.partition.root(found));
            let nodes = root.map_or(0, |root| u64::from(root.tree.nodes));
            let most = least + 40 * (i + 1) + 60 * nodes + 120;
            assert!((least..most).contains(&usage), "{key} of {i}: {usage} is not from {least} to {most}");
        }
    }
}
