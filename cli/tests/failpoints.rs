//! The server dies at named steps of what it does with its log, or waits there (`log/src/failpoint.rs`). The long form is
//! `emberkv-torture kill --failpoints`; `EMBERKV_FAILPOINT_ROUNDS` and `EMBERKV_KILL_SEED` change this short one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::time::Duration;

use common::{PATIENCE, driver_args, drivers, eventually, is_ember, must, number, spec};
use emberkv_torture::kill::{self, KillPlan};
use emberkv_torture::partition::partition;
use emberkv_torture::{Error, Server, Value};

/// So many of a hundred of the rounds that are asked for.
fn survives_death_at_every_step(appendfsync: &str, io: &str, cores: &[u16], percent: u64) {
    if !is_ember() {
        return;
    }
    let rounds = number("EMBERKV_FAILPOINT_ROUNDS", 200) * percent / 100;
    let seed = number("EMBERKV_KILL_SEED", 1);
    let dir = common::dir("failpoints");
    let small = ["--segment-size", "1mb", "--checkpoint-interval", "1mb"];
    let spec = common::spec(dir.path(), &["--appendfsync", appendfsync, "--io", io]).args(small);
    let report = kill::run_at_failpoints(&KillPlan::new(spec, rounds, seed).cores(cores)).unwrap();
    println!("appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}\n");
    assert!(report.is_clean(), "appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}");
    let died: u64 = report.steps.iter().map(|step| step.died).sum();
    assert!(died * 2 > rounds, "it rarely died where it was to: little was shown\n{report}");
}

#[test]
fn loses_nothing_when_it_dies_at_any_step_in_everysec() {
    survives_death_at_every_step("everysec", "uring", &[1], 40);
}

#[test]
fn loses_nothing_when_it_dies_at_any_step_in_always() {
    survives_death_at_every_step("always", "epoll", &[1], 20);
}

#[test]
fn loses_nothing_when_it_dies_at_any_step_of_two_partitions() {
    survives_death_at_every_step("everysec", "epoll", &[2, 1], 40);
}

/// With little memory, and so while segments are let go of.
#[test]
fn loses_nothing_when_it_dies_as_memory_is_let_go_of() {
    if !is_ember() {
        return;
    }
    let (rounds, seed) = (number("EMBERKV_SPILL_ROUNDS", 9), number("EMBERKV_KILL_SEED", 1));
    let dir = common::dir("spill-failpoints");
    let spec = common::spec(dir.path(), &["--segment-size", "1mb", "--checkpoint-interval", "1mb"]);
    let mut plan = KillPlan::new(spec, rounds, seed).cores(&[1]);
    plan.steps = vec!["segment-unloaded".to_owned()];
    let report = kill::run_at_failpoints(&plan).unwrap();
    println!("seed {seed}\n{report}\n");
    assert!(report.is_clean(), "seed {seed}\n{report}");
    assert!(report.steps[0].died * 3 > rounds, "it rarely died where it was to: little was shown\n{report}");
}

/// What a cache has let go of stays gone, wherever in that it dies. `EMBERKV_CACHE_ROUNDS` for more.
fn nothing_comes_back(appendfsync: &str, io: &str, cores: &[u16], rounds: u64) {
    if !is_ember() {
        return;
    }
    let (rounds, seed) = (number("EMBERKV_CACHE_ROUNDS", rounds), number("EMBERKV_KILL_SEED", 1));
    let dir = common::dir("cache-failpoints");
    let spec = common::spec(dir.path(), &["--appendfsync", appendfsync, "--io", io]);
    let mut plan = KillPlan::new(spec, rounds, seed).cores(cores);
    plan.connections = 4;
    let report = kill::run_cache(&plan).unwrap();
    println!("appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}\n");
    assert!(report.is_clean(), "appendfsync {appendfsync}, io {io}, cores {cores:?}, seed {seed}\n{report}");
    let died: u64 = report.steps.iter().map(|step| step.died).sum();
    assert!(died * 3 > rounds, "it rarely died where it was to: little was shown\n{report}");
    assert!(report.gone > 100 && report.there > 100, "hardly anything was evicted, or hardly anything kept\n{report}");
}

#[test]
fn what_was_evicted_stays_gone_wherever_it_dies() {
    nothing_comes_back("everysec", "epoll", &[1], 16);
}

#[test]
fn what_was_evicted_from_two_partitions_stays_gone_wherever_it_dies() {
    nothing_comes_back("always", "uring", &[2], 16);
}

