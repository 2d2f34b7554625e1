//! A segment of the running log, and the stages of its life.

use std::sync::Arc;

use crate::address::{FileId, LogPosition, Nonce, PartitionId, SegmentSequence, SegmentSlot};
use crate::ahead::Ahead;
use crate::header::SegmentHeader;
use crate::horizon::TxId;
use crate::manifest::{Extent, SegmentEntry};
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::refill::Source;
use crate::ship::SegmentFacts;

/// The number of a manifest edit.
pub(crate) type Generation = u64;

/// A segment's life, after it was prepared ([`Next`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// The tail grows in it.
    Head,
    /// Full. `listed`: the manifest's next edit says where it ends, which is allowed once all of it is synced.
    Sealed { listed: bool },
    /// Dead; `freed` was appended and ends here, and all tickets drawn then are below this one. Its removal waits until
    /// that is safe: an unsynced delete may be the reason why the segment looked dead (S4), or a transaction
    /// of which another partition may still lose a part (F5).
    FreePendingSafe(LogPosition, TxId),
    /// Left out of the manifest from this edit on; until that is durable a start would still read it, so
    /// its file must not be overwritten and tombstones must stay (S4, T1).
    FreePendingManifest(Generation),
}

/// Where a segment's bytes are, beside its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Residence {
    /// In memory.
    Resident,
    /// In memory again, and not to be let go of for so many ticks: somebody has wanted it.
    Loaded(u8),
    /// Nowhere, and what is in the file has not been looked at since the start (K8).
    Unread,
    /// Nowhere.
    Cold,
    /// Nowhere, and the file can't be read as a whole.
    Unreadable,
}

impl Residence {
    pub fn is_resident(self) -> bool {
        matches!(self, Self::Resident | Self::Loaded(_))
    }

    /// Whether it can be read into memory.
    pub fn can_be_loaded(self) -> bool {
        matches!(self, Self::Unread | Self::Cold)
    }
}

/// A segment that holds records.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub header: SegmentHeader,
    pub slot: SegmentSlot,
    pub file: F,
    pub file_id: FileId,
    pub size: u64,
    /// (offset, nonce) from where on the frames in memory were sealed under which nonce; the file's
    /// filling is the last. See [`Source::fillings`].
    pub fillings: Vec<(u64, Nonce)>,
    pub memory: Arc<SegmentMemory>,
    /// Offset after the last closed frame.
    pub end: u64,
    pub records: u64,
    pub life: Life,
    /// Once it is listed it is wholly safe when the transactions with lower tickets are settled (F5, C2).
    pub safe_below: TxId,
    /// If it is not resident, `memory` is not its own.
    pub residence: Residence,
}

impl<F> Segment<F> {
    pub fn sequence(&self) -> SegmentSequence {
        self.header.sequence
    }

    pub fn base(&self) -> LogPosition {
        self.header.base
    }

    /// The position after its last closed frame.
    pub fn end_position(&self) -> LogPosition {
        self.base().plus(self.end)
    }

    /// The nonce of the file's filling.
    pub fn nonce(&self) -> Nonce {
        self.header.nonce
    }

    /// What it is, on whatever node.
    pub fn facts(&self) -> SegmentFacts {
        let SegmentHeader { sequence, base, created_ms, .. } = self.header;
        SegmentFacts { sequence, size: self.size, base, created_ms }
    }

    /// What the manifest says of it, if it says anything.
    pub fn entry(&self) -> Option<SegmentEntry> {
        let base = self.base();
        let sealed = Extent::Sealed { base, end: self.end_position(), records: self.records };
        let extent = match self.life {
            Life::Head | Life::Sealed { listed: false } => Extent::Open { base },
            Life::Sealed { listed: true } | Life::FreePendingSafe(..) => sealed,
            Life::FreePendingManifest(_) => return None,
        };
        Some(SegmentEntry {
            sequence: self.sequence(),
            slot: self.slot,
            file: self.file_id,
            size: self.size,
            nonce: self.nonce(),
            extent,
        })
    }

    /// The bytes that a refill of it writes.
    pub fn source(&self) -> Source {
        Source { memory: Arc::clone(&self.memory), end: self.end, fillings: self.fillings.clone(), header: self.header }
    }
}

/// A file that may become the next head.
#[derive(Debug)]
pub(crate) struct Prepared<F, W = SegmentWriter> {
    pub sequence: SegmentSequence,
    pub slot: SegmentSlot,
    pub file: F,
    pub file_id: FileId,
    pub nonce: Nonce,
    pub size: u64,
    pub writer: W,
    pub prefaulted: u64,
}

impl<F, W> Prepared<F, W> {
    pub fn entry(&self) -> SegmentEntry {
        SegmentEntry {
            sequence: self.sequence,
            slot: self.slot,
            file: self.file_id,
            size: self.size,
            nonce: self.nonce,
            extent: Extent::Prepared,
        }
    }

    pub fn header(&self, partition: PartitionId, base: LogPosition, created_ms: u64) -> SegmentHeader {
        SegmentHeader { partition, sequence: self.sequence, base, nonce: self.nonce, created_ms }
    }
}

impl<F> Next<F> {
    /// The segment, once its file is there.
    pub fn prepared_mut(&mut self) -> Option<&mut Prepared<F>> {
        match self {
            Self::Installing(next, _) | Self::Ready(next) => Some(next),
            Self::Missing | Self::Preparing { .. } | Self::Filling(_) | Self::Failed(_) => None,
        }
    }
}

/// Where the segment after the head stands.
#[derive(Debug)]
pub(crate) enum Next<F> {
    /// Nothing is under way.
    Missing,
    /// Its file is being created.
    Preparing { file: FileId, size: u64 },
    /// The manifest edit that names it is under way: before it is durable nothing may be written there
    /// that anybody relies on (S2).
    Installing(Prepared<F>, Generation),
    /// It may be rolled into.
    Ready(Prepared<F>),
    /// A large record is being written into it; it becomes the head together with that.
    Filling(Box<Ahead<F>>),
    /// Its file can't be had, for this reason; tried again at the next tick.
    Failed(String),
}
