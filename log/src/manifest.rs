//! The manifest: which segments a data set consists of. It is the authority (S1); two fixed copies, each
//! complete, each with its generation and crc. What the bytes are: `docs/format.md`.

use std::collections::BTreeSet;

use crate::address::{AddressSplit, FileId, LogPosition, Nonce, SegmentSequence, SegmentSlot};
use crate::header::FORMAT_VERSION;
use crate::horizon::TxId;

const MAGIC: &[u8; 8] = b"EMBERMAN";
const FIXED_BYTES: usize = 64;
const SECTION_BYTES: usize = 24;
const INCARNATION_BYTES: usize = 24;
const SEGMENT_BYTES: usize = 56;
const UNKNOWN: u64 = u64::MAX;
/// No segment is smaller.
pub(crate) const LEAST_SEGMENT: u64 = 1 << 16;
/// No log becomes so long: what is added to a position below does not overflow.
const MAX_POSITION: u64 = 1 << 62;

/// The most partitions that a data set may have.
pub const MAX_PARTITIONS: u16 = 1024;

/// The most bytes that a manifest copy can take; its file is allocated whole, so that a full disk does
/// not keep it from being rewritten. 4 MiB are some 74,000 segments.
pub const fn manifest_bytes(partitions: usize) -> u64 {
    (256 << 10) * if partitions < 16 { partitions as u64 } else { 16 }
}

/// The two copies, in the order in which they are written.
pub const MANIFEST_NAMES: [&str; 2] = ["MANIFEST.A", "MANIFEST.B"];

/// A stretch of the log written by one life of one node (F6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// Greatest seen, plus one.
    pub term: u64,
    /// Random.
    pub id: u64,
    /// Where it begins.
    pub start: LogPosition,
}

/// What the manifest knows of where a segment lies in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Prepared: its base will be the end of the segment before it.
    Prepared,
    /// It may be written to; where it ends is for recovery to find.
    Open {
        /// The position of its first byte.
        base: LogPosition,
    },
    /// Sealed, and synced as a whole before this was written.
    Sealed {
        /// The position of its first byte.
        base: LogPosition,
        /// The position after its last frame.
        end: LogPosition,
        /// How many records it holds: compared with what a start finds.
        records: u64,
    },
}

impl Extent {
    /// The base, where it is known.
    pub const fn base(self) -> Option<LogPosition> {
        match self {
            Self::Prepared => None,
            Self::Open { base } | Self::Sealed { base, .. } => Some(base),
        }
    }
}

/// One segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentEntry {
    /// Its place in the log's order.
    pub sequence: SegmentSequence,
    /// Its first (mostly only) slot in addresses.
    pub slot: SegmentSlot,
    /// The file that holds it.
    pub file: FileId,
    /// Bytes of the file.
    pub size: u64,
    /// The nonce of the file's filling.
    pub nonce: Nonce,
    /// Where it lies.
    pub extent: Extent,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Counts the edits.
    pub generation: u64,
    /// Random, given at creation.
    pub dataset: u64,
    /// The secret seed of the key hash.
    pub hash_seed: u64,
    /// How addresses are divided.
    pub split: AddressSplit,
    /// Transactions below were settled when this was written (X4).
    pub horizon: TxId,
    /// One for each partition.
    pub sections: Vec<Section>,
}

/// What the manifest says of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// A position known durable when this was written.
    pub durable: LogPosition,
    /// The next segment's sequence number.
    pub next_sequence: SegmentSequence,
    /// The lives of the log, oldest first.
    pub incarnations: Vec<Incarnation>,
    /// The segments in order of sequence.
    pub segments: Vec<SegmentEntry>,
}

impl Section {
    /// That of a partition which is created.
    pub fn new() -> Self {
        Self {
            durable: LogPosition(0),
            next_sequence: SegmentSequence(1),
            incarnations: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        SECTION_BYTES + self.incarnations.len() * INCARNATION_BYTES + self.segments.len() * SEGMENT_BYTES
    }
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not what was written.
    #[error("it is damaged (magic, length or checksum)")]
    Damaged,
    /// A later version of the format.
    #[error("its format version is {0}, this build reads up to {FORMAT_VERSION}: use a newer emberkv")]
    Newer(u32),
}

impl Manifest {
    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        FIXED_BYTES + self.sections.iter().map(Section::bytes).sum::<usize>() + 4
    }

    /// The manifest's bytes.
    ///
    /// # Panics
    /// If there are more segments than [`manifest_bytes`] hold; [`Manifest::has_room`] tells before.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.bytes() as u32).to_le_bytes());
        for long in [self.generation, self.dataset, self.hash_seed, self.split.segment_size(), self.horizon.0] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        out.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        debug_assert_eq!(out.len(), FIXED_BYTES);
        for section in &self.sections {
            section.encode(&mut out);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        assert!(out.len() as u64 <= manifest_bytes(self.sections.len()), "the manifest has outgrown its file");
        out
    }

    /// Whether one more segment fits, in every partition, and another incarnation of each.
    pub fn has_room(&self) -> bool {
        let more = self.sections.len() * (SEGMENT_BYTES + INCARNATION_BYTES);
        (self.bytes() + more) as u64 <= manifest_bytes(self.sections.len())
    }

