//! A piece of a log on its way: frames of one segment, and what that segment is.

use crate::address::{LogPosition, SegmentSequence};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::record::Record;

/// What a segment is, on whatever node: its place in the log. (Its slots are not: no record says where another one is.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// Its place in the order of the log.
    pub sequence: SegmentSequence,
    /// Bytes of its file.
    pub size: u64,
    /// The position of its first byte.
    pub base: LogPosition,
    /// When it was begun, in ms since 1970.
    pub created_ms: u64,
}

/// Bytes of encoded [`SegmentFacts`].
pub(super) const FACTS_BYTES: usize = 32;
/// Bytes before the frames.
const HEAD_BYTES: usize = FACTS_BYTES + 8;

impl SegmentFacts {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for field in [self.sequence.0, self.size, self.base.0, self.created_ms] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<u64> = bytes.get(..FACTS_BYTES)?.chunks_exact(8).filter_map(long).collect();
        let [sequence, size, base, created_ms] = fields[..] else { return None };
        Some(Self { sequence: SegmentSequence(sequence), size, base: LogPosition(base), created_ms })
    }
}

pub(super) fn long(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

/// See the module.
///
/// ```text
///  0          8      16     24           32       40
///  +----------+------+------+------------+--------+---------------+
///  | sequence | size | base | created ms | offset | frames ...    |
///  +----------+------+------+------------+--------+---------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece<'a> {
    /// The segment that the frames are of.
    pub segment: SegmentFacts,
    /// Where in it they begin.
    pub offset: u64,
    /// Whole frames, as they lie there. Their checksums are of the node that they come from, and nothing is made of them:
    /// each record has its own.
    pub frames: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The bytes before the frames.
    pub(crate) fn begin(segment: &SegmentFacts, offset: u64, out: &mut Vec<u8>) {
        segment.encode(out);
        out.extend_from_slice(&offset.to_le_bytes());
    }

    /// The piece that `bytes` are; `None` if they are none.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let segment = SegmentFacts::decode(bytes)?;
        let offset = long(bytes.get(FACTS_BYTES..)?)?;
        let frames = bytes.get(HEAD_BYTES..)?;
        let piece = Self { segment, offset, frames };
        let end = offset.checked_add(frames.len() as u64)?;
        let is_possible = offset >= SEGMENT_HEADER_BYTES && offset == frame_boundary(offset) && end <= segment.size;
        let mut ends = None;
        for frame in piece.frames() {
            ends = Some(frame?.end);
        }
        (is_possible && ends == Some(frames.len())).then_some(piece)
    }

    /// The position after its last frame: where the next piece begins.
    pub fn end(&self) -> LogPosition {
        self.segment.base.plus(self.offset + self.frames.len() as u64)
    }

    /// Its frames, one behind the other; `None` and nothing more where they are not what they should be.
    pub fn frames(&self) -> impl Iterator<Item = Option<ShippedFrame<'a>>> + use<'a> {
        let (bytes, offset) = (self.frames, self.offset);
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= bytes.len() {
                return None;
            }
            let frame = frame_at(bytes, at).map(|(header, end)| ShippedFrame {
                offset: offset + at as u64,
                records: header.records,
                body: &bytes[at + FRAME_HEADER_BYTES..end],
                end,
            });
            // offset is a boundary, so boundaries here are boundaries there
            at = frame.as_ref().map_or(bytes.len(), |frame| frame_boundary(frame.end as u64) as usize);
            Some(frame)
        })
    }
}

impl<'a> ShippedFrame<'a> {
    /// Where it begins in its segment.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its records; `None` and nothing more where they are not what they should be.
    pub fn records(&self) -> impl Iterator<Item = Option<Record<'a>>> + use<'a> {
        let (mut left, mut rest) = (self.records, self.body);
        let is_filler = self.records == 0;
        std::iter::from_fn(move || {
            if left == 0 {
                // records fill the frame
                let is_over = is_filler || std::mem::take(&mut rest).is_empty();
                return if is_over { None } else { Some(None) };
            }
            let record = Record::verify(rest).filter(Record::is_sound);
            match record {
                Some(record) => (left, rest) = (left - 1, &rest[record.encoded_len()..]),
                None => (left, rest) = (0, &[]),
            }
            Some(record)
        })
    }
}

fn frame_at(bytes: &[u8], at: usize) -> Option<(FrameHeader, usize)> {
    let header = FrameHeader::peek(bytes, at as u64)?;
    let end = (at + FRAME_HEADER_BYTES).checked_add(header.length as usize)?;
    (end <= bytes.len()).then_some((header, end))
}

/// A frame of a piece.
#[derive(Clone, Copy, Debug)]
pub struct ShippedFrame<'a> {
    /// Where it begins in its segment.
    pub(crate) offset: u64,
    pub(crate) records: u32,
    pub(crate) body: &'a [u8],
    /// Where it ends in the piece.
    end: usize,
}

/// How many of `bytes`, which begin with a frame and hold whole frames, are frames that end within `most` bytes; one is always.
pub(super) fn whole_frames(bytes: &[u8], most: usize) -> usize {
    let mut taken = 0;
    let mut at = 0;
    while let Some((_, end)) = frame_at(bytes, at) {
        if taken > 0 && end > most {
            break;
        }
        taken = end;
        at = frame_boundary(end as u64) as usize;
    }
    taken
}
