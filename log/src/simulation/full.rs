//! Disks without room, and how it comes back (law 9, E3).

use super::{grown, open, run_all};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::{DbId, Entry, Purpose, Refusal, SyncPolicy, Value, segment_name};

#[test]
fn a_full_disk_refuses_growth_takes_deletes_and_recovers_by_a_flush() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec).unwrap();
    disk.set_capacity(Some((512 << 10) + 4 * (1 << 16)));
    let put = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[1; 1000]), expires_at_ms: None };
    let refused = loop {
        match log.reserve(put.encoded_len() as u64, Purpose::Grow) {
            Ok(()) => drop(log.append(&put)),
            Err(Refusal::Wait) => run_all(&disk, &mut log),
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refused, Refusal::NoSpace(_)));
    let delete = Entry::Delete { db: DbId(0), key: b"k" };
    for _ in 0..200 {
        log.reserve(delete.encoded_len() as u64, Purpose::Shrink).unwrap();
        log.append(&delete);
    }
    run_all(&disk, &mut log);
    assert!(log.reserve(put.encoded_len() as u64, Purpose::Grow).is_err(), "still full");
    let floor = Entry::Floor { db: None };
    log.reserve(floor.encoded_len() as u64, Purpose::Shrink).unwrap();
    let floor = log.append(&floor).address;
    let position = log.table().position(floor);
    log.table_mut().drop_below_floor(position);
    for _ in 0..4 {
        run_all(&disk, &mut log);
        log.tick();
    }
    assert_eq!(log.reserve(put.encoded_len() as u64, Purpose::Grow), Ok(()), "room again");
}

#[test]
fn a_full_disk_does_not_keep_a_log_from_starting() {
    let (disk, log) = grown();
    drop(log);
    disk.set_capacity(Some(disk.used()));
    for name in disk.list().unwrap() {
        // no spare file is left either
        let named = log_names(&disk).contains(&name);
        if crate::job::segment_file(&name).is_some() && !named {
            disk.remove(&name).unwrap();
        }
    }
    disk.set_capacity(Some(disk.used()));
    for seed in 10..13 {
        let (log, index) = open(&disk.after_kill(), seed, SyncPolicy::EverySec).unwrap();
        assert_eq!(index.contents(log.table()).len(), 300);
    }
}

#[test]
fn a_log_that_may_not_grow_is_as_good_as_a_full_disk() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec).unwrap();
    log.set_max_bytes(Some(8 << 16));
    let mut count = 0;
    let put = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[1; 1000]), expires_at_ms: None };
    let refused = loop {
        match log.reserve(put.encoded_len() as u64, Purpose::Grow) {
            Ok(()) => {
                log.append(&put);
                count += 1;
            }
            Err(Refusal::Wait) => run_all(&disk, &mut log),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refused, Refusal::NoSpace("log-max-size is reached".into()));
    assert!(count > 6 * 60 && log.segments().1 <= 8 << 16, "{count} records");
    let delete = Entry::Delete { db: DbId(0), key: b"k" };
    log.reserve(delete.encoded_len() as u64, Purpose::Shrink).unwrap();
    log.append(&delete);
    log.set_max_bytes(Some(10 << 16));
    log.tick();
    run_all(&disk, &mut log);
    assert_eq!(log.reserve(put.encoded_len() as u64, Purpose::Grow), Ok(()), "more is allowed");
}

/// The segment files that the manifest names.
fn log_names(disk: &SimDisk) -> Vec<String> {
    let manifest = crate::manifest::Manifest::decode(&disk.contents(crate::MANIFEST_NAMES[0])).unwrap();
    manifest.sections[0].segments.iter().map(|entry| segment_name(entry.file)).collect()
}

#[test]
fn a_record_that_finds_no_room_leaves_the_next_ones_some() {
    let (disk, mut log) = grown();
    disk.set_capacity(Some(disk.used() + 4 * (1 << 16)));
    let huge = vec![1; 1 << 20];
    let huge = Entry::Put { db: DbId(0), key: b"huge", value: Value::Bytes(&huge), expires_at_ms: None };
    while let Err(Refusal::Wait) = log.reserve(huge.encoded_len() as u64, Purpose::Grow) {
        run_all(&disk, &mut log);
    }
    log.tick();
    run_all(&disk, &mut log);
    let put = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[1; 1000]), expires_at_ms: None };
    for _ in 0..100 {
        while let Err(refusal) = log.reserve(put.encoded_len() as u64, Purpose::Grow) {
            assert_eq!(refusal, Refusal::Wait);
            run_all(&disk, &mut log);
        }
        log.append(&put);
    }
}

#[test]
fn a_dead_record_that_is_larger_than_a_segment_gives_its_space_back() {
    let (disk, mut log) = grown();
    let huge = vec![1; 1 << 20];
    let huge = Entry::Put { db: DbId(0), key: b"huge", value: Value::Bytes(&huge), expires_at_ms: None };
    while let Err(Refusal::Wait) = log.reserve(huge.encoded_len() as u64, Purpose::Grow) {
        run_all(&disk, &mut log);
    }
    log.append(&huge);
    run_all(&disk, &mut log);
    assert!(log.segments().1 > 1 << 20);
    let floor = Entry::Floor { db: None };
    log.reserve(floor.encoded_len() as u64, Purpose::Free).unwrap();
    let floor_at = log.tail();
    log.append(&floor);
    log.table_mut().drop_below_floor(floor_at);
    for _ in 0..3 {
        run_all(&disk, &mut log);
        log.tick();
    }
    run_all(&disk, &mut log);
    assert_eq!(log.segments(), (1, 1 << 16));
}

#[test]
fn tombstones_never_keep_a_flush_out() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec).unwrap();
    disk.set_capacity(Some(disk.used()));
    let delete = Entry::Delete { db: DbId(0), key: &[b'k'; 200] };
    loop {
        match log.reserve(delete.encoded_len() as u64, Purpose::Shrink) {
            Ok(()) => drop(log.append(&delete)),
            Err(Refusal::Wait) => run_all(&disk, &mut log),
            Err(_) => break,
        }
    }
    let floor = Entry::Floor { db: None };
    assert_eq!(log.reserve(floor.encoded_len() as u64, Purpose::Free), Ok(()));
    let put = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[1; 1000]), expires_at_ms: None };
    assert!(log.reserve(put.encoded_len() as u64, Purpose::Grow).is_err());
}
