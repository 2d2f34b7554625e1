//! The coordinator of a core: what becomes of each command over several partitions (X2, X3, X6).
//!
//! ```text
//!   begin -> Voting --- all granted, some write ---> Writing --- all durable ---> committed: reply, Commit
//!     |        |                                        | |
//!     |        |--- nobody writes: reply, Release       | |--- one failed ---> Aborting ---> error, Release
//!     |        '--- one refused: error, Release         |                          '--- no abort is safe: error, locks stay
//!     '--- all write, whatever they see ----------------'
//! ```
//!
//! It does no i/o: an answer comes in, effects come out. An answer says what no crash takes back any more (at the level of
//! the sync policy), so a reply waits for nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use emberkv_log::{PartitionId, TxId};

use super::plan::{Merge, Plan};
use super::reply::Outcome;
use super::script::Script;
use super::share::{Action, Vote};
use super::{CoordinatorId, ToCoordinator, ToOwner};

/// Transactions that a coordinator has open at most; a further client has to wait. The bound is what keeps owners' queues of
/// locks short (law 10): each has at most this many of every core. Chosen, not measured: 16 pipelines of 16.
pub const MAX_OPEN: usize = 256;

pub(super) const UNKNOWN: &str =
    "MISCONF Errors writing to the AOF file: whether this command was executed is unknown until a restart";

/// What a coordinator wants to be done, in this order.
#[derive(Debug)]
pub enum Effect<T> {
    /// A message for the owner of a partition.
    Send {
        /// The partition.
        to: PartitionId,
        /// The message.
        message: ToOwner,
    },
    /// The command is done: this is its reply.
    Finish {
        /// Whose command it was.
        client: T,
        /// The reply.
        outcome: Outcome,
    },
    /// [`emberkv_log::Horizon::decided`] is to be told of this ticket.
    Decided(TxId),
}

/// See the module. `T` is how the server knows the command again.
#[derive(Debug)]
pub struct Coordinator<T> {
    id: CoordinatorId,
    open: BTreeMap<TxId, Transaction<T>>,
    /// For RANDOMKEY.
    random: u64,
}

#[derive(Debug)]
struct Transaction<T> {
    client: T,
    phase: Phase,
    /// How many answers are to come until the phase ends.
    awaited: usize,
    members: Vec<Member>,
    merge: Merge,
    script: Option<Script>,
    /// The reply, if nothing fails.
    outcome: Outcome,
    error: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Voting,
    Writing,
    Aborting,
}

#[derive(Debug)]
struct Member {
    partition: PartitionId,
    /// Whether it deletes: it writes only if it has found something.
    deletes: bool,
    state: State,
}

/// What an owner has answered last.
#[derive(PartialEq, Eq, Debug)]
enum State {
    /// Nothing yet.
    Asked,
    /// It has the locks, and has seen this.
    Granted(Vote),
    /// It has been told to append its part.
    Writes,
    Durable,
    /// Its part may be on the disk or not.
    Failed,
    /// It has answered that it is aborted; whether that is safe.
    Aborted(bool),
    /// It neither has a part nor will have one.
    Refused,
    /// It has nothing to do with it any more.
    Gone,
}

impl Member {
    fn will_write(&self) -> bool {
        match &self.state {
            State::Granted(Vote::Ready) => true,
            State::Granted(Vote::Count(count)) => self.deletes && *count > 0,
            State::Granted(Vote::Ran(ran)) => ran.writes,
            _ => false,
        }
    }
}

impl<T> Coordinator<T> {
    /// A coordinator without transactions. `seed` is any number.
    pub fn new(id: CoordinatorId, seed: u64) -> Self {
        Self { id, open: BTreeMap::new(), random: seed | 1 }
    }

    /// Whether another command has to wait until one has finished.
    pub fn is_full(&self) -> bool {
        self.open.len() >= MAX_OPEN
    }

