//! Which transactions over several partitions have happened, and where that ends a log (X5). Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::PartitionId;
use crate::horizon::TxId;
use crate::record::{Entry, Kind, Record};

/// What a record says of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A part; all that have one.
    Part(Vec<PartitionId>),
    Mark,
    Abort,
}

/// A record of a transaction, and where it is in its segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Note {
    pub txid: TxId,
    pub what: What,
    /// Offset of its frame.
    pub frame: u64,
    /// Offset of the record in the frame's body.
    pub offset: usize,
    /// How many records of the frame are before it.
    pub before: u32,
}

impl Note {
    /// What there is to note of a record, if it is needed: what is below the horizon is settled, but aborts say how.
    pub fn of(record: &Record<'_>, horizon: TxId, frame: u64, offset: usize, before: u32) -> Option<Self> {
        let (txid, what) = match record.kind() {
            Kind::Part => {
                let part = record.part()?;
                (part.txid, What::Part(part.participants().collect()))
            }
            Kind::Mark | Kind::Abort => match record.entry()? {
                Entry::Mark { txid } => (txid, What::Mark),
                Entry::Abort { txid } => (txid, What::Abort),
                _ => return None,
            },
            _ => return None,
        };
        (txid >= horizon || what == What::Abort).then_some(Self { txid, what, frame, offset, before })
    }
}

/// Which transactions count.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    horizon: TxId,
    /// From the horizon on.
    committed: BTreeSet<TxId>,
    aborted: BTreeSet<TxId>,
}

impl Outcomes {
    /// Whether the transaction has happened.
    pub fn is_committed(&self, txid: TxId) -> bool {
        !self.aborted.contains(&txid) && (txid < self.horizon || self.committed.contains(&txid))
    }

    /// Whether nothing but what the logs say tells what has become of it.
    pub fn is_recent(&self, txid: TxId) -> bool {
        txid >= self.horizon
    }

    /// Whether it is known not to have happened.
    pub fn is_aborted(&self, txid: TxId) -> bool {
        self.aborted.contains(&txid)
    }
}

/// What a start makes of the transactions of all logs.
#[derive(Debug)]
pub(crate) struct Settled {
    pub outcomes: Outcomes,
    /// How many notes of each log are left; where it is fewer than there were, the log ends before the next one.
    pub kept: Vec<usize>,
    /// Marks and aborts that each log lacks.
    pub missing: Vec<Vec<Entry<'static>>>,
    /// Above every ticket of which a record survives.
    pub next: TxId,
}

impl Settled {
    /// How many transactions lack their end in some log.
    pub fn open(&self) -> usize {
        let txid = |entry: &Entry<'_>| match *entry {
            Entry::Mark { txid } | Entry::Abort { txid } => Some(txid),
            _ => None,
        };
        self.missing.iter().flatten().filter_map(txid).collect::<BTreeSet<_>>().len()
    }
}

/// The parts that are there, of transactions from the horizon on.
#[derive(Default)]
struct Parts<'a>(BTreeMap<TxId, (&'a [PartitionId], BTreeSet<usize>)>);

impl Parts<'_> {
    fn is_complete(&self, txid: TxId) -> bool {
        let there = self.0.get(&txid);
        there.is_some_and(|(wanted, there)| wanted.iter().all(|p| there.contains(&usize::from(p.0))))
    }
}

/// Decides. `logs` are the notes of each log in its order, `horizon` is the manifest's. With `salvaged` parts may be
/// lost by damage: then a mark is believed, and cuts nothing. Logs that follow others leave what has no end yet to those (R4), but for
/// these transactions.
pub(crate) fn settle(logs: &[Vec<Note>], horizon: TxId, salvaged: bool, follows: Option<&BTreeSet<TxId>>) -> Settled {
    let mut kept: Vec<usize> = logs.iter().map(Vec::len).collect();
    let mut parts = Parts::default();
    for (p, notes) in logs.iter().enumerate() {
        for note in notes.iter().filter(|note| note.txid >= horizon) {
            if let What::Part(participants) = &note.what {
                parts.0.entry(note.txid).or_insert((participants, BTreeSet::new())).1.insert(p);
            }
        }
    }
    #[allow(unused_mut)]
    let mut believes_marks = salvaged;
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::X5Cut) {
        believes_marks = true;
    }
    // a cut takes parts away, which may leave a mark elsewhere without: to a fixpoint
    let mut changed = !believes_marks;
    while std::mem::take(&mut changed) {
        for (p, notes) in logs.iter().enumerate() {
            let cuts = |note: &Note| note.what == What::Mark && note.txid >= horizon && !parts.is_complete(note.txid);
            let Some(mut at) = notes[..kept[p]].iter().position(cuts) else { continue };
            // who follows takes over whole frames, and so asks for this one again
            while follows.is_some() && at > 0 && notes[at - 1].frame == notes[at].frame {
                at -= 1;
            }
            for note in notes[at..kept[p]].iter().filter(|note| matches!(note.what, What::Part(_))) {
                if let Some((_, there)) = parts.0.get_mut(&note.txid) {
                    there.remove(&p);
                }
            }
            kept[p] = at;
            changed = true;
        }
    }
    let left = || logs.iter().zip(&kept).flat_map(|(notes, kept)| &notes[..*kept]);
    let with = |what: What| left().filter(move |note| note.what == what).map(|note| note.txid);
    let aborted: BTreeSet<TxId> = with(What::Abort).collect();
    let mut committed: BTreeSet<TxId> = parts.0.keys().copied().filter(|txid| parts.is_complete(*txid)).collect();
    #[cfg(any(test, feature = "sim"))]
    if crate::plant::is(crate::plant::Plant::X5Set) {
        committed.clear();
        committed.extend(with(What::Mark));
    }
    if believes_marks {
        committed.extend(with(What::Mark));
    }
    if let Some(decided) = follows {
        let marked: BTreeSet<TxId> = with(What::Mark).collect();
        committed.retain(|txid| marked.contains(txid));
        committed.extend(decided);
    }
    let outcomes = Outcomes { horizon, committed, aborted };
    let missing = (logs.iter().zip(&kept)).map(|(notes, kept)| missing(&notes[..*kept], &outcomes)).collect();
    let seen = logs.iter().flatten().map(|note| TxId(note.txid.0 + 1)).max();
    let next = horizon.max(seen.unwrap_or_default()).max(TxId(1));
    Settled { outcomes, kept, missing, next }
}

