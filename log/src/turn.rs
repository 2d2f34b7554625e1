//! The end of a turn, and what comes back from the outside: how bytes get to the disk and become safe.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::address::{LogPosition, Nonce};
use crate::catalog::ManifestEdit;
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::job::{Done, Job, JobKind, RefillPiece, WRITE_BLOCK};
use crate::log::{Health, Log, Unwritten};
use crate::manifest::{Extent, Section};
use crate::memory::share_closed;
use crate::options::SyncPolicy;
use crate::segment::{Generation, Life, Next};

/// How far ahead of the tail memory is touched. A first touch of a huge page took 0.2 ms where this was measured,
/// and 4 ms when a virtual machine's host had to find it, so it is done by another thread. At 150 MB/s of writes
/// 8 MiB last 50 ms, and an idle server does not hold more.
const PREFAULT_BYTES: u64 = 8 << 20;

/// More than this is not written inline: a core must not stop for it. Chosen, not measured.
const INLINE_BYTES: u64 = 1 << 20;

/// Spare files that are kept for the next segments; more are removed.
const SPARE_FILES: usize = 2;

impl<D: Disk> Log<D> {
    /// Ends a turn: what was appended since the last one goes to the disk, inline when that is fast, else
    /// as a job. What it leads to is seen in [`Log::gate`].
    pub fn end_turn(&mut self) {
        if self.waits_for_parts {
            self.check_late_parts();
        }
        self.free_dead_segments();
        self.publish_checkpoint();
        if self.health == Health::Good {
            let inline = self.options.policy != SyncPolicy::Always && !self.writes_are_slow;
            if inline && self.unwritten_bytes() <= INLINE_BYTES {
                self.write_inline();
            } else {
                self.write_by_job();
            }
        }
        if self.sync_soon && !self.under_way.contains(&JobKind::Sync) {
            self.sync_soon = false;
            self.start_sync();
        }
        self.prefault();
        self.discard_left();
        if self.manifest_dirty {
            self.start_manifest_edit();
        }
        self.tell_readers();
    }

    /// Bytes that the end of this turn has to write.
    fn unwritten_bytes(&self) -> u64 {
        let closed: u64 = self.unwritten.iter().map(|part| part.to - part.from).sum();
        closed + self.writer.at() - self.head().end
    }

    /// To be called about once a second: syncs by the policy, and tries again what failed for lack of space.
    pub fn tick(&mut self) {
        self.progress += 1;
        self.ticks = self.ticks.wrapping_add(1);
        self.refused_size = None;
        self.no_spare = None;
        self.prepare_spare();
        self.refit();
        self.discard_unwanted_memory();
        self.drop_abandoned();
        self.tick_cold();
        self.tick_residency();
        self.after_sync(); // the horizon moves by what other partitions do
        self.check_what_it_hangs_on();
        self.check_late_parts();
        match self.options.policy {
            SyncPolicy::EverySec => self.start_sync(),
            SyncPolicy::Always if self.writing.is_none() => self.start_sync(),
            // frees and the manifest wait for what is safe, under every policy (F5)
            SyncPolicy::No if self.waits_for_sync() => self.start_sync(),
            SyncPolicy::Always | SyncPolicy::No => {}
        }
        if matches!(self.next, Next::Failed(_)) {
            self.next = Next::Missing;
            self.prepare_next();
        }
        // no later frame says that the last ones are durable: once nothing follows them, the manifest does (F2)
        if self.synced == self.tail() && self.listed_durable < self.synced {
            self.mark_dirty();
        }
    }

    fn waits_for_sync(&self) -> bool {
        let waits = |life| matches!(life, Life::Sealed { listed: false } | Life::FreePendingSafe(..));
        self.segments.iter().any(|segment| waits(segment.life))
            || self.checkpoints.waits_for_sync()
            || (!self.unsynced_steps.is_empty() && self.horizon.is_waited_for())
    }

    /// Counts whatever may let a command go on that [`Refusal::Wait`] has put off.
    ///
    /// [`Refusal::Wait`]: crate::Refusal::Wait
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Whether the unsynced part of the log is being written anew (law 8).
    pub fn is_rewriting(&self) -> bool {
        matches!(self.health, Health::Refilling { .. } | Health::Reinstalling { .. })
    }

