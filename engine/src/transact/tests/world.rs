//! A data set of several partitions on a simulated disk, with coordinators, clients, and messages that arrive in any order
//! that the server's queues allow. A plain model executes every command whole: an ordinary one when its owner does, one over
//! several partitions when the last of its owners has granted its locks.

mod messages;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use emberkv_log::disk::sim::{Choices, SimDisk, SimFile};
use emberkv_log::{DbId, Job, LogPosition, Options, Progress, SyncPolicy, TxId, Value};
use emberkv_resp::{Output, Protocol, Reply};

use super::coordinator::with_request;
use crate::lookup::TextBuf;
use crate::slots::partition_of;
use crate::tests::{Held, Model, Name, START_MS, changed_within, limits, tells_of, whole_text};
use crate::transact::{Coordinator, CoordinatorId, Extent, Line, Plan, Route, ToCoordinator, ToOwner, route};
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
    pub jobs: Vec<Vec<Job<SimFile>>>,
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
    /// Who is going to keep what scripts read.
    pub reader: Option<crate::Reader>,
}

/// What a start finds on the disk.
pub fn start(
    disk: &SimDisk,
    partitions: u16,
    seed: u64,
    policy: SyncPolicy,
) -> Result<Vec<Partition<SimDisk>>, String> {
    // values are compressed after one start in three
    let limits = limits(if seed.is_multiple_of(3) { 16 } else { usize::MAX });
    let opened = open(Arc::new(disk.clone()), options(seed, policy), limits, partitions, &Progress::default());
    Ok(opened.map_err(|error| error.to_string())?.0)
}

/// How they are started.
pub fn options(seed: u64, policy: SyncPolicy) -> Options {
    Options {
        policy,
        segment_size: 1 << 16,
        least_segment_size: 1 << 16,
        salvage: false,
        slow_write: None,
        load_threads: 1,
        opens_cold: true,
        follows: None,
        now_ms: || START_MS,
        random: {
            let mut choices = Choices::new(seed ^ 0xfeed);
            Box::new(move || choices.draw())
        },
    }
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
            reader: None,
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
            Err(Box::new(Plan::script(lines, None, Protocol::Resp2, extent(count))))
        } else {
            with_request(db, &views, |request| match route(request.id, request.args, count) {
                Route::One(owner) => Ok(usize::from(owner.0)),
                Route::Several => Err(Box::new(Plan::new(request, Protocol::Resp2, extent(count)).unwrap())),
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
        let plan = match self.reader {
            Some(reader) => plan.for_reader(reader),
            None => plan,
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
        let mut seen = if name == b"multi" { Vec::new() } else { self.seen_by(tells_all(&name), words) };
        let mut expected = expected;
        if name == b"multi" {
            let lines = lines_of(words);
            expected = format!("*{}\r\n", lines.len()).into_bytes();
            for line in lines {
                expected.extend(self.model.execute(db, line));
                seen.extend(self.seen_by(tells_all(&line[0].to_ascii_lowercase()), line));
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
    fn seen_by(&self, tells_all: bool, words: &[Vec<u8>]) -> Vec<ChangeId> {
        if tells_all {
            return self.newest.values().copied().collect();
        }
        self.model.seen.iter().flat_map(|key| self.told_by(key, |field| tells_of(words, field))).collect()
    }

    /// The changes of a key that are told of: the newest, and of a hash that was only changed within, also those before, but not such
    /// of fields that nobody was told of.
    fn told_by(&self, key: &Name, tells_of: impl Fn(&[u8]) -> bool) -> Vec<ChangeId> {
        let (mut told, mut next) = (Vec::new(), self.newest.get(key).copied());
        while let Some(id) = next {
            let change = &self.changes[id];
            let place = change.keys.iter().position(|(name, ..)| name == key);
            let Some(place) = place else { break };
            let (_, old, new) = &change.keys[place];
            match changed_within(old.as_ref(), new.as_ref()) {
                Some(fields) if !fields.iter().any(|field| tells_of(field)) => next = change.replaced[place],
                Some(_) => {
                    told.push(id);
                    next = change.replaced[place];
                }
                None => {
                    told.push(id);
                    break;
                }
            }
        }
        told
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
            Err(Stop::Error(text)) if text.starts_with("MISCONF") => {
                assert!(
                    self.partitions[owner].log().read_only().is_some()
                        || self.partitions[owner].log().no_space().is_some(),
                    "{text}"
                );
                self.finish(client);
                return;
            }
            Err(Stop::Error(text)) => Reply::new(&mut output, Protocol::Resp2).error(&text),
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
            Foreign::Value(record) => match record.record().value() {
                Value::Root(_) | Value::Chunked(_) => return, // the owner has its elements
                Value::Whole(bytes) => Some(whole_text(bytes).to_vec()),
                value => Some(TextBuf::default().text(value).to_vec()),
            },
        };
        let name: Name = (db, key.into());
        let expected = self.model.state.get(&name).map(|held| held.value.to_vec());
        assert_eq!(found, expected, "read directly: {}", key.escape_ascii());
        let told = self.told_by(&name, |_| true);
        self.saw(&told);
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

/// What a data set of so many partitions is like.
pub fn extent(partitions: u16) -> Extent {
    let limits = limits(usize::MAX);
    Extent {
        partitions,
        databases: limits.databases,
        max_value_bytes: limits.max_value_bytes,
        compact_zset: limits.compact_zset,
        list_fill: limits.list_fill,
        hll_sparse_max_bytes: limits.hll_sparse_max_bytes,
        compact_set: limits.compact_set,
    }
}

/// The words of a command.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}
