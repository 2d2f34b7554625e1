//! Segments that are not in memory, in lives and by themselves.

use super::{Index, Life, grown, open, run_all};
use crate::cold::Bring;
use crate::disk::sim::SimDisk;
use crate::plant::{self, Plant};
use crate::segment::Residence;
use crate::{Address, JobKind, Log, SyncPolicy, Value, segment_name};

impl Life {
    /// Lets go of a segment, loads one, or reads a key.
    pub(super) fn cold_step(&mut self) {
        match self.cold_choices.below(8) {
            0..2 => {
                let unloadable = self.log.unloadable();
                if !unloadable.is_empty() {
                    let chosen = unloadable[self.cold_choices.below(unloadable.len() as u64) as usize];
                    self.log.unload(chosen.sequence);
                }
            }
            2 => {
                let sequence =
                    self.log.segments[self.cold_choices.below(self.log.segments.len() as u64) as usize].sequence();
                self.log.begin_load(sequence);
            }
            3 if self.cold_choices.one_in(8) => self.disk.fail_reads(1),
            4 if self.cold_choices.one_in(4) => self.log.shrink_kept(0),
            _ => self.read(),
        }
    }

    fn read(&mut self) {
        let key = format!("key{}", self.cold_choices.below(25)).into_bytes();
        let Some((address, _)) = self.index.0.get(&key) else { return };
        match self.log.bring(*address) {
            Bring::Here { .. } => {
                let newest = self.log.tail();
                let record = self.log.table().record(*address);
                assert_eq!(record.key(), key);
                let Value::Bytes(value) = record.value() else { panic!("bytes were put") };
                assert_eq!(value, self.model(newest)[&key], "{key:?} is not what it was");
            }
            Bring::Failed(reason) => assert!(reason.contains("simulated"), "{reason}"),
            Bring::Coming => assert!(self.log.is_coming(*address)),
        }
    }

    /// Reads everything that is not here.
    pub(super) fn bring_all(&mut self) {
        self.disk.fail_reads(0);
        loop {
            let addresses: Vec<_> = self.index.0.values().map(|(address, _)| *address).collect();
            let brought: Vec<_> = addresses.into_iter().map(|address| self.log.bring(address)).collect();
            if brought.iter().all(|bring| matches!(bring, Bring::Here { .. })) {
                return;
            }
            if brought.iter().any(|bring| matches!(bring, Bring::Failed(_))) {
                self.log.forget_failed_reads(); // the disk is well again
            }
            while let Some(job) = self.log.next_job() {
                self.jobs.push(job);
            }
            let reads: Vec<_> = self.jobs.extract_if(.., |job| matches!(job.kind(), JobKind::Read(_))).collect();
            for job in reads {
                let result = job.run(&self.disk);
                self.log.complete(job.kind(), result);
            }
        }
    }
}

/// A log with a segment that is not in memory, and an address in it.
fn with_a_cold_one() -> (SimDisk, Log<SimDisk>, Index, Address) {
    let (disk, log) = grown();
    log.close().unwrap();
    let (mut log, index) = open(&disk, 2, SyncPolicy::EverySec).unwrap();
    run_all(&disk, &mut log);
    let first = log.unloadable()[0].sequence;
    log.unload(first);
    let address = index.0[&150u32.to_le_bytes()[..]].0;
    let address = if log.table().is_resident(address) { index.0[&3u32.to_le_bytes()[..]].0 } else { address };
    assert!(log.table().has_cold() && !log.table().is_here(address));
    (disk, log, index, address)
}

fn name_and_offset(log: &Log<SimDisk>, address: Address) -> (String, u64) {
    let (slot, offset) = log.table().place(address).unwrap();
    let segment = log.segments.iter().find(|segment| segment.slot == slot).unwrap();
    (segment_name(segment.file_id), offset)
}

