//! Which segments are in memory (M1, M3).
//!
//! ```text
//!               unload: sealed, wholly safe, listed
//!   Resident -------------------------------------> Cold ----- load: its frames are not sound ----> Unreadable
//!      ^  ^                                          |
//!      |  '----------- Loaded, for some ticks <------'  load: the file is read, every frame is checked
//!      '------------------'
//! ```
//!
//! A segment keeps its slot, its addresses and what is counted of it; only the bytes are elsewhere.

use std::io;
use std::sync::Arc;

use crate::address::{Nonce, SegmentSequence};
use crate::disk::Disk;
use crate::frame::{FrameHeader, frame_boundary};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::job::{Done, Job, JobKind, segment_name};
use crate::log::{Health, Log};
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::segment::{Life, Next, Residence, Segment};

/// For so many ticks a segment stays that was loaded: somebody has wanted it.
const LOADED_TICKS: u8 = 3;

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

/// What a load reads, and how that is checked.
#[derive(Clone, Debug)]
pub struct Load<F> {
    pub(crate) file: F,
    pub(crate) size: u64,
    pub(crate) end: u64,
    pub(crate) sequence: SegmentSequence,
    pub(crate) nonce: Nonce,
}

impl<F> Load<F> {
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
        while at < self.end {
            let Some((frame, _)) = FrameHeader::verify(self.nonce, bytes, at) else { return Err(damaged(at)) };
            at = frame_boundary(frame.end(at));
        }
        Ok(())
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
        segment.memory = self.table.make_cold(segment.slot);
        segment.residence = Residence::Cold;
        self.discard_left();
        tracing::debug!(sequence = sequence.0, "segment is not in memory any more");
    }

    /// Begins to read a segment that is not in memory; one at a time. It is resident when that has come to a good end.
    pub fn begin_load(&mut self, sequence: SegmentSequence) {
        if self.under_way.contains(&JobKind::Load) || matches!(self.health, Health::ReadOnly(_)) {
            return;
        }
        let mut segments = self.segments.iter();
        let cold = segments.find(|s| s.sequence() == sequence && s.residence == Residence::Cold);
        if let Some(segment) = cold {
            let (file, size, end, nonce) = (segment.file.clone(), segment.size, segment.end, segment.nonce());
            self.loading = Some(sequence);
            self.start(Job::Load(Load { file, size, end, sequence, nonce }));
        }
    }

    /// The newest segment that is not in memory and can be read, and what it would take.
    pub fn newest_cold(&self) -> Option<(SegmentSequence, u64)> {
        let mut newest = self.segments.iter().rev();
        let found = newest.find(|s| s.residence == Residence::Cold && matches!(s.life, Life::Sealed { .. }));
        found.map(|segment| (segment.sequence(), segment.size))
    }

    /// Whether a segment is being read into memory.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    pub(crate) fn load_done(&mut self, result: io::Result<Done<D::File>>) {
        let sequence = self.loading.take();
        let segment = self.segments.iter_mut().find(|segment| Some(segment.sequence()) == sequence);
        let Some(segment) = segment.filter(|segment| segment.residence == Residence::Cold) else { return };
        match result {
            Ok(Done::Memory(memory)) => {
                self.table.make_resident(segment.slot, &memory);
                segment.fillings = vec![(0, segment.nonce())];
                segment.memory = memory;
                segment.residence = Residence::Loaded(LOADED_TICKS);
            }
            Ok(_) => unreachable!("a load brings memory"),
            Err(error) => {
                // its records are still asked for one by one, and those that are sound are found
                segment.residence = Residence::Unreadable;
                let file = segment_name(segment.file_id);
                tracing::error!(file, %error, "a segment can't be read: it stays where it is, and is not compacted");
            }
        }
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
