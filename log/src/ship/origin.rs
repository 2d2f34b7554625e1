//! What a replica has to know of the data set that it follows, before it asks for the first byte.

use crate::address::{AddressSplit, LogPosition};
use crate::frame::FRAME_ALIGN;
use crate::header::SEGMENT_HEADER_BYTES;
use crate::horizon::TxId;
use crate::manifest::{Incarnation, MAX_PARTITIONS};
use crate::ship::piece::{FACTS_BYTES, SegmentFacts, long};

const MAGIC: &[u8; 8] = b"EMBERORI";
/// Changed when pieces or origins do.
const VERSION: u64 = 1;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The data set's name.
    pub dataset: u64,
    /// The secret seed of its key hash.
    pub hash_seed: u64,
    /// How its addresses are divided.
    pub split: AddressSplit,
    /// All transactions with lower tickets are settled, and what says so of them lies before the gates.
    pub horizon: TxId,
    /// One for each partition.
    pub logs: Vec<OriginLog>,
}

/// One partition's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginLog {
    /// Its lives, as far as they can still be met with, the present one last.
    pub incarnations: Vec<Incarnation>,
    /// The segments that there are, and where the sealed ones end; never none.
    pub segments: Vec<(SegmentFacts, Option<LogPosition>)>,
    /// How far it may be read at the moment.
    pub gate: LogPosition,
}

/// How a log goes on that was another's, or an earlier one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meeting {
    /// All that it has is common.
    Resumes,
    /// It has more than what is common, which ends there.
    Diverged(LogPosition),
    /// Nothing is common that still exists, or what comes after it does not.
    Strange,
}

impl Origin {
    /// The origin as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let (size, partitions) = (self.split.segment_size(), self.logs.len() as u64);
        let fields = [VERSION, self.dataset, self.hash_seed, size, self.horizon.0, partitions];
        out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        for log in &self.logs {
            let counts = [log.gate.0, log.segments.len() as u64, log.incarnations.len() as u64];
            out.extend(counts.iter().flat_map(|field| field.to_le_bytes()));
            for (facts, end) in &log.segments {
                facts.encode(&mut out);
                out.extend_from_slice(&end.map_or(0, |end| end.0).to_le_bytes());
            }
            for life in &log.incarnations {
                out.extend([life.term, life.id, life.start.0].iter().flat_map(|field| field.to_le_bytes()));
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The origin that `bytes` are; `None` if they are none, or one of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut field = || {
            let value = long(rest)?;
            rest = &rest[8..];
            Some(value)
        };
        let (version, dataset, hash_seed) = (field()?, field()?, field()?);
        let (segment_size, horizon, partitions) = (field()?, TxId(field()?), field()?);
        if version != VERSION || !(1..=u64::from(MAX_PARTITIONS)).contains(&partitions) {
            return None;
        }
        let split = AddressSplit::for_segment_size(segment_size)?;
        let mut logs = Vec::new();
        for _ in 0..partitions {
            logs.push(OriginLog::decode(&mut rest)?);
        }
        rest.is_empty().then_some(Self { dataset, hash_seed, split, horizon, logs })
    }
}

/// Whether there is no room for anything but padding between these.
pub(super) fn is_padding(from: LogPosition, to: LogPosition) -> bool {
    from <= to && to.0 - from.0 < FRAME_ALIGN
}

impl OriginLog {
    /// Where its last frame that may be read ends, the padding behind it counted in if it is the last one of its segment.
    pub fn end(&self) -> LogPosition {
        let [.., (last, _)] = &self.segments[..] else { return self.gate };
        if self.gate > last.base.plus(SEGMENT_HEADER_BYTES) {
            return self.gate;
        }
        let before = self.segments.iter().rev().nth(1);
        before.and_then(|(_, end)| *end).map_or(self.gate, |end| end.min(self.gate))
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        fn field(rest: &mut &[u8]) -> Option<u64> {
            let value = long(rest)?;
            *rest = &rest[8..];
            Some(value)
        }
        let (gate, segments_left, lives_left) = (LogPosition(field(rest)?), field(rest)?, field(rest)?);
        let mut segments = Vec::new();
        for _ in 0..segments_left {
            let facts = SegmentFacts::decode(rest)?;
            *rest = &rest[FACTS_BYTES..];
            let end = field(rest)?;
            segments.push((facts, (end > 0).then_some(LogPosition(end))));
        }
        let mut incarnations = Vec::new();
        for _ in 0..lives_left {
            incarnations.push(Incarnation { term: field(rest)?, id: field(rest)?, start: LogPosition(field(rest)?) });
        }
        (!segments.is_empty()).then_some(Self { incarnations, segments, gate })
    }