    /// The manifest in `bytes`, which may be longer.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let version = Fields { bytes, at: 8 }.word().filter(|_| bytes.starts_with(MAGIC));
        let version = version.ok_or(ManifestError::Damaged)?;
        if version > FORMAT_VERSION {
            return Err(ManifestError::Newer(version));
        }
        Self::decode_fields(bytes, version).ok_or(ManifestError::Damaged)
    }

    fn decode_fields(bytes: &[u8], version: u32) -> Option<Self> {
        let len = Fields { bytes, at: 12 }.word()? as usize;
        let body = bytes.get(..len.checked_sub(4)?)?;
        let crc = Fields { bytes, at: len - 4 }.word()?;
        if crc != crc32c::crc32c(body) {
            return None;
        }
        let mut fields = Fields { bytes: body, at: 16 };
        let (generation, dataset, hash_seed) = (fields.long()?, fields.long()?, fields.long()?);
        let split = AddressSplit::for_segment_size(fields.long()?)?;
        let (horizon, sections) = match version {
            1 => (TxId(0), vec![Section::decode_v1(&mut fields)?]),
            // a later one has more kinds of records, or of values
            2..=FORMAT_VERSION => {
                let horizon = TxId(fields.long()?);
                let partitions = fields.word()?;
                fields.word()?;
                if partitions == 0 || partitions > u32::from(MAX_PARTITIONS) {
                    return None;
                }
                let sections: Option<Vec<_>> = (0..partitions).map(|_| Section::decode(&mut fields)).collect();
                (horizon, sections?)
            }
            _ => return None,
        };
        let manifest = Self { generation, dataset, hash_seed, split, horizon, sections };
        (fields.at == body.len() && manifest.is_possible()).then_some(manifest)
    }
}

impl Manifest {
    /// Whether a log can have come to this: each segment within the addresses and the positions that there are, none in another's
    /// place, each file named once. What is built on it relies on that.
    fn is_possible(&self) -> bool {
        let mut files = BTreeSet::new();
        self.generation < UNKNOWN && self.sections.iter().all(|section| section.is_possible(self.split, &mut files))
    }
}

impl Section {
    fn is_possible(&self, split: AddressSplit, files: &mut BTreeSet<FileId>) -> bool {
        let slots_of = |segment: &SegmentEntry| {
            let first = u64::from(segment.slot.0);
            (first, first.saturating_add(segment.size.div_ceil(split.segment_size())))
        };
        let mut slots: Vec<_> = self.segments.iter().map(slots_of).collect();
        slots.sort_unstable();
        let none_shared = slots.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        let mut reached = LogPosition(0);
        let in_order = self.segments.iter().all(|segment| {
            let begins = segment.extent.base().is_none_or(|base| base >= reached);
            if let Extent::Sealed { end, .. } = segment.extent {
                reached = end;
            }
            begins
        });
        let lies = |extent, size| match extent {
            Extent::Prepared => true,
            Extent::Open { base } => base.0 < MAX_POSITION,
            Extent::Sealed { base, end, .. } => base.0 < MAX_POSITION && end.0 - base.0 <= size,
        };
        let segments = self.segments.iter().all(|segment| {
            let (first, end) = slots_of(segment);
            segment.size >= LEAST_SEGMENT
                && segment.size.is_multiple_of(4096)
                && first < end
                && end <= split.slots().into()
                && lies(segment.extent, segment.size)
                && files.insert(segment.file)
        });
        let counts = self.next_sequence.0 < MAX_POSITION && self.durable.0 < MAX_POSITION;
        let terms = self.incarnations.iter().all(|life| life.term < UNKNOWN && life.start.0 < MAX_POSITION);
        none_shared && in_order && segments && counts && terms
    }
}

