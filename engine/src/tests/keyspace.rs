//! Walks over the keys while they change: SCAN, KEYS, RANDOMKEY, DBSIZE.

use std::collections::{BTreeMap, BTreeSet};

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;

use super::lives::{lives, with_seeds};
use super::rig::{NIL, Rig};

/// The strings in a reply, in order, the nesting left out.
fn strings(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') {
            all.extend(lines.next().map(str::to_owned));
        }
    }
    all
}

/// A complete pass, with `between` after each call: the keys, as often as they were reported.
fn pass(rig: &mut Rig, db: u8, options: &str, mut between: impl FnMut(&mut Rig)) -> BTreeMap<String, usize> {
    let mut reported = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut found = strings(&rig.ask(db, &format!("SCAN {cursor} {options}"))).into_iter();
        cursor = found.next().unwrap();
        found.for_each(|key| *reported.entry(key).or_default() += 1);
        if cursor == "0" {
            break reported;
        }
        between(rig);
    }
}

#[test]
fn a_complete_scan_reports_what_was_there_throughout_exactly_once() {
    with_seeds(lives(8), |seed| {
        let mut choices = Choices::new(seed);
        let mut rig = Rig::new(seed, SyncPolicy::EverySec);
        let stay: BTreeSet<String> = (0..choices.below(3000)).map(|i| format!("stay{i}")).collect();
        for key in &stay {
            rig.ask(1, &format!("SET {key} 1"));
            if choices.one_in(2) {
                rig.ask(0, &format!("SET {key} 1"));
            }
            if choices.one_in(4) {
                rig.ask(1, &format!("SET goes{key} 1 PX {}", 1 + choices.below(2000)));
            }
        }
        let count = 1 + choices.below(200);
        let reported = pass(&mut rig, 1, &format!("COUNT {count}"), |rig| {
            for _ in 0..choices.below(50) {
                let key = choices.below(2000);
                match choices.below(4) {
                    0 => rig.ask(1, &format!("SET goes{key} 1")),
                    1 => rig.ask(1, &format!("DEL goes{key}")),
                    // a key that stays may change
                    2 => rig.ask(1, &format!("SET stay{key} 2 XX")),
                    _ => rig.ask(0, &format!("SET goes{key} 1")),
                };
            }
            if choices.one_in(20) {
                rig.ask(0, "FLUSHDB");
            }
            rig.pass(choices.below(20));
            rig.partition.expire(10);
            rig.partition.sweep(10);
        });
        for key in &stay {
            assert_eq!(reported.get(key), Some(&1), "{key}");
        }
        assert!(reported.keys().all(|key| key.starts_with("stay") || key.starts_with("goes")));
        // what has not changed in between is reported once, and nothing else
        rig.clean();
        let quiet = pass(&mut rig, 1, "", |_| {});
        assert!(quiet.values().all(|times| *times == 1));
        let mut keys = strings(&rig.ask(1, "KEYS *"));
        keys.sort();
        assert!(keys.iter().eq(quiet.keys()));
        assert_eq!(rig.ask(1, "DBSIZE"), format!(":{}\r\n", keys.len()));
        let some: Vec<_> = keys.iter().filter(|key| key.starts_with("stay1")).cloned().collect();
        let mut matched = strings(&rig.ask(1, "KEYS stay1*"));
        matched.sort();
        assert_eq!(matched, some);
        assert!(pass(&mut rig, 1, "MATCH stay1* COUNT 100", |_| {}).into_keys().eq(some));
        assert!(pass(&mut rig, 1, "TYPE list COUNT 1000", |_| {}).is_empty());
    });
}

#[test]
fn randomkey_returns_keys_that_exist_and_comes_to_all_of_them() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    assert_eq!(rig.ask(0, "RANDOMKEY"), NIL);
    for i in 0..1000 {
        rig.ask(1, &format!("SET other{i} 1"));
        rig.ask(0, &format!("SET flushed{i} 1"));
    }
    rig.ask(0, "FLUSHDB");
    assert_eq!(rig.ask(0, "RANDOMKEY"), NIL);
    for i in 0..5 {
        rig.ask(0, &format!("SET mine{i} 1"));
        rig.ask(0, &format!("SET expired{i} 1 PX 10"));
    }
    rig.pass(10);
    let found: BTreeSet<String> = (0..500).flat_map(|_| strings(&rig.ask(0, "RANDOMKEY"))).collect();
    assert!(found.into_iter().eq((0..5).map(|i| format!("mine{i}"))));
    (0..5).for_each(|i| drop(rig.ask(0, &format!("DEL mine{i}"))));
    assert_eq!(rig.ask(0, "RANDOMKEY"), NIL, "only expired keys are left");
}

#[test]
fn scan_refuses_what_redis_refuses() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for (line, reply) in [
        ("SCAN q", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SCAN 0 COUNT", "-ERR syntax error\r\n"),
        ("SCAN 0 COUNT q", "-ERR value is not an integer or out of range\r\n"),
        ("SCAN 0 FOO 1", "-ERR syntax error\r\n"),
        ("SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n"),
    ] {
        assert_eq!(rig.ask(0, line), reply, "{line}");
    }
}
