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
use crate::recover::begin::{SYNCING, give_up_syncing, is_unfinished};
use crate::recover::cut::{cut_before, end_of};
use crate::recover::decide::{Decision, decide};
use crate::recover::load::load_manifest;
use crate::recover::opened::Remains;
use crate::recover::opening::Opening;
use crate::recover::replay::{Context, Replay, Replayed, replay_log};
use crate::recover::salvage::salvage;
use crate::recover::scan::{ScanError, Scanned, presume, scan};
use crate::recover::transactions::{Note, Outcomes, Settled, What, settle};
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

/// What was found of one partition, and where its log ends.
struct Found<F> {
    scanned: Vec<Scanned<F>>,
    decision: Decision,
    /// Whether it is what was left after damage.
    is_salvaged: bool,
}

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
    progress: &'a Progress,
    plan: Plan,
}

impl<D: Disk> Reading<'_, D> {
    fn read<R: Replay>(
        &self,
        candidates: &mut [Vec<Candidate<D::File>>],
        make: &mut impl FnMut(PartitionId, u64) -> Result<R, String>,
        report: &mut StartReport,
    ) -> Result<Read<D::File, R>, StartError> {
        let Self { disk, manifest, plan, .. } = self;
        let mut found = Vec::new();
        for (p, (scanned, section)) in self.scan_all(report)?.into_iter().zip(&manifest.sections).enumerate() {
            let place = Place { partition: PartitionId(p as u16), horizon: plan.horizon, section };
            found.push(judge(*disk, &place, &candidates[p], scanned, self.salvage, report)?);
        }
        let kept_files = found.iter().flat_map(|found| &found.scanned).map(|scanned| scanned.entry.file).collect();
        report.salvaged = !report.lost.is_empty() || found.iter().any(|found| found.is_salvaged);
        let settled = settle_all(&mut found, plan.horizon, report.salvaged, self.follows)?;
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
        Ok(Read { found, kept_files, settled, replayed, replays })
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
    let (manifest, files) = load_manifest(disk.as_ref(), &mut options, partitions, &mut report)?;
    let names = disk.list().map_err(io_error("the data directory"))?;
    if options.follows.is_none() && !options.salvage && is_unfinished(disk.as_ref(), manifest.dataset)? {
        return Err(StartError::Syncing);
    }
    let (mut candidates, refused) = candidates(disk.as_ref(), &names, &manifest);
    let plan = Plan::of(&manifest, &candidates, &options);
    let (threads, salvage) = (options.load_threads, options.salvage);
    let origin = options.follows.clone();
    let follows = origin.as_deref();
    let mut read = None;
    if plan.is_worth_it() {
        let mut its_report = report.clone();
        let reading = Reading { disk: disk.as_ref(), manifest: &manifest, threads, salvage, follows, progress, plan };
        match reading.read(&mut candidates, &mut make, &mut its_report) {
            Ok(found) => (read, report) = (Some(found), its_report),
            // whatever it is: who reads everything knows better
            Err(error) => {
                tracing::warn!(%error, "the log is read as a whole before it is served");
                progress.reset();
            }
        }
    }
    let read = match read {
        Some(read) => read,
        None => {
            let plan = Plan::nothing(&manifest);
            let reading =
                Reading { disk: disk.as_ref(), manifest: &manifest, threads, salvage, follows, progress, plan };
            reading.read(&mut candidates, &mut make, &mut report)?
        }
    };
    let Read { found, kept_files, settled, replayed, mut replays } = read;

    // from here on the disk is written to
    failpoint::pass(Point::StartDecided);
    if follows.is_none() && names.iter().any(|name| name == SYNCING) {
        give_up_syncing(disk.as_ref())?; // of another data set, or by salvage: what there is is all that there will be
    }
    let refused = refused.into_iter().chain(replays.iter_mut().flat_map(|replayed| replayed.refused.drain(..)));
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

/// What the manifest says of a log.
struct Place<'a> {
    partition: PartitionId,
    horizon: TxId,
    section: &'a Section,
}

