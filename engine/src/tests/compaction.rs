//! What compaction is for: a log that stays in proportion to what lives in it, and a full disk that can be emptied.

use std::panic::catch_unwind;

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};

use super::rig::{NIL, Rig, bulk};

const SEGMENT: u64 = 1 << 16;

fn compacting(policy: SyncPolicy) -> Rig {
    let mut rig = Rig::new(1, policy);
    rig.compacts = true;
    rig
}

#[test]
fn a_small_log_is_compacted_further_when_clients_write_little() {
    let mut rig = Rig::sized(1, SyncPolicy::EverySec, 1 << 21);
    rig.compacts = true;
    let value = "x".repeat(90);
    for n in 0..30_000_u64 {
        // something lives in each segment, so that none goes by itself
        let key = if n.is_multiple_of(10) { n } else { n % 9 };
        assert_eq!(rig.ask(0, &format!("SET key{key} {value}")), "+OK\r\n");
        if n.is_multiple_of(100) {
            rig.run_all(); // no time has passed: that is a lot in a short time
        }
    }
    let debt = rig.partition.log().debt();
    assert!(debt.log_bytes > 6 * debt.live_bytes, "writes are spared: {debt:?}");
    for n in 0..300 {
        rig.pass(10);
        rig.run_all();
        if n % 100 == 0 {
            rig.partition.log_mut().tick();
        }
    }
    let debt = rig.partition.log().debt();
    assert!(debt.log_bytes < debt.live_bytes * 9 / 8 + 2 * SEGMENT, "{debt:?}");
    assert_eq!(rig.partition.log().fitting_size(), SEGMENT);
    assert_eq!(rig.ask(0, "DBSIZE"), ":3008\r\n");
    assert_eq!(rig.ask(0, "GET key20"), bulk(&value));
}

/// Ends the turn; now and then a second has passed.
fn turn(rig: &mut Rig, n: u64) {
    rig.pass(1);
    rig.run_all();
    if n.is_multiple_of(64) {
        rig.partition.log_mut().tick();
        rig.run_all();
    }
}

/// Which keys are written: all alike, by zipf's law with 0.99, or nine times of ten one of the hottest tenth.
#[derive(Clone, Copy, Debug)]
enum Skew {
    None,
    Zipf,
    HotTenth,
}

/// Draws keys of a skew. Which keys are hot has nothing to do with when they were written first.
fn draws(skew: Skew, keys: u64) -> impl FnMut(&mut Choices) -> u64 {
    let mut sum = 0.0;
    let mut below = Vec::new();
    for rank in 1..=keys {
        below.push(sum);
        sum += (rank as f64).powf(-0.99);
    }
    move |choices| {
        let rank = match skew {
            Skew::None => choices.below(keys),
            Skew::Zipf => {
                let at = choices.below(1 << 50) as f64 / (1_u64 << 50) as f64 * sum;
                below.partition_point(|below| *below <= at) as u64 - 1
            }
            Skew::HotTenth if choices.below(10) > 0 => choices.below(keys / 10),
            Skew::HotTenth => keys / 10 + choices.below(keys - keys / 10),
        };
        rank * 7919 % keys
    }
}

/// Log bytes in percent of live bytes, at the end and at most, and copied bytes in percent of what was appended: of all keys once and
/// `rounds` times as many, after as many without a look.
fn overwrite(skew: Skew, keys: u64, rounds: u64, turn_size: u64) -> (u64, u64, u64) {
    let mut rig = compacting(SyncPolicy::EverySec);
    let mut choices = Choices::new(1);
    let mut draw = draws(skew, keys);
    let value = "x".repeat(90);
    let (mut most, mut copied) = (0, 0);
    for n in 0..keys * (1 + 2 * rounds) {
        let key = if n < keys { n } else { draw(&mut choices) };
        assert_eq!(rig.ask(0, &format!("SET key{key} {value}")), "+OK\r\n");
        if n.is_multiple_of(turn_size) {
            turn(&mut rig, n / turn_size);
        }
        if n > keys * (1 + rounds) {
            let debt = rig.partition.log().debt();
            most = most.max(debt.log_bytes * 100 / debt.live_bytes);
        } else {
            copied = rig.partition.compaction_stats().copied_bytes;
        }
    }
    let copied = rig.partition.compaction_stats().copied_bytes - copied;
    for n in 0..20 {
        turn(&mut rig, n * 64);
    }
    rig.check_counts();
    let debt = rig.partition.log().debt();
    let contents = rig.contents();
    assert_eq!(rig.killed().contents(), contents);
    (debt.log_bytes * 100 / debt.live_bytes, most, copied * 100 / (rounds * debt.live_bytes))
}

