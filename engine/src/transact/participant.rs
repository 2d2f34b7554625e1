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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use emberkv_index::Fingerprint;
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, Appended, Entry, LogPosition, MARK_BYTES, PartitionId, Purpose, Refusal, TxId, Value};
use emberkv_resp::schema::CommandId;

use super::share::{Action, Share, Strings, Values, Vote};
use super::{CoordinatorId, ToCoordinator, ToOwner};
use crate::commands::SHARED_VALUE_BYTES;
use crate::group::Request;
use crate::locks::{KeyHash, Place, Wants};
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;
use crate::published::WriteCounters;
use crate::stop::Stop;
use crate::write::stored;

/// What a part's own record takes at most, its participants not counted.
const PART_BYTES: u64 = 24;

/// The transactions that a partition has a part in.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    open: BTreeMap<TxId, Open>,
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
    share: Share,
    place: Place,
    step: Step,
    /// Of a deletion: which of the keys there are.
    found: Vec<usize>,
    /// Bytes that are held for the part, and whether some are held for the mark.
    held_for_part: Option<u64>,
    held_for_mark: bool,
    /// Other threads have been told to keep off its keys.
    is_raised: bool,
    /// The records of the part, in the order of the share.
    records: Vec<Appended>,
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

/// An answer that waits until what it depends on can't be taken back.
#[derive(Debug)]
struct Answer {
    to: CoordinatorId,
    message: ToCoordinator,
    position: LogPosition,
}

