//! What logs that are to follow others have in common with those, and what is cut off as they have not (R1, R9). Nothing is written here.
//!
//! ```text
//!   theirs   |---- life 1 ----|-------- life 3 ---------
//!   ours     |---- life 1 --------|---- life 2 ----|
//!                             ^ cut here, or at the frame before: what is behind is kept aside
//! ```

use crate::address::{LogPosition, PartitionId, SegmentSequence};
use crate::checkpoint::{Candidate, Refused, life_of};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::horizon::TxId;
use crate::manifest::{Manifest, Section};
use crate::record::{Entry, Kind, Record};
use crate::recover::aside::Aside;
use crate::recover::cut::cut_before;
use crate::recover::decide::End;
use crate::recover::ends::Found;
use crate::recover::scan::{Records, Scanned};
use crate::recover::transactions::{Note, What};
use crate::ship::{Meeting, Origin, OriginLog, SegmentFacts};

/// What is common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Common {
    /// All tickets below this one are settled in it.
    pub horizon: TxId,
    /// Whether something else goes on from it than what was here.
    pub goes_elsewhere: bool,
}

/// Cuts each log to what it has in common with the one that it is to follow. What is cut off goes to `asides`, whatever comes of the
/// rest; in words, why nothing comes of it.
pub(super) fn meet<F>(
    found: &mut [Found<F>],
    manifest: &Manifest,
    origin: &Origin,
    is_syncing: bool,
    asides: &mut Vec<Aside>,
) -> Result<Common, String> {
    let uncut = Common { horizon: manifest.horizon, goes_elsewhere: false };
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::R1) {
        return Ok(uncut);
    }
    if found.len() != origin.logs.len() {
        return Err("the number of partitions is another one".to_owned());
    }
    let sections = &manifest.sections;
    let mut places = Vec::new();
    let mut nothing = None;
    for (p, ((found, its), section)) in found.iter_mut().zip(&origin.logs).zip(sections).enumerate() {
        drop_empty_head(found, its);
        places.push(match meeting(found, its, section) {
            Meeting::Resumes => None,
            Meeting::Strange => {
                nothing = Some(p);
                None
            }
            Meeting::Diverged(upto) => frame_of(found, upto, section),
        });
    }
    let is_same = |(section, its): (&Section, &OriginLog)| section.incarnations.last() == its.incarnations.last();
    let is_cut = places.iter().any(Option::is_some);
    if !is_cut && sections.iter().zip(&origin.logs).all(is_same) {
        return nothing.map_or(Ok(uncut), |p| Err(no_more(p)));
    }
    let said = Said::of(found, &places);
    let depends = said.depends(found);
    for (p, (found, place)) in found.iter_mut().zip(&places).enumerate() {
        let Some(place) = place else { continue };
        asides.push(aside(PartitionId(p as u16), found, *place, &sections[p]));
        if !cut(found, *place) {
            nothing = Some(p);
            continue;
        }
        drop_empty_head(found, &origin.logs[p]);
    }
    if let Some(p) = nothing {
        return Err(no_more(p));
    }
    if is_syncing && is_cut {
        return Err("its first sync was never finished".to_owned());
    }
    if let Some((p, sequence)) = depends {
        let sequence = sequence.0;
        return Err(format!("partition {p} has let go of segment {sequence} because of what is not common"));
    }
    look_again(found, origin, sections)?;
    // with one partition there are no transactions
    let horizon = if found.len() > 1 { said.horizon(manifest.horizon) } else { manifest.horizon };
    #[cfg(any(test, feature = "sim"))]
    let horizon = if crate::plant::is(crate::plant::Plant::R9Horizon) { manifest.horizon } else { horizon };
    for scanned in found.iter_mut().flat_map(|found| &mut found.scanned) {
        note_again(scanned, horizon);
    }
    Ok(Common { horizon, goes_elsewhere: true })
}

fn no_more(partition: usize) -> String {
    format!("partition {partition} has nothing that still exists there")
}

/// Whether all is common, once everything is decided that ends a log.
pub(super) fn look_again<F>(found: &[Found<F>], origin: &Origin, sections: &[Section]) -> Result<(), String> {
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::R1) {
        return Ok(());
    }
    let mut all = found.iter().zip(&origin.logs).zip(sections);
    match all.position(|((found, its), section)| meeting(found, its, section) != Meeting::Resumes) {
        Some(p) => Err(no_more(p)),
        None => Ok(()),
    }
}

