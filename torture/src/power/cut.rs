//! Power loss, as far as it can be played from outside: after `kill -9` the end of a partition's log is taken away, from
//! some frame on that nobody has called durable. Each partition loses what it loses, so the logs disagree about the last
//! transactions.
//!
//! A reader of docs/format.md, sections 3 and 4, with as little of it as this takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rng::Rng;
use crate::{Error, Result};

const SEGMENT_MAGIC: &[u8] = b"EMBERSEG";
/// Where the first frame of a segment begins.
const FIRST_FRAME: usize = 64;
const FRAME_HEADER: usize = 24;
/// Frames begin at multiples of this.
const ALIGNMENT: usize = 8;

/// The newest segment of a partition.
struct Head {
    path: PathBuf,
    sequence: u64,
    base: u64,
    bytes: Vec<u8>,
}

/// Takes the end of some partitions' logs away; one line for each, of what was cut where.
///
/// # Errors
/// When a file can't be read or written.
pub fn cut_some(dir: &Path, rng: &mut Rng) -> Result<Vec<String>> {
    let mut cuts = Vec::new();
    for (partition, mut head) in heads(dir)? {
        let frames = unsynced_frames(&head);
        if frames.is_empty() || !rng.percent(60) {
            continue;
        }
        // anywhere in a frame: its first byte takes it away whole, a later one tears it.
        let frame = rng.pick(&frames).clone();
        let from = if rng.percent(50) { frame.start } else { frame.start + rng.index(frame.len()) };
        head.bytes[from..].fill(0);
        let io = |source| Error::Io { what: format!("cutting {}", head.path.display()), source };
        fs::write(&head.path, &head.bytes).map_err(io)?;
        cuts.push(format!("partition {partition}: {} from {from} on", head.path.display()));
    }
    Ok(cuts)
}

fn heads(dir: &Path) -> Result<BTreeMap<u32, Head>> {
    let io = |source| Error::Io { what: format!("reading {}", dir.display()), source };
    let mut heads: BTreeMap<u32, Head> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let bytes = fs::read(&path).map_err(io)?;
        if bytes.len() < FIRST_FRAME || !bytes.starts_with(SEGMENT_MAGIC) {
            continue;
        }
        let partition = u32::try_from(number(&bytes[12..16])).unwrap_or(u32::MAX);
        let head = Head { path, sequence: number(&bytes[16..24]), base: number(&bytes[24..32]), bytes };
        if heads.get(&partition).is_none_or(|newest| newest.sequence < head.sequence) {
            heads.insert(partition, head);
        }
    }
    Ok(heads)
}

/// The frames of the head that no frame says are durable.
fn unsynced_frames(head: &Head) -> Vec<std::ops::Range<usize>> {
    let tag = &head.bytes[36..40];
    let (mut frames, mut durable, mut at) = (Vec::new(), 0, FIRST_FRAME);
    while let Some(header) = head.bytes.get(at..at + FRAME_HEADER)
        && header[..4] == *tag
    {
        let end = at + FRAME_HEADER + usize::try_from(number(&header[4..8])).unwrap_or(usize::MAX / 2);
        if end > head.bytes.len() {
            break;
        }
        durable = durable.max(number(&header[8..16]));
        frames.push(at..end);
        at = end.next_multiple_of(ALIGNMENT);
    }
    frames.retain(|frame| head.base + frame.start as u64 >= durable);
    frames
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of base 1000 whose frames have bodies of 16 bytes and these durable positions.
    fn head(durable: &[u64]) -> Head {
        let mut bytes = vec![0; FIRST_FRAME];
        bytes[32..40].copy_from_slice(&0x1122_3344_5566_7788_u64.to_le_bytes());
        for position in durable {
            bytes.extend_from_slice(&0x1122_3344_u32.to_le_bytes());
            bytes.extend_from_slice(&16_u32.to_le_bytes());
            bytes.extend_from_slice(&position.to_le_bytes());
            bytes.extend_from_slice(&[1; 8 + 16]);
        }
        bytes.extend_from_slice(&[9; 100]);
        Head { path: PathBuf::new(), sequence: 1, base: 1000, bytes }
    }

    #[test]
    fn only_frames_beyond_the_durable_position_are_cut() {
        assert_eq!(unsynced_frames(&head(&[0, 0, 0])), [64..104, 104..144, 144..184]);
        assert_eq!(unsynced_frames(&head(&[0, 0, 1104])), [104..144, 144..184]);
        assert_eq!(unsynced_frames(&head(&[])), []);
    }
}
