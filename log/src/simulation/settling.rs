//! Small data sets of three partitions, made to show one thing of X each.

use std::sync::Arc;

use super::transactions::open;
use super::{Index, options, run_all};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::plant::{self, Plant};
use crate::record::MARK_BYTES;
use crate::{
    DbId, Entry, Log, Options, PartitionId, Progress, Purpose, StartError, SyncPolicy, TxId, Value, segment_name, start,
};

const THREE: [PartitionId; 3] = [PartitionId(0), PartitionId(1), PartitionId(2)];

/// Appends records to one log, into one frame, and writes it.
fn append(log: &mut Log<SimDisk>, entries: &[Entry<'_>]) {
    log.reserve(entries.iter().map(|entry| entry.encoded_len() as u64).sum(), Purpose::Grow).unwrap();
    for entry in entries {
        log.append(entry);
    }
    log.end_turn();
}

fn put(key: &[u8]) -> Entry<'_> {
    Entry::Put { db: DbId(0), key, value: Value::Bytes(b"v"), expires_at_ms: None }
}

/// Appends a part that sets the key `t` and the ticket.
fn append_part(log: &mut Log<SimDisk>, txid: TxId, participants: &[PartitionId]) {
    let key = format!("t{}", txid.0).into_bytes();
    append(log, &[Entry::Part { txid, participants, records: 1 }, put(&key)]);
}

/// The keys of each partition after a power loss that takes all that was not synced.
fn keys_after_power_loss(disk: &SimDisk) -> Vec<Vec<String>> {
    let disk = disk.without_unsynced();
    names(&open(&disk, 2, SyncPolicy::EverySec, 3).unwrap())
}

/// A transaction of A and C, of which C's part is not synced; in A, behind its mark, the part of one of A and B, all synced.
fn keys_of_two_that_hang_together() -> Vec<Vec<String>> {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, c] = logs.as_mut_slice() else { unreachable!("three") };
    let horizon = Arc::clone(a.horizon());
    let (first, second) = (horizon.draw(), horizon.draw());
    append_part(a, second, &[THREE[0], THREE[2]]);
    append_part(c, second, &[THREE[0], THREE[2]]);
    horizon.decided(second);
    append(a, &[Entry::Mark { txid: second }]);
    append_part(a, first, &THREE[..2]);
    append_part(b, first, &THREE[..2]);
    horizon.decided(first);
    append(b, &[Entry::Mark { txid: first }]);
    for log in [a, b] {
        log.tick();
        run_all(&disk, log);
        log.mark_dirty();
        run_all(&disk, log);
    }
    keys_after_power_loss(&disk)
}

#[test]
fn a_part_that_may_go_with_a_mark_before_it_is_not_settled() {
    let none: Vec<String> = Vec::new();
    assert_eq!(keys_of_two_that_hang_together(), vec![none.clone(); 3]);
    plant::set(Some(Plant::X4Safe));
    assert_eq!(keys_of_two_that_hang_together(), [none.clone(), vec!["t1".to_owned()], none], "half of the first");
    plant::set(None);
}

/// A whole transaction, one that lacks a part, one that was aborted, each with a record behind it that depends on it.
fn decided_in_every_way() -> SimDisk {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    let [a, b, _] = logs.as_mut_slice() else { unreachable!("three") };
    let horizon = Arc::clone(a.horizon());
    let [whole, lacking, aborted] = [horizon.draw(), horizon.draw(), horizon.draw()];
    for txid in [whole, lacking, aborted] {
        append_part(a, txid, &THREE[..2]);
    }
    append_part(b, whole, &THREE[..2]);
    append_part(b, aborted, &THREE[..2]);
    append(b, &[Entry::Abort { txid: aborted }, put(b"later")]);
    disk
}

#[test]
fn a_start_ends_every_transaction_and_the_next_one_finds_it_ended() {
    let disk = decided_in_every_way();
    let mut again = disk.after_kill();
    for seed in 2..5 {
        let opened = open(&again, seed, SyncPolicy::EverySec, 1).unwrap();
        assert_eq!(names(&opened), [vec!["t1"], vec!["later", "t1"], vec![]], "start {seed}");
        assert_eq!(opened[0].0.horizon().draw(), TxId(4), "no ticket is drawn twice");
        again = again.after_kill();
    }
}

