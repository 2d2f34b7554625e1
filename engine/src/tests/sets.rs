//! Sets that are kept in another way when something else comes into them.

use emberkv_log::{DbId, SyncPolicy};

use super::rig::{Rig, bulk};
use crate::collections::{Compact, CompactSet};
use crate::partition::Limits;

fn members(texts: &[String]) -> String {
    format!("*{}\r\n{}", texts.len(), texts.iter().map(|text| bulk(text)).collect::<String>())
}

fn is_split(rig: &Rig, key: &str) -> bool {
    let found = rig.partition.peek(rig.partition.key(DbId(0), key.as_bytes())).live();
    found.and_then(|found| rig.partition.root(found)).is_some()
}

#[test]
fn integers_stay_in_their_order_when_another_member_comes() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    let listpack = Compact { entries: 1000, value: 64 };
    rig.partition.set_limits(Limits { compact_set: CompactSet { integers: 512, listpack }, ..rig.partition.limits });
    let mixed: Vec<String> = (0..400).map(|i| (i * 7919 % 400 - 100).to_string()).collect();
    rig.ask(0, &format!("sadd s {}", mixed.join(" ")));
    let mut all: Vec<String> = (-100..300).map(|i| i.to_string()).collect();
    assert!(is_split(&rig, "s"));
    assert_eq!(rig.ask(0, "object encoding s"), bulk("intset"));
    assert_eq!(rig.ask(0, "smembers s"), members(&all));
    rig.ask(0, "srem s 5");
    all.retain(|member| member != "5");
    rig.ask(0, "sadd s x 5 y");
    all.extend(["x", "5", "y"].map(str::to_owned));
    assert_eq!(rig.ask(0, "object encoding s"), bulk("listpack"));
    assert_eq!(rig.ask(0, "smembers s"), members(&all));
    assert_eq!(rig.ask(0, "scard s"), format!(":{}\r\n", all.len()));
    while rig.partition.sweep(1000) {}
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let mut rig = Rig::new(4, SyncPolicy::EverySec);
    let many: String = (0..500).map(|i| format!(" member{i}")).collect();
    for line in ["sadd small a b".to_owned(), format!("sadd large{many}")] {
        rig.ask(0, &line);
        let before = rig.partition.log().tail();
        assert_eq!(rig.ask(0, &line), ":0\r\n");
        assert_eq!(rig.partition.log().tail(), before);
    }
}
