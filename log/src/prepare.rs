//! The segment after the head, and the file of the one after that: made ahead, so that nobody has to wait for them (S2, E3).

use std::io;
use std::sync::Arc;

use crate::address::{FileId, Nonce, SegmentSequence};
use crate::disk::Disk;
use crate::job::{Job, JobKind};
use crate::log::Log;
use crate::memory::SegmentWriter;
use crate::options::SyncPolicy;
use crate::segment::{Next, Prepared};

impl<D: Disk> Log<D> {
    /// Begins to make the segment after the head, unless that is under way.
    pub(crate) fn prepare_next(&mut self) {
        if !matches!(self.next, Next::Missing) || self.under_way.contains(&JobKind::Prepare) {
            return;
        }
        let most = self.segment_size();
        let mut size = self.wanted_size.max(self.fitting_size()).next_multiple_of(4096);
        let spare;
        if let Some(following) = &self.following {
            // which slots it has is each node's own affair: no record says so
            let Some(facts) = following.announced() else { return };
            size = facts.size;
            let same = self.spare_files.iter().position(|(_, its)| *its == size);
            spare = same.map(|at| self.spare_files.swap_remove(at));
        } else {
            spare = self.take_spare(size);
        }
        let has_room = self.catalog.has_room(self.partition, self.section());
        if !has_room || self.table.free_slots(self.table.slots_for(size), |_| false).is_none() {
            self.next = Next::Failed("the log has as many segments as its addresses can tell apart".into());
            self.wanted_size = 0;
            return;
        }
        if spare.is_none()
            && let Some(reason) = self.reached_max(size)
        {
            self.next_failed(reason);
            return;
        }
        let file = spare.map_or_else(|| self.catalog.new_file(), |(file, _)| file);
        // blocks that were written before make a sync cheaper by the metadata that it need not commit
        // (what one is made to measure for is written and synced before it is part of the log)
        let zero = self.options.policy == SyncPolicy::Always && spare.is_none() && size <= most;
        self.next = Next::Preparing { file, size };
        self.start(Job::Prepare { file, size, zero });
    }

    /// A spare file of this size. Those that are too small to hold the copies of any segment are of no use otherwise, and go.
    fn take_spare(&mut self, size: u64) -> Option<(FileId, u64)> {
        let (least, fitting) = (self.most_sealed, self.fitting_size());
        let useless = |(_, its): &mut (FileId, u64)| *its < least && *its != fitting;
        let small: Vec<_> = self.spare_files.extract_if(.., useless).collect();
        small.into_iter().for_each(|(file, _)| self.discard_file(file));
        let same = self.spare_files.iter().position(|(_, its)| *its == size)?;
        Some(self.spare_files.swap_remove(same))
    }

    /// Begins to make the file of the segment after the next one, unless there is one: it is kept for compaction (E3).
    pub(crate) fn prepare_spare(&mut self) {
        let wanted = matches!(self.next, Next::Ready(_)) && !self.keeps_one() && self.no_spare.is_none();
        let wanted = wanted && !self.is_follower();
        if !wanted || self.under_way.contains(&JobKind::Prepare) {
            return;
        }
        let size = self.spare_size();
        if let Some(reason) = self.reached_max(size) {
            self.no_spare = Some(reason);
            self.update_limits();
            return;
        }
        let file = self.catalog.new_file();
        self.preparing_spare = Some((file, size));
        self.start(Job::Prepare { file, size, zero: self.options.policy == SyncPolicy::Always });
    }

    fn spare_prepared(&mut self, (file, size): (FileId, u64), result: io::Result<D::File>) {
        match result {
            Ok(_) => self.spare_files.push((file, size)),
            Err(error) => {
                tracing::warn!(reason = %error, "no spare log segment can be made: writes may be refused soon");
                self.no_spare = Some(error.to_string());
                self.discard_file(file);
            }
        }
        self.prepare_next();
        self.update_limits();
    }

