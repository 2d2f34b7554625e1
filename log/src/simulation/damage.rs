//! Files that are damaged or missing: what a start says to them, and what a salvage keeps.

use super::{grown, open, open_with, options, run_all};
use crate::disk::Disk;
use crate::disk::sim::{Choices, SimDisk};
use crate::plant::{self, Plant};
use crate::{DbId, Entry, JobKind, Options, Purpose, StartError, SyncPolicy, Value, segment_name};

#[test]
fn damage_is_named_and_stops_the_start() {
    let (disk, log) = grown();
    for segment in &log.segments[..2] {
        let hurt = disk.after_kill();
        let name = segment_name(segment.file_id);
        hurt.flip_bit(&name, 8 * 5000 + 3);
        let Err(StartError::Damaged { file, offset, bytes }) = open(&hurt, 2, SyncPolicy::EverySec).map(drop) else {
            panic!("{name} is damaged")
        };
        assert_eq!(file, name);
        assert!((4000..=5000).contains(&offset) && bytes > 0, "offset {offset}, {bytes} bytes");
        plant::set(Some(Plant::F2));
        assert!(open(&hurt, 2, SyncPolicy::EverySec).is_ok(), "without F2 it goes unnoticed");
        plant::set(None);
    }
}

#[test]
fn damage_in_the_head_below_what_is_known_durable_stops_the_start() {
    let (disk, log) = grown();
    let head = log.head();
    let hurt = disk.after_kill();
    hurt.flip_bit(&segment_name(head.file_id), 8 * 70);
    assert!(matches!(open(&hurt, 2, SyncPolicy::EverySec).map(drop), Err(StartError::Damaged { .. })));
}

#[test]
fn damage_to_the_last_frames_stops_the_start_once_nothing_follows_them() {
    let written = || {
        let (disk, log) = grown();
        (disk, log.tail(), log)
    };
    let hurt = |disk: &SimDisk, log_end: u64, name: &str| {
        let hurt = disk.after_kill();
        hurt.flip_bit(name, 8 * (log_end - 20));
        let found = open(&hurt, 2, SyncPolicy::EverySec).map(|(log, _)| log.tail());
        matches!(found, Err(StartError::Damaged { .. }))
    };
    let (disk, tail, log) = written();
    let (name, end) = (segment_name(log.head().file_id), tail.0 - log.head().base().0);
    assert!(!hurt(&disk, end, &name), "synced a moment ago: nobody says so, it passes for a torn tail");
    log.close().unwrap();
    assert!(hurt(&disk, end, &name), "after an orderly end");

    let (disk, _, mut log) = written();
    log.tick();
    run_all(&disk, &mut log);
    assert!(hurt(&disk, end, &name), "after a second without a write");
}

#[test]
fn salvage_keeps_all_but_what_is_damaged_and_says_so() {
    let (disk, log) = grown();
    disk.flip_bit(&segment_name(log.segments[0].file_id), 8 * 5000);
    disk.remove(&segment_name(log.segments[1].file_id)).unwrap();
    let salvaging = Options { salvage: true, ..options(2, SyncPolicy::EverySec) };
    let (log, index, report) = open_with(&disk, salvaging).unwrap();
    assert_eq!(report.lost.len(), 2, "{:?}", report.lost);
    let kept = index.contents(log.table()).len();
    assert!((100..299).contains(&kept), "{kept} of 300 keys are kept");
    drop(log);
    let (_, index) = open(&disk.after_power_loss(&mut Choices::new(1)), 3, SyncPolicy::EverySec).unwrap();
    assert_eq!(index.0.len(), kept, "what was salvaged is an ordinary log again");
    let (_, index) = open(&disk.after_kill(), 4, SyncPolicy::EverySec).unwrap();
    assert_eq!(index.0.len(), kept, "at the first start after it, and at the second");
}

/// Nothing of the log's end is left, and nothing behind it: what is lost is said all the same. Nor is it silent about the end of a segment
/// that was sealed and not yet listed as that.
#[test]
fn salvage_says_what_a_file_has_lost_at_its_end() {
    let erase = |disk: &SimDisk, name: &str, from: usize| {
        let file = disk.open(name).unwrap();
        let len = disk.contents(name).len();
        disk.write_at(&file, from as u64, &vec![0; len - from]).unwrap();
        disk.sync(&file).unwrap();
    };
    let salvaged = |disk: &SimDisk| {
        assert!(matches!(open(disk, 2, SyncPolicy::EverySec).map(drop), Err(StartError::Damaged { .. })));
        let salvaging = Options { salvage: true, ..options(2, SyncPolicy::EverySec) };
        let (_, _, report) = open_with(disk, salvaging).unwrap();
        assert!(report.salvaged);
        report.lost
    };
    let (disk, log) = grown();
    let (name, end) = (segment_name(log.head().file_id), log.tail().0 - log.head().base().0);
    log.close().unwrap();
    erase(&disk, &name, end as usize - 600);
    let lost = salvaged(&disk.after_kill());
    assert!(lost.len() == 1 && lost[0].contains(&name), "{lost:?}");

    let (disk, mut log) = grown();
    let (before, name) = (log.head().sequence(), segment_name(log.head().file_id));
    for i in 0.. {
        let entry = Entry::Put { db: DbId(0), key: b"more", value: Value::Bytes(&[i as u8; 501]), expires_at_ms: None };
        log.reserve(entry.encoded_len() as u64, Purpose::Grow).unwrap();
        log.append(&entry);
        log.end_turn();
        log.tick();
        // all but what would list it
        let mut kept = Vec::new();
        while let Some(job) = log.next_job() {
            if job.kind() == JobKind::Manifest {
                kept.push(job);
            } else {
                let result = job.run(&disk);
                log.complete(job.kind(), result);
                log.end_turn();
            }
        }
        if log.head().sequence() > before && i % 4 == 3 {
            break;
        }
    }
    let hurt = disk.after_kill();
    erase(&hurt, &name, 40_000);
    let lost = salvaged(&hurt);
    assert!(lost.len() == 1 && lost[0].contains(&name), "{lost:?}");
}

#[test]
fn a_missing_segment_stops_the_start() {
    let (disk, log) = grown();
    let name = segment_name(log.segments[1].file_id);
    disk.remove(&name).unwrap();
    assert!(
        matches!(open(&disk, 2, SyncPolicy::EverySec).map(drop), Err(StartError::Missing { file, .. }) if file == name)
    );
    plant::set(Some(Plant::S5));
    assert!(open(&disk, 2, SyncPolicy::EverySec).is_ok(), "without S5 it goes unnoticed");
    plant::set(None);
}

#[test]
fn segments_without_a_manifest_stop_the_start() {
    let (disk, _) = grown();
    for name in crate::MANIFEST_NAMES {
        disk.remove(name).unwrap();
    }
    assert!(matches!(open(&disk, 2, SyncPolicy::EverySec).map(drop), Err(StartError::NoManifest(_))));
}