/// No command waits for a sync in `everysec` (redis#641): here none ends before the commands are answered.
#[test]
fn everysec_answers_while_the_disk_does_not_come_back_from_a_sync() {
    if !is_ember() {
        return;
    }
    const BATCHES: usize = 400;
    const BATCH: usize = 100;
    for io in drivers() {
        let (dir, signs) = (common::dir("held-sync"), common::dir("held-sync-signs"));
        let go = signs.path().join("go");
        fs::write(&go, "").unwrap();
        let spec = spec(dir.path(), &["--appendfsync", "everysec"]).args(driver_args(io));
        let held = spec.clone().failpoints(format!("disk-sync=wait:{}", go.display()));
        let mut server = Server::start(&held).unwrap();
        let mut client = server.connect().unwrap();
        fs::remove_file(&go).unwrap();
        must(&mut client, "SET first 1");
        eventually("a sync is held back", || server.log_text().contains("failpoint disk-sync: waiting"));
        for batch in 0..BATCHES {
            for nth in 0..BATCH {
                client.send(&["SET", &format!("key:{batch}:{nth}"), "value"]);
                client.send(&["GET", &format!("key:{batch}:{nth}")]);
            }
            client.flush().unwrap();
            for _ in 0..BATCH {
                assert!(client.read().unwrap().is_ok());
                assert_eq!(client.read().unwrap(), Value::Bulk(b"value".to_vec()));
            }
        }
        // no sync has ended meanwhile: each waits until there is a file
        fs::write(&go, "").unwrap();
        assert!(server.terminate(PATIENCE).unwrap().success(), "{}", server.log_text());
        let server = Server::start(&spec).unwrap();
        let keys = must(&mut server.connect().unwrap(), "DBSIZE");
        assert_eq!(keys, Value::Integer((BATCHES * BATCH + 1) as i64));
    }
}

/// X7: a transaction over two partitions is committed and marked, and no sync ends. Two seconds later writes behind the mark wait,
/// reads of other keys do not; when the disk is back they go on.
#[test]
fn writes_behind_a_transaction_wait_for_its_late_parts_and_go_on() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (dir, signs) = (common::dir("late-parts"), common::dir("late-parts-signs"));
        let go = signs.path().join("go");
        fs::write(&go, "").unwrap();
        let spec = spec(dir.path(), &["--appendfsync", "everysec", "--cores", "2"]).args(driver_args(io));
        let mut server = Server::start(&spec.clone().failpoints(format!("disk-sync=wait:{}", go.display()))).unwrap();
        let (mut client, mut other) = (server.connect().unwrap(), server.connect().unwrap());
        assert_ne!(partition(b"foo", 2), partition(b"bar", 2));
        fs::remove_file(&go).unwrap();
        must(&mut client, "MSET foo 0 bar 0 one 0 two 0");
        let mut answered = 0;
        client.set_timeout(Duration::from_millis(500)).unwrap();
        eventually("a write waits", || {
            client.send(&["INCR", "foo"]);
            // one that was merely slow comes with the second or third look
            let reply = (0..4).find_map(|_| match client.read() {
                Err(Error::TimedOut) => None,
                other => Some(other.unwrap()),
            });
            answered += i64::from(reply.is_some());
            reply.is_none_or(|reply| {
                assert_eq!(reply, Value::Integer(answered));
                false
            })
        });
        for _ in 0..100 {
            // of the key itself a read comes behind the write
            assert_eq!(must(&mut other, "GET bar"), Value::Bulk(b"0".to_vec()));
            assert_eq!(must(&mut other, "MGET bar one two").items().unwrap().len(), 3);
        }
        fs::write(&go, "").unwrap();
        client.set_timeout(PATIENCE).unwrap();
        assert_eq!(client.read().unwrap(), Value::Integer(answered + 1));
        must(&mut client, "INCR bar");
        server.kill9().unwrap();
        let server = Server::start(&spec).unwrap();
        let found = must(&mut server.connect().unwrap(), "MGET foo bar");
        let expected = [answered + 1, 1].map(|number| Value::Bulk(number.to_string().into_bytes()));
        assert_eq!(found, Value::Array(expected.to_vec()));
    }
}

#[test]
fn what_is_said_of_failpoints_is_understood_or_refused() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("failpoint-words");
    let spec = spec(dir.path(), &[]);
    assert!(spec.failpoint_names().unwrap().contains(&"manifest-first-copy".to_owned()));
    let said = common::refused(&spec.failpoints("nowhere=abort"));
    assert!(said.contains("nowhere=abort"), "{said}");
}
