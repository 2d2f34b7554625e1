//! Sorted sets that grow faster than a member at a time, and places in large ones.

use emberkv_log::disk::sim::Choices;
use emberkv_log::{DbId, SyncPolicy};

use super::rig::{Rig, bulk};
use crate::collections::Root;

fn root(rig: &Rig, key: &str) -> Option<Root> {
    let found = rig.partition.peek(rig.partition.key(DbId(0), key.as_bytes())).live();
    found.and_then(|found| rig.partition.root(found))
}

/// The members in order, as a reply.
fn array(members: &[(i64, String)]) -> String {
    let all: String = members.iter().map(|(_, member)| bulk(member)).collect();
    format!("*{}\r\n{all}", members.len())
}

fn zadd(key: &str, members: &[(i64, String)]) -> String {
    let pairs: String = members.iter().map(|(score, member)| format!(" {score} {member}")).collect();
    format!("zadd {key}{pairs}")
}

fn several(count: i64, step: i64) -> Vec<(i64, String)> {
    (0..count).map(|i| (i * step % 1009, format!("member{i:05}"))).collect()
}

/// Unloads what can be, so that most of it has to be brought.
fn unload(rig: &mut Rig) {
    rig.settle();
    for unloadable in rig.partition.log.unloadable() {
        rig.partition.log.unload(unloadable.sequence);
    }
    rig.partition.log.shrink_kept(0);
}

#[test]
fn thousands_of_members_come_in_one_command() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    let mut all = several(3000, 7);
    assert_eq!(rig.ask(0, &zadd("z", &all)), ":3000\r\n");
    // into one that is split, and half of them are there
    all.iter_mut().skip(1500).for_each(|(score, _)| *score += 5);
    let more = (3000..4500).map(|i| (i % 77, format!("member{i:05}")));
    all.extend(more);
    assert_eq!(rig.ask(0, &zadd("z", &all[1500..])), ":1500\r\n");
    all.sort();
    assert_eq!(rig.ask(0, "zrange z 0 -1"), array(&all));
    for (place, (score, member)) in all.iter().enumerate() {
        assert_eq!(rig.ask(0, &format!("zrank z {member}")), format!(":{place}\r\n"));
        assert_eq!(rig.ask(0, &format!("zscore z {member}")), bulk(&score.to_string()));
    }
    rig.check_counts();
    rig.contents();
    let gone: String = all[10..].iter().map(|(_, member)| format!(" {member}")).collect();
    assert_eq!(rig.ask(0, &format!("zrem z{gone}")), ":4490\r\n");
    assert_eq!(rig.ask(0, "zrange z 0 -1"), array(&all[..10]));
    while rig.partition.sweep(1000) {}
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn ranges_of_a_large_one_are_cut_out_whatever_is_in_memory() {
    for seed in 0..6 {
        let mut choices = Choices::new(seed);
        let mut rig = Rig::new(seed, SyncPolicy::EverySec);
        let mut all = several(1500, 13);
        for part in all.chunks(40) {
            rig.ask(0, &zadd("z", part));
            // so that it is in several segments
            rig.ask(0, &format!("set filler {}", "x".repeat(3000)));
            rig.run_all();
        }
        all.sort();
        while !all.is_empty() {
            if choices.one_in(3) {
                unload(&mut rig);
            }
            let from = choices.below(all.len() as u64) as usize;
            let count = (1 + choices.below(60) as usize).min(all.len() - from);
            match choices.below(4) {
                0 => {
                    let gone: Vec<_> = all.drain(..count.min(all.len())).collect();
                    let reply: String =
                        gone.iter().map(|(score, member)| bulk(member) + &bulk(&score.to_string())).collect();
                    let reply = format!("*{}\r\n{reply}", gone.len() * 2);
                    assert_eq!(rig.ask(0, &format!("zpopmin z {}", gone.len())), reply);
                }
                1 => {
                    let gone = all.split_off(all.len() - count.min(all.len()));
                    let reply: String =
                        gone.iter().rev().map(|(score, member)| bulk(member) + &bulk(&score.to_string())).collect();
                    let reply = format!("*{}\r\n{reply}", gone.len() * 2);
                    assert_eq!(rig.ask(0, &format!("zpopmax z {}", gone.len())), reply);
                }
                2 => {
                    all.drain(from..from + count);
                    let line = format!("zremrangebyrank z {from} {}", from + count - 1);
                    assert_eq!(rig.ask(0, &line), format!(":{count}\r\n"));
                }
                _ => {
                    let score = all[from].0;
                    let gone = all.iter().filter(|(other, _)| *other == score).count();
                    all.retain(|(other, _)| *other != score);
                    assert_eq!(rig.ask(0, &format!("zremrangebyscore z {score} {score}")), format!(":{gone}\r\n"));
                }
            }
            assert_eq!(rig.ask(0, "zcard z"), format!(":{}\r\n", all.len()));
            if choices.one_in(10) {
                assert_eq!(rig.ask(0, "zrange z 0 -1"), array(&all));
                rig.bring_all();
                rig.contents();
                rig.check_counts();
            }
        }
        assert!(root(&rig, "z").is_none());
        assert_eq!(rig.ask(0, "exists z"), ":0\r\n");
        rig.bring_all();
        while rig.partition.sweep(1000) {}
        rig.check_counts();
    }
}
