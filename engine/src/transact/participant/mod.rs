//! The owner's side: what a partition does for transactions over several (X1 to X3, X6).
//!
//! ```text
//!   Queued --- locks granted ---> Vote ---> Voted --- Write ---> Written --- Commit ---> (mark, publish) gone
//!     |                             | |       |         |            '------ Abort ----> Undone --- Release ---> gone
//!     '---------- refused ----------' |       |         '---------------- refused ---------^
//!                   '----> Undone     |       '--- Release ---> gone
//!                                     '--- at once: without a vote ---> Written
//! ```
//!
//! A part's records are in the log from `Write` on and in the index from `Commit` on; between, their keys are locked, so
//! that nothing else of these keys is appended: replay finds the part at its own position.

mod answers;
mod others;
mod part;
mod run;
mod vote;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use emberkv_index::Fingerprint;
use emberkv_log::disk::Disk;
use emberkv_log::{
    Appended, DbId, Entry, LogPosition, MARK_BYTES, OpenPart, PartHolds, PartitionId, Refusal, Shape, TxId,
};

use self::answers::Answer;
use super::share::{Action, Share};
use super::{CoordinatorId, ToCoordinator, ToOwner};
use crate::commands::Walk;
use crate::locks::{Place, Wants};
use crate::overlay::{Effects, Overlay};
use crate::partition::Partition;
use crate::published::WriteCounters;
use crate::stop::Stop;

/// The transactions that a partition has a part in.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Boxed: each step takes its transaction out and puts it back.
    open: BTreeMap<TxId, Box<Open>>,
    /// Those that wait for room in the log.
    waiting: Vec<TxId>,
    answers: Vec<Answer>,
    /// Parts, marks and aborts that were appended since somebody looked: the kind, and where the log was then.
    #[cfg(test)]
    pub(crate) trace: Vec<(TxId, emberkv_log::Kind, LogPosition)>,
}

#[derive(Debug)]
struct Open {
    from: CoordinatorId,
    members: u16,
    /// All participants, if the part is to be appended without a vote.
    at_once: Option<Arc<[PartitionId]>>,
    /// Whether what is read is not to be noted.
    untouched: bool,
    share: Share,
    /// The number that records have of the share's database, from the grant on.
    db: DbId,
    place: Place,
    step: Step,
    /// Of a deletion: which of the keys there are.
    found: Vec<usize>,
    /// How far the search for keys has come.
    walk: Walk,
    /// Bytes that are held for the part, and whether some are held for the mark.
    held_for_part: Option<u64>,
    held_for_mark: bool,
    /// Other threads have been told to keep off its keys.
    is_raised: bool,
    /// Of a script: what it has changed here, what that comes to, its answers so far, the step that comes next, and what it has seen.
    overlay: Option<Box<Overlay>>,
    effects: Effects,
    answers: Vec<super::share::Answer>,
    next_step: usize,
    depends: LogPosition,
    /// The records of the part, in the order of the share.
    records: Vec<Appended>,
    /// Where the log was before the part.
    start: LogPosition,
    /// The position after the part.
    end: LogPosition,
}

/// What is to be done next, or what is awaited.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Locks are awaited.
    Queued,
    /// To look and to vote.
    Vote,
    /// `Write` or `Release` is awaited.
    Voted,
    /// To append the part.
    Write(Arc<[PartitionId]>),
    /// `Commit` or `Abort` is awaited.
    Written,
    /// To append the mark and to publish.
    Commit,
    /// To append the abort.
    Abort,
    /// `Release` is awaited.
    Undone,
}

impl<D: Disk> Partition<D> {
    /// Takes a coordinator's message.
    ///
    /// # Panics
    /// If it is about a transaction that this partition has nothing to do with.
    pub fn receive(&mut self, message: ToOwner) {
        match message {
            ToOwner::Lock { ticket, from, members, at_once, untouched, share } => {
                self.lock(ticket, from, members, at_once, untouched, share);
            }
            ToOwner::Run { ticket, steps } => {
                let Some(open) = self.transactions.open.get_mut(&ticket) else { unknown(ticket) };
                if let Action::Run(run) = &mut open.share.action {
                    (run.steps, open.next_step) = (steps, 0);
                }
                self.step(ticket, Some(Step::Vote));
            }
            ToOwner::Write { ticket, participants } => self.step(ticket, Some(Step::Write(participants))),
            ToOwner::Commit { ticket } => self.step(ticket, Some(Step::Commit)),
            ToOwner::Abort { ticket } => self.step(ticket, Some(Step::Abort)),
            ToOwner::Release { ticket } => {
                let Some(open) = self.transactions.open.remove(&ticket) else { unknown(ticket) };
                self.leave(open);
            }
        }
        self.serve_granted();
    }

