//! What a checkpoint proves, and checkpoints that no emberkv has written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use emberkv_log::SyncPolicy;
use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::{Choices, SimDisk};

use super::checkpoints::{filled, names};
use super::rig::Rig;

/// F2 by K1: the last bytes of a log, with nothing behind them that knows of them, are gone, and a checkpoint was taken of them.
#[test]
fn what_a_checkpoint_was_taken_of_is_known_to_have_been_durable() {
    let mut rig = filled(100);
    rig.partition.begin_checkpoint();
    // a second without writes would have told the manifest
    for n in 0.. {
        rig.ask(0, &format!("set busy {n}"));
        rig.partition.save_some(100);
        rig.run_all();
        if rig.partition.checkpoint_stats().taken > 0 {
            break;
        }
        rig.partition.log_mut().tick();
    }
    let facts = rig.partition.log().segment_facts();
    let head = facts.last().unwrap();
    let base = rig.partition.log().tail().0 - head.bytes;
    let from = rig.partition.log().last_checkpoint().0 - base - 100;
    let listing = emberkv_log::inspect::list(&rig.disk).unwrap();
    let name = &listing.segments.iter().find(|segment| segment.sequence == head.sequence).unwrap().file;
    let start = |rig: &Rig| {
        let hurt = rig.disk.after_kill();
        let file = hurt.open(name).unwrap();
        hurt.write_at(&file, from, &vec![0; (head.bytes - from) as usize]).unwrap();
        hurt.sync(&file).unwrap();
        Rig::start(hurt, 9, SyncPolicy::EverySec).map(drop)
    };
    let error = start(&rig).unwrap_err();
    assert!(error.contains("is damaged at offset"), "{error}");
}

/// A number that is likely to be wrong where `was` is right.
fn number(was: u64, choices: &mut Choices) -> u64 {
    match choices.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => was.wrapping_add(1),
        3 => was.wrapping_sub(1),
        4 => 1 << choices.below(64),
        5 => was ^ 1 << choices.below(64),
        6 => choices.below(100),
        _ => choices.draw(),
    }
}

/// Another number at a place, of four or eight bytes.
fn change(bytes: &mut [u8], at: usize, choices: &mut Choices) {
    let len = if choices.one_in(2) { 4 } else { 8 }.min(bytes.len() - at);
    let mut was = [0; 8];
    was[..len].copy_from_slice(&bytes[at..at + len]);
    let changed = number(u64::from_le_bytes(was), choices).to_le_bytes();
    bytes[at..at + len].copy_from_slice(&changed[..len]);
}

/// A checkpoint with other numbers in its header, its description, or the heads of its pages, and checksums that are right.
fn forge(disk: &SimDisk, name: &str, choices: &mut Choices) {
    const FIRST_CHUNK: usize = 4096;
    let mut bytes = disk.contents(name);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (meta_len, meta_at) = (word(&bytes, 12) as usize, word(&bytes, 16) as usize);
    let meta = meta_at..meta_at + meta_len;
    let place = choices.below(8);
    for _ in 0..=choices.below(3) {
        match place {
            0 => change(&mut bytes, 8 + choices.below(5) as usize * 4, choices),
            1..5 => {
                let at = meta_at + choices.below(meta_len as u64 / 4) as usize * 4;
                change(&mut bytes[..meta.end], at, choices);
            }
            _ => {
                // the first chunk: where it begins, its length and its crc stand in the description
                let offset = (FIRST_CHUNK as u64).to_le_bytes();
                let found = (meta.start..meta.end - 16).find_map(|at| {
                    let len = word(&bytes, at + 8) as usize;
                    let is_it = bytes[at..at + 8] == offset && FIRST_CHUNK + len <= bytes.len();
                    let crc = |len| crc32c::crc32c(&bytes[FIRST_CHUNK..FIRST_CHUNK + len]);
                    (is_it && crc(len) == word(&bytes, at + 12)).then_some((len, at + 12))
                });
                let (len, crc_at) = found.expect("the description has the first chunk");
                let at = FIRST_CHUNK + if choices.one_in(2) { 0 } else { choices.below(16) as usize };
                match choices.below(3) {
                    // which tags, how large, how many
                    0 | 1 => change(&mut bytes[..FIRST_CHUNK + 16], at.min(FIRST_CHUNK + 12), choices),
                    // an entry that leads nowhere, or has another tag
                    _ => {
                        let at = FIRST_CHUNK + 16 + choices.below((len as u64 - 16) / 8) as usize * 8;
                        let entry = [0, u64::MAX, choices.draw() | 1 << 37][choices.below(3) as usize];
                        bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
                    }
                }
                let crc = crc32c::crc32c(&bytes[FIRST_CHUNK..FIRST_CHUNK + len]);
                bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
    if place > 0 {
        let crc = crc32c::crc32c(&bytes[meta]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let file = disk.open(name).unwrap();
    disk.write_at(&file, 0, &bytes).unwrap();
    disk.sync(&file).unwrap();
}

/// Checkpoints that no emberkv has written: a start does without them, or serves; it does not panic, and takes no memory that the
/// files do not account for. `EMBERKV_HOSTILE_CASES` for more.
#[test]
fn a_start_survives_whatever_a_checkpoint_says() {
    let cases = std::env::var("EMBERKV_HOSTILE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let mut rig = filled(40);
    for key in 0..10 {
        rig.ask(1, &format!("set e{key} v px {}", 100_000 + key));
        rig.ask(0, &format!("del k{key}"));
    }
    assert!(rig.checkpoint());
    rig.ask(0, "set late 1");
    rig.run_all();
    let contents = rig.contents();
    let (mut used, mut refused) = (0, 0);
    for case in 0..cases {
        let mut choices = Choices::new(case);
        let disk = rig.disk.after_kill();
        forge(&disk, &names(&rig)[0], &mut choices);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut other = Rig::start(disk, case, SyncPolicy::EverySec).unwrap();
            let from_checkpoint = other.from_checkpoint;
            (from_checkpoint, from_checkpoint || other.contents() == contents)
        }));
        match opened {
            Ok((true, _)) => used += 1,
            Ok((false, is_right)) => {
                assert!(is_right, "case {case}: the log alone is not served as it is");
                refused += 1;
            }
            Err(_) => panic!("case {case} has made the start panic"),
        }
    }
    println!("{used} used, {refused} refused");
    assert!(used > 0 && refused > 0);
}
