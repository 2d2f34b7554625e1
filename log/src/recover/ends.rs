//! Where logs end: what a start makes of all that it has read of them (F2, X5). Nothing is written here.

use std::collections::BTreeSet;

use crate::address::{LogPosition, PartitionId};
use crate::checkpoint::Candidate;
use crate::disk::Disk;
use crate::horizon::TxId;
use crate::job::segment_name;
use crate::manifest::Section;
use crate::recover::cut::{cut_before, end_of};
use crate::recover::decide::{Decision, decide};
use crate::recover::salvage::salvage;
use crate::recover::scan::Scanned;
use crate::recover::start::{StartError, StartReport, io_error};
use crate::recover::transactions::{Note, Settled, What, settle};
use crate::ship::Origin;

/// What was found of one partition, and where its log ends.
pub(super) struct Found<F> {
    pub scanned: Vec<Scanned<F>>,
    pub decision: Decision,
    /// Whether it is what was left after damage.
    pub is_salvaged: bool,
}

/// What the manifest says of a log.
pub(super) struct Place<'a> {
    pub partition: PartitionId,
    pub horizon: TxId,
    pub section: &'a Section,
}

/// Where a partition's log ends, what lies beyond discarded; or why it must not be used (F2).
pub(super) fn judge<D: Disk>(
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
pub(super) fn settle_all<F>(
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

pub(super) fn report_cut<F>(found: &Found<F>, report: &mut StartReport) {
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