    /// How a log with these `lives` and these segments, which ends at `end`, goes on as a reader of this one (R1).
    pub(crate) fn meets(&self, lives: &[Incarnation], its: &[SegmentFacts], end: LogPosition) -> Meeting {
        let same = |life: &Incarnation, other: &Incarnation| (life.term, life.id) == (other.term, other.id);
        let common = lives.iter().enumerate().rev().find_map(|(ours, life)| {
            let theirs = self.incarnations.iter().position(|other| same(life, other))?;
            Some((ours, theirs))
        });
        let Some((ours, theirs)) = common else { return Meeting::Strange };
        let our_end = lives.get(ours + 1).map_or(end, |next| next.start);
        let their_end = self.incarnations.get(theirs + 1).map_or(self.gate, |next| next.start);
        let upto = our_end.min(their_end);
        if upto < end {
            return Meeting::Diverged(upto);
        }
        let place = |facts: &SegmentFacts| (facts.sequence, facts.size, facts.base);
        let there = |one: &SegmentFacts| self.segments.iter().any(|(facts, _)| place(facts) == place(one));
        if !its.last().is_some_and(there) && !self.begins_at(end) {
            return Meeting::Strange; // what comes next in it is gone
        }
        // what was freed here and is still there: what was said of that, and the tombstones that were freed afterwards, must all
        // be in what comes, or it would come back
        if its.iter().all(there) || self.is_unbroken_from(end) { Meeting::Resumes } else { Meeting::Strange }
    }

    /// Whether a reader that knows it as `before`, and has read up to `at`, goes on there as if nothing had been.
    pub fn goes_on(&self, before: &Self, at: LogPosition) -> bool {
        let holds =
            |(facts, end): &(SegmentFacts, Option<LogPosition>)| facts.base <= at && end.is_none_or(|end| at <= end);
        let is_there = self.segments.iter().any(holds) || self.begins_at(at);
        // what lacked then may lack now: a first sync goes on in spite of it
        let mut unread = before.segments.iter().filter(|(_, end)| end.is_none_or(|end| end > at));
        let known = before.segments.last().map_or(at, |(last, _)| last.base.max(at));
        let still = |facts: &SegmentFacts| self.segments.iter().any(|(its, _)| its == facts);
        self.incarnations == before.incarnations
            && is_there
            && unread.all(|(facts, _)| still(facts))
            && self.is_unbroken_from(known)
    }

    /// Whether a segment begins there, or behind padding that does.
    fn begins_at(&self, position: LogPosition) -> bool {
        self.segments.iter().any(|(facts, _)| is_padding(position, facts.base))
    }