    /// The next job to carry out, if any.
    pub fn next_job(&mut self) -> Option<Job<D::File>> {
        self.outbox.pop_front()
    }

    /// Whether a job has been handed out, or waits to be, whose end will be reported.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || self.discards > 0
    }

    pub(crate) fn start(&mut self, job: Job<D::File>) {
        let fresh = self.under_way.insert(job.kind());
        assert!(fresh, "there is one job of a kind at a time");
        self.outbox.push_back(job);
    }

    fn write_inline(&mut self) {
        // a write that is still under way by job goes first
        if self.writing.is_some() {
            return;
        }
        self.close_frame();
        let began = Instant::now();
        let mut wrote = false;
        while let Some(&part) = self.unwritten.front() {
            let Some(segment) = self.segments.iter().rev().find(|s| s.sequence() == part.sequence) else {
                unreachable!("a segment with unwritten frames exists")
            };
            // a block that is written in part is read first when the system does not have it, and this thread would wait
            let (offset, bytes) = if segment.life == Life::Head && segment.fillings.len() == 1 {
                let offset = part.from - part.from % WRITE_BLOCK;
                (offset, self.writer.padded(offset..part.to.next_multiple_of(WRITE_BLOCK).min(segment.size)))
            } else {
                (part.from, segment.memory.closed_bytes(part.from..part.to))
            };
            failpoint::pass(Point::WriteBegin);
            if failpoint::strikes(Point::WriteTorn) {
                let _ = self.disk.write_at(&segment.file, offset, &bytes[..bytes.len() / 2]);
                failpoint::die(Point::WriteTorn);
            }
            if let Err(error) = self.disk.write_at(&segment.file, offset, bytes) {
                self.begin_refill(&error);
                return;
            }
            failpoint::pass(Point::WriteDone);
            self.written = segment.base().plus(part.reaches);
            self.unwritten.pop_front();
            wrote = true;
        }
        if wrote && self.options.slow_write.is_some_and(|limit| began.elapsed() > limit) {
            self.writes_are_slow = true;
            tracing::debug!("a write of the tail was slow: writing by jobs until they are fast again");
        }
    }

    fn write_by_job(&mut self) {
        if self.writing.is_some() {
            return; // the frame stays open: the next write takes all that comes meanwhile
        }
        self.close_frame();
        let Some(part) = self.unwritten.pop_front() else { return };
        let Some(segment) = self.segments.iter().rev().find(|s| s.sequence() == part.sequence) else {
            unreachable!("a segment with unwritten frames exists")
        };
        let sync = self.options.policy == SyncPolicy::Always;
        // what is before it in the block is written again, which is only right if memory holds what the
        // file holds: not once it was refilled while it was written, and its older frames have another nonce
        let repeats = sync && segment.fillings.len() == 1;
        let offset = if repeats { part.from - part.from % WRITE_BLOCK } else { part.from };
        let data = share_closed(&segment.memory, offset..part.to);
        failpoint::pass(Point::WriteBegin);
        let job = Job::Write { file: segment.file.clone(), offset, data, sync };
        self.writing = Some((part, sync, Instant::now()));
        self.start(job);
    }

    /// Syncs every file with bytes that are written and not known durable, not just the head's (S3).
    pub(crate) fn start_sync(&mut self) {
        if self.under_way.contains(&JobKind::Sync) || self.health != Health::Good || self.synced >= self.written {
            return;
        }
        let synced = self.synced;
        let dirty = self.segments.iter().filter(|segment| segment.end_position() > synced);
        #[cfg(any(test, feature = "sim"))]
        let dirty = dirty.filter(|segment| !crate::plant::is(crate::plant::Plant::S3) || segment.life == Life::Head);
        let files = dirty.map(|segment| segment.file.clone()).collect();
        self.sync_upto = self.written;
        self.start(Job::Sync { files });
    }

    fn prefault(&mut self) {
        if self.under_way.contains(&JobKind::Prefault) {
            return;
        }
        let at = self.writer.at();
        if at + PREFAULT_BYTES / 2 > self.prefaulted && self.prefaulted < self.head().size {
            let range = self.prefaulted.max(at)..self.prefaulted.max(at) + PREFAULT_BYTES;
            self.prefaulted = range.end;
            self.start(Job::Prefault { memory: self.writer.memory().clone(), range });
        } else if at + PREFAULT_BYTES > self.head().size
            && let Next::Ready(next) = &mut self.next
            && next.prefaulted == 0
        {
            next.prefaulted = PREFAULT_BYTES;
            let memory = next.writer.memory().clone();
            self.start(Job::Prefault { memory, range: 0..PREFAULT_BYTES });
        }
    }

    // ---- the manifest ------------------------------------------------------------------------------

    /// Asks for a manifest edit; the number of the one that will hold all that is so by now.
    pub(crate) fn mark_dirty(&mut self) -> Generation {
        self.manifest_dirty = true;
        self.edits + 1
    }

    /// What the manifest is to say of this partition.
    pub(crate) fn section(&self) -> Section {
        let mut segments: Vec<_> = self.segments.iter().filter_map(|segment| segment.entry()).collect();
        match &self.next {
            Next::Installing(next, _) | Next::Ready(next) => segments.push(next.entry()),
            Next::Filling(ahead) => segments.push(ahead.prepared.entry()),
            Next::Missing | Next::Preparing { .. } | Next::Failed(_) => {}
        }
        let oldest = segments.iter().find_map(|entry| entry.extent.base()).unwrap_or_default();
        let mut incarnations = self.incarnations.clone();
        while incarnations.len() > 1 && incarnations[1].start <= oldest {
            incarnations.remove(0);
        }
        debug_assert!(
            segments.iter().all(|entry| !matches!(entry.extent, Extent::Sealed { end, .. } if end > self.synced)),
            "only what is synced is said to be sealed"
        );
        Section { durable: self.synced, next_sequence: self.next_sequence, segments, incarnations }
    }

    fn start_manifest_edit(&mut self) {
        if self.under_way.contains(&JobKind::Manifest) || matches!(self.health, Health::ReadOnly(_)) {
            return;
        }
        self.manifest_dirty = false;
        self.edits += 1;
        self.listed_durable = self.synced;
        let catalog = Arc::clone(&self.catalog);
        self.start(Job::Manifest(ManifestEdit { catalog, partition: self.partition, section: self.section() }));
    }

    fn manifest_done(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.give_up(&format!("the manifest can't be written: {error}"));
            return;
        }
        let durable = self.edits;
        self.next = match std::mem::replace(&mut self.next, Next::Missing) {
            Next::Installing(next, edit) if edit <= durable => Next::Ready(next),
            other => other,
        };
        if let Health::Reinstalling { upto, edit } = self.health
            && edit <= durable
        {
            tracing::warn!(position = upto.0, "the unsynced part of the log is in fresh files: going on");
            self.health = Health::Good;
            (self.written, self.synced) = (upto, upto);
            self.after_sync();
            if matches!(self.next, Next::Missing) {
                self.prepare_next();
            }
        }
        self.finish_frees(durable);
        let left = self.leaving_files.extract_if(.., |(edit, ..)| *edit <= durable).collect::<Vec<_>>();
        for (_, file, size) in left {
            self.recycle_file(file, size);
        }
        self.prepare_spare();
        self.update_limits();
    }

    pub(crate) fn recycle_file(&mut self, file: crate::FileId, size: u64) {
        let fitting = self.fitting_size();
        // where no more can be made it may be larger
        let fits = size == fitting || size >= self.most_sealed && size <= self.segment_size() && self.is_full();
        if fits && self.spare_files.len() < SPARE_FILES {
            self.spare_files.push((file, size));
            failpoint::pass(Point::Recycled);
        } else {
            self.discard_file(file);
            self.no_spare = None; // there is room for one now
        }
        // a full disk has just got room
        if matches!(self.next, Next::Failed(_)) {
            self.next = Next::Missing;
            self.prepare_next();
        }
    }

    pub(crate) fn discard_file(&mut self, file: crate::FileId) {
        self.discard(Job::Discard { files: vec![file], memory: Vec::new(), cached: Vec::new() });
    }

    /// Queues a discard, or adds to one that waits to be taken.
    pub(crate) fn discard(&mut self, job: Job<D::File>) {
        let Job::Discard { files, memory, cached } = job else { unreachable!("only discards") };
        if let Some(Job::Discard { files: f, memory: m, cached: c }) =
            self.outbox.iter_mut().find(|job| job.kind() == JobKind::Discard)
        {
            f.extend(files);
            m.extend(memory);
            c.extend(cached);
        } else {
            // nothing here depends on its end, so several may be under way
            self.discards += 1;
            self.outbox.push_back(Job::Discard { files, memory, cached });
        }
    }

    // ---- what comes back ---------------------------------------------------------------------------

    /// Reports a job's end.
    pub fn complete(&mut self, kind: JobKind, result: io::Result<Done<D::File>>) {
        if let JobKind::Read(address) = kind {
            assert!(self.under_way.remove(&kind), "{kind:?} was not under way");
            return self.cold_read_done(address, result);
        }
        self.progress += 1;
        if kind == JobKind::Discard {
            self.discards -= 1;
            if let Err(error) = result {
                tracing::warn!(%error, "a segment file that is of no use any more can't be removed");
            }
            return;
        }
        let was_under_way = self.under_way.remove(&kind);
        assert!(was_under_way, "{kind:?} was not under way");
        match kind {
            JobKind::Write => self.write_done(result.map(|_| ())),
            JobKind::Sync => self.sync_done(result.map(|_| ())),
            JobKind::Prepare => self.prepared(result.and_then(|done| match done {
                Done::Files(mut files) if files.len() == 1 => Ok(files.remove(0)),
                _ => Err(io::Error::other("no file was made")),
            })),
            JobKind::Manifest => self.manifest_done(result.map(|_| ())),
            JobKind::Refill => self.refill_done(result),
            JobKind::Fill => self.filled(result.map(|_| ())),
            JobKind::Checkpoint => self.checkpoint_done(result),
            JobKind::Load => self.load_done(result),
            JobKind::Prefault | JobKind::Discard | JobKind::Read(_) => {}
        }
        self.tell_readers();
    }

    fn write_done(&mut self, result: io::Result<()>) {
        let Some((part, synced, began)) = self.writing.take() else { unreachable!("a write was under way") };
        if self.health != Health::Good {
            return; // the refill has taken its bytes too
        }
        if let Err(error) = result {
            self.begin_refill(&error);
            return;
        }
        self.writes_are_slow = self.options.slow_write.is_some_and(|limit| began.elapsed() > limit);
        failpoint::pass(Point::WriteDone);
        let (from, to) = self.positions(part);
        self.written = self.written.max(to);
        if synced && self.synced >= from {
            // this write was synced, and all before it was
            self.synced = self.synced.max(to);
            self.after_sync();
        } else if self.options.policy == SyncPolicy::Always {
            self.sync_soon = true; // the policy has just changed: not all that is written is synced yet
        }
    }

    fn positions(&self, part: Unwritten) -> (LogPosition, LogPosition) {
        let Some(segment) = self.segments.iter().rev().find(|s| s.sequence() == part.sequence) else {
            unreachable!("a segment whose bytes are being written exists")
        };
        (segment.base().plus(part.from), segment.base().plus(part.reaches))
    }

    fn sync_done(&mut self, result: io::Result<()>) {
        if self.health != Health::Good {
            return;
        }
        match result {
            Ok(()) => {
                failpoint::pass(Point::SyncDone);
                self.synced = self.synced.max(self.sync_upto);
                self.after_sync();
            }
            Err(error) => self.begin_refill(&error),
        }
    }

    /// What waited for a position to become safe.
    pub(crate) fn after_sync(&mut self) {
        let synced = self.synced;
        if self.unsynced_steps.front().is_some_and(|(end, ..)| *end <= synced) {
            let count = self.unsynced_steps.iter().take_while(|(end, ..)| *end <= synced).count();
            let steps = self.unsynced_steps.drain(..count).map(|(_, txid, step)| (txid, step));
            self.horizon.synced(self.partition, steps);
        }
        #[allow(unused_mut)]
        let mut horizon = self.horizon.horizon();
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::F5) {
            horizon = crate::TxId(u64::MAX);
        }
        let edit = self.edits + 1;
        let mut cached = Vec::new();
        let mut changed = false;
        let retained = self.shipping.retained().unwrap_or(LogPosition(u64::MAX));
        for segment in &mut self.segments {
            let end = segment.end_position();
            match segment.life {
                Life::Sealed { listed: false } if end <= synced => {
                    segment.life = Life::Sealed { listed: true };
                    segment.safe_below = self.horizon.next();
                    cached.push((segment.file.clone(), segment.size));
                    if self.table.needed(segment.slot).live_bytes == 0 {
                        self.dead.insert(segment.sequence());
                    }
                    self.recheck_dead = true;
                    changed = true;
                }
                // what a reader has not read yet stays
                Life::FreePendingSafe(position, ticket)
                    if position <= synced && horizon >= ticket && end <= retained =>
                {
                    segment.life = Life::FreePendingManifest(edit);
                    self.is_shipping_stale = true;
                    changed = true;
                }
                _ => {}
            }
        }
        if changed {
            self.mark_dirty();
            self.discard(Job::Discard { files: Vec::new(), memory: Vec::new(), cached });
        }
    }

    // ---- law 8 -------------------------------------------------------------------------------------

    /// A write or a sync has failed. Nothing is known of the unsynced bytes on disk now, and no later sync
    /// can tell: they are written anew from memory into fresh files, once (E1).
    fn begin_refill(&mut self, error: &io::Error) {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::E1) {
            self.sync_soon = true;
            return;
        }
        tracing::error!(%error, "the log can't be written or synced: writing its unsynced part anew");
        self.close_frame();
        self.unwritten.clear();
        self.refilled.clear();
        let synced = self.synced;
        let dirty: Vec<_> = (self.segments.iter().filter(|segment| segment.end_position() > synced))
            .map(|segment| (segment.size, segment.source()))
            .collect();
        let mut pieces = Vec::new();
        for (size, source) in dirty {
            let (file, nonce) = (self.catalog.new_file(), Nonce((self.options.random)()));
            self.refilled.push((file, nonce));
            pieces.push(RefillPiece { file, size, nonce, source });
        }
        self.health = Health::Refilling { upto: self.tail() };
        self.update_limits();
        self.start(Job::Refill { pieces });
    }

    fn refill_done(&mut self, result: io::Result<Done<D::File>>) {
        let Health::Refilling { upto } = self.health else { return };
        // the pieces are those of begin_refill: nothing was appended or synced since
        let pieces: Vec<usize> =
            (0..self.segments.len()).filter(|&i| self.segments[i].end_position() > self.synced).collect();
        let files = match result {
            Ok(Done::Files(files)) if files.len() == pieces.len() => files,
            Ok(_) => return self.give_up("the refill brought the wrong number of files"),
            Err(error) => return self.give_up(&format!("writing the log anew has failed too: {error}")),
        };
        let edit = self.mark_dirty();
        for (i, (file, (file_id, nonce))) in pieces.into_iter().zip(files.into_iter().zip(self.refilled.drain(..))) {
            let segment = &mut self.segments[i];
            self.leaving_files.push((edit, segment.file_id, 0)); // size 0: never used again
            (segment.file, segment.file_id, segment.header.nonce) = (file, file_id, nonce);
            segment.fillings.push((segment.end, nonce));
        }
        self.health = Health::Reinstalling { upto, edit };
    }

    /// What is behind a mark is lost if a part of that transaction is: if it is in a log that is read-only it may stay
    /// unsynced for ever, so nothing more may be built on it (E2).
    fn check_what_it_hangs_on(&mut self) {
        if self.read_only().is_some() {
            return;
        }
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::E2) {
            return;
        }
        if let Some(failed) = self.horizon.hangs_on_failed(self.partition) {
            let failed = failed.0;
            self.give_up(&format!(
                "it depends on a transaction of which partition {failed}, read-only, may lose a part"
            ));
        }
    }

    pub(crate) fn give_up(&mut self, reason: &str) {
        tracing::error!(partition = self.partition.0, reason, "the log is read-only until the server is restarted");
        self.horizon.failed(self.partition);
        self.health = Health::ReadOnly(format!("the log is read-only: {reason}"));
        self.update_limits();
    }
}