/// The marks and aborts that a log lacks for its parts. What is below the horizon needs none: it counts as committed,
/// and an abort stays for as long as what it hides (T1).
fn missing(notes: &[Note], outcomes: &Outcomes) -> Vec<Entry<'static>> {
    let ended: BTreeSet<TxId> =
        notes.iter().filter(|note| !matches!(note.what, What::Part(_))).map(|note| note.txid).collect();
    let parts = notes.iter().filter(|note| matches!(note.what, What::Part(_)) && !ended.contains(&note.txid));
    let end = |txid| if outcomes.is_committed(txid) { Entry::Mark { txid } } else { Entry::Abort { txid } };
    parts.map(|note| end(note.txid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u16 = 0;
    const B: u16 = 1;
    const C: u16 = 2;

    fn note(txid: u64, what: What) -> Note {
        Note { txid: TxId(txid), what, frame: 64, offset: 0, before: 0 }
    }

    fn part(txid: u64, participants: &[u16]) -> Note {
        note(txid, What::Part(participants.iter().copied().map(PartitionId).collect()))
    }

    fn mark(txid: u64) -> Note {
        note(txid, What::Mark)
    }

    fn abort(txid: u64) -> Note {
        note(txid, What::Abort)
    }

    #[test]
    fn every_case_has_its_decision() {
        let whole = || part(5, &[A, B]);
        let d = |a: Vec<Note>, b: Vec<Note>, horizon| {
            let settled = settle(&[a, b], TxId(horizon), false, None);
            (settled.outcomes.is_committed(TxId(5)), settled.kept[0], settled.kept[1])
        };
        assert_eq!(d(vec![whole()], vec![whole()], 1), (true, 1, 1), "complete, unmarked");
        assert_eq!(d(vec![whole(), mark(5)], vec![whole()], 1), (true, 2, 1), "complete, marked once");
        assert_eq!(d(vec![whole()], vec![], 1), (false, 1, 0), "incomplete");
        assert_eq!(d(vec![whole(), mark(5)], vec![], 1), (false, 1, 0), "incomplete and marked");
        assert_eq!(d(vec![whole(), abort(5)], vec![whole()], 1), (false, 2, 1), "complete and aborted");
        assert_eq!(d(vec![whole()], vec![], 6), (true, 1, 0), "incomplete below the horizon");
        assert_eq!(d(vec![mark(5)], vec![], 6), (true, 1, 0), "marked below the horizon");
        assert_eq!(d(vec![abort(5)], vec![whole()], 6), (false, 1, 1), "aborted below the horizon");
    }

    #[test]
    fn a_cut_may_take_another_transactions_part_and_so_on() {
        let logs = [
            vec![part(1, &[A, C]), mark(1), part(2, &[A, B])],
            vec![part(2, &[A, B]), mark(2), part(3, &[B, C])],
            vec![part(3, &[B, C])],
        ];
        let settled = settle(&logs, TxId(1), false, None);
        assert_eq!(settled.kept, [1, 1, 1], "C has no part of 1, so A ends before its mark; B before that of 2");
        assert!([1, 2, 3].iter().all(|txid| !settled.outcomes.is_committed(TxId(*txid))));
        let abort = |txid| Entry::Abort { txid: TxId(txid) };
        assert_eq!(settled.missing, [vec![abort(1)], vec![abort(2)], vec![abort(3)]]);
        assert_eq!(settled.next, TxId(4));
    }

    #[test]
    fn what_a_log_lacks_is_appended_to_it() {
        let logs = [vec![part(7, &[A, B]), part(8, &[A, B]), mark(7)], vec![part(7, &[A, B])]];
        let settled = settle(&logs, TxId(3), false, None);
        assert_eq!(settled.missing, [vec![Entry::Abort { txid: TxId(8) }], vec![Entry::Mark { txid: TxId(7) }]]);
    }

    #[test]
    fn who_follows_leaves_what_has_no_end_to_whom_it_follows() {
        let logs = [vec![part(5, &[A, B]), mark(5), part(6, &[A, B])], vec![part(5, &[A, B]), part(6, &[A, B])]];
        let settled = settle(&logs, TxId(1), false, Some(&BTreeSet::new()));
        assert!(settled.outcomes.is_committed(TxId(5)), "marked in one of them, where it comes from it is in all");
        assert!(!settled.outcomes.is_committed(TxId(6)) && !settled.outcomes.is_aborted(TxId(6)), "open");
        let settled = settle(&logs, TxId(1), false, Some(&BTreeSet::from([TxId(6)])));
        assert!(settled.outcomes.is_committed(TxId(6)), "its writer has gone on behind it");
    }

    #[test]
    fn after_damage_a_mark_is_believed() {
        let logs = [vec![part(5, &[A, B]), mark(5), part(6, &[A, B])], vec![]];
        let settled = settle(&logs, TxId(1), true, None);
        assert_eq!(settled.kept, [3, 0]);
        assert!(settled.outcomes.is_committed(TxId(5)) && !settled.outcomes.is_committed(TxId(6)));
    }
}
