//! Records that are too large for a turn are written ahead of the log, slice by slice.
//!
//! ```text
//!  the head: goes on meanwhile     the next segment: not part of the log yet
//!  +--------+------------------    +--------+-------+-----+------------------------+
//!  | frames |  others' records     | header | frame | crc | the rest of the record |
//!  +--------+------------------    +--------+-------+-----+------------------------+
//!                                    last, in one block     first, a slice at a time
//! ```
//!
//! Nothing in the file looks like a frame before the first block is written, and that is the tail's next write after the
//! rest has arrived in the file. So a crash before it finds a segment that was never used. The crcs of record and frame
//! are computed while the record is copied.

use std::io;
use std::ops::Range;

use crate::address::{Address, LogPosition};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::job::{Job, JobKind, WRITE_BLOCK};
use crate::log::{Appended, FRAME_SPACE, Log, SEAL_SPACE};
use crate::memory::{AheadWriter, SegmentWriter};
use crate::options::SyncPolicy;
use crate::record::{CRC_BYTES, DbId, Value, put_front};
use crate::room::{Purpose, Refusal};
use crate::segment::{Next, Prepared};
use crate::table::SegmentTable;
use crate::tally::Shape;

/// What is copied in a turn, at most: some 0.2 ms of memory bandwidth.
const SLICE_BYTES: u64 = 1 << 20;

/// Slices that are written to the file together.
const FILL_SLICES: u64 = 4;

/// The part of an ordinary segment that is left behind the record, twice what writes that grow have to leave: else a
/// second large record would keep others waiting until it is there too.
const MARGIN_FRACTION: u64 = 4;

/// How far memory is touched before it is written.
const PREFAULT_BYTES: u64 = 8 << 20;

/// Where the record begins: the frame before it begins where the segment's header ends.
const RECORD_AT: u64 = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES as u64;

/// Who has a large record written, by numbers that nobody else will have: it comes back with the same one
/// until that is done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Whose {
    /// The client; 0 for nobody, whose records are not written ahead.
    pub client: u64,
    /// Which of its requests.
    pub request: u64,
}

/// A part of a value.
#[derive(Clone, Debug)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A part of the value of the record there.
    Stored(Address, Range<usize>),
    /// Zeros.
    Zeros(usize),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Stored(_, range) => range.len(),
            Self::Zeros(len) => *len,
        }
    }

    fn copy(&self, table: &SegmentTable, from: usize, out: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => out.copy_from_slice(&bytes[from..from + out.len()]),
            Self::Stored(address, range) => {
                let Value::Bytes(value) = table.record(*address).value() else {
                    unreachable!("a large value is bytes")
                };
                out.copy_from_slice(&value[range.start + from..range.start + from + out.len()]);
            }
            Self::Zeros(_) => out.fill(0),
        }
    }
}

/// A put that is written ahead.
#[derive(Debug)]
pub struct Large<'a> {
    /// See [`Whose`].
    pub whose: Whose,
    /// The position of the record that it is made from: from another one it is made anew.
    pub seen: Option<LogPosition>,
    /// The logical database.
    pub db: DbId,
    /// The key.
    pub key: &'a [u8],
    /// When the key expires; what the first call says counts.
    pub expires_at_ms: Option<u64>,
    /// The value.
    pub value: &'a [Piece<'a>],
}

/// A record that is being written.
#[derive(Debug)]
pub(crate) struct Ahead<F> {
    pub prepared: Prepared<F, AheadWriter>,
    whose: Whose,
    seen: Option<LogPosition>,
    /// What was known durable when it was begun.
    durable: LogPosition,
    /// The offset where the record ends.
    end: u64,
    /// Bytes of the value that are copied.
    copied: usize,
    /// Of the record's bytes so far, without its own crc.
    crc: u32,
    /// Memory is touched up to here when the prefault that is under way has ended.
    touched: u64,
    /// Handed out to be written up to here.
    handed: u64,
    /// Whether the last of it was handed out to be synced too.
    is_synced: bool,
    failed: Option<String>,
    /// Whether it was asked for since the last tick.
    is_wanted: bool,
}

impl<F> Ahead<F> {
    fn is_copied(&self) -> bool {
        self.prepared.writer.to() == self.end
    }

