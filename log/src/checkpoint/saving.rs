//! A checkpoint that is being taken: where its file stands, and when it may count (K1).
//!
//! ```text
//!   begin ---> Creating --file made---> Pages --the last was copied---> Waits --written, and safe through P1---> Publishing ---> done
//!                 |                       |                               |                                         |
//!                 '--------- abandoned, or an error of the disk: the file is removed, the log goes on --------------'
//! ```

use std::io;

use bytes::Bytes;

use crate::address::LogPosition;
use crate::checkpoint::file::{ChunkMeta, FIRST_CHUNK, Meta, Publication, SegmentMeta};
use crate::checkpoint::{checkpoint_name, life_of, temporary_name};
use crate::disk::Disk;
use crate::horizon::TxId;
use crate::job::{CheckpointJob, Done, Job, JobKind};
use crate::log::{Appended, Log};
#[cfg(any(test, feature = "sim"))]
use crate::plant::{self, Plant};
use crate::record::DbId;
use crate::segment::{Life, Segment};
use crate::tally::Shape;

/// Checkpoints that are kept: should the newest be damaged there is another one.
const GENERATIONS: usize = 2;

/// A transaction whose part is appended and neither marked nor aborted.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// Which.
    pub txid: TxId,
    /// Where the log was before the part.
    pub start: LogPosition,
    /// Its records.
    pub records: Vec<(Appended, PartHolds)>,
}

/// What a record of a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartHolds {
    /// The value of a key of this database that expires then.
    Value(DbId, Option<u64>),
    /// A tombstone.
    Tombstone,
    /// A floor.
    Floor,
}

/// The checkpoints of a running log.
#[derive(Debug)]
pub(crate) struct Checkpoints<F> {
    /// The generations that there are, oldest first.
    kept: Vec<u64>,
    /// The last that was begun.
    last: u64,
    saving: Option<Saving<F>>,
    /// The file of one that was abandoned is to be removed when the job that writes it has ended.
    is_left: bool,
    /// How the last one has ended, if nobody has asked yet.
    outcome: Option<Result<(), String>>,
    /// Where the newest one was taken.
    newest: LogPosition,
}

#[derive(Debug)]
struct Saving<F> {
    generation: u64,
    file: Option<F>,
    chunks: Vec<ChunkMeta>,
    /// Where the next chunk goes.
    at: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Creating,
    Pages,
    /// Until all is written, and safe up to P1.
    Waits {
        meta: Box<Meta>,
        until: TxId,
    },
    Publishing {
        upto: LogPosition,
    },
}

impl<F> Checkpoints<F> {
    /// `kept` are the generations that there are, oldest first; the newest was taken at `newest`; `last` was begun last.
    pub fn new(kept: Vec<u64>, newest: LogPosition, last: u64) -> Self {
        Self { kept, last, saving: None, is_left: false, outcome: None, newest }
    }

    /// Whether it waits for the log to become safe.
    pub fn waits_for_sync(&self) -> bool {
        self.waits_until().is_some()
    }

    /// The tickets that it waits for are below this one.
    pub fn waits_until(&self) -> Option<TxId> {
        match self.saving.as_ref()?.stage {
            Stage::Waits { until, .. } => Some(until),
            _ => None,
        }
    }
}

impl<D: Disk> Log<D> {
    /// Begins a checkpoint whose file will have about so many bytes. False if one is under way, or the log is read-only.
    pub fn begin_checkpoint(&mut self, bytes: u64) -> bool {
        let busy = self.checkpoints.saving.is_some() || self.under_way.contains(&JobKind::Checkpoint);
        if busy || self.read_only().is_some() {
            return false;
        }
        self.checkpoints.last += 1;
        self.checkpoints.saving = Some(Saving {
            generation: self.checkpoints.last,
            file: None,
            chunks: Vec::new(),
            at: FIRST_CHUNK,
            stage: Stage::Creating,
        });
        let name = temporary_name(self.partition);
        #[cfg(any(test, feature = "sim"))]
        let name = match self.checkpoints.kept.last().filter(|_| plant::is(Plant::K6)) {
            Some(newest) => checkpoint_name(self.partition, *newest),
            None => name,
        };
        let job = CheckpointJob::Create { name, size: FIRST_CHUNK + bytes };
        self.start(Job::Checkpoint(job));
        true
    }

