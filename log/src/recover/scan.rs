//! Reading one segment file at a start, without changing anything.

use std::io;
use std::sync::Arc;

use crate::address::{LogPosition, PartitionId};
use crate::disk::Disk;
use crate::frame::{FrameHeader, frame_boundary, surviving_frames};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::TxId;
use crate::job::segment_name;
use crate::manifest::{Extent, SegmentEntry};
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::record::{Kind, Record};
use crate::recover::transactions::Note;

/// What a segment's file holds.
#[derive(Debug)]
pub(crate) struct Scanned<F> {
    pub entry: SegmentEntry,
    pub file: F,
    pub header: Option<SegmentHeader>,
    /// The valid bytes from the beginning, loaded; `None` if it was not read (K8).
    pub writer: Option<SegmentWriter>,
    /// Its memory, if that was done afterwards.
    pub loaded: Option<Arc<SegmentMemory>>,
    /// Offset after the last frame of the unbroken run from the beginning; 0 if the header is bad.
    pub valid_end: u64,
    /// Records in that run.
    pub records: u64,
    /// Whether that run ends with a seal.
    pub sealed: bool,
    /// The frames beyond `valid_end` that are whole all the same (offset, header).
    pub beyond: Vec<(u64, FrameHeader)>,
    /// The highest position that one of the frames says is durable.
    pub durable: LogPosition,
    /// Whether something that looks like a frame follows the run.
    pub torn: bool,
    /// What the run says of transactions, as far as that is needed.
    pub notes: Vec<Note>,
    /// Whether it was cut before one of them: its file holds more, that was known durable.
    pub is_cut: bool,
}

/// Why a scan can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("it is not there")]
    Missing,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its header is not that of the segment which is listed")]
    OtherSegment,
    #[error("at offset {0} a frame whose checksum is right holds records that are not")]
    BadRecords(u64),
}

const CHUNK: usize = 4 << 20;

/// Reads and checks the segment of `entry`. Transactions below `horizon` are settled.
///
/// # Errors
/// See [`ScanError`].
pub(crate) fn scan<D: Disk>(
    disk: &D,
    partition: PartitionId,
    entry: SegmentEntry,
    horizon: TxId,
    loaded: &dyn Fn(u64),
) -> Result<Scanned<D::File>, ScanError> {
    let file = open(disk, &entry)?;
    let mut writer = SegmentWriter::new(entry.size)?;
    let len = match entry.extent {
        Extent::Sealed { base, end, .. } => end.0 - base.0,
        // what the manifest does not say the end of may be followed by stale bytes
        Extent::Open { .. } | Extent::Prepared => entry.size.min(disk.data_end(&file)?),
    };
    load(disk, &file, &mut writer, len, loaded)?;
    loaded(entry.size.saturating_sub(len));
    let bytes = writer.memory().closed_bytes(0..writer.at());
    let header = SegmentHeader::decode(bytes).filter(|header| {
        header.partition == partition
            && header.sequence == entry.sequence
            && header.nonce == entry.nonce
            && entry.extent.base().is_none_or(|base| base == header.base)
    });
    let mut run = Run { valid_end: 0, durable: LogPosition(0), records: Records::new(horizon) };
    if header.is_some() {
        run.follow(bytes, &entry)?;
    }
    let beyond: Vec<_> = match entry.extent {
        Extent::Sealed { base, end, .. } if run.valid_end == end.0 - base.0 => Vec::new(),
        _ => surviving_frames(entry.nonce, bytes, run.valid_end.max(SEGMENT_HEADER_BYTES)).collect(),
    };
    let durable = beyond.iter().map(|(_, frame)| frame.durable).fold(run.durable, LogPosition::max);
    let next = frame_boundary(run.valid_end) as usize;
    let tag = entry.nonce.tag().to_le_bytes();
    let torn = bytes.get(next..next + 4).is_some_and(|start| start == tag) || !beyond.is_empty();
    // the padding behind the last frame may be part of what was never written
    writer.skip(run.valid_end.saturating_sub(writer.at()) as usize);
    writer.cut_loaded(run.valid_end);
    let Run { valid_end, records: Records { count: records, sealed, notes, .. }, .. } = run;
    Ok(Scanned {
        entry,
        file,
        header,
        writer: Some(writer),
        loaded: None,
        valid_end,
        records,
        sealed,
        beyond,
        durable,
        torn,
        notes,
        is_cut: false,
    })
}

fn open<D: Disk>(disk: &D, entry: &SegmentEntry) -> Result<D::File, ScanError> {
    match disk.open(&segment_name(entry.file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ScanError::Missing),
        other => Ok(other?),
    }
}

