//! A start (F4): read everything, decide, and only then write: refills first, the manifest last. A crash
//! anywhere before the last step leaves what was found, and the next start begins anew.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::address::{Address, AddressSplit, FileId, LogPosition, PartitionId, SegmentSequence};
use crate::disk::Disk;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::horizon::{Horizon, TxId};
use crate::job::{is_leftover, replace_manifest, segment_file, segment_name};
use crate::log::{Health, Log};
use crate::manifest::{Extent, Incarnation, MANIFEST_BYTES, MANIFEST_NAMES, Manifest, ManifestError};
use crate::options::Options;
use crate::record::{Kind, Record};
use crate::recover::decide::{Decision, decide};
use crate::recover::opening::Opening;
use crate::recover::salvage::salvage;
use crate::recover::scan::{ScanError, Scanned, scan};
use crate::segment::{Life, Next, Segment};
use crate::table::SegmentTable;

/// How far a start is; read by other threads.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    loaded: AtomicU64,
    replayed_bytes: AtomicU64,
    replayed: AtomicU64,
}

impl Progress {
    /// Bytes to load, bytes loaded, and records replayed so far. A byte that was read and not replayed yet counts
    /// half: replaying takes longer than reading, and an estimate needs both.
    pub fn get(&self) -> (u64, u64, u64) {
        let [total, read, replayed_bytes, replayed] = [&self.total, &self.loaded, &self.replayed_bytes, &self.replayed]
            .map(|count| count.load(Ordering::Relaxed));
        (total, ((read + replayed_bytes) / 2).min(total), replayed)
    }
}

/// What a start has found.
#[derive(Clone, Debug, Default)]
pub struct StartReport {
    /// Records replayed.
    pub records: u64,
    /// If the tail was torn: file and offset at which it was cut.
    pub cut: Option<(String, u64)>,
    /// With `salvage`: what is lost, a line each.
    pub lost: Vec<String>,
    /// Segments written anew because they were not known to be durable.
    pub refilled: usize,
    /// Whether the data set was created.
    pub created: bool,
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

/// Opens the log in `disk`, created if there is none, and hands every record in order to `replay`, with the
/// data set's hash seed; it notes in the table what it refers to, or says why it can't go on.
///
/// # Errors
/// See [`StartError`].
pub fn start<D: Disk>(
    disk: Arc<D>,
    mut options: Options,
    progress: &Progress,
    mut replay: impl FnMut(u64, &mut SegmentTable, Address, &Record<'_>) -> Result<(), String>,
) -> Result<(Log<D>, StartReport), StartError> {
    let mut report = StartReport::default();
    let (mut manifest, manifest_files) = load_manifest(disk.as_ref(), &mut options, &mut report)?;
    let mut scanned = scan_all(disk.as_ref(), &manifest, &options, progress, &mut report)?;
    let mut decision = decide(&scanned, manifest.durable);
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::F2) {
        (decision.durable, decision.broken) = (decision.end.position, false);
    }
    if decision.is_damage() {
        if !options.salvage {
            return Err(damaged(&scanned, &decision));
        }
        salvage(disk.as_ref(), &mut scanned, &mut report.lost).map_err(io_error("salvage"))?;
        decision = decide(&scanned, LogPosition(0));
        manifest.durable = LogPosition(0);
        decision.durable = LogPosition(0); // everything is written anew
    }
    if decision.end.torn {
        let file = decision.end.segment.and_then(|s| scanned.iter().find(|found| found.entry.sequence == s));
        let file = file.map_or_else(|| "the log".to_owned(), |found| segment_name(found.entry.file));
        report.cut = Some((file, decision.end.offset));
    }
    discard_after(&mut scanned, &decision);

    let mut table = SegmentTable::new(manifest.split);
    let seed = manifest.hash_seed;
    let mut replay = |table: &mut SegmentTable, at, record: &Record<'_>| replay(seed, table, at, record);
    let freed = replay_all(&scanned, &mut table, progress, &mut report, &mut replay)?;

    // from here on the disk is written to
    let mut opening = Opening::new(disk.as_ref(), &mut options, &manifest, &scanned)?;
    let (segments, writer) = opening.refill_all(scanned, &decision, &mut table, &mut report)?;
    let next_file = FileId(opening.next_file);
    let tail = segments.last().map_or(decision.end.position, |head| head.base().plus(writer.at()));
    let term = manifest.incarnations.last().map_or(1, |last| last.term + 1);
    // a life that wrote nothing leaves no trace, so that restarts alone never fill the manifest
    manifest.incarnations.pop_if(|last| last.start == tail);
    manifest.incarnations.push(Incarnation { term, id: (options.random)(), start: tail });
    let highest = segments.last().map_or(0, |head| head.sequence().0);
    manifest.next_sequence = SegmentSequence(manifest.next_sequence.0.max(highest + 1));
    let mut log = Log {
        disk,
        options,
        partition: PartitionId(0),
        horizon: Arc::new(Horizon::new(TxId(1))),
        unsynced_parts: VecDeque::new(),
        held: 0,
        manifest_durable: manifest.generation,
        manifest,
        manifest_files,
        manifest_dirty: false,
        manifest_failed_once: false,
        table,
        segments,
        writer,
        open_frame: None,
        unwritten: VecDeque::new(),
        writing: None,
        next: Next::Missing,
        wanted_size: 0,
        refused_size: None,
        next_file,
        spare_files: Vec::new(),
        leaving_files: Vec::new(),
        dead: BTreeSet::new(),
        recheck_dead: true,
        written: tail,
        synced: tail,
        sync_upto: tail,
        sync_soon: false,
        writes_are_slow: false,
        prefaulted: 0,
        refilled: Vec::new(),
        health: Health::Good,
        grow_limit: 0,
        shrink_limit: 0,
        free_limit: 0,
        progress: 0,
        outbox: VecDeque::new(),
        under_way: BTreeSet::new(),
    };
    log.finish_start(&freed)?;
    Ok((log, report))
}

/// The manifest that counts, both copies holding it durably, and their files.
fn load_manifest<D: Disk>(
    disk: &D,
    options: &mut Options,
    report: &mut StartReport,
) -> Result<(Manifest, [D::File; 2]), StartError> {
    let names = disk.list().map_err(io_error("the data directory"))?;
    let mut copies = Vec::new();
    let mut found = String::new();
    for name in MANIFEST_NAMES {
        let copy = if names.iter().any(|other| other == name) {
            let file = disk.open(name).map_err(io_error(name))?;
            let mut bytes = vec![0; MANIFEST_BYTES as usize];
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
    let has_segments = names.iter().any(|name| segment_file(name).is_some());
    let (newest, won) = match (copies.remove(0), copies.remove(0)) {
        (Some(a), Some(b)) if a.dataset != b.dataset => return Err(StartError::TwoDatasets),
        (Some(a), Some(b)) if a.generation >= b.generation => (a, 0),
        (Some(a), None) => (a, 0),
        (_, Some(b)) => (b, 1),
        (None, None) if found.is_empty() && !has_segments => {
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
                durable: LogPosition(0),
                next_sequence: SegmentSequence(1),
                incarnations: Vec::new(),
                segments: Vec::new(),
            };
            (manifest, 0)
        }
        (None, None) if found.is_empty() => return Err(StartError::NoManifest("there is none".into())),
        (None, None) => return Err(StartError::NoManifest(found.trim_end().to_owned())),
    };
    // an edit counts when both copies are durable: whichever won, both hold it before it is built on. the other
    // one goes first, in place, as a full disk has room for that
    let bytes = newest.encode();
    let mut files = [None, None];
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
            replace_manifest(disk, name, &bytes, MANIFEST_BYTES).map_err(io_error(name))?
        });
    }
    match files {
        [Some(a), Some(b)] => Ok((newest, [a, b])),
        _ => unreachable!("both were opened"),
    }
}

