//! What a directory holds, for whoever looks at it from outside. Nothing is written.

use std::io;

use crate::address::{LogPosition, PartitionId, SegmentSequence};
use crate::checkpoint::{is_checkpoint, is_temporary};
use crate::disk::Disk;
use crate::job::{segment_file, segment_name};
use crate::log::Log;
use crate::manifest::{Extent, MANIFEST_NAMES, MAX_PARTITIONS, Manifest, manifest_bytes};

/// One copy of the manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestCopy {
    /// Its file.
    pub name: &'static str,
    /// Its generation, or why it can't be used.
    pub generation: Result<u64, String>,
}

/// A segment that the manifest lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedSegment {
    /// Whose.
    pub partition: PartitionId,
    /// Its place in the order of the log.
    pub sequence: SegmentSequence,
    /// Its file.
    pub file: String,
    /// Bytes of the file, as listed.
    pub size: u64,
    /// `sealed`, `open` or `prepared`.
    pub state: &'static str,
    /// Where it begins, if that is listed.
    pub base: Option<LogPosition>,
    /// Whether there is such a file.
    pub is_there: bool,
}

/// What a directory holds, by its names and its manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Both copies of the manifest.
    pub manifests: Vec<ManifestCopy>,
    /// How many partitions the data set has; 0 if no copy of the manifest can be read.
    pub partitions: usize,
    /// Bytes of an ordinary segment.
    pub segment_size: u64,
    /// The segments of the copy that counts, in order, those of partition 0 first.
    pub segments: Vec<ListedSegment>,
    /// Files that count for nothing: segments that it does not list, and checkpoints that were not finished.
    pub unlisted: Vec<String>,
    /// Checkpoints, by their names.
    pub checkpoints: Vec<String>,
}

/// Reads names and manifest.
///
/// # Errors
/// Those of the disk.
pub fn list<D: Disk>(disk: &D) -> io::Result<Listing> {
    let mut names = disk.list()?;
    names.sort();
    let mut manifests = Vec::new();
    let mut counts: Option<Manifest> = None;
    for name in MANIFEST_NAMES {
        let generation = if names.iter().any(|other| other == name) {
            let file = disk.open(name)?;
            let size = disk.size(&file)?.min(manifest_bytes(usize::from(MAX_PARTITIONS)));
            let mut bytes = vec![0; size as usize];
            let len = disk.read_at(&file, 0, &mut bytes)?;
            Manifest::decode(&bytes[..len]).map_err(|error| error.to_string()).map(|manifest| {
                let generation = manifest.generation;
                if counts.as_ref().is_none_or(|other| other.generation < generation) {
                    counts = Some(manifest);
                }
                generation
            })
        } else {
            Err("it is not there".to_owned())
        };
        manifests.push(ManifestCopy { name, generation });
    }
    let sections = counts.as_ref().map(|manifest| manifest.sections.as_slice()).unwrap_or_default();
    let mut segments = Vec::new();
    for (p, section) in sections.iter().enumerate() {
        segments.extend(section.segments.iter().map(|entry| {
            let file = segment_name(entry.file);
            ListedSegment {
                partition: PartitionId(p as u16),
                sequence: entry.sequence,
                is_there: names.binary_search(&file).is_ok(),
                file,
                size: entry.size,
                state: match entry.extent {
                    Extent::Prepared => "prepared",
                    Extent::Open { .. } => "open",
                    Extent::Sealed { .. } => "sealed",
                },
                base: entry.extent.base(),
            }
        }));
    }
    let is_listed = |name: &String| segments.iter().any(|segment| segment.file == *name);
    let counts_not = |name: &&String| segment_file(name).is_some() && !is_listed(name) || is_temporary(name);
    let unlisted = names.iter().filter(counts_not).cloned().collect();
    let checkpoints = names.iter().filter(|name| is_checkpoint(name)).cloned().collect();
    let segment_size = counts.as_ref().map_or(0, |manifest| manifest.split.segment_size());
    Ok(Listing { manifests, partitions: sections.len(), segment_size, segments, unlisted, checkpoints })
}

/// What a segment of an open log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// Its place in the order of the log.
    pub sequence: SegmentSequence,
    /// Bytes from its beginning to the end of its last frame.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records that are the newest of their keys.
    pub live_bytes: u64,
}

impl<D: Disk> Log<D> {
    /// What each segment holds, oldest first.
    pub fn segment_facts(&self) -> Vec<SegmentFacts> {
        let facts = |segment: &crate::segment::Segment<D::File>| SegmentFacts {
            sequence: segment.sequence(),
            bytes: segment.end,
            records: segment.records,
            live_bytes: self.table().needed(segment.slot).live_bytes,
        };
        self.segments.iter().map(facts).collect()
    }
}
