//! A data set of several partitions on a simulated disk, with coordinators, clients, and messages that arrive in any order
//! that the server's queues allow. A plain model executes every command whole: an ordinary one when its owner does, one over
//! several partitions when the last of its owners has granted its locks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use emberkv_log::disk::sim::{Choices, SimDisk, SimFile};
use emberkv_log::{DbId, Job, Kind, LogPosition, MARK_BYTES, Options, Progress, SyncPolicy, TxId};
use emberkv_resp::{Output, Protocol, Reply};

use super::coordinator::with_request;
use crate::lookup::TextBuf;
use crate::slots::partition_of;
use crate::tests::{Held, Model, Name, START_MS, State, limits};
use crate::transact::{
    Coordinator, CoordinatorId, Effect, Line, Outcome, Plan, Route, Strings, ToCoordinator, ToOwner, route,
};
use crate::{Foreign, Partition, PartitionReader, Stop, open};

/// Names a change of the model.
pub type ChangeId = usize;

/// What a command has changed, and where that is in the logs.
#[derive(Default, Debug)]
pub struct Change {
    pub line: String,
    /// The command.
    db: u8,
    words: Vec<Vec<u8>>,
    /// Its place in the model's order, once the model has executed it.
    pub order: Option<u64>,
    /// Each key, what it was, what it is.
    pub keys: Vec<(Name, Option<Held>, Option<Held>)>,
    /// The change before it, of each of those keys.
    pub replaced: Vec<Option<ChangeId>>,
    /// How many partitions have a part.
    pub writers: usize,
    /// The records of it, by partition, and where they end.
    pub parts: Vec<(usize, LogPosition)>,
    pub marks: Vec<(usize, LogPosition)>,
    pub aborts: Vec<(usize, LogPosition)>,
    /// A client has seen it, and no crash at the policy's level may take it back.
    pub must: bool,
    /// A client was told that it never happened.
    pub must_not: bool,
}

impl Change {
    /// Whether it has happened when the logs end at these positions.
    pub fn is_in(&self, cuts: &[LogPosition]) -> bool {
        let there = |(p, end): &(usize, LogPosition)| *end <= cuts[*p];
        self.parts.len() == self.writers && self.parts.iter().all(there) && !self.aborts.iter().any(there)
    }
}

#[derive(Default, Debug)]
pub struct Client {
    pub core: usize,
    pub doing: Option<Doing>,
}

#[derive(Debug)]
pub enum Doing {
    /// Waits for its turn at the owner.
    Waits { owner: usize, db: u8, words: Vec<Vec<u8>> },
    /// Was executed; the reply waits for a position, and tells of these changes.
    Replied { owner: usize, depends: LogPosition, seen: Vec<ChangeId> },
    /// Over several partitions.
    Several,
}

#[derive(Debug)]
struct Transaction {
    db: u8,
    words: Vec<Vec<u8>>,
    /// First answers that are to come.
    votes_left: usize,
    /// Of one that is written without a vote: how many parts it has.
    writers: usize,
    refused: bool,
    /// All its keys are in one partition: it happens when its owner executes it.
    alone: bool,
    /// What the model says, once it has executed it.
    expected: Option<Vec<u8>>,
    seen: Vec<ChangeId>,
    change: Option<ChangeId>,
}

pub struct World {
    pub disk: SimDisk,
    pub partitions: Vec<Partition<SimDisk>>,
    pub policy: SyncPolicy,
    readers: Vec<PartitionReader>,
    jobs: Vec<Vec<Job<SimFile>>>,
    coordinators: Vec<Coordinator<usize>>,
    pub clients: Vec<Client>,
    /// By receiver: a partition, or a coordinator. With the sender of each message.
    to_owners: Vec<VecDeque<(usize, ToOwner)>>,
    to_coordinators: Vec<VecDeque<(usize, ToCoordinator)>>,
    transactions: BTreeMap<TxId, Transaction>,
    pub model: Model,
    /// All changes since the last start, in the model's order, which is that of each log too.
    pub changes: Vec<Change>,
    by_ticket: BTreeMap<TxId, ChangeId>,
    /// The newest change of each key.
    newest: BTreeMap<Name, ChangeId>,
    pub finished: u64,
    executed: u64,
    /// Whether LOCKs may overtake one another: what X1 forbids.
    pub scrambled: bool,
}

