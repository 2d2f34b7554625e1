//! Clients that wait for an element (BLPOP and its kin), as their own core sees them. Who serves them, and when: protocol, B.
//!
//! ```text
//!   asked ----> in line at its keys' owners ---- Served ----> answered
//!     |                  |---- its time is over, CLIENT UNBLOCK ----> answered, forgotten by the owners
//!     |                  '---- gone -------------------------------> forgotten by the owners
//!     '---- there is something, or an error ----> answered
//! ```
//!
//! If all its keys are in one partition of this core, the command is executed like any other, and stands in line if there is nothing. Else it is a
//! transaction, which looks at the keys and stands in line under the same locks. What the client has sent behind it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emberkv_engine::transact::{CoordinatorId, MAX_OPEN, Outcome, Plan};
use emberkv_engine::{Request, Served, Stop, Waiter, Waiting, timeout_of};
use emberkv_log::{PartitionId, Whose};
use emberkv_resp::schema::Command;
use emberkv_resp::{Args, Output, Protocol, Reply};

use crate::core::away::Routed;
use crate::core::cold::Awaits;
use crate::core::connection::{Connection, Fate, Stall};
use crate::core::message::{CoreId, Message};
use crate::core::pulls::UNBLOCKED as UNBLOCKED_ALL;
use crate::core::route::Place;
use crate::core::several::Asks;
use crate::core::shard::{Data, Shard, extent};
use crate::driver::ConnId;

/// When an owner is just about to serve a client whose time is over, it is looked at again after so many ms.
const AGAIN_MS: u64 = 10;

const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// A client's command that waits, or may.
#[derive(Debug)]
struct Blocked {
    conn: ConnId,
    client: u64,
    /// Where its reply goes.
    piece: u64,
    waiting: Waiting,
    /// Where it stands in line.
    partitions: Vec<PartitionId>,
    /// In ms that the server has been up.
    deadline_ms: Option<u64>,
    /// It is known to wait: what has looked at its keys has ended.
    waits: bool,
    /// It was served before that was known.
    served: Option<Served>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    list: BTreeMap<u64, Blocked>,
    /// Whose time is over first.
    deadlines: BTreeSet<(u64, u64)>,
    last: u64,
}

impl Blocks {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many clients wait.
    pub fn len(&self) -> usize {
        self.list.values().filter(|blocked| blocked.waits).count()
    }

    /// Whether it is known that this one has to wait.
    pub fn waits(&self, token: u64) -> bool {
        self.list.get(&token).is_some_and(|blocked| blocked.waits)
    }

    /// How many of them do not wait for ever.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// How long until the time of one is over.
    pub fn due_in(&self, up_ms: u64) -> Option<Duration> {
        self.deadlines.first().map(|(deadline_ms, _)| Duration::from_millis(deadline_ms.saturating_sub(up_ms)))
    }

    fn remove(&mut self, token: u64) -> Option<Blocked> {
        let blocked = self.list.remove(&token)?;
        if let Some(deadline_ms) = blocked.deadline_ms {
            self.deadlines.remove(&(deadline_ms, token));
        }
        Some(blocked)
    }
}

impl Shard {
    /// Executes a command that may wait. An error: it was not executed, and has to be once more later.
    #[cold]
    pub(super) fn block(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Result<(), ()> {
        let Data::Ready(owned) = &self.data else { return Ok(()) };
        let place = owned.map.place(command, args, None);
        if !matches!(place, Place::Own(_)) && !self.may_begin(conn) {
            return Err(());
        }
        let timeout_ms = match timeout_of(command.id, args, self.now_ms) {
            Ok(timeout_ms) => timeout_ms,
            Err(stop) => return self.block_fails(conn, command, stop),
        };
        let deadline_ms = timeout_ms.map(|ms| self.up_ms.saturating_add(ms));
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        self.blocks.last += 1;
        let waiting = Waiting::new(Waiter {
            home: CoordinatorId(self.me.0),
            token: self.blocks.last,
            client: connection.id,
            id: command.id,
            db: connection.db,
            args: args.into(),
            protocol: connection.protocol,
        });
        match place {
            Place::Own(own) => self.block_here(conn, usize::from(own), command, args, waiting, deadline_ms),
            Place::Away(..) | Place::Several => self.block_there(conn, command, args, waiting, deadline_ms),
        }
    }

    fn block_fails(&mut self, conn: ConnId, command: &'static Command, stop: Stop) -> Result<(), ()> {
        let Stop::Error(text) = stop else { unreachable!("arguments wait for nothing") };
        self.note_block(conn, command);
        self.meter.fail(command.id, text.as_bytes());
        self.meter.count(command.id);
        self.with_reply(conn, |reply| reply.error(&text));
        Ok(())
    }

    fn note_block(&mut self, conn: ConnId, command: &'static Command) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.commands += 1;
            connection.last_command = Some(command.id);
            self.stats.commands += 1;
        }
    }