/// A transaction of A and B that is settled, though the manifest does not say so yet. A has a checkpoint behind it, B has not.
fn keys_of_one_that_is_not_read() -> Vec<Vec<String>> {
    let disk = SimDisk::new();
    let (mut logs, mut indexes): (Vec<_>, Vec<_>) =
        open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().unzip();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, _] = logs.as_mut_slice() else { unreachable!("three") };
    let txid = a.horizon().draw();
    append_part(a, txid, &THREE[..2]);
    append_part(b, txid, &THREE[..2]);
    a.horizon().decided(txid);
    append(a, &[Entry::Mark { txid }]);
    append(b, &[Entry::Mark { txid }, put(b"behind")]);
    while a.segments().0 < 3 {
        let entry = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(&[7; 5000]), expires_at_ms: None };
        if a.reserve(entry.encoded_len() as u64, Purpose::Grow).is_ok() {
            let put = a.append(&entry);
            indexes[0].put(a.table_mut(), b"k", put.address, put.len);
        }
        run_all(&disk, a);
    }
    a.tick();
    run_all(&disk, a); // the manifest says which segments are sealed, and that the transaction is not settled
    b.tick();
    run_all(&disk, b); // now it is
    assert!(a.begin_checkpoint(1000));
    run_all(&disk, a);
    let page = indexes[0].page();
    let crc = crc32c::crc32c(&page);
    a.write_pages(page, crc);
    run_all(&disk, a);
    a.end_pages(&[], &[]);
    run_all(&disk, a);
    assert_eq!(a.take_checkpoint(), Some(Ok(())));
    let opened = open(&disk.after_kill(), 2, SyncPolicy::EverySec, 3).unwrap();
    assert!(opened[0].0.unread().segments > 0, "the part in A is not read");
    names(&opened)
}

#[test]
fn a_transaction_whose_part_is_not_read_has_happened() {
    let found = keys_of_one_that_is_not_read();
    assert_eq!(found[1], ["behind", "t1"]);
    plant::set(Some(Plant::K8Horizon));
    assert_eq!(keys_of_one_that_is_not_read()[1], Vec::<String>::new(), "without the checkpoint's horizon it has not");
    plant::set(None);
}

#[test]
fn held_room_is_there_when_a_full_disk_has_no_other() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec, 2).unwrap().remove(0);
    log.hold(300, Purpose::Grow).unwrap();
    log.hold(MARK_BYTES as u64, Purpose::Free).unwrap();
    disk.set_capacity(Some(disk.used()));
    for purpose in [Purpose::Grow, Purpose::Shrink, Purpose::Free] {
        loop {
            match log.reserve(put(b"k").encoded_len() as u64, purpose) {
                Ok(()) => _ = log.append(&put(b"k")),
                Err(crate::Refusal::Wait) => run_all(&disk, &mut log),
                Err(_) => break,
            }
            log.end_turn();
        }
    }
    assert_eq!(log.reserve_held(300), Ok(()));
    append_held(&mut log, &[put(&[b'k'; 280])]);
    assert_eq!(log.reserve_held(MARK_BYTES as u64), Ok(()));
    append_held(&mut log, &[Entry::Mark { txid: TxId(1) }]);
}

/// Appends as much as others may while room is held, and then what it is held for.
fn use_what_is_held() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec, 2).unwrap().remove(0);
    run_all(&disk, &mut log);
    // more than is kept for deletes and frees anyway
    let held = log.head().size / 2;
    log.hold(held, Purpose::Grow).unwrap();
    while log.reserve(put(b"k").encoded_len() as u64, Purpose::Grow).is_ok() {
        log.append(&put(b"k"));
        log.end_turn();
    }
    assert_eq!(log.reserve_held(held), Ok(()));
}

#[test]
fn what_is_held_is_not_given_to_others() {
    use_what_is_held();
    plant::set(Some(Plant::X2));
    assert!(std::panic::catch_unwind(use_what_is_held).is_err(), "without X2 there is as much room");
    plant::set(None);
}

fn append_held(log: &mut Log<SimDisk>, entries: &[Entry<'_>]) {
    for entry in entries {
        log.append(entry);
    }
    log.end_turn();
}

#[test]
fn salvage_believes_a_mark_and_skips_what_nobody_marked() {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, _] = logs.as_mut_slice() else { unreachable!("three") };
    let [marked, unmarked] = [a.horizon().draw(), a.horizon().draw()];
    for log in [&mut *a, b] {
        append_part(log, marked, &THREE[..2]);
        append_part(log, unmarked, &THREE[..2]);
    }
    append(a, &[Entry::Mark { txid: marked }, put(b"later")]);
    disk.remove(&segment_name(b.head().file_id)).unwrap();
    assert!(matches!(open(&disk, 2, SyncPolicy::EverySec, 3).map(drop), Err(StartError::Missing { .. })));
    let salvaging = Options { salvage: true, ..options(2, SyncPolicy::EverySec) };
    let make = |_, _| Ok(Index::default());
    let (opened, report) = start(Arc::new(disk.clone()), salvaging, 3, &Progress::default(), make).unwrap();
    assert_eq!(report.lost.len(), 1);
    assert_eq!(names(&opened), [vec!["later", "t1"], vec![], vec![]]);
    drop(opened);
    assert_eq!(
        names(&open(&disk.after_kill(), 3, SyncPolicy::EverySec, 3).unwrap()),
        [vec!["later", "t1"], vec![], vec![]]
    );
}

