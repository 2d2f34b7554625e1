//! What a chunked string's own record says.
//!
//! ```text
//! | log2 of a chunk's size | length | chunks | id, 8 bytes le |        length and chunks are varints
//! ```

use std::ops::Range;

use super::CHUNK_SHIFT;
use crate::collections::{push_varint, take_varint};

/// The sizes that a root may speak of.
const SHIFTS: std::ops::RangeInclusive<u8> = 6..=24;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkRoot {
    shift: u8,
    /// Bytes of the string.
    pub len: u64,
    /// How many of its chunks are there: the others are zeros.
    pub chunks: u32,
    /// Its own, which nothing else ever had (O3).
    pub id: u64,
}

impl ChunkRoot {
    /// One without chunks.
    pub fn new(id: u64, len: u64) -> Self {
        Self { shift: CHUNK_SHIFT, len, chunks: 0, id }
    }

    /// Reads one. What no process of this kind has written is an empty string.
    pub fn read(bytes: &[u8]) -> Self {
        Self::take(bytes).unwrap_or(Self::new(0, 0))
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        let (&shift, mut rest) = bytes.split_first()?;
        let len = take_varint(&mut rest)?;
        let chunks = u32::try_from(take_varint(&mut rest)?).ok()?;
        let id = u64::from_le_bytes(rest.try_into().ok()?);
        let root = Self { shift, len, chunks, id };
        // a number has 31 bits: those of a tree's nodes are beyond
        let is_sound = SHIFTS.contains(&shift) && len >> shift < 1 << 31 && chunks <= root.numbers();
        is_sound.then_some(root)
    }

    pub fn write(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.push(self.shift);
        push_varint(&mut out, self.len);
        push_varint(&mut out, self.chunks.into());
        out.extend_from_slice(&self.id.to_le_bytes());
        out
    }

    /// Bytes of a chunk.
    pub fn size(self) -> usize {
        1 << self.shift
    }

    /// Chunks have numbers below this.
    pub fn numbers(self) -> u32 {
        u32::try_from(self.len.div_ceil(1 << self.shift)).unwrap_or(u32::MAX)
    }

    /// The chunk that a byte is in, and where in it.
    pub fn place(self, at: usize) -> (u32, usize) {
        ((at >> self.shift) as u32, at & (self.size() - 1))
    }

    /// The chunks that some bytes are in.
    pub fn span(self, bytes: &Range<usize>) -> Range<u32> {
        if bytes.is_empty() { 0..0 } else { self.place(bytes.start).0..self.place(bytes.end - 1).0 + 1 }
    }

    /// The bytes of a chunk, as far as the string goes.
    pub fn bytes_of(self, number: u32) -> Range<usize> {
        let start = (number as usize) << self.shift;
        start..(start + self.size()).min(self.len as usize)
    }

    /// All bytes.
    pub fn all(self) -> Range<usize> {
        0..self.len as usize
    }
}