/// Where a partition's log ends, what lies beyond discarded; or why it must not be used (F2).
fn judge<D: Disk>(
    disk: &D,
    place: &Place<'_>,
    checkpoints: &[Candidate<D::File>],
    mut scanned: Vec<Scanned<D::File>>,
    may_salvage: bool,
    report: &mut StartReport,
) -> Result<Found<D::File>, StartError> {
    let mut decision = decide(&scanned, place.section.durable);
    // a checkpoint has its name only since the log was safe up to it (K1)
    let durable = checkpoints.iter().filter_map(|candidate| candidate.proves_durable(place.section)).max();
    decision.durable = decision.durable.max(durable.unwrap_or_default());
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::F2) {
        (decision.durable, decision.broken) = (decision.end.position, false);
    }
    let mut is_salvaged = false;
    if decision.is_damage() {
        if !may_salvage {
            return Err(damaged(&scanned, &decision));
        }
        salvage(disk, place.partition, place.horizon, decision.durable, &mut scanned, &mut report.lost)
            .map_err(io_error("salvage"))?;
        is_salvaged = true;
        decision = decide(&scanned, LogPosition(0));
        decision.durable = LogPosition(0); // everything is written anew
    }
    discard_after(&mut scanned, &decision);
    Ok(Found { scanned, decision, is_salvaged })
}

/// Decides on the transactions over several partitions, and cuts what must not be there without one that has not
/// happened (X5).
fn settle_all<F>(
    found: &mut [Found<F>],
    horizon: TxId,
    is_salvaged: bool,
    follows: Option<&Origin>,
) -> Result<Settled, StartError> {
    let notes_of = |found: &Found<F>| found.scanned.iter().flat_map(|scanned| scanned.notes.clone()).collect();
    let notes: Vec<Vec<Note>> = found.iter().map(notes_of).collect();
    let decided = follows.map(|origin| decided_by_going_on(found, origin));
    let settled = settle(&notes, horizon, is_salvaged, decided.as_ref());
    for (found, (notes, kept)) in found.iter_mut().zip(notes.iter().zip(&settled.kept)) {
        let Some(note) = notes.get(*kept) else { continue };
        let mut before = *kept;
        let in_it = |scanned: &Scanned<F>| {
            let here = before < scanned.notes.len();
            before = before.saturating_sub(if here { 0 } else { scanned.notes.len() });
            here
        };
        let Some(at) = found.scanned.iter().position(in_it) else { continue };
        tracing::warn!(
            ticket = note.txid.0,
            "a power loss took a part of a transaction: what depends on it is cut off"
        );
        found.scanned.truncate(at + 1);
        let last = &mut found.scanned[at];
        let whole = Note { offset: 0, before: 0, ..note.clone() };
        cut_before(last, if follows.is_some() { &whole } else { note })
            .map_err(io_error(&segment_name(last.entry.file)))?;
        found.decision.end = end_of(last);
    }
    Ok(settled)
}

/// Transactions that have no end in a log whose writer has gone on behind their part after a start of its own: that has ended what was
/// open, but for what was settled, which has happened (X5).
fn decided_by_going_on<F>(found: &[Found<F>], origin: &Origin) -> BTreeSet<TxId> {
    let mut decided = BTreeSet::new();
    for (found, its) in found.iter().zip(&origin.logs) {
        let notes = || found.scanned.iter().flat_map(|scanned| scanned.notes.iter().map(move |note| (scanned, note)));
        let ended: BTreeSet<_> =
            notes().filter(|(_, note)| !matches!(note.what, What::Part(_))).map(|(_, note)| note.txid).collect();
        for (scanned, note) in notes().filter(|(_, note)| !ended.contains(&note.txid)) {
            let base = scanned.header.map_or(LogPosition(0), |header| header.base);
            let next_life = its.incarnations.iter().find(|life| life.start > base.plus(note.frame));
            let end = found.decision.end.position;
            let goes_on = |start: LogPosition| start < end || start == end && its.end() <= start;
            if next_life.is_some_and(|life| goes_on(life.start)) {
                decided.insert(note.txid);
            }
        }
    }
    decided
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

fn report_cut<F>(found: &Found<F>, report: &mut StartReport) {
    let end = found.decision.end;
    if end.torn {
        let last = end.segment.and_then(|s| found.scanned.iter().find(|found| found.entry.sequence == s));
        let file = last.map_or_else(|| "the log".to_owned(), |last| segment_name(last.entry.file));
        report.cut.push((file, end.offset));
    }
}

fn damaged<F>(scanned: &[Scanned<F>], decision: &Decision) -> StartError {
    let bytes = decision.durable.0.saturating_sub(decision.end.position.0);
    let found = decision.end.segment.and_then(|s| scanned.iter().find(|found| found.entry.sequence == s));
    match found {
        Some(found) => StartError::Damaged { file: segment_name(found.entry.file), offset: decision.end.offset, bytes },
        None => StartError::Damaged { file: "the log".into(), offset: 0, bytes },
    }
}

/// Drops what lies after the end, and shortens the segment that it lies in.
fn discard_after<F>(scanned: &mut Vec<Scanned<F>>, decision: &Decision) {
    let end = decision.end;
    scanned.retain(|found| end.segment.is_some_and(|last| found.entry.sequence <= last) && found.valid_end > 0);
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
