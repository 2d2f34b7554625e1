//! The steps of a script: executed against an overlay, which is appended whole, or never.

use std::ops::ControlFlow;

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, Entry, Purpose, Shape, TxId, Whose};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Output, Reply};

use super::{Open, misconf};
use crate::collections::{End, Head, Type};
use crate::commands::Known;
use crate::events::Cause;
use crate::group::Request;
use crate::held::Held;
use crate::lookup::Key;
use crate::overlay::{Effects, Overlay};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::tracking::is_tracked;
use crate::transact::share::{Action, Answer, Ran, Run, Seen, Share, Step, Strings, Task, Values, Vote};
use crate::watch::Watch;
use crate::write::stored;

/// A step that ends with an error has been executed; one that has to wait has not.
fn refused(stop: Stop) -> Result<Answer, Stop> {
    if let Stop::Error(text) = stop { Ok(Answer::Error(text)) } else { Err(stop) }
}

impl<D: Disk> Partition<D> {
    /// What has expired of a key is gone, as a change that whoever watches or keeps it hears of.
    fn let_expire(&mut self, key: Key<'_>) -> Result<(), Stop> {
        let lookup = self.lookup(key)?;
        self.without_due(key, lookup).map(drop)
    }

    /// Watches keys from now on; what has expired is gone before that.
    pub(super) fn watch_keys(&mut self, db: DbId, keys: &Strings, watch: &Watch) -> Result<Vote, Stop> {
        for key in keys.iter() {
            self.let_expire(self.key(self.physical(db), key))?;
            self.watchers.add(db, key, watch);
        }
        Ok(Vote::Count(0))
    }

    /// Executes the steps that have come, and holds room for all that the transaction has changed here so far. One that is in this
    /// partition alone ends here: what it has changed is appended in one frame, and nothing of X is needed.
    pub(super) fn run(&mut self, ticket: TxId, open: &mut Open, run: &Run) -> Result<Vote, Stop> {
        if !run.alone
            && let Some(reason) = self.log.read_only()
        {
            #[cfg(any(test, feature = "sim"))]
            let is_let_on = plant::is(Plant::X2Stage);
            #[cfg(not(any(test, feature = "sim")))]
            let is_let_on = false;
            // an error of one step would leave what others have done: RENAME's value under both names
            if !is_let_on {
                return Err(Stop::Error(misconf(reason)));
            }
        }
        if open.overlay.is_none() {
            for (db, key) in &run.watched {
                self.let_expire(self.key(self.physical(*db), key))?; // one that has expired is changed by that
            }
            #[allow(unused_mut)]
            let mut is_changed = run.watch.as_ref().is_some_and(Watch::is_dirty);
            #[cfg(any(test, feature = "sim"))]
            if plant::is(Plant::X1Watch) {
                is_changed = false;
            }
            if is_changed {
                return Ok(Vote::Changed);
            }
        }
        if open.overlay.is_none() && run.reader.is_some() {
            for (db, key) in &run.keys {
                self.let_expire(self.key(self.physical(*db), key))?; // whoever reads one that has expired reads that it is gone
            }
        }
        self.execute_steps(ticket, open, run)?;
        let mut overlay = open.overlay.take().unwrap_or_default();
        let effects = self.effects(&overlay);
        if effects.is_empty() {
            // what came and went again is told too, and nothing will be published
            let told = std::mem::take(&mut overlay.told);
            self.tell(&told);
        }
        let held = self.make_room(open, run.alone, &overlay, &effects);
        (open.overlay, open.effects) = (Some(overlay), effects);
        held?;
        self.depends = self.depends.max(open.depends);
        let answers = std::mem::take(&mut open.answers);
        Ok(Vote::Ran(Ran { answers, writes: open.held_for_mark }))
    }

    fn make_room(&mut self, open: &mut Open, alone: bool, overlay: &Overlay, effects: &Effects) -> Result<(), Stop> {
        let (bytes, purpose) = effects.size(overlay);
        self.let_go(open);
        if effects.is_empty() {
            return Ok(());
        }
        if alone {
            self.log.reserve(bytes, purpose)?;
            self.apply(overlay, effects);
            return Ok(());
        }
        self.hold(open, bytes, purpose)
    }

    fn execute_steps(&mut self, ticket: TxId, open: &mut Open, run: &Run) -> Result<(), Stop> {
        // a KEYS that has to wait on its way goes on where it was
        let whose = std::mem::replace(&mut self.whose, Whose { client: 0, request: ticket.0 });
        self.overlay = Some(open.overlay.take().unwrap_or_default());
        let mut result = Ok(());
        while let Some(task) = run.steps.get(open.next_step) {
            match self.execute_step(open, task, run) {
                Ok(answer) => open.answers.push(answer),
                Err(stop) => {
                    result = Err(stop);
                    break;
                }
            }
            open.next_step += 1;
        }
        open.overlay = self.overlay.take();
        self.whose = whose;
        // what was seen is to be durable, also if the rest is tried again later
        open.depends = open.depends.max(self.depends);
        result
    }