    /// Goes on with what has waited for room in the log, and ends the turn of those commands that were let through between
    /// two transactions. Once a turn, after commands that stopped with [`Stop::Locked`] were tried again and before the log's
    /// end of the turn.
    pub fn progress_transactions(&mut self) {
        if self.locks.is_empty() {
            return;
        }
        self.locks.end_visits();
        for ticket in std::mem::take(&mut self.transactions.waiting) {
            self.step(ticket, None);
        }
        if self.log.read_only().is_some() {
            self.refuse_queued();
        }
        self.serve_granted();
    }

    /// Whether [`Partition::progress_transactions`] has to be called again soon, though nothing comes from outside.
    pub fn has_visits(&self) -> bool {
        self.locks.has_visits()
    }

    /// A counter that moves when commands that stopped with [`Stop::Locked`] should be tried again, before
    /// [`Partition::progress_transactions`] is called the next time.
    pub fn unlocks(&self) -> u64 {
        self.locks.unlocks()
    }

    fn lock(
        &mut self,
        ticket: TxId,
        from: CoordinatorId,
        members: u16,
        at_once: Option<Arc<[PartitionId]>>,
        untouched: bool,
        share: Share,
    ) {
        #[cfg(any(test, feature = "sim"))]
        if let Action::Run(run) = &share.action {
            self.note_reader_early(run);
        }
        let wants = match &share.action {
            Action::Put { pairs, .. } => Wants::keys(pairs.iter().step_by(2).map(|key| self.key_hash(share.db, key))),
            Action::Delete(keys) | Action::Count(keys) | Action::Touch(keys) | Action::Get { keys, .. } => {
                Wants::keys(keys.iter().map(|key| self.key_hash(share.db, key)))
            }
            Action::Watch { keys, .. } => Wants::keys(keys.iter().map(|key| self.key_hash(share.db, key))),
            Action::Run(run) if !run.all => {
                Wants::keys(run.keys.iter().chain(&run.watched).map(|(db, key)| self.key_hash(*db, key)))
            }
            Action::Size | Action::Find { .. } | Action::Draw | Action::Flush { .. } | Action::Run(_) => Wants::All,
        };
        let place = self.locks.enter(ticket, wants);
        let open = Box::new(Open {
            from,
            members,
            at_once,
            untouched,
            db: share.db,
            share,
            place,
            step: Step::Queued,
            found: Vec::new(),
            overlay: None,
            effects: Effects::default(),
            answers: Vec::new(),
            next_step: 0,
            depends: LogPosition(0),
            walk: Walk::default(),
            held_for_part: None,
            held_for_mark: false,
            is_raised: false,
            records: Vec::new(),
            start: LogPosition(0),
            end: LogPosition(0),
        });
        self.transactions.open.insert(ticket, open);
    }

    /// Those that have got their locks look and vote.
    fn serve_granted(&mut self) {
        loop {
            let granted = self.locks.take_granted();
            if granted.is_empty() {
                break;
            }
            for ticket in granted {
                // one that was refused while it was waiting is not asked any more
                if let Some(open) = self.transactions.open.get_mut(&ticket)
                    && open.step == Step::Queued
                {
                    // while it has its locks databases are not swapped but by itself
                    open.db = self.databases.physical(open.share.db);
                    self.step(ticket, Some(Step::Vote));
                }
            }
        }
    }

    /// In a log that takes no writes those who wait for locks might wait for ever.
    fn refuse_queued(&mut self) {
        let queued = self.transactions.open.iter().filter(|(_, open)| open.step == Step::Queued);
        let queued: Vec<_> = queued.map(|(ticket, _)| *ticket).collect();
        for ticket in queued {
            let Some(open) = self.transactions.open.remove(&ticket) else { continue };
            let error = misconf(self.log.read_only().unwrap_or_default());
            self.refuse(ticket, open, error);
        }
    }