#[test]
fn overwriting_keeps_the_log_in_proportion() {
    let (end, most, copied) = overwrite(Skew::None, 6000, 4, 16);
    eprintln!("log/live {end}% at the end, {most}% at most; {copied}% of what was written was copied");
    assert!(end <= 150, "{end}%");
    assert!(most <= 190, "{most}%");
}

/// What skewed overwrites cost (decision 0035 has the numbers).
#[test]
fn what_skewed_overwriting_copies() {
    for (skew, limit) in [(Skew::None, 95), (Skew::Zipf, 100), (Skew::HotTenth, 65)] {
        let (end, most, copied) = overwrite(skew, 12_000, 4, 16);
        eprintln!("{skew:?}: log/live {end}% at the end, {most}% at most; {copied}% of what was written was copied");
        assert!(end <= 150 && most <= 170 && copied <= limit, "{skew:?}: {end}%, {most}%, {copied}%");
    }
}

/// A data set that fills its disk; returns how many keys there are.
fn filled(rig: &mut Rig, segments: u64, value: &str) -> u64 {
    rig.disk.set_capacity(Some(rig.disk.used() + segments * SEGMENT));
    for n in 0.. {
        if rig.ask(0, &format!("SET key{n} {value}")).starts_with("-MISCONF") {
            return n;
        }
        turn(rig, n);
    }
    unreachable!()
}

#[test]
fn a_full_disk_takes_every_delete_and_then_takes_writes_again() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No] {
        let mut rig = compacting(policy);
        let mut choices = Choices::new(2);
        let value = "x".repeat(100);
        let count = filled(&mut rig, 12, &value);
        let mut keys: Vec<u64> = (0..count).collect();
        let mut first_write = None;
        while !keys.is_empty() {
            let key = keys.swap_remove(choices.below(keys.len() as u64) as usize);
            let reply = rig.ask(0, &format!("DEL key{key}"));
            assert_eq!(reply, ":1\r\n", "{policy:?}: {} of {count} keys are left", keys.len());
            turn(&mut rig, key);
            if first_write.is_none() && rig.ask(0, &format!("SET new {value}")) == "+OK\r\n" {
                first_write = Some(count - keys.len() as u64);
            }
        }
        let first_write = first_write.unwrap();
        eprintln!("{policy:?}: of {count} keys {first_write} were deleted before the first write");
        assert!(first_write < count / 4);
        for n in 0..20 {
            turn(&mut rig, n * 64);
        }
        assert!(rig.partition.log().no_space().is_none());
        let (segments, _) = rig.partition.log().segments();
        assert!(segments <= 4, "{segments} segments are left");
        let mut rig = rig.killed();
        assert_eq!(rig.ask(0, "DBSIZE"), ":1\r\n");
        assert_eq!(rig.ask(0, "GET key7"), NIL);
    }
}

#[test]
fn without_a_segment_kept_for_compaction_a_full_disk_stays_full() {
    plant::set(Some(Plant::E3));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let all_is_well = catch_unwind(a_full_disk_takes_every_delete_and_then_takes_writes_again).is_ok();
    std::panic::set_hook(hook);
    plant::set(None);
    assert!(!all_is_well, "nothing noticed that E3 is missing");
}

#[test]
fn a_full_compaction_leaves_little_that_is_dead() {
    let mut rig = compacting(SyncPolicy::EverySec);
    let value = "x".repeat(100);
    for n in 0..4000 {
        rig.ask(0, &format!("SET key{n} {value}"));
        if n % 3 != 0 {
            rig.ask(0, &format!("DEL key{n}"));
        }
        if n % 10 == 0 {
            turn(&mut rig, n);
        }
    }
    assert!(rig.partition.begin_full_compaction());
    assert!(!rig.partition.begin_full_compaction(), "one at a time");
    for n in 0..200 {
        turn(&mut rig, n * 64);
    }
    assert!(!rig.partition.is_compacting_fully());
    let debt = rig.partition.log().debt();
    assert!(debt.dead_bytes() < 3 * SEGMENT, "{debt:?}");
    let mut rig = rig.killed();
    rig.check_counts();
    assert_eq!(rig.ask(0, "GET key3"), bulk(&value));
    assert_eq!(rig.ask(0, "GET key4"), NIL);
}
