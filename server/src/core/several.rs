//! Commands over several partitions: this core's coordinator, and what its partitions have to say to others'.

use std::sync::PoisonError;
use std::time::Instant;

use emberkv_engine::transact::{Effect, Plan, ToCoordinator};
use emberkv_engine::{Request, Stop, Waiting};
use emberkv_log::{PartitionId, Whose};
use emberkv_resp::schema::{CommandId, Runs};
use emberkv_resp::{Args, Output, Reply};

use crate::core::away::Routed;
use crate::core::connection::{Connection, Stall};
use crate::core::message::{CoreId, Message};
use crate::core::migrate::Migration;
use crate::core::pipeline::Parsed;
use crate::core::route::Place;
use crate::core::shard::{Data, Shard, extent};
use crate::driver::ConnId;
use crate::meter::Slow;

/// Whose command it is, and where its reply goes.
#[derive(Debug)]
pub(crate) struct Asks {
    conn: ConnId,
    client: u64,
    piece: u64,
    /// What is to be timed from here to its reply, other cores' part and waiting for them included.
    timed: Timed,
    /// If it is a step of one.
    migration: Option<Box<Migration>>,
    /// If it is a command that may wait: by what that is known.
    block: Option<u64>,
    /// If it serves somebody who has waited: in whose partition's line.
    transfer: Option<(PartitionId, Waiting)>,
}

impl Asks {
    /// The same, for a step of a MIGRATE.
    pub(super) fn of_migration(self, migration: Box<Migration>) -> Self {
        Self { migration: Some(migration), ..self }
    }

    /// The same, for a command that may wait.
    pub(super) fn of_block(self, token: u64) -> Self {
        Self { block: Some(token), ..self }
    }

    /// No client's of this core: it serves one who has waited.
    pub(super) fn transfer(partition: PartitionId, waiting: Waiting) -> Self {
        let transfer = Some((partition, waiting));
        Self { conn: ConnId(u32::MAX), client: 0, piece: 0, timed: None, migration: None, block: None, transfer }
    }

    /// Whose it is, and where its reply goes.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.client, self.piece)
    }
}

/// A command that is timed by itself.
pub(super) type Timed = Option<Box<(CommandId, Instant, Slow)>>;

