//! Random lives of a data set of two or three partitions with transactions over them: owners and a coordinator that
//! play by the protocol (X), on a simulated disk, with a plain model beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Effect, Index, Map, is_noticed_in, options, plain};
use crate::disk::sim::{Choices, SimDisk, SimFile};
use crate::plant::{self, Plant};
use crate::record::MARK_BYTES;
use crate::{
    Appended, DbId, Entry, Job, Log, LogPosition, PartitionId, Progress, Purpose, StartError, SyncPolicy, TxId, Value,
    start,
};

/// What one transaction does in one partition; nothing where it only reads.
struct Share {
    partition: usize,
    effects: Vec<Effect>,
    /// Its part's records, and where the part ends, once it is appended.
    part: Option<(Vec<Appended>, LogPosition)>,
    /// Where the mark or the abort begins and ends, once it is appended.
    end: Option<(LogPosition, LogPosition)>,
    /// After how many ticks of its log.
    ended_after: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Writing,
    Committed,
    Aborting,
}

struct Transaction {
    ticket: TxId,
    phase: Phase,
    shares: Vec<Share>,
    /// Whether a client was told that it was aborted.
    told: bool,
}

/// An effect in a partition's log.
struct Event {
    end: LogPosition,
    effect: Effect,
    /// The transaction that it is part of.
    ticket: Option<TxId>,
}

struct Partition {
    log: Log<SimDisk>,
    index: Index,
    history: Vec<Event>,
    locked: BTreeSet<Vec<u8>>,
    ticks: u32,
}

struct World {
    disk: SimDisk,
    choices: Choices,
    policy: SyncPolicy,
    partitions: Vec<Partition>,
    jobs: Vec<(usize, Job<SimFile>)>,
    /// All since the last start, in order of their tickets.
    transactions: Vec<Transaction>,
}

pub(super) fn open(
    disk: &SimDisk,
    seed: u64,
    policy: SyncPolicy,
    count: u16,
) -> Result<Vec<(Log<SimDisk>, Index)>, StartError> {
    let disk = Arc::new(disk.clone());
    start(disk, options(seed, policy), count, &Progress::default(), |_, _| Ok(Index::default())).map(|(logs, _)| logs)
}

impl Partition {
    fn new((log, index): (Log<SimDisk>, Index)) -> Self {
        Self { log, index, history: Vec::new(), locked: BTreeSet::new(), ticks: 0 }
    }

    fn publish(&mut self, effect: &Effect, record: Appended) {
        let table = self.log.table_mut();
        match effect {
            Effect::Put(key, _) => self.index.put(table, key, record.address, record.len),
            Effect::Delete(key) => self.index.delete(table, key),
            Effect::Flush => {
                self.index.0.clear();
                let position = table.position(record.address);
                table.drop_below_floor(position);
            }
        }
    }

    fn set_locks(&mut self, share: &Share, locked: bool) {
        for effect in &share.effects {
            let keys = match effect {
                Effect::Put(key, _) | Effect::Delete(key) => vec![key.clone()],
                Effect::Flush => keys(share.partition).collect(),
            };
            for key in keys {
                let changed = if locked { self.locked.insert(key) } else { self.locked.remove(&key) };
                assert!(changed, "a key is locked once");
            }
        }
    }

    /// What its log says, if it ended at `end` and those of the transactions have happened.
    fn model(&self, end: LogPosition, happened: impl Fn(TxId) -> bool) -> Map {
        let mut map = Map::new();
        for event in self.history.iter().filter(|event| event.end <= end && event.ticket.is_none_or(&happened)) {
            match &event.effect {
                Effect::Put(key, value) => drop(map.insert(key.clone(), value.clone())),
                Effect::Delete(key) => drop(map.remove(key)),
                Effect::Flush => map.clear(),
            }
        }
        map
    }
}

fn keys(partition: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..10).map(move |i| format!("{partition}-{i}").into_bytes())
}

fn entry(effect: &Effect) -> Entry<'_> {
    match effect {
        Effect::Put(key, value) => Entry::Put { db: DbId(0), key, value: Value::Bytes(value), expires_at_ms: None },
        Effect::Delete(key) => Entry::Delete { db: DbId(0), key },
        Effect::Flush => Entry::Floor { db: None },
    }
}

