//! Files that no emberkv has written, with checksums that are right: a start serves something or says what is wrong. It does not
//! panic, and takes no memory or time that the files on the disk do not account for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{grown, open_with, options};
use crate::disk::Disk;
use crate::disk::sim::{Choices, SimDisk};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, surviving_frames};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::manifest::MANIFEST_NAMES;
use crate::{Address, Log, Options, Progress, Record, Replay, SegmentTable, StartError, SyncPolicy, start};

/// Looks at all of a record, as who builds something of it does.
struct Looks;

impl Replay for Looks {
    fn evict(&mut self, table: &mut SegmentTable, address: Address, _: &Record<'_>) {
        // it reads what it is shown, as an engine does
        let _ = table.record(address);
    }

    fn apply(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), String> {
        let _ = (record.key(), record.value(), record.expires_at_ms(), record.entry(), record.db());
        table.retain(address, crate::Shape::of(record));
        let _ = (table.position(address), table.record(address).value());
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A number that is likely to be wrong where `was` is right.
fn number(was: u64, choices: &mut Choices) -> u64 {
    match choices.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => was.wrapping_add(1),
        3 => was.wrapping_sub(1),
        4 => 1 << choices.below(64),
        5 => was ^ (1 << choices.below(64)),
        6 => choices.below(100),
        _ => choices.draw(),
    }
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

fn write(disk: &SimDisk, name: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(name).unwrap();
    disk.write_at(&file, at, bytes).unwrap();
    disk.sync(&file).unwrap();
}

/// Other numbers in both copies of the manifest, or in one.
fn change_manifest(disk: &SimDisk, choices: &mut Choices) {
    let mut bytes = disk.contents(MANIFEST_NAMES[0]);
    let len = long(&bytes, 8) as usize >> 32;
    for _ in 0..=choices.below(3) {
        if choices.one_in(2) {
            let at = 16 + choices.below((len as u64 - 28) / 4) as usize * 4;
            let changed = number(long(&bytes, at), choices);
            bytes[at..at + 8].copy_from_slice(&changed.to_le_bytes());
        } else {
            let at = 16 + choices.below((len as u64 - 24) / 4) as usize * 4;
            let changed = number(long(&bytes, at) & u64::from(u32::MAX), choices) as u32;
            bytes[at..at + 4].copy_from_slice(&changed.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&bytes[..len - 4]);
    bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
    write(disk, MANIFEST_NAMES[0], 0, &bytes[..len]);
    if !choices.one_in(4) {
        write(disk, MANIFEST_NAMES[1], 0, &bytes[..len]);
    }
}

/// Another header, or other records in a frame, of some segment.
fn change_segment(disk: &SimDisk, choices: &mut Choices) {
    let names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let name = &names[choices.below(names.len() as u64) as usize];
    let mut bytes = disk.contents(name);
    let Some(header) = SegmentHeader::decode(&bytes) else { return };
    if choices.one_in(5) {
        let at = 8 + choices.below(10) as usize * 4;
        let changed = number(long(&bytes, at), choices);
        bytes[at..at + 8].copy_from_slice(&changed.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        return write(disk, name, 0, &bytes[..SEGMENT_HEADER_BYTES as usize]);
    }
    let frames: Vec<_> = surviving_frames(header.nonce, &bytes, SEGMENT_HEADER_BYTES).collect();
    let Some((at, mut frame)) = frames.get(choices.below(frames.len().max(1) as u64) as usize).copied() else { return };
    let from = at as usize + FRAME_HEADER_BYTES;
    let mut body = bytes[from..from + frame.length as usize].to_vec();
    match choices.below(6) {
        0 => frame.records = number(frame.records.into(), choices) as u32,
        1 => frame.durable.0 = number(frame.durable.0, choices),
        2 => body.truncate(choices.below(body.len() as u64 + 1) as usize),
        _ => {
            for _ in 0..=choices.below(4) {
                // the first bytes of a record say most
                let within = if choices.one_in(2) { body.len() } else { body.len().min(24) };
                if within > 0 {
                    body[choices.below(within as u64) as usize] = choices.draw() as u8;
                }
            }
        }
    }
    let frame = FrameHeader { length: body.len() as u32, ..frame };
    let mut sealed = vec![0; FRAME_HEADER_BYTES];
    frame.seal(header.nonce, at, &mut sealed, &body);
    sealed.extend_from_slice(&body);
    write(disk, name, at, &sealed);
}

fn open_looking(disk: &SimDisk, options: Options) -> Result<Vec<Log<SimDisk>>, StartError> {
    let (logs, _) = start(Arc::new(disk.clone()), options, 1, &Progress::default(), |_, _| Ok(Looks))?;
    Ok(logs.into_iter().map(|(log, _)| log).collect())
}

#[test]
fn a_start_survives_whatever_it_finds() {
    let cases = std::env::var("EMBERKV_HOSTILE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let (original, log) = grown();
    drop(log);
    let (mut served, mut refused) = (0, 0);
    for case in 0..cases {
        let mut choices = Choices::new(case);
        let disk = original.after_kill();
        // a hostile size must not become memory of this test
        disk.set_capacity(Some(disk.used() + (4 << 20)));
        for _ in 0..=choices.below(2) {
            if choices.one_in(2) { change_manifest(&disk, &mut choices) } else { change_segment(&disk, &mut choices) }
        }
        let salvage = choices.one_in(3);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            open_looking(&disk, Options { salvage, ..options(case, SyncPolicy::EverySec) }).is_ok()
        }));
        match opened {
            Ok(true) => served += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("case {case} has made the start panic"),
        }
    }
    println!("{served} served, {refused} refused");
    assert!(served > 0 && refused > 0);
    // and it was the changes that were refused
    assert!(open_with(&original.after_kill(), options(1, SyncPolicy::EverySec)).is_ok());
}
