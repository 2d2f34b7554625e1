//! The locks are granted: what a partition sees, and whether it has room for what it will write (X2).

use std::sync::Arc;

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Entry, MARK_BYTES, Purpose, TxId, Value};
use emberkv_resp::schema::CommandId;

use super::{Open, Step};
use crate::commands::SHARED_VALUE_BYTES;
use crate::databases::RESERVED;
use crate::events::Cause;
use crate::lookup::TextBuf;
use crate::partition::Partition;
use crate::published::WriteCounters;
use crate::stop::Stop;
use crate::transact::ToCoordinator;
use crate::transact::share::{Action, Strings, Values, Vote};
use crate::write::stored;

/// What a part's own record takes at most, its participants not counted.
const PART_BYTES: u64 = 24;

impl<D: Disk> Partition<D> {
    /// The locks are granted: looks, holds room for what will be written, votes.
    pub(super) fn vote(&mut self, ticket: TxId, open: &mut Open) -> Result<(), Stop> {
        self.bring_share(open)?;
        let before = self.take_dependency();
        self.set_untouched(open.untouched);
        let vote = self.look(ticket, open);
        let depends = std::mem::replace(&mut self.depends, before);
        let vote = vote?;
        #[cfg(any(test, feature = "sim"))]
        let depends = if plant::is(Plant::L2Vote) { emberkv_log::LogPosition(0) } else { depends };
        open.step = Step::Voted;
        #[cfg(test)]
        if matches!(&open.share.action, Action::Run(run) if run.alone) && !open.effects.is_empty() {
            self.transactions.trace.push((ticket, emberkv_log::Kind::Part, self.log.tail()));
        }
        if open.held_for_mark && !open.is_raised {
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

    fn look(&mut self, ticket: TxId, open: &mut Open) -> Result<Vote, Stop> {
        let db = open.db;
        // `open` is written to while the share is read
        let share = std::mem::replace(&mut open.share.action, Action::Size);
        let vote = match &share {
            Action::Put { pairs, if_absent } => self.look_for_put(open, pairs, *if_absent),
            Action::Delete(keys) => self.look_for_delete(open, keys),
            Action::Find { pattern } => self.look_for_keys(open, db, pattern),
            Action::Run(run) => self.run(ticket, open, run),
            Action::Watch { keys, watch } => self.watch_keys(open.share.db, keys, watch),
            Action::Flush { .. } => {
                let floor = Entry::Floor { db: None };
                self.hold(open, floor.encoded_len() as u64, Purpose::Free).map(|()| Vote::Ready)
            }
            reads => {
                self.events.cause = Cause::Command(CommandId::Mget);
                self.look_only(db, reads)
            }
        };
        open.share.action = share;
        vote
    }

    /// A share that only reads.
    pub(super) fn look_only(&mut self, db: DbId, action: &Action) -> Result<Vote, Stop> {
        match action {
            Action::Count(keys) => self.count_keys(db, keys, false),
            Action::Touch(keys) => self.count_keys(db, keys, true),
            Action::Get { keys, else_error } => self.read_keys(db, keys, *else_error),
            Action::Size => self.note_all().map(|()| Vote::Count(self.key_count(db))),
            Action::Draw => self.note_all().and_then(|()| self.random_key(db)).map(|key| {
                let key = key.map(Vec::into_boxed_slice);
                Vote::Drawn { keys: self.key_count(db), key }
            }),
            other => unreachable!("{other:?} does not only read"),
        }
    }

    /// Has all records brought that a share of a command will look at.
    pub(super) fn bring_share(&mut self, open: &Open) -> Result<(), Stop> {
        if !self.log.table().has_cold() {
            return Ok(());
        }
        match &open.share.action {
            Action::Put { pairs, .. } => self.bring_keys(open.db, pairs.iter().step_by(2)),
            Action::Delete(keys) | Action::Count(keys) | Action::Touch(keys) | Action::Get { keys, .. } => {
                self.bring_keys(open.db, keys.iter())
            }
            Action::Watch { keys, .. } => self.bring_keys(open.db, keys.iter()),
            Action::Run(run) => {
                let mut missing = Ok(());
                for (db, key) in run.keys.iter().chain(&run.watched) {
                    let db = self.databases.physical(*db);
                    missing = self.bring_keys(db, std::iter::once(&**key)).and(missing);
                }
                if let Some(overlay) = &open.overlay {
                    missing = self.bring_keys(RESERVED, overlay.keys_of(RESERVED)).and(missing);
                }
                missing
            }
            Action::Size | Action::Find { .. } | Action::Draw | Action::Flush { .. } => Ok(()),
        }
    }

    pub(super) fn look_for_keys(&mut self, open: &mut Open, db: DbId, pattern: &[u8]) -> Result<Vote, Stop> {
        self.note_all()?;
        self.walk_on(db, pattern, &mut open.walk)?;
        Ok(Vote::Keys(std::mem::take(&mut open.walk).keys))
    }

    fn look_for_put(&mut self, open: &mut Open, pairs: &Strings, if_absent: bool) -> Result<Vote, Stop> {
        let db = open.db;
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
            if let Some(entry) = self.lookup(self.key(open.db, key))?.live() {
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

    fn count_keys(&mut self, db: DbId, keys: &Strings, is_touch: bool) -> Result<Vote, Stop> {
        let mut count = 0;
        for key in keys.iter() {
            let key = self.key(db, key);
            let lookup = self.lookup(key)?;
            if is_touch {
                self.count_touch(key, lookup)
            } else {
                self.count_look(key, lookup)
            }
            count += u64::from(lookup.live().is_some());
        }
        Ok(Vote::Count(count))
    }

    fn read_keys(&mut self, db: DbId, keys: &Strings, else_error: Option<&'static str>) -> Result<Vote, Stop> {
        let fingerprints: Vec<_> = keys.iter().map(|key| self.prefetch_physical(db, key)).collect();
        fingerprints.iter().for_each(|fingerprint| self.prefetch_record(*fingerprint));
        let all: Vec<_> = keys.iter().map(|key| self.key(db, key)).collect();
        self.bring_texts(&all)?;
        let mut values = Values::default();
        for key in keys.iter() {
            let key = self.key(db, key);
            let lookup = self.lookup(key)?;
            self.count_read(key, lookup);
            match lookup.live().map(|found| (found, self.value(found))) {
                None => values.push_nil(),
                Some((_, Value::Whole(_) | Value::Root(_))) => match else_error {
                    Some(text) => return Err(Stop::error(text)),
                    None => values.push_nil(),
                },
                Some((found, Value::Bytes(bytes))) if bytes.len() >= SHARED_VALUE_BYTES && self.overlay.is_none() => {
                    values.push_shared(self.log.table().share_value(found.address));
                }
                Some((found, _)) => values.push(self.text(found, &mut TextBuf::default())),
            }
        }
        Ok(Vote::Values(values))
    }

    /// Holds room for a part with records of so many bytes, and for the mark or the abort (X2).
    pub(super) fn hold(&mut self, open: &mut Open, bytes: u64, purpose: Purpose) -> Result<(), Stop> {
        let bytes = bytes + PART_BYTES + 2 * u64::from(open.members);
        self.log.hold(bytes, purpose)?;
        if let Err(refusal) = self.log.hold(MARK_BYTES as u64, Purpose::Free) {
            self.log.release_held(bytes);
            return Err(refusal.into());
        }
        (open.held_for_part, open.held_for_mark) = (Some(bytes), true);
        Ok(())
    }
}
