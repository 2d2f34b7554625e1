//! Commands over several partitions: this core's coordinator, and what its partitions have to say to others'.

use std::sync::PoisonError;
use std::time::Instant;

use emberkv_engine::transact::{Effect, Plan, ToCoordinator};
use emberkv_engine::{Request, Stop};
use emberkv_log::Whose;
use emberkv_resp::schema::{CommandId, Runs};
use emberkv_resp::{Args, Output, Reply};

use crate::core::away::Routed;
use crate::core::connection::Stall;
use crate::core::message::{CoreId, Message};
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
        let is_alone = self.meter.begin(command.id, args, 0);
        let timed = is_alone.then(|| Box::new((command.id, Instant::now(), Slow::new(args, 0, self.now_ms))));
        if timed.is_none() {
            self.meter.count(command.id);
        }
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
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else { return };
        let map = owned.map;
        self.stats.transactions += 1;
        connection.stage_output(&mut self.spares);
        let asks = Asks { conn, client: connection.id, piece: connection.pieces.reserve(), timed };
        let (peers, calls, stats) = (&self.peers, &mut self.calls, &mut self.stats);
        // the ticket is drawn and its locks are pushed, to this core too, before another one is drawn: they come to every
        // owner in the order of tickets (X1). A panic on any thread ends the process, so the lock is never poisoned
        let turn = peers.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = owned.horizon.draw();
        if let Some(tracking) = &mut connection.tracking {
            tracking.remember(ticket);
        }
        self.coordinator.begin(ticket, asks, plan, |partition, message| {
            stats.wakes += u64::from(calls.send(peers, map.owner(partition.0), Message::ToOwner(partition, message)));
        });
        drop(turn);
        connection.several += 1;
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
        if matches!(place, Some(Place::Several)) && !is_executing {
            return false;
        }
        connection.stall = Some(Stall::Several); // the last reply lets it go on
        true
    }

    /// An owner's answer to this core's coordinator.
    pub fn owner_answered(&mut self, answer: ToCoordinator) {
        let mut effects = Vec::new();
        self.coordinator.receive(answer, &mut effects);
        for effect in effects {
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
                Effect::Finish { client: Asks { conn, client, piece, timed }, outcome } => {
                    if let Some((id, began, slow)) = timed.map(|timed| *timed)
                        && let Some(micros) = self.meter.add(id, began.elapsed(), self.now_ms)
                    {
                        self.note_slow(conn, Slow { micros, ..slow });
                    }
                    let Some(connection) = self.connections.get_mut(conn) else { continue };
                    if connection.id != client {
                        continue; // its client has gone, and another one has its place
                    }
                    connection.several -= 1;
                    let is_last = connection.several == 0;
                    if let Some(multi) = connection.executing.take() {
                        self.executed(conn, piece, &multi, outcome);
                    } else {
                        let mut output = Output::new();
                        outcome.write(&mut Reply::new(&mut output, connection.protocol));
                        connection.pieces.answer(piece, output);
                    }
                    if is_last {
                        self.resumable.push(conn);
                    }
                    self.touch(conn);
                }
                Effect::Decided(ticket) => {
                    if let Data::Ready(owned) = &self.data {
                        owned.horizon.decided(ticket);
                    }
                }
            }
        }
    }

    /// Once a turn, when commands that were locked out have been tried again. Returns whether the next turn must
    /// come at once.
    pub fn progress_transactions(&mut self) -> bool {
        let mut soon = false;
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.progress_transactions();
            soon |= own.partition.has_visits();
        }
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

    /// Counts what lets a command go on that a transaction has locked out.
    pub fn unlocks(&self) -> u64 {
        match &self.data {
            Data::Ready(owned) => owned.list.iter().map(|own| own.partition.unlocks()).sum(),
            Data::Loading { .. } => 0,
        }
    }
}