    /// All its keys are in this core's partition `own`.
    fn block_here(
        &mut self,
        conn: ConnId,
        own: usize,
        command: &'static Command,
        args: Args<'_>,
        waiting: Waiting,
        deadline_ms: Option<u64>,
    ) -> Result<(), ()> {
        if !self.is_single {
            self.flush_all(); // what was asked for before comes before this (D7)
            self.guard = None; // waking is a system call (D12)
        }
        let (Data::Ready(owned), Some(connection)) = (&mut self.data, self.connections.get_mut(conn)) else {
            return Ok(());
        };
        let whose = Whose { client: connection.id, request: connection.commands };
        let request = Request { id: command.id, db: connection.db, args, whose };
        if !self.visitors.is_idle() && self.visitors.keeps_waiting(&owned.list[own].partition, request) {
            return match self.wait_for_visitors(conn) {
                Routed::Later => Err(()),
                Routed::Here(_) | Routed::Done | Routed::AfterFlush => Ok(()),
            };
        }
        self.has_written = true;
        let own_partition = &mut owned.list[own];
        let (number, partition) = (own_partition.number, &mut own_partition.partition);
        let is_alone = self.meter.begin(command.id, args, 0);
        partition.set_untouched(connection.no_touch);
        let mut reply = Reply::new(&mut connection.output, connection.protocol);
        let done = partition.pop_or_wait(request, &mut reply, || waiting.clone());
        let depends = partition.take_dependency();
        let has_reply = match done {
            Ok(has_reply) => has_reply,
            Err(Stop::Error(text)) => {
                reply.error(&text);
                self.meter.fail(command.id, text.as_bytes());
                true
            }
            Err(Stop::Cold(address)) => {
                connection.stall = Some(Stall::Cold);
                self.awaiting.push(Awaits { conn, own, address });
                return Err(());
            }
            Err(Stop::Wait) => {
                connection.stall = Some(Stall::Log);
                self.waiting.push_back(conn);
                return Err(());
            }
            Err(Stop::Locked) => {
                connection.stall = Some(Stall::Locked);
                self.locked_out.push_back(conn);
                return Err(());
            }
        };
        if has_reply {
            connection.depends.add(own as u16, depends);
        } else {
            connection.stage_output(&mut self.spares);
            // that there was nothing is what the reply tells, if its time is over (law 2)
            connection.depends.add(own as u16, depends);
            connection.pieces.stage(Output::new(), connection.depends.take());
            connection.several += 1;
            let (client, piece) = (connection.id, connection.pieces.reserve());
            let partitions = vec![PartitionId(number)];
            self.insert_block(Blocked {
                conn,
                client,
                piece,
                waiting,
                partitions,
                deadline_ms,
                waits: true,
                served: None,
            });
        }
        self.note_block(conn, command);
        if is_alone {
            self.end_alone(conn, command.id, args);
        } else {
            self.meter.count(command.id);
        }
        Ok(())
    }

    /// Its keys are another core's, or in several partitions.
    fn block_there(
        &mut self,
        conn: ConnId,
        command: &'static Command,
        args: Args<'_>,
        waiting: Waiting,
        deadline_ms: Option<u64>,
    ) -> Result<(), ()> {
        let Data::Ready(owned) = &self.data else { return Ok(()) };
        let plan = match Plan::waiting(&waiting, extent(&self.config, owned.map.partitions())) {
            Ok(plan) => plan,
            Err(stop) => return self.block_fails(conn, command, stop),
        };
        self.note_block(conn, command);
        let timed = self.timed(command.id, args);
        let Some(asks) = self.asks(conn, timed) else { return Ok(()) };
        let (client, piece) = asks.place();
        let partitions = plan.partitions().collect();
        let token = waiting.waiter().token;
        self.insert_block(Blocked {
            conn,
            client,
            piece,
            waiting,
            partitions,
            deadline_ms,
            waits: false,
            served: None,
        });
        let is_untouched = self.connections.get(conn).is_some_and(|connection| connection.no_touch);
        self.draw(asks.of_block(token), plan.untouched(is_untouched));
        Ok(())
    }

