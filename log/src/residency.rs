//! Which segments are in memory (M1, M3).
//!
//! ```text
//!               unload: sealed, wholly safe, listed
//!   Resident -------------------------------------> Cold ----- load: its frames are not sound ----> Unreadable
//!      ^  ^                                          |
//!      |  '----------- Loaded, for some ticks <------'  load: the file is read, every frame is checked
//!      '------------------'            ^
//!                                      '-- Unread, of a start (K8) -- load: not what it should be --> the log is read-only
//! ```
//!
//! A segment keeps its slot, its addresses and what is counted of it; only the bytes are elsewhere.

use std::io;
use std::sync::Arc;

use crate::address::{Nonce, SegmentSequence};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::frame::{FrameHeader, frame_boundary};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::TxId;
use crate::job::{Done, Job, JobKind, segment_name};
use crate::log::{Health, Log};
use crate::manifest::SegmentEntry;
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::recover::{Records, Scanned};
use crate::segment::{Life, Next, Residence, Segment};

/// For so many ticks a segment stays that was loaded: somebody has wanted it.
const LOADED_TICKS: u8 = 3;

/// A segment that was not looked at since the start, and whose file the system can't read so often, counts as damaged.
const MAX_LOAD_FAILURES: u8 = 3;

/// How much of a file is read at a time.
const CHUNK: u64 = 4 << 20;

/// A resident segment that may be let go of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unloadable {
    /// Which.
    pub sequence: SegmentSequence,
    /// What that gives back.
    pub bytes: u64,
    /// How often its records were asked for lately.
    pub uses: u32,
}

/// Segments that were not looked at since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Unread {
    /// How many.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What a load reads, and how that is checked.
#[derive(Clone, Debug)]
pub struct Load<F> {
    pub(crate) file: F,
    pub(crate) size: u64,
    pub(crate) end: u64,
    pub(crate) sequence: SegmentSequence,
    pub(crate) nonce: Nonce,
    pub(crate) records: u64,
}

impl<F: Clone> Load<F> {
    /// That of a segment which a start has not read.
    pub(crate) fn of(found: &Scanned<F>) -> Self {
        let SegmentEntry { size, sequence, nonce, .. } = found.entry;
        Self { file: found.file.clone(), size, end: found.valid_end, sequence, nonce, records: found.records }
    }

    /// Reads the segment into memory, blocking.
    ///
    /// # Errors
    /// Those of the disk; `InvalidData` if the file does not hold what it should.
    pub(crate) fn run<D: Disk<File = F>>(&self, disk: &D) -> io::Result<Arc<SegmentMemory>> {
        let mut writer = SegmentWriter::new(self.size)?;
        while writer.at() < self.end {
            let at = writer.at();
            let chunk = CHUNK.min(self.end - at);
            let mut read = Ok(0);
            writer.append(chunk as usize, |space| read = disk.read_at(&self.file, at, space));
            if (read? as u64) < chunk {
                return Err(damaged(at));
            }
        }
        writer.close_loaded();
        let memory = Arc::clone(writer.memory());
        self.check(memory.closed_bytes(0..self.end))?;
        Ok(memory)
    }

    /// Every byte from disk is checked (law 7).
    fn check(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::L7Load) {
            return Ok(());
        }
        let header = SegmentHeader::decode(bytes);
        if header.is_none_or(|header| header.sequence != self.sequence || header.nonce != self.nonce) {
            return Err(damaged(0));
        }
        let mut at = SEGMENT_HEADER_BYTES;
        let mut records = Records::new(TxId(u64::MAX));
        while at < self.end {
            let frame = FrameHeader::verify(self.nonce, bytes, at);
            let sound = frame.and_then(|(frame, body)| records.take(at, frame, body).map(|()| frame));
            let Some(frame) = sound else { return Err(damaged(at)) };
            at = frame_boundary(frame.end(at));
        }
        if records.count == self.records { Ok(()) } else { Err(damaged(self.end)) }
    }
}

fn damaged(at: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is damaged at offset {at}"))
}

impl<D: Disk> Log<D> {
    /// The segments that may be let go of, oldest first.
    pub fn unloadable(&self) -> Vec<Unloadable> {
        let horizon = self.horizon.horizon();
        let may = |segment: &&Segment<D::File>| {
            let safe = segment.life == (Life::Sealed { listed: true }) && horizon >= segment.safe_below;
            #[cfg(any(test, feature = "sim"))]
            let safe = safe || crate::plant::is(crate::plant::Plant::M1) && matches!(segment.life, Life::Sealed { .. });
            safe && segment.residence == Residence::Resident
        };
        let segments = self.segments.iter().filter(may);
        let unloadable = segments.map(|segment| Unloadable {
            sequence: segment.sequence(),
            bytes: segment.size,
            uses: self.table.uses(segment.slot),
        });
        unloadable.collect()
    }