/// Reads all segments, several at a time.
fn scan_all<D: Disk>(
    disk: &D,
    manifest: &Manifest,
    options: &Options,
    progress: &Progress,
    report: &mut StartReport,
) -> Result<Vec<Scanned<D::File>>, StartError> {
    let entries = &manifest.segments;
    progress.total.store(entries.iter().map(|entry| entry.size).sum(), Ordering::Relaxed);
    let loaded = |bytes| {
        progress.loaded.fetch_add(bytes, Ordering::Relaxed);
    };
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = scan(disk, PartitionId(0), *entry, &loaded);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*entry, result));
        }
    };
    if options.load_threads > 1 && entries.len() > 1 {
        std::thread::scope(|scope| {
            for _ in 0..options.load_threads {
                scope.spawn(work);
            }
        });
    } else {
        work();
    }
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(entry, _)| entry.sequence);
    let mut scanned = Vec::new();
    for (entry, result) in results {
        let file = segment_name(entry.file);
        match result {
            Ok(found) => scanned.push(found),
            Err(ScanError::Missing) => {
                #[cfg(any(test, feature = "sim"))]
                if crate::plant::is(crate::plant::Plant::S5) {
                    continue;
                }
                let bytes = match entry.extent {
                    Extent::Sealed { base, end, .. } => end.0 - base.0,
                    Extent::Open { .. } | Extent::Prepared => entry.size,
                };
                if !options.salvage {
                    return Err(StartError::Missing { file, bytes });
                }
                report.lost.push(format!("{file} is missing: up to {bytes} bytes of the log"));
            }
            Err(ScanError::Io(error)) => return Err(StartError::Io { file, error }),
            Err(error @ ScanError::BadRecords(_)) => {
                return Err(StartError::Inconsistent { file, reason: error.to_string() });
            }
        }
    }
    Ok(scanned)
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

