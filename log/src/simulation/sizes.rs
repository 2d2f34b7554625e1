//! Sizes of segments: they follow what lives in the log.

use super::{Index, open_with, options, run_all};
use crate::disk::sim::SimDisk;
use crate::plant::{self, Plant};
use crate::{DbId, Entry, Log, Options, Purpose, Refusal, SyncPolicy, Value};

fn sized(disk: &SimDisk, seed: u64) -> (Log<SimDisk>, Index) {
    let (log, index, _) =
        open_with(disk, Options { segment_size: 1 << 19, ..options(seed, SyncPolicy::EverySec) }).unwrap();
    (log, index)
}

fn put(disk: &SimDisk, log: &mut Log<SimDisk>, index: &mut Index, key: u64, len: usize) -> Result<(), Refusal> {
    let (key, value) = (key.to_string(), vec![1; len]);
    let entry = Entry::Put { db: DbId(0), key: key.as_bytes(), value: Value::Bytes(&value), expires_at_ms: None };
    for _ in 0..100 {
        match log.reserve(entry.encoded_len() as u64, Purpose::Grow) {
            Ok(()) => {
                let put = log.append(&entry);
                index.put(log.table_mut(), key.as_bytes(), put.address, put.len);
                return Ok(());
            }
            Err(Refusal::Wait) => run_all(disk, log),
            Err(refusal) => return Err(refusal),
        }
    }
    panic!("it waits for ever");
}

fn head_size(log: &Log<SimDisk>) -> u64 {
    log.head().size
}

fn flush(disk: &SimDisk, log: &mut Log<SimDisk>, index: &mut Index) {
    log.reserve(16, Purpose::Free).unwrap();
    let position = log.tail();
    log.append(&Entry::Floor { db: None });
    index.0.clear();
    log.table_mut().drop_below_floor(position);
    for _ in 0..3 {
        run_all(disk, log);
        log.tick();
    }
    run_all(disk, log);
}

#[test]
fn segments_are_as_large_as_what_lives_in_the_log_asks_for() {
    let disk = SimDisk::new();
    let (mut log, mut index) = sized(&disk, 1);
    assert_eq!(head_size(&log), 1 << 16, "a new log begins small");
    for key in 0..1000 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    assert_eq!(log.fitting_size(), 1 << 16);
    for key in 1000..1300 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    assert!(log.table().live_bytes() >= 1 << 20);
    assert_eq!((log.fitting_size(), head_size(&log)), (1 << 17, 1 << 17));
    for key in 1300..9000 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    assert_eq!(head_size(&log), 1 << 19, "no larger than the data set's");
    // sizes are what the disk says after a start too, whatever lies in between
    run_all(&disk, &mut log);
    let contents = index.contents(log.table());
    let (sizes, live) = (log.segments(), log.table().live_bytes());
    drop(log);
    let (log, index) = sized(&disk.after_kill(), 2);
    assert!(index.contents(log.table()) == contents && log.table().live_bytes() == live);
    assert!(log.segments().0 >= sizes.0, "the same segments, and perhaps a new head");
}

#[test]
fn a_log_of_which_little_is_left_goes_on_in_small_segments() {
    let disk = SimDisk::new();
    let (mut log, mut index) = sized(&disk, 1);
    for key in 0..9000 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    assert_eq!(head_size(&log), 1 << 19);
    flush(&disk, &mut log, &mut index);
    assert_eq!(log.fitting_size(), 1 << 16);
    for key in 0..900 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    assert_eq!(head_size(&log), 1 << 16);
}

#[test]
fn the_spare_file_holds_the_copies_of_any_segment_that_there_is() {
    let disk = SimDisk::new();
    let (mut log, mut index) = sized(&disk, 1);
    put(&disk, &mut log, &mut index, 0, 200_000).unwrap();
    assert_eq!(head_size(&log), 1 << 18, "made to measure");
    for key in 1..400 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    run_all(&disk, &mut log);
    assert_eq!(head_size(&log), 1 << 16);
    assert!(log.spare_files.iter().any(|(_, size)| *size == 1 << 18), "{:?}", log.spare_files);
    put(&disk, &mut log, &mut index, 0, 10).unwrap();
    for _ in 0..3 {
        log.tick();
        run_all(&disk, &mut log);
    }
    assert!(log.spare_files.iter().all(|(_, size)| *size == 1 << 16), "{:?}", log.spare_files);
}

/// Whether compaction has room for any segment once the disk has become full, by small records behind a large one.
fn has_room_for_any(beside: u64) -> bool {
    let disk = SimDisk::new();
    let (mut log, mut index) = sized(&disk, 1);
    put(&disk, &mut log, &mut index, 0, 200_000).unwrap();
    for key in 1..200 {
        put(&disk, &mut log, &mut index, key, 1000).unwrap();
    }
    run_all(&disk, &mut log);
    disk.set_capacity(Some(disk.used() + beside));
    let mut key = 200;
    while put(&disk, &mut log, &mut index, key, 1000).is_ok() {
        key += 1;
    }
    let most = log.table().sizes().map(|(_, needed)| needed).max().unwrap_or_default();
    assert!(most > 200_000 && log.is_full());
    log.compaction_room() >= most + most / 1024 + 256
}

#[test]
fn a_full_disk_leaves_room_for_the_copies_of_any_segment() {
    for beside in [0, 1 << 16, 3 << 16, 1 << 20] {
        assert!(has_room_for_any(beside), "with {beside} bytes beside what there was");
    }
    plant::set(Some(Plant::E3Size));
    let is_noticed = !has_room_for_any(3 << 16);
    plant::set(None);
    assert!(is_noticed, "nothing noticed that the spare file is small");
}