/// What a start finds on the disk.
pub fn start(
    disk: &SimDisk,
    partitions: u16,
    seed: u64,
    policy: SyncPolicy,
) -> Result<Vec<Partition<SimDisk>>, String> {
    let options = Options {
        policy,
        segment_size: 1 << 16,
        salvage: false,
        slow_write: None,
        load_threads: 1,
        now_ms: || START_MS,
        random: {
            let mut choices = Choices::new(seed ^ 0xfeed);
            Box::new(move || choices.draw())
        },
    };
    // values are compressed after one start in three
    let limits = limits(if seed.is_multiple_of(3) { 16 } else { usize::MAX });
    let opened = open(Arc::new(disk.clone()), options, limits, partitions, &Progress::default());
    Ok(opened.map_err(|error| error.to_string())?.0)
}

impl World {
    pub fn new(partitions: u16, cores: usize, clients: usize, seed: u64, policy: SyncPolicy) -> Self {
        let disk = SimDisk::new();
        let opened = start(&disk, partitions, seed, policy).unwrap();
        let clients = (0..clients).map(|i| Client { core: i % cores, doing: None }).collect();
        let mut world = Self {
            disk,
            partitions: Vec::new(),
            policy,
            readers: Vec::new(),
            jobs: Vec::new(),
            coordinators: (0..cores).map(|core| Coordinator::new(CoordinatorId(core as u16), seed)).collect(),
            clients,
            to_owners: Vec::new(),
            to_coordinators: Vec::new(),
            transactions: BTreeMap::new(),
            model: Model { now_ms: START_MS, ..Model::default() },
            changes: Vec::new(),
            by_ticket: BTreeMap::new(),
            newest: BTreeMap::new(),
            finished: 0,
            executed: 0,
            scrambled: false,
        };
        world.restarted(opened);
        world
    }

    /// Goes on with what a start has found; all clients are gone.
    pub fn restarted(&mut self, partitions: Vec<Partition<SimDisk>>) {
        let cores = self.coordinators.len();
        self.jobs = partitions.iter().map(|_| Vec::new()).collect();
        self.to_owners = partitions.iter().map(|_| VecDeque::new()).collect();
        self.to_coordinators = (0..cores).map(|_| VecDeque::new()).collect();
        self.partitions = partitions;
        self.readers = self.partitions.iter_mut().map(Partition::reader).collect();
        self.partitions.iter_mut().for_each(|partition| partition.begin_turn(START_MS));
        for (core, coordinator) in self.coordinators.iter_mut().enumerate() {
            *coordinator = Coordinator::new(CoordinatorId(core as u16), 7);
        }
        self.clients.iter_mut().for_each(|client| client.doing = None);
        self.transactions.clear();
        self.changes.clear();
        self.by_ticket.clear();
        self.newest.clear();
    }

    fn count(&self) -> u16 {
        self.partitions.len() as u16
    }

    pub fn cores(&self) -> usize {
        self.coordinators.len()
    }

    // ---- clients -------------------------------------------------------------------------------------

