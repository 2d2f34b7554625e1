//! What a running log asks the outside to do. At most one job of each [`JobKind`] is under way; its end
//! is reported by [`crate::Log::complete`].

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Address, FileId, Nonce};
use crate::catalog::ManifestEdit;
use crate::checkpoint::{Publication, is_temporary, remove_files};
use crate::cold::Brought;
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::memory::SegmentMemory;
use crate::recover::NEW_CUT_OFF;
use crate::refill::{Source, renonced, write_anew};
use crate::residency::Load;

/// Where a synced write of the tail begins, in bytes: what a disk takes without the page cache.
pub const WRITE_BLOCK: u64 = 4096;

/// Names a job: there is never a second one of its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JobKind {
    /// A write of the tail that nobody waits for inline.
    Write,
    /// A write of what becomes the tail later.
    Fill,
    /// A sync of all that was written.
    Sync,
    /// A new segment file.
    Prepare,
    /// An edit of the manifest.
    Manifest,
    /// The unsynced bytes into fresh files, after a failed write or sync (law 8).
    Refill,
    /// Memory ahead of the tail.
    Prefault,
    /// A step of a checkpoint.
    Checkpoint,
    /// A segment into memory.
    Load,
    /// A record of a segment that is not in memory, at this address.
    Read(Address),
    /// Things that are of no use any more.
    Discard,
}

/// A segment that is written anew.
#[derive(Clone, Debug)]
pub struct RefillPiece {
    /// The fresh file.
    pub file: FileId,
    /// Its size.
    pub size: u64,
    /// The nonce of the new filling.
    pub nonce: Nonce,
    /// The segment's memory and nonces.
    pub source: Source,
}

/// A job. `F` is the file handle of the disk.
#[derive(Clone, Debug)]
pub enum Job<F> {
    /// Write `data` at `offset`, durably if `sync`: that, and nothing else of the file. Such a write begins at a multiple of
    /// [`WRITE_BLOCK`] where it can, repeating what is there, so that it may go past the page cache.
    Write {
        /// The file.
        file: F,
        /// Where.
        offset: u64,
        /// What.
        data: Bytes,
        /// Whether to sync.
        sync: bool,
    },
    /// Write `data` at `offset` of a file that is not yet part of the log, then sync the whole file if `sync`.
    Fill {
        /// The file.
        file: F,
        /// Where.
        offset: u64,
        /// What.
        data: Bytes,
        /// Whether to sync.
        sync: bool,
    },
    /// Sync all these files.
    Sync {
        /// The files.
        files: Vec<F>,
    },
    /// Create the file with its blocks allocated, zeroed if `zero` (so that a later sync of its parts
    /// commits no metadata), synced, its name too.
    Prepare {
        /// The file.
        file: FileId,
        /// Bytes.
        size: u64,
        /// Whether the blocks are to be written once.
        zero: bool,
    },
    /// Edit the manifest, which the logs of all partitions share.
    Manifest(ManifestEdit<F>),
    /// Write segments anew.
    Refill {
        /// Which.
        pieces: Vec<RefillPiece>,
    },
    /// Touch memory.
    Prefault {
        /// Of which segment.
        memory: Arc<SegmentMemory>,
        /// Which part.
        range: Range<u64>,
    },
    /// A step of a checkpoint.
    Checkpoint(CheckpointJob<F>),
    /// Read a segment into memory.
    Load(Load<F>),
    /// Read what begins at `offset`, where a record does, as far as it goes.
    Read {
        /// The record's address.
        address: Address,
        /// The file.
        file: F,
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Let go.
    Discard {
        /// Files to remove; one that is not there is no error.
        files: Vec<FileId>,
        /// Memory to unmap.
        memory: Vec<Arc<SegmentMemory>>,
        /// Files whose cached pages are of no more use, and how many bytes.
        cached: Vec<(F, u64)>,
    },
}

/// What becomes of a checkpoint's file.
#[derive(Clone, Debug)]
pub enum CheckpointJob<F> {
    /// Create it, of about so many bytes, in place of one that was left.
    Create {
        /// Its name for now.
        name: String,
        /// Bytes.
        size: u64,
    },
    /// Write a chunk.
    Write {
        /// The file.
        file: F,
        /// Where.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// Make it count.
    Publish(Publication<F>),
    /// Remove what was abandoned.
    Remove {
        /// The files.
        names: Vec<String>,
    },
}

/// What a job has brought.
#[derive(Debug)]
pub enum Done<F> {
    /// Nothing but that it is done.
    Nothing,
    /// The new files, in the order in which they were asked for.
    Files(Vec<F>),
    /// A segment's memory.
    Memory(Arc<SegmentMemory>),
    /// What was read of a record.
    Brought(Brought),
}

/// The name of a segment file.
pub fn segment_name(file: FileId) -> String {
    format!("{:08}.seg", file.0)
}

/// The file of this name, if it is a segment's.
pub fn segment_file(name: &str) -> Option<FileId> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() >= 8).then(|| digits.parse().ok().map(FileId))?
}

const NEW_MANIFEST: &str = "MANIFEST.new";

/// Whether a file of this name is one that an interrupted job has left.
pub(crate) fn is_leftover(name: &str) -> bool {
    name == NEW_MANIFEST || name == NEW_CUT_OFF || is_temporary(name)
}