/// Replays every record; the segments that the log says are freed.
fn replay_all<F>(
    scanned: &[Scanned<F>],
    table: &mut SegmentTable,
    progress: &Progress,
    report: &mut StartReport,
    replay: &mut impl FnMut(&mut SegmentTable, Address, &Record<'_>) -> Result<(), String>,
) -> Result<BTreeSet<SegmentSequence>, StartError> {
    let mut freed = BTreeSet::new();
    for found in scanned {
        let Some(header) = found.header else { unreachable!("a segment with valid bytes has a header") };
        table.install(found.entry.slot, found.writer.memory(), header.base);
        let bytes = found.writer.memory().closed_bytes(0..found.valid_end);
        let mut at = SEGMENT_HEADER_BYTES;
        while at < found.valid_end {
            let Some(frame) = FrameHeader::peek(bytes, at) else { break };
            let mut offset = at + FRAME_HEADER_BYTES as u64;
            for _ in 0..frame.records {
                let Some(record) = Record::decode(&bytes[offset as usize..]) else {
                    let file = segment_name(found.entry.file);
                    return Err(StartError::Inconsistent { file, reason: format!("no record at {offset}") });
                };
                let address = table.split().address(found.entry.slot, offset);
                match record.kind() {
                    Kind::Freed => {
                        if let Some(crate::record::Entry::Freed { sequence }) = record.entry() {
                            freed.insert(sequence);
                        }
                    }
                    Kind::Seal | Kind::Part | Kind::Mark | Kind::Abort => {}
                    Kind::Delete | Kind::Floor => {
                        table.add_tombstone(address);
                        replay(table, address, &record).map_err(StartError::Replay)?;
                    }
                    Kind::Put | Kind::PutInt => {
                        replay(table, address, &record).map_err(StartError::Replay)?;
                    }
                }
                offset += record.encoded_len() as u64;
            }
            report.records += u64::from(frame.records);
            progress.replayed.fetch_add(u64::from(frame.records), Ordering::Relaxed);
            let next = frame_boundary(frame.end(at));
            progress.replayed_bytes.fetch_add(next - at, Ordering::Relaxed);
            at = next;
        }
        progress.replayed_bytes.fetch_add(found.entry.size.saturating_sub(at), Ordering::Relaxed);
    }
    Ok(freed)
}

impl<D: Disk> Log<D> {
    /// The last steps of a start: removals that the log names are finished (S4), the manifest is written,
    /// and what no manifest names is cleared away.
    fn finish_start(&mut self, freed: &BTreeSet<SegmentSequence>) -> Result<(), StartError> {
        for segment in &mut self.segments {
            if freed.contains(&segment.sequence()) && self.table.needed(segment.slot).live_bytes == 0 {
                segment.life = Life::FreePendingManifest(self.manifest.generation + 1);
            }
        }
        self.manifest.generation += 1;
        let bytes = self.current_manifest().encode();
        for (file, name) in self.manifest_files.iter().zip(MANIFEST_NAMES) {
            self.disk.write_at(file, 0, &bytes).map_err(io_error(name))?;
            self.disk.sync(file).map_err(io_error(name))?;
        }
        self.manifest_durable = self.manifest.generation;
        self.finish_frees(self.manifest_durable);
        let dead: Vec<_> = (self.segments.iter())
            .filter(|segment| self.table.needed(segment.slot).live_bytes == 0)
            .map(Segment::sequence)
            .collect();
        self.dead.extend(dead);
        self.table.take_emptied();
        for name in self.disk.list().map_err(io_error("the data directory"))? {
            let named =
                segment_file(&name).is_none_or(|file| self.segments.iter().any(|segment| segment.file_id == file));
            let spare = self.spare_files.iter().any(|spare| segment_name(*spare) == name);
            if is_leftover(&name) || (!named && !spare && !self.keep_as_spare(&name)) {
                self.disk.remove(&name).map_err(io_error(&name))?;
            }
        }
        self.prepare_next();
        self.update_limits();
        Ok(())
    }

    /// Whether a file that no manifest names becomes the next segments': its blocks are written already.
    fn keep_as_spare(&mut self, name: &str) -> bool {
        let ordinary = self.manifest.split.segment_size();
        let size = self.disk.open(name).and_then(|file| self.disk.size(&file));
        match segment_file(name) {
            Some(file) if self.spare_files.is_empty() && size.is_ok_and(|size| size == ordinary) => {
                self.spare_files.push(file);
                true
            }
            _ => false,
        }
    }

    /// Writes and syncs everything, blocking: for an orderly end. Jobs that are under way need not be
    /// waited for.
    ///
    /// # Errors
    /// Those of the disk, and what made the log read-only.
    pub fn close(mut self) -> io::Result<()> {
        if self.health != Health::Good {
            let reason = self.read_only().unwrap_or("the log was being written anew after an error");
            return Err(io::Error::other(reason.to_owned()));
        }
        if let Some((part, ..)) = self.writing.take() {
            self.unwritten.push_front(part);
        }
        self.close_frame();
        for part in std::mem::take(&mut self.unwritten) {
            if let Some(segment) = self.segments.iter().find(|s| s.sequence() == part.sequence) {
                let bytes = segment.memory.closed_bytes(part.from..part.to);
                self.disk.write_at(&segment.file, part.from, bytes)?;
            }
        }
        for segment in self.segments.iter().filter(|segment| segment.end_position() > self.synced) {
            self.disk.sync(&segment.file)?;
        }
        Ok(())
    }
}