#[test]
fn all_who_ask_for_a_record_share_one_read() {
    let (disk, mut log, _, address) = with_a_cold_one();
    for _ in 0..5 {
        assert_eq!(log.bring(address), Bring::Coming);
    }
    run_all(&disk, &mut log);
    assert_eq!((log.cold_stats().reads, log.cold_stats().shared), (1, 4));
    assert!(!log.is_coming(address));
    assert_eq!(log.bring(address), Bring::Here { is_new: true });
    assert_eq!(log.bring(address), Bring::Here { is_new: false });
    assert_eq!(log.table().record(address).value(), Value::Bytes(&[7; 501]));
    log.shrink_kept(0);
    assert_eq!(log.bring(address), Bring::Coming, "it was forgotten");
}

#[test]
fn what_nobody_has_fetched_is_kept_for_some_seconds() {
    let (disk, mut log, _, address) = with_a_cold_one();
    log.bring(address);
    run_all(&disk, &mut log);
    log.shrink_kept(0);
    assert!(log.table().is_here(address));
    for _ in 0..20 {
        log.tick();
        run_all(&disk, &mut log);
    }
    log.shrink_kept(0);
    assert!(!log.table().is_here(address));
}

#[test]
fn a_damaged_record_is_an_error_that_names_it() {
    let (disk, mut log, index, address) = with_a_cold_one();
    let (name, offset) = name_and_offset(&log, address);
    disk.flip_bit(&name, (offset + 30) * 8);
    log.bring(address);
    run_all(&disk, &mut log);
    let Bring::Failed(reason) = log.bring(address) else { panic!("it is damaged") };
    assert!(reason.contains(&name) && reason.contains(&offset.to_string()), "{reason}");
    for other in index.0.values().map(|(other, _)| *other).filter(|other| *other != address) {
        while log.bring(other) == Bring::Coming {
            run_all(&disk, &mut log);
        }
        assert!(log.table().is_here(other), "the others are found");
    }
    // the segment as a whole can't be had: it stays where it is
    let sequence = log.segments[0].sequence();
    log.begin_load(sequence);
    run_all(&disk, &mut log);
    assert_eq!(log.segments[0].residence, Residence::Unreadable);
    assert!(log.candidates().iter().all(|candidate| candidate.sequence != sequence));

    let (disk, mut log, _, address) = with_a_cold_one();
    disk.flip_bit(&name, (offset + 30) * 8);
    plant::set(Some(Plant::L7Cold));
    log.bring(address);
    run_all(&disk, &mut log);
    plant::set(None);
    assert!(log.table().is_here(address), "without the look at its crc it goes unnoticed");
    assert_ne!(log.table().record(address).value(), Value::Bytes(&[7; 501]));
    plant::set(Some(Plant::L7Load));
    log.begin_load(sequence);
    run_all(&disk, &mut log);
    plant::set(None);
    assert!(log.segments[0].residence.is_resident(), "without the check of its frames it goes unnoticed");
}

#[test]
fn a_failed_read_is_tried_again_after_a_while() {
    let (disk, mut log, _, address) = with_a_cold_one();
    disk.fail_reads(1);
    log.bring(address);
    run_all(&disk, &mut log);
    assert!(matches!(log.bring(address), Bring::Failed(_)));
    log.tick();
    log.tick();
    assert_eq!(log.bring(address), Bring::Coming);
    run_all(&disk, &mut log);
    assert!(log.table().is_here(address));
}

#[test]
fn a_segment_comes_back_as_it_was_and_stays_for_a_while() {
    let (disk, mut log, index, address) = with_a_cold_one();
    let before = log.resident_bytes();
    let sequence = log.segments[0].sequence();
    log.begin_load(sequence);
    assert!(log.is_loading());
    run_all(&disk, &mut log);
    assert!(log.table().is_resident(address) && !log.table().has_cold());
    assert_eq!(log.resident_bytes(), before + (1 << 16));
    assert_eq!(index.contents(log.table()).len(), 300);
    assert!(log.unloadable().iter().all(|unloadable| unloadable.sequence != sequence), "somebody has wanted it");
    for _ in 0..5 {
        log.tick();
    }
    assert_eq!(log.unloadable()[0].sequence, sequence);
    let victim = log.victim(sequence).unwrap();
    log.unload(sequence);
    assert!(victim.sequence() == sequence && log.victim(sequence).is_none());
}