    pub(crate) fn prepared(&mut self, result: io::Result<D::File>) {
        if let Some(file) = self.preparing_spare.take() {
            return self.spare_prepared(file, result);
        }
        let (file_id, size) = match &self.next {
            Next::Preparing { file, size } => (*file, *size),
            other => unreachable!("a segment was prepared while {other:?}"),
        };
        let spare = self.spare_memory.iter().rposition(|memory| memory.size() == size);
        let spare = spare.map(|at| self.spare_memory.swap_remove(at));
        let spare = spare.and_then(|memory| SegmentWriter::again(memory).ok());
        let prefaulted = if spare.is_some() { size } else { 0 };
        let made = result.and_then(|file| Ok((file, spare.map_or_else(|| SegmentWriter::new(size), Ok)?)));
        let announced = self.following.as_ref().and_then(|following| following.announced().copied());
        let slot = self.table.free_slots(self.table.slots_for(size), |_| false);
        match (made, slot) {
            (Ok((file, writer)), Some(slot)) => {
                let sequence = announced.map_or(self.next_sequence, |facts| facts.sequence);
                self.next_sequence = SegmentSequence(sequence.0 + 1);
                let nonce = Nonce((self.options.random)());
                let prepared = Prepared { sequence, slot, file, file_id, nonce, size, writer, prefaulted };
                let edit = self.mark_dirty();
                self.next = Next::Installing(prepared, edit);
                #[cfg(any(test, feature = "sim"))]
                if crate::plant::is(crate::plant::Plant::S2)
                    && let Next::Installing(prepared, _) = std::mem::replace(&mut self.next, Next::Missing)
                {
                    self.next = Next::Ready(prepared);
                }
            }
            (made, _) => {
                let reason = made.err().map_or_else(|| "no segment slot is free".into(), |e| e.to_string());
                self.next_failed(reason);
                self.discard_file(file_id);
            }
        }
        self.update_limits();
    }

    /// No next segment can be made, for this reason: the file that is kept for compaction is the next one's (E3).
    fn next_failed(&mut self, reason: String) {
        let least = self.most_sealed.max(self.wanted_size);
        let kept = self.spare_files.iter().position(|(_, size)| *size >= least);
        if let Some(kept) = kept.filter(|_| !self.is_follower()) {
            let (file, size) = self.spare_files.swap_remove(kept);
            self.next = Next::Preparing { file, size };
            return self.start(Job::Prepare { file, size, zero: false });
        }
        if !matches!(self.no_space(), Some(last) if last == reason) {
            tracing::warn!(%reason, "no further log segment can be made: writes may be refused soon");
        }
        self.next = Next::Failed(reason.clone());
        // what was asked for may have been more than there is: the next one is an ordinary one again
        if self.wanted_size > 0 {
            self.refused_size = Some((self.wanted_size, reason));
            self.wanted_size = 0;
        }
    }

    /// Bounds the bytes of the log's files; more is as if the disk were full.
    pub fn set_max_bytes(&mut self, bytes: Option<u64>) {
        self.max_bytes = bytes;
    }

    /// Why a file of so many bytes may not be made, if so.
    fn reached_max(&self, more: u64) -> Option<String> {
        let max = self.max_bytes?;
        let segments: u64 = self.segments.iter().map(|segment| segment.size).sum();
        let leaving: u64 = self.leaving_files.iter().map(|(_, _, size)| size).sum();
        let next = match &self.next {
            Next::Preparing { size, .. } => *size,
            Next::Installing(next, _) | Next::Ready(next) => next.size,
            Next::Filling(ahead) => ahead.prepared.size,
            Next::Missing | Next::Failed(_) => 0,
        };
        let spare = self.spare_files.iter().map(|(_, size)| size).sum::<u64>();
        (segments + leaving + next + spare + more > max).then(|| "log-max-size is reached".to_owned())
    }

    /// Gives up the prepared segment: one of another size is needed.
    pub(crate) fn drop_next(&mut self) {
        if let Next::Ready(next) = std::mem::replace(&mut self.next, Next::Missing) {
            let edit = self.mark_dirty();
            self.leaving_files.push((edit, next.file_id, next.size));
            let memory = vec![Arc::clone(next.writer.memory())]; // unmapping it takes time
            self.discard(Job::Discard { files: Vec::new(), memory, cached: Vec::new() });
        }
        self.update_limits();
    }
}