    /// An idle client sends a command. False if it has to wait for its core's coordinator.
    pub fn send(&mut self, client: usize, db: u8, words: Vec<Vec<u8>>, choices: &mut Choices) -> bool {
        assert!(self.clients[client].doing.is_none());
        let core = self.clients[client].core;
        let count = self.count();
        let views: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let is_script = words[0] == b"multi";
        let routed = if is_script {
            let lines = lines_of(&words).into_iter().map(|line| line_of(db, line)).collect();
            Err(Box::new(Plan::script(lines, None, Protocol::Resp2, count)))
        } else {
            with_request(db, &views, |request| match route(request.id, request.args, count) {
                Route::One(owner) => Ok(usize::from(owner.0)),
                Route::Several => Err(Box::new(Plan::new(request, count).unwrap())),
            })
        };
        let plan = match routed {
            Ok(owner) => {
                self.clients[client].doing = Some(Doing::Waits { owner, db, words });
                return true;
            }
            Err(_) if self.coordinators[core].is_full() => return false,
            Err(plan) => *plan,
        };
        // one critical section
        let ticket = self.partitions[0].log().horizon().draw();
        let votes_left = plan.partitions().count();
        let alone = is_script && votes_left == 1;
        let mut locks = Vec::new();
        let mut writers = 0;
        self.coordinators[core].begin(ticket, client, plan, |to, message| locks.push((to, message)));
        for (to, message) in locks {
            if let ToOwner::Lock { at_once: Some(participants), .. } = &message {
                writers = participants.len();
            }
            let inbox = &mut self.to_owners[usize::from(to.0)];
            let at = if self.scrambled { choices.below(inbox.len() as u64 + 1) as usize } else { inbox.len() };
            inbox.insert(at, (core, message));
        }
        let (expected, seen, change) = (None, Vec::new(), None);
        let transaction = Transaction { db, words, votes_left, writers, refused: false, alone, expected, seen, change };
        self.transactions.insert(ticket, transaction);
        self.clients[client].doing = Some(Doing::Several);
        true
    }

    /// The model executes a command; returns its reply, the changes that the reply tells of, and what it has changed.
    fn execute(
        &mut self,
        db: u8,
        words: &[Vec<u8>],
        ticket: Option<TxId>,
    ) -> (Vec<u8>, Vec<ChangeId>, Option<ChangeId>) {
        let old = self.model.state.clone();
        let name = words[0].to_ascii_lowercase();
        let expected = match name.as_slice() {
            b"keys" | b"randomkey" => {
                let keys = old.keys().filter(|key| key.0 == db);
                keys.flat_map(|key| [&key.1[..], b"\n"].concat()).collect()
            }
            b"multi" => Vec::new(),
            _ => self.model.execute(db, words),
        };
        let tells_all = |name: &[u8]| [&b"dbsize"[..], b"keys", b"randomkey", b"flushall", b"flushdb"].contains(&name);
        let mut seen = self.seen_by(tells_all(&name));
        let mut expected = expected;
        if name == b"multi" {
            let lines = lines_of(words);
            expected = format!("*{}\r\n", lines.len()).into_bytes();
            seen.clear();
            for line in lines {
                expected.extend(self.model.execute(db, line));
                seen.extend(self.seen_by(tells_all(&line[0].to_ascii_lowercase())));
            }
        }
        seen.sort_unstable();
        seen.dedup();
        let names: BTreeSet<_> = old.keys().chain(self.model.state.keys()).collect();
        let keys: Vec<_> = (names.into_iter())
            .filter(|key| old.get(key) != self.model.state.get(key))
            .map(|key| (key.clone(), old.get(key).cloned(), self.model.state.get(key).cloned()))
            .collect();
        // a floor in an empty database is a part too, of no change
        if keys.is_empty() && ticket.is_none() {
            return (expected, seen, None);
        }
        let id = match ticket {
            Some(ticket) => self.change_of(ticket),
            None => self.new_change(db, words),
        };
        let replaced = keys.iter().map(|(key, ..)| self.newest.insert(key.clone(), id)).collect();
        self.executed += 1;
        let change = &mut self.changes[id];
        (change.keys, change.replaced, change.order) = (keys, replaced, Some(self.executed));
        (expected, seen, Some(id))
    }

