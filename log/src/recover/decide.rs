//! What a start makes of what it has read: where the log ends, or why it must not be used (F2).
//!
//! Every segment is one of the cases below, each with its decision; nothing is written here.

use crate::address::{LogPosition, SegmentSequence};
use crate::manifest::Extent;
use crate::recover::scan::Scanned;

/// What a segment's file turned out to be, next to what the manifest says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    /// Listed as sealed, and all there.
    Whole,
    /// Listed as sealed, and something is missing or too much: damage, as it was synced before it was listed.
    SealedBroken,
    /// Not listed as sealed; ends with a seal: the edit that lists it did not become durable.
    SealedUnlisted,
    /// Not sealed: the log's tail, unless something follows.
    Tail,
    /// Prepared and never written, as far as can be seen.
    Unused,
    /// Its header is not of this filling, though the manifest knows its base or frames of it exist.
    HeaderLost,
    /// Its header's base is not where the segment before it ends.
    Misplaced,
}

impl Case {
    pub(crate) fn of<F>(scanned: &Scanned<F>, previous_end: Option<LogPosition>) -> Self {
        match (scanned.entry.extent, &scanned.header) {
            (Extent::Sealed { base, end, records }, Some(_)) => {
                let whole = scanned.valid_end == end.0 - base.0 && scanned.records == records;
                if whole { Self::Whole } else { Self::SealedBroken }
            }
            (Extent::Sealed { .. }, None) => Self::SealedBroken,
            (Extent::Prepared, Some(header)) if previous_end.is_some_and(|end| end != header.base) => Self::Misplaced,
            (Extent::Open { .. } | Extent::Prepared, Some(_)) => {
                if scanned.sealed {
                    Self::SealedUnlisted
                } else {
                    Self::Tail
                }
            }
            (Extent::Prepared, None) if scanned.beyond.is_empty() => Self::Unused,
            (Extent::Open { .. } | Extent::Prepared, None) => Self::HeaderLost,
        }
    }
}

/// Where a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// The position.
    pub position: LogPosition,
    /// The last segment with something before it; `None` for a log without segments.
    pub segment: Option<SegmentSequence>,
    /// Offset in that segment.
    pub offset: u64,
    /// Whether something beyond is cut off.
    pub torn: bool,
}

/// The log's end, and the highest position that is known to have been durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    pub end: End,
    pub durable: LogPosition,
    /// Whether a segment that was listed as whole is not what was listed.
    pub broken: bool,
}

impl Decision {
    /// Whether bytes that were known durable are missing: then the start stops (F2).
    pub(crate) fn is_damage(&self) -> bool {
        self.broken || self.end.position < self.durable
    }
}

