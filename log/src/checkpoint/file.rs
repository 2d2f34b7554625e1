//! The file: a header, the chunks of pages, and what is to be known of them, which is written last. See `docs/format.md`.

use std::io;

use bytes::Bytes;
use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::address::LogPosition;
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::header::SEGMENT_HEADER_BYTES;

const MAGIC: &[u8; 8] = b"EMBERCKP";
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 64;

/// Where the first chunk begins.
pub(crate) const FIRST_CHUNK: u64 = 4096;

/// The most that a start takes for the description of a checkpoint: a segment takes some 100 bytes of it.
const MAX_META_BYTES: u32 = 64 << 20;

/// What is to be known of a checkpoint.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub dataset: u64,
    pub partition: u16,
    pub generation: u64,
    pub segment_size: u64,
    /// P0: where replay begins, with what is of `undecided`.
    pub from: u64,
    /// P1: where the log was when the index was as it is here. From here on all is replayed.
    pub upto: u64,
    /// The life of the log that wrote the last record before P1: its term, its id.
    pub life: (u64, u64),
    /// The segments at P1.
    pub segments: Vec<SegmentMeta>,
    /// The index, in pieces that are checked as a whole.
    pub chunks: Vec<ChunkMeta>,
    /// The position below which nothing exists, for each database.
    pub floors: Vec<u64>,
    /// The `evicted` records before P1 about segments that were there at P1: of which, in which, and how many.
    pub evictions: Vec<(u64, u64, u64)>,
    /// Transactions whose part lies between P0 and P1, and that were not decided at P1: nothing here counts them.
    pub undecided: Vec<u64>,
    /// Tickets below were settled when it was published: what it stands for has nothing to say of others (X4).
    pub horizon: u64,
}

/// A segment at P1.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentMeta {
    pub sequence: u64,
    pub base: u64,
    pub slot: u32,
    pub live_bytes: u64,
    pub tombstone_bytes: u64,
    pub floors: u64,
    /// Whether its `freed` was appended.
    pub is_freed: bool,
    /// Of each database: keys, those that will expire, the sum of their times.
    pub tallies: Vec<(u64, u64, u128)>,
}

/// A piece of the file.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkMeta {
    pub offset: u64,
    pub len: u32,
    pub crc: u32,
}

/// Why a file is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is of format version {0}, this build reads {VERSION}")]
    Version(u32),
    #[error("its {0} is damaged")]
    Damaged(&'static str),
}

impl Meta {
    /// The end of the newest record before P1: a head may have none yet, and whose its header is says nothing.
    pub fn records_end(&self) -> LogPosition {
        let begins = |segment: &&SegmentMeta| {
            (segment.base..=segment.base.saturating_add(SEGMENT_HEADER_BYTES)).contains(&self.upto)
        };
        LogPosition(self.segments.iter().find(begins).map_or(self.upto, |segment| segment.base))
    }

    /// The bytes.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn encode(&self) -> io::Result<Bytes> {
        let bytes = rkyv::to_bytes::<rancor::Error>(self).map_err(io::Error::other)?;
        Ok(Bytes::from(bytes.into_vec()))
    }

    /// Reads the header and what it leads to.
    pub fn read<D: Disk>(disk: &D, file: &D::File) -> Result<Self, FileError> {
        let mut header = [0; HEADER_BYTES];
        if disk.read_at(file, 0, &mut header)? < HEADER_BYTES {
            return Err(FileError::Damaged("header"));
        }
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if &header[..8] != MAGIC || word(HEADER_BYTES - 4) != crc32c::crc32c(&header[..HEADER_BYTES - 4]) {
            return Err(FileError::Damaged("header"));
        }
        if word(8) != VERSION {
            return Err(FileError::Version(word(8)));
        }
        let (len, offset) = (word(12), u64::from(word(16)) | u64::from(word(20)) << 32);
        let size = disk.size(file)?;
        if len > MAX_META_BYTES || u64::from(len) > size {
            return Err(FileError::Damaged("header"));
        }
        let mut bytes = AlignedVec::<16>::new();
        bytes.resize(len as usize, 0);
        let read = disk.read_at(file, offset, &mut bytes)?;
        if read < bytes.len() || crc32c::crc32c(&bytes) != word(24) {
            return Err(FileError::Damaged("description"));
        }
        // what is in the archive is checked once more, as no checksum says that it was made by this code
        let meta = rkyv::from_bytes::<Self, rancor::Error>(&bytes).map_err(|_| FileError::Damaged("description"))?;
        // and that the file has what it says: a number alone must not become memory, or hours
        let bytes: u64 = meta.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        let lies_within = |chunk: &ChunkMeta| chunk.offset.checked_add(chunk.len.into()).is_some_and(|end| end <= size);
        if bytes > size
            || !meta.chunks.iter().all(lies_within)
            || !meta.segments.iter().all(|s| s.is_possible(meta.upto))
        {
            return Err(FileError::Damaged("description"));
        }
        Ok(meta)
    }
}

