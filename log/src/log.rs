//! The running log of one partition: append at the tail, in frames, through segments.
//!
//! It does no waiting: what takes time becomes a [`Job`], handed out by [`Log::next_job`] and reported
//! back by [`Log::complete`]. The one exception is the inline write of the tail at the end of a turn.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::address::{Address, FileId, LogPosition, Nonce, PartitionId, SegmentSequence};
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::checkpoint::Checkpoints;
use crate::cold::ColdReads;
use crate::disk::Disk;
use crate::evict::Evictions;
use crate::follow::Following;
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::horizon::{Horizon, Step, TxId};
use crate::job::{Job, JobKind};
use crate::manifest::Incarnation;
use crate::memory::{SegmentMemory, SegmentWriter};
use crate::options::{Options, SyncPolicy};
use crate::record::{Entry, SEAL_BYTES};
use crate::segment::{Generation, Next, Segment};
use crate::ship::Shipping;
use crate::sizes::Sizes;
use crate::table::SegmentTable;
use crate::tally::Shape;

/// Kept free at a segment's end for the frame that seals it.
pub(crate) const SEAL_SPACE: u64 = (FRAME_HEADER_BYTES + SEAL_BYTES) as u64 + 2 * FRAME_ALIGN;

/// What opening a frame may take.
pub(crate) const FRAME_SPACE: u64 = FRAME_HEADER_BYTES as u64 + FRAME_ALIGN;

/// A record that was appended.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    /// Where it is.
    pub address: Address,
    /// Its bytes in the log.
    pub len: usize,
}

/// Whether the log takes writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    Good,
    /// After a failed write or sync: the unsynced bytes are being written anew (law 8). `upto` is the tail.
    Refilling {
        upto: LogPosition,
    },
    /// The same, and the manifest edit that installs the new files is under way.
    Reinstalling {
        upto: LogPosition,
        edit: Generation,
    },
    /// That has failed too.
    ReadOnly(String),
}

#[derive(Debug)]
pub(crate) struct OpenFrame {
    start: u64,
    pub records: u32,
}

/// Closed frames that are not written yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unwritten {
    pub sequence: SegmentSequence,
    pub from: u64,
    pub to: u64,
    /// With it the segment is written up to here: beyond `to` if that was written ahead.
    pub reaches: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) options: Options,
    pub(crate) partition: PartitionId,
    /// Shared by all logs of the data set.
    pub(crate) horizon: Arc<Horizon>,
    /// What was appended of transactions and is not known synced yet: where it ends, ascending.
    pub(crate) unsynced_steps: VecDeque<(LogPosition, TxId, Step)>,
    /// Bytes of the head that nobody may use but those who hold them, room for their frames included.
    pub(crate) held: u64,
    pub(crate) dataset: u64,
    pub(crate) hash_seed: u64,
    /// Shared by all logs of the data set; each edit makes this log's section anew from what follows.
    pub(crate) catalog: Arc<Catalog<D::File>>,
    pub(crate) incarnations: Vec<Incarnation>,
    pub(crate) next_sequence: SegmentSequence,
    /// The last edit that was begun, by this log.
    pub(crate) edits: Generation,
    /// What the newest of them says is durable.
    pub(crate) listed_durable: LogPosition,
    pub(crate) manifest_dirty: bool,
    pub(crate) table: SegmentTable,
    pub(crate) checkpoints: Checkpoints<D::File>,
    /// Ascending; the last is the head.
    pub(crate) segments: Vec<Segment<D::File>>,
    pub(crate) writer: SegmentWriter,
    pub(crate) open_frame: Option<OpenFrame>,
    pub(crate) unwritten: VecDeque<Unwritten>,
    /// The write that is under way, whether it syncs, and since when.
    pub(crate) writing: Option<(Unwritten, bool, Instant)>,
    pub(crate) next: Next<D::File>,
    /// Bytes that a segment must have so that a waiting record fits; 0 when none waits.
    pub(crate) wanted_size: u64,
    /// A segment of this size could not be made, for this reason; tried again after the next tick.
    pub(crate) refused_size: Option<(u64, String)>,
    /// Files with their blocks allocated, named by no manifest, and their sizes.
    pub(crate) spare_files: Vec<(FileId, u64)>,
    /// Sizes of segments.
    pub(crate) sizes: Sizes,
    /// Little is appended.
    pub(crate) is_resting: bool,
    /// A segment of this size holds the copies of any sealed one: what is needed in those only becomes less.
    pub(crate) most_sealed: u64,
    /// Memory of freed segments for those after the next.
    pub(crate) spare_memory: Vec<Arc<SegmentMemory>>,
    /// Of so many at most.
    pub(crate) most_spares: u64,
    /// Ticks since the start.
    pub(crate) ticks: u32,
    /// Writes wait until parts elsewhere are synced (X7).
    pub(crate) waits_for_parts: bool,
    /// For how many seconds the head is the head.
    pub(crate) ticks_in_head: u8,
    /// A file that will be one of them is being made.
    pub(crate) preparing_spare: Option<(FileId, u64)>,
    /// None can be made, for this reason; tried again at the next tick.
    pub(crate) no_spare: Option<String>,
    /// What all files may take.
    pub(crate) max_bytes: Option<u64>,
    /// The segment that is being read into memory.
    pub(crate) loading: Option<SegmentSequence>,
    /// Loads that have failed one after the other, and until which tick there is no other.
    pub(crate) load_failures: u8,
    pub(crate) no_load_before: u32,
    /// Records that are being read.
    pub(crate) cold: ColdReads,
    /// Bytes of the head that compaction is going to use.
    pub(crate) claim: u64,
    /// What was evicted out of segments that still exist.
    pub(crate) evictions: Vec<Evictions>,
    /// Whether there is memory for more data.
    pub(crate) admission: Admission,
    /// Files that the manifest names no more from an edit on.
    pub(crate) leaving_files: Vec<(Generation, FileId, u64)>,
    /// Segments without a live record, until they are freed.
    pub(crate) dead: BTreeSet<SegmentSequence>,
    /// Whether one of `dead` may be freed by now that could not be before.
    pub(crate) recheck_dead: bool,
    pub(crate) written: LogPosition,
    pub(crate) synced: LogPosition,
    pub(crate) sync_upto: LogPosition,
    pub(crate) sync_soon: bool,
    pub(crate) writes_are_slow: bool,
    pub(crate) prefaulted: u64,
    /// The files and nonces of the refill that is under way.
    pub(crate) refilled: Vec<(FileId, Nonce)>,
    pub(crate) health: Health,
    /// Offsets of the head up to which writes of each purpose fit; 0 when none may.
    pub(crate) grow_limit: u64,
    pub(crate) keep_limit: u64,
    pub(crate) shrink_limit: u64,
    pub(crate) compact_limit: u64,
    pub(crate) free_limit: u64,
    pub(crate) progress: u64,
    pub(crate) outbox: VecDeque<Job<D::File>>,
    pub(crate) under_way: BTreeSet<JobKind>,
    /// Discards that have not ended: a file that one is about to remove must not be taken for one of another start's.
    pub(crate) discards: u32,
    /// What readers of it on other threads are told.
    pub(crate) shipping: Arc<Shipping>,
    /// The segments have changed since they were told.
    pub(crate) is_shipping_stale: bool,
    /// It follows another one.
    pub(crate) following: Option<Box<Following>>,
}

