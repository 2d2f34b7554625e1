//! Two logs of one origin tell by their incarnations how far they are one (F6): equal positions are not enough.

use super::{grown, open, run_all};
use crate::disk::sim::SimDisk;
use crate::manifest::Incarnation;
use crate::plant::{self, Plant};
use crate::{DbId, Entry, Log, LogPosition, Purpose, SyncPolicy, Value};

/// How far two logs are known to be the same: to the first incarnation that is not common, or the shorter one's end.
fn common(one: &Log<SimDisk>, other: &Log<SimDisk>) -> LogPosition {
    let differ = |(a, b): &(&Incarnation, &Incarnation)| a != b;
    let pairs = one.incarnations.iter().zip(&other.incarnations);
    let forked = pairs.clone().find(differ).map(|(a, b)| a.start.min(b.start));
    let longer = [one, other].map(|log| log.incarnations.get(pairs.len()).map(|next| next.start));
    let ends = longer.into_iter().flatten().chain(forked).chain([one.tail(), other.tail()]);
    ends.min().unwrap_or_default()
}

fn write(disk: &SimDisk, log: &mut Log<SimDisk>, byte: u8) {
    let entry = Entry::Put { db: DbId(0), key: b"fork", value: Value::Bytes(&[byte; 40]), expires_at_ms: None };
    log.reserve(entry.encoded_len() as u64, Purpose::Grow).unwrap();
    log.append(&entry);
    log.end_turn();
    log.tick();
    run_all(disk, log);
}

/// A log is copied, and both go on. Whether the fork is found where it is.
fn fork_is_found() -> bool {
    let (disk, log) = grown();
    let (fork, disks) = (log.tail(), [disk.after_kill(), disk.after_kill()]);
    drop(log);
    let [mut one, mut other] =
        [2, 3].map(|seed| open(&disks[seed as usize - 2], seed, SyncPolicy::EverySec).unwrap().0);
    write(&disks[0], &mut one, 1);
    write(&disks[1], &mut other, 2);
    assert_eq!(one.tail(), other.tail(), "the positions say nothing");
    // a second life of one of them does not hide it
    drop(one);
    let one = open(&disks[0].after_kill(), 4, SyncPolicy::EverySec).unwrap().0;
    common(&one, &other) == fork
}

#[test]
fn equal_positions_of_two_lives_are_told_apart() {
    assert!(fork_is_found());
    plant::set(Some(Plant::F6));
    let found = fork_is_found();
    plant::set(None);
    assert!(!found, "nothing noticed that F6 is missing");
}

#[test]
fn terms_grow_and_a_life_that_wrote_nothing_leaves_no_trace() {
    let (disk, log) = grown();
    let first = log.incarnations.clone();
    drop(log);
    let disk = disk.after_kill();
    let idle = open(&disk, 2, SyncPolicy::EverySec).unwrap().0;
    assert_eq!(idle.incarnations.len(), first.len() + 1);
    drop(idle);
    let disk = disk.after_kill();
    let mut log = open(&disk, 3, SyncPolicy::EverySec).unwrap().0;
    assert_eq!(log.incarnations.len(), first.len() + 1);
    assert_eq!(log.incarnations[..first.len()], first[..]);
    let terms: Vec<u64> = log.incarnations.iter().map(|life| life.term).collect();
    assert!(terms.is_sorted_by(|a, b| a < b), "{terms:?}");
    write(&disk, &mut log, 1);
    drop(log);
    let log = open(&disk.after_kill(), 4, SyncPolicy::EverySec).unwrap().0;
    assert_eq!(log.incarnations.len(), first.len() + 2, "one that wrote is kept");
}
