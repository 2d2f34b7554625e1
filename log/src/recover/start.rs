//! A start (F4): read everything, decide, and only then write: refills first, then the marks and aborts that are missing,
//! the manifest last. A crash anywhere before that leaves what was found, and the next start begins anew.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::address::{FileId, LogPosition, PartitionId};
use crate::catalog::Catalog;
use crate::checkpoint::{Candidate, Checkpoints, Refused, candidates, is_checkpoint, last_generation, remove_files};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::horizon::{Horizon, TxId};
use crate::job::{is_leftover, segment_file, segment_name};
use crate::log::Log;
use crate::manifest::{Extent, MANIFEST_NAMES, Manifest, ManifestError, Section, SegmentEntry};
use crate::options::Options;
use crate::recover::aside::{Aside, CutOff};
use crate::recover::begin::{SYNCING, give_up_syncing, is_unfinished};
use crate::recover::ends::{Found, Place, judge, report_cut, settle_all};
use crate::recover::load::load_manifest;
use crate::recover::meet::{Common, look_again, meet, refuse_checkpoints};
use crate::recover::opened::Remains;
use crate::recover::opening::Opening;
use crate::recover::replay::{Context, Replay, Replayed, replay_log};
use crate::recover::scan::{ScanError, Scanned, presume, scan};
use crate::recover::transactions::{Outcomes, Settled};
use crate::ship::Origin;
use crate::table::SegmentTable;

/// How far a start is; read by other threads.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    loaded: AtomicU64,
    pub(crate) replayed_bytes: AtomicU64,
    pub(crate) replayed: AtomicU64,
}

impl Progress {
    /// Bytes to load, bytes loaded, and records replayed so far. A byte that was read and not replayed yet counts
    /// half: replaying takes longer than reading, and an estimate needs both.
    pub fn get(&self) -> (u64, u64, u64) {
        let [total, read, replayed_bytes, replayed] = [&self.total, &self.loaded, &self.replayed_bytes, &self.replayed]
            .map(|count| count.load(Ordering::Relaxed));
        (total, ((read + replayed_bytes) / 2).min(total), replayed)
    }

    /// Begins anew.
    pub(super) fn reset(&self) {
        for count in [&self.total, &self.loaded, &self.replayed_bytes, &self.replayed] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// What a start has found.
#[derive(Clone, Debug, Default)]
pub struct StartReport {
    /// Records replayed.
    pub records: u64,
    /// Where a torn tail was cut, in each log that had one: file and offset.
    pub cut: Vec<(String, u64)>,
    /// With `salvage`: what is lost, a line each.
    pub lost: Vec<String>,
    /// Whether there was damage, and it goes on without what is lost.
    pub salvaged: bool,
    /// Segments written anew because they were not known to be durable.
    pub refilled: usize,
    /// Transactions over several partitions that had no end in some log, and have one now.
    pub open_transactions: usize,
    /// Whether the data set was created.
    pub created: bool,
    /// The checkpoints from which logs were replayed on.
    pub checkpoints: Vec<String>,
    /// Checkpoints that were not used, and why.
    pub refused: Vec<(String, String)>,
    /// Of logs that follow others: what they had that those never had, and where it is kept.
    pub cut_off: Vec<CutOff>,
    /// Whether they have begun with nothing.
    pub begins_anew: bool,
}

/// Why a start stopped. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The disk.
    #[error("{file}: {error}")]
    Io {
        /// Which file.
        file: String,
        /// What the system said.
        error: io::Error,
    },
    /// A later version of emberkv wrote this.
    #[error("{0}: {1}")]
    Newer(&'static str, ManifestError),
    /// No copy of the manifest can be used.
    #[error(
        "the manifest is lost: {0}. the segments are there, but which of them count is not known; restore \
         {a} or {b} from a backup", a = MANIFEST_NAMES[0], b = MANIFEST_NAMES[1]
    )]
    NoManifest(String),
    /// The two copies are of two data sets.
    #[error("{a} and {b} belong to different data sets", a = MANIFEST_NAMES[0], b = MANIFEST_NAMES[1])]
    TwoDatasets,
    /// A segment that the manifest names is not there (S5).
    #[error(
        "{file} is missing: it held {bytes} bytes of the log. restore it from a backup, or start with \
         --salvage yes to go on without them"
    )]
    Missing {
        /// The file.
        file: String,
        /// How much is lost, at most.
        bytes: u64,
    },
    /// Bytes that were known durable can't be read (F2).
    #[error(
        "{file} is damaged at offset {offset}: {bytes} bytes of the log from there on were durable and are \
         not readable. restore the file from a backup, or start with --salvage yes to go on without what \
         is lost"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// How much is lost, at least.
        bytes: u64,
    },
    /// A replica has not got all that its primary had when it began.
    #[error(
        "the first sync of this replica was never finished: what is here is not what its primary was at any time. let it follow a \
         primary again, or start with --salvage yes to go on with what there is"
    )]
    Syncing,
    /// What is here has nothing that goes on in the logs that it is to follow. [`start_follower`](crate::start_follower) begins anew then.
    #[error("what is here is not what is to be followed: {reason}")]
    Strange {
        /// In words.
        reason: String,
        /// What is known to be here alone, and where it is kept.
        cut_off: Vec<CutOff>,
    },
    /// The reader of the records can't go on.
    #[error("{0}")]
    Replay(String),
    /// The log's records contradict each other.
    #[error("{file}: {reason}")]
    Inconsistent {
        /// The file.
        file: String,
        /// How.
        reason: String,
    },
}

