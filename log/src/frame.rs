//! Frames: what a batch of one turn is on disk (F1).
//!
//! ```text
//!  0        4        8                 16       20       24
//!  +--------+--------+-----------------+--------+--------+--------------------+-----+
//!  |  tag   | length |     durable     | records| crc32c |  records ...       | pad |
//!  +--------+--------+-----------------+--------+--------+--------------------+-----+
//! ```
//!
//! A frame begins at a multiple of 8 in its segment. `tag` is a part of the nonce of the segment's
//! filling and finds the frames; the crc begins with the whole nonce and the frame's offset, so that
//! neither has to be stored. The position follows from the segment's base. `durable` is the position
//! known durable when the frame was closed: it tells damage from a torn tail (F2).

use crate::address::{LogPosition, Nonce};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Where frames may begin.
pub const FRAME_ALIGN: u64 = 8;

/// The next place at or after `offset` where a frame may begin.
#[inline]
pub const fn frame_boundary(offset: u64) -> u64 {
    offset.next_multiple_of(FRAME_ALIGN)
}

impl Nonce {
    /// The four bytes by which the frames of a filling are found.
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A frame's header, as read from bytes that passed the crc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Bytes of records.
    pub length: u32,
    /// See the module.
    pub durable: LogPosition,
    /// How many records.
    pub records: u32,
}

impl FrameHeader {
    /// The offset after the records of a frame that begins at `offset`, before padding.
    pub const fn end(&self, offset: u64) -> u64 {
        offset + FRAME_HEADER_BYTES as u64 + self.length as u64
    }

    /// Writes the header of the frame that begins at `offset` of a segment filled under `nonce`.
    ///
    /// # Panics
    /// If `header` is not [`FRAME_HEADER_BYTES`] long or `body` not [`FrameHeader::length`].
    pub fn seal(&self, nonce: Nonce, offset: u64, header: &mut [u8], body: &[u8]) {
        assert!(offset.is_multiple_of(FRAME_ALIGN) && body.len() == self.length as usize);
        self.write(nonce, header);
        let crc = crc(nonce, offset, &header[..20], body);
        header[20..24].copy_from_slice(&crc.to_le_bytes());
    }

    /// All but the crc.
    fn write(&self, nonce: Nonce, header: &mut [u8]) {
        header[0..4].copy_from_slice(&nonce.tag().to_le_bytes());
        header[4..8].copy_from_slice(&self.length.to_le_bytes());
        header[8..16].copy_from_slice(&self.durable.0.to_le_bytes());
        header[16..20].copy_from_slice(&self.records.to_le_bytes());
    }

    /// The same for one record whose own crc is `record_crc`, and so is that of all its other bytes.
    pub(crate) fn seal_one(&self, nonce: Nonce, offset: u64, record_crc: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.write(nonce, &mut header);
        let begun = crc(nonce, offset, &header[..20], &record_crc.to_le_bytes());
        let crc = crc32c::crc32c_combine(begun, record_crc, self.length as usize - size_of::<u32>());
        header[20..24].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// The header at `offset` of bytes that were verified before.
    pub(crate) fn peek(bytes: &[u8], offset: u64) -> Option<Self> {
        let at = offset as usize;
        let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let durable = LogPosition(u64::from(word(8)) | u64::from(word(12)) << 32);
        Some(Self { length: word(4), durable, records: word(16) })
    }

    /// What [`FrameHeader::verify`] would be without its checks: planted bug F1.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn unchecked(nonce: Nonce, bytes: &[u8], offset: u64) -> Option<(Self, &[u8])> {
        let at = offset as usize;
        let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let body = bytes.get(at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + word(4) as usize)?;
        let header = Self { length: word(4), durable: LogPosition(u64::from(word(8))), records: word(16) };
        (word(0) == nonce.tag()).then_some((header, body))
    }

    /// The frame at `offset` of a segment's `bytes`, if one that was filled under `nonce` is there whole.
    pub fn verify(nonce: Nonce, bytes: &[u8], offset: u64) -> Option<(Self, &[u8])> {
        let at = usize::try_from(offset).ok()?;
        let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(0) != nonce.tag() {
            return None;
        }
        let length = word(4);
        let body = bytes.get(at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + length as usize)?;
        if crc(nonce, offset, &header[..20], body) != word(20) {
            return None;
        }
        let durable = u64::from(word(8)) | u64::from(word(12)) << 32;
        Some((Self { length, durable: LogPosition(durable), records: word(16) }, body))
    }
}

fn crc(nonce: Nonce, offset: u64, header: &[u8], body: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&nonce.0.to_le_bytes());
    seed[8..].copy_from_slice(&offset.to_le_bytes());
    let seeded = crc32c::crc32c_append(crc32c::crc32c(&seed), header);
    crc32c::crc32c_append(seeded, body)
}

/// The frames of `bytes` from `offset` on that are whole, wherever they begin: every boundary is tried (F2).
pub fn surviving_frames(nonce: Nonce, bytes: &[u8], offset: u64) -> impl Iterator<Item = (u64, FrameHeader)> {
    let mut at = frame_boundary(offset);
    std::iter::from_fn(move || {
        while at + FRAME_HEADER_BYTES as u64 <= bytes.len() as u64 {
            let found = FrameHeader::verify(nonce, bytes, at).map(|(header, _)| (at, header));
            at = found.map_or(at + FRAME_ALIGN, |(offset, header)| frame_boundary(header.end(offset)));
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: Nonce = Nonce(0x1234_5678_9abc_def0);

    fn framed(nonce: Nonce, offset: u64, body: &[u8]) -> Vec<u8> {
        let header = FrameHeader { length: body.len() as u32, durable: LogPosition(77), records: 1 };
        let mut out = vec![0; offset as usize + FRAME_HEADER_BYTES];
        header.seal(nonce, offset, &mut out[offset as usize..], body);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn a_frame_of_another_filling_or_place_does_not_exist() {
        let bytes = framed(NONCE, 64, b"records");
        assert!(FrameHeader::verify(NONCE, &bytes, 64).is_some());
        assert!(FrameHeader::verify(Nonce(NONCE.0 ^ 1), &bytes, 64).is_none(), "same tag, other nonce");
        let mut moved = vec![0; 72];
        moved.extend_from_slice(&bytes[64..]);
        assert!(FrameHeader::verify(NONCE, &moved, 72).is_none(), "same bytes, other offset");
    }

    #[test]
    fn frames_behind_a_bad_one_are_found() {
        let mut bytes = framed(NONCE, 64, b"first");
        let second = frame_boundary(bytes.len() as u64);
        bytes.extend_from_slice(&framed(NONCE, second, b"second")[bytes.len()..]);
        bytes[64 + 26] ^= 1;
        let found: Vec<_> = surviving_frames(NONCE, &bytes, 64).map(|(offset, _)| offset).collect();
        assert_eq!(found, [second]);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(body: Vec<u8>, bit: prop::sample::Index) {
            let mut bytes = framed(NONCE, 64, &body);
            let bit = bit.index((bytes.len() - 64) * 8);
            bytes[64 + bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FrameHeader::verify(NONCE, &bytes, 64).is_none());
        }
    }
}
