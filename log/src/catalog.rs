//! The manifest of a data set that runs: the logs of its partitions share it. Each edits its own section; an edit
//! writes all of them, and there is one at a time (S1).

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::address::{FileId, PartitionId};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::horizon::Horizon;
use crate::job::replace_manifest;
use crate::manifest::{MANIFEST_NAMES, Manifest, Section, manifest_bytes};

/// See the module. `F` is the file handle of the disk.
#[derive(Debug)]
pub struct Catalog<F> {
    state: Mutex<State<F>>,
    idle: Condvar,
    horizon: Arc<Horizon>,
    last_file: AtomicU32,
}

#[derive(Debug)]
struct State<F> {
    /// What the newest edit says.
    manifest: Manifest,
    files: [F; 2],
    /// An edit is being written.
    is_writing: bool,
    /// A write or a sync of the copies has failed: nothing is known of what is in them, and no later sync can
    /// tell. The next edit writes new files.
    is_suspect: bool,
}

impl<F: Clone> Catalog<F> {
    /// `manifest` is what both files hold, `last_file` the highest file id that was ever given.
    pub(crate) fn new(manifest: Manifest, files: [F; 2], horizon: Arc<Horizon>, last_file: u32) -> Self {
        let state = State { manifest, files, is_writing: false, is_suspect: false };
        Self { state: Mutex::new(state), idle: Condvar::new(), horizon, last_file: AtomicU32::new(last_file) }
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        // a panic ends the process; no state is left half-changed here in any case
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tickets of transactions over several partitions.
    pub(crate) fn horizon(&self) -> &Arc<Horizon> {
        &self.horizon
    }

    /// How many logs there are.
    pub(crate) fn partitions(&self) -> usize {
        self.lock().manifest.sections.len()
    }

    /// The data set's name and its hash seed.
    pub(crate) fn facts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.manifest.dataset, state.manifest.hash_seed)
    }

    /// The edit of a start: all partitions at once, in place, blocking. An error ends the start.
    pub(crate) fn install<D: Disk<File = F>>(&self, disk: &D, sections: Vec<Section>) -> io::Result<()> {
        let mut state = self.lock();
        state.manifest.generation += 1;
        state.manifest.horizon = self.horizon.horizon();
        state.manifest.sections = sections;
        let bytes = state.manifest.encode();
        for file in &state.files {
            disk.write_at(file, 0, &bytes)?;
            disk.sync(file)?;
            failpoint::pass(Point::StartFirstCopy);
        }
        Ok(())
    }

    /// A number for a new segment file.
    pub(crate) fn new_file(&self) -> FileId {
        FileId(self.last_file.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether one more segment fits into the manifest. `section` is what this partition will say next.
    pub(crate) fn has_room(&self, partition: PartitionId, section: Section) -> bool {
        let mut manifest = self.lock().manifest.clone();
        manifest.sections[usize::from(partition.0)] = section;
        manifest.has_room()
    }
}

/// An edit of the manifest by one partition, to be carried out by [`ManifestEdit::run`], or asynchronously: by
/// [`ManifestEdit::begin`], a write and a sync of the first copy, then of the second, and [`ManifestTurn::finish`].
#[derive(Debug)]
pub struct ManifestEdit<F> {
    pub(crate) catalog: Arc<Catalog<F>>,
    pub(crate) partition: PartitionId,
    pub(crate) section: Section,
}

impl<F> Clone for ManifestEdit<F> {
    fn clone(&self) -> Self {
        Self { catalog: Arc::clone(&self.catalog), partition: self.partition, section: self.section.clone() }
    }
}

impl<F: Clone> ManifestEdit<F> {
    /// Takes the turn to write; `None` while another edit is written: to be asked again when that has ended.
    pub fn begin(&self) -> Option<ManifestTurn<F>> {
        self.begin_locked(self.catalog.lock())
    }

    fn begin_locked(&self, mut state: MutexGuard<'_, State<F>>) -> Option<ManifestTurn<F>> {
        if state.is_writing {
            return None;
        }
        state.is_writing = true;
        state.manifest.generation += 1;
        state.manifest.horizon = self.catalog.horizon.horizon();
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::X4) {
            state.manifest.horizon = crate::TxId(0);
        }
        state.manifest.sections[usize::from(self.partition.0)] = self.section.clone();
        Some(ManifestTurn {
            catalog: Arc::clone(&self.catalog),
            bytes: Bytes::from(state.manifest.encode()),
            files: state.files.clone(),
            size: manifest_bytes(state.manifest.sections.len()),
            is_suspect: state.is_suspect,
            is_done: false,
        })
    }

    /// Carries the edit out, blocking: both copies in place, each synced before the next is begun; if that fails, once more,
    /// as new files.
    ///
    /// # Errors
    /// Those of the disk, of the second attempt.
    pub fn run<D: Disk<File = F>>(&self, disk: &D) -> io::Result<()> {
        let turn = {
            let is_writing = |state: &mut State<F>| state.is_writing;
            let state = self.catalog.idle.wait_while(self.catalog.lock(), is_writing);
            self.begin_locked(state.unwrap_or_else(PoisonError::into_inner))
        };
        let Some(turn) = turn else { unreachable!("it was waited for") };
        let in_place = || {
            turn.files.iter().enumerate().try_for_each(|(i, file)| {
                failpoint::pass(if i == 0 { Point::ManifestBegin } else { Point::ManifestFirstCopy });
                disk.write_at(file, 0, &turn.bytes).and_then(|()| disk.sync(file))
            })
        };
        if turn.is_suspect {
            return turn.write_anew(disk);
        }
        match in_place() {
            Ok(()) => {
                failpoint::pass(Point::ManifestDone);
                turn.finish();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "writing the manifest failed: writing it anew, once");
                turn.write_anew(disk)
            }
        }
    }
}

