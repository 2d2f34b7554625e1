//! From what a start has found to logs that run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::address::{PartitionId, SegmentSequence};
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::checkpoint::Checkpoints;
use crate::cold::ColdReads;
use crate::disk::Disk;
use crate::follow::Following;
use crate::free::SPARE_MEMORY;
use crate::header::SEGMENT_HEADER_BYTES;
use crate::job::segment_name;
use crate::log::{FRAME_SPACE, Health, Log, SEAL_SPACE};
use crate::manifest::Incarnation;
use crate::memory::SegmentWriter;
use crate::options::Options;
use crate::record::Entry;
use crate::recover::start::{StartError, io_error};
use crate::segment::{Life, Next, Segment};
use crate::sizes::Sizes;
use crate::table::SegmentTable;

/// What is left of a partition's log, all of it durable in its files.
pub(crate) struct Remains<F> {
    pub segments: Vec<Segment<F>>,
    pub writer: SegmentWriter,
    pub table: SegmentTable,
    /// The lives before this one.
    pub incarnations: Vec<Incarnation>,
    pub next_sequence: SegmentSequence,
    pub checkpoints: Checkpoints<F>,
}

impl<D: Disk> Log<D> {
    /// The log that goes on in what is left.
    pub(crate) fn opened(
        disk: Arc<D>,
        mut options: Options,
        partition: PartitionId,
        catalog: &Arc<Catalog<D::File>>,
        remains: Remains<D::File>,
    ) -> Self {
        let Remains { segments, writer, table, mut incarnations, next_sequence, checkpoints } = remains;
        let Some(head) = segments.last() else { unreachable!("a start leaves a head") };
        let tail = head.base().plus(writer.at());
        // what the last life may have had beyond a cut is none of this one's: a header is no part of it
        let start = if writer.at() > SEGMENT_HEADER_BYTES { tail } else { head.base() };
        let term = incarnations.last().map_or(1, |last| last.term + 1);
        // a life that wrote nothing leaves no trace, so that restarts alone never fill the manifest
        if options.follows.is_none() {
            // what a log that it followed has been beyond that is none of this one's
            incarnations.retain(|life| life.start <= start);
            incarnations.pop_if(|last| last.start == start);
        }
        let incarnation = Incarnation { term, id: (options.random)(), start };
        #[allow(unused_mut)]
        let mut is_new = options.follows.is_none();
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::F6) {
            is_new = incarnations.is_empty();
        }
        if is_new {
            incarnations.push(incarnation);
        }
        let next_sequence = next_sequence.max(SegmentSequence(head.sequence().0 + 1));
        let following = options.follows.as_ref().map(|origin| {
            let its = origin.logs.get(usize::from(partition.0)).map(|log| log.incarnations.clone());
            incarnations = its.unwrap_or_default(); // what it had beside them was cut off
            Box::new(Following::default())
        });
        let (dataset, hash_seed) = catalog.facts();
        let sizes = Sizes::new(options.least_segment_size, table.split(), catalog.partitions());
        let most_sealed = sizes.holding_any(&table);
        Self {
            disk,
            options,
            partition,
            horizon: Arc::clone(catalog.horizon()),
            unsynced_steps: VecDeque::new(),
            held: 0,
            dataset,
            hash_seed,
            catalog: Arc::clone(catalog),
            incarnations,
            next_sequence,
            edits: 0,
            listed_durable: tail,
            manifest_dirty: false,
            table,
            checkpoints,
            segments,
            writer,
            open_frame: None,
            unwritten: VecDeque::new(),
            writing: None,
            next: Next::Missing,
            wanted_size: 0,
            refused_size: None,
            spare_files: Vec::new(),
            sizes,
            is_resting: true,
            most_sealed,
            spare_memory: Vec::new(),
            most_spares: SPARE_MEMORY,
            ticks: 0,
            waits_for_parts: false,
            ticks_in_head: 0,
            preparing_spare: None,
            no_spare: None,
            max_bytes: None,
            loading: None,
            load_failures: 0,
            no_load_before: 0,
            cold: ColdReads::default(),
            claim: 0,
            evictions: Vec::new(),
            admission: Admission::Open,
            leaving_files: Vec::new(),
            dead: BTreeSet::new(),
            recheck_dead: true,
            written: tail,
            synced: tail,
            sync_upto: tail,
            sync_soon: false,
            writes_are_slow: false,
            prefaulted: 0,
            refilled: Vec::new(),
            health: Health::Good,
            grow_limit: 0,
            keep_limit: 0,
            shrink_limit: 0,
            compact_limit: 0,
            free_limit: 0,
            progress: 0,
            outbox: VecDeque::new(),
            under_way: BTreeSet::new(),
            discards: 0,
            shipping: Arc::default(),
            is_shipping_stale: true,
            following,
        }
    }

    /// Appends the marks and aborts that are missing, synced (F4). All parts are durable by now, so a mark that a crash leaves
    /// in a file that the manifest names already says nothing new.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn append_missing(&mut self, entries: &[Entry<'static>]) -> Result<(), StartError> {
        if entries.is_empty() {
            return Ok(());
        }
        let file = segment_name(self.head().file_id);
        let bytes: usize = entries.iter().map(Entry::encoded_len).sum();
        if self.writer.at() + FRAME_SPACE + bytes as u64 > self.head().size - SEAL_SPACE {
            let reason = "there is no room for the ends of its transactions, though it was held".into();
            return Err(StartError::Inconsistent { file, reason });
        }
        for entry in entries {
            self.append(entry);
        }
        self.flush().map_err(io_error(&file))?;
        (self.written, self.synced, self.sync_upto) = (self.tail(), self.tail(), self.tail());
        self.unsynced_steps.clear();
        Ok(())
    }

    /// Finishes the removals that the log names (S4): the manifest's first edit leaves them out.
    pub(crate) fn list_removals(&mut self, freed: &BTreeSet<SegmentSequence>) {
        // what was flushed may count as live until the sweep comes by: then it stays, and so do later ones, whose tombstones
        // may have been dropped because it was about to go (T5)
        for segment in self.segments.iter_mut().filter(|segment| freed.contains(&segment.sequence())) {
            if self.table.needed(segment.slot).live_bytes > 0 {
                break;
            }
            segment.life = Life::FreePendingManifest(self.edits);
        }
    }

    /// The last step of a start: the manifest's first edit is durable.
    pub(crate) fn begin(&mut self) {
        self.finish_frees(self.edits);
        let dead: Vec<_> = (self.segments.iter())
            .filter(|segment| self.table.needed(segment.slot).live_bytes == 0)
            .map(Segment::sequence)
            .collect();
        self.dead.extend(dead);
        self.table.take_emptied();
        self.prepare_next();
        self.update_limits();
    }
}