impl<D: Disk> Partition<D> {
    /// Takes a coordinator's message.
    ///
    /// # Panics
    /// If it is about a transaction that this partition has nothing to do with.
    pub fn receive(&mut self, message: ToOwner) {
        match message {
            ToOwner::Lock { ticket, from, members, at_once, share } => self.lock(ticket, from, members, at_once, share),
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

    /// Hands out the answers that may leave now. Once a turn, after the log's end of the turn.
    pub fn take_answers(&mut self, mut give: impl FnMut(CoordinatorId, ToCoordinator)) {
        if self.transactions.answers.is_empty() {
            return;
        }
        let (gate, synced) = (self.log.gate(), self.log.synced());
        let mut waiting = Vec::new();
        for answer in std::mem::take(&mut self.transactions.answers) {
            let reached = match answer.message {
                // safe, whatever the policy
                ToCoordinator::Aborted { ticket, partition, .. } => {
                    answer.position <= synced && self.log.horizon().is_safe(ticket, partition)
                }
                _ => answer.position <= gate,
            };
            if reached {
                give(answer.to, answer.message);
            } else if let Some(reason) = self.log.read_only() {
                // it will never be reached
                let error = misconf(reason);
                give(answer.to, self.failed(answer.message, error));
            } else {
                waiting.push(answer);
            }
        }
        self.transactions.answers = waiting;
    }

    /// What is said in place of an answer whose position will never be reached.
    fn failed(&mut self, message: ToCoordinator, error: Cow<'static, str>) -> ToCoordinator {
        match message {
            ToCoordinator::Granted { ticket, partition, .. } => {
                let Some(open) = self.transactions.open.get_mut(&ticket) else { unknown(ticket) };
                open.step = Step::Undone;
                ToCoordinator::Refused { ticket, partition, error }
            }
            ToCoordinator::Durable { ticket, partition } => ToCoordinator::Failed { ticket, partition, error },
            ToCoordinator::Aborted { ticket, partition, .. } => {
                ToCoordinator::Aborted { ticket, partition, safe: false }
            }
            message @ (ToCoordinator::Refused { .. } | ToCoordinator::Failed { .. }) => message,
        }
    }

    fn lock(
        &mut self,
        ticket: TxId,
        from: CoordinatorId,
        members: u16,
        at_once: Option<Arc<[PartitionId]>>,
        share: Share,
    ) {
        let wants = match &share.action {
            Action::Put { pairs, .. } => Wants::keys(pairs.iter().step_by(2).map(|key| self.key_hash(share.db, key))),
            Action::Delete(keys) | Action::Count(keys) | Action::Get(keys) => {
                Wants::keys(keys.iter().map(|key| self.key_hash(share.db, key)))
            }
            Action::Size | Action::Find { .. } | Action::Draw | Action::Flush { .. } => Wants::All,
        };
        let place = self.locks.enter(ticket, wants);
        let open = Open {
            from,
            members,
            at_once,
            share,
            place,
            step: Step::Queued,
            found: Vec::new(),
            held_for_part: None,
            held_for_mark: false,
            is_raised: false,
            records: Vec::new(),
            end: LogPosition(0),
        };
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
                if self.transactions.open.get(&ticket).is_some_and(|open| open.step == Step::Queued) {
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
            Step::Commit => match self.append_decision(&mut open, &Entry::Mark { txid: ticket }) {
                Err(Refusal::Wait) => Err(Stop::Wait),
                // with or without a mark it is committed; in a log that takes no writes nothing depends on the mark
                Ok(()) | Err(Refusal::ReadOnly(_) | Refusal::NoSpace(_)) => {
                    self.publish_part(&open);
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
            Err(Stop::Wait | Stop::Locked) => {
                self.transactions.waiting.push(ticket);
                self.transactions.open.insert(ticket, open);
            }
        }
    }

    fn answer(&mut self, to: CoordinatorId, message: ToCoordinator, position: LogPosition) {
        self.transactions.answers.push(Answer { to, message, position });
    }

    /// Others may have their parts: what becomes of the transaction, and of its locks, is the coordinator's to say.
    fn refuse(&mut self, ticket: TxId, mut open: Open, error: Cow<'static, str>) {
        let partition = self.log.partition();
        self.answer(open.from, ToCoordinator::Refused { ticket, partition, error }, LogPosition(0));
        open.step = Step::Undone;
        self.transactions.open.insert(ticket, open);
    }

    /// Unlocks, and gives back what is held. Records of a part that was not published are dead.
    fn leave(&mut self, mut open: Open) {
        if let Some(bytes) = open.held_for_part.take() {
            self.log.release_held(bytes);
        }
        if open.held_for_mark {
            self.log.release_held(MARK_BYTES as u64);
        }
        self.release_records(&mut open);
        if open.is_raised {
            self.count(open.place, WriteCounters::lower);
        }
        self.locks.leave(open.place);
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

    fn release_records(&mut self, open: &mut Open) {
        for record in open.records.drain(..) {
            if matches!(open.share.action, Action::Put { .. }) {
                self.log.table_mut().release(record.address, record.len);
            }
        }
    }

    // ---- the vote ------------------------------------------------------------------------------------

    /// The locks are granted: looks, holds room for what will be written, votes.
    fn vote(&mut self, ticket: TxId, open: &mut Open) -> Result<(), Stop> {
        let before = self.take_dependency();
        let vote = self.look(open);
        let depends = std::mem::replace(&mut self.depends, before);
        let vote = vote?;
        #[cfg(any(test, feature = "sim"))]
        let depends = if plant::is(Plant::L2Vote) { LogPosition(0) } else { depends };
        open.step = Step::Voted;
        if open.held_for_mark {
            // once it is committed, before it is published, nobody may read past us what was there before (D6)
            open.is_raised = self.published.is_some();
            #[cfg(any(test, feature = "sim"))]
            if plant::is(Plant::D6) {
                open.is_raised = false;
            }
            if open.is_raised {
                self.count(open.place, WriteCounters::raise);
            }
        }
        if let Some(participants) = open.at_once.take() {
            open.step = Step::Write(Arc::clone(&participants));
            return self.write(ticket, open, &participants);
        }
        let partition = self.log.partition();
        self.answer(open.from, ToCoordinator::Granted { ticket, partition, vote }, depends);
        Ok(())
    }

    fn look(&mut self, open: &mut Open) -> Result<Vote, Stop> {
        let db = open.share.db;
        // `open` is written to while the share is read
        let share = std::mem::replace(&mut open.share.action, Action::Size);
        let vote = match &share {
            Action::Put { pairs, if_absent } => self.look_for_put(open, pairs, *if_absent),
            Action::Delete(keys) => self.look_for_delete(open, keys),
            Action::Count(keys) => self.count_keys(db, keys),
            Action::Get(keys) => self.read_keys(db, keys),
            Action::Size => self.note_all().map(|()| Vote::Count(self.dbs[usize::from(db.0)].keys)),
            Action::Find { pattern } => self.note_all().map(|()| {
                let mut keys = Strings::default();
                self.matching_keys(db, pattern, |key| keys.push(key));
                Vote::Keys(keys)
            }),
            Action::Draw => self.note_all().map(|()| {
                let key = self.random_key(db).map(Vec::into_boxed_slice);
                Vote::Drawn { keys: self.dbs[usize::from(db.0)].keys, key }
            }),
            Action::Flush { .. } => {
                let floor = Entry::Floor { db: None };
                self.hold(open, floor.encoded_len() as u64, Purpose::Free).map(|()| Vote::Ready)
            }
        };
        open.share.action = share;
        vote
    }

    fn look_for_put(&mut self, open: &mut Open, pairs: &Strings, if_absent: bool) -> Result<Vote, Stop> {
        let db = open.share.db;
        let mut bytes = 0;
        for i in (0..pairs.len()).step_by(2) {
            let (key, value) = (pairs.at(i), stored(pairs.at(i + 1)));
            bytes += Entry::Put { db, key, value, expires_at_ms: None }.encoded_len() as u64;
            if if_absent && self.lookup(self.key(db, key))?.live().is_some() {
                return Ok(Vote::Exists);
            }
        }
        self.hold(open, bytes, Purpose::Grow)?;
        Ok(Vote::Ready)
    }

    fn look_for_delete(&mut self, open: &mut Open, keys: &Strings) -> Result<Vote, Stop> {
        let mut found: Vec<(Address, usize)> = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            if let Some(entry) = self.lookup(self.key(open.share.db, key))?.live() {
                found.push((entry.address, i));
            }
        }
        // a key that is named twice is deleted, and counted, once
        found.sort_unstable();
        found.dedup_by_key(|(address, _)| *address);
        open.found = found.iter().map(|(_, i)| *i).collect();
        if !found.is_empty() {
            // a tombstone has at most 12 bytes beside its key
            let bytes = open.found.iter().map(|i| keys.at(*i).len() as u64 + 12).sum();
            self.hold(open, bytes, Purpose::Shrink)?;
        }
        Ok(Vote::Count(found.len() as u64))
    }

    fn count_keys(&mut self, db: emberkv_log::DbId, keys: &Strings) -> Result<Vote, Stop> {
        let mut count = 0;
        for key in keys.iter() {
            let lookup = self.lookup(self.key(db, key))?;
            self.count_read(lookup);
            count += u64::from(lookup.live().is_some());
        }
        Ok(Vote::Count(count))
    }

    fn read_keys(&mut self, db: emberkv_log::DbId, keys: &Strings) -> Result<Vote, Stop> {
        let fingerprints: Vec<_> = keys.iter().map(|key| self.prefetch_row(db, key)).collect();
        fingerprints.iter().for_each(|fingerprint| self.prefetch_record(*fingerprint));
        let mut values = Values::default();
        for key in keys.iter() {
            let lookup = self.lookup(self.key(db, key))?;
            self.count_read(lookup);
            match lookup.live().map(|found| (found, self.value(found))) {
                None => values.push_nil(),
                Some((found, Value::Bytes(bytes))) if bytes.len() >= SHARED_VALUE_BYTES => {
                    values.push_shared(self.log.table().share_value(found.address));
                }
                Some((found, _)) => values.push(self.text(found, &mut [0; 20])),
            }
        }
        Ok(Vote::Values(values))
    }

    /// Holds room for a part with records of so many bytes, and for the mark or the abort (X2).
    fn hold(&mut self, open: &mut Open, bytes: u64, purpose: Purpose) -> Result<(), Stop> {
        let bytes = bytes + PART_BYTES + 2 * u64::from(open.members);
        self.log.hold(bytes, purpose)?;
        if let Err(refusal) = self.log.hold(MARK_BYTES as u64, Purpose::Free) {
            self.log.release_held(bytes);
            return Err(refusal.into());
        }
        (open.held_for_part, open.held_for_mark) = (Some(bytes), true);
        Ok(())
    }

    // ---- the part ------------------------------------------------------------------------------------

    fn write(&mut self, ticket: TxId, open: &mut Open, participants: &[PartitionId]) -> Result<(), Stop> {
        let Some(held) = open.held_for_part else { unreachable!("{ticket:?} is no writer here") };
        self.log.reserve_held(held)?;
        open.held_for_part = None;
        let db = open.share.db;
        let count = match &open.share.action {
            Action::Put { pairs, .. } => pairs.len() / 2,
            Action::Delete(_) => open.found.len(),
            _ => 1,
        };
        self.log.append(&Entry::Part { txid: ticket, participants, records: count as u32 });
        match &open.share.action {
            Action::Put { pairs, .. } => {
                for i in (0..pairs.len()).step_by(2) {
                    let (key, value) = (pairs.at(i), stored(pairs.at(i + 1)));
                    let record = self.log.append(&Entry::Put { db, key, value, expires_at_ms: None });
                    open.records.push(record);
                }
            }
            Action::Delete(keys) => {
                for i in &open.found {
                    open.records.push(self.log.append(&Entry::Delete { db, key: keys.at(*i) }));
                }
            }
            Action::Flush { all } => {
                let floor = self.floor((!all).then_some(db));
                open.records.push(self.log.append(&floor));
            }
            other => unreachable!("{other:?} writes nothing"),
        }
        open.end = self.log.tail();
        #[cfg(test)]
        self.transactions.trace.push((ticket, emberkv_log::Kind::Part, open.end));
        open.step = Step::Written;
        let partition = self.log.partition();
        #[allow(unused_mut)]
        let mut position = open.end;
        #[cfg(any(test, feature = "sim"))]
        {
            if plant::is(Plant::X3Durable) {
                position = LogPosition(0);
            }
            if plant::is(Plant::X3Publish) {
                self.publish_part(open);
                open.records.clear();
                open.found.clear();
            }
        }
        self.answer(open.from, ToCoordinator::Durable { ticket, partition }, position);
        Ok(())
    }

    /// The part counts: the index refers to it.
    fn publish_part(&mut self, open: &Open) {
        let db = open.share.db;
        match &open.share.action {
            Action::Put { pairs, .. } => {
                // the misses of all keys overlap
                let keys = || pairs.iter().step_by(2);
                let fingerprints: Vec<_> = keys().map(|key| self.prefetch_row(db, key)).collect();
                fingerprints.iter().for_each(|fingerprint| self.prefetch_record(*fingerprint));
                for (record, (bytes, fingerprint)) in open.records.iter().zip(keys().zip(fingerprints)) {
                    let key = Key { db, bytes, fingerprint };
                    let old = self.peek(key);
                    self.refer(key, record.address, None, old);
                }
            }
            Action::Delete(keys) => {
                self.note_delete_before(open.end);
                for i in &open.found {
                    let key = self.key(db, keys.at(*i));
                    match self.peek(key) {
                        Lookup::Live(found) | Lookup::Stale(found) => self.unlink(key, found),
                        Lookup::Absent => {}
                    }
                }
            }
            _ => {
                for record in &open.records {
                    let floor = self.log.table().record(record.address).entry();
                    if let Some(Entry::Floor { db }) = floor {
                        self.note_delete_before(open.end);
                        self.apply_floor(db, record.address);
                    }
                }
            }
        }
    }

    fn append_decision(&mut self, open: &mut Open, entry: &Entry<'_>) -> Result<(), Refusal> {
        assert!(open.held_for_mark, "a decision is appended once, and after a part");
        self.log.reserve_held(MARK_BYTES as u64)?;
        open.held_for_mark = false;
        self.log.append(entry);
        #[cfg(test)]
        if let Entry::Mark { txid } | Entry::Abort { txid } = *entry {
            let is_mark = matches!(entry, Entry::Mark { .. });
            let kind = if is_mark { emberkv_log::Kind::Mark } else { emberkv_log::Kind::Abort };
            self.transactions.trace.push((txid, kind, self.log.tail()));
        }
        Ok(())
    }

    fn abort(&mut self, ticket: TxId, open: &mut Open) -> Result<(), Stop> {
        let appended = match self.append_decision(open, &Entry::Abort { txid: ticket }) {
            Ok(()) => true,
            Err(Refusal::Wait) => return Err(Stop::Wait),
            Err(Refusal::ReadOnly(_) | Refusal::NoSpace(_)) => false,
        };
        self.release_records(open);
        open.step = Step::Undone;
        let message = ToCoordinator::Aborted { ticket, partition: self.log.partition(), safe: appended };
        let position = if appended { self.log.tail() } else { LogPosition(0) };
        #[cfg(any(test, feature = "sim"))]
        let position = if plant::is(Plant::X6) { LogPosition(0) } else { position };
        self.answer(open.from, message, position);
        Ok(())
    }

    // ---- ordinary commands ---------------------------------------------------------------------------

    fn key_hash(&self, db: emberkv_log::DbId, key: &[u8]) -> KeyHash {
        KeyHash(self.hasher.hash(db, key))
    }

    /// Whether a transaction has this key, so that nothing may be changed about it.
    pub(crate) fn is_locked(&self, db: emberkv_log::DbId, key: &[u8]) -> bool {
        !self.locks.is_empty() && self.locks.is_held(self.key_hash(db, key))
    }

    /// An ordinary command that touches what a transaction has must wait.
    ///
    /// # Errors
    /// [`Stop::Locked`], or an error if the transaction may never end.
    #[cold]
    pub(crate) fn check_locks(&mut self, request: Request<'_>) -> Result<(), Stop> {
        let wants = match request.id {
            CommandId::Dbsize
            | CommandId::Flushall
            | CommandId::Flushdb
            | CommandId::Keys
            | CommandId::Randomkey
            | CommandId::Scan => Wants::All,
            id => match id.command().keys(request.args) {
                Ok(keys) => Wants::keys(keys.map(|i| self.key_hash(request.db, request.args.at(i)))),
                Err(_) => return Ok(()), // its arguments are wrong, and it will say so
            },
        };
        if !self.locks.turns_away(wants) {
            return Ok(());
        }
        match self.log.read_only() {
            Some(reason) => Err(Stop::Error(misconf(reason))),
            None => Err(Stop::Locked),
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
