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
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;
use crate::meter::Slow;

/// Whose command it is, and where its reply goes.
#[derive(Debug)]
pub(crate) struct Asks {
    conn: ConnId,
    client: u64,
    piece: u64,
    /// What is to be timed from here to its reply, other cores' part and waiting for them included.
    timed: Option<Box<(CommandId, Instant, Slow)>>,
}

impl Shard {
    /// Begins a command whose keys are in several partitions.
    pub fn spread(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Routed {
        // its locks come after other connections' requests that have not left: what was executed here after those is seen
        // by it (D7)
        self.flush_all();
        self.guard = None; // waking is a system call (D12)
        let (Data::Ready(owned), Some(connection), Some(command)) =
            (&self.data, self.connections.get_mut(conn), parsed.command)
        else {
            return Routed::Done;
        };
        if connection.away.requests > 0 {
            connection.stall = Some(Stall::Several);
            return Routed::Later; // the last answer lets it go on
        }
        if self.coordinator.is_full() {
            connection.stall = Some(Stall::Several);
            self.for_coordinator.push_back(conn);
            return Routed::Later;
        }
        let (map, db) = (owned.map, connection.db);
        let plan = match Plan::new(Request { id: command.id, db, args, whose: Whose::default() }, map.partitions()) {
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
        self.stats.transactions += 1;
        if !connection.output.is_empty() {
            let output = std::mem::replace(&mut connection.output, self.spares.take());
            connection.pieces.stage(output, connection.depends.take());
        }
        let asks = Asks { conn, client: connection.id, piece: connection.pieces.reserve(), timed };
        let peers = &self.peers;
        // the ticket is drawn and its locks are pushed, to this core too, before another one is drawn: they come to every
        // owner in the order of tickets (X1). A panic on any thread ends the process, so the lock is never poisoned
        let turn = peers.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = owned.horizon.draw();
        self.coordinator.begin(ticket, asks, plan, |partition, message| {
            peers.send(map.owner(partition.0), Message::ToOwner(partition, message));
        });
        drop(turn);
        connection.several += 1;
        Routed::Done
    }

    /// Whether a request has to wait until the connection's commands over several partitions have ended. A further one of
    /// these has not: its locks come after theirs everywhere.
    #[cold]
    pub fn comes_after_several(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> bool {
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else { return false };
        let command = parsed.command.filter(|command| command.runs == Runs::Data);
        let place = command.map(|command| owned.map.place(command, args, parsed.place.map(|(place, _)| place)));
        if matches!(place, Some(Place::Several)) {
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
                        self.peers.send(core, Message::ToOwner(to, message));
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
                    let mut output = Output::new();
                    outcome.write(&mut Reply::new(&mut output, connection.protocol));
                    connection.pieces.answer(piece, output);
                    connection.several -= 1;
                    if connection.several == 0 {
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
        for own in &mut owned.list {
            own.partition.take_answers(|to, message| {
                self.peers.send(CoreId(to.0), Message::ToCoordinator(message));
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