/// The turn to write the manifest. When it is dropped unfinished the copies count as damaged, and the next edit
/// makes new ones.
#[derive(Debug)]
pub struct ManifestTurn<F> {
    catalog: Arc<Catalog<F>>,
    bytes: Bytes,
    files: [F; 2],
    size: u64,
    is_suspect: bool,
    is_done: bool,
}

impl<F> ManifestTurn<F> {
    /// What to write at the beginning of each copy; `None` if they must not be written in place any more:
    /// [`ManifestTurn::write_anew`] is what is left.
    pub fn in_place(&self) -> Option<(&[F; 2], &Bytes)> {
        (!self.is_suspect).then_some((&self.files, &self.bytes))
    }

    /// Both copies are written and synced, the first one before the second was begun.
    pub fn finish(mut self) {
        self.is_done = true;
    }

    /// Writes both copies as new files that take the others' names, blocking: after an error, or where there is no other
    /// way.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write_anew<D: Disk<File = F>>(mut self, disk: &D) -> io::Result<()> {
        for (file, name) in self.files.iter_mut().zip(MANIFEST_NAMES) {
            *file = replace_manifest(disk, name, &self.bytes, self.size)?;
        }
        self.is_done = true;
        Ok(())
    }
}

impl<F> Drop for ManifestTurn<F> {
    fn drop(&mut self) {
        let mut state = self.catalog.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_done {
            std::mem::swap(&mut state.files, &mut self.files);
        }
        state.is_suspect = !self.is_done;
        state.is_writing = false;
        drop(state);
        self.catalog.idle.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{AddressSplit, LogPosition};
    use crate::disk::sim::{SimDisk, SimFile};
    use crate::horizon::TxId;

    fn catalog(disk: &SimDisk) -> Arc<Catalog<SimFile>> {
        let split = AddressSplit::for_segment_size(1 << 16).unwrap();
        let sections = vec![Section::new(), Section::new()];
        let manifest = Manifest { generation: 1, dataset: 2, hash_seed: 3, split, horizon: TxId(1), sections };
        let files = MANIFEST_NAMES.map(|name| replace_manifest(disk, name, &manifest.encode(), 1 << 16).unwrap());
        Arc::new(Catalog::new(manifest, files, Arc::new(Horizon::new(TxId(1), 2)), 0))
    }

    fn edit(catalog: &Arc<Catalog<SimFile>>, partition: u16, durable: u64) -> ManifestEdit<SimFile> {
        let section = Section { durable: LogPosition(durable), ..Section::new() };
        ManifestEdit { catalog: Arc::clone(catalog), partition: PartitionId(partition), section }
    }

    /// What a start would find: generation, and how far each partition is known durable.
    fn found(disk: &SimDisk) -> (u64, Vec<u64>) {
        let [a, b] = MANIFEST_NAMES.map(|name| Manifest::decode(&disk.contents(name)).unwrap());
        assert_eq!(a, b);
        (a.generation, a.sections.iter().map(|section| section.durable.0).collect())
    }

    #[test]
    fn an_edit_keeps_what_the_other_partitions_said() {
        let disk = SimDisk::new();
        let catalog = catalog(&disk);
        edit(&catalog, 0, 10).run(&disk).unwrap();
        edit(&catalog, 1, 20).run(&disk).unwrap();
        assert_eq!(found(&disk), (3, vec![10, 20]));
    }

    #[test]
    fn there_is_one_edit_at_a_time() {
        let disk = SimDisk::new();
        let catalog = catalog(&disk);
        let turn = edit(&catalog, 0, 10).begin().unwrap();
        assert!(edit(&catalog, 1, 20).begin().is_none());
        let (files, bytes) = turn.in_place().unwrap();
        files.iter().for_each(|file| disk.write_at(file, 0, bytes).unwrap());
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(|| edit(&catalog, 1, 20).run(&disk));
            turn.finish();
            other.join()
        });
        assert!(other.is_ok_and(|result| result.is_ok()), "it has waited");
        assert_eq!(found(&disk), (3, vec![10, 20]));
    }

    #[test]
    fn after_a_failed_edit_the_copies_are_not_written_in_place() {
        let disk = SimDisk::new();
        let catalog = catalog(&disk);
        disk.fail_syncs(2);
        assert!(edit(&catalog, 0, 10).run(&disk).is_err());
        let turn = edit(&catalog, 1, 20).begin().unwrap();
        assert!(turn.in_place().is_none());
        turn.write_anew(&disk).unwrap();
        assert_eq!(found(&disk), (3, vec![10, 20]));
        assert!(edit(&catalog, 1, 30).begin().unwrap().in_place().is_some(), "new files are as good as ever");
    }
}
