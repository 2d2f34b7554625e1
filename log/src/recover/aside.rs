//! What a log had that the one which it is to follow never had: cut off, and kept in a file of its own, for whoever wants it back (R1).
//!
//! ```text
//!  0           8         16        24          32     40   48           56         64
//!  +-----------+---------+---------+-----------+------+----+-----------+---------+--------+-------+-----+-------+
//!  | EMBERCUT  | version | dataset | partition | from | to | life term | life id | length | piece | ... | crc32c|
//!  +-----------+---------+---------+-----------+------+----+-----------+---------+--------+-------+-----+-------+
//! ```
//!
//! Pieces are those that a replica is sent ([`ShippedPiece`]): whole frames of one segment. The life is the last one that wrote any of
//! it, so that the name of a file says all of what is in it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::address::{LogPosition, PartitionId};
use crate::disk::Disk;
use crate::manifest::Incarnation;
use crate::memory::SegmentMemory;
use crate::ship::{SegmentFacts, ShippedPiece};

const MAGIC: &[u8; 8] = b"EMBERCUT";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 64;

/// The file while it is written.
pub(crate) const NEW_CUT_OFF: &str = "cut.new";

/// A stretch of a log that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutOff {
    /// Whose.
    pub partition: PartitionId,
    /// Where its first frame begins.
    pub from: LogPosition,
    /// Where its last one ends.
    pub to: LogPosition,
    /// The id of the life that wrote the end of it.
    pub life: u64,
}

impl CutOff {
    /// The file that holds it.
    pub fn name(&self) -> String {
        format!("cut-{}-{}-{}-{:016x}", self.partition.0, self.from.0, self.to.0, self.life)
    }

    /// What a file of this name holds, if it is such a one.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix("cut-")?.split('-');
        let cut = Self {
            partition: PartitionId(words.next()?.parse().ok()?),
            from: LogPosition(words.next()?.parse().ok()?),
            to: LogPosition(words.next()?.parse().ok()?),
            life: u64::from_str_radix(words.next()?, 16).ok()?,
        };
        (cut.name() == name).then_some(cut)
    }
}

/// The frames of one, in memory.
pub(super) struct Aside {
    pub partition: PartitionId,
    pub from: LogPosition,
    pub to: LogPosition,
    pub life: Incarnation,
    pub pieces: Vec<(SegmentFacts, Range<u64>, Arc<SegmentMemory>)>,
}

impl Aside {
    /// Writes it down, durably. It may be there already, as a start that is interrupted begins anew: then it is the same.
    pub fn keep<D: Disk>(&self, disk: &D, dataset: u64) -> io::Result<CutOff> {
        let Self { partition, from, to, life, ref pieces } = *self;
        let cut = CutOff { partition, from, to, life: life.id };
        if disk.list()?.iter().any(|name| name == NEW_CUT_OFF) {
            disk.remove(NEW_CUT_OFF)?;
        }
        let mut bytes = MAGIC.to_vec();
        let fields = [VERSION, dataset, partition.0.into(), from.0, to.0, life.term, life.id];
        bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        let mut heads = Vec::new();
        for (facts, range, _) in pieces {
            let mut head = Vec::new();
            ShippedPiece::begin(facts, range.start, &mut head);
            heads.push([&(head.len() as u64 + range.end - range.start).to_le_bytes()[..], &head].concat());
        }
        let frames: u64 = pieces.iter().map(|(_, range, _)| range.end - range.start).sum();
        let size = (HEADER_BYTES + 4) as u64 + heads.iter().map(|head| head.len() as u64).sum::<u64>() + frames;
        let file = disk.create(NEW_CUT_OFF, size)?;
        let (mut at, mut crc) = (0, 0);
        let mut write = |bytes: &[u8]| {
            disk.write_at(&file, at, bytes)?;
            (at, crc) = (at + bytes.len() as u64, crc32c::crc32c_append(crc, bytes));
            io::Result::Ok(crc)
        };
        let mut sum = write(&bytes)?;
        for (head, (_, range, memory)) in heads.iter().zip(pieces) {
            write(head)?;
            sum = write(memory.closed_bytes(range.clone()))?;
        }
        write(&sum.to_le_bytes())?;
        disk.sync(&file)?;
        disk.rename(NEW_CUT_OFF, &cut.name())?;
        disk.sync_names()?;
        Ok(cut)
    }
}

/// The pieces in the file of what was cut off; in words, why it can't be read.
///
/// # Errors
/// Those of the disk, and if it is damaged.
pub fn read_cut_off<D: Disk>(disk: &D, name: &str) -> io::Result<Vec<Vec<u8>>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{name} is damaged"));
    let file = disk.open(name)?;
    let mut bytes = vec![0; usize::try_from(disk.size(&file)?).map_err(io::Error::other)?];
    let len = disk.read_at(&file, 0, &mut bytes)?;
    let (bytes, crc) = bytes[..len].split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) || !bytes.starts_with(MAGIC) {
        return Err(damaged());
    }
    let mut rest = bytes.get(HEADER_BYTES..).ok_or_else(damaged)?;
    let mut pieces = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
        let (piece, behind) = behind.split_at_checked(length).ok_or_else(damaged)?;
        ShippedPiece::decode(piece).ok_or_else(damaged)?;
        pieces.push(piece.to_vec());
        rest = behind;
    }
    if rest.is_empty() { Ok(pieces) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_in_a_file() {
        let cut = CutOff { partition: PartitionId(3), from: LogPosition(900), to: LogPosition(1234), life: 0xabc };
        assert_eq!(cut.name(), "cut-3-900-1234-0000000000000abc");
        assert_eq!(CutOff::of_name(&cut.name()), Some(cut));
        for name in
            ["cut.new", "cut-", "cut-3-900-1234", "cut-3-900-1234-abc", "segment-3", "cut-3-900-x-0000000000000abc"]
        {
            assert_eq!(CutOff::of_name(name), None, "{name}");
        }
    }
}