/// Takes those checkpoints out that say more of transactions than is common.
pub(super) fn refuse_checkpoints<F>(candidates: &mut [Vec<Candidate<F>>], horizon: TxId) -> Vec<Refused> {
    let depends = |candidate: &mut Candidate<F>| candidate.meta.horizon > horizon.0;
    let refused = candidates.iter_mut().flat_map(|found| found.extract_if(.., depends).collect::<Vec<_>>());
    refused.map(|candidate| (candidate.name, "it depends on what was cut off".to_owned())).collect()
}

fn facts<F>(scanned: &Scanned<F>) -> SegmentFacts {
    let Some(header) = scanned.header else { unreachable!("only segments with a header are left") };
    let (sequence, base, created_ms) = (header.sequence, header.base, header.created_ms);
    SegmentFacts { sequence, size: scanned.entry.size, base, created_ms }
}

/// Where a segment's last frame ends: neither a header nor padding is anything that could differ.
fn end_of<F>(scanned: &Scanned<F>) -> LogPosition {
    let base = facts(scanned).base;
    frames(scanned).last().map_or(base, |(at, frame)| base.plus(frame.end(at)))
}

fn meeting<F>(found: &Found<F>, its: &OriginLog, section: &Section) -> Meeting {
    let Some(last) = found.scanned.last() else { return Meeting::Strange };
    let segments: Vec<_> = found.scanned.iter().map(facts).collect();
    its.meets(&section.incarnations, &segments, end_of(last))
}

/// A head that has nothing may be another one there, and is then not the one that comes next.
fn drop_empty_head<F>(found: &mut Found<F>, its: &OriginLog) {
    let [.., before, last] = &found.scanned[..] else { return };
    let place = |facts: &SegmentFacts| (facts.sequence, facts.size, facts.base);
    let is_there = || its.segments.iter().any(|(other, _)| place(other) == place(&facts(last)));
    if last.valid_end <= SEGMENT_HEADER_BYTES && !is_there() {
        let (sequence, offset) = (before.entry.sequence, before.valid_end);
        let position = facts(before).base.plus(offset);
        found.decision.end = End { position, segment: Some(sequence), offset, torn: false };
        found.scanned.pop();
    }
}

/// A place in a log: which of its segments, and the offset of a frame in it.
type Place = (usize, u64);

fn frames<F>(scanned: &Scanned<F>) -> impl Iterator<Item = (u64, FrameHeader)> {
    let (bytes, end) = (scanned.bytes(), scanned.valid_end);
    let mut at = SEGMENT_HEADER_BYTES;
    std::iter::from_fn(move || {
        let frame = FrameHeader::peek(bytes, at).filter(|_| at < end)?;
        let begins = at;
        at = frame_boundary(frame.end(at));
        Some((begins, frame))
    })
}

/// The first frame that is not common, if only what lies before `upto` is: one that lies on both sides has to be had again. So has the
/// one before, where a life of this log's own begins: that may have been shortened by its start (X5), and be longer there.
fn frame_of<F>(found: &Found<F>, upto: LogPosition, section: &Section) -> Option<Place> {
    let is_own = section.incarnations.iter().any(|life| life.start == upto);
    for (nth, scanned) in found.scanned.iter().enumerate() {
        let base = facts(scanned).base;
        let is_common = |(at, frame): &(u64, FrameHeader)| {
            let end = base.plus(frame.end(*at));
            end < upto || end == upto && !is_own
        };
        if let Some((at, _)) = frames(scanned).find(|frame| !is_common(frame)) {
            return Some((nth, at));
        }
    }
    None // there is no more of it than padding, or a header
}

/// Cuts it before this frame. False if nothing is left of it.
fn cut<F>(found: &mut Found<F>, (nth, at): Place) -> bool {
    // a segment of which nothing is left is not one that was begun
    let keeps = if at > SEGMENT_HEADER_BYTES { nth + 1 } else { nth };
    found.scanned.truncate(keeps);
    let Some(last) = found.scanned.last_mut() else { return false };
    if keeps > nth {
        let before = Note { txid: TxId(0), what: What::Mark, frame: at, offset: 0, before: 0 };
        if cut_before(last, &before).is_err() {
            return false; // no memory: it begins anew, as it did before it could be cut
        }
    }
    let (segment, offset) = (Some(last.entry.sequence), last.valid_end);
    found.decision.end = End { position: facts(last).base.plus(offset), segment, offset, torn: false };
    true
}