impl SegmentMeta {
    /// Whether there may be a segment of which so much is counted, in a log that ends at `upto`.
    fn is_possible(&self, upto: u64) -> bool {
        let bytes = u128::from(upto.saturating_sub(self.base));
        let keys: u128 = self.tallies.iter().map(|(keys, ..)| u128::from(*keys)).sum();
        let counted = u128::from(self.live_bytes) + u128::from(self.tombstone_bytes) + u128::from(self.floors);
        let fits = |&(keys, expires, sum): &(u64, u64, u128)| {
            expires <= keys && sum <= u128::from(expires) * u128::from(u64::MAX)
        };
        counted <= bytes && keys <= u128::from(self.live_bytes) && self.tallies.iter().all(fits)
    }
}

impl ChunkMeta {
    /// Reads the chunk into `bytes`, in place of what is there: new memory for each would take longer than the rest.
    pub fn read<D: Disk>(&self, disk: &D, file: &D::File, bytes: &mut Vec<u8>) -> Result<(), FileError> {
        bytes.resize(self.len as usize, 0);
        let read = disk.read_at(file, self.offset, bytes)?;
        if read < bytes.len() || crc32c::crc32c(bytes) != self.crc {
            return Err(FileError::Damaged("index"));
        }
        Ok(())
    }
}

fn header(meta: &[u8], offset: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(meta.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&offset.to_le_bytes());
    header[24..28].copy_from_slice(&crc32c::crc32c(meta).to_le_bytes());
    let crc = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// All that makes a checkpoint count whose chunks are written.
#[derive(Clone, Debug)]
pub struct Publication<F> {
    pub(crate) file: F,
    /// Its name so far.
    pub(crate) temporary: String,
    pub(crate) name: String,
    /// What describes it, to be written at `offset`.
    pub(crate) meta: Bytes,
    pub(crate) offset: u64,
    /// Older ones, of no use from now on.
    pub(crate) older: Vec<String>,
}

impl<F: Clone> Publication<F> {
    /// Describes, syncs, opens again, reads all of it, and only then gives it its name and removes older ones.
    ///
    /// # Errors
    /// Those of the disk, and if something else was read than was written.
    pub(crate) fn run<D: Disk<File = F>>(&self, disk: &D) -> io::Result<()> {
        disk.write_at(&self.file, self.offset, &self.meta)?;
        disk.write_at(&self.file, 0, &header(&self.meta, self.offset))?;
        disk.sync(&self.file)?;
        disk.forget_cached(&self.file, self.offset + self.meta.len() as u64);
        let again = disk.open(&self.temporary)?;
        let meta = Meta::read(disk, &again).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        for chunk in &meta.chunks {
            chunk.read(disk, &again, &mut bytes).map_err(io::Error::other)?;
        }
        // what was read stays cached for as long as the system likes: the next start needs it first
        failpoint::pass(Point::CheckpointDescribed);
        disk.rename(&self.temporary, &self.name)?;
        disk.sync_names()?;
        failpoint::pass(Point::CheckpointNamed);
        remove_files(disk, &self.older)?;
        failpoint::pass(Point::CheckpointDone);
        Ok(())
    }
}

/// Removes files; one that is not there is no error.
pub(crate) fn remove_files<D: Disk>(disk: &D, names: &[String]) -> io::Result<()> {
    for name in names {
        match disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
