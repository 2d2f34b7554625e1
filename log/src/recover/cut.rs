//! Ending a log before one of its records: what X5 says of a mark whose transaction never happened.

use std::io;

use crate::address::LogPosition;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::manifest::Extent;
use crate::memory::SegmentWriter;
use crate::recover::decide::End;
use crate::recover::scan::Scanned;
use crate::recover::transactions::Note;

/// Ends the segment before the record of `note`, in memory: the frame keeps what is before it there. The segment is
/// open again.
///
/// # Errors
/// If there is no memory.
pub(crate) fn cut_before<F>(found: &mut Scanned<F>, note: &Note) -> io::Result<()> {
    let bytes = found.bytes();
    let (mut records, mut end, mut at) = (0, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
    while at < note.frame
        && let Some(frame) = FrameHeader::peek(bytes, at)
    {
        records += u64::from(frame.records);
        end = frame.end(at);
        at = frame_boundary(end);
    }
    let mut writer = SegmentWriter::new(found.entry.size)?;
    writer.append(end as usize, |space| space.copy_from_slice(&bytes[..end as usize]));
    if note.before > 0
        && let Some(frame) = FrameHeader::peek(bytes, note.frame)
    {
        let body = &bytes[note.frame as usize + FRAME_HEADER_BYTES..][..note.offset];
        let shortened = FrameHeader { length: note.offset as u32, records: note.before, ..frame };
        writer.skip((note.frame - end) as usize);
        writer.append(FRAME_HEADER_BYTES + body.len(), |space| {
            let (header, rest) = space.split_at_mut(FRAME_HEADER_BYTES);
            shortened.seal(found.entry.nonce, note.frame, header, body);
            rest.copy_from_slice(body);
        });
        records += u64::from(note.before);
    }
    writer.close_loaded();
    let base = found.entry.extent.base().or(found.header.map(|header| header.base));
    found.entry.extent = Extent::Open { base: base.unwrap_or_default() };
    found.valid_end = writer.at();
    found.records = records;
    (found.sealed, found.torn, found.is_cut) = (false, true, true);
    found.beyond = Vec::new();
    found.writer = Some(writer);
    Ok(())
}

/// Where a log ends whose last segment is `found`.
pub(crate) fn end_of<F>(found: &Scanned<F>) -> End {
    let base = found.entry.extent.base().unwrap_or(LogPosition(0));
    End {
        position: base.plus(found.valid_end),
        segment: Some(found.entry.sequence),
        offset: found.valid_end,
        torn: true,
    }
}
