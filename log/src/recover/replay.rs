//! From records to whoever builds something of them: each at its own place in the log.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::address::{Address, LogPosition, PartitionId, SegmentSequence};
use crate::checkpoint::{Candidate, Refused, SavedPages};
use crate::disk::Disk;
use crate::evict::{self, Evictions, Followed};
use crate::follow::OpenPart;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::horizon::TxId;
use crate::job::segment_name;
use crate::manifest::Section;
use crate::record::{Entry, Kind, Record};
use crate::recover::cold::{ColdReplay, Loaded};
use crate::recover::scan::Scanned;
use crate::recover::start::{Progress, StartError};
use crate::recover::transactions::{Note, Outcomes, What};
use crate::table::SegmentTable;

/// What a start hands the records of one partition to, in order.
pub trait Replay: Send {
    /// Takes a record over, and notes in the table what it refers to.
    ///
    /// # Errors
    /// In words: what keeps the data set from being served.
    fn apply(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), String>;

    /// The records that [`Replay::apply`] will look at for this one, added to `addresses`: they are brought if they are not in
    /// memory.
    fn looks_at(&self, _record: &Record<'_>, _addresses: &mut Vec<Address>) {}

    /// Whether the record that was brought for this address may be the one that is there (M2).
    fn is_its_own(&self, _address: Address, _record: &Record<'_>) -> bool {
        true
    }

    /// Forgets everything, so that another attempt may be made.
    ///
    /// # Errors
    /// As above.
    fn clear(&mut self) -> Result<(), String>;

    /// Begins with a checkpoint instead of with nothing: the table counts what is in it. Called first, if at all.
    ///
    /// # Errors
    /// In words: why it can't be used; [`Replay::clear`] is called then.
    fn restore(&mut self, _table: &SegmentTable, _pages: &mut SavedPages<'_>) -> Result<(), String> {
        Err("checkpoints are not read".to_owned())
    }

    /// A record that was applied is evicted, if the key's newest is still this one.
    fn evict(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>);

    /// Records that it wants to see before any other, once it is restored, added to `addresses`.
    fn begins_with(&self, _addresses: &mut Vec<Address>) {}

    /// Takes one of those.
    ///
    /// # Errors
    /// As above.
    fn begin_with(&mut self, _record: &Record<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Looks at the whole, once all is applied and before anything is written.
    ///
    /// # Errors
    /// As above.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the log itself has to know of what was replayed.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub records: u64,
    /// The segments that the log says are freed.
    pub freed: BTreeSet<SegmentSequence>,
    /// Checkpoints that were not used, and why.
    pub refused: Vec<Refused>,
    /// The one that was, and where it was taken.
    pub began_with: Option<(String, LogPosition)>,
    /// What was evicted out of segments that still exist.
    pub evictions: Vec<Evictions>,
    /// Segments that were not read at first, and then were.
    pub loaded: Loaded,
    /// Whether the last record is a seal.
    pub ends_sealed: bool,
    /// Parts that were left out though they may yet come to count.
    pub open: Vec<OpenPart>,
    /// Those of transactions that are known to have happened: other partitions may be yet to hear of them.
    pub ended: Vec<(TxId, Vec<PartitionId>)>,
}

/// Why a log was not replayed.
enum Stopped {
    /// Not by this checkpoint: its fault.
    Refused(String),
    Failed(StartError),
}

/// Replays one log, beginning with the newest checkpoint that agrees with it; without one, from its beginning.
pub(crate) fn replay_log<D: Disk, R: Replay>(
    disk: &D,
    scanned: &[Scanned<D::File>],
    candidates: &[Candidate<D::File>],
    context: &Context<'_>,
    table: &mut SegmentTable,
    replay: &mut R,
) -> Result<Replayed, StartError> {
    let mut refused = Vec::new();
    for candidate in candidates {
        let result = match candidate.disagrees(context.section, context.tail) {
            Some(reason) => Err(Stopped::Refused(reason)),
            None => replay_from(disk, scanned, candidate, context, table, replay),
        };
        match result {
            Err(Stopped::Refused(reason)) if context.is_cold => {
                // what would have to be begun with now was not read
                return Err(StartError::Inconsistent { file: candidate.name.clone(), reason });
            }
            Ok(replayed) => return Ok(Replayed { refused, ..replayed }),
            Err(Stopped::Failed(error)) => return Err(error),
            Err(Stopped::Refused(reason)) => {
                refused.push((candidate.name.clone(), reason));
                *table = SegmentTable::new(table.split());
                replay.clear().map_err(StartError::Replay)?;
            }
        }
    }
    install_all(scanned, table);
    let replayed = replay_all(disk, scanned, &Begin::default(), context, table, replay)?;
    Ok(Replayed { refused, ..replayed })
}

/// What does not depend on a checkpoint.
pub(crate) struct Context<'a> {
    pub outcomes: &'a Outcomes,
    pub progress: &'a Progress,
    pub section: &'a Section,
    pub tail: LogPosition,
    /// Whether what lies before the newest checkpoint was not read.
    pub is_cold: bool,
    /// Whether the log follows another one.
    pub follows: bool,
}

/// Where replay begins.
#[derive(Default)]
struct Begin {
    /// With these transactions' parts,
    from: LogPosition,
    undecided: BTreeSet<TxId>,
    /// and with everything.
    upto: LogPosition,
    /// What was said before that of segments on their way out, and of those that keys were evicted from.
    freed: BTreeSet<SegmentSequence>,
    evictions: Vec<Evictions>,
}

fn install_all<F>(scanned: &[Scanned<F>], table: &mut SegmentTable) {
    for found in scanned {
        let Some(header) = found.header else { unreachable!("a segment with valid bytes has a header") };
        match &found.writer {
            Some(writer) => table.install(found.entry.slot, writer.memory(), header.base),
            None => table.install_cold(found.entry.slot, found.entry.size, header.base),
        }
    }
}

fn replay_from<D: Disk, R: Replay>(
    disk: &D,
    scanned: &[Scanned<D::File>],
    candidate: &Candidate<D::File>,
    context: &Context<'_>,
    table: &mut SegmentTable,
    replay: &mut R,
) -> Result<Replayed, Stopped> {
    let meta = &candidate.meta;
    install_all(scanned, table);
    let entries = || scanned.iter().map(|found| &found.entry);
    for entry in entries() {
        candidate.restore_counts(entry, table);
    }
    let mut chunks = meta.chunks.iter();
    let mut read = |bytes: &mut Vec<u8>| {
        let Some(chunk) = chunks.next() else { return Ok(false) };
        chunk.read(disk, &candidate.file, bytes).map_err(|error| error.to_string())?;
        Ok(true)
    };
    let mut pages = SavedPages {
        split: table.split(),
        slots_left: candidate.slots_left(table.split(), entries()),
        floors: &meta.floors,
        bytes: meta.chunks.iter().map(|chunk| u64::from(chunk.len)).sum(),
        chunks: &mut read,
    };
    replay.restore(table, &mut pages).map_err(Stopped::Refused)?;
    #[allow(unused_mut)]
    let mut undecided: BTreeSet<_> = meta.undecided.iter().map(|txid| TxId(*txid)).collect();
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::K1Parts) {
        undecided.clear();
    }
    let begin = Begin {
        from: LogPosition(meta.from),
        upto: LogPosition(meta.upto),
        undecided,
        freed: candidate.freed(),
        evictions: candidate.restore_evictions(scanned, table),
    };
    let replayed = replay_all(disk, scanned, &begin, context, table, replay).map_err(Stopped::Failed)?;
    Ok(Replayed { began_with: Some((candidate.name.clone(), begin.upto)), ..replayed })
}

