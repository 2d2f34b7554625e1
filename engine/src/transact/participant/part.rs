//! The part of a transaction: appended, then decided about: published with a mark, or dead with an abort (X3, X6).

use emberkv_log::disk::Disk;
use emberkv_log::failpoint::{self, Point};
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Entry, LogPosition, MARK_BYTES, PartitionId, Refusal, TxId, Whose};
use emberkv_resp::schema::CommandId;

use super::{Open, Step};
use crate::events::Cause;
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::ToCoordinator;
use crate::transact::share::Action;
use crate::write::stored;

impl<D: Disk> Partition<D> {
    pub(super) fn write(&mut self, ticket: TxId, open: &mut Open, participants: &[PartitionId]) -> Result<(), Stop> {
        let Some(held) = open.held_for_part else { unreachable!("{ticket:?} is no writer here") };
        self.log.reserve_held(held)?;
        open.held_for_part = None;
        let db = open.db;
        let count = match &open.share.action {
            Action::Put { pairs, .. } => pairs.len() / 2,
            Action::Delete(_) => open.found.len(),
            Action::Run(_) => open.effects.len(),
            _ => 1,
        };
        open.records.reserve_exact(count);
        open.start = self.log.tail();
        self.log.append(&Entry::Part { txid: ticket, participants, records: count as u32 });
        match &open.share.action {
            Action::Put { pairs, .. } => {
                for i in (0..pairs.len()).step_by(2) {
                    let (key, value) = (pairs.at(i), stored(pairs.at(i + 1)));
                    let record = self.append_put(db, key, value, None);
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
            Action::Run(_) => self.append_effects(open),
            other => unreachable!("{other:?} writes nothing"),
        }
        open.end = self.log.tail();
        failpoint::pass(Point::PartAppended);
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
                self.publish_part(ticket, open);
                open.records.clear();
                open.found.clear();
            }
        }
        self.answer(open.from, ToCoordinator::Durable { ticket, partition }, position);
        Ok(())
    }

    /// The part counts: the index refers to it.
    pub(super) fn publish_part(&mut self, ticket: TxId, open: &Open) {
        self.whose = Whose { client: 0, request: ticket.0 };
        let db = open.db;
        match &open.share.action {
            Action::Put { pairs, .. } => {
                self.events.cause = Cause::Command(CommandId::Mset);
                // the misses of all keys overlap
                let keys = || pairs.iter().step_by(2);
                let fingerprints: Vec<_> = keys().map(|key| self.prefetch_physical(db, key)).collect();
                fingerprints.iter().for_each(|fingerprint| self.prefetch_record(*fingerprint));
                for (record, (bytes, fingerprint)) in open.records.iter().zip(keys().zip(fingerprints)) {
                    let key = Key { db, bytes, fingerprint };
                    let old = self.peek(key);
                    self.refer(key, record.address, None, old);
                }
            }
            Action::Delete(keys) => {
                self.events.cause = Cause::Command(CommandId::Del);
                self.note_delete_before(open.end);
                for i in &open.found {
                    let key = self.key(db, keys.at(*i));
                    match self.peek(key) {
                        Lookup::Live(found) | Lookup::Stale(found) => self.unlink(key, found),
                        Lookup::Absent => {}
                    }
                }
            }
            Action::Run(_) => self.publish_effects(open),
            _ => {
                self.events.cause = Cause::Command(CommandId::Flushall);
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

    pub(super) fn append_decision(&mut self, open: &mut Open, entry: &Entry<'_>) -> Result<(), Refusal> {
        assert!(open.held_for_mark, "a decision is appended once, and after a part");
        self.log.reserve_held(MARK_BYTES as u64)?;
        open.held_for_mark = false;
        self.log.append(entry);
        failpoint::pass(Point::MarkAppended);
        #[cfg(test)]
        if let Entry::Mark { txid } | Entry::Abort { txid } = *entry {
            let is_mark = matches!(entry, Entry::Mark { .. });
            let kind = if is_mark { emberkv_log::Kind::Mark } else { emberkv_log::Kind::Abort };
            self.transactions.trace.push((txid, kind, self.log.tail()));
        }
        Ok(())
    }

    pub(super) fn abort(&mut self, ticket: TxId, open: &mut Open) -> Result<(), Stop> {
        let appended = match self.append_decision(open, &Entry::Abort { txid: ticket }) {
            Ok(()) => true,
            Err(Refusal::Wait) => return Err(Stop::Wait),
            Err(Refusal::ReadOnly(_) | Refusal::NoSpace(_) | Refusal::NoMemory) => false,
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
}