    fn insert_block(&mut self, blocked: Blocked) {
        let token = blocked.waiting.waiter().token;
        if let Some(connection) = self.connections.get_mut(blocked.conn) {
            connection.blocked = Some(token);
        }
        if let Some(deadline_ms) = blocked.deadline_ms.filter(|_| blocked.waits) {
            self.blocks.deadlines.insert((deadline_ms, token));
        }
        self.blocks.list.insert(token, blocked);
    }

    /// The transaction has ended that has looked at its keys. Returns what it is to be answered with, if it does not wait.
    pub(super) fn has_looked(&mut self, asks: Asks, token: u64, outcome: Outcome) -> Option<(Asks, Outcome)> {
        let Some(blocked) = self.blocks.list.get_mut(&token) else { return Some((asks, outcome)) };
        let waits = match &outcome {
            Outcome::Reply(bytes) => bytes.is_empty(),
            // it may stand in line somewhere all the same, and may have been served
            Outcome::Error(_) => !blocked.waiting.end(),
            _ => false,
        };
        let (conn, client) = (blocked.conn, blocked.client);
        if !waits {
            if let Some(connection) = self.connections.get_mut(conn).filter(|connection| connection.id == client) {
                connection.blocked = None;
            }
            if let Some(blocked) = self.blocks.remove(token) {
                blocked.waiting.leave();
                self.forget_block(&blocked);
            }
            return Some((asks, outcome));
        }
        blocked.waits = true;
        let (served, deadline_ms) = (blocked.served.take(), blocked.deadline_ms);
        self.end_timing(asks);
        // one that is being closed has been told so
        let is_there = |connection: &&Connection| {
            connection.id == client && connection.blocked == Some(token) && connection.fate != Fate::Closing
        };
        match (self.connections.get(conn).filter(is_there), served) {
            (None, _) => {
                if let Some(blocked) = self.blocks.remove(token) {
                    blocked.waiting.leave();
                    self.forget_block(&blocked);
                }
            }
            (Some(_), Some(served)) => self.served(served),
            (Some(connection), None) if connection.eof => self.block_at_eof(conn),
            (Some(_), None) => {
                if let Some(deadline_ms) = deadline_ms {
                    self.blocks.deadlines.insert((deadline_ms, token));
                }
            }
        }
        None
    }

    /// An owner has served it.
    pub fn served(&mut self, served: Served) {
        let Some(blocked) = self.blocks.list.get_mut(&served.token) else { return }; // its client has gone
        if !blocked.waits {
            blocked.served = Some(served);
            return;
        }
        match served.reply {
            Some(reply) => self.unblock(served.token, reply),
            // whether it was done is not known, which is what a closed connection says
            None => self.condemned.push((blocked.conn, blocked.client)),
        }
    }

    /// It waits no more, and is answered.
    fn unblock(&mut self, token: u64, reply: Output) {
        let Some(blocked) = self.blocks.remove(token) else { return };
        self.forget_block(&blocked);
        let Blocked { conn, client, piece, .. } = blocked;
        let Some(connection) = self.connections.get_mut(conn).filter(|connection| connection.id == client) else {
            return;
        };
        connection.blocked = None;
        connection.pieces.answer(piece, reply);
        connection.several -= 1;
        if connection.several == 0 {
            self.resumable.push(conn);
        }
        self.touch(conn);
    }

    /// Its owners need not keep it in line.
    fn forget_block(&mut self, blocked: &Blocked) {
        let Data::Ready(owned) = &mut self.data else { return };
        for partition in &blocked.partitions {
            let (owner, own) = (owned.map.owner(partition.0), usize::from(partition.0 / self.peers.len()));
            if owner == self.me {
                owned.list[own].partition.forget(&blocked.waiting);
            } else {
                let message = Message::Forget(*partition, blocked.waiting.clone());
                self.stats.wakes += u64::from(self.calls.send(&self.peers, owner, message));
            }
        }
    }

    /// Serves those whose elements go to another partition: a transaction for each.
    pub fn begin_transfers(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        let extent = extent(&self.config, owned.map.partitions());
        let mut transfers = Vec::new();
        for own in &mut owned.list {
            while self.coordinator.open() + transfers.len() < MAX_OPEN
                && let Some(waiting) = own.partition.next_transfer()
            {
                transfers.push((PartitionId(own.number), waiting));
            }
        }
        for (partition, waiting) in transfers {
            let plan = Plan::transfer(&waiting, extent);
            self.draw(Asks::transfer(partition, waiting), plan);
        }
    }

