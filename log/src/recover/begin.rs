//! A start of logs that follow others (R1): what is there goes on as far as it is theirs; if that is nothing, it makes room.

use std::io;
use std::sync::Arc;

use crate::address::{FileId, LogPosition, Nonce, PartitionId, SegmentSequence, SegmentSlot};
use crate::checkpoint::{is_checkpoint, remove_files};
use crate::disk::Disk;
use crate::header::SegmentHeader;
use crate::horizon::TxId;
use crate::job::{create_segment, replace_manifest, segment_file, segment_name};
use crate::manifest::{Extent, MANIFEST_NAMES, Manifest, Section, SegmentEntry, manifest_bytes};
use crate::options::Options;
use crate::recover::replay::Replay;
use crate::recover::start::{Progress, StartError, StartReport, Started, io_error, start};
use crate::ship::{Origin, OriginLog};

/// The file that is there while what was there when a sync was begun has not all come: what the other data set was then.
pub(crate) const SYNCING: &str = "SYNCING";

/// Opens logs that follow `options.follows`. What is in the directory is cut to what is common to both, and goes on; if nothing is that
/// can, it is removed, and they begin with the first segment of each, empty. Returns whether they are whole: what the others were at some time. If not, segments
/// that were freed there are lacking, and what made up for them is yet to come.
///
/// # Errors
/// See [`StartError`].
///
/// # Panics
/// If `options` do not say whom they follow.
pub fn start_follower<D: Disk, R: Replay>(
    disk: Arc<D>,
    options: Options,
    progress: &Progress,
    mut make: impl FnMut(PartitionId, u64) -> Result<R, String>,
) -> Result<(Started<D, R>, StartReport, bool), StartError> {
    let share = Options { opens_cold: false, ..options }.share();
    let mut options = share();
    let Some(origin) = options.follows.clone() else { panic!("a follower follows") };
    let partitions = origin.logs.len() as u16;
    let mut cut_off = Vec::new();
    let synced_to = read_syncing(disk.as_ref()).map_err(io_error(SYNCING))?;
    if let Some((_, horizon)) = facts(disk.as_ref()).filter(|(dataset, _)| *dataset == origin.dataset) {
        match start(Arc::clone(&disk), share(), partitions, progress, &mut make) {
            Ok((logs, report)) => {
                let has = |was: &Origin| {
                    let its = logs.iter().zip(&was.logs);
                    horizon >= was.horizon && its.into_iter().all(|((log, _), its)| log.followed() >= its.end())
                };
                let is_synced = synced_to.as_ref().is_none_or(|was| was.as_ref().is_some_and(has));
                let mut pairs = logs.iter().zip(&origin.logs);
                let is_whole = is_synced && pairs.all(|((log, _), its)| its.is_unbroken_from(log.tail()));
                #[cfg(any(test, feature = "sim"))]
                let is_whole = is_whole || crate::plant::is(crate::plant::Plant::R5);
                set_syncing(disk.as_ref(), (!is_whole).then_some(&*origin)).map_err(io_error(SYNCING))?;
                return Ok((logs, report, is_whole));
            }
            Err(StartError::Strange { reason, cut_off: its }) => {
                tracing::warn!(reason, "the data here are not what is to be followed: they are removed");
                cut_off = its;
            }
            Err(error) => return Err(error),
        }
    }
    // from the first byte on, what it has at any time is what the other one was
    let is_whole =
        origin.logs.iter().all(|log| log.segments[0].0.base == LogPosition(0) && log.is_unbroken_from(LogPosition(0)));
    #[cfg(any(test, feature = "sim"))]
    let is_whole = is_whole || crate::plant::is(crate::plant::Plant::R5);
    set_syncing(disk.as_ref(), Some(&*origin)).map_err(io_error(SYNCING))?;
    begin_anew(disk.as_ref(), &origin, &mut options)?;
    if is_whole {
        set_syncing(disk.as_ref(), None).map_err(io_error(SYNCING))?;
    }
    progress.reset();
    let (logs, mut report) = start(disk, share(), partitions, progress, make)?;
    (report.begins_anew, report.cut_off) = (true, cut_off);
    Ok((logs, report, is_whole))
}

/// The name of the data set in the directory, and its horizon, if there is one that can be told.
fn facts<D: Disk>(disk: &D) -> Option<(u64, TxId)> {
    let copies = MANIFEST_NAMES.iter().filter_map(|name| {
        let file = disk.open(name).ok()?;
        let mut bytes = vec![0; usize::try_from(disk.size(&file).ok()?).ok()?];
        let len = disk.read_at(&file, 0, &mut bytes).ok()?;
        Manifest::decode(&bytes[..len]).ok()
    });
    let newest = copies.max_by_key(|manifest| manifest.generation)?;
    Some((newest.dataset, newest.horizon))
}

