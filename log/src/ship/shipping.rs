//! The running log as its readers see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::{LogPosition, SegmentSequence};
use crate::frame::frame_boundary;
use crate::header::SEGMENT_HEADER_BYTES;
use crate::manifest::Incarnation;
use crate::memory::SegmentMemory;
use crate::ship::origin::{OriginLog, is_padding};
use crate::ship::piece::{Piece, SegmentFacts, whole_frames};

/// Why nothing can be read at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShipError {
    /// What was there is gone, or has never been.
    #[error("the log has nothing at this position any more")]
    Gone,
    /// It is there, and not in memory.
    #[error("that part of the log is not in memory")]
    NotResident,
}

/// A segment that may be read.
#[derive(Clone, Debug)]
pub(crate) struct Shipped {
    pub facts: SegmentFacts,
    /// Where it ends, once it is sealed.
    pub end: Option<LogPosition>,
    /// Its bytes, if they are in memory.
    pub memory: Option<Arc<SegmentMemory>>,
}

/// See the module. One for each log; its owner and all readers share it.
#[derive(Debug, Default)]
pub struct Shipping {
    gate: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ascending.
    segments: Vec<Shipped>,
    incarnations: Vec<Incarnation>,
    /// By reader, from where on it needs what there is.
    readers: BTreeMap<u64, LogPosition>,
}

impl Shipping {
    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic ends the process; no state is left half-changed here in any case
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies before may be read.
    #[inline]
    pub fn gate(&self) -> LogPosition {
        LogPosition(self.gate.load(Ordering::Acquire))
    }

    /// Said by the owner.
    #[inline]
    pub(crate) fn set_gate(&self, gate: LogPosition) {
        self.gate.store(gate.0, Ordering::Release);
    }

    /// Said by the owner: the segments that there are, and its lives.
    pub(crate) fn set(&self, segments: Vec<Shipped>, incarnations: Vec<Incarnation>) {
        let mut state = self.lock();
        (state.segments, state.incarnations) = (segments, incarnations);
    }

    /// Said by the owner: the memory of a segment is wanted for something else. Who reads it still has it.
    pub(crate) fn let_go(&self, sequence: SegmentSequence) {
        let mut state = self.lock();
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.facts.sequence == sequence) {
            segment.memory = None;
        }
    }

    /// What a replica has to know of this log; `None` before its first turn has ended.
    pub fn log(&self) -> Option<OriginLog> {
        let state = self.lock();
        let gate = self.gate();
        let segments: Vec<_> = state.segments.iter().map(|segment| (segment.facts, segment.end)).collect();
        (!segments.is_empty()).then(|| OriginLog { incarnations: state.incarnations.clone(), segments, gate })
    }

    /// From now on all that lies at `from` and behind it is kept for this reader.
    pub fn retain(&self, reader: u64, from: LogPosition) {
        self.lock().readers.insert(reader, from);
    }

    /// Nothing is kept for this reader any more.
    pub fn forget(&self, reader: u64) {
        self.lock().readers.remove(&reader);
    }

    /// From where on a reader needs what there is, if there is a reader.
    pub fn retained(&self) -> Option<LogPosition> {
        self.lock().readers.values().min().copied()
    }

    /// Appends to `out` what comes at position `at`, as a [`Piece`]: whole frames of one segment, not many more than `most` bytes.
    /// False if there is nothing yet. A copy of the bytes; no lock is held meanwhile.
    ///
    /// # Errors
    /// See [`ShipError`].
    pub fn read(&self, at: LogPosition, most: usize, out: &mut Vec<u8>) -> Result<bool, ShipError> {
        // first: what is below it is in the segments by now
        let gate = self.gate();
        let Some((segment, offset)) = self.find(at)? else { return Ok(false) };
        let base = segment.facts.base;
        let end = segment.end.map_or(gate, |end| end.min(gate));
        if base.plus(offset) >= end {
            return Ok(false);
        }
        let memory = segment.memory.ok_or(ShipError::NotResident)?;
        let bytes = memory.closed_bytes(offset..end.0 - base.0);
        let taken = whole_frames(bytes, most);
        if taken == 0 {
            return Err(ShipError::Gone); // no frame begins there
        }
        Piece::begin(&segment.facts, offset, out);
        out.extend_from_slice(&bytes[..taken]);
        Ok(true)
    }

    /// The segment in which the log goes on at `at`, and the offset of the frame there.
    fn find(&self, at: LogPosition) -> Result<Option<(Shipped, u64)>, ShipError> {
        let state = self.lock();
        let behind = state.segments.partition_point(|segment| segment.facts.base <= at);
        // all of one that is gone was read
        if let Some(next) = state.segments.get(behind).filter(|next| is_padding(at, next.facts.base)) {
            return Ok(Some((next.clone(), SEGMENT_HEADER_BYTES)));
        }
        let in_it = behind.checked_sub(1).map(|i| &state.segments[i]);
        // a reader that has nothing yet begins with the oldest
        let Some(segment) = in_it else { return Err(ShipError::Gone) };
        let offset = frame_boundary(at.0 - segment.facts.base.0).max(SEGMENT_HEADER_BYTES);
        // a segment that was not sealed when its writer ended has no padding behind its last frame
        let is_read = segment.end.is_some_and(|end| offset >= frame_boundary(end.0 - segment.facts.base.0));
        if !is_read {
            return Ok(Some((segment.clone(), offset)));
        }
        if segment.end.is_some_and(|end| at > segment.facts.base.plus(frame_boundary(end.0 - segment.facts.base.0))) {
            return Err(ShipError::Gone);
        }
        // it goes on in the next one, wherever that begins
        Ok(state.segments.get(behind).map(|next| (next.clone(), SEGMENT_HEADER_BYTES)))
    }
}