    /// The changes that a reply of the model's tells of.
    fn seen_by(&self, tells_all: bool) -> Vec<ChangeId> {
        if tells_all {
            return self.newest.values().copied().collect();
        }
        self.model.seen.iter().filter_map(|key| self.newest.get(key).copied()).collect()
    }

    fn new_change(&mut self, db: u8, words: &[Vec<u8>]) -> ChangeId {
        let line = words.iter().map(|word| word[..word.len().min(12)].escape_ascii().to_string());
        let line = format!("db {db}: {}", line.collect::<Vec<_>>().join(" "));
        self.changes.push(Change { line, db, words: words.to_vec(), ..Change::default() });
        self.changes.len() - 1
    }

    /// The change that a transaction makes, or may make.
    fn change_of(&mut self, ticket: TxId) -> ChangeId {
        if let Some(id) = self.by_ticket.get(&ticket) {
            return *id;
        }
        let Transaction { db, words, writers, .. } = &self.transactions[&ticket];
        let (db, words, writers) = (*db, words.clone(), *writers);
        let id = self.new_change(db, &words);
        self.changes[id].writers = writers;
        self.by_ticket.insert(ticket, id);
        id
    }

    /// The model executes those that may have happened though nobody knows it: all their parts are there. Their keys
    /// are still locked.
    pub fn execute_complete(&mut self) {
        let complete = |change: &Change| change.order.is_none() && change.parts.len() == change.writers;
        let all = self.by_ticket.iter().map(|(ticket, id)| (*ticket, *id));
        let all: Vec<_> = all.filter(|(_, id)| complete(&self.changes[*id]) && !self.changes[*id].must_not).collect();
        for (ticket, id) in all {
            let (db, words) = (self.changes[id].db, self.changes[id].words.clone());
            self.execute(db, &words, Some(ticket));
        }
    }

    /// A client that waits for its turn tries again.
    pub fn try_again(&mut self, client: usize) {
        let Some(Doing::Waits { owner, db, words }) = &self.clients[client].doing else { return };
        let (owner, db, words) = (*owner, *db, words.clone());
        let views: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut output = Output::new();
        let partition = &mut self.partitions[owner];
        let result = with_request(db, &views, |request| {
            partition.execute(request, &mut Reply::new(&mut output, Protocol::Resp2))
        });
        let depends = partition.take_dependency();
        let tail = partition.log().tail();
        match result {
            Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => return,
            Err(Stop::Error(text)) => {
                assert!(
                    text.starts_with("MISCONF") && self.partitions[owner].log().read_only().is_some()
                        || self.partitions[owner].log().no_space().is_some(),
                    "{text}"
                );
                self.finish(client);
                return;
            }
            Ok(()) => {}
        }
        if words[0].eq_ignore_ascii_case(b"scan") {
            self.finish(client);
            return;
        }
        let (expected, mut seen, change) = self.execute(db, &words, None);
        let reply = output.to_vec();
        assert!(
            reply == expected,
            "{}\n  replied  {}\n  expected {}",
            words
                .iter()
                .map(|word| word[..word.len().min(40)].escape_ascii().to_string())
                .collect::<Vec<_>>()
                .join(" "),
            reply.escape_ascii(),
            expected.escape_ascii()
        );
        if let Some(id) = change {
            let change = &mut self.changes[id];
            change.writers = 1;
            change.parts.push((owner, tail));
            seen.push(id);
        }
        self.clients[client].doing = Some(Doing::Replied { owner, depends, seen });
    }

    fn finish(&mut self, client: usize) {
        self.clients[client].doing = None;
        self.finished += 1;
    }

    fn saw(&mut self, seen: &[ChangeId]) {
        seen.iter().for_each(|id| self.changes[*id].must = true);
    }