    /// Where the newest checkpoint was taken.
    pub fn last_checkpoint(&self) -> LogPosition {
        self.checkpoints.newest
    }

    /// Whether a checkpoint is being taken.
    pub fn is_saving(&self) -> bool {
        self.checkpoints.saving.is_some()
    }

    /// Whether the next chunk of pages may be written.
    pub fn takes_pages(&self) -> bool {
        let saving = self.checkpoints.saving.as_ref();
        saving.is_some_and(|saving| matches!(saving.stage, Stage::Pages))
            && !self.under_way.contains(&JobKind::Checkpoint)
    }

    /// Writes a chunk of pages, whose checksum is `crc`, if [`Log::takes_pages`].
    ///
    /// # Panics
    /// If it takes none.
    pub fn write_pages(&mut self, pages: Vec<u8>, crc: u32) {
        let Some(Saving { file: Some(file), chunks, at, .. }) = &mut self.checkpoints.saving else {
            unreachable!("pages are taken")
        };
        let (file, offset, len) = (file.clone(), *at, pages.len() as u32);
        chunks.push(ChunkMeta { offset, len, crc });
        *at += u64::from(len);
        self.start(Job::Checkpoint(CheckpointJob::Write { file, offset, data: Bytes::from(pages) }));
    }

    /// All pages are handed over, and the index is as they say: this is P1. `floors` are those of the databases, `open` the parts that are not decided, which no
    /// page knows of.
    ///
    /// # Panics
    /// If no checkpoint is being taken.
    pub fn end_pages(&mut self, floors: &[LogPosition], open: &[OpenPart]) {
        let (upto, until) = (self.tail(), self.horizon.next());
        let segments = self.segments_without(open);
        let Some(saving) = &mut self.checkpoints.saving else { unreachable!("one is taken") };
        let mut meta = Meta {
            dataset: self.dataset,
            partition: self.partition.0,
            generation: saving.generation,
            segment_size: self.table.split().segment_size(),
            from: open.iter().map(|part| part.start).fold(upto, LogPosition::min).0,
            upto: upto.0,
            life: (0, 0),
            segments,
            chunks: std::mem::take(&mut saving.chunks),
            floors: floors.iter().map(|floor| floor.0).collect(),
            evictions: self.evictions.iter().map(|said| (said.of.0, said.in_.0, said.count)).collect(),
            undecided: open.iter().map(|part| part.txid.0).collect(),
            horizon: until.0,
        };
        if let Some(life) = life_of(&self.incarnations, meta.records_end()) {
            meta.life = (life.term, life.id);
        }
        saving.stage = Stage::Waits { meta: Box::new(meta), until };
        self.horizon.wait_for(until);
        self.sync_soon = true;
    }

    /// What is needed of each segment, but for the parts.
    fn segments_without(&self, open: &[OpenPart]) -> Vec<SegmentMeta> {
        let one = |segment: &Segment<D::File>| {
            let mut needed = self.table.needed(segment.slot);
            let mut tallies = self.table.tallies(segment.slot).clone();
            for (record, holds) in open.iter().flat_map(|part| &part.records) {
                if self.table.first_slot(record.address) != segment.slot {
                    continue;
                }
                match holds {
                    PartHolds::Value(db, expires_at_ms) => {
                        needed.live_bytes -= record.len as u64;
                        tallies.remove(Shape { len: record.len, db: *db, expires_at_ms: *expires_at_ms });
                    }
                    PartHolds::Tombstone => needed.tombstone_bytes -= record.len as u64,
                    PartHolds::Floor => needed.floors -= 1,
                }
            }
            let is_freed = matches!(segment.life, Life::FreePendingSafe(..) | Life::FreePendingManifest(_))
                || self.following.as_ref().is_some_and(|following| following.is_freed(segment.sequence()));
            #[cfg(any(test, feature = "sim"))]
            let is_freed = is_freed && !crate::plant::is(crate::plant::Plant::T5Freed);
            SegmentMeta {
                sequence: segment.sequence().0,
                base: segment.base().0,
                slot: segment.slot.0,
                live_bytes: needed.live_bytes,
                tombstone_bytes: needed.tombstone_bytes,
                floors: needed.floors,
                is_freed,
                tallies: tallies.0.iter().map(|tally| (tally.keys, tally.expires, tally.expiry_sum_ms)).collect(),
            }
        };
        self.segments.iter().map(one).collect()
    }