    /// How many transactions are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Begins a command. The ticket is drawn, and all these messages are pushed to the owners, the own core's too, in one
    /// critical section: so that they come to every owner in the order of tickets (X1).
    pub fn begin(&mut self, ticket: TxId, client: T, plan: Plan, mut send: impl FnMut(PartitionId, ToOwner)) {
        let (count, untouched) = (plan.shares.len(), plan.untouched);
        // nothing that an owner may see keeps the others from writing
        let at_once = (plan.merge == Merge::Ok).then(|| plan.partitions().collect::<Arc<[_]>>());
        let phase = if at_once.is_some() { Phase::Writing } else { Phase::Voting };
        let mut members = Vec::with_capacity(count);
        for (partition, share) in plan.shares {
            let deletes = matches!(share.action, Action::Delete(_));
            members.push(Member { partition, deletes, state: State::Asked });
            let (from, members, at_once) = (self.id, count as u16, at_once.clone());
            send(partition, ToOwner::Lock { ticket, from, members, at_once, untouched, share });
        }
        let transaction = Transaction {
            client,
            phase,
            awaited: count,
            members,
            merge: plan.merge,
            script: plan.script,
            outcome: Outcome::Ok,
            error: None,
        };
        self.open.insert(ticket, transaction);
    }

    /// Takes an owner's answer.
    ///
    /// # Panics
    /// If nothing was asked.
    pub fn receive(&mut self, answer: ToCoordinator, effects: &mut Vec<Effect<T>>) {
        let ticket = answer.ticket();
        let Some(transaction) = self.open.get_mut(&ticket) else { unreachable!("{answer:?} answers nothing") };
        let phase = transaction.phase;
        let (partition, state, expected) = match answer {
            ToCoordinator::Granted { partition, vote, .. } => (partition, State::Granted(vote), phase == Phase::Voting),
            ToCoordinator::Refused { partition, error, .. } => {
                transaction.error.get_or_insert(error);
                (partition, State::Refused, phase != Phase::Aborting)
            }
            ToCoordinator::Durable { partition, .. } => (partition, State::Durable, phase == Phase::Writing),
            ToCoordinator::Failed { partition, error, .. } => {
                transaction.error.get_or_insert(error);
                (partition, State::Failed, phase == Phase::Writing)
            }
            ToCoordinator::Aborted { partition, safe, .. } => {
                (partition, State::Aborted(safe), phase == Phase::Aborting)
            }
        };
        let member = transaction.members.iter_mut().find(|member| member.partition == partition);
        let Some(member) = member.filter(|_| expected) else { unreachable!("{ticket:?} awaits no such answer") };
        member.state = state;
        transaction.awaited -= 1;
        if transaction.awaited > 0 {
            return;
        }
        let Some(transaction) = self.open.remove(&ticket) else { unreachable!("it was there just now") };
        let left = match phase {
            Phase::Voting => self.voted(ticket, transaction, effects),
            Phase::Writing => transaction.written(ticket, effects),
            Phase::Aborting => {
                transaction.aborted(ticket, effects);
                None
            }
        };
        if let Some(transaction) = left {
            self.open.insert(ticket, transaction);
        }
    }