    /// Copies up to `max` bytes of the value.
    fn copy(&mut self, table: &SegmentTable, value: &[Piece<'_>], max: usize) {
        let (mut left, mut skip) = (max, self.copied);
        for piece in value {
            let len = piece.len();
            if skip >= len {
                skip -= len;
                continue;
            }
            let part = (len - skip).min(left);
            let copy = self.prepared.writer.append(part, |space| piece.copy(table, skip, space));
            self.crc = crc32c::crc32c_append(self.crc, copy);
            (self.copied, left, skip) = (self.copied + part, left - part, 0);
            if left == 0 {
                break;
            }
        }
    }
}

impl<D: Disk> Log<D> {
    /// Whether a value of so many bytes is to be written ahead: two such records do not fit into one segment, so each has
    /// one for itself as it is.
    #[inline]
    pub fn is_large(&self, bytes: usize) -> bool {
        bytes as u64 > self.table.split().segment_size() / 2
    }

    /// Whether the next call of [`Log::append_large`] will get a slice further.
    pub fn is_filling(&self) -> bool {
        let Next::Filling(ahead) = &self.next else { return false };
        ahead.is_wanted && !ahead.is_copied() && self.touched(ahead) > ahead.prepared.writer.to()
    }

    fn touched(&self, ahead: &Ahead<D::File>) -> u64 {
        let under_way = self.under_way.contains(&JobKind::Prefault);
        if under_way { ahead.prepared.prefaulted } else { ahead.touched.max(ahead.prepared.prefaulted) }
    }

    /// Gets one slice further with a put; it is appended when all of it is written. Others write into the head meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Wait`] until it is appended: the same is to be asked then for each time that [`Log::progress`] has moved. Others
    /// as in [`Log::reserve`].
    pub fn append_large(&mut self, large: &Large<'_>) -> Result<Appended, Refusal> {
        self.check_health()?;
        self.check_parts()?;
        let len = large.value.iter().map(Piece::len).sum::<usize>();
        if !matches!(self.next, Next::Filling(_)) {
            let margin = self.table.split().segment_size() / MARGIN_FRACTION;
            self.next_fits((CRC_BYTES + 32 + large.key.len() + len) as u64 + margin, Purpose::Grow)?;
            self.begin_ahead(large, len);
        }
        let Next::Filling(ahead) = &mut self.next else { return Err(Refusal::Wait) };
        if ahead.whose != large.whose {
            return Err(Refusal::Wait);
        }
        ahead.is_wanted = true;
        let is_written_at = self.under_way.contains(&JobKind::Fill);
        if let Some(reason) = ahead.failed.take() {
            let size = ahead.prepared.size;
            self.drop_ahead();
            self.refused_size = Some((size, reason.clone())); // until the next tick
            return Err(Refusal::NoSpace(reason));
        }
        if ahead.seen != large.seen {
            if !is_written_at {
                self.drop_ahead();
            }
            return Err(Refusal::Wait);
        }
        self.copy_slice(large.value);
        self.hand_on();
        self.finish_ahead().inspect_err(|_| self.progress += 1)
    }

    fn begin_ahead(&mut self, large: &Large<'_>, len: usize) {
        let Next::Ready(next) = std::mem::replace(&mut self.next, Next::Missing) else {
            unreachable!("it fits, so it is ready")
        };
        let front = put_front(large.db, large.key, len as u32, large.expires_at_ms);
        let Prepared { sequence, slot, file, file_id, nonce, size, writer, prefaulted } = next;
        let mut writer = AheadWriter::new(writer, RECORD_AT + CRC_BYTES as u64);
        let crc = crc32c::crc32c(writer.append(front.len(), |space| space.copy_from_slice(&front)));
        let end = writer.to() + len as u64;
        self.next = Next::Filling(Box::new(Ahead {
            prepared: Prepared { sequence, slot, file, file_id, nonce, size, writer, prefaulted },
            whose: large.whose,
            seen: large.seen,
            durable: self.synced,
            end,
            copied: 0,
            crc,
            touched: prefaulted,
            handed: WRITE_BLOCK,
            is_synced: false,
            failed: None,
            is_wanted: true,
        }));
        failpoint::pass(Point::LargeBegun);
        self.update_limits();
    }