pub(crate) fn io_error(file: &str) -> impl FnOnce(io::Error) -> StartError {
    let file = file.to_owned();
    move |error| StartError::Io { file, error }
}

/// The logs that a start has opened, by partition, each with what its records went to.
pub type Started<D, R> = Vec<(Log<D>, R)>;

/// What is read of each log before it is served: all of it, or what lies behind a checkpoint (K8).
struct Plan {
    /// The position of each log that its newest checkpoint stands for all before.
    from: Vec<Option<LogPosition>>,
    /// All tickets below were settled, by the manifest and by those checkpoints. So what is not read has nothing to say of any
    /// other: its parts, marks and aborts are of tickets that were drawn before.
    horizon: TxId,
}

impl Plan {
    fn nothing(manifest: &Manifest) -> Self {
        Self { from: vec![None; manifest.sections.len()], horizon: manifest.horizon }
    }

    fn of<F>(manifest: &Manifest, candidates: &[Vec<Candidate<F>>], options: &Options) -> Self {
        let mut plan = Self::nothing(manifest);
        // who follows looks at records as they come, and does not wait for others
        if !options.opens_cold || options.salvage || options.follows.is_some() {
            return plan;
        }
        for ((from, found), section) in plan.from.iter_mut().zip(candidates).zip(&manifest.sections) {
            let Some(newest) = found.first() else { continue };
            let position = LogPosition(newest.meta.from);
            let mut sealed = section.segments.iter().filter(|entry| is_before(entry, position));
            // where the log ends is not known yet
            if newest.disagrees(section, LogPosition(u64::MAX)).is_none() && sealed.all(|entry| newest.has(entry)) {
                *from = Some(position);
                plan.horizon = plan.horizon.max(TxId(newest.meta.horizon));
            }
        }
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::K8Horizon) {
            plan.horizon = manifest.horizon;
        }
        plan
    }

    fn is_worth_it(&self) -> bool {
        self.from.iter().any(Option::is_some)
    }

    /// Whether this segment of partition `p` is not read.
    fn leaves_out(&self, p: usize, entry: &SegmentEntry) -> bool {
        self.from[p].is_some_and(|from| is_before(entry, from))
    }
}

/// Whether a segment is listed as sealed and lies wholly before `position`.
fn is_before(entry: &SegmentEntry, position: LogPosition) -> bool {
    matches!(entry.extent, Extent::Sealed { end, .. } if end <= position)
}

