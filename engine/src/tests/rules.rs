//! Rules that live in the engine, one by one: each holds, and without it something is lost or comes back.

use emberkv_log::plant::{self, Plant};
use emberkv_log::{LogPosition, SyncPolicy};

use super::rig::{NIL, Rig, bulk, words};

/// Runs `check` on what `run` returns as it is, and then says whether it still holds without a rule.
fn holds_without<T>(rule: Plant, run: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> bool {
    assert!(holds(&run()), "with {rule:?} it does not hold");
    plant::set(Some(rule));
    let result = run();
    plant::set(None);
    holds(&result)
}

fn fill(rig: &mut Rig, prefix: &str, bytes: usize) {
    let value = "q".repeat(2000);
    for i in 0..bytes / 2000 {
        assert_eq!(rig.ask(0, &format!("SET {prefix}{i} {value}")), "+OK\r\n");
    }
}

/// A key with an old value in the first segment, a newer one that expires in the second; then all else in
/// the second dies. What a start finds of the key after that.
fn after_an_expiry_and_a_free() -> String {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(0, "SET k old");
    fill(&mut rig, "stays", 60_000);
    fill(&mut rig, "goes", 20_000);
    rig.ask(0, "SET k new PX 100");
    fill(&mut rig, "goes", 130_000);
    rig.pass(1000);
    while rig.partition.expire(10) {}
    assert_eq!(rig.ask(0, "GET k"), NIL);
    fill(&mut rig, "goes", 130_000);
    fill(&mut rig, "goes", 130_000);
    rig.settle();
    let (segments, _) = rig.partition.log().segments();
    let mut rig = rig.killed();
    assert!(segments < 7, "none of {segments} segments was freed");
    rig.ask(0, "GET k")
}

#[test]
fn an_expired_key_does_not_come_back_with_an_older_value() {
    assert!(!holds_without(Plant::T3, after_an_expiry_and_a_free, |reply| reply == NIL));
}

/// What a key of a flushed database is, beside another database that is not empty; now and after a start.
fn after_flushdb() -> (String, String, String, String) {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(1, "SET k gone");
    rig.ask(2, "SET k stays");
    assert_eq!(rig.ask(1, "FLUSHDB"), "+OK\r\n");
    let now = rig.ask(1, "GET k");
    rig.run_all();
    let mut rig = rig.killed();
    rig.check_counts();
    (now, rig.ask(1, "GET k"), rig.ask(2, "GET k"), rig.ask(1, "DBSIZE"))
}

#[test]
fn what_lies_below_a_floor_is_gone_for_good() {
    let expected = (NIL.to_owned(), NIL.to_owned(), bulk("stays"), ":0\r\n".to_owned());
    assert_eq!(after_flushdb(), expected);
    plant::set(Some(Plant::T4));
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(1, "SET k gone");
    rig.ask(2, "SET k stays");
    rig.ask(1, "FLUSHDB");
    assert_eq!(rig.ask(1, "GET k"), bulk("gone"), "without T4 it is read");
    rig.run_all();
    plant::set(None);
    let disk = rig.disk.after_kill();
    let ask = |disk, rule| {
        plant::set(rule);
        let reply = Rig::start(disk, 2, SyncPolicy::EverySec).unwrap().ask(1, "GET k");
        plant::set(None);
        reply
    };
    assert_eq!(ask(disk.after_kill(), None), NIL);
    assert_eq!(ask(disk, Some(Plant::T4)), bulk("gone"), "without T4 it comes back");
}

#[test]
fn a_floor_stays_as_long_as_a_segment_below_it() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(1, "SET k gone");
    rig.ask(2, "SET k stays");
    fill(&mut rig, "a", 70_000);
    rig.ask(1, "FLUSHDB");
    while rig.partition.sweep(10) {}
    for _ in 0..3 {
        fill(&mut rig, "b", 130_000);
    }
    rig.settle();
    let mut rig = rig.killed();
    assert_eq!(rig.ask(1, "GET k"), NIL);
    assert_eq!(rig.ask(2, "GET k"), bulk("stays"));
}

