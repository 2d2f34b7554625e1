//! Refill: a segment's valid bytes into a fresh file under a new nonce (F3). What is named by the old
//! nonce exists no more once the manifest names the new one, whatever the old file turns out to hold.

use std::io;
use std::sync::Arc;

use crate::address::{FileId, Nonce};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::memory::SegmentMemory;

/// Where the bytes come from: closed frames in memory. Each was sealed under one of these nonces, the
/// first from offset 0 on, each next one from its offset on (a segment that was refilled while it was
/// written has several in memory, though never in a file).
#[derive(Clone, Debug)]
pub struct Source {
    /// The memory.
    pub memory: Arc<SegmentMemory>,
    /// How many bytes of it.
    pub end: u64,
    /// (offset, nonce), ascending.
    pub fillings: Vec<(u64, Nonce)>,
    /// The header that the file begins with; its nonce is replaced.
    pub header: SegmentHeader,
}

/// The bytes of a segment as they are under another nonce.
///
/// # Errors
/// If the memory does not hold the frames that it should: memory is damaged.
pub(crate) fn renonced(source: &Source, nonce: Nonce) -> io::Result<Vec<u8>> {
    let old = source.memory.closed_bytes(0..source.end);
    let mut new = old.to_vec();
    let header = SegmentHeader { nonce, ..source.header };
    new[..SEGMENT_HEADER_BYTES as usize].copy_from_slice(&header.encode());
    let mut at = SEGMENT_HEADER_BYTES;
    while at < source.end {
        let filled_under = source.fillings.iter().rev().find(|(from, _)| *from <= at);
        let frame = filled_under.and_then(|(_, nonce)| FrameHeader::verify(*nonce, old, at));
        let (header, body) = frame.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no frame at offset {at} of a segment in memory"))
        })?;
        let start = at as usize;
        header.seal(nonce, at, &mut new[start..start + FRAME_HEADER_BYTES], body);
        at = frame_boundary(header.end(at));
    }
    Ok(new)
}

/// Writes a segment's bytes into a fresh file, synced, its name too.
///
/// # Errors
/// Those of the disk.
pub(crate) fn write_anew<D: Disk>(disk: &D, file: FileId, size: u64, bytes: &[u8]) -> io::Result<D::File> {
    failpoint::pass(Point::RefillBegin);
    let handle = disk.create(&crate::job::segment_name(file), size)?;
    disk.write_at(&handle, 0, bytes)?;
    disk.sync(&handle)?;
    disk.sync_names()?;
    failpoint::pass(Point::RefillDone);
    Ok(handle)
}
