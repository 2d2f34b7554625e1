//! The same commands against emberkv and redis 8.2: replies equal byte by byte, in RESP2 and
//! RESP3. The scripts and the list of deliberate differences are in `differential/`; the format
//! is described at `emberkv_torture::differential::Script`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::PathBuf;

use emberkv_torture::differential::{Contest, Differences, Mismatch, Script};
use emberkv_torture::peers;

fn contest(io: &str) -> Contest {
    contest_with(io, peers::redis82())
}

fn contest_with(io: &str, referee: emberkv_torture::Result<PathBuf>) -> Contest {
    let referee = referee.unwrap_or_else(|error| panic!("no referee: {error}"));
    Contest { subject: common::binary(), subject_args: common::driver_args(io), referee }
}

fn listed(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn scripts(folder: &str) -> Vec<Script> {
    let mut paths: Vec<_> = std::fs::read_dir(common::test_file(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are no scripts");
    paths.iter().map(|path| Script::load(path).unwrap()).collect()
}

#[test]
fn replies_as_redis_8_2_does_but_for_the_listed_differences() {
    for io in common::drivers() {
        let contest = contest(io);
        let list = common::test_file("differential/differences.list");
        let mut differences = Differences::load(&list).unwrap();
        let mut unlisted = Vec::new();
        for script in scripts("differential") {
            for &protocol in &script.protocols {
                let found = contest.run_script(&script, protocol).unwrap();
                unlisted.extend(
                    found.into_iter().filter(|mismatch| !differences.excuse(&script.name, protocol, &mismatch.step)),
                );
            }
        }
        let stale = differences.unseen().join("\n");
        assert!(unlisted.is_empty(), "io {io}: {} replies differ\n{}\n{stale}", unlisted.len(), listed(&unlisted));
        assert!(stale.is_empty(), "io {io}: {}\n{stale}", list.display());
    }
}

/// What valkey has and redis 8.2 has not.
#[test]
fn replies_as_valkey_does_to_what_is_its_own() {
    for io in common::drivers() {
        let contest = contest_with(io, peers::valkey91());
        for script in scripts("differential/valkey") {
            for &protocol in &script.protocols {
                let found = contest.run_script(&script, protocol).unwrap();
                assert!(found.is_empty(), "io {io}\n{}", listed(&found));
            }
        }
    }
}

/// `EMBERKV_RANDOM_STEPS` and `EMBERKV_RANDOM_SEED` make it longer or another.
#[test]
fn random_commands_leave_both_servers_in_the_same_state() {
    let number =
        |variable: &str, default: u64| std::env::var(variable).map_or(default, |text| text.parse().expect(variable));
    let steps = number("EMBERKV_RANDOM_STEPS", 6_000);
    let seed = number("EMBERKV_RANDOM_SEED", 1);
    for (number, io) in common::drivers().into_iter().enumerate() {
        for protocol in [2, 3] {
            let seed = seed + 10 * number as u64 + u64::from(protocol);
            let found = contest(io).run_random(seed, steps, protocol).unwrap();
            assert!(found.is_empty(), "io {io}\n{}", listed(&found));
        }
    }
}

/// The same variables; with restarts and `kill -9` of both servers on the way.
fn are_what_they_are_in_redis(run: impl Fn(&Contest, u64, u64, u8) -> emberkv_torture::Result<Vec<Mismatch>>) {
    let number =
        |variable: &str, default: u64| std::env::var(variable).map_or(default, |text| text.parse().expect(variable));
    let steps = number("EMBERKV_RANDOM_STEPS", 4_000);
    let seed = number("EMBERKV_RANDOM_SEED", 1);
    for (number, io) in common::drivers().into_iter().enumerate() {
        for protocol in [2, 3] {
            let seed = seed + 10 * number as u64 + u64::from(protocol);
            let mut contest = contest(io);
            // what is another core's is read directly, or asked for
            contest.subject_args.extend(["--cores".to_owned(), "2".to_owned()]);
            let found = run(&contest, seed, steps, protocol).unwrap();
            assert!(found.is_empty(), "io {io}\n{}", listed(&found));
        }
    }
}

#[test]
fn sorted_sets_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_sorted_sets);
}

#[test]
fn hashes_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_hashes);
}

#[test]
fn lists_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_lists);
}

#[test]
fn sets_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_sets);
}

#[test]
fn estimates_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_estimates);
}

#[test]
fn bitmaps_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_bitmaps);
}

#[test]
fn places_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_geo);
}

#[test]
fn sorting_is_what_it_is_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_sorting);
}

#[test]
fn streams_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_streams);
}

#[test]
fn fields_that_expire_are_what_they_are_in_redis_through_restarts() {
    are_what_they_are_in_redis(Contest::run_fields);
}