/// What a start knows when it has read and decided everything, and written nothing.
struct Read<F, R> {
    found: Vec<Found<F>>,
    /// What a cut by X5 discards was known durable, and so has to be there until the manifest says otherwise.
    kept_files: BTreeSet<FileId>,
    settled: Settled,
    /// What is settled, and was: less than the manifest says if something is cut off.
    horizon: TxId,
    /// Checkpoints that depend on what is cut off.
    refused: Vec<Refused>,
    replayed: Vec<(SegmentTable, R)>,
    replays: Vec<Replayed>,
}

/// The part of a start that only reads.
struct Reading<'a, D: Disk> {
    disk: &'a D,
    manifest: &'a Manifest,
    /// How many threads read, and whether what is lost is done without.
    threads: usize,
    salvage: bool,
    /// Whose logs these follow.
    follows: Option<&'a Origin>,
    /// Whether what is here is not all that they had when it began to follow.
    is_syncing: bool,
    progress: &'a Progress,
    plan: Plan,
}

/// Why nothing came of it.
enum Unread {
    Failed(StartError),
    /// It is not what is to be followed.
    Strange(String),
}

impl From<StartError> for Unread {
    fn from(error: StartError) -> Self {
        Self::Failed(error)
    }
}

impl<D: Disk> Reading<'_, D> {
    fn read<R: Replay>(
        &self,
        candidates: &mut [Vec<Candidate<D::File>>],
        make: &mut impl FnMut(PartitionId, u64) -> Result<R, String>,
        report: &mut StartReport,
        asides: &mut Vec<Aside>,
    ) -> Result<Read<D::File, R>, Unread> {
        let Self { disk, manifest, plan, .. } = self;
        let mut found = Vec::new();
        for (p, (scanned, section)) in self.scan_all(report)?.into_iter().zip(&manifest.sections).enumerate() {
            let place = Place { partition: PartitionId(p as u16), horizon: plan.horizon, section };
            found.push(judge(*disk, &place, &candidates[p], scanned, self.salvage, report)?);
        }
        let kept_files = found.iter().flat_map(|found| &found.scanned).map(|scanned| scanned.entry.file).collect();
        report.salvaged = !report.lost.is_empty() || found.iter().any(|found| found.is_salvaged);
        let mut common = Common { horizon: plan.horizon, goes_elsewhere: false };
        if let Some(origin) = self.follows {
            common = meet(&mut found, manifest, origin, self.is_syncing, asides).map_err(Unread::Strange)?;
        }
        let refused = if common.goes_elsewhere { refuse_checkpoints(candidates, common.horizon) } else { Vec::new() };
        let settled = settle_all(&mut found, common.horizon, report.salvaged, self.follows)?;
        if let Some(origin) = self.follows {
            look_again(&found, origin, &manifest.sections).map_err(Unread::Strange)?;
        }
        if report.salvaged {
            // what was lost may be what they refer to
            candidates.iter_mut().for_each(Vec::clear);
        }
        report.open_transactions = settled.open();
        let mut replayed = Vec::new();
        for p in 0..found.len() {
            let replay = make(PartitionId(p as u16), manifest.hash_seed).map_err(StartError::Replay)?;
            replayed.push((SegmentTable::new(manifest.split), replay));
        }
        let replays = self.replay_all(&found, candidates, &settled.outcomes, &mut replayed)?;
        report.records = replays.iter().map(|replayed| replayed.records).sum();
        report.checkpoints =
            replays.iter().filter_map(|replayed| Some(replayed.began_with.as_ref()?.0.clone())).collect();
        Ok(Read { found, kept_files, settled, horizon: common.horizon, refused, replayed, replays })
    }

    /// Hands all records on, several partitions at a time.
    fn replay_all<R: Replay>(
        &self,
        found: &[Found<D::File>],
        candidates: &[Vec<Candidate<D::File>>],
        outcomes: &Outcomes,
        into: &mut [(SegmentTable, R)],
    ) -> Result<Vec<Replayed>, StartError> {
        let replay = |p: usize, into: &mut (SegmentTable, R)| {
            let found = &found[p];
            let context = Context {
                outcomes,
                progress: self.progress,
                section: &self.manifest.sections[p],
                tail: found.decision.end.position,
                is_cold: self.plan.from[p].is_some(),
                follows: self.follows.is_some(),
            };
            replay_log(self.disk, &found.scanned, &candidates[p], &context, &mut into.0, &mut into.1)
        };
        let parts = into.iter_mut().enumerate();
        if self.threads <= 1 || found.len() <= 1 {
            return parts.map(|(p, into)| replay(p, into)).collect();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = parts.map(|(p, into)| scope.spawn(move || replay(p, into))).collect();
            let ended = threads.into_iter().map(|thread| match thread.join() {
                Ok(replayed) => replayed,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect()
        })
    }

    /// Reads the segments, several at a time; those of each partition, in their order.
    fn scan_all(&self, report: &mut StartReport) -> Result<Vec<Vec<Scanned<D::File>>>, StartError> {
        let Self { disk, manifest, threads, salvage, progress, plan, .. } = self;
        let entries: Vec<_> = (manifest.sections.iter().enumerate())
            .flat_map(|(p, section)| section.segments.iter().map(move |entry| (p, *entry)))
            .collect();
        let read = entries.iter().filter(|(p, entry)| !plan.leaves_out(*p, entry));
        progress.total.store(read.map(|(_, entry)| entry.size).sum(), Ordering::Relaxed);
        let loaded = |bytes| {
            progress.loaded.fetch_add(bytes, Ordering::Relaxed);
        };
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            while let Some((p, entry)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let partition = PartitionId(*p as u16);
                let result = if plan.leaves_out(*p, entry) {
                    presume(*disk, partition, *entry)
                } else {
                    scan(*disk, partition, *entry, plan.horizon, &loaded)
                };
                results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*p, *entry, result));
            }
        };
        if *threads > 1 && entries.len() > 1 {
            std::thread::scope(|scope| {
                for _ in 0..*threads {
                    scope.spawn(work);
                }
            });
        } else {
            work();
        }
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(p, entry, _)| (*p, entry.sequence));
        let mut scanned: Vec<Vec<_>> = manifest.sections.iter().map(|_| Vec::new()).collect();
        for (p, entry, result) in results {
            let file = segment_name(entry.file);
            match result {
                Ok(found) => scanned[p].push(found),
                Err(ScanError::Missing) => {
                    #[cfg(any(test, feature = "sim"))]
                    if crate::plant::is(crate::plant::Plant::S5) {
                        continue;
                    }
                    let bytes = match entry.extent {
                        Extent::Sealed { base, end, .. } => end.0 - base.0,
                        Extent::Open { .. } | Extent::Prepared => entry.size,
                    };
                    if !salvage {
                        return Err(StartError::Missing { file, bytes });
                    }
                    report.lost.push(format!("{file} is missing: up to {bytes} bytes of the log"));
                }
                Err(ScanError::Io(error)) => return Err(StartError::Io { file, error }),
                Err(error @ (ScanError::BadRecords(_) | ScanError::OtherSegment)) => {
                    return Err(StartError::Inconsistent { file, reason: error.to_string() });
                }
            }
        }
        Ok(scanned)
    }
}

