//! Keys that expire without anybody asking for them.

use std::collections::BTreeMap;

use emberkv_log::disk::sim::Choices;
use emberkv_log::{DbId, SyncPolicy};

use super::rig::{NIL, Rig, START_MS, bulk};

fn expire_all(rig: &mut Rig) {
    while rig.partition.expire(1000) {
        rig.run_all();
    }
}

/// A number of less than so many bits: as often small as large.
fn up_to(choices: &mut Choices, bits: u64) -> u64 {
    let below = 1 << choices.below(bits);
    choices.below(below)
}

fn keys(rig: &Rig) -> u64 {
    rig.partition.db_stats(DbId(0)).keys
}

#[test]
fn a_hundred_thousand_keys_expire_at_their_times() {
    let mut choices = Choices::new(1);
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    // most within two minutes, some within three days
    let mut due: Vec<u64> = (0..100_000u32)
        .map(|i| {
            let within = if choices.one_in(10) { 250_000_000 } else { 120_000 };
            let ttl = 1 + choices.below(within);
            rig.ask(0, &format!("SET k{i} v PX {ttl}"));
            START_MS + ttl
        })
        .collect();
    due.sort_unstable();
    let memory = |rig: &Rig| (rig.partition.memory().index, rig.partition.memory().expiry);
    let (index_before, wheel_before) = memory(&rig);
    let mut step = 16;
    while keys(&rig) > 0 {
        let now = rig.now_ms();
        rig.pass(now.next_multiple_of(16) - now + step);
        expire_all(&mut rig);
        let now = rig.now_ms();
        let left = due.len() - due.partition_point(|at| *at <= now);
        assert_eq!(keys(&rig), left as u64, "{} ms after the start", now - START_MS);
        step = (step * 6 / 5).next_multiple_of(16);
    }
    assert_eq!(rig.partition.stats().expired, 100_000);
    rig.settle();
    rig.check_counts();
    let (index_after, wheel_after) = memory(&rig);
    assert!(index_after < index_before / 4, "index: {index_before} bytes before, {index_after} after");
    assert!(wheel_after < wheel_before / 4, "wheel: {wheel_before} bytes before, {wheel_after} after");
    let mut rig = rig.killed();
    assert_eq!(rig.ask(0, "DBSIZE"), ":0\r\n");
}

#[test]
fn the_latest_word_on_an_expiry_counts() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for line in [
        "SET later v PX 100",
        "PEXPIRE later 10000",
        "SET earlier v PX 10000",
        "PEXPIRE earlier 100",
        "SET never v PX 100",
        "PERSIST never",
        "SET again v PX 100",
        "SET again v",
        "PEXPIRE again 10000",
        "SET replaced v PX 100",
        "DEL replaced",
        "SET replaced v",
        "SET kept v PX 100",
        "SET kept w KEEPTTL",
    ] {
        rig.ask(0, line);
    }
    rig.pass(160);
    expire_all(&mut rig);
    let mut left: Vec<_> =
        rig.contents().into_keys().map(|(_, key)| String::from_utf8_lossy(&key).into_owned()).collect();
    left.sort();
    assert_eq!(left, ["again", "later", "never", "replaced"]);
    assert_eq!(keys(&rig), 4, "nobody had to ask");
    rig.pass(10_000);
    expire_all(&mut rig);
    assert_eq!(keys(&rig), 2);
    rig.check_counts();
}

#[test]
fn a_jump_of_the_clock_is_caught_up_with() {
    for jump_ms in [1_000, 65_536, 3_600_000, 30 * 86_400_000] {
        let mut rig = Rig::new(1, SyncPolicy::EverySec);
        for i in 0..100u64 {
            rig.ask(0, &format!("SET k{i} v PX {}", 1 + jump_ms * i / 100));
            rig.ask(0, &format!("SET later{i} v PX {}", jump_ms + 1000 + i));
        }
        rig.pass(jump_ms);
        expire_all(&mut rig);
        assert_eq!(keys(&rig), 100, "after a jump of {jump_ms} ms");
        rig.pass(1200);
        expire_all(&mut rig);
        assert_eq!(keys(&rig), 0, "after a jump of {jump_ms} ms, and more");
    }
}

