//! The manifest that a start builds on (S1).

use crate::address::AddressSplit;
use crate::checkpoint::is_checkpoint;
use crate::disk::Disk;
use crate::horizon::TxId;
use crate::job::{replace_manifest, segment_file};
use crate::manifest::{MANIFEST_NAMES, MAX_PARTITIONS, Manifest, ManifestError, Section, manifest_bytes};
use crate::options::Options;
use crate::recover::start::{StartError, StartReport, io_error};

/// The manifest that counts, both copies holding it durably, and their files.
pub(crate) fn load_manifest<D: Disk>(
    disk: &D,
    options: &mut Options,
    partitions: u16,
    report: &mut StartReport,
) -> Result<(Manifest, [D::File; 2]), StartError> {
    let names = disk.list().map_err(io_error("the data directory"))?;
    let mut copies = Vec::new();
    let mut found = String::new();
    for name in MANIFEST_NAMES {
        let copy = if names.iter().any(|other| other == name) {
            let file = disk.open(name).map_err(io_error(name))?;
            let size = disk.size(&file).map_err(io_error(name))?.min(manifest_bytes(usize::from(MAX_PARTITIONS)));
            let mut bytes = vec![0; size as usize];
            let len = disk.read_at(&file, 0, &mut bytes).map_err(io_error(name))?;
            match Manifest::decode(&bytes[..len]) {
                Ok(manifest) => Some(manifest),
                Err(error @ ManifestError::Newer(_)) => return Err(StartError::Newer(name, error)),
                Err(error) => {
                    found += &format!("{name}: {error}. ");
                    None
                }
            }
        } else {
            None
        };
        copies.push(copy);
    }
    // neither is made before there is a manifest
    let has_data = names.iter().any(|name| segment_file(name).is_some() || is_checkpoint(name));
    let (newest, won) = match (copies.remove(0), copies.remove(0)) {
        (Some(a), Some(b)) if a.dataset != b.dataset => return Err(StartError::TwoDatasets),
        (Some(a), Some(b)) if a.generation >= b.generation => (a, 0),
        (Some(a), None) => (a, 0),
        (_, Some(b)) => (b, 1),
        (None, None) if found.is_empty() && !has_data => {
            report.created = true;
            let split =
                AddressSplit::for_segment_size(options.segment_size).ok_or_else(|| StartError::Inconsistent {
                    file: "segment-size".into(),
                    reason: format!("{} is not a power of two from 64 KiB to 1 GiB", options.segment_size),
                })?;
            let manifest = Manifest {
                generation: 0,
                dataset: (options.random)(),
                hash_seed: (options.random)(),
                split,
                horizon: TxId(0),
                sections: vec![Section::new(); usize::from(partitions.clamp(1, MAX_PARTITIONS))],
            };
            (manifest, 0)
        }
        (None, None) if found.is_empty() => return Err(StartError::NoManifest("there is none".into())),
        (None, None) => return Err(StartError::NoManifest(found.trim_end().to_owned())),
    };
    // an edit counts when both copies are durable: whichever won, both hold it before it is built on. the other
    // one goes first, in place, as a full disk has room for that
    let (bytes, size) = (newest.encode(), manifest_bytes(newest.sections.len()));
    let mut files = [None, None];
    if !names.is_empty() {
        // a copy that was replaced has its name for good before the other one is written over
        disk.sync_names().map_err(io_error("the data directory"))?;
    }
    for i in if won == 0 { [1, 0] } else { [0, 1] } {
        let name = MANIFEST_NAMES[i];
        let is_there = names.iter().any(|other| other == name);
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::S1) && is_there {
            files[i] = Some(disk.open(name).map_err(io_error(name))?);
            continue;
        }
        files[i] = Some(if is_there {
            let file = disk.open(name).map_err(io_error(name))?;
            disk.write_at(&file, 0, &bytes).and_then(|()| disk.sync(&file)).map_err(io_error(name))?;
            file
        } else {
            replace_manifest(disk, name, &bytes, size).map_err(io_error(name))?
        });
    }
    match files {
        [Some(a), Some(b)] => Ok((newest, [a, b])),
        _ => unreachable!("both were opened"),
    }
}