/// Opens the logs in `disk`, one for each partition; created, as many as `partitions` says, if there is no data set. Every
/// record goes in order to what `make` makes for its partition and the data set's hash seed.
///
/// # Errors
/// See [`StartError`].
pub fn start<D: Disk, R: Replay>(
    disk: Arc<D>,
    options: Options,
    partitions: u16,
    progress: &Progress,
    mut make: impl FnMut(PartitionId, u64) -> Result<R, String>,
) -> Result<(Started<D, R>, StartReport), StartError> {
    let mut report = StartReport::default();
    let share = options.share();
    let mut options = share();
    let (mut manifest, files) = load_manifest(disk.as_ref(), &mut options, partitions, &mut report)?;
    let names = disk.list().map_err(io_error("the data directory"))?;
    let is_syncing = is_unfinished(disk.as_ref(), manifest.dataset)?;
    if options.follows.is_none() && !options.salvage && is_syncing {
        return Err(StartError::Syncing);
    }
    let (mut candidates, refused) = candidates(disk.as_ref(), &names, &manifest);
    let plan = Plan::of(&manifest, &candidates, &options);
    let (threads, salvage) = (options.load_threads, options.salvage);
    let origin = options.follows.clone();
    let follows = origin.as_deref();
    let mut asides = Vec::new();
    let disks = disk.as_ref();
    let mut read = None;
    if plan.is_worth_it() {
        let mut its_report = report.clone();
        let reading =
            Reading { disk: disks, manifest: &manifest, threads, salvage, follows, is_syncing, progress, plan };
        match reading.read(&mut candidates, &mut make, &mut its_report, &mut asides) {
            Ok(found) => (read, report) = (Some(found), its_report),
            // whatever it is: who reads everything knows better
            Err(error) => {
                if let Unread::Failed(error) = error {
                    tracing::warn!(%error, "the log is read as a whole before it is served");
                }
                progress.reset();
            }
        }
    }
    let read = match read {
        Some(read) => Ok(read),
        None => {
            asides.clear();
            let plan = Plan::nothing(&manifest);
            let reading =
                Reading { disk: disks, manifest: &manifest, threads, salvage, follows, is_syncing, progress, plan };
            reading.read(&mut candidates, &mut make, &mut report, &mut asides)
        }
    };
    // before anything of it goes, whatever comes of the rest
    report.cut_off = keep_asides(disks, &asides, manifest.dataset)?;
    let Read { found, kept_files, settled, horizon, refused: depending, replayed, mut replays } = match read {
        Ok(read) => read,
        Err(Unread::Strange(reason)) => return Err(StartError::Strange { reason, cut_off: report.cut_off }),
        Err(Unread::Failed(error)) => return Err(error),
    };
    manifest.horizon = horizon;

    // from here on the disk is written to
    failpoint::pass(Point::StartDecided);
    if follows.is_none() && names.iter().any(|name| name == SYNCING) {
        give_up_syncing(disk.as_ref())?; // of another data set, or by salvage: what there is is all that there will be
    }
    let refused =
        refused.into_iter().chain(depending).chain(replays.iter_mut().flat_map(|replayed| replayed.refused.drain(..)));
    let kept = clear_checkpoints(disk.as_ref(), refused.collect(), &names, &candidates, &mut report)?;
    let mut opening = Opening::new(disk.as_ref(), &mut options, &manifest, &kept_files)?;
    let claims: Result<Vec<_>, _> =
        found.iter().zip(&replayed).map(|(found, (table, _))| opening.claim(&found.scanned, table)).collect();
    let mut remains = Vec::new();
    for (p, ((found, claim), (mut table, replay))) in found.into_iter().zip(claims?).zip(replayed).enumerate() {
        report_cut(&found, &mut report);
        let Found { mut scanned, decision, .. } = found;
        for scanned in &mut scanned {
            scanned.loaded = replays[p].loaded.remove(&scanned.entry.sequence);
        }
        let Section { next_sequence, incarnations, .. } = manifest.sections[p].clone();
        let partition = PartitionId(p as u16);
        let (segments, writer, refilled) =
            opening.refill_all(partition, next_sequence, claim, scanned, &decision, &mut table)?;
        failpoint::pass(Point::StartRefilled);
        report.refilled += refilled;
        let newest = replays[p].began_with.as_ref().map_or(LogPosition(0), |(_, upto)| *upto);
        let checkpoints = Checkpoints::new(kept[p].clone(), newest, last_generation(&names, partition));
        remains.push((Remains { segments, writer, table, incarnations, next_sequence, checkpoints }, replay));
    }
    let last_file = opening.last_file;
    let horizon = Arc::new(Horizon::new(settled.next, manifest.sections.len()));
    if follows.is_some() && manifest.sections.len() > 1 {
        horizon.follow_from(manifest.horizon);
    }
    let catalog = Arc::new(Catalog::new(manifest, files, Arc::clone(&horizon), last_file));
    let mut logs = Vec::new();
    for (p, (remains, replay)) in remains.into_iter().enumerate() {
        let mut log = Log::opened(Arc::clone(&disk), share(), PartitionId(p as u16), &catalog, remains);
        if follows.is_some() {
            let replayed = std::mem::take(&mut replays[p]);
            log.begin_to_follow(replayed.open, replayed.ended, replayed.ends_sealed, &replayed.freed);
            log.evictions = replayed.evictions;
        } else {
            log.append_missing(&settled.missing[p])?;
            log.evictions.clone_from(&replays[p].evictions);
            log.list_removals(&replays[p].freed);
        }
        failpoint::pass(Point::StartMarked);
        logs.push((log, replay));
    }
    let sections = logs.iter().map(|(log, _)| log.section()).collect();
    catalog.install(disk.as_ref(), sections).map_err(io_error(MANIFEST_NAMES[0]))?;
    failpoint::pass(Point::StartInstalled);
    clear_away(disk.as_ref(), &mut logs)?;
    for (log, _) in &mut logs {
        log.begin();
    }
    Ok((logs, report))
}