impl<D: Disk> Log<D> {
    /// Addresses to records.
    #[inline]
    pub fn table(&self) -> &SegmentTable {
        &self.table
    }

    /// Addresses to records, for the index to note what it refers to.
    #[inline]
    pub fn table_mut(&mut self) -> &mut SegmentTable {
        &mut self.table
    }

    /// The position after the newest record.
    #[inline]
    pub fn tail(&self) -> LogPosition {
        self.head().base().plus(self.writer.at())
    }

    /// Where the last record before `position` can end: a segment's header is none.
    #[cfg(any(test, feature = "sim"))]
    pub fn without_header(&self, position: LogPosition) -> LogPosition {
        let begins = |segment: &&Segment<D::File>| {
            segment.base() <= position && position <= segment.base().plus(crate::header::SEGMENT_HEADER_BYTES)
        };
        self.segments.iter().find(begins).map_or(position, Segment::base)
    }

    /// All before this position has reached the level that the sync policy promises (law 2).
    #[inline]
    pub fn gate(&self) -> LogPosition {
        match self.options.policy {
            SyncPolicy::Always => self.synced,
            SyncPolicy::EverySec | SyncPolicy::No => self.written,
        }
    }

    /// All before this position survives `kill -9`.
    pub fn written(&self) -> LogPosition {
        self.written
    }

    /// All before this position survives a power loss.
    pub fn synced(&self) -> LogPosition {
        self.synced
    }

    /// Which partition this is the log of.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The tickets of transactions over several partitions.
    pub fn horizon(&self) -> &Arc<Horizon> {
        &self.horizon
    }

    /// The secret seed of the data set's key hash.
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// The number of this life of the log, which no other one has: random, given at the start.
    pub fn life(&self) -> u64 {
        self.incarnations.last().map_or(0, |life| life.id)
    }

    /// What readers of it on other threads are told.
    pub fn shipping(&self) -> &Arc<Shipping> {
        &self.shipping
    }

    /// The data set's name: random, given at its creation.
    pub fn dataset(&self) -> u64 {
        self.dataset
    }

    /// The sync policy.
    pub fn policy(&self) -> SyncPolicy {
        self.options.policy
    }

    /// Changes the sync policy. After a change to `always` no reply is released before what it depends on
    /// is synced, earlier writes included.
    pub fn set_policy(&mut self, policy: SyncPolicy) {
        self.options.policy = policy;
        self.sync_soon = true;
        self.check_late_parts();
    }