fn aside<F>(partition: PartitionId, found: &Found<F>, (nth, at): Place, section: &Section) -> Aside {
    let mut pieces = Vec::new();
    for (scanned, from) in
        found.scanned[nth..].iter().zip(std::iter::once(at).chain(std::iter::repeat(SEGMENT_HEADER_BYTES)))
    {
        // the padding behind the last frame is none of it
        let end = frames(scanned).last().map(|(at, frame)| frame.end(at)).filter(|end| *end > from);
        if let (Some(end), Some(writer)) = (end, &scanned.writer) {
            pieces.push((facts(scanned), from..end, std::sync::Arc::clone(writer.memory())));
        }
    }
    let from = facts(&found.scanned[nth]).base.plus(at);
    let to = pieces.last().map_or(from, |(facts, range, _)| facts.base.plus(range.end));
    let Some(life) = life_of(&section.incarnations, to) else { unreachable!("what has no life meets nothing") };
    Aside { partition, from, to, life, pieces }
}

/// What the records of logs say that are about to be cut.
struct Said {
    /// The oldest transaction that something is cut off of: it and later ones may not be settled in what is left.
    first_cut: TxId,
    /// Above those of which something is left.
    next_left: TxId,
    /// By partition: segments that were let go of, and whether that is said in, or had to wait for, what is cut off.
    freed: Vec<(usize, SegmentSequence, TxId, bool)>,
}

impl Said {
    fn of<F>(found: &[Found<F>], places: &[Option<Place>]) -> Self {
        let mut said = Self { first_cut: TxId(u64::MAX), next_left: TxId(1), freed: Vec::new() };
        for (p, (found, place)) in found.iter().zip(places).enumerate() {
            for (nth, scanned) in found.scanned.iter().enumerate() {
                for (at, frame) in frames(scanned) {
                    let is_cut = place.is_some_and(|place| place <= (nth, at));
                    let body = &scanned.bytes()[at as usize + FRAME_HEADER_BYTES..];
                    said.note_frame(p, frame.records, body, is_cut);
                }
            }
        }
        said
    }

    fn note_frame(&mut self, p: usize, records: u32, mut body: &[u8], is_cut: bool) {
        for _ in 0..records {
            // what was read was looked at: it is sound
            let Some(record) = Record::decode(body) else { return };
            body = &body[record.encoded_len()..];
            let txid = match record.kind() {
                Kind::Part => record.part().map(|part| part.txid),
                Kind::Mark | Kind::Abort | Kind::Freed => match record.entry() {
                    Some(Entry::Mark { txid } | Entry::Abort { txid }) => Some(txid),
                    Some(Entry::Freed { sequence, until }) => {
                        self.freed.push((p, sequence, until, is_cut));
                        None
                    }
                    _ => None,
                },
                _ => None,
            };
            match txid {
                Some(txid) if is_cut => self.first_cut = self.first_cut.min(txid),
                Some(txid) => self.next_left = self.next_left.max(TxId(txid.0 + 1)),
                None => {}
            }
        }
    }

    /// A segment that is not there, because of what is cut off: what it had lives in what is left.
    fn depends<F>(&self, found: &[Found<F>]) -> Option<(usize, SegmentSequence)> {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::R9Freed) {
            return None;
        }
        let lacks = |p: usize, sequence| found[p].scanned.iter().all(|scanned| scanned.entry.sequence != sequence);
        let depends = |(p, sequence, until, is_cut): &&(usize, SegmentSequence, TxId, bool)| {
            (*is_cut || *until > self.first_cut) && lacks(*p, *sequence)
        };
        self.freed.iter().find(depends).map(|(p, sequence, ..)| (*p, *sequence))
    }

    /// All that is below was settled before anything that is cut off; and whoever has gone on from what is left draws tickets that
    /// were not drawn below.
    fn horizon(&self, settled: TxId) -> TxId {
        settled.min(self.first_cut).min(self.next_left)
    }
}

/// Notes what a segment says of transactions from this horizon on.
fn note_again<F>(scanned: &mut Scanned<F>, horizon: TxId) {
    let mut records = Records::new(horizon);
    for (at, frame) in frames(scanned) {
        let body = &scanned.bytes()[at as usize + FRAME_HEADER_BYTES..frame.end(at) as usize];
        // it was taken before: it is sound
        let _ = records.take(at, frame, body);
    }
    scanned.notes = records.notes;
}