    fn execute_step(&mut self, open: &mut Open, task: &Task, run: &Run) -> Result<Answer, Stop> {
        self.events.cause = Cause::Command(task.id);
        if let Some(reader) = run.reader.filter(|_| is_tracked(task.id))
            && let Step::Image { key, .. } | Step::Fetch { key, .. } = &task.step
        {
            self.note_key(key, reader);
        }
        match &task.step {
            Step::Command { id, db, args } => {
                let mut output = Output::new();
                let mut reply = Reply::new(&mut output, run.protocol);
                let request = Request { id: *id, db: self.physical(*db), args: args.args(), whose: self.whose };
                let is_refused = self.is_refused(*id);
                let done = if is_refused { Err(Stop::OUT_OF_MEMORY) } else { self.execute_other(request, &mut reply) };
                match done {
                    Ok(()) => {}
                    Err(Stop::Error(text)) => reply.error(&text),
                    Err(stop) => return Err(stop),
                }
                if let Some(reader) = run.reader {
                    self.note_reader(Request { db: *db, ..request }, reader);
                }
                Ok(Answer::Reply(output.to_vec()))
            }
            Step::TakeOrWait(waiting) => {
                let waiter = waiting.waiter();
                let mut output = Output::new();
                let mut reply = Reply::new(&mut output, run.protocol);
                let (db, args) = (self.physical(waiter.db), waiter.args.args());
                let request = Request { id: waiter.id, db, args, whose: self.whose };
                let is_refused = self.is_refused(waiter.id);
                let done = if is_refused { Err(Stop::OUT_OF_MEMORY) } else { self.pop_first(request, &mut reply) };
                match done {
                    Ok(true) => {}
                    Ok(false) => self.wait(waiting),
                    Err(Stop::Error(text)) => reply.error(&text),
                    Err(stop) => return Err(stop),
                }
                Ok(Answer::Reply(output.to_vec()))
            }
            Step::Wait(waiting) => {
                self.wait(waiting);
                Ok(Answer::Reply(Vec::new()))
            }
            Step::Check { id, db, args } => {
                let request = Request { id: *id, db: self.physical(*db), args: args.args(), whose: self.whose };
                self.check_streams(request).map(|()| Answer::Vote(Vote::Ready)).or_else(refused)
            }
            Step::Swap { a, b } => self.swap(*a, *b).map(|()| Answer::Vote(Vote::Ready)).or_else(refused),
            Step::Fetch { db, key } => {
                if matches!(task.id, CommandId::Rename | CommandId::Renamenx) {
                    self.events.cause = Cause::Known; // it is going to be written: no miss
                }
                self.fetch(self.key(self.physical(*db), key)).map(Answer::Held).or_else(refused)
            }
            Step::Select { id, db, args } => {
                let request = Request { id: *id, db: self.physical(*db), args: args.args(), whose: self.whose };
                self.selection(request).map(Answer::Held).or_else(refused)
            }
            Step::Look { db, keys, field } => {
                let db = self.physical(*db);
                let keys: Vec<_> = keys.iter().map(|key| self.key(db, key)).collect();
                let values = |known: Known| {
                    let mut values = Values::default();
                    known.iter().for_each(|value| match value {
                        Some(value) => values.push(value),
                        None => values.push_nil(),
                    });
                    Answer::Vote(Vote::Values(values))
                };
                self.known(&keys, field.as_deref()).map(values).or_else(refused)
            }
            Step::Image { db, key, kinds } => {
                let key = self.key(self.physical(*db), key);
                let images = self.images(&[key], kinds);
                images.map(|mut images| Answer::Image(images.pop().flatten())).or_else(refused)
            }
            Step::Member { db, key, member, change } => {
                let there = self.member_step(self.physical(*db), key, member, *change);
                there.map(Answer::Member).or_else(refused)
            }
            Step::Place { grows: true, .. } if self.spill.is_full => refused(Stop::OUT_OF_MEMORY),
            Step::Place { db, key, held, .. } => {
                let key = self.key(self.physical(*db), key);
                let writes = self.writes(key, held.clone());
                self.reserve_writes(key, &writes, 0, Purpose::Grow)?;
                self.write_all(key, &writes);
                Ok(Answer::Vote(Vote::Ready))
            }
            Step::Peek { grows: true, .. } if self.is_refused(CommandId::Lmove) => refused(Stop::OUT_OF_MEMORY),
            Step::Peek { db, key, end, count, .. } => {
                let key = self.key(self.physical(*db), key);
                self.peek_list(key, *end, *count).map(Answer::List).or_else(refused)
            }
            Step::Pop { db, key, end, count } => {
                let key = self.key(self.physical(*db), key);
                if let Some(found) = self.lookup_list(key)?.live() {
                    self.pop(key, found, *end, *count)?;
                }
                Ok(Answer::Vote(Vote::Ready))
            }
            Step::Push { db, key, end, element } => {
                let key = self.key(self.physical(*db), key);
                let found = self.lookup_list(key)?.live();
                self.push_all(key, found, *end, std::iter::once(&**element))?;
                Ok(Answer::Vote(Vote::Ready))
            }
            // the other partitions of this MSET may have room for theirs: nothing of the transaction is done then
            Step::Share(Share { action: Action::Put { .. }, .. }) if self.spill.is_full => Err(Stop::OUT_OF_MEMORY),
            Step::Share(share) => {
                if matches!(share.action, Action::Count(_)) && task.id != CommandId::Exists {
                    self.events.cause = Cause::Known; // whether a key is there that is to be written: no miss
                }
                if let Some(reader) = run.reader.filter(|_| is_tracked(task.id)) {
                    self.note_reader_of(&share.action, reader);
                }
                self.execute_share(open, self.physical(share.db), &share.action).map(Answer::Vote).or_else(refused)
            }
        }
    }