/// Finds the log's end. `segments` are in order of sequence; `recorded` is the manifest's durable position.
pub(crate) fn decide<F>(segments: &[Scanned<F>], recorded: LogPosition) -> Decision {
    let mut durable = recorded;
    for scanned in segments {
        durable = durable.max(scanned.durable);
        if let Extent::Sealed { end, .. } = scanned.entry.extent {
            durable = durable.max(end);
        }
    }
    let mut broken = false;
    let mut end = End { position: recorded, segment: None, offset: 0, torn: false };
    for (i, scanned) in segments.iter().enumerate() {
        let previous_end = (i > 0).then_some(end.position);
        let sequence = Some(scanned.entry.sequence);
        let base = scanned.entry.extent.base().or(scanned.header.map(|header| header.base));
        let base = base.unwrap_or(end.position);
        let reached = End {
            position: base.plus(scanned.valid_end),
            segment: sequence,
            offset: scanned.valid_end,
            torn: scanned.torn,
        };
        let goes_on = match Case::of(scanned, previous_end) {
            Case::Whole | Case::SealedUnlisted => {
                end = End { torn: false, ..reached };
                true
            }
            Case::SealedBroken => {
                broken = true;
                end = End { torn: true, ..reached };
                false
            }
            // if a later segment was begun this one had been sealed: then its end is torn
            Case::Tail => {
                end = reached;
                false
            }
            Case::Unused => true,
            Case::HeaderLost | Case::Misplaced => {
                // the log goes no further than the segment before; an open one's base says so itself
                let base = scanned.entry.extent.base();
                match base {
                    Some(base) => end = End { position: base, segment: sequence, offset: 0, torn: true },
                    None => end.torn = true,
                }
                false
            }
        };
        if !goes_on {
            let later = &segments[i + 1..];
            end.torn |= later.iter().any(|later| later.header.is_some() || !later.beyond.is_empty());
            break;
        }
    }
    Decision { end, durable, broken }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{FileId, Nonce, PartitionId, SegmentSlot};
    use crate::frame::FrameHeader;
    use crate::header::SegmentHeader;
    use crate::manifest::SegmentEntry;

    const OPEN: Extent = Extent::Open { base: LogPosition(1000) };
    const SEALED: Extent = Extent::Sealed { base: LogPosition(1000), end: LogPosition(1800), records: 9 };

    fn scanned(extent: Extent, header_base: Option<u64>, valid_end: u64) -> Scanned<()> {
        let sequence = SegmentSequence(1);
        let entry =
            SegmentEntry { sequence, slot: SegmentSlot(0), file: FileId(1), size: 1 << 16, nonce: Nonce(5), extent };
        let header = header_base.map(|base| SegmentHeader {
            partition: PartitionId(0),
            sequence,
            base: LogPosition(base),
            nonce: Nonce(5),
            created_ms: 0,
        });
        Scanned {
            entry,
            file: (),
            header,
            writer: None,
            loaded: None,
            valid_end,
            records: 9,
            sealed: false,
            beyond: Vec::new(),
            durable: LogPosition(0),
            torn: false,
            notes: Vec::new(),
            is_cut: false,
        }
    }

    fn beyond(mut scanned: Scanned<()>, durable: u64) -> Scanned<()> {
        scanned.beyond = vec![(4000, FrameHeader { length: 0, durable: LogPosition(durable), records: 0 })];
        scanned.durable = LogPosition(durable);
        scanned.torn = true;
        scanned
    }

    fn sealed(mut scanned: Scanned<()>) -> Scanned<()> {
        scanned.sealed = true;
        scanned
    }

    #[test]
    fn every_case_has_its_decision() {
        let d = |segments: &[Scanned<()>]| decide(segments, LogPosition(1000));
        let end = |decision: Decision| (decision.end.position.0, decision.end.torn, decision.is_damage());

        assert_eq!(end(d(&[])), (1000, false, false), "no segments: the log is empty");
        assert_eq!(end(d(&[scanned(SEALED, Some(1000), 800)])), (1800, false, false), "whole");
        assert_eq!(end(d(&[scanned(SEALED, Some(1000), 500)])), (1500, true, true), "sealed and broken");
        assert_eq!(end(d(&[scanned(SEALED, None, 0)])), (1000, true, true), "sealed without its header");
        assert_eq!(end(d(&[scanned(OPEN, Some(1000), 300)])), (1300, false, false), "the tail");
        assert_eq!(end(d(&[beyond(scanned(OPEN, Some(1000), 300), 1300)])), (1300, true, false), "a torn tail");
        assert_eq!(end(d(&[beyond(scanned(OPEN, Some(1000), 300), 1301)])), (1300, true, true), "damage");
        assert_eq!(end(d(&[scanned(OPEN, None, 0)])), (1000, true, false), "never synced, header lost");
        assert_eq!(end(d(&[beyond(scanned(OPEN, None, 0), 1100)])), (1000, true, true), "synced, header lost");

        let prepared = |base, valid_end| scanned(Extent::Prepared, base, valid_end);
        let full = || sealed(scanned(OPEN, Some(1000), 800));
        assert_eq!(end(d(&[full(), prepared(None, 0)])), (1800, false, false), "sealed, next unused");
        assert_eq!(end(d(&[full(), prepared(Some(1800), 264)])), (2064, false, false), "rolled");
        assert_eq!(end(d(&[full(), prepared(Some(1900), 264)])), (1800, true, false), "misplaced");
        assert_eq!(end(d(&[full(), beyond(prepared(None, 0), 1700)])), (1800, true, false), "next's header torn");
        assert_eq!(end(d(&[full(), beyond(prepared(None, 0), 1900)])), (1800, true, true), "next's header lost");
        let torn = || scanned(OPEN, Some(1000), 300);
        assert_eq!(end(d(&[torn(), prepared(Some(1800), 264)])), (1300, true, false), "torn before a later segment");
        assert_eq!(
            end(d(&[torn(), beyond(prepared(Some(1800), 264), 1500)])),
            (1300, true, true),
            "a later segment knows better"
        );
    }

    #[test]
    fn a_wrong_count_of_records_is_damage() {
        let mut short = scanned(SEALED, Some(1000), 800);
        short.records = 8;
        assert_eq!(Case::of(&short, None), Case::SealedBroken);
        assert!(decide(&[short], LogPosition(0)).is_damage());
    }
}
