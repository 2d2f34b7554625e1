//! What a crash leaves of a data set of several partitions: of each log a prefix, and of each command all or nothing.

use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::{Choices, SimDisk};
use emberkv_log::{LogPosition, SyncPolicy};

use super::world::{World, start};
use crate::tests::{State, bring_all, check_counts, contents};

/// What the model says is left when the logs end at these positions.
pub(super) fn left(world: &World, base: &State, ends: &[LogPosition]) -> State {
    let mut state = base.clone();
    let mut changes: Vec<_> = world.changes.iter().filter(|change| change.is_in(ends)).collect();
    changes.sort_unstable_by_key(|change| change.order);
    for change in changes {
        for (key, _, new) in &change.keys {
            match new {
                Some(held) => state.insert(key.clone(), held.clone()),
                None => state.remove(key),
            };
        }
    }
    state
}

/// Where the logs may end: at `least`, or at the end of what was appended between that and `most`, which is where they end
/// now, with at most `slack` bytes that the start has appended.
fn ends_of(world: &World, p: usize, least: LogPosition, most: LogPosition, slack: u64) -> Vec<LogPosition> {
    let appended = world.changes.iter().flat_map(|change| change.parts.iter().chain(&change.aborts));
    let appended = appended.filter(|(at, end)| *at == p && *end > least && *end <= most).map(|(_, end)| *end);
    let mut ends: Vec<_> = appended.chain([least]).collect();
    ends.sort_unstable();
    ends.dedup();
    // only the last of those that are well below the end is of interest
    let below = ends.iter().rposition(|end| end.0 + slack < most.0).unwrap_or(0);
    ends.drain(..below);
    ends.reverse();
    ends
}

/// Checkpoints make no difference (law 1): whether all are gone, or some, or one is damaged.
fn check_without_checkpoints(world: &World, disk: &SimDisk, seed: u64, choices: &mut Choices) {
    let which = choices.below(3);
    let disk = disk.after_kill();
    for name in disk.list().unwrap().iter().filter(|name| name.starts_with("checkpoint-")) {
        match which {
            0 => disk.remove(name).unwrap(),
            1 if choices.one_in(2) => disk.remove(name).unwrap(),
            2 if choices.one_in(2) => disk.flip_bit(name, choices.below(disk.contents(name).len() as u64 * 8)),
            _ => {}
        }
    }
    let mut opened = start(&disk, world.partitions.len() as u16, seed, world.policy).unwrap();
    for (one, other) in world.partitions.iter().zip(&mut opened) {
        bring_all(other, &mut Vec::new(), &disk);
        assert_eq!(contents(one), contents(other), "a start depends on checkpoints");
    }
}

/// Kills the process or the power, now and then while the next start is at work, and checks what is left. `base` is what the
/// last start had found, and becomes what this one has.
pub fn crash(world: &mut World, base: &mut State, seed: u64, choices: &mut Choices) {
    world.execute_complete();
    let written: Vec<_> = world.partitions.iter().map(|partition| partition.log().written()).collect();
    let safe = world.safe();
    let count = world.partitions.len() as u16;
    let mut disk = world.disk.clone();
    let mut any_power = false;
    let mut attempts = 0;
    let opened = loop {
        attempts += 1;
        let power = choices.one_in(2);
        any_power |= power;
        disk = if power { disk.after_power_loss(choices) } else { disk.after_kill() };
        // what a start does on a full disk is the log's to test
        disk.set_capacity(None);
        if choices.one_in(3) {
            disk.crash_after(choices.below(12 * u64::from(count)));
        }
        match start(&disk, count, seed ^ choices.draw(), world.policy) {
            Ok(opened) => break opened,
            Err(_) if disk.crashed() => {}
            Err(error) => panic!("a legal crash stopped the start: {error}"),
        }
    };
    assert_eq!(opened.len(), usize::from(count));
    let least = if any_power { safe } else { written };
    let promised = !any_power || world.policy == SyncPolicy::Always;
    let tails: Vec<_> = opened.iter().map(|partition| partition.log().tail()).collect();
    let old = std::mem::replace(&mut world.partitions, opened);
    drop(old);
    let mut jobs: Vec<_> = world.partitions.iter().map(|_| Vec::new()).collect();
    for (partition, jobs) in world.partitions.iter_mut().zip(&mut jobs) {
        bring_all(partition, jobs, &disk);
    }
    let contents = world.contents();
    let mut ways: Vec<Vec<LogPosition>> = vec![Vec::new()];
    for p in 0..usize::from(count) {
        assert!(tails[p] >= least[p], "partition {p}: {:?} was promised, {:?} is left", least[p], tails[p]);
        let open = world.changes.iter().filter(|change| change.marks.iter().all(|(at, _)| *at != p)).count() as u64;
        let ends = ends_of(world, p, least[p], tails[p], attempts * (200 + 20 * open.min(64)));
        ways = ways.iter().flat_map(|way| ends.iter().map(|end| [way.as_slice(), &[*end]].concat())).collect();
    }
    let is_kept = |ends: &[LogPosition]| {
        world.changes.iter().all(|change| {
            let breaks = if change.is_in(ends) { change.must_not } else { change.must && promised };
            !breaks
        })
    };
    let fits = |ends: &Vec<LogPosition>| is_kept(ends) && left(world, base, ends) == contents;
    if !ways.iter().any(fits) {
        let broken = ways.iter().filter(|ends| left(world, base, ends) == contents).count();
        for change in &world.changes {
            eprintln!(
                "{}  parts {:?} of {} marks {:?} aborts {:?} must {} must not {}",
                change.line, change.parts, change.writers, change.marks, change.aborts, change.must, change.must_not
            );
        }
        panic!(
            "no way to end {tails:?} (from {least:?}, power {any_power}, {:?}) makes what is left; {broken} of {} break \
             a promise",
            world.policy,
            ways.len()
        );
    }
    world.partitions.iter().for_each(check_counts);
    if choices.one_in(3) {
        check_without_checkpoints(world, &disk, seed, choices);
    }
    *base = contents;
    world.model.state = base.clone();
    world.disk = disk;
    let opened = std::mem::take(&mut world.partitions);
    world.restarted(opened);
    world.jobs = jobs;
}