fn part<'a>(ticket: TxId, participants: &'a [PartitionId], share: &Share) -> Entry<'a> {
    Entry::Part { txid: ticket, participants, records: share.effects.len() as u32 }
}

impl Transaction {
    fn participants(&self) -> Vec<PartitionId> {
        self.shares.iter().map(|share| PartitionId(share.partition as u16)).collect()
    }

    fn part_bytes(&self, share: &Share) -> u64 {
        let participants = self.participants();
        let records: usize = share.effects.iter().map(|effect| entry(effect).encoded_len()).sum();
        (part(self.ticket, &participants, share).encoded_len() + records) as u64
    }

    /// Whether all parts are there when the logs end at `ends`, and none of its aborts.
    fn is_whole(&self, ends: &[LogPosition]) -> bool {
        let there = |share: &Share| share.part.as_ref().is_some_and(|(_, end)| *end <= ends[share.partition]);
        self.shares.iter().all(there) && !self.has_abort(ends)
    }

    fn has_abort(&self, ends: &[LogPosition]) -> bool {
        let there = |share: &Share| share.end.is_some_and(|(_, end)| end <= ends[share.partition]);
        self.phase == Phase::Aborting && self.shares.iter().any(there)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let disk = SimDisk::new();
        let policy = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No][choices.below(3) as usize];
        let count = 2 + choices.below(2) as u16;
        let partitions = open(&disk, seed, policy, count).unwrap().into_iter().map(Partition::new).collect();
        Self { disk, choices, policy, partitions, jobs: Vec::new(), transactions: Vec::new() }
    }

    fn an_effect(&mut self, p: usize) -> Effect {
        let key = format!("{p}-{}", self.choices.below(10)).into_bytes();
        if self.partitions[p].index.0.contains_key(&key) && self.choices.one_in(5) {
            return Effect::Delete(key);
        }
        let len = self.choices.below(4000) as usize;
        Effect::Put(key, vec![self.choices.draw() as u8; len])
    }

    fn step(&mut self) {
        let p = self.choices.below(self.partitions.len() as u64) as usize;
        match self.choices.below(40) {
            0..12 => self.write(p),
            12..16 => self.begin(),
            16..22 => self.go_on(),
            22..30 => self.partitions[p].log.end_turn(),
            30 => {
                self.partitions[p].ticks += 1;
                self.partitions[p].log.tick();
            }
            31 if self.choices.one_in(20) => self.disk.fail_syncs(1),
            32 if self.choices.one_in(20) => self.disk.fail_writes(1),
            33 if self.choices.one_in(20) => {
                let room = self.choices.below(4) * (1 << 16);
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            34 if self.choices.one_in(4) => self.disk.set_capacity(None),
            _ => self.run_a_job(),
        }
    }

    /// A command of one partition.
    fn write(&mut self, p: usize) {
        let effect = if self.choices.one_in(60) { Effect::Flush } else { self.an_effect(p) };
        let partition = &mut self.partitions[p];
        let is_locked = match &effect {
            Effect::Put(key, _) | Effect::Delete(key) => partition.locked.contains(key),
            Effect::Flush => !partition.locked.is_empty(),
        };
        let entry = entry(&effect);
        let purpose = if matches!(effect, Effect::Put(..)) { Purpose::Grow } else { Purpose::Shrink };
        if is_locked || partition.log.reserve(entry.encoded_len() as u64, purpose).is_err() {
            return;
        }
        assert!(!self.is_late(p), "a write behind a mark that a power loss may take (X7)");
        let partition = &mut self.partitions[p];
        let record = partition.log.append(&entry);
        partition.publish(&effect, record);
        let end = partition.log.tail();
        partition.history.push(Event { end, effect, ticket: None });
    }

    /// Whether this log has got a mark three ticks ago or more, of a transaction that still lacks a synced part.
    fn is_late(&self, p: usize) -> bool {
        let marked = |share: &Share| {
            share.partition == p && share.end.is_some() && self.partitions[p].ticks - share.ended_after >= 3
        };
        let lacks = |share: &Share| {
            share.part.as_ref().is_some_and(|(_, end)| *end > self.partitions[share.partition].log.synced())
        };
        let committed = self.transactions.iter().filter(|transaction| transaction.phase == Phase::Committed);
        let mut late = committed.filter(|t| t.shares.iter().any(marked) && t.shares.iter().any(lacks));
        self.policy != SyncPolicy::No && late.next().is_some()
    }

    /// Locks the keys of a new transaction, and holds the room that it will need.
    fn begin(&mut self) {
        let flush = self.choices.one_in(30);
        let mut shares = Vec::new();
        for p in 0..self.partitions.len() {
            let mut effects: Vec<Effect> = Vec::new();
            if flush {
                effects.push(Effect::Flush);
            } else {
                for _ in 0..self.choices.below(3) {
                    effects.push(self.an_effect(p));
                }
                let key = |effect: &Effect| match effect {
                    Effect::Put(key, _) | Effect::Delete(key) => key.clone(),
                    Effect::Flush => Vec::new(),
                };
                effects.sort_by_key(key);
                effects.dedup_by_key(|effect| key(effect));
            }
            shares.push(Share { partition: p, effects, part: None, end: None, ended_after: 0 });
        }
        if self.partitions.len() > 2 && self.choices.one_in(2) {
            shares.remove(self.choices.below(3) as usize);
        }
        let is_free = |share: &Share| {
            let locked = &self.partitions[share.partition].locked;
            share.effects.iter().all(|effect| match effect {
                Effect::Put(key, _) | Effect::Delete(key) => !locked.contains(key),
                Effect::Flush => locked.is_empty(),
            })
        };
        if !shares.iter().all(is_free) {
            return;
        }
        let mut transaction = Transaction { ticket: TxId(0), phase: Phase::Writing, shares, told: false };
        let mut held = Vec::new();
        for share in &transaction.shares {
            for bytes in [transaction.part_bytes(share), MARK_BYTES as u64] {
                let log = &mut self.partitions[share.partition].log;
                if log.hold(bytes, Purpose::Grow).is_err() {
                    for (p, bytes) in held {
                        let partition: &mut Partition = &mut self.partitions[p];
                        partition.log.release_held(bytes);
                    }
                    return;
                }
                held.push((share.partition, bytes));
            }
        }
        for share in &transaction.shares {
            self.partitions[share.partition].set_locks(share, true);
        }
        transaction.ticket = self.partitions[0].log.horizon().draw();
        self.transactions.push(transaction);
    }

    /// Lets one of the transactions under way do one of the things that it may do next.
    fn go_on(&mut self) {
        let open = |transaction: &Transaction| match transaction.phase {
            Phase::Aborting => !transaction.told,
            _ => transaction.shares.iter().any(|share| share.end.is_none()),
        };
        let open: Vec<usize> = (0..self.transactions.len()).filter(|t| open(&self.transactions[*t])).collect();
        if open.is_empty() {
            return;
        }
        let transaction = &mut self.transactions[open[self.choices.below(open.len() as u64) as usize]];
        let participants = transaction.participants();
        let s = self.choices.below(participants.len() as u64) as usize;
        let partition = &mut self.partitions[transaction.shares[s].partition];
        let bytes = transaction.part_bytes(&transaction.shares[s]);
        match transaction.phase {
            Phase::Writing if self.choices.one_in(40) => transaction.phase = Phase::Aborting,
            Phase::Writing if transaction.shares[s].part.is_none() => {
                if partition.log.reserve_held(bytes).is_err() {
                    return;
                }
                let share = &mut transaction.shares[s];
                partition.log.append(&part(transaction.ticket, &participants, share));
                let records = share.effects.iter().map(|effect| partition.log.append(&entry(effect))).collect();
                let end = partition.log.tail();
                for effect in &share.effects {
                    let ticket = Some(transaction.ticket);
                    partition.history.push(Event { end, effect: effect.clone(), ticket });
                }
                share.part = Some((records, end));
            }
            Phase::Writing => {
                let partitions = &self.partitions;
                let durable = |share: &Share| {
                    let gate = partitions[share.partition].log.gate();
                    share.part.as_ref().is_some_and(|(_, end)| *end <= gate || plant::is(Plant::X3))
                };
                if transaction.shares.iter().all(durable) {
                    partitions[0].log.horizon().decided(transaction.ticket);
                    transaction.phase = Phase::Committed;
                }
            }
            Phase::Committed | Phase::Aborting if transaction.shares[s].end.is_none() => {
                if partition.log.reserve_held(MARK_BYTES as u64).is_err() {
                    return;
                }
                let (txid, from) = (transaction.ticket, partition.log.tail());
                let is_abort = transaction.phase == Phase::Aborting;
                partition.log.append(&if is_abort { Entry::Abort { txid } } else { Entry::Mark { txid } });
                let share = &mut transaction.shares[s];
                share.end = Some((from, partition.log.tail()));
                share.ended_after = partition.ticks;
                if share.part.is_none() {
                    partition.log.release_held(bytes);
                }
                if is_abort {
                    for (effect, record) in share.effects.iter().zip(share.part.iter().flat_map(|(r, _)| r)) {
                        if let Effect::Put(..) = effect {
                            partition.log.table_mut().release(record.address, plain(record.len));
                        }
                    }
                    if transaction.shares.iter().all(|share| share.end.is_some()) {
                        partition.log.horizon().decided(txid);
                    }
                } else {
                    for (effect, record) in share.effects.iter().zip(share.part.iter().flat_map(|(r, _)| r)) {
                        partition.publish(effect, *record);
                    }
                    partition.set_locks(share, false);
                }
            }
            Phase::Committed => {}
            Phase::Aborting => {
                // an answer, and what comes after it, waits until the aborts are safe (X6, F5)
                if partition.log.horizon().is_settled(transaction.ticket) {
                    transaction.told = true;
                    for share in &transaction.shares {
                        self.partitions[share.partition].set_locks(share, false);
                    }
                }
            }
        }
    }

    fn run_a_job(&mut self) {
        for (p, partition) in self.partitions.iter_mut().enumerate() {
            while let Some(job) = partition.log.next_job() {
                self.jobs.push((p, job));
            }
        }
        if !self.jobs.is_empty() {
            let (p, job) = self.jobs.swap_remove(self.choices.below(self.jobs.len() as u64) as usize);
            let result = job.run(&self.disk);
            self.partitions[p].log.complete(job.kind(), result);
        }
    }

    /// What a power loss must leave of each log: what is synced, but nothing from a mark on whose transaction
    /// may lose a part (F5).
    fn safe(&self) -> Vec<LogPosition> {
        let mut safe: Vec<_> = self.partitions.iter().map(|partition| partition.log.synced()).collect();
        loop {
            let before = safe.clone();
            for transaction in self.transactions.iter().filter(|transaction| transaction.phase == Phase::Committed) {
                let there = |share: &Share| share.part.as_ref().is_some_and(|(_, end)| *end <= before[share.partition]);
                if !transaction.shares.iter().all(there) {
                    for share in &transaction.shares {
                        let mark = share.end.map_or(safe[share.partition], |(from, _)| from);
                        safe[share.partition] = safe[share.partition].min(mark);
                    }
                }
            }
            if safe == before {
                return safe;
            }
        }
    }

    /// Kills the process or the power, now and then while the next start is at work, and checks what is left.
    fn crash(&mut self, seed: u64) {
        let count = self.partitions.len() as u16;
        let mut power = self.choices.one_in(2);
        let written = self.partitions.iter().map(|partition| partition.log.written()).collect();
        let mut promised: Vec<_> = if power { self.safe() } else { written };
        self.jobs.clear();
        let opened = loop {
            self.disk = if power { self.disk.after_power_loss(&mut self.choices) } else { self.disk.after_kill() };
            if self.choices.one_in(3) {
                self.disk.crash_after(self.choices.below(20));
            }
            match open(&self.disk, seed ^ self.choices.draw(), self.policy, count) {
                Ok(opened) => break opened,
                Err(_) if self.disk.crashed() => {
                    // the interrupted start has promised nothing new; a power loss may take what a kill left
                    power = self.choices.one_in(2);
                    if power {
                        promised = promised.iter().zip(self.safe()).map(|(a, b)| *a.min(&b)).collect();
                    }
                }
                // a cut needs a file of its own, which a full disk may not have: then there is nothing to be lost by waiting
                Err(StartError::Io { error, .. }) if error.kind() == std::io::ErrorKind::StorageFull => {
                    self.disk.set_capacity(None);
                }
                Err(error) => panic!("a legal crash stopped the start: {error}"),
            }
        };
        // where the next life begins is where the log of this one ends, whatever starts have appended since
        let end = |(partition, (log, _)): (&Partition, &(Log<SimDisk>, Index))| {
            let last = partition.log.incarnations.last().unwrap().term;
            log.incarnations.iter().find(|life| life.term > last).unwrap().start
        };
        let ends: Vec<_> = self.partitions.iter().zip(&opened).map(end).collect();
        for (p, (log, _)) in opened.iter().enumerate() {
            let least = self.partitions[p].log.without_header(promised[p]);
            assert!(ends[p] >= least, "{:?} was promised, {:?} is left of {p}", promised[p], ends[p]);
            assert!(log.synced() == log.tail(), "a start makes everything durable");
        }
        // what was decided and what was promised together say what a client knows
        let mut happened = BTreeMap::new();
        for transaction in &self.transactions {
            let whole = transaction.is_whole(&ends);
            let is_promised = transaction
                .shares
                .iter()
                .all(|share| share.part.as_ref().is_some_and(|(_, end)| *end <= promised[share.partition]));
            match transaction.phase {
                Phase::Committed if is_promised => assert!(whole, "{:?} was committed", transaction.ticket),
                Phase::Aborting if transaction.told => {
                    assert!(transaction.has_abort(&ends), "{:?} was aborted", transaction.ticket);
                }
                _ => {}
            }
            happened.insert(transaction.ticket, whole);
        }
        for (p, (partition, (log, index))) in self.partitions.iter_mut().zip(opened).enumerate() {
            let expected = partition.model(ends[p], |ticket| happened[&ticket]);
            assert_same(&index.contents(log.table()), &expected, p);
            let mut history = std::mem::take(&mut partition.history);
            history.retain(|event| event.end <= ends[p] && event.ticket.is_none_or(|ticket| happened[&ticket]));
            history.iter_mut().for_each(|event| event.ticket = None);
            *partition = Partition { history, ..Partition::new((log, index)) };
        }
        self.transactions.clear();
        if self.choices.one_in(4) {
            self.start_again(seed);
        }
    }

    /// A start changes nothing for the one after it.
    fn start_again(&mut self, seed: u64) {
        let disk = self.disk.after_power_loss(&mut self.choices);
        let again = open(&disk, seed ^ self.choices.draw(), self.policy, 1).unwrap();
        for (partition, (log, index)) in self.partitions.iter().zip(&again) {
            let before = partition.index.contents(partition.log.table());
            assert_same(&index.contents(log.table()), &before, usize::from(log.partition().0));
        }
    }
}

/// The same, with an error that can be read: keys with the lengths and first bytes of their values.
fn assert_same(found: &Map, expected: &Map, p: usize) {
    let brief = |map: &Map| -> BTreeMap<String, (usize, Option<u8>)> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        map.iter().map(|(key, value)| (text(key), (value.len(), value.first().copied()))).collect()
    };
    assert_eq!(brief(found), brief(expected), "partition {p}");
}

fn live(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..5 {
        if world.choices.one_in(2) {
            let until = world.choices.below(150);
            world.disk.crash_after(until);
        }
        for _ in 0..world.choices.below(1200) {
            world.step();
            if world.disk.crashed() {
                break;
            }
        }
        world.crash(seed);
    }
}

#[test]
fn no_crash_takes_half_of_a_transaction() {
    let lives = std::env::var("EMBERKV_SIM_LIVES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 0..lives {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
            eprintln!("the life of seed {seed} has failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_life_with_transactions_notices_each_rule_that_is_missing() {
    for plant in [Plant::X3, Plant::X4, Plant::X5Cut, Plant::X5Set, Plant::X7, Plant::F5] {
        assert!(is_noticed_in(live, plant, 2000), "nothing noticed that {plant:?} is missing");
    }
}