/// Creates a segment file that may be named in the manifest afterwards (S2).
///
/// # Errors
/// Those of the disk.
pub(crate) fn create_segment<D: Disk>(disk: &D, file: FileId, size: u64, zero: bool) -> io::Result<D::File> {
    const CHUNK: usize = 1 << 20;
    let handle = disk.create(&segment_name(file), size)?;
    failpoint::pass(Point::PrepareCreated);
    if zero {
        let zeros = vec![0; CHUNK];
        let mut at = 0;
        while at < size {
            let len = (size - at).min(CHUNK as u64);
            disk.write_at(&handle, at, &zeros[..len as usize])?;
            at += len;
        }
    }
    disk.sync(&handle)?;
    disk.sync_names()?;
    failpoint::pass(Point::PrepareDone);
    Ok(handle)
}

/// Puts a whole new file in place of a manifest copy, or where none was.
///
/// # Errors
/// Those of the disk.
pub(crate) fn replace_manifest<D: Disk>(disk: &D, name: &str, bytes: &[u8], size: u64) -> io::Result<D::File> {
    let file = disk.create(NEW_MANIFEST, size)?;
    disk.write_at(&file, 0, bytes)?;
    disk.sync(&file)?;
    failpoint::pass(Point::ManifestAnew);
    disk.rename(NEW_MANIFEST, name)?;
    disk.sync_names()?;
    Ok(file)
}

impl<F: Clone> Job<F> {
    /// Which kind it is.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Write { .. } => JobKind::Write,
            Self::Fill { .. } => JobKind::Fill,
            Self::Sync { .. } => JobKind::Sync,
            Self::Prepare { .. } => JobKind::Prepare,
            Self::Manifest(_) => JobKind::Manifest,
            Self::Refill { .. } => JobKind::Refill,
            Self::Prefault { .. } => JobKind::Prefault,
            Self::Checkpoint(_) => JobKind::Checkpoint,
            Self::Load(_) => JobKind::Load,
            Self::Read { address, .. } => JobKind::Read(*address),
            Self::Discard { .. } => JobKind::Discard,
        }
    }

    /// Carries the job out, blocking.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn run<D: Disk<File = F>>(&self, disk: &D) -> io::Result<Done<F>> {
        match self {
            Self::Write { file, offset, data, sync: true } => disk.write_synced(file, *offset, data)?,
            Self::Write { file, offset, data, sync: false } => disk.write_at(file, *offset, data)?,
            Self::Fill { file, offset, data, sync } => {
                disk.write_at(file, *offset, data)?;
                if *sync {
                    disk.sync(file)?;
                }
            }
            Self::Sync { files } => {
                failpoint::pass(Point::SyncBegin);
                for file in files {
                    disk.sync(file)?;
                    failpoint::pass(Point::SyncNext);
                }
            }
            Self::Prepare { file, size, zero } => {
                return Ok(Done::Files(vec![create_segment(disk, *file, *size, *zero)?]));
            }
            Self::Manifest(edit) => edit.run(disk)?,
            Self::Refill { pieces } => {
                let mut files = Vec::new();
                for piece in pieces {
                    let bytes = renonced(&piece.source, piece.nonce)?;
                    files.push(write_anew(disk, piece.file, piece.size, &bytes)?);
                }
                return Ok(Done::Files(files));
            }
            Self::Prefault { memory, range } => memory.prefault(range.clone()),
            Self::Checkpoint(CheckpointJob::Create { name, size }) => {
                remove_files(disk, std::slice::from_ref(name))?;
                let file = disk.create(name, *size)?;
                failpoint::pass(Point::CheckpointCreated);
                return Ok(Done::Files(vec![file]));
            }
            Self::Checkpoint(CheckpointJob::Write { file, offset, data }) => {
                disk.write_at(file, *offset, data)?;
                failpoint::pass(Point::CheckpointChunk);
            }
            Self::Checkpoint(CheckpointJob::Publish(publication)) => publication.run(disk)?,
            Self::Checkpoint(CheckpointJob::Remove { names }) => remove_files(disk, names)?,
            Self::Load(load) => {
                failpoint::pass(Point::LoadBegin);
                return Ok(Done::Memory(load.run(disk)?));
            }
            Self::Read { address: _, file, offset, len } => {
                let mut bytes = vec![0; *len as usize];
                let read = disk.read_at(file, *offset, &mut bytes)?;
                bytes.truncate(read);
                return Ok(Done::Brought(Brought::of(bytes)));
            }
            Self::Discard { files, memory: _, cached } => {
                for file in files {
                    failpoint::pass(Point::DiscardBegin);
                    match disk.remove(&segment_name(*file)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    failpoint::pass(Point::DiscardDone);
                }
                for (file, bytes) in cached {
                    disk.forget_cached(file, *bytes);
                }
            }
        }
        Ok(Done::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_read_back() {
        assert_eq!(segment_name(FileId(17)), "00000017.seg");
        assert_eq!(segment_file("00000017.seg"), Some(FileId(17)));
        assert_eq!(segment_file(&segment_name(FileId(u32::MAX))), Some(FileId(u32::MAX)));
        assert_eq!(segment_file("LOCK"), None);
        assert_eq!(segment_file("17.seg"), None);
    }
}