impl Shard {
    /// Begins a command whose keys are in several partitions.
    pub fn spread(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Routed {
        if !self.may_begin(conn) {
            return Routed::Later;
        }
        let (Data::Ready(owned), Some(connection), Some(command)) =
            (&self.data, self.connections.get_mut(conn), parsed.command)
        else {
            return Routed::Done;
        };
        let (db, protocol) = (connection.db, connection.protocol);
        let extent = extent(&self.config, owned.map.partitions());
        let request = Request { id: command.id, db, args, whose: Whose::default() };
        let plan = match Plan::new(request, protocol, extent) {
            Ok(plan) => plan,
            Err(Stop::Error(text)) => {
                connection.commands += 1;
                self.stats.commands += 1;
                self.meter.fail(command.id, text.as_bytes());
                self.meter.count(command.id);
                self.with_reply(conn, |reply| reply.error(&text));
                return Routed::Done;
            }
            Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => unreachable!("a plan waits for nothing"),
        };
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        let timed = self.timed(command.id, args);
        self.begin(conn, plan, timed);
        Routed::Done
    }

    /// Whether a transaction of a connection can begin now; if not it has to be tried again when it is let go on.
    pub(super) fn may_begin(&mut self, conn: ConnId) -> bool {
        // its locks come after other connections' requests that have not left: what was executed here after those is seen
        // by it (D7)
        self.flush_all();
        self.guard = None; // waking is a system call (D12)
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        if connection.away.requests > 0 {
            connection.stall = Some(Stall::Several);
            return false; // the last answer lets it go on
        }
        if self.coordinator.is_full() {
            connection.stall = Some(Stall::Several);
            self.for_coordinator.push_back(conn);
            return false;
        }
        true
    }

    /// Begins a transaction; its reply has its place, and is what `timed` waits for.
    pub(super) fn begin(&mut self, conn: ConnId, plan: Plan, timed: Timed) {
        let is_untouched = self.connections.get_mut(conn).is_some_and(|connection| connection.no_touch);
        if let Some(asks) = self.asks(conn, timed) {
            self.draw(asks, plan.untouched(is_untouched));
        }
    }

    /// The place of a reply that comes when transactions have ended; the connection goes on behind it.
    pub(super) fn asks(&mut self, conn: ConnId, timed: Timed) -> Option<Asks> {
        let connection = self.connections.get_mut(conn)?;
        connection.stage_output(&mut self.spares);
        connection.several += 1;
        Some(Asks {
            conn,
            client: connection.id,
            piece: connection.pieces.reserve(),
            timed,
            migration: None,
            block: None,
            transfer: None,
        })
    }

    /// Begins a transaction.
    pub(super) fn draw(&mut self, asks: Asks, plan: Plan) {
        let Data::Ready(owned) = &self.data else { return };
        let map = owned.map;
        self.stats.transactions += 1;
        let (peers, calls, stats) = (&self.peers, &mut self.calls, &mut self.stats);
        // the ticket is drawn and its locks are pushed, to this core too, before another one is drawn: they come to every
        // owner in the order of tickets (X1). A panic on any thread ends the process, so the lock is never poisoned
        let turn = peers.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = owned.horizon.draw();
        if let Some(tracking) = self.connections.get_mut(asks.conn).and_then(|other| other.tracking.as_mut()) {
            tracking.remember(ticket);
        }
        self.coordinator.begin(ticket, asks, plan, |partition, message| {
            stats.wakes += u64::from(calls.send(peers, map.owner(partition.0), Message::ToOwner(partition, message)));
        });
        drop(turn);
    }

    /// A command begins that is counted now, unless it is to be timed by itself.
    pub(super) fn timed(&mut self, id: CommandId, args: Args<'_>) -> Timed {
        let is_alone = self.meter.begin(id, args, 0);
        let timed = is_alone.then(|| Box::new((id, Instant::now(), Slow::new(id, args, 0, self.now_ms))));
        if timed.is_none() {
            self.meter.count(id);
        }
        timed
    }

    /// What is timed of a command ends.
    pub(super) fn end_timing(&mut self, asks: Asks) {
        let Asks { conn, timed, .. } = asks;
        if let Some((id, began, slow)) = timed.map(|timed| *timed)
            && let Some(micros) = self.meter.add(id, began.elapsed(), self.now_ms)
        {
            self.note_slow(conn, Slow { micros, ..slow });
        }
    }

    /// A command has ended. Where its reply goes, if its client is still there, and has not left its place to another one.
    fn has_ended(&mut self, asks: Asks) -> Option<(ConnId, u64)> {
        let Asks { conn, client, piece, .. } = asks;
        self.end_timing(asks);
        let connection = self.connections.get_mut(conn).filter(|connection| connection.id == client)?;
        connection.several -= 1;
        if connection.several == 0 {
            self.resumable.push(conn);
        }
        self.touch(conn);
        Some((conn, piece))
    }

    /// A reply, if its client is still there.
    pub(super) fn finish(&mut self, asks: Asks, write: impl FnOnce(&Connection, &mut Output)) {
        let Some((conn, piece)) = self.has_ended(asks) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let mut output = Output::new();
        write(connection, &mut output);
        connection.pieces.answer(piece, output);
    }

    /// Whether a request has to wait until the connection's commands over several partitions have ended. A further one of
    /// these has not: its locks come after theirs everywhere.
    #[cold]
    pub fn comes_after_several(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> bool {
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else { return false };
        let command = parsed.command.filter(|command| command.runs == Runs::Data);
        // what EXEC leaves to its end is not passed by anything
        let is_executing = connection.executing.is_some();
        let place = command.map(|command| owned.map.place(command, args, parsed.place.map(|(place, _)| place)));
        if matches!(place, Some(Place::Several)) && !is_executing && connection.blocked.is_none() {
            return false;
        }
        connection.stall = Some(Stall::Several); // the last reply lets it go on
        true
    }

    /// An owner's answer to this core's coordinator.
    pub fn owner_answered(&mut self, answer: ToCoordinator) {
        let mut effects = std::mem::take(&mut self.effects);
        self.coordinator.receive(answer, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => {
                    let core = CoreId(to.0 % self.peers.len());
                    if core == self.me {
                        self.tell_owner(to, message);
                    } else {
                        self.stats.wakes +=
                            u64::from(self.calls.send(&self.peers, core, Message::ToOwner(to, message)));
                    }
                }
                Effect::Finish { client: mut asks @ Asks { migration: Some(_), .. }, outcome } => {
                    if let Some(migration) = asks.migration.take() {
                        self.migrate_on(asks, migration, outcome);
                    }
                }
                Effect::Finish { client: Asks { transfer: Some((partition, waiting)), .. }, outcome } => {
                    self.transferred(partition, &waiting, &outcome);
                }
                Effect::Finish { client: asks, outcome } => {
                    let left = match asks.block {
                        Some(token) => self.has_looked(asks, token, outcome),
                        None => Some((asks, outcome)),
                    };
                    let Some((asks, outcome)) = left else { continue };
                    let Some((conn, piece)) = self.has_ended(asks) else { continue };
                    let Some(connection) = self.connections.get_mut(conn) else { continue };
                    if let Some(multi) = connection.executing.take() {
                        self.executed(conn, piece, &multi, outcome);
                        if let Some(connection) = self.connections.get_mut(conn) {
                            connection.end_executing(&mut self.spares);
                        }
                    } else {
                        let mut output = Output::new();
                        outcome.write(&mut Reply::new(&mut output, connection.protocol));
                        connection.pieces.answer(piece, output);
                    }
                }
                Effect::Decided(ticket) => {
                    if let Data::Ready(owned) = &self.data {
                        owned.horizon.decided(ticket);
                    }
                }
            }
        }
        self.effects = effects;
    }

    /// Once a turn, when commands that were locked out have been tried again. Returns whether the next turn must
    /// come at once.
    pub fn progress_transactions(&mut self) -> bool {
        let mut soon = false;
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.progress_transactions();
            soon |= own.partition.has_visits();
            soon |= own.partition.serve_waiters_at_end();
        }
        self.begin_transfers();
        soon
    }

