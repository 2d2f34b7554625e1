//! The first bytes of a segment file: for a reader without a manifest, and to name damage. The manifest
//! is the authority (S1).
//!
//! ```text
//!  0          8         12          16         24       32       40           48       60     64
//!  +----------+---------+-----------+----------+--------+--------+------------+--------+------+
//!  | EMBERSEG | version | partition | sequence |  base  | nonce  | created ms |   0    | crc  |
//!  +----------+---------+-----------+----------+--------+--------+------------+--------+------+
//! ```

use crate::address::{LogPosition, Nonce, PartitionId, SegmentSequence};

/// Bytes of a segment's header: where its first frame begins.
pub const SEGMENT_HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"EMBERSEG";

/// The format of segments and manifests that this build writes. It reads version 5 too, which had no strings in
/// chunks, version 4, in which no field of a hash expires, version 3, which had no streams, version 2, which had no collections, and version 1, which had one partition and no transactions.
pub const FORMAT_VERSION: u32 = 6;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose segment it is.
    pub partition: PartitionId,
    /// Its place in the log's order.
    pub sequence: SegmentSequence,
    /// The position of its first byte, this header's.
    pub base: LogPosition,
    /// The nonce of this filling.
    pub nonce: Nonce,
    /// When it was begun, in ms since 1970.
    pub created_ms: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut out = [0; SEGMENT_HEADER_BYTES as usize];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&u32::from(self.partition.0).to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.nonce.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header that `bytes` begin with, if it is whole and of a version that is known.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES as usize] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if &bytes[..8] != MAGIC || !(1..=FORMAT_VERSION).contains(&word(8)) || word(60) != crc32c::crc32c(&bytes[..60])
        {
            return None;
        }
        Some(Self {
            partition: PartitionId(u16::try_from(word(12)).ok()?),
            sequence: SegmentSequence(long(16)),
            base: LogPosition(long(24)),
            nonce: Nonce(long(32)),
            created_ms: long(40),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_damage_is_noticed() {
        let header = SegmentHeader {
            partition: PartitionId(3),
            sequence: SegmentSequence(9),
            base: LogPosition(1 << 40),
            nonce: Nonce(u64::MAX - 5),
            created_ms: 1_700_000_000_000,
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