/// Takes a segment that is listed as sealed for what it is listed as, without reading more of it than its header: a checkpoint
/// says what is in it, and the rest is checked when it is read (K8).
///
/// # Errors
/// Those of the disk, and if it is not what it should be even so far.
pub(crate) fn presume<D: Disk>(
    disk: &D,
    partition: PartitionId,
    entry: SegmentEntry,
) -> Result<Scanned<D::File>, ScanError> {
    let Extent::Sealed { base, end, records } = entry.extent else { return Err(ScanError::OtherSegment) };
    let valid_end = end.0 - base.0;
    let file = open(disk, &entry)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    if disk.size(&file)? < valid_end || disk.read_at(&file, 0, &mut bytes)? < bytes.len() {
        return Err(ScanError::OtherSegment);
    }
    let header = SegmentHeader::decode(&bytes).filter(|header| {
        (header.partition, header.sequence, header.nonce, header.base) == (partition, entry.sequence, entry.nonce, base)
    });
    let Some(header) = header else { return Err(ScanError::OtherSegment) };
    Ok(Scanned {
        entry,
        file,
        header: Some(header),
        writer: None,
        loaded: None,
        valid_end,
        records,
        sealed: true,
        beyond: Vec::new(),
        durable: LogPosition(0),
        torn: false,
        notes: Vec::new(),
        is_cut: false,
    })
}

impl<F> Scanned<F> {
    /// The bytes of its frames.
    ///
    /// # Panics
    /// If it was not read.
    pub fn bytes(&self) -> &[u8] {
        match &self.writer {
            Some(writer) => writer.memory().closed_bytes(0..self.valid_end),
            None => unreachable!("a segment that was not read lies before all that is looked at"),
        }
    }
}

/// The unbroken run of frames from a segment's beginning.
struct Run {
    valid_end: u64,
    durable: LogPosition,
    records: Records,
}

/// What is found in the frames of a segment.
pub(crate) struct Records {
    pub count: u64,
    /// Whether the last one was a seal.
    pub sealed: bool,
    pub notes: Vec<Note>,
    horizon: TxId,
}

impl Records {
    pub fn new(horizon: TxId) -> Self {
        Self { count: 0, sealed: false, notes: Vec::new(), horizon }
    }

    /// Goes through the records of the frame at `at`; `None` if they are not sound or do not fill it.
    pub fn take(&mut self, at: u64, frame: FrameHeader, body: &[u8]) -> Option<()> {
        let mut offset = 0;
        for before in 0..frame.records {
            let record = Record::decode(&body[offset..]).filter(Record::is_sound)?;
            if record.part().is_some_and(|part| part.records >= frame.records - before) {
                return None; // a part is in one frame
            }
            self.sealed = record.kind() == Kind::Seal;
            self.notes.extend(Note::of(&record, self.horizon, at, offset, before));
            offset += record.encoded_len();
        }
        self.count += u64::from(frame.records);
        (frame.records == 0 || offset == body.len()).then_some(())
    }
}

impl Run {
    fn follow(&mut self, bytes: &[u8], entry: &SegmentEntry) -> Result<(), ScanError> {
        self.valid_end = SEGMENT_HEADER_BYTES;
        let mut at = SEGMENT_HEADER_BYTES;
        while !self.records.sealed {
            #[cfg(any(test, feature = "sim"))]
            let frame = if crate::plant::is(crate::plant::Plant::F1) {
                FrameHeader::unchecked(entry.nonce, bytes, at)
            } else {
                FrameHeader::verify(entry.nonce, bytes, at)
            };
            #[cfg(not(any(test, feature = "sim")))]
            let frame = FrameHeader::verify(entry.nonce, bytes, at);
            let Some((frame, body)) = frame else { break };
            self.records.take(at, frame, body).ok_or(ScanError::BadRecords(at))?;
            self.durable = self.durable.max(frame.durable);
            self.valid_end = frame.end(at);
            at = frame_boundary(self.valid_end);
        }
        if self.records.sealed {
            self.valid_end = at;
        }
        Ok(())
    }
}

fn load<D: Disk>(
    disk: &D,
    file: &D::File,
    writer: &mut SegmentWriter,
    len: u64,
    loaded: &dyn Fn(u64),
) -> io::Result<()> {
    while writer.at() < len {
        let offset = writer.at();
        let chunk = ((len - offset) as usize).min(CHUNK);
        let mut read = Ok(0);
        writer.append(chunk, |space| read = disk.read_at(file, offset, space));
        if read? < chunk {
            break; // the file is shorter than it should be: the missing bytes are zeros, and no frames
        }
        loaded(chunk as u64);
    }
    writer.close_loaded();
    Ok(())
}