    /// Why writes are refused, if they are.
    pub fn read_only(&self) -> Option<&str> {
        match &self.health {
            Health::ReadOnly(reason) => Some(reason),
            _ => None,
        }
    }

    /// Why no further segment can be made at the moment, if so.
    pub fn no_space(&self) -> Option<&str> {
        match &self.next {
            Next::Failed(reason) => Some(reason),
            _ if self.is_full() => self.no_spare.as_deref(),
            _ => self.refused_size.as_ref().map(|(_, reason)| reason.as_str()),
        }
    }

    /// How many segments exist, and the bytes of their files.
    pub fn segments(&self) -> (usize, u64) {
        (self.segments.len(), self.segments.iter().map(|segment| segment.size).sum())
    }

    #[inline]
    pub(crate) fn head(&self) -> &Segment<D::File> {
        let Some(head) = self.segments.last() else { unreachable!("a running log has a head") };
        head
    }

    pub(crate) fn head_mut(&mut self) -> &mut Segment<D::File> {
        let Some(head) = self.segments.last_mut() else { unreachable!("a running log has a head") };
        head
    }

    /// Appends a record. [`Log::reserve`] has found room for it. A value counts as referred to from now on, also
    /// one in a transaction's part, until [`SegmentTable::release`] says otherwise.
    ///
    /// # Panics
    /// If it does not fit into the head: the caller has not reserved.
    #[inline]
    pub fn append(&mut self, entry: &Entry<'_>) -> Appended {
        let len = entry.encoded_len();
        let address = self.append_with(len, |space| entry.encode(space));
        match entry {
            Entry::Put { db, expires_at_ms, .. } => {
                self.table.retain(address, Shape { len, db: *db, expires_at_ms: *expires_at_ms });
            }
            Entry::Delete { .. } => self.table.add_tombstone(address, len),
            Entry::Floor { .. } => self.table.add_floor(address),
            Entry::Freed { .. } | Entry::Seal { .. } | Entry::Evicted { .. } => {}
            Entry::Part { .. } | Entry::Mark { .. } | Entry::Abort { .. } => self.note_transaction(entry, address),
        }
        Appended { address, len }
    }

    /// Appends a record of `len` bytes that `fill` writes; nothing is noted of it.
    #[inline]
    pub(crate) fn append_with(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Address {
        if self.open_frame.is_none() {
            self.begin_frame();
        }
        let offset = self.writer.at();
        self.writer.append(len, fill);
        if let Some(frame) = &mut self.open_frame {
            frame.records += 1;
        }
        self.table.split().address(self.head().slot, offset)
    }

    #[cold]
    fn note_transaction(&mut self, entry: &Entry<'_>, address: Address) {
        let (Entry::Part { txid, .. } | Entry::Mark { txid } | Entry::Abort { txid }) = *entry else {
            unreachable!("{entry:?} is of no transaction")
        };
        if let Entry::Abort { .. } = entry {
            self.table.add_floor(address); // it hides a part (T1)
            // it is waited for until it is safe (X6)
            self.sync_soon = true;
            self.horizon.wait_for(TxId(txid.0 + 1));
        }
        let is_mark = matches!(entry, Entry::Mark { .. });
        let step = if is_mark { Step::Mark { tick: self.ticks } } else { Step::Counts };
        if step == Step::Counts {
            self.horizon.appended(txid, self.partition);
        }
        self.unsynced_steps.push_back((self.tail(), txid, step));
        if is_mark && self.options.policy == SyncPolicy::Always {
            // another partition may still have written its part as `everysec` has it
            self.check_late_parts();
        }
    }

    pub(crate) fn begin_frame(&mut self) {
        let start = frame_boundary(self.writer.at());
        self.writer.skip((start - self.writer.at()) as usize + FRAME_HEADER_BYTES);
        self.open_frame = Some(OpenFrame { start, records: 0 });
    }

    /// Ends the open frame, if one is open: it may be written now.
    pub(crate) fn close_frame(&mut self) {
        let Some(frame) = self.open_frame.take() else { return };
        let durable = self.synced;
        let length = (self.writer.at() - frame.start) as usize - FRAME_HEADER_BYTES;
        let header = FrameHeader { length: length as u32, durable, records: frame.records };
        let head = self.head();
        let (nonce, sequence, from) = (head.nonce(), head.sequence(), head.end);
        self.writer.close_frame(frame.start, FRAME_HEADER_BYTES, |space, body| {
            header.seal(nonce, frame.start, space, body);
        });
        let to = self.writer.at();
        let head = self.head_mut();
        head.end = to;
        head.records += u64::from(frame.records);
        match self.unwritten.back_mut() {
            Some(last) if last.sequence == sequence && last.to == last.reaches => (last.to, last.reaches) = (to, to),
            _ => self.unwritten.push_back(Unwritten { sequence, from, to, reaches: to }),
        }
    }
}