/// Replays the records of one log from `begin` on, but those of transactions that did not happen.
fn replay_all<D: Disk>(
    disk: &D,
    scanned: &[Scanned<D::File>],
    begin: &Begin,
    context: &Context<'_>,
    table: &mut SegmentTable,
    replay: &mut impl Replay,
) -> Result<Replayed, StartError> {
    let replayed = Replayed { freed: begin.freed.clone(), evictions: begin.evictions.clone(), ..Replayed::default() };
    let mut cold = ColdReplay::new(disk, scanned);
    cold.begin(table, replay)?;
    let mut taker = Taker { scanned, table, replay, cold, followed: None, replayed };
    let progress = context.progress;
    for (nth, found) in scanned.iter().enumerate() {
        let base = found.header.map_or(LogPosition(0), |header| header.base);
        if base.plus(found.valid_end) <= begin.from {
            let bytes = if found.writer.is_some() { found.entry.size } else { 0 };
            progress.replayed_bytes.fetch_add(bytes, Ordering::Relaxed);
            continue;
        }
        let bytes = found.bytes();
        let mut at = SEGMENT_HEADER_BYTES;
        while at < found.valid_end {
            let Some(frame) = FrameHeader::peek(bytes, at) else { break };
            let next = frame_boundary(frame.end(at));
            progress.replayed_bytes.fetch_add(next - at, Ordering::Relaxed);
            if base.plus(frame.end(at)) <= begin.from {
                at = next;
                continue;
            }
            let mut offset = at + FRAME_HEADER_BYTES as u64;
            // records of a part: to be left out, to be taken though they lie before the rest
            let (mut skipped, mut wanted, mut holds) = (0, 0, 0);
            for _ in 0..frame.records {
                let Some(record) = Record::decode(&bytes[offset as usize..]) else {
                    let file = segment_name(found.entry.file);
                    return Err(StartError::Inconsistent { file, reason: format!("no record at {offset}") });
                };
                let address = taker.table.split().address(found.entry.slot, offset);
                taker.replayed.ends_sealed = record.kind() == Kind::Seal;
                if let Some(part) = record.part() {
                    if !context.outcomes.is_committed(part.txid) {
                        skipped = part.records + 1; // the part itself too, below
                        if !context.outcomes.is_aborted(part.txid) {
                            let (txid, participants) = (part.txid, part.participants().collect());
                            let (start, records) = (base.plus(at), Vec::new());
                            taker.replayed.open.push(OpenPart { txid, participants, start, records });
                            holds = skipped;
                        }
                    } else if begin.undecided.contains(&part.txid) {
                        wanted = part.records + 1;
                    }
                }
                if skipped == 0 && (wanted > 0 || base.plus(offset) >= begin.upto) {
                    taker.take(nth, address, &record)?;
                }
                if holds > 0
                    && record.kind() != Kind::Part
                    && let Some(open) = taker.replayed.open.last_mut()
                {
                    open.records.push(address);
                }
                (skipped, wanted) = (skipped.saturating_sub(1), wanted.saturating_sub(1));
                holds = holds.saturating_sub(1);
                offset += record.encoded_len() as u64;
            }
            taker.replayed.records += u64::from(frame.records);
            progress.replayed.fetch_add(u64::from(frame.records), Ordering::Relaxed);
            at = next;
        }
        progress.replayed_bytes.fetch_add(found.entry.size.saturating_sub(at), Ordering::Relaxed);
    }
    taker.replay.check().map_err(StartError::Replay)?;
    let Taker { table, cold, mut replayed, .. } = taker;
    if context.follows {
        replayed.ended = ended(scanned, context.outcomes); // also of what a checkpoint stands for
    }
    replayed.loaded = cold.ended(table);
    Ok(replayed)
}

