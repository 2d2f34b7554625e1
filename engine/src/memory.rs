//! What memory a partition takes, and a key.

use emberkv_log::Value;
use emberkv_log::disk::Disk;

use crate::chunks::ChunkRoot;
use crate::collections::{Root, ends_of};
use crate::lookup::Found;
use crate::partition::Partition;

/// In bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Segments, with what is kept for the next ones and what freed ones still hold, and records that were read out of segments that
    /// are not in memory.
    pub segments: u64,
    /// The part of that which segments take that are on their way out.
    pub leaving: u64,
    /// The index, with those that a flush has replaced and that are not gone yet, and what is known of keys that have gone.
    pub index: u64,
    /// What expiry remembers.
    pub expiry: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.segments + self.index + self.expiry
    }
}

/// Bytes of index for a key.
pub const INDEX_BYTES: u64 = 9;

/// And of the timing wheel, for one that will expire.
pub const EXPIRY_BYTES: u64 = 4;

impl<D: Disk> Partition<D> {
    /// What memory it takes. Cheap enough to be asked once a turn.
    pub fn memory(&self) -> Memory {
        let dropped: usize = self.dropped.iter().map(emberkv_index::Index::memory_bytes).sum();
        let history = self.eviction.history.as_ref().map_or(0, |history| history.memory_bytes());
        Memory {
            segments: self.log.resident_bytes() + self.log.kept_bytes() + self.log.discarded_bytes(),
            leaving: self.log.leaving_bytes(),
            index: (self.index.memory_bytes() + dropped + history) as u64,
            expiry: self.wheel.memory_bytes() as u64,
        }
    }

    /// What a key takes: its record, and its shares of the index and the wheel.
    pub(crate) fn memory_of(&self, found: Found) -> u64 {
        let expiry = if found.expires_at_ms.is_some() { EXPIRY_BYTES } else { 0 };
        // what a leaf takes beside its elements: its record's front, its name, its share of the index
        let beside = 40 + INDEX_BYTES;
        let parts = match self.value(found) {
            // the ends of a list are in the record itself
            Value::Root(bytes) => {
                let root = Root::read(bytes);
                root.bytes.saturating_sub(ends_of(bytes)) + u64::from(root.leaves + root.tree.nodes) * beside
            }
            Value::Chunked(bytes) => {
                let root = ChunkRoot::read(bytes);
                let count = u64::from(root.chunks);
                root.len.min(count * root.size() as u64) + count * beside
            }
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Whole(_) => 0,
        };
        found.len as u64 + INDEX_BYTES + expiry + parts
    }
}
