//! The thread that opens the data set, as one that this server writes or as one that follows another's, and deals its partitions out to
//! the cores, which answer -LOADING meanwhile.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use emberkv_engine::{OpenError, Partition};
use emberkv_log::disk::Disk;
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{CutOff, Options, Progress, StartReport};

use crate::boot::random;
use crate::clock::wall_clock_ms;
use crate::commands::sync_policy;
use crate::config::Config;
use crate::core::shard::max_bulk_len;
use crate::core::{CoreId, Map, Message, Mode, Own, Owned, Peers, budget};
use crate::replicate::Ships;

/// A write of the tail that takes longer than this makes the log write by jobs for a while (law 4).
const SLOW_WRITE: Duration = Duration::from_millis(1);

/// Starts the thread.
///
/// # Errors
/// If the system has none to give.
pub(crate) fn load(disk: Arc<RealDisk>, mode: Mode, progress: Arc<Progress>, peers: Arc<Peers>) -> io::Result<()> {
    std::thread::Builder::new().name("loader".into()).spawn(move || {
        // a panic on any thread ends the process, so the lock is never poisoned
        let config = peers.config.lock().unwrap_or_else(PoisonError::into_inner).config.clone();
        let began = Instant::now();
        match open(Arc::clone(&disk), &mode, &config, peers.len(), &progress) {
            Ok((partitions, report)) => {
                let unread = partitions.iter().map(|partition| partition.log().unread().segments).sum();
                log_report(&report, unread, began.elapsed());
                let follows = matches!(mode, Mode::Follower { .. });
                let syncs = follows.then(|| partitions.iter().any(Partition::is_syncing));
                peers.replication.note_opening(report.begins_anew, syncs, cut_off(disk.as_ref()));
                deal(partitions, mode, &config, &peers);
            }
            Err(error) => peers.send(CoreId::FIRST, Message::NotLoaded(Box::new(error))),
        }
    })?;
    Ok(())
}

fn open(
    disk: Arc<RealDisk>,
    mode: &Mode,
    config: &Config,
    cores: u16,
    progress: &Progress,
) -> Result<(Vec<Partition<RealDisk>>, StartReport), OpenError> {
    let limits = emberkv_engine::Limits {
        databases: config.databases as usize,
        max_value_bytes: usize::try_from(max_bulk_len(config)).unwrap_or(usize::MAX),
        // set with the other limits before anything is served
        ..emberkv_engine::Limits::default()
    };
    // a new data set has a partition for each core; one that exists keeps those that it has
    let options = log_options(config, cores);
    match mode {
        Mode::Primary | Mode::Again(_) => emberkv_engine::open(disk, options, limits, cores, progress),
        Mode::Follower { origin, .. } => emberkv_engine::open_follower(disk, options, limits, origin, progress),
    }
}

/// What there is in the directory of what was cut off logs. Of no use to the server: one that it can't list is not named.
fn cut_off(disk: &RealDisk) -> Vec<CutOff> {
    let mut found: Vec<_> = disk.list().unwrap_or_default().iter().filter_map(|name| CutOff::of_name(name)).collect();
    found.sort_by_key(|cut| (cut.partition, cut.from, cut.to));
    found
}

fn deal(mut partitions: Vec<Partition<RealDisk>>, mode: Mode, config: &Config, peers: &Peers) {
    let (total, cores) = (partitions.len() as u16, peers.len());
    let readers = if config.direct_reads && cores > 1 {
        partitions.iter_mut().map(Partition::reader).collect()
    } else {
        Vec::new()
    };
    let horizon = Arc::clone(partitions[0].log().horizon());
    let ships = Arc::new(Ships::of(&partitions));
    let feed = match mode {
        Mode::Primary | Mode::Again(_) => None,
        Mode::Follower { feed, .. } => {
            feed.begins_with(&partitions);
            Some(feed)
        }
    };
    let mut dealt: Vec<Owned> = (0..cores)
        .map(|core| Owned {
            list: Vec::new(),
            horizon: Arc::clone(&horizon),
            readers: Vec::clone(&readers),
            map: Map::new(total, cores, CoreId(core)),
            ships: Arc::clone(&ships),
            feed: feed.clone(),
        })
        .collect();
    for (number, partition) in partitions.into_iter().enumerate() {
        dealt[number % usize::from(cores)].list.push(Own::new(number as u16, partition));
    }
    for (core, owned) in dealt.into_iter().enumerate() {
        peers.send(CoreId(core as u16), Message::Loaded(Box::new(owned)));
    }
}

/// `partitions`: how many a new data set gets.
fn log_options(config: &Config, partitions: u16) -> Options {
    Options {
        policy: sync_policy(config.appendfsync),
        segment_size: budget::new_segment_size(config.segment_size, config.maxmemory, partitions),
        least_segment_size: budget::LEAST_SEGMENT_BYTES,
        salvage: config.salvage,
        slow_write: Some(SLOW_WRITE),
        load_threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        opens_cold: true,
        follows: None,
        now_ms: wall_clock_ms,
        random: Box::new(random),
    }
}

fn log_report(report: &StartReport, unread: usize, took: Duration) {
    if report.created {
        tracing::info!("a new data set was created");
    }
    for (file, offset) in &report.cut {
        tracing::warn!(
            "the log's tail was torn: cut at {file}, offset {offset}; what was discarded is not known to have been synced"
        );
    }
    for lost in &report.lost {
        tracing::error!("salvage: lost {lost}");
    }
    let (records, refilled, checkpoints) = (report.records, report.refilled, report.checkpoints.len());
    tracing::info!(records, refilled, checkpoints, ?took, "the log is replayed");
    if unread > 0 {
        tracing::info!(segments = unread, "the segments before the checkpoint are read while they are served");
    }
}