    /// Gives up the checkpoint that is being taken, unless it is being published.
    pub fn abandon_checkpoint(&mut self, reason: &str) {
        let publishing = |saving: &Saving<D::File>| matches!(saving.stage, Stage::Publishing { .. });
        if self.checkpoints.saving.as_ref().is_none_or(publishing) {
            return;
        }
        self.checkpoint_failed(reason.to_owned());
    }

    /// How a checkpoint has ended since the last call: it counts, or why there is none.
    pub fn take_checkpoint(&mut self) -> Option<Result<(), String>> {
        self.checkpoints.outcome.take()
    }

    fn checkpoint_failed(&mut self, reason: String) {
        self.checkpoints.saving = None;
        self.checkpoints.outcome = Some(Err(reason));
        self.checkpoints.is_left = true;
        self.remove_left();
    }

    fn remove_left(&mut self) {
        if self.checkpoints.is_left && !self.under_way.contains(&JobKind::Checkpoint) {
            self.checkpoints.is_left = false;
            let names = vec![temporary_name(self.partition)];
            self.start(Job::Checkpoint(CheckpointJob::Remove { names }));
        }
    }

    /// Publishes what waits, if it may (K1). At the end of a turn.
    pub(crate) fn publish_checkpoint(&mut self) {
        if !self.checkpoints.waits_for_sync() {
            return;
        }
        if self.read_only().is_some() {
            return self.abandon_checkpoint("the log is read-only");
        }
        if self.under_way.contains(&JobKind::Checkpoint) {
            return;
        }
        let (synced, horizon) = (self.synced, self.horizon.horizon());
        let Some(saving) = &mut self.checkpoints.saving else { return };
        let (Stage::Waits { meta, until }, Some(file)) = (&saving.stage, &saving.file) else { return };
        let is_safe = LogPosition(meta.upto) <= synced && *until <= horizon;
        #[cfg(any(test, feature = "sim"))]
        let is_safe = is_safe || crate::plant::is(crate::plant::Plant::K1);
        if !is_safe {
            return;
        }
        let bytes = match meta.encode() {
            Ok(bytes) => bytes,
            Err(error) => return self.checkpoint_failed(error.to_string()),
        };
        let older = self.checkpoints.kept.len().saturating_sub(GENERATIONS - 1);
        let older = self.checkpoints.kept[..older].iter();
        let publication = Publication {
            file: file.clone(),
            temporary: temporary_name(self.partition),
            name: checkpoint_name(self.partition, saving.generation),
            meta: bytes,
            offset: saving.at.next_multiple_of(16),
            older: older.map(|generation| checkpoint_name(self.partition, *generation)).collect(),
        };
        saving.stage = Stage::Publishing { upto: LogPosition(meta.upto) };
        self.start(Job::Checkpoint(CheckpointJob::Publish(publication)));
    }

    pub(crate) fn checkpoint_done(&mut self, result: io::Result<Done<D::File>>) {
        let Some(saving) = &mut self.checkpoints.saving else {
            return self.remove_left(); // one that was abandoned
        };
        let done = match result {
            Ok(done) => done,
            Err(error) => return self.checkpoint_failed(error.to_string()),
        };
        match (&saving.stage, done) {
            (Stage::Creating, Done::Files(mut files)) => {
                saving.file = files.pop();
                saving.stage = Stage::Pages;
            }
            (Stage::Publishing { upto }, _) => {
                tracing::info!(partition = self.partition.0, position = upto.0, "checkpoint taken");
                let (upto, generation) = (*upto, saving.generation);
                let checkpoints = &mut self.checkpoints;
                (checkpoints.outcome, checkpoints.newest) = (Some(Ok(())), upto);
                checkpoints.kept.push(generation);
                checkpoints.kept.drain(..checkpoints.kept.len().saturating_sub(GENERATIONS));
                checkpoints.saving = None;
            }
            _ => {}
        }
    }
}