    /// Replies whose position has been reached are sent.
    fn release(&mut self, owner: usize) {
        let gate = self.partitions[owner].log().gate();
        for client in 0..self.clients.len() {
            if let Some(Doing::Replied { owner: at, depends, seen }) = &mut self.clients[client].doing
                && *at == owner
                && *depends <= gate
            {
                let seen = std::mem::take(seen);
                self.saw(&seen);
                self.finish(client);
            } else if matches!(&self.clients[client].doing, Some(Doing::Replied { owner: at, .. }) if *at == owner)
                && self.partitions[owner].log().read_only().is_some()
            {
                self.finish(client); // its reply is never sent
            }
        }
    }

    /// Reads a key as another core does, without a message: what is answered is the truth, and stays it.
    pub fn read_directly(&mut self, db: u8, key: &[u8]) {
        let owner = usize::from(partition_of(key, self.count()).0);
        let guard = crossbeam_epoch::pin();
        let found = match self.readers[owner].get(&guard, DbId(db), key, START_MS) {
            Foreign::Ask => return,
            Foreign::Nil => None,
            Foreign::Value(record) => Some(TextBuf::default().text(record.record().value()).to_vec()),
        };
        let name: Name = (db, key.into());
        let expected = self.model.state.get(&name).map(|held| held.value.to_vec());
        assert_eq!(found, expected, "read directly: {}", key.escape_ascii());
        if let Some(id) = self.newest.get(&name) {
            self.saw(&[*id]);
        }
    }

    // ---- messages ------------------------------------------------------------------------------------

    /// Delivers the next message to an owner. False if there is none.
    pub fn deliver_to_owner(&mut self, owner: usize) -> bool {
        let Some((_, message)) = self.to_owners[owner].pop_front() else { return false };
        self.partitions[owner].receive(message);
        self.note(owner);
        true
    }

    /// What was appended for transactions.
    fn note(&mut self, owner: usize) {
        for (ticket, kind, end) in std::mem::take(&mut self.partitions[owner].transactions.trace) {
            let id = self.change_of(ticket);
            if kind == Kind::Part && self.transactions.get(&ticket).is_some_and(|transaction| transaction.alone) {
                self.changes[id].writers = 1;
                self.happens(ticket);
            }
            let change = &mut self.changes[id];
            match kind {
                Kind::Part => change.parts.push((owner, end)),
                Kind::Mark => change.marks.push((owner, end)),
                _ => change.aborts.push((owner, end)),
            }
        }
    }

    /// The model executes a transaction.
    fn happens(&mut self, ticket: TxId) {
        let Transaction { db, words, .. } = &self.transactions[&ticket];
        let (db, words) = (*db, words.clone());
        let (expected, seen, change) = self.execute(db, &words, Some(ticket));
        let transaction = self.transactions.get_mut(&ticket).unwrap();
        (transaction.expected, transaction.seen, transaction.change) = (Some(expected), seen, change);
    }