    /// All have answered the locks.
    fn voted(
        &mut self,
        ticket: TxId,
        mut open: Transaction<T>,
        effects: &mut Vec<Effect<T>>,
    ) -> Option<Transaction<T>> {
        // a single one that must not write keeps all from it
        let vetoes =
            |member: &Member| matches!(member.state, State::Refused | State::Granted(Vote::Exists | Vote::Changed));
        let vetoed = open.members.iter().any(vetoes);
        let random = self.next_random();
        if !vetoed && open.next_round(ticket, random, effects) {
            return Some(open);
        }
        let is_changed = open.members.iter().any(|member| member.state == State::Granted(Vote::Changed));
        let writers = open.members.iter().filter(|member| !vetoed && member.will_write());
        let writers: Arc<[PartitionId]> = writers.map(|member| member.partition).collect();
        let mut votes = Vec::with_capacity(open.members.len());
        for member in &mut open.members {
            let to = member.partition;
            let is_writer = writers.contains(&to);
            let state = if is_writer { State::Writes } else { State::Gone };
            if let State::Granted(vote) = std::mem::replace(&mut member.state, state) {
                votes.push(vote);
            }
            let message = if is_writer {
                ToOwner::Write { ticket, participants: Arc::clone(&writers) }
            } else {
                // what it has seen is durable, and no part depends on more than that (X2)
                ToOwner::Release { ticket }
            };
            effects.push(Effect::Send { to, message });
        }
        let outcome = match (open.error.take(), open.script.take()) {
            (Some(error), _) => Outcome::Error(error),
            (None, Some(_)) if is_changed => Outcome::Changed,
            (None, Some(script)) => script.outcome(),
            (None, None) => std::mem::replace(&mut open.merge, Merge::Ok).outcome(votes, random),
        };
        if writers.is_empty() {
            open.finish(ticket, outcome, true, effects);
            return None;
        }
        (open.phase, open.awaited, open.outcome) = (Phase::Writing, writers.len(), outcome);
        Some(open)
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl<T> Transaction<T> {
    /// Of a script: takes the owners' answers, and asks for what comes next, if anything does.
    fn next_round(&mut self, ticket: TxId, random: u64, effects: &mut Vec<Effect<T>>) -> bool {
        let Some(script) = &mut self.script else { return false };
        for member in &mut self.members {
            if let State::Granted(Vote::Ran(ran)) = &mut member.state {
                script.take(member.partition, std::mem::take(&mut ran.answers));
            }
        }
        let round = script.go_on(random);
        self.awaited = round.len();
        for (to, steps) in round {
            let member = self.members.iter_mut().find(|member| member.partition == to);
            let Some(member) = member else { unreachable!("{ticket:?} has locked all that it needs") };
            member.state = State::Asked;
            effects.push(Effect::Send { to, message: ToOwner::Run { ticket, steps } });
        }
        self.awaited > 0
    }

    /// All have answered the order to write.
    fn written(mut self, ticket: TxId, effects: &mut Vec<Effect<T>>) -> Option<Self> {
        let has_part = |member: &&Member| matches!(member.state, State::Durable | State::Failed);
        let Some(error) = self.error.take() else {
            // committed by the last part that became durable: no crash takes it back (X3)
            for member in self.members.iter().filter(has_part) {
                effects.push(Effect::Send { to: member.partition, message: ToOwner::Commit { ticket } });
            }
            let outcome = std::mem::replace(&mut self.outcome, Outcome::Ok);
            self.finish(ticket, outcome, true, effects);
            return None;
        };
        for member in self.members.iter().filter(has_part) {
            effects.push(Effect::Send { to: member.partition, message: ToOwner::Abort { ticket } });
        }
        self.awaited = self.members.iter().filter(has_part).count();
        (self.phase, self.error) = (Phase::Aborting, Some(error));
        if self.awaited == 0 {
            self.aborted(ticket, effects);
            return None;
        }
        Some(self)
    }

    /// All that have a part have answered the abort (X6).
    fn aborted(mut self, ticket: TxId, effects: &mut Vec<Effect<T>>) {
        let any = |state: State| self.members.iter().any(|member| member.state == state);
        // a start commits it only if all parts are there and no abort is: one of either will do
        if !any(State::Refused) && !any(State::Aborted(true)) {
            effects.push(Effect::Finish { client: self.client, outcome: Outcome::Error(UNKNOWN.into()) });
            return; // the locks stay
        }
        // the abort of one whose log has failed is appended by its next start: till then it is not settled
        let settled = !any(State::Aborted(false));
        for member in self.members.iter().filter(|member| member.state != State::Gone) {
            effects.push(Effect::Send { to: member.partition, message: ToOwner::Release { ticket } });
        }
        let error = self.error.take().unwrap_or(UNKNOWN.into());
        self.finish(ticket, Outcome::Error(error), settled, effects);
    }

    fn finish(self, ticket: TxId, outcome: Outcome, settled: bool, effects: &mut Vec<Effect<T>>) {
        effects.push(Effect::Finish { client: self.client, outcome });
        if settled {
            effects.push(Effect::Decided(ticket));
        }
    }
}
