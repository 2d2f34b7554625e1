//! The memory of freed segments: written again, and given back when nobody writes.

use std::sync::Arc;

use super::{grown, run_all};
use crate::disk::sim::SimDisk;
use crate::{DbId, Entry, Log, Purpose, Value};

/// Frees all segments but the head.
fn flush(disk: &SimDisk, log: &mut Log<SimDisk>) {
    let floor = Entry::Floor { db: None };
    log.reserve(floor.encoded_len() as u64, Purpose::Free).unwrap();
    let floor_at = log.tail();
    log.append(&floor);
    log.table_mut().drop_below_floor(floor_at);
    for _ in 0..2 {
        run_all(disk, log);
        log.tick();
    }
    run_all(disk, log);
    assert_eq!(log.segments().0, 1);
}

/// Fills the head.
fn roll(disk: &SimDisk, log: &mut Log<SimDisk>) {
    let put = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[1; 1000]), expires_at_ms: None };
    let head = log.head_sequence();
    while log.head_sequence() == head {
        match log.reserve(put.encoded_len() as u64, Purpose::Grow) {
            Ok(()) => drop(log.append(&put)),
            Err(_) => run_all(disk, log),
        }
    }
}

fn seconds(disk: &SimDisk, log: &mut Log<SimDisk>, count: u32) {
    for _ in 0..count {
        log.tick();
        run_all(disk, log);
    }
}

#[test]
fn memory_of_a_freed_segment_is_the_one_after_the_next_ones() {
    let (disk, mut log) = grown();
    roll(&disk, &mut log); // it is in use
    flush(&disk, &mut log);
    let spare = log.spare_memory.last().map(Arc::as_ptr).unwrap();
    roll(&disk, &mut log);
    roll(&disk, &mut log);
    assert_eq!(Arc::as_ptr(log.writer.memory()), spare);
}

#[test]
fn memory_of_segments_freed_together_is_that_of_those_after_them() {
    let (disk, mut log) = grown();
    while log.segments().0 < 40 {
        roll(&disk, &mut log);
    }
    flush(&disk, &mut log);
    let spare: Vec<_> = log.spare_memory.iter().map(Arc::as_ptr).collect();
    assert!(spare.len() > 1, "memory of one segment only: {}", spare.len());
    roll(&disk, &mut log);
    for memory in spare.iter().rev() {
        roll(&disk, &mut log);
        assert_eq!(Arc::as_ptr(log.writer.memory()), *memory);
    }
}

#[test]
fn an_idle_log_keeps_no_memory_for_what_may_come() {
    for idle_before in [0, 60] {
        let (disk, mut log) = grown();
        seconds(&disk, &mut log, idle_before);
        flush(&disk, &mut log);
        seconds(&disk, &mut log, 15);
        assert!(log.spare_memory.is_empty(), "after {idle_before} s without a write and a flush");
    }
}