    /// What a key holds.
    fn fetch(&mut self, key: Key<'_>) -> Result<Option<Held>, Stop> {
        let lookup = self.lookup(key)?;
        self.count_read(key, lookup);
        lookup.live().map(|found| self.held(key, found)).transpose()
    }

    /// What a list has at an end.
    fn peek_list(&mut self, key: Key<'_>, end: End, count: u64) -> Result<Seen, Stop> {
        let Some(found) = self.lookup(key)?.live() else { return Ok(Seen::Nothing) };
        let Some(Head { kind: Type::List, count: len, .. }) = self.head(found) else { return Ok(Seen::Another) };
        let count = count.min(len);
        let range = if end == End::Front { (0, count) } else { (len - count, len) };
        let mut elements = Strings::default();
        self.list_each(key, found, range, end == End::Back, |element| {
            elements.push(element);
            ControlFlow::Continue(())
        })?;
        Ok(Seen::Elements(elements))
    }

    /// A share of a command over several partitions.
    fn execute_share(&mut self, open: &mut Open, db: DbId, action: &Action) -> Result<Vote, Stop> {
        match action {
            Action::Put { pairs, .. } => {
                for i in (0..pairs.len()).step_by(2) {
                    let key = self.key(db, pairs.at(i));
                    let old = self.lookup_to_replace(key);
                    self.put(key, stored(pairs.at(i + 1)), None, old);
                }
                Ok(Vote::Ready)
            }
            Action::Delete(keys) => {
                let mut count = 0;
                for key in keys.iter() {
                    let key = self.key(db, key);
                    if let Some(found) = self.lookup(key)?.live() {
                        self.delete(key, found);
                        count += 1;
                    }
                }
                Ok(Vote::Count(count))
            }
            Action::Flush { all } => self.flush((!all).then_some(db)).map(|()| Vote::Ready),
            Action::Find { pattern } => self.look_for_keys(open, db, pattern),
            reads => self.look_only(db, reads),
        }
    }

    /// Appends the records of the part.
    pub(super) fn append_effects(&mut self, open: &mut Open) {
        let Some(overlay) = open.overlay.take() else { return };
        for entry in open.effects.entries(&overlay) {
            open.records.push(match entry {
                Entry::Put { db, key, value, expires_at_ms } => self.append_put(db, key, value, expires_at_ms),
                entry => self.log.append(&entry),
            });
        }
        open.overlay = Some(overlay);
    }

    /// The part counts.
    pub(super) fn publish_effects(&mut self, open: &Open) {
        let Some(overlay) = &open.overlay else { return };
        self.events.cause = Cause::Known;
        self.tell(&overlay.told);
        for (entry, record) in open.effects.entries(overlay).zip(&open.records) {
            match entry {
                Entry::Floor { db } => {
                    self.note_delete_before(open.end);
                    self.apply_floor(db, record.address);
                    if db.is_none() {
                        self.retain_puts(open, overlay);
                    }
                }
                Entry::Put { db, key, value, expires_at_ms } => {
                    let key = self.key(db, key);
                    let old = self.peek(key);
                    self.enter_due(key, value, old);
                    self.refer(key, record.address, expires_at_ms, old);
                }
                Entry::Delete { db, key } => {
                    self.note_delete_before(open.end);
                    let key = self.key(db, key);
                    if let Some(found) = self.counted(key) {
                        self.unlink(key, found);
                    }
                }
                _ => unreachable!("a transaction has no other effects"),
            }
        }
        if let Some(databases) = &overlay.databases {
            self.set_databases(databases.clone());
        }
    }

    /// What lies above a floor of all databases is needed all the same: the records of the part that come behind it.
    fn retain_puts(&mut self, open: &Open, overlay: &Overlay) {
        for (entry, record) in open.effects.entries(overlay).zip(&open.records) {
            if let Entry::Put { db, expires_at_ms, .. } = entry {
                self.log.table_mut().retain(record.address, Shape { len: record.len, db, expires_at_ms });
            }
        }
    }

    /// The records of a part that was not published are dead.
    pub(super) fn release_effects(&mut self, open: &mut Open) {
        let Some(overlay) = &open.overlay else { return };
        for (entry, record) in open.effects.entries(overlay).zip(open.records.drain(..)) {
            if let Entry::Put { db, expires_at_ms, .. } = entry {
                self.log.table_mut().release(record.address, Shape { len: record.len, db, expires_at_ms });
            }
        }
    }
}