/// What is being synced to, if anything is; `Some(None)` if that can't be told.
fn read_syncing<D: Disk>(disk: &D) -> io::Result<Option<Option<Origin>>> {
    if !disk.list()?.iter().any(|name| name == SYNCING) {
        return Ok(None);
    }
    let file = disk.open(SYNCING)?;
    let mut bytes = vec![0; usize::try_from(disk.size(&file)?).map_err(io::Error::other)?];
    let len = disk.read_at(&file, 0, &mut bytes)?;
    Ok(Some(Origin::decode(&bytes[..len])))
}

/// Says, durably, what is being synced to, or that nothing is.
fn set_syncing<D: Disk>(disk: &D, origin: Option<&Origin>) -> io::Result<()> {
    let Some(origin) = origin else {
        if disk.list()?.iter().any(|name| name == SYNCING) {
            disk.remove(SYNCING)?;
        }
        return disk.sync_names();
    };
    let bytes = origin.encode();
    let name = "SYNCING.new";
    if disk.list()?.iter().any(|other| other == name) {
        disk.remove(name)?;
    }
    let file = disk.create(name, bytes.len() as u64)?;
    disk.write_at(&file, 0, &bytes)?;
    disk.sync(&file)?;
    disk.rename(name, SYNCING)?;
    disk.sync_names()
}

/// Whether the data set in the directory, this one, lacks something that its primary had. One that another was to take the place of, and
/// did not, is as it was.
pub(crate) fn is_unfinished<D: Disk>(disk: &D, dataset: u64) -> Result<bool, StartError> {
    let synced_to = read_syncing(disk).map_err(io_error(SYNCING))?;
    // what can't be told may be so
    Ok(synced_to.is_some_and(|was| was.is_none_or(|was| was.dataset == dataset)))
}

/// Forgets that something was being synced: what there is is to be served.
pub(crate) fn give_up_syncing<D: Disk>(disk: &D) -> Result<(), StartError> {
    set_syncing(disk, None).map_err(io_error(SYNCING))
}

/// Puts an empty data set with the origin's name into the directory. The manifest that has its name is the one that counts, whatever
/// is interrupted; a start removes the files that it does not name.
fn begin_anew<D: Disk>(disk: &D, origin: &Origin, options: &mut Options) -> Result<(), StartError> {
    let names = disk.list().map_err(io_error("the data directory"))?;
    let checkpoints: Vec<_> = names.iter().filter(|name| is_checkpoint(name)).cloned().collect();
    remove_files(disk, &checkpoints).map_err(io_error("a checkpoint"))?;
    let mut last_file = names.iter().filter_map(|name| segment_file(name)).map(|file| file.0).max().unwrap_or(0);
    let mut sections = Vec::new();
    for (p, log) in origin.logs.iter().enumerate() {
        last_file += 1;
        sections.push(first_segment(disk, PartitionId(p as u16), log, FileId(last_file), options)?);
    }
    disk.sync_names().map_err(io_error("the data directory"))?;
    let Origin { dataset, hash_seed, split, .. } = *origin;
    // what is settled there is settled here when all of it is here
    let manifest = Manifest { generation: 1, dataset, hash_seed, split, horizon: TxId(0), sections };
    let (bytes, size) = (manifest.encode(), manifest_bytes(manifest.sections.len()));
    let [first, second] = MANIFEST_NAMES;
    // there are never two that speak of two data sets
    if names.iter().any(|name| name == second) {
        disk.remove(second).and_then(|()| disk.sync_names()).map_err(io_error(second))?;
    }
    for name in [first, second] {
        replace_manifest(disk, name, &bytes, size).map_err(io_error(name))?;
    }
    Ok(())
}

fn first_segment<D: Disk>(
    disk: &D,
    partition: PartitionId,
    log: &OriginLog,
    file: FileId,
    options: &mut Options,
) -> Result<Section, StartError> {
    let name = segment_name(file);
    let (facts, _) = log.segments[0];
    let nonce = Nonce((options.random)());
    let made = create_segment(disk, file, facts.size, false).map_err(io_error(&name))?;
    let header =
        SegmentHeader { partition, sequence: facts.sequence, base: facts.base, nonce, created_ms: facts.created_ms };
    disk.write_at(&made, 0, &header.encode()).and_then(|()| disk.sync(&made)).map_err(io_error(&name))?;
    let extent = Extent::Open { base: facts.base };
    let entry = SegmentEntry { sequence: facts.sequence, slot: SegmentSlot(0), file, size: facts.size, nonce, extent };
    Ok(Section {
        durable: LogPosition(facts.base.0),
        next_sequence: SegmentSequence(facts.sequence.0 + 1),
        segments: vec![entry],
        incarnations: log.incarnations.clone(),
    })
}