    /// Whether nothing was freed of what lies behind `position`.
    pub fn is_unbroken_from(&self, position: LogPosition) -> bool {
        let pairs = self.segments.iter().zip(self.segments.iter().skip(1));
        let is_behind = |next: &SegmentFacts| next.base > position && !is_padding(position, next.base);
        let mut behind = pairs.filter(|(_, (next, _))| is_behind(next));
        behind.all(|((_, end), (next, _))| *end == Some(next.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::SegmentSequence;

    fn lives(lives: &[(u64, u64)]) -> Vec<Incarnation> {
        let life = |(term, (id, start)): (usize, &(u64, u64))| Incarnation {
            term: term as u64 + 1,
            id: *id,
            start: LogPosition(*start),
        };
        lives.iter().enumerate().map(life).collect()
    }

    fn facts(sequence: u64, base: u64) -> SegmentFacts {
        SegmentFacts { sequence: SegmentSequence(sequence), size: 1 << 16, base: LogPosition(base), created_ms: 7 }
    }

    /// With segments 3 and 5; what was between them is gone.
    fn log(its: &[(u64, u64)], gate: u64) -> OriginLog {
        let segments = vec![(facts(3, 100), Some(LogPosition(600))), (facts(5, 800), None)];
        OriginLog { incarnations: lives(its), segments, gate: LogPosition(gate) }
    }

    #[test]
    fn an_origin_reads_back_and_damage_is_noticed() {
        let split = AddressSplit::for_segment_size(1 << 20).unwrap();
        let horizon = TxId(77);
        let origin =
            Origin { dataset: 5, hash_seed: 6, split, horizon, logs: vec![log(&[(8, 0), (9, 50)], 900), log(&[], 0)] };
        let bytes = origin.encode();
        assert_eq!(Origin::decode(&bytes), Some(origin));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(Origin::decode(&bad), None, "byte {at}");
            assert_eq!(Origin::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn every_meeting_has_its_decision() {
        let theirs = log(&[(8, 0), (9, 500)], 900);
        let with = |ours: &[(u64, u64)], its: &[u64], end| {
            let bases = [0, 0, 50, 100, 600, 800];
            let its: Vec<_> = its.iter().map(|sequence| facts(*sequence, bases[*sequence as usize])).collect();
            theirs.meets(&lives(ours), &its, LogPosition(end))
        };
        let meets = |ours: &[(u64, u64)], end| with(ours, &[3], end);
        assert_eq!(meets(&[(8, 0), (9, 500)], 550), Meeting::Resumes, "behind in the same life");
        assert_eq!(with(&[(8, 0), (9, 500)], &[3, 5], 850), Meeting::Resumes, "the same");
        assert_eq!(meets(&[(8, 0), (9, 500)], 901), Meeting::Diverged(LogPosition(900)), "ahead: a power loss took it");
        assert_eq!(meets(&[(8, 0)], 400), Meeting::Resumes, "in an earlier life");
        assert_eq!(meets(&[(8, 0)], 500), Meeting::Resumes, "at its very end");
        assert_eq!(meets(&[(8, 0)], 600), Meeting::Diverged(LogPosition(500)), "beyond what the next one went on from");
        assert_eq!(
            meets(&[(8, 0), (7, 300)], 400),
            Meeting::Diverged(LogPosition(300)),
            "it has had a life of its own"
        );
        assert_eq!(meets(&[(8, 0), (7, 400)], 400), Meeting::Resumes, "in which it wrote nothing");
        assert_eq!(with(&[(8, 0), (9, 500)], &[3, 4], 797), Meeting::Resumes, "it is gone, and was read");
        assert_eq!(meets(&[(1, 0)], 400), Meeting::Strange, "another's");
        assert_eq!(meets(&[], 0), Meeting::Strange, "nothing");
        assert_eq!(theirs.meets(&lives(&[(8, 0)]), &[facts(3, 99)], LogPosition(400)), Meeting::Strange, "elsewhere");
        assert_eq!(with(&[(8, 0), (9, 500)], &[3, 4], 700), Meeting::Strange, "the segment that it is in is gone");
        assert_eq!(with(&[(8, 0), (9, 500)], &[2, 3], 550), Meeting::Strange, "2 is gone, and so may be what says so");
        assert_eq!(with(&[(8, 0), (9, 500)], &[2, 5], 850), Meeting::Resumes, "2 is gone, which it will be told");
    }

    #[test]
    fn a_reader_goes_on_if_nothing_was_freed_since() {
        let before = log(&[(8, 0), (9, 500)], 900);
        let goes_on = |now: &OriginLog, at| now.goes_on(&before, LogPosition(at));
        assert!(goes_on(&before, 164) && goes_on(&before, 600) && goes_on(&before, 850));
        let mut later = before.clone();
        later.segments[1].1 = Some(LogPosition(1000));
        later.segments.push((facts(6, 1000), None));
        assert!(goes_on(&later, 164) && goes_on(&later, 1000), "there is more now");
        later.segments[2].0.base = LogPosition(1100);
        assert!(!goes_on(&later, 164), "something has come and gone meanwhile");
        let mut freed = before.clone();
        freed.segments.remove(0);
        assert!(!goes_on(&freed, 164) && goes_on(&freed, 850), "one that was not read is gone, or one that was");
        assert!(!goes_on(&log(&[(8, 0), (7, 500)], 900), 850), "another life");
    }
}