    fn copy_slice(&mut self, value: &[Piece<'_>]) {
        let slice = SLICE_BYTES.min(self.table.split().segment_size() / 16);
        let prefaults = self.under_way.contains(&JobKind::Prefault);
        let Next::Filling(ahead) = &mut self.next else { return };
        if !prefaults {
            ahead.prepared.prefaulted = ahead.prepared.prefaulted.max(ahead.touched);
        }
        let at = ahead.prepared.writer.to();
        let max = ahead.prepared.prefaulted.saturating_sub(at).min(slice);
        ahead.copy(&self.table, value, max as usize);
        if !prefaults && ahead.touched < ahead.end && ahead.touched < at + PREFAULT_BYTES {
            let range = ahead.touched..ahead.touched + PREFAULT_BYTES;
            ahead.touched = range.end;
            let memory = ahead.prepared.writer.memory().clone();
            self.start(Job::Prefault { memory, range });
        }
    }

    /// Hands on what is copied, to be written.
    fn hand_on(&mut self) {
        if self.under_way.contains(&JobKind::Fill) {
            return;
        }
        let enough = FILL_SLICES * SLICE_BYTES.min(self.table.split().segment_size() / 16);
        let Next::Filling(ahead) = &mut self.next else { return };
        let (from, to) = (ahead.handed, ahead.prepared.writer.to());
        let sync = ahead.is_copied() && self.options.policy == SyncPolicy::Always;
        let is_due = from < to && (ahead.is_copied() || to - from >= enough);
        // the policy may have become `always` when all was written: a byte of it goes again, and the sync takes the file
        if is_due || sync && !ahead.is_synced {
            let from = from.min(to - 1);
            (ahead.handed, ahead.is_synced) = (to, sync);
            let (file, data) = (ahead.prepared.file.clone(), ahead.prepared.writer.share(from..to));
            self.start(Job::Fill { file, offset: from, data, sync });
        }
    }

    /// Makes the segment the head when all of the record is in its file.
    fn finish_ahead(&mut self) -> Result<Appended, Refusal> {
        let Next::Filling(ahead) = &self.next else { return Err(Refusal::Wait) };
        #[allow(unused_mut)]
        let mut in_file = ahead.handed == ahead.end && !self.under_way.contains(&JobKind::Fill);
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::L2Ahead) {
            in_file = ahead.handed == ahead.end;
        }
        in_file &= ahead.is_synced || self.options.policy != SyncPolicy::Always;
        let has_room = ahead.end + FRAME_SPACE + self.held + SEAL_SPACE <= ahead.prepared.size;
        if !ahead.is_copied() || !in_file || !has_room {
            return Err(Refusal::Wait);
        }
        let base = self.seal_head();
        let Next::Filling(ahead) = std::mem::replace(&mut self.next, Next::Missing) else {
            unreachable!("it was there")
        };
        let Ahead { prepared, durable, end, crc, .. } = *ahead;
        let header = prepared.header(self.partition, base, (self.options.now_ms)());
        let frame = FrameHeader { length: (end - RECORD_AT) as u32, durable, records: 1 };
        let mut front = header.encode().to_vec();
        front.extend_from_slice(&frame.seal_one(prepared.nonce, SEGMENT_HEADER_BYTES, crc));
        front.extend_from_slice(&crc.to_le_bytes());
        self.install(prepared, header, WRITE_BLOCK, 1, |ahead: AheadWriter| -> SegmentWriter { ahead.finish(&front) });
        let address = self.table.split().address(self.head().slot, RECORD_AT);
        let len = (end - RECORD_AT) as usize;
        let shape = Shape::of(&self.table.record(address));
        self.table.retain(address, shape);
        failpoint::pass(Point::LargeInstalled);
        self.rolled();
        Ok(Appended { address, len })
    }

    /// A part has arrived in the file, or not.
    pub(crate) fn filled(&mut self, result: io::Result<()>) {
        if let (Next::Filling(ahead), Err(error)) = (&mut self.next, result) {
            ahead.failed = Some(error.to_string());
        }
    }

    /// Gives up what nobody has asked for since the last tick.
    pub(crate) fn drop_abandoned(&mut self) {
        let is_written_at = self.under_way.contains(&JobKind::Fill);
        if let Next::Filling(ahead) = &mut self.next
            && !std::mem::take(&mut ahead.is_wanted)
            && !is_written_at
        {
            self.drop_ahead();
        }
    }

    /// Gives the segment up: nothing in it has been part of the log.
    fn drop_ahead(&mut self) {
        assert!(!self.under_way.contains(&JobKind::Fill), "nobody writes to a file that is used again");
        if let Next::Filling(ahead) = std::mem::replace(&mut self.next, Next::Missing) {
            let edit = self.mark_dirty();
            self.leaving_files.push((edit, ahead.prepared.file_id, ahead.prepared.size));
            self.wanted_size = 0;
            let memory = vec![ahead.prepared.writer.memory().clone()]; // unmapping it takes time
            self.discard(Job::Discard { files: Vec::new(), memory, cached: Vec::new() });
            self.prepare_next();
        }
        self.update_limits();
    }
}