    /// Delivers the next message to a coordinator. False if there is none.
    pub fn deliver_to_coordinator(&mut self, core: usize, choices: &mut Choices) -> bool {
        let Some((_, message)) = self.to_coordinators[core].pop_front() else { return false };
        let ticket = message.ticket();
        let is_refusal = matches!(message, ToCoordinator::Refused { .. } | ToCoordinator::Failed { .. });
        let mut effects = Vec::new();
        self.coordinators[core].receive(message, &mut effects);
        if let Some(transaction) = self.transactions.get_mut(&ticket)
            && transaction.votes_left > 0
        {
            transaction.votes_left -= 1;
            transaction.refused |= is_refusal;
            let is_run = |effect: &&Effect<usize>| matches!(effect, Effect::Send { message: ToOwner::Run { .. }, .. });
            let rounds = effects.iter().filter(is_run).count();
            if rounds > 0 {
                transaction.votes_left = rounds; // of the next round
            } else if transaction.votes_left == 0 && !transaction.refused && transaction.expected.is_none() {
                self.happens(ticket); // all locks are held
            }
        }
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    if let ToOwner::Write { ticket, participants } = &message {
                        let id = self.by_ticket[ticket];
                        self.changes[id].writers = participants.len();
                    }
                    self.push_to_owner(core, usize::from(to.0), message, choices);
                }
                Effect::Finish { client, outcome } => self.finish_transaction(ticket, client, &outcome),
                Effect::Decided(ticket) => self.partitions[0].log().horizon().decided(ticket),
            }
        }
        true
    }

    /// A message may overtake those of others, but no LOCK does, and none of its sender.
    fn push_to_owner(&mut self, core: usize, owner: usize, message: ToOwner, choices: &mut Choices) {
        let inbox = &mut self.to_owners[owner];
        let least = inbox.iter().rposition(|(from, _)| *from == core).map_or(0, |at| at + 1);
        let at = least + choices.below((inbox.len() - least) as u64 + 1) as usize;
        inbox.insert(at, (core, message));
    }

    fn finish_transaction(&mut self, ticket: TxId, client: usize, outcome: &Outcome) {
        let transaction = self.transactions.remove(&ticket).unwrap();
        self.finish(client);
        if let Outcome::Error(text) = outcome {
            let failed = |p: &Partition<SimDisk>| p.log().read_only().is_some() || p.log().no_space().is_some();
            // what failed may be well again by now
            let failed = text.contains("simulated") || self.partitions.iter().any(failed);
            assert!(text.starts_with("MISCONF") && failed, "{text}");
            if let Some(id) = self.by_ticket.get(&ticket) {
                self.changes[*id].must_not = !text.contains("unknown");
            }
            // what is alone in its partition is there, on the disk or not
            let Some(id) = transaction.change.filter(|_| !transaction.alone) else { return };
            for ((key, old, _), replaced) in self.changes[id].keys.iter().zip(&self.changes[id].replaced) {
                match old {
                    Some(held) => self.model.state.insert(key.clone(), held.clone()),
                    None => self.model.state.remove(key),
                };
                match replaced {
                    Some(replaced) => self.newest.insert(key.clone(), *replaced),
                    None => self.newest.remove(key),
                };
            }
            return;
        }
        let mut output = Output::new();
        outcome.write(&mut Reply::new(&mut output, Protocol::Resp2));
        let reply = output.to_vec();
        let name = transaction.words[0].to_ascii_lowercase();
        match name.as_slice() {
            b"keys" => {
                let Outcome::Keys(found) = outcome else { panic!("{outcome:?}") };
                let mut found: Vec<&[u8]> = found.iter().flat_map(Strings::iter).collect();
                found.sort_unstable();
                let found: Vec<u8> = found.iter().flat_map(|key| [*key, b"\n"].concat()).collect();
                assert_eq!(Some(found), transaction.expected);
            }
            b"randomkey" => {
                let keys = transaction.expected.unwrap_or_default();
                let mut keys = keys.split(|byte| *byte == b'\n').filter(|key| !key.is_empty());
                match outcome {
                    Outcome::Key(Some(drawn)) => assert!(keys.any(|key| *key == **drawn)),
                    other => assert!(*other == Outcome::Key(None) && keys.next().is_none()),
                }
            }
            _ => assert!(
                transaction.expected.as_ref() == Some(&reply),
                "{:?} replied {} and not {}",
                transaction.words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>(),
                reply.escape_ascii(),
                transaction.expected.unwrap_or_default().escape_ascii()
            ),
        }
        self.saw(&transaction.seen);
        if let Some(id) = transaction.change
            && self.changes[id].writers > 0
        {
            self.changes[id].must = true;
        }
    }

    // ---- turns ---------------------------------------------------------------------------------------

    /// Waiting transactions of a partition go on.
    pub fn progress(&mut self, owner: usize) {
        self.partitions[owner].progress_transactions();
        self.note(owner);
    }

    /// A partition's turn ends: what was appended is written, and what waited for that leaves.
    pub fn end_turn(&mut self, owner: usize) {
        let partition = &mut self.partitions[owner];
        partition.log_mut().end_turn();
        partition.publish();
        let inboxes = &mut self.to_coordinators;
        partition.take_answers(|to, message| inboxes[usize::from(to.0)].push_back((owner, message)));
        self.note(owner);
        self.release(owner);
    }

    /// Carries out one of a partition's jobs. False if there are none.
    pub fn run_job(&mut self, owner: usize, choices: &mut Choices) -> bool {
        let jobs = &mut self.jobs[owner];
        while let Some(job) = self.partitions[owner].log_mut().next_job() {
            jobs.push(job);
        }
        if jobs.is_empty() {
            return false;
        }
        let job = jobs.swap_remove(choices.below(jobs.len() as u64) as usize);
        let result = job.run(&self.disk);
        self.partitions[owner].log_mut().complete(job.kind(), result);
        true
    }

    /// Lets everything go its way in good order until nobody waits any more, or the disk has crashed. False if somebody
    /// waits for ever.
    pub fn settle(&mut self, choices: &mut Choices) -> bool {
        for round in 0..200 {
            for owner in 0..self.partitions.len() {
                while self.deliver_to_owner(owner) {}
                (0..self.clients.len()).for_each(|client| self.try_again(client));
                self.partitions[owner].compact(true); // there may be room that it is to make
                self.progress(owner);
                self.end_turn(owner);
                while self.run_job(owner, choices) {}
                if round % 5 == 4 {
                    self.partitions[owner].log_mut().tick();
                }
            }
            for core in 0..self.coordinators.len() {
                while self.deliver_to_coordinator(core, choices) {}
            }
            let stuck = |partition: &Partition<SimDisk>| partition.log().read_only().is_some();
            let idle = self.clients.iter().all(|client| client.doing.is_none())
                && self.to_owners.iter().all(VecDeque::is_empty)
                && (self.partitions.iter().any(stuck)
                    || self.partitions.iter().all(|partition| partition.locks.is_empty()));
            if self.disk.crashed() || idle && round > 10 {
                return true;
            }
        }
        false
    }

    /// Brings all records that are not in memory.
    pub fn bring_all(&mut self) {
        for (partition, jobs) in self.partitions.iter_mut().zip(&mut self.jobs) {
            crate::tests::bring_all(partition, jobs, &self.disk);
        }
    }

    /// All keys, as lookups find them.
    pub fn contents(&self) -> State {
        let mut state = State::new();
        for partition in &self.partitions {
            for (key, held) in crate::tests::contents(partition) {
                let owner = partition_of(&key.1, self.count());
                assert_eq!(owner, partition.id(), "a key in the wrong partition");
                state.insert(key, held);
            }
        }
        state
    }

    /// Where each log would end if a power loss took all that is not synced (X5).
    pub fn safe(&self) -> Vec<LogPosition> {
        let mut ends: Vec<_> = self.partitions.iter().map(|partition| partition.log().synced()).collect();
        loop {
            let before = ends.clone();
            for change in &self.changes {
                let lost = change.parts.iter().any(|(p, end)| *end > ends[*p]);
                for (p, end) in change.marks.iter().filter(|_| lost) {
                    let begin = LogPosition(end.0 - MARK_BYTES as u64);
                    ends[*p] = ends[*p].min(begin);
                }
            }
            if ends == before {
                return ends;
            }
        }
    }
}

/// The commands of a script: each has its number of words before it.
fn lines_of(words: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let (mut lines, mut at) = (Vec::new(), 1);
    while let Some(count) = words.get(at) {
        let count: usize = String::from_utf8_lossy(count).parse().unwrap();
        lines.push(&words[at + 1..at + 1 + count]);
        at += 1 + count;
    }
    lines
}

fn line_of(db: u8, words: &[Vec<u8>]) -> Line {
    let views: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    with_request(db, &views, |request| Line { id: request.id, db: request.db, args: request.args.into() })
}

/// The words of a command.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}