    /// Does what is to be done next for a transaction; what finds no room in the log is done later.
    fn step(&mut self, ticket: TxId, next: Option<Step>) {
        let Some(mut open) = self.transactions.open.remove(&ticket) else { unknown(ticket) };
        if let Some(next) = next {
            open.step = next;
        }
        let done = match open.step.clone() {
            Step::Vote => self.vote(ticket, &mut open),
            Step::Write(participants) => self.write(ticket, &mut open, &participants),
            // what the part replaces is looked at once more
            Step::Commit if self.bring_share(&open).is_err() => Err(Stop::Wait),
            Step::Commit => match self.append_decision(&mut open, &Entry::Mark { txid: ticket }) {
                Err(Refusal::Wait) => Err(Stop::Wait),
                // with or without a mark it is committed; in a log that takes no writes nothing depends on the mark
                Ok(()) | Err(Refusal::ReadOnly(_) | Refusal::NoSpace(_) | Refusal::NoMemory) => {
                    self.publish_part(ticket, &open);
                    open.records.clear();
                    return self.leave(open);
                }
            },
            Step::Abort => self.abort(ticket, &mut open),
            Step::Queued | Step::Voted | Step::Written | Step::Undone => Ok(()),
        };
        match done {
            Ok(()) => drop(self.transactions.open.insert(ticket, open)),
            Err(Stop::Error(error)) => self.refuse(ticket, open, error),
            Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => {
                self.transactions.waiting.push(ticket);
                self.transactions.open.insert(ticket, open);
            }
        }
    }

    /// Others may have their parts: what becomes of the transaction, and of its locks, is the coordinator's to say.
    fn refuse(&mut self, ticket: TxId, mut open: Box<Open>, error: Cow<'static, str>) {
        let partition = self.log.partition();
        self.answer(open.from, ToCoordinator::Refused { ticket, partition, error }, LogPosition(0));
        open.step = Step::Undone;
        self.transactions.open.insert(ticket, open);
    }

    /// Unlocks, and gives back what is held. Records of a part that was not published are dead.
    fn leave(&mut self, mut open: Box<Open>) {
        self.let_go(&mut open);
        self.release_records(&mut open);
        if open.is_raised {
            self.count(open.place, WriteCounters::lower);
        }
        self.locks.leave(open.place);
        self.serve_waiters();
    }

    /// Gives back what is held.
    fn let_go(&mut self, open: &mut Open) {
        if let Some(bytes) = open.held_for_part.take() {
            self.log.release_held(bytes);
        }
        if std::mem::take(&mut open.held_for_mark) {
            self.log.release_held(MARK_BYTES as u64);
        }
    }

    /// Calls `how` for each key that a place has to itself.
    fn count(&self, place: Place, how: impl Fn(&WriteCounters, Option<Fingerprint>)) {
        let Some(published) = &self.published else { return };
        match self.locks.wants(place) {
            Wants::All => how(&published.writes, None),
            Wants::Keys(keys) => {
                keys.iter().for_each(|key| how(&published.writes, Some(Fingerprint::from_hash(key.0))))
            }
        }
    }

    /// The parts that are appended and not decided: the index does not know of them.
    pub(crate) fn undecided(&self) -> Vec<OpenPart> {
        let open = self.transactions.open.iter().filter(|(_, open)| !open.records.is_empty());
        let part = |(txid, open): (&TxId, &Open)| {
            let records = match (&open.share.action, &open.overlay) {
                (Action::Run(_), Some(overlay)) => {
                    let holds = open.effects.entries(overlay).map(|entry| match entry {
                        Entry::Put { db, expires_at_ms, .. } => PartHolds::Value(db, expires_at_ms),
                        Entry::Delete { .. } => PartHolds::Tombstone,
                        _ => PartHolds::Floor,
                    });
                    open.records.iter().copied().zip(holds).collect()
                }
                (action, _) => {
                    let holds = match action {
                        Action::Put { .. } => PartHolds::Value(open.db, None),
                        Action::Delete(_) => PartHolds::Tombstone,
                        _ => PartHolds::Floor,
                    };
                    open.records.iter().map(|record| (*record, holds)).collect()
                }
            };
            OpenPart { txid: *txid, start: open.start, records }
        };
        open.map(|(txid, open)| part((txid, &**open))).collect()
    }

    fn release_records(&mut self, open: &mut Open) {
        self.release_effects(open);
        for record in open.records.drain(..) {
            if matches!(open.share.action, Action::Put { .. }) {
                let shape = Shape { len: record.len, db: open.db, expires_at_ms: None };
                self.log.table_mut().release(record.address, shape);
            }
        }
    }
}

fn misconf(reason: &str) -> Cow<'static, str> {
    format!("MISCONF Errors writing to the AOF file: {reason}").into()
}

#[cold]
fn unknown(ticket: TxId) -> ! {
    panic!("{ticket:?} is not open in this partition")
}