fn keep_asides<D: Disk>(disk: &D, asides: &[Aside], dataset: u64) -> Result<Vec<CutOff>, StartError> {
    let keep = |aside: &Aside| {
        let cut = aside.keep(disk, dataset).map_err(io_error("what is to be cut off a log"))?;
        let (partition, from, to, file) = (cut.partition.0, cut.from.0, cut.to.0, cut.name());
        tracing::warn!(partition, from, to, file, "the primary never had the end of this log: it is cut off, and kept");
        Ok(cut)
    };
    asides.iter().map(keep).collect()
}

/// Removes, durably, the checkpoints that are of no use; the generations that each partition is left with.
fn clear_checkpoints<D: Disk>(
    disk: &D,
    refused: Vec<Refused>,
    names: &[String],
    candidates: &[Vec<Candidate<D::File>>],
    report: &mut StartReport,
) -> Result<Vec<Vec<u64>>, StartError> {
    report.refused = refused;
    if report.salvaged {
        let all = names.iter().filter(|name| is_checkpoint(name));
        report.refused = all.map(|name| (name.clone(), "data of the log are lost".to_owned())).collect();
    }
    let useless: Vec<String> = report.refused.iter().map(|(name, _)| name.clone()).collect();
    for (name, reason) in &report.refused {
        tracing::warn!(file = name, reason, "a checkpoint is not used: the log is replayed without it");
    }
    if !useless.is_empty() {
        remove_files(disk, &useless).and_then(|()| disk.sync_names()).map_err(io_error("a checkpoint"))?;
    }
    let left = |candidate: &&Candidate<D::File>| !useless.contains(&candidate.name);
    let generations = |found: &Vec<Candidate<D::File>>| {
        found.iter().rev().filter(left).map(|candidate| candidate.meta.generation).collect()
    };
    Ok(candidates.iter().map(generations).collect())
}

/// Removes what no manifest names, but a spare file of the right size for each log's next segment: its blocks are written
/// already.
fn clear_away<D: Disk, R>(disk: &D, logs: &mut [(Log<D>, R)]) -> Result<(), StartError> {
    let named: BTreeSet<FileId> = (logs.iter())
        .flat_map(|(log, _)| {
            log.segments.iter().map(|segment| segment.file_id).chain(log.spare_files.iter().map(|spare| spare.0))
        })
        .collect();
    for name in disk.list().map_err(io_error("the data directory"))? {
        let Some(file) = segment_file(&name).filter(|file| !named.contains(file)) else {
            if is_leftover(&name) {
                disk.remove(&name).map_err(io_error(&name))?;
            }
            continue;
        };
        let size = disk.open(&name).and_then(|file| disk.size(&file));
        let wants =
            |log: &Log<D>| log.spare_files.is_empty() && size.as_ref().is_ok_and(|size| *size == log.fitting_size());
        match logs.iter_mut().find(|(log, _)| wants(log)) {
            Some((log, _)) => log.spare_files.push((file, log.fitting_size())),
            None => disk.remove(&name).map_err(io_error(&name))?,
        }
    }
    Ok(())
}