    /// Once a turn, after the log's end of it: sends what this core's partitions answer to coordinators.
    pub fn answer_coordinators(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        let (peers, calls, stats) = (&self.peers, &mut self.calls, &mut self.stats);
        for own in &mut owned.list {
            own.partition.take_answers(|to, message| {
                stats.wakes += u64::from(calls.send(peers, CoreId(to.0), Message::ToCoordinator(message)));
            });
        }
    }

    /// Once a turn, after the log's end of it: the replies of those who have waited go to their cores.
    pub fn hand_out_served(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        let (me, peers, calls, stats) = (self.me, &self.peers, &mut self.calls, &mut self.stats);
        let mut own_clients = Vec::new();
        for own in &mut owned.list {
            own.partition.take_served(|served| {
                if served.home.0 == me.0 {
                    own_clients.push(served);
                } else {
                    let home = CoreId(served.home.0);
                    stats.wakes += u64::from(calls.send(peers, home, Message::Served(Box::new(served))));
                }
            });
        }
        own_clients.into_iter().for_each(|served| self.served(served));
    }

    /// Counts what lets a command go on that a transaction has locked out.
    pub fn unlocks(&self) -> u64 {
        match &self.data {
            Data::Ready(owned) => owned.list.iter().map(|own| own.partition.unlocks()).sum(),
            Data::Loading { .. } => 0,
        }
    }
}