/// The parts of transactions that have happened and are not known to be settled.
fn ended<F>(scanned: &[Scanned<F>], outcomes: &Outcomes) -> Vec<(TxId, Vec<PartitionId>)> {
    let has_happened = |txid| outcomes.is_recent(txid) && outcomes.is_committed(txid);
    let notes = scanned.iter().flat_map(|found| &found.notes).filter(|note| has_happened(note.txid));
    let of = |note: &Note| match &note.what {
        What::Part(participants) => Some((note.txid, participants.clone())),
        What::Mark | What::Abort => None,
    };
    notes.filter_map(of).collect()
}

/// Hands records on, and notes what the table and the log have to know of them.
struct Taker<'a, D: Disk, R> {
    scanned: &'a [Scanned<D::File>],
    table: &'a mut SegmentTable,
    replay: &'a mut R,
    cold: ColdReplay<'a, D>,
    followed: Option<Followed>,
    replayed: Replayed,
}

impl<D: Disk, R: Replay> Taker<'_, D, R> {
    /// A record of the `nth` segment.
    fn take(&mut self, nth: usize, address: Address, record: &Record<'_>) -> Result<(), StartError> {
        if self.table.has_cold() {
            self.cold.bring_for(record, self.table, self.replay)?;
        }
        match record.kind() {
            Kind::Part | Kind::Seal | Kind::Mark => return Ok(()),
            Kind::Abort => {
                self.table.add_floor(address); // it hides a part (T1)
                return Ok(());
            }
            Kind::Freed => {
                if let Some(Entry::Freed { sequence, .. }) = record.entry() {
                    self.replayed.freed.insert(sequence);
                }
                return Ok(());
            }
            Kind::Evicted => {
                if let Some(Entry::Evicted { upto }) = record.entry() {
                    self.evict(nth, address, upto)?;
                }
                return Ok(());
            }
            Kind::Delete => self.table.add_tombstone(address, record.encoded_len()),
            Kind::Floor => self.table.add_floor(address),
            Kind::Put | Kind::PutInt | Kind::PutPacked | Kind::PutWhole | Kind::PutRoot | Kind::PutChunked => {}
        }
        self.replay.apply(self.table, address, record).map_err(StartError::Replay)
    }

    /// What the index refers to of a segment that is still there, before `upto`, is gone (T5). Its records are looked at, all of
    /// them, so it is read if it was not.
    fn evict(&mut self, nth: usize, address: Address, upto: LogPosition) -> Result<(), StartError> {
        let scanned = &self.scanned[..=nth];
        let Some(of) = evict::segment_of(scanned, upto) else { return Ok(()) }; // it may be gone
        self.cold.load(scanned[of].entry.slot, self.table)?;
        let replay = &mut *self.replay;
        let evict = |table: &mut SegmentTable, at, record: &Record<'_>| replay.evict(table, at, record);
        evict::follow(&mut self.followed, of, &scanned[of], self.table, upto, evict);
        self.table.add_floor(address);
        evict::note(&mut self.replayed.evictions, scanned[of].entry.sequence, scanned[nth].entry.sequence);
        Ok(())
    }
}