#[test]
fn flushed_keys_are_swept_and_their_segments_freed() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(1, "SET stays 1");
    fill(&mut rig, "k", 600_000);
    rig.settle();
    let (before, _) = rig.partition.log().segments();
    rig.ask(0, "FLUSHDB");
    rig.check_counts();
    let mut slices = 0;
    while rig.partition.sweep(10) {
        slices += 1;
        rig.check_counts();
    }
    assert!(slices > 10, "the sweep is cut into slices");
    assert_eq!(rig.partition.index().len(), 1);
    rig.settle();
    let (after, _) = rig.partition.log().segments();
    assert!(before > 8 && after < 5, "{before} segments before, {after} after");
    assert_eq!(rig.killed().ask(1, "GET stays"), bulk("1"));
}

#[test]
fn flushall_frees_and_recycles_all_segments() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for round in 0..5 {
        fill(&mut rig, "k", 400_000);
        rig.ask(1, &format!("SET k {round}"));
        rig.ask(0, "FLUSHALL");
        rig.ask(1, &format!("SET left {round}"));
        rig.settle();
        let (segments, _) = rig.partition.log().segments();
        assert!(segments <= 2, "{segments} segments are left after FLUSHALL");
        let mut killed = rig.killed();
        assert_eq!(killed.ask(1, "GET left"), bulk(&round.to_string()));
        assert_eq!(killed.ask(0, "DBSIZE"), ":0\r\n");
        killed.check_counts();
    }
}

// ---- law 2 -----------------------------------------------------------------------------------------

const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No];

/// Whether the reply to `line` may be sent at once, after `before`, of which nothing is durable; and that it
/// may be sent when all is.
fn is_sent_at_once(policy: SyncPolicy, before: &[&str], line: &str) -> bool {
    let mut rig = Rig::new(1, policy);
    rig.ask(0, "SET durable 1");
    rig.ask(0, "SET deleted 1");
    rig.settle();
    before.iter().for_each(|line| drop(rig.ask(0, line)));
    rig.pass(10);
    let depends = rig.run(0, &words(line)).depends;
    let at_once = depends <= rig.partition.log().gate();
    rig.settle();
    assert!(depends <= rig.partition.log().gate(), "the reply to {line} waits for ever");
    at_once
}

#[test]
fn a_reply_waits_for_its_own_write() {
    let writes = [
        "SET k v",
        "SETNX k v",
        "MSET k v l w",
        "MSETNX k v l w",
        "INCR n",
        "APPEND k v",
        "DEL durable",
        "GETDEL durable",
        "GETEX durable PX 50",
        "EXPIRE durable 100",
        "EXPIRE durable -1",
        "SET durable 2 GET",
        "GETSET durable 2",
        "FLUSHALL",
        "FLUSHDB",
        "SETRANGE k 3 v",
        "INCRBYFLOAT n 1.5",
        "SETEX k 10 v",
        "SET durable 3 PXAT 1",
    ];
    for policy in POLICIES {
        for line in writes {
            assert!(!is_sent_at_once(policy, &[], line), "{line} under {policy:?}");
        }
    }
    assert!(!holds_without(Plant::L2Write, || is_sent_at_once(SyncPolicy::Always, &[], "SET k v"), |sent| !sent));
}

#[test]
fn a_read_waits_for_the_record_that_it_saw_and_for_no_other() {
    let reads = [
        "GET k",
        "STRLEN k",
        "EXISTS k",
        "TTL k",
        "TYPE k",
        "MGET durable k",
        "GETRANGE k 0 1",
        "SETNX k x",
        "GETEX k",
        "SET k x NX",
        "SET k x NX GET",
        "MSETNX other 1 k 2",
        "INCR k",
        "EXPIRE k 10 GT",
        "DBSIZE",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "PERSIST k",
        "APPEND k x",
    ];
    for policy in POLICIES {
        for line in reads {
            assert!(!is_sent_at_once(policy, &["SET k v"], line), "{line} under {policy:?}");
            let other = line.replace('k', "durable");
            if line.starts_with("GET k") || line.starts_with("TTL") || line.starts_with("SETNX") {
                assert!(is_sent_at_once(policy, &["SET k v"], &other), "{other} under {policy:?}");
            }
        }
    }
    let read = || is_sent_at_once(SyncPolicy::Always, &["SET k v"], "GET k");
    assert!(!holds_without(Plant::L2Read, read, |sent| !sent));
}