    /// Such a transaction has ended.
    pub(super) fn transferred(&mut self, partition: PartitionId, waiting: &Waiting, outcome: &Outcome) {
        let (protocol, home) = (waiting.waiter().protocol, waiting.waiter().home);
        let (mut output, mut nothing) = (Output::new(), Output::new());
        outcome.write(&mut Reply::new(&mut output, protocol));
        Reply::new(&mut nothing, protocol).null();
        let found = output.to_vec() != nothing.to_vec();
        let cores = self.peers.len();
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(usize::from(partition.0 / cores))) {
            own.partition.end_transfer(waiting, found);
        }
        let served = Served::by_transaction(waiting, output);
        if !found {
            return;
        }
        if home.0 == self.me.0 {
            self.served(served);
        } else {
            let message = Message::Served(Box::new(served));
            self.stats.wakes += u64::from(self.calls.send(&self.peers, CoreId(home.0), message));
        }
    }

    /// Another core's client waits no more.
    pub fn forget_waiting(&mut self, partition: PartitionId, waiting: &Waiting) {
        let cores = self.peers.len();
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(usize::from(partition.0 / cores))) {
            own.partition.forget(waiting);
        }
    }

    /// Answers those whose time is over.
    pub fn check_deadlines(&mut self) {
        while let Some((deadline_ms, token)) = self.blocks.deadlines.first().copied()
            && deadline_ms <= self.up_ms
        {
            let Some(blocked) = self.blocks.list.get_mut(&token) else { return };
            if blocked.waiting.end() {
                let protocol = blocked.waiting.waiter().protocol;
                let mut output = Output::new();
                Reply::new(&mut output, protocol).null_array();
                self.unblock(token, output);
            } else {
                let again_ms = self.up_ms + AGAIN_MS;
                blocked.deadline_ms = Some(again_ms);
                self.blocks.deadlines.remove(&(deadline_ms, token));
                self.blocks.deadlines.insert((again_ms, token));
            }
        }
    }

    /// CLIENT UNBLOCK: whether that client is one of this core's, and waited.
    pub fn unblock_client(&mut self, client: u64, is_error: bool) -> bool {
        let meant = self.blocks.list.values().find(|blocked| blocked.client == client && blocked.waits);
        let Some(blocked) = meant.filter(|blocked| blocked.waiting.end()) else {
            return self.unblock_wait(client, is_error);
        };
        let waiter = blocked.waiting.waiter();
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, waiter.protocol);
        if is_error {
            self.meter.fail(waiter.id, UNBLOCKED.as_bytes());
            reply.error(UNBLOCKED);
        } else {
            reply.null_array();
        }
        let token = waiter.token;
        self.unblock(token, output);
        true
    }

    /// A connection is closed: if it waits, nothing is taken for it any more (B1).
    pub fn leave_block(&mut self, conn: ConnId) {
        let Some(token) = self.connections.get_mut(conn).and_then(|connection| connection.blocked.take()) else {
            return;
        };
        // what looks at its keys ends first
        if self.blocks.waits(token)
            && let Some(blocked) = self.blocks.remove(token)
        {
            blocked.waiting.leave();
            self.forget_block(&blocked);
        }
    }

    /// A client that waits sends nothing more: it is taken for gone, and what it has sent behind is not executed.
    pub fn block_at_eof(&mut self, conn: ConnId) {
        let Some(token) = self.connections.get(conn).and_then(|connection| connection.blocked) else { return };
        let Some(blocked) = self.blocks.list.get(&token).filter(|blocked| blocked.waits) else { return };
        blocked.waiting.leave();
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.query = Vec::new();
            connection.fate = Fate::CloseAfterReply;
        }
        self.unblock(token, Output::new());
    }

    /// The data are about to be others: who waits is told so.
    pub fn unblock_all(&mut self) {
        let waiting = self.blocks.list.values().filter(|blocked| blocked.waits && blocked.waiting.end());
        let ended: Vec<(u64, emberkv_resp::schema::CommandId, Protocol)> = waiting
            .map(|blocked| blocked.waiting.waiter())
            .map(|waiter| (waiter.token, waiter.id, waiter.protocol))
            .collect();
        for (token, id, protocol) in ended {
            let mut output = Output::new();
            Reply::new(&mut output, protocol).error(UNBLOCKED_ALL);
            self.meter.fail(id, UNBLOCKED_ALL.as_bytes());
            self.unblock(token, output);
        }
    }

    /// The server ends: nobody is served any more but those who have been claimed.
    pub fn end_blocks(&mut self) {
        let ended: Vec<u64> = self
            .blocks
            .list
            .iter()
            .filter(|(_, blocked)| blocked.waits && blocked.waiting.end())
            .map(|(token, _)| *token)
            .collect();
        for token in ended {
            self.blocks.remove(token);
        }
    }
}
