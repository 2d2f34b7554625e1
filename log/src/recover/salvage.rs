//! Going on in spite of damage, when the operator says so: every frame that is whole is kept, what lies
//! between is replaced by empty frames, and what is lost is said.

use std::io;

use crate::address::{LogPosition, PartitionId};
use crate::disk::Disk;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary, surviving_frames};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::TxId;
use crate::job::segment_name;
use crate::manifest::Extent;
use crate::memory::SegmentWriter;
use crate::recover::decide::Case;
use crate::recover::scan::{Records, Scanned};

/// Makes of every segment that is not whole one that is, without what is lost. Up to `durable` the log is known to have been.
///
/// # Errors
/// Those of the disk.
pub(crate) fn salvage<D: Disk>(
    disk: &D,
    partition: PartitionId,
    horizon: TxId,
    durable: LogPosition,
    segments: &mut [Scanned<D::File>],
    lost: &mut Vec<String>,
) -> io::Result<()> {
    let last_used = segments.iter().rposition(|found| found.header.is_some() || !found.beyond.is_empty());
    let ends: Vec<_> = (0..segments.len()).map(|i| known_end(segments, i, last_used, durable)).collect();
    let mut end = LogPosition(0);
    for (i, found) in segments.iter_mut().enumerate() {
        let case = Case::of(found, (i > 0).then_some(end));
        let base = found.entry.extent.base().or(found.header.map(|header| header.base)).unwrap_or(end);
        match case {
            Case::Unused => continue,
            Case::Whole | Case::SealedUnlisted => {}
            Case::SealedBroken | Case::Tail | Case::HeaderLost | Case::Misplaced => {
                rebuild(disk, partition, horizon, found, base, lost)?;
            }
        }
        end = base.plus(found.valid_end);
        if let Some(known) = ends[i].filter(|known| *known > end) {
            let name = segment_name(found.entry.file);
            lost.push(format!("{name}: {} bytes at offset {}", known.0 - end.0, found.valid_end));
        }
        let whole = Extent::Sealed { base, end, records: found.records };
        found.entry.extent = if Some(i) == last_used && !found.sealed { Extent::Open { base } } else { whole };
    }
    Ok(())
}

/// Where a segment that is not listed as sealed is known to have reached: what comes next begins there, or it was durable. Of one that is
/// listed its entry says so.
fn known_end<F>(
    segments: &[Scanned<F>],
    i: usize,
    last_used: Option<usize>,
    durable: LogPosition,
) -> Option<LogPosition> {
    let entry = &segments[i].entry;
    if matches!(entry.extent, Extent::Sealed { .. }) {
        return None;
    }
    if Some(i) == last_used {
        return Some(durable);
    }
    let next = segments.get(i + 1).filter(|next| next.entry.sequence.0 == entry.sequence.0 + 1)?;
    next.entry.extent.base().or(next.header.map(|header| header.base))
}

fn rebuild<D: Disk>(
    disk: &D,
    partition: PartitionId,
    horizon: TxId,
    found: &mut Scanned<D::File>,
    base: LogPosition,
    lost: &mut Vec<String>,
) -> io::Result<()> {
    let name = segment_name(found.entry.file);
    // a manifest may say what it likes: no more is taken than there is
    let mut bytes = vec![0; found.entry.size.min(disk.size(&found.file)?) as usize];
    disk.read_at(&found.file, 0, &mut bytes)?;
    let nonce = found.entry.nonce;
    let header = SegmentHeader {
        partition,
        sequence: found.entry.sequence,
        base,
        nonce,
        created_ms: found.header.map_or(0, |header| header.created_ms),
    };
    let mut writer = SegmentWriter::new(found.entry.size)?;
    writer.append(SEGMENT_HEADER_BYTES as usize, |space| space.copy_from_slice(&header.encode()));
    let mut records = Records::new(horizon);
    for (offset, frame) in surviving_frames(nonce, &bytes, SEGMENT_HEADER_BYTES) {
        let at = frame_boundary(writer.at());
        if offset > at && offset < at + FRAME_HEADER_BYTES as u64 {
            lost.push(format!("{name}: {} bytes at offset {offset}", frame.end(offset) - offset));
            continue; // what is before it is too short for a filler: no emberkv has written this
        }
        writer.skip((at - writer.at()) as usize);
        if offset > at {
            lost.push(format!("{name}: {} bytes at offset {at}", offset - at));
            let hole = vec![0; (offset - at) as usize - FRAME_HEADER_BYTES];
            let filler = FrameHeader { length: hole.len() as u32, durable: LogPosition(0), records: 0 };
            writer.append((offset - at) as usize, |space| {
                filler.seal(nonce, at, &mut space[..FRAME_HEADER_BYTES], &hole);
            });
        }
        let body = &bytes[offset as usize + FRAME_HEADER_BYTES..frame.end(offset) as usize];
        writer.append(FRAME_HEADER_BYTES + body.len(), |space| {
            let (header, rest) = space.split_at_mut(FRAME_HEADER_BYTES);
            FrameHeader { durable: LogPosition(0), ..frame }.seal(nonce, offset, header, body);
            rest.copy_from_slice(body);
        });
        records.take(offset, frame, body).ok_or(io::ErrorKind::InvalidData)?;
    }
    if records.sealed {
        writer.skip((frame_boundary(writer.at()) - writer.at()) as usize);
    }
    if let Extent::Sealed { base, end, .. } = found.entry.extent
        && frame_boundary(writer.at()) < end.0 - base.0
    {
        lost.push(format!("{name}: {} bytes at offset {}", end.0 - base.0 - writer.at(), writer.at()));
    }
    writer.close_loaded();
    found.header = Some(header);
    found.valid_end = writer.at();
    (found.records, found.sealed, found.notes) = (records.count, records.sealed, records.notes);
    (found.beyond, found.torn, found.durable) = (Vec::new(), false, LogPosition(0));
    found.writer = Some(writer);
    Ok(())
}