    /// Lets go of the memory of one of those (M1). Its records are read one by one from now on.
    pub fn unload(&mut self, sequence: SegmentSequence) {
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.sequence() == sequence) else { return };
        self.shipping.let_go(segment.sequence());
        segment.memory = self.table.make_cold(segment.slot);
        segment.residence = Residence::Cold;
        self.is_shipping_stale = true;
        failpoint::pass(Point::SegmentUnloaded);
        self.discard_left();
        tracing::debug!(sequence = sequence.0, "segment is not in memory any more");
    }

    /// Begins to read a segment that is not in memory; one at a time. It is resident when that has come to a good end.
    pub fn begin_load(&mut self, sequence: SegmentSequence) {
        if self.under_way.contains(&JobKind::Load) || !self.may_load() {
            return;
        }
        let mut segments = self.segments.iter();
        let cold = segments.find(|s| s.sequence() == sequence && s.residence.can_be_loaded());
        if let Some(segment) = cold {
            let (file, size, end, nonce) = (segment.file.clone(), segment.size, segment.end, segment.nonce());
            let records = segment.records;
            self.loading = Some(sequence);
            self.start(Job::Load(Load { file, size, end, sequence, nonce, records }));
        }
    }

    /// The newest segment that is not in memory and can be read, and what it would take.
    pub fn newest_cold(&self) -> Option<(SegmentSequence, u64)> {
        let mut newest = self.segments.iter().rev();
        let found = newest.find(|s| s.residence.can_be_loaded() && matches!(s.life, Life::Sealed { .. }));
        found.map(|segment| (segment.sequence(), segment.size))
    }

    /// Whether a segment is being read into memory.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Whether this one is.
    pub fn loads(&self, sequence: SegmentSequence) -> bool {
        self.loading == Some(sequence)
    }

    pub(crate) fn load_done(&mut self, result: io::Result<Done<D::File>>) {
        let sequence = self.loading.take();
        let segment = self.segments.iter_mut().find(|segment| Some(segment.sequence()) == sequence);
        let Some(segment) = segment.filter(|segment| segment.residence.can_be_loaded()) else { return };
        match result {
            Ok(Done::Memory(memory)) => {
                self.load_failures = 0;
                self.table.make_resident(segment.slot, &memory);
                segment.fillings = vec![(0, segment.nonce())];
                segment.memory = memory;
                let was_unread = segment.residence == Residence::Unread;
                segment.residence = Residence::Loaded(LOADED_TICKS);
                self.is_shipping_stale = true;
                failpoint::pass(Point::LoadDone);
                if was_unread && self.unread().segments == 0 {
                    tracing::info!(partition = self.partition.0, "all that is from before the start is read and sound");
                }
            }
            Ok(_) => unreachable!("a load brings memory"),
            Err(error) if segment.residence == Residence::Unread => {
                let file = segment_name(segment.file_id);
                self.unread_failed(file, &error);
            }
            Err(error) => {
                // its records are still asked for one by one, and those that are sound are found
                segment.residence = Residence::Unreadable;
                self.is_shipping_stale = true;
                let file = segment_name(segment.file_id);
                tracing::error!(file, %error, "a segment can't be read: it stays where it is, and is not compacted");
            }
        }
    }

    /// A segment that was taken for what it is listed as is not that, or can't be read. A start that reads everything stops with
    /// this (law 7). The index knows what is in it, so what is served is right; but what is written from now on could not be had
    /// again without a checkpoint (law 1), so nothing is.
    fn unread_failed(&mut self, file: String, error: &io::Error) {
        self.load_failures = self.load_failures.saturating_add(1);
        self.no_load_before = self.ticks.wrapping_add(1);
        let is_damaged = match error.kind() {
            io::ErrorKind::OutOfMemory => false,
            io::ErrorKind::InvalidData => true,
            _ => self.load_failures >= MAX_LOAD_FAILURES,
        };
        #[cfg(any(test, feature = "sim"))]
        let is_damaged = is_damaged && !crate::plant::is(crate::plant::Plant::K8Damage);
        tracing::error!(file, %error, "a segment of before the start can't be read");
        if is_damaged {
            self.give_up(&format!(
                "{file} can't be read: {error}. restore the file from a backup, or start with --salvage yes to go on without what \
                 is lost"
            ));
        }
    }

    /// The segments that were not looked at since the start (K8).
    pub fn unread(&self) -> Unread {
        let mut unread = Unread::default();
        for segment in self.segments.iter().filter(|segment| segment.residence == Residence::Unread) {
            (unread.segments, unread.bytes) = (unread.segments + 1, unread.bytes + segment.end);
        }
        unread
    }

    /// Whether [`Log::begin_load`] does anything now: not after a load that has failed, until the next tick.
    pub fn may_load(&self) -> bool {
        self.no_load_before.wrapping_sub(self.ticks) != 1 && !matches!(self.health, Health::ReadOnly(_))
    }

    pub(crate) fn tick_residency(&mut self) {
        for segment in &mut self.segments {
            segment.residence = match segment.residence {
                Residence::Loaded(0) => Residence::Resident,
                Residence::Loaded(ticks) => Residence::Loaded(ticks - 1),
                other => other,
            };
        }
    }

    /// Bytes of memory that segments take, those that are prepared for the next ones too, as far as they are touched.
    pub fn resident_bytes(&self) -> u64 {
        let (head, sealed) = self.segments.split_last().unwrap_or_else(|| unreachable!("a running log has a head"));
        let sealed = sealed.iter().filter(|segment| segment.residence.is_resident()).map(|segment| segment.size);
        let head = self.prefaulted.max(self.writer.at()).min(head.size);
        let next = match &self.next {
            Next::Installing(next, _) | Next::Ready(next) => next.prefaulted.min(next.size),
            Next::Filling(ahead) => ahead.prepared.size,
            Next::Missing | Next::Preparing { .. } | Next::Failed(_) => 0,
        };
        let spare = self.spare_memory.iter().map(|memory| memory.size());
        sealed.sum::<u64>() + head + next + spare.sum::<u64>()
    }
}
