//! Serving those who wait: what a key has got goes to them before anybody else's command (B2).
//!
//! It happens right behind the command that gave the key something, or behind the transaction, when its locks are given up. What is taken is
//! taken by an ordinary command, in this partition's log, whose reply goes to the client's core when its position has reached the gate.

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, LogPosition, Whose};
use emberkv_resp::schema::Flags;
use emberkv_resp::{Output, OwnedArgs, Reply};

use crate::collections::Type;
use crate::commands::Wish;
use crate::group::Request;
use crate::names::names;
use crate::partition::Partition;
use crate::slots::partition_of;
use crate::stop::Stop;
use crate::transact::CoordinatorId;
use crate::waiters::{Name, Next};
use crate::waiting::Waiting;

/// The reply of a client that has waited.
#[derive(Debug)]
pub struct Served {
    /// Its core.
    pub home: CoordinatorId,
    /// By which that core knows it.
    pub token: u64,
    /// The reply; none if nobody knows whether it was served: the log has failed.
    pub reply: Option<Output>,
    /// What it depends on.
    position: LogPosition,
}

impl Served {
    /// What a transaction has come to, which no crash takes back.
    pub fn by_transaction(waiting: &Waiting, reply: Output) -> Self {
        let waiter = waiting.waiter();
        Self { home: waiter.home, token: waiter.token, reply: Some(reply), position: LogPosition(0) }
    }
}