/// Which logs are read-only after B could not be synced, with a part of a transaction that A has marked.
fn read_only_after_a_failure_beside() -> Vec<bool> {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, c] = logs.as_mut_slice() else { unreachable!("three") };
    let horizon = Arc::clone(a.horizon());
    let ticket = horizon.draw();
    append_part(a, ticket, &THREE[..2]);
    append_part(b, ticket, &THREE[..2]);
    horizon.decided(ticket);
    append(a, &[Entry::Mark { txid: ticket }]);
    append(c, &[put(b"k")]);
    disk.fail_syncs(2);
    for log in [b, a, c] {
        for _ in 0..2 {
            log.tick();
            run_all(&disk, log);
        }
    }
    logs.iter().map(|log| log.read_only().is_some()).collect()
}

#[test]
fn a_log_that_hangs_on_a_failed_one_fails_too() {
    assert_eq!(read_only_after_a_failure_beside(), [true, true, false]);
    plant::set(Some(Plant::E2));
    assert_eq!(read_only_after_a_failure_beside(), [false, true, false], "without E2");
    plant::set(None);
}

/// A has a mark, and B does not get to sync its part: what A says to writes at each of its ticks, and when B has synced.
fn writes_beside_a_slow_sync(policy: SyncPolicy) -> Vec<bool> {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, policy, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, _] = logs.as_mut_slice() else { unreachable!("three") };
    let horizon = Arc::clone(a.horizon());
    let (ticket, held) = (horizon.draw(), 300);
    append_part(a, ticket, &THREE[..2]);
    append_part(b, ticket, &THREE[..2]);
    horizon.decided(ticket);
    append(a, &[Entry::Mark { txid: ticket }]);
    a.hold(held, Purpose::Grow).unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        a.tick();
        run_all(&disk, a);
        b.tick(); // its job is not carried out
        let purposes = [Purpose::Grow, Purpose::Shrink, Purpose::Compact, Purpose::Free];
        let said = purposes.map(|purpose| a.reserve(100, purpose).is_ok());
        assert!(said.iter().all(|ok| *ok == said[0]), "{said:?}");
        assert_eq!(a.hold(100, Purpose::Grow).is_ok(), said[0]);
        answers.push(said[0]);
    }
    assert_eq!(a.reserve_held(held), Ok(()), "what was voted for goes on");
    run_all(&disk, b);
    let progress = a.progress();
    a.end_turn();
    assert_eq!(a.progress() != progress, !answers[3], "those who wait are told");
    answers.push(a.reserve(100, Purpose::Grow).is_ok());
    answers
}

#[test]
fn writes_behind_a_mark_wait_when_a_part_elsewhere_is_not_synced_for_long() {
    assert_eq!(writes_beside_a_slow_sync(SyncPolicy::EverySec), [true, true, false, false, true]);
    assert_eq!(writes_beside_a_slow_sync(SyncPolicy::No), [true; 5], "which promises nothing of a power loss");
    plant::set(Some(Plant::X7));
    assert_eq!(writes_beside_a_slow_sync(SyncPolicy::EverySec), [true; 5], "without X7");
    plant::set(None);
}

#[test]
fn after_a_change_to_always_nothing_is_written_behind_a_mark_that_a_power_loss_takes() {
    let disk = SimDisk::new();
    let mut logs: Vec<_> = open(&disk, 1, SyncPolicy::EverySec, 3).unwrap().into_iter().map(|(log, _)| log).collect();
    logs.iter_mut().for_each(|log| run_all(&disk, log));
    let [a, b, c] = logs.as_mut_slice() else { unreachable!("three") };
    let horizon = Arc::clone(a.horizon());
    let (before, after) = (horizon.draw(), horizon.draw());
    for ticket in [before, after] {
        append_part(a, ticket, &THREE[..2]);
        append_part(b, ticket, &THREE[..2]);
        horizon.decided(ticket);
    }
    append(a, &[Entry::Mark { txid: before }]);
    for log in [&mut *a, c] {
        log.set_policy(SyncPolicy::Always);
        run_all(&disk, log);
    }
    assert_eq!(c.reserve(100, Purpose::Grow), Ok(()), "it has no part in it");
    assert_eq!(a.reserve(100, Purpose::Grow), Err(crate::Refusal::Wait));
    b.set_policy(SyncPolicy::Always);
    run_all(&disk, b);
    a.end_turn();
    assert_eq!(a.reserve(100, Purpose::Grow), Ok(()));
    append(a, &[Entry::Mark { txid: after }]);
    assert_eq!(a.reserve(100, Purpose::Grow), Ok(()), "all of that one was synced before its mark");
}

#[test]
fn several_threads_find_what_one_finds() {
    let disk = decided_in_every_way().after_kill();
    let make = |_, _| Ok(Index::default());
    let several = Options { load_threads: 4, ..options(2, SyncPolicy::EverySec) };
    let (opened, _) = start(Arc::new(disk.after_kill()), several, 1, &Progress::default(), make).unwrap();
    assert_eq!(names(&opened), names(&open(&disk, 3, SyncPolicy::EverySec, 1).unwrap()));
}

/// The keys of each partition.
fn names(opened: &[(Log<SimDisk>, Index)]) -> Vec<Vec<String>> {
    let text = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
    opened.iter().map(|(_, index)| index.0.keys().map(text).collect()).collect()
}