#[test]
fn no_such_key_waits_for_the_newest_tombstone() {
    let absent =
        ["GET none", "EXISTS none", "MGET none", "TTL none", "STRLEN none", "DEL none", "PERSIST none", "GETEX none"];
    let gone = [
        vec!["DEL deleted"],
        vec!["FLUSHDB"],
        vec!["FLUSHALL"],
        vec!["GETDEL deleted"],
        vec!["EXPIRE deleted -1"],
        vec!["SET deleted 2 PX 5", "SET later 1"],
    ];
    for policy in POLICIES {
        for line in absent {
            assert!(is_sent_at_once(policy, &["SET k v"], line), "{line} under {policy:?} waits for nothing");
            assert!(!is_sent_at_once(policy, &["DEL deleted"], line), "{line} under {policy:?}");
        }
        for before in &gone {
            for line in ["GET deleted", "DEL deleted", "EXISTS deleted"] {
                assert!(!is_sent_at_once(policy, before, line), "{line} after {before:?} under {policy:?}");
            }
        }
    }
    let read = || is_sent_at_once(SyncPolicy::Always, &["DEL deleted"], "GET deleted");
    assert!(!holds_without(Plant::L2Nil, read, |sent| !sent));
}

// ---- E1 --------------------------------------------------------------------------------------------

/// A log that is read-only, with keys whose newest record never became durable.
fn read_only(policy: SyncPolicy) -> Rig {
    let mut rig = Rig::new(1, policy);
    for line in ["SET durable 1", "SET changed 1", "SET deleted 1", "SET expires 1"] {
        rig.ask(0, line);
    }
    rig.settle();
    for line in ["SET changed 2", "DEL deleted", "SET fresh 1", "SET expires 2 PX 5"] {
        rig.ask(0, line);
    }
    rig.disk.fail_writes(10);
    rig.disk.fail_syncs(10);
    rig.run_all();
    rig.pass(100);
    assert!(rig.partition.log().read_only().is_some());
    rig.partition.take_dependency();
    rig
}

#[test]
fn a_read_only_log_serves_what_is_durable_and_nothing_else() {
    for policy in POLICIES {
        let mut rig = read_only(policy);
        assert_eq!(rig.ask(0, "GET durable"), bulk("1"));
        assert_eq!(rig.run(0, &words("GET durable")).depends, LogPosition(0));
        let refused = [
            "GET changed",
            "GET fresh",
            "GET deleted",
            "GET expires",
            "MGET durable changed",
            "EXISTS fresh",
            "TTL expires",
            "GET none",
            "SET durable 2",
            "DEL durable",
            "DEL none",
            "INCR changed",
            "EXPIRE durable -1",
            "FLUSHALL",
            "SETNX changed 1",
            "DBSIZE",
            "KEYS *",
            "SCAN 0",
            "RANDOMKEY",
        ];
        for line in refused {
            let outcome = rig.run(0, &words(line));
            let reply = String::from_utf8_lossy(&outcome.reply);
            assert!(reply.starts_with("-MISCONF"), "{line} under {policy:?}: {reply}");
            assert!(outcome.depends <= rig.partition.log().gate(), "the reply to {line} is never sent");
        }
        assert_eq!(rig.killed().ask(0, "GET durable"), bulk("1"));
    }
    let read = || read_only(SyncPolicy::Always).ask(0, "GET changed");
    assert!(!holds_without(Plant::E1Read, read, |reply| reply.starts_with("-MISCONF")));
}

#[test]
fn a_leaf_is_locked_with_its_collection() {
    use emberkv_index::ScanCursor;
    use emberkv_log::plant::{self, Plant};
    use emberkv_log::{DbId, TxId};

    use crate::databases::RESERVED;
    use crate::locks::{KeyHash, Wants};

    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for key in ["h", "other"] {
        let fields: Vec<_> = (0..100).map(|i| format!("field{i} value{i}")).collect();
        assert_eq!(rig.ask(1, &format!("HSET {key} {}", fields.join(" "))), ":100\r\n");
    }
    let partition = &mut rig.partition;
    let hash = KeyHash(partition.hasher.hash(DbId(1), b"h"));
    partition.locks.enter(TxId(1), Wants::keys(std::iter::once(hash)));
    let locked = |partition: &crate::Partition<_>| {
        let mut counts = [0; 2];
        partition.index.scan(ScanCursor::START, usize::MAX, |_, address| {
            let record = partition.log.table().record(address);
            if record.db() == RESERVED {
                counts[usize::from(partition.is_locked(record.db(), record.key()))] += 1;
            }
        });
        counts
    };
    let [free, held] = locked(partition);
    assert!(free > 4 && held == free, "{held} leaves are locked, {free} are not");
    plant::set(Some(Plant::O6));
    assert_eq!(locked(partition)[1], 0, "nobody would notice");
    plant::set(None);
}