impl<D: Disk> Partition<D> {
    /// Executes a command that may wait. Returns whether there is a reply; if not `waiting` stands in line at its keys in this partition.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn pop_or_wait(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
        waiting: impl FnOnce() -> Waiting,
    ) -> Result<bool, Stop> {
        self.prepare(request)?;
        let is_refused = self.is_refused(request.id);
        let request = Request { db: self.physical(request.db), ..request };
        let done = if is_refused { Err(Stop::OUT_OF_MEMORY) } else { self.pop_first(request, reply) };
        if !done? {
            if Wish::parse(request.id, request.args, 0).is_ok_and(|wish| !wish.waits) {
                Wish::reply_nothing(request.id, reply);
                return Ok(true);
            }
            self.wait(&waiting());
            return Ok(false);
        }
        self.serve_waiters();
        Ok(true)
    }

    /// Somebody stands in line from now on.
    pub(crate) fn wait(&mut self, waiting: &Waiting) {
        self.mark_streams(waiting);
        let names = self.awaited(waiting);
        self.waiters.enter(waiting, names.into_iter());
    }

    /// Somebody waits no more.
    pub fn forget(&mut self, waiting: &Waiting) {
        let names = self.awaited(waiting);
        self.waiters.leave(waiting, names.into_iter());
    }

    /// How many keys are waited for.
    pub fn awaited_keys(&self) -> usize {
        self.waiters.keys()
    }

    /// The keys here at which somebody waits.
    fn awaited(&self, waiting: &Waiting) -> Vec<Name> {
        let waiter = waiting.waiter();
        let Ok(wish) = Wish::parse(waiter.id, waiter.args.args(), 0) else { return Vec::new() };
        let own = wish.keys.iter().filter(|key| partition_of(key, self.partitions) == self.id());
        own.map(|key| (waiter.db, key.into())).collect()
    }

    /// A key has got a value, or is gone.
    #[inline]
    pub(crate) fn note_for_waiters(&mut self, db: DbId, key: &[u8]) {
        if !self.waiters.is_empty() {
            self.waiters.note(self.databases.logical(db), key);
        }
    }

    /// Serves those who can be. What has to wait is tried again before anybody else's command on its keys, and once a turn.
    #[inline]
    pub(crate) fn serve_waiters(&mut self) {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::B2) {
            return;
        }
        if self.waiters.has_ready() {
            // it is seen again when it matters
            let _ = self.serve_ready();
        }
    }

    /// The same once a turn, before the log's end of it. Returns whether it is to be done again soon: another owner is just about to serve a
    /// client of whom we do not know whether he still waits.
    pub fn serve_waiters_at_end(&mut self) -> bool {
        self.waiters.has_ready() && self.serve_ready().is_err() && self.waiters.is_busy
    }

    /// A command comes after those who have waited for its keys.
    ///
    /// # Errors
    /// What they have to wait for, and it too.
    #[cold]
    pub(crate) fn comes_after_waiters(&mut self, request: Request<'_>) -> Result<(), Stop> {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::B2) {
            return Ok(());
        }
        let Err(stop) = self.serve_ready() else { return Ok(()) };
        let Ok(mut names) = names(request) else { return Ok(()) };
        let command = request.id.command();
        let is_on_all = command.keys.is_empty() && command.flags.contains(Flags::WRITE);
        if is_on_all || names.any(|(db, key)| self.waiters.is_ready(db, key)) { Err(stop) } else { Ok(()) }
    }

    #[cold]
    fn serve_ready(&mut self) -> Result<(), Stop> {
        self.waiters.is_busy = false;
        let (mut nth, mut stuck) = (0, None);
        while let Some(name) = self.waiters.ready(nth) {
            match self.serve_line(&name) {
                Ok(()) => self.waiters.is_done(nth),
                Err(stop) => {
                    stuck.get_or_insert(stop);
                    nth += 1; // who waits for other keys need not wait for that
                }
            }
        }
        if std::mem::replace(&mut self.waiters.is_stuck, stuck.is_some()) && stuck.is_none() {
            self.locks.let_on();
        }
        stuck.map_or(Ok(()), Err)
    }

    /// Serves those who wait for a key, as long as it has something. What is read stays, so it serves all who wait for that.
    fn serve_line(&mut self, name: &Name) -> Result<(), Stop> {
        let mut from = 0;
        loop {
            let kind = self.kind_of(name)?;
            match self.waiters.claim_next(name, &mut from, |waiter| Wish::wants(waiter.id, kind)) {
                Next::Nobody => return Ok(()),
                Next::Busy => {
                    self.waiters.is_busy = self.waiters.transfers.is_empty();
                    return Err(Stop::Locked);
                }
                // he stays claimed, and others' commands on the key wait, until that has ended
                Next::Claimed(waiting) if self.is_transfer(&waiting) => {
                    self.waiters.transfers.push((waiting, false));
                    #[cfg(any(test, feature = "sim"))]
                    if plant::is(Plant::B4) {
                        return Ok(());
                    }
                    return Err(Stop::Locked);
                }
                Next::Claimed(waiting) => match self.serve_one(&waiting) {
                    Ok(true) => {
                        waiting.serve();
                        self.forget(&waiting);
                    }
                    Ok(false) => {
                        waiting.give_back();
                        from += 1;
                    }
                    Err(stop) => {
                        waiting.give_back();
                        return Err(stop);
                    }
                },
            }
        }
    }

    /// Whether somebody is served by a transaction: what he takes goes to another partition.
    fn is_transfer(&self, waiting: &Waiting) -> bool {
        let waiter = waiting.waiter();
        let target = Wish::parse(waiter.id, waiter.args.args(), 0).ok().and_then(Wish::target);
        target.is_some_and(|key| partition_of(key, self.partitions) != self.id())
    }

    /// The next client who is to be served by a transaction, see [`Plan::transfer`](crate::transact::Plan::transfer); then
    /// [`Partition::end_transfer`] is to be called.
    pub fn next_transfer(&mut self) -> Option<Waiting> {
        let (waiting, has_begun) = self.waiters.transfers.iter_mut().find(|(_, has_begun)| !has_begun)?;
        *has_begun = true;
        Some(waiting.clone())
    }

    /// That transaction has ended. If it `found` nothing, because another one came before it, the client waits on in his place.
    pub fn end_transfer(&mut self, waiting: &Waiting, found: bool) {
        self.waiters.transfers.retain(|(other, _)| other != waiting);
        if found {
            waiting.serve();
            self.forget(waiting);
        } else {
            waiting.give_back();
        }
        self.locks.let_on();
        self.serve_waiters();
    }

    /// What kind of collection a key holds, if nobody has it to himself.
    fn kind_of(&mut self, (db, key): &Name) -> Result<Option<Type>, Stop> {
        if self.is_in_use(*db, key) {
            return Err(Stop::Locked);
        }
        let db = self.databases.physical(*db);
        if self.log.table().has_cold() {
            self.bring_keys(db, std::iter::once(&**key))?;
        }
        let found = self.peek(self.key(db, key)).live();
        Ok(found.and_then(|found| self.head(found)).map(|head| head.kind))
    }

    /// Executes the command of a client that is claimed. Returns whether it has a reply.
    fn serve_one(&mut self, waiting: &Waiting) -> Result<bool, Stop> {
        let waiter = waiting.waiter();
        let whose = Whose { client: waiter.client, request: u64::MAX };
        let request = Request { id: waiter.id, db: waiter.db, args: waiter.args.args(), whose };
        if names(request).is_ok_and(|mut names| names.any(|(db, key)| self.is_in_use(db, key))) {
            return Err(Stop::Locked);
        }
        if self.log.table().has_cold() {
            self.bring_for(request)?;
        }
        let before = (self.take_dependency(), std::mem::replace(&mut self.whose, whose));
        let request = Request { db: self.databases.physical(request.db), ..request };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, waiter.protocol);
        let is_refused = self.is_refused(request.id);
        let done = match self.unread_by(waiting) {
            _ if is_refused => Err(Stop::OUT_OF_MEMORY),
            Some(args) => self.read_streams(Request { args: args.args(), ..request }, &mut reply, true),
            None => self.pop_first(request, &mut reply),
        };
        let position = self.take_dependency();
        (self.depends, self.whose) = before;
        match done {
            Ok(true) => {}
            // as redis does: the command is executed once more, whatever its other keys hold by now
            Err(Stop::Error(text)) => Reply::new(&mut output, waiter.protocol).error(&text),
            other => return other,
        }
        self.served.push(Served { home: waiter.home, token: waiter.token, reply: Some(output), position });
        Ok(true)
    }

    /// Who reads streams behind their last entries waits for what comes behind those that there are now.
    fn mark_streams(&mut self, waiting: &Waiting) {
        let waiter = waiting.waiter();
        let Some(reading) = Wish::parse(waiter.id, waiter.args.args(), 0).ok().and_then(Wish::reading) else { return };
        for (nth, (key, id)) in reading.keys.iter().zip(reading.ids.iter()).enumerate() {
            if id == b"$" && partition_of(key, self.partitions) == self.id() {
                let found = self.peek(self.key(self.physical(waiter.db), key)).live();
                waiting.mark(nth, self.stream_draft(found).meta.last);
            }
        }
    }

    /// The command by which somebody who waits reads those of his streams that are here; nothing if he is to take something.
    fn unread_by(&self, waiting: &Waiting) -> Option<OwnedArgs> {
        let waiter = waiting.waiter();
        let reading = Wish::parse(waiter.id, waiter.args.args(), 0).ok()?.reading()?;
        let marks: Vec<_> = (0..reading.keys.len()).map(|nth| waiting.marked(nth).map(|id| id.to_string())).collect();
        let all = reading.keys.iter().zip(reading.ids.iter()).zip(&marks);
        let own = all.filter(|((key, _), _)| partition_of(key, self.partitions) == self.id());
        Some(reading.of_some(own.map(|((key, id), mark)| (key, mark.as_ref().map_or(id, |mark| mark.as_bytes())))))
    }

    /// Hands out the replies that may leave now. Once a turn, after the log's end of the turn.
    pub fn take_served(&mut self, mut give: impl FnMut(Served)) {
        if self.served.is_empty() {
            return;
        }
        let (gate, is_hopeless) = (self.log.gate(), self.log.read_only().is_some());
        for mut served in std::mem::take(&mut self.served) {
            let is_reached = served.position <= gate;
            if !is_reached && is_hopeless {
                served.reply = None;
            }
            if is_reached || is_hopeless {
                give(served);
            } else {
                self.served.push(served);
            }
        }
    }
}
