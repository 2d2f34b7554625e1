//! The harnesses are harnessed: what is wrong is found, and what is right is not blamed. Redis,
//! which does what these expect, stands in for the server under test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod proxy;

use std::path::PathBuf;
use std::time::Duration;

use emberkv_torture::differential::{Contest, Script};
use emberkv_torture::kill::{self, KillPlan, KillReport};
use emberkv_torture::linear::{self, LinearPlan, LinearReport, Port};
use emberkv_torture::{Server, ServerSpec, TempDir, peers};

fn referee() -> PathBuf {
    peers::redis82().unwrap_or_else(|error| panic!("{error}"))
}

fn kill(args: &[&str]) -> KillReport {
    let dir = TempDir::new("harness").unwrap();
    let spec = ServerSpec::new(referee(), dir.path()).args(args.iter().copied());
    kill::run(&KillPlan::new(spec, 4, 7)).unwrap()
}

#[test]
fn the_oracle_finds_what_a_server_without_a_log_loses() {
    let report = kill(&["--appendonly", "no"]);
    assert!(!report.is_clean(), "{report}");
}

#[test]
fn the_oracle_does_not_blame_a_server_that_syncs_every_write() {
    let report = kill(&["--appendonly", "yes", "--appendfsync", "always"]);
    assert!(report.is_clean() && report.rounds == 4, "{report}");
}

#[test]
fn equal_servers_do_not_differ_and_unequal_ones_do() {
    let contest = |args: &[&str]| Contest {
        subject: referee(),
        subject_args: args.iter().map(ToString::to_string).collect(),
        referee: referee(),
    };
    let text = "CONFIG GET maxclients\nSET a 1\nGET a\n@raw-to-close \"*x\\r\\n\"\nINCR a";
    let script = Script::parse("own.txt", text).unwrap();
    for protocol in [2, 3] {
        assert_eq!(contest(&[]).run_script(&script, protocol).unwrap(), []);
        let found = contest(&["--maxclients", "77"]).run_script(&script, protocol).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, "own.txt:1");
    }
    assert_eq!(contest(&[]).run_random(3, 1_000, 2).unwrap(), []);
}

/// Histories of redis, as seen through a proxy that spoils something.
fn histories(route: proxy::Route, transactions: bool, seed: u64) -> LinearReport {
    let dir = TempDir::new("harness").unwrap();
    let spec = ServerSpec::new(referee(), dir.path());
    let server = Server::start(&spec).unwrap();
    let port = proxy::start(server.port(), route);
    let mut plan = LinearPlan::new(spec, Duration::from_secs(5), seed);
    plan.transactions = transactions;
    linear::torture(&plan, &mut Port(port)).unwrap()
}

#[test]
fn a_server_with_one_thread_is_linearizable_and_keeps_the_order_of_pipelines() {
    let report = histories(proxy::as_it_is, true, 7);
    assert!(report.is_clean() && report.undecided == 0, "{report}");
    assert!(report.explained > 20 && report.looks > 100, "{report}");
}

#[test]
fn pipelines_that_lose_their_order_between_partitions_are_found() {
    // the first round with findings is the last, and other things are wrong there too.
    let found = (0..20).any(|seed| {
        let report = histories(proxy::by_partition, false, seed);
        report.violations.iter().any(|line| line.contains("was seen, then payload"))
    });
    assert!(found, "no job was ever seen before its payload");
}

#[test]
fn an_mset_that_is_torn_apart_is_found() {
    let report = histories(proxy::msets_in_halves, false, 7);
    assert!(report.violations.iter().any(|line| line.contains("no order explains")), "{report}");
}

#[test]
fn a_watch_that_nobody_keeps_is_found() {
    let report = histories(proxy::without_watches, true, 7);
    assert!(report.violations.iter().any(|line| line.contains("Compare")), "{report}");
}

/// Histories of redis, killed again and again.
fn killed_histories(args: &[&str]) -> LinearReport {
    let dir = TempDir::new("harness").unwrap();
    let mut plan =
        LinearPlan::new(ServerSpec::new(referee(), dir.path()).args(args.iter().copied()), Duration::from_secs(3), 7);
    plan.kills = true;
    linear::run(&plan).unwrap()
}

#[test]
fn histories_over_kills_are_explained_where_every_write_is_synced() {
    let report = killed_histories(&["--appendonly", "yes", "--appendfsync", "always"]);
    assert!(report.is_clean() && report.kills > 1, "{report}");
}

#[test]
fn what_was_answered_and_is_gone_after_a_kill_is_found() {
    let report = killed_histories(&["--appendonly", "no"]);
    assert!(!report.is_clean(), "{report}");
}