impl Section {
    fn encode(&self, out: &mut Vec<u8>) {
        for long in [self.durable.0, self.next_sequence.0] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        for count in [self.incarnations.len(), self.segments.len()] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for incarnation in &self.incarnations {
            for long in [incarnation.term, incarnation.id, incarnation.start.0] {
                out.extend_from_slice(&long.to_le_bytes());
            }
        }
        for segment in &self.segments {
            let (base, end, records) = match segment.extent {
                Extent::Prepared => (UNKNOWN, UNKNOWN, 0),
                Extent::Open { base } => (base.0, UNKNOWN, 0),
                Extent::Sealed { base, end, records } => (base.0, end.0, records),
            };
            out.extend_from_slice(&segment.sequence.0.to_le_bytes());
            out.extend_from_slice(&segment.slot.0.to_le_bytes());
            out.extend_from_slice(&segment.file.0.to_le_bytes());
            for long in [segment.size, segment.nonce.0, base, end, records] {
                out.extend_from_slice(&long.to_le_bytes());
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let (durable, next_sequence) = (LogPosition(fields.long()?), SegmentSequence(fields.long()?));
        let (incarnations, segments) = (fields.word()?, fields.word()?);
        Self::decode_lists(fields, durable, next_sequence, incarnations, segments)
    }

    /// The rest of a manifest of version 1: the same fields, with the number of partitions among them.
    fn decode_v1(fields: &mut Fields<'_>) -> Option<Self> {
        let (durable, next_sequence) = (LogPosition(fields.long()?), SegmentSequence(fields.long()?));
        let (partitions, incarnations, segments) = (fields.word()?, fields.word()?, fields.word()?);
        fields.word()?;
        if partitions != 1 {
            return None;
        }
        Self::decode_lists(fields, durable, next_sequence, incarnations, segments)
    }

    fn decode_lists(
        fields: &mut Fields<'_>,
        durable: LogPosition,
        next_sequence: SegmentSequence,
        incarnation_count: u32,
        segment_count: u32,
    ) -> Option<Self> {
        let mut incarnations = Vec::new();
        for _ in 0..incarnation_count {
            incarnations.push(Incarnation {
                term: fields.long()?,
                id: fields.long()?,
                start: LogPosition(fields.long()?),
            });
        }
        let mut segments: Vec<SegmentEntry> = Vec::new();
        for _ in 0..segment_count {
            let sequence = SegmentSequence(fields.long()?);
            let (slot, file) = (SegmentSlot(fields.word()?), FileId(fields.word()?));
            let (size, nonce) = (fields.long()?, Nonce(fields.long()?));
            let extent = match (fields.long()?, fields.long()?, fields.long()?) {
                (UNKNOWN, UNKNOWN, 0) => Extent::Prepared,
                (base, UNKNOWN, 0) => Extent::Open { base: LogPosition(base) },
                (base, end, records) if base < end => {
                    Extent::Sealed { base: LogPosition(base), end: LogPosition(end), records }
                }
                _ => return None,
            };
            if segments.last().is_some_and(|last| last.sequence >= sequence) || sequence >= next_sequence {
                return None;
            }
            segments.push(SegmentEntry { sequence, slot, file, size, nonce, extent });
        }
        Some(Self { durable, next_sequence, incarnations, segments })
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn word(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from(self.word()?) | u64::from(self.word()?) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let entry = |sequence: u64, extent| SegmentEntry {
            sequence: SegmentSequence(sequence),
            slot: SegmentSlot(sequence as u32),
            file: FileId(40 + sequence as u32),
            size: 64 << 20,
            nonce: Nonce(sequence * 977),
            extent,
        };
        let section = Section {
            durable: LogPosition(300),
            next_sequence: SegmentSequence(10),
            incarnations: vec![Incarnation { term: 1, id: 99, start: LogPosition(0) }],
            segments: vec![
                entry(3, Extent::Sealed { base: LogPosition(0), end: LogPosition(200), records: 7 }),
                entry(4, Extent::Open { base: LogPosition(200) }),
                entry(9, Extent::Prepared),
            ],
        };
        Manifest {
            generation: 5,
            dataset: 1,
            hash_seed: 2,
            split: AddressSplit::for_segment_size(64 << 20).unwrap(),
            horizon: TxId(17),
            sections: vec![section, Section::new()],
        }
    }

    /// The bytes that version 1 wrote for the first of the sample's partitions.
    fn version_1() -> Vec<u8> {
        let Manifest { generation, dataset, hash_seed, split, sections, .. } = sample();
        let mut section = Vec::new();
        sections[0].encode(&mut section);
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&(16 + 8 * 4 + 16 + 16 + section[24..].len() as u32 + 4).to_le_bytes());
        for long in [generation, dataset, hash_seed, split.segment_size()] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        out.extend_from_slice(&section[..16]);
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&section[16..24]);
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&section[24..]);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    #[test]
    fn version_1_is_one_partition() {
        let mut expected = sample();
        expected.sections.truncate(1);
        expected.horizon = TxId(0);
        assert_eq!(Manifest::decode(&version_1()), Ok(expected));
    }

    #[test]
    fn there_is_room_until_each_partition_could_have_had_one_segment_more() {
        let mut manifest = sample();
        // enough slots for all
        manifest.split = AddressSplit::for_segment_size(1 << 20).unwrap();
        manifest.sections[0].segments.iter_mut().for_each(|segment| segment.size = 1 << 20);
        while manifest.has_room() {
            let section = &mut manifest.sections[1];
            let sequence = section.next_sequence;
            section.next_sequence.0 += 1;
            let (slot, file) = (SegmentSlot(sequence.0 as u32 + 100), FileId(sequence.0 as u32 + 1_000));
            let entry = SegmentEntry { sequence, slot, file, ..manifest.sections[0].segments[2] };
            manifest.sections[1].segments.push(entry);
        }
        let bytes = manifest.encode();
        assert!(bytes.len() as u64 + 300 > manifest_bytes(2));
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
    }

    #[test]
    fn a_manifest_reads_back_from_a_longer_file() {
        let mut bytes = sample().encode();
        bytes.extend_from_slice(&[0xee; 100]);
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_newer_version_says_so() {
        let mut bytes = sample().encode();
        bytes[8] = FORMAT_VERSION as u8 + 1;
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Newer(FORMAT_VERSION + 1)));
    }
}
