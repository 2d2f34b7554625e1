//! Fields that expire, asked for or not, against a plain model; through kills and checkpoints.

use std::collections::BTreeMap;

use emberkv_log::disk::sim::Choices;
use emberkv_log::{DbId, Purpose, SyncPolicy, Value};

use super::rig::{NIL, Rig, START_MS, bulk};
use crate::collections::{Encoding, Head, Type, Whole, push_field};
use crate::lookup::Lookup;

/// The value of each field, and when it expires; 0: never.
type Fields = BTreeMap<String, (String, u64)>;

fn expire_all(rig: &mut Rig) {
    while rig.partition.expire(1000) {
        rig.run_all();
    }
}

fn keys(rig: &Rig) -> u64 {
    rig.partition.db_stats(DbId(0)).keys
}

#[test]
fn fields_go_at_their_times_without_anybody_asking() {
    for (count, text) in [(8u64, "v"), (400, "a value of some length")] {
        let mut rig = Rig::new(5, SyncPolicy::EverySec);
        for i in 0..count {
            rig.ask(0, &format!("hset h f{i} {}", text.replace(' ', "-")));
            rig.ask(0, &format!("hpexpireat h {} fields 1 f{i}", START_MS + 1000 * (i + 1)));
        }
        for left in (1..=count).rev() {
            assert_eq!(rig.ask(0, "hlen h"), format!(":{left}\r\n"));
            rig.pass(1000 + if left == count { 16 } else { 0 });
            expire_all(&mut rig);
            assert_eq!(rig.partition.stats().expired_fields, count - left + 1);
            if left == count / 2 {
                break;
            }
        }
        rig.settle();
        let contents = rig.contents();
        let mut again = rig.killed();
        assert!(again.contents() == contents);
        again.pass(1000 * count + 16);
        expire_all(&mut again);
        assert_eq!(keys(&again), 0, "a start knows their times");
        while again.partition.sweep(1000) {}
        again.check_counts();
    }
}

#[test]
fn a_start_from_a_checkpoint_knows_when_fields_expire() {
    let mut rig = Rig::new(6, SyncPolicy::EverySec);
    rig.ask(0, "hset h a 1 b 2");
    rig.ask(0, "hpexpire h 5000 fields 1 a");
    rig.settle();
    while !rig.checkpoint() {}
    rig.settle();
    let mut rig = rig.killed();
    rig.bring_all(); // of what is not in memory fields go when they are asked for
    rig.pass(6000);
    expire_all(&mut rig);
    assert_eq!(rig.partition.stats().expired_fields, 1);
    assert_eq!(rig.ask(0, "hlen h"), ":1\r\n");
}

#[test]
fn a_hash_without_times_has_the_bytes_that_it_had() {
    let mut rig = Rig::new(7, SyncPolicy::EverySec);
    rig.ask(0, "hset h a 1 b 2");
    let found = rig.partition.peek(rig.partition.key(DbId(0), b"h")).live().expect("it is there");
    let Value::Whole(bytes) = rig.partition.value(found) else { panic!("it is small") };
    assert_eq!(bytes, b"\x04\x02\x01\x01a1\x01\x01b2");
}

#[test]
fn a_hash_that_says_something_else_than_its_fields_is_set_right() {
    let mut rig = Rig::new(8, SyncPolicy::EverySec);
    let head = Head { due_ms: 1, ..Head::new(Type::Hash, Encoding::ListpackEx, 1) };
    let mut pairs = Vec::new();
    push_field(&mut pairs, head.plain(), 0, b"a", b"1", 0);
    let key = rig.partition.key(DbId(0), b"h");
    rig.partition.reserve(200, Purpose::Grow).expect("there is room");
    rig.partition.put(key, Value::Whole(&Whole::write(head, &pairs)), None, Lookup::Absent);
    rig.pass(100);
    expire_all(&mut rig);
    assert_eq!(rig.ask(0, "hget h a"), bulk("1"));
    assert_eq!(rig.contents().len(), 1, "its head says what its fields do");
}

#[test]
fn fields_are_what_a_plain_model_says() {
    for seed in 0..6 {
        let mut choices = Choices::new(seed);
        let mut rig = Rig::new(seed, SyncPolicy::EverySec);
        let of = [10, 60, 700][seed as usize % 3];
        let mut model = Fields::new();
        for step in 0..1500 {
            model.retain(|_, (_, ms)| *ms == 0 || *ms > rig.now_ms());
            let field = format!("field-{}", choices.below(of));
            let ms = rig.now_ms() + choices.below(20_000);
            let old = model.get(&field).cloned();
            match choices.below(12) {
                0..4 => {
                    let value = format!("value-{}", choices.below(1000));
                    rig.ask(0, &format!("hset h {field} {value}"));
                    model.insert(field, (value, 0));
                }
                4..6 => {
                    rig.ask(0, &format!("hsetex h pxat {ms} fields 1 {field} x"));
                    model.insert(field, ("x".to_owned(), ms));
                }
                6..9 => {
                    let answer = rig.ask(0, &format!("hpexpireat h {ms} fields 1 {field}"));
                    let expected = if old.is_none() {
                        -2
                    } else if ms <= rig.now_ms() {
                        2
                    } else {
                        1
                    };
                    assert_eq!(answer, format!("*1\r\n:{expected}\r\n"), "seed {seed}, step {step}");
                    if let Some((_, expires)) = model.get_mut(&field) {
                        *expires = ms;
                    }
                }
                9 => {
                    rig.ask(0, &format!("hpersist h fields 1 {field}"));
                    if let Some((_, expires)) = model.get_mut(&field) {
                        *expires = 0;
                    }
                }
                10 => {
                    rig.ask(0, &format!("hdel h {field}"));
                    model.remove(&field);
                }
                _ => {
                    rig.pass(choices.below(500));
                    if choices.one_in(2) {
                        expire_all(&mut rig);
                    }
                    if choices.one_in(20) {
                        rig.settle();
                        rig = rig.killed();
                    }
                }
            }
            model.retain(|_, (_, ms)| *ms == 0 || *ms > rig.now_ms());
            if step % 50 == 0 {
                assert_eq!(rig.ask(0, "hlen h"), format!(":{}\r\n", model.len()), "seed {seed}, step {step}");
                for number in 0..of {
                    let field = format!("field-{number}");
                    let (value, ms) = match model.get(&field) {
                        Some((value, ms)) => (bulk(value), if *ms == 0 { -1 } else { *ms as i64 }),
                        None => (NIL.to_owned(), -2),
                    };
                    assert_eq!(rig.ask(0, &format!("hget h {field}")), value, "seed {seed}, step {step}");
                    let answer = rig.ask(0, &format!("hpexpiretime h fields 1 {field}"));
                    assert_eq!(answer, format!("*1\r\n:{ms}\r\n"), "seed {seed}, step {step}");
                }
                rig.check_counts();
                rig.contents();
            }
        }
    }
}