#[test]
fn a_clock_that_was_set_back_is_followed() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.ask(0, "SET before v PX 10000");
    rig.pass(5_000);
    expire_all(&mut rig);
    rig.set_back(3_600_000);
    expire_all(&mut rig);
    rig.ask(0, "SET after v PX 100");
    rig.pass(160);
    expire_all(&mut rig);
    assert_eq!(keys(&rig), 1, "the key of after the step is gone in time");
    rig.pass(3_600_000 + 5_000);
    expire_all(&mut rig);
    assert_eq!(keys(&rig), 0, "that of before it at the time that it was given");
}

#[test]
fn what_expired_while_the_server_was_down_is_gone_when_it_is_back() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for line in ["SET soon v PX 100", "SET late v PX 100000", "SET never v"] {
        rig.ask(0, line);
    }
    rig.run_all();
    rig.pass(1000);
    let mut rig = rig.killed();
    assert_eq!(rig.ask(0, "GET soon"), NIL);
    assert_eq!(rig.ask(0, "PTTL late"), ":99000\r\n");
    rig.pass(100_000);
    expire_all(&mut rig);
    assert_eq!(keys(&rig), 1);
    assert_eq!(rig.ask(0, "GET never"), bulk("v"));
}

#[test]
fn without_room_for_tombstones_a_key_is_absent_and_removed_later() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.run_all();
    rig.disk.set_capacity(Some(0));
    let long = "q".repeat(500);
    let mut wanted = 0;
    while rig.ask(0, &format!("SET {wanted}{long} v PX 100")) == "+OK\r\n" {
        wanted += 1;
    }
    rig.pass(200);
    // the tombstones of keys as long as their records do not all fit
    expire_all(&mut rig);
    assert!(keys(&rig) > 0, "all of {wanted} tombstones have found room");
    assert_eq!(rig.ask(0, &format!("GET {}{long}", wanted - 1)), NIL);
    rig.check_counts();
    rig.disk.set_capacity(None);
    rig.partition.log_mut().tick();
    for _ in 0..10 {
        rig.run_all();
        expire_all(&mut rig);
    }
    assert_eq!(keys(&rig), 0);
    rig.check_counts();
}

/// The clock jumps both ways by anything from a millisecond to years, with kills between. A key is there until the clock has been at
/// its time, never at or after it, and not again once anybody was told that it is gone. Between the two (its time has come, and was
/// taken back before anybody looked) it may be either.
#[test]
fn keys_live_by_their_times_however_the_clock_jumps() {
    for seed in 0..60 {
        let mut choices = Choices::new(seed);
        let mut rig = Rig::new(seed, SyncPolicy::EverySec);
        // each key's time, the latest that the clock has shown since, and whether it is known to be gone
        let mut keys: BTreeMap<u64, (u64, u64, bool)> = BTreeMap::new();
        for step in 0..300u64 {
            match choices.below(10) {
                0..3 => {
                    let ttl = 1 + up_to(&mut choices, 40);
                    rig.ask(0, &format!("SET k{step} v PX {ttl}"));
                    keys.insert(step, (rig.now_ms() + ttl, 0, false));
                }
                3..5 => rig.pass(up_to(&mut choices, 38)),
                5 => rig.set_back(up_to(&mut choices, 36)),
                6 => rig.run_all(),
                7 if choices.one_in(5) => {
                    rig.run_all();
                    rig = rig.killed();
                }
                _ => {
                    let nth = choices.below(keys.len().max(1) as u64) as usize;
                    let Some((key, (at, latest, gone))) = keys.iter_mut().nth(nth) else { continue };
                    let reply = rig.ask(0, &format!("GET k{key}"));
                    let what = format!("seed {seed}, step {step}: k{key} until {at}, now {}", rig.now_ms());
                    if *gone || rig.now_ms() >= *at {
                        assert_eq!(reply, NIL, "{what}");
                    } else if *latest < *at {
                        assert_eq!(reply, bulk("v"), "{what}");
                    }
                    *gone |= reply == NIL;
                }
            }
            keys.values_mut().for_each(|(_, latest, _)| *latest = rig.now_ms().max(*latest));
            if choices.one_in(4) {
                rig.partition.expire(20);
            }
        }
        // in the end all that is due goes without being asked for, and all else stays
        let latest = keys.values().map(|(_, latest, _)| *latest).max().unwrap_or(0);
        rig.pass((1 << 37) + latest.saturating_sub(rig.now_ms()));
        assert!(rig.clean(), "seed {seed}");
        let now = rig.now_ms();
        let left = keys.values().filter(|(at, ..)| *at > now).count() as u64;
        assert_eq!(self::keys(&rig), left, "seed {seed}");
        rig.check_counts();
    }
}
