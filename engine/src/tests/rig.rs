//! A partition on a simulated disk, with the outside that it needs: a clock, and hands for the log's jobs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::{Choices, SimDisk, SimFile};
use emberkv_log::{
    CutOff, DbId, Job, JobKind, LogPosition, Options, Origin, Progress, StartReport, SyncPolicy, Tally, Value, Whose,
};
use emberkv_resp::schema::resolve;
use emberkv_resp::{Args, Output, Protocol, Reply, Span};

use super::model::{Held, State};
use super::model_hashes::{Field, Hash, live_text};
use super::model_lists::{List, list_text};
use super::model_sets::text_of_pairs;
use super::model_sorted_sets::sorted_text;
use super::model_streams::{stream_of_rows, stream_text};
use crate::chunks::ChunkRoot;
use crate::collections::{
    Elements, Ends, LeafName, NODE, Pair, Pairs, Root, StreamDraft, StreamId, Type, Whole, children, due_ms_of,
    push_element, score_in,
};
use crate::databases::RESERVED;
use crate::dump::{LISTPACK_ENDS, listpack_len};
use crate::flush::Sweep;
use crate::lookup::{Found, Key, TextBuf};
use crate::stats::DbStats;
use crate::{Limits, OpenError, Partition, Request, Shortage, Stop, open, open_follower};

/// When the tests begin, in ms since 1970.
pub const START_MS: u64 = 1_750_000_000_000;

pub const DATABASES: usize = 4;
pub const MAX_VALUE_BYTES: usize = 150_000;

/// The limits of these tests, where values are compressed from so many bytes on.
pub fn limits(pack_from_bytes: usize) -> Limits {
    Limits { databases: DATABASES, max_value_bytes: MAX_VALUE_BYTES, pack_from_bytes, ..Limits::default() }
}

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(START_MS) };
}

pub struct Rig {
    pub disk: SimDisk,
    pub partition: Partition<SimDisk>,
    policy: SyncPolicy,
    jobs: Vec<Job<SimFile>>,
    requests: u64,
    /// Whether the start began with a checkpoint.
    pub from_checkpoint: bool,
    /// Segments that it has not read.
    pub unread: usize,
    /// Whether turns compact.
    pub compacts: bool,
    /// Of a follower: what its start has cut off, and whether that has begun with nothing.
    pub cut_off: Vec<CutOff>,
    pub began_anew: bool,
    /// What segments may take, if turns are to see to that.
    pub budget: Option<u64>,
}

fn options(seed: u64, policy: SyncPolicy) -> Options {
    let mut choices = Choices::new(seed ^ 0xfeed);
    Options {
        policy,
        segment_size: 1 << 16,
        least_segment_size: 1 << 16,
        salvage: false,
        slow_write: None,
        load_threads: 1,
        opens_cold: true,
        follows: None,
        now_ms: || NOW_MS.get(),
        random: Box::new(move || choices.draw()),
    }
}

/// A command's reply, and the position that it waits for.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Vec<u8>,
    pub depends: LogPosition,
}

impl Rig {
    /// A new data set, on its first day.
    pub fn new(seed: u64, policy: SyncPolicy) -> Self {
        Self::sized(seed, policy, 1 << 16)
    }

    /// The same, with segments of up to so many bytes.
    pub fn sized(seed: u64, policy: SyncPolicy, segment_size: u64) -> Self {
        NOW_MS.set(START_MS);
        let disk = SimDisk::new();
        let options = Options { segment_size, ..options(seed, policy) };
        let opened = open(Arc::new(disk.clone()), options, limits(usize::MAX), 1, &Progress::default());
        Self::opened(disk, policy, opened).unwrap()
    }

    /// What a start finds on `disk`; `Err` says why it stops.
    pub fn start(disk: SimDisk, seed: u64, policy: SyncPolicy) -> Result<Self, String> {
        let disks = Arc::new(disk.clone());
        let opened = open(disks, options(seed, policy), limits(usize::MAX), 1, &Progress::default());
        Self::opened(disk, policy, opened)
    }

    /// The same of what is to follow another one.
    pub fn start_follower(disk: SimDisk, seed: u64, policy: SyncPolicy, origin: &Origin) -> Result<Self, String> {
        let disks = Arc::new(disk.clone());
        let opened = open_follower(disks, options(seed, policy), limits(usize::MAX), origin, &Progress::default());
        Self::opened(disk, policy, opened)
    }

    fn opened(
        disk: SimDisk,
        policy: SyncPolicy,
        opened: Result<(Vec<Partition<SimDisk>>, StartReport), OpenError>,
    ) -> Result<Self, String> {
        let (mut partitions, report) = opened.map_err(|error| error.to_string())?;
        let (partition, from_checkpoint) = (partitions.remove(0), !report.checkpoints.is_empty());
        let unread = partition.log().unread().segments;
        Ok(Self {
            disk,
            partition,
            policy,
            jobs: Vec::new(),
            requests: 0,
            from_checkpoint,
            unread,
            compacts: false,
            cut_off: report.cut_off,
            began_anew: report.begins_anew,
            budget: None,
        })
    }

    /// What a start would find without any checkpoint, without the newest, and with that one damaged: law 1.
    pub fn check_starts(&mut self, choices: &mut Choices) {
        let checkpoints = |disk: &SimDisk| -> Vec<String> {
            let mut names: Vec<_> = disk.list().unwrap();
            names.retain(|name| name.starts_with("checkpoint-"));
            names
        };
        let plain = self.disk.after_kill();
        for name in checkpoints(&plain) {
            plain.remove(&name).unwrap();
        }
        let damaged = self.disk.after_kill();
        if let Some(name) = checkpoints(&damaged).last() {
            damaged.flip_bit(name, choices.below(damaged.contents(name).len() as u64 * 8));
        }
        let older = self.disk.after_kill();
        if let Some(name) = checkpoints(&older).last() {
            older.remove(name).unwrap();
        }
        for disk in [self.disk.after_kill(), plain, damaged, older] {
            let mut other = Self::start(disk, choices.draw(), self.policy).unwrap();
            assert_eq!(other.contents(), self.contents(), "a start depends on checkpoints");
            other.check_counts();
        }
    }

    /// Takes a checkpoint. False if the log does not let it.
    pub fn checkpoint(&mut self) -> bool {
        let taken = self.partition.checkpoint_stats().taken;
        self.partition.begin_checkpoint();
        for _ in 0..1000 {
            self.partition.sweep(1000);
            self.partition.save_some(1);
            self.run_all();
            let stats = self.partition.checkpoint_stats();
            if !stats.is_under_way {
                return stats.taken > taken;
            }
            self.partition.log_mut().tick();
        }
        panic!("a checkpoint is never taken")
    }

    /// The partition that is left after `kill -9`.
    pub fn killed(&self) -> Self {
        Self::start(self.disk.after_kill(), 77, self.policy).unwrap()
    }

    /// One life in three compresses its values, but for the shortest.
    pub fn pack_in_some(&mut self, seed: u64) {
        if seed.is_multiple_of(3) {
            self.partition.set_limits(limits(16));
        }
    }

    /// What a follower has to know of it.
    pub fn origin(&mut self) -> Origin {
        self.partition.log_mut().end_turn();
        let log = self.partition.log();
        let (dataset, hash_seed, split) = (log.dataset(), log.hash_seed(), log.table().split());
        let horizon = log.horizon().horizon();
        Origin { dataset, hash_seed, split, horizon, logs: vec![log.shipping().log().unwrap()] }
    }

    /// Reads all into memory.
    pub fn load_all(&mut self) {
        self.partition.set_memory_budget(None);
        for _ in 0..1000 {
            let Some((sequence, _)) = self.partition.log().newest_cold() else { return };
            self.partition.log_mut().begin_load(sequence);
            self.run_all();
            self.partition.log_mut().tick();
        }
        panic!("a segment is never loaded");
    }

    pub fn now_ms(&self) -> u64 {
        NOW_MS.get()
    }

    /// Begins a turn `ms` later.
    pub fn pass(&mut self, ms: u64) {
        NOW_MS.set(NOW_MS.get() + ms);
        self.partition.begin_turn(NOW_MS.get());
    }

    /// Begins a turn after the clock was set back by `ms`.
    pub fn set_back(&mut self, ms: u64) {
        NOW_MS.set(NOW_MS.get() - ms);
        self.partition.begin_turn(NOW_MS.get());
    }

    /// Executes a command; while the log has no room, carries out its jobs.
    pub fn run(&mut self, db: u8, words: &[Vec<u8>]) -> Outcome {
        with_args(words, |args| self.run_args(db, args))
    }

    fn run_args(&mut self, db: u8, args: Args<'_>) -> Outcome {
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        match resolve(args) {
            Err(unresolved) => reply.error_bytes(&unresolved.reply(args)),
            Ok(command) => {
                self.requests += 1;
                let whose = Whose { client: 1, request: self.requests };
                let request = Request { id: command.id, db: DbId(db), args, whose };
                for round in 0.. {
                    let result = self.partition.execute(request, &mut reply);
                    assert!(result.is_ok() || reply.output().is_empty(), "a refused command has replied");
                    match result {
                        Ok(()) => break,
                        Err(Stop::Error(text)) => {
                            reply.error(&text);
                            break;
                        }
                        Err(Stop::Locked) => panic!("nothing is locked here"),
                        Err(Stop::Cold(address)) => {
                            assert!(round < 10_000, "{:?} is never read", command.name);
                            self.run_reads();
                            assert!(!self.partition.is_coming(address));
                            continue;
                        }
                        Err(Stop::Wait) => assert!(round < 100, "{:?} waits for ever", command.name),
                    }
                    self.mind_memory();
                    self.partition.compact(true); // it may wait for what that gives back
                    self.run_all();
                }
            }
        }
        Outcome { reply: output.to_vec(), depends: self.partition.take_dependency() }
    }

    /// Executes a command of another client, always as the same request, and only once; `None` if it has to wait.
    pub fn try_once(&mut self, db: u8, words: &[Vec<u8>]) -> Option<String> {
        with_args(words, |args| {
            let mut output = Output::new();
            let mut reply = Reply::new(&mut output, Protocol::Resp2);
            let command = resolve(args).unwrap();
            let whose = Whose { client: 2, request: 1 };
            let request = Request { id: command.id, db: DbId(db), args, whose };
            match self.partition.execute(request, &mut reply) {
                Err(Stop::Wait) => None,
                done => {
                    done.unwrap();
                    Some(String::from_utf8(output.to_vec()).unwrap())
                }
            }
        })
    }

    /// The same until it has a reply.
    pub fn ask_again(&mut self, db: u8, words: &[Vec<u8>]) -> String {
        for _ in 0..1000 {
            if let Some(reply) = self.try_once(db, words) {
                return reply;
            }
            self.run_all();
        }
        panic!("it waits for ever")
    }

    /// The same for a command of plain words, without binary or blanks in them; the reply as text.
    pub fn ask(&mut self, db: u8, line: &str) -> String {
        String::from_utf8(self.run(db, &words(line)).reply).unwrap()
    }

    /// Says how short memory is, as the server does.
    fn mind_memory(&mut self) {
        let Some(budget) = self.budget else { return };
        let (memory, segment) = (self.partition.memory(), self.partition.log.segment_size());
        self.partition.set_shortage(match memory.segments {
            used if used > budget && self.partition.is_stuck() => Shortage::Hopeless,
            used if used > budget => Shortage::Now,
            used if used - memory.leaving > budget - 2 * segment => Shortage::Soon,
            _ => Shortage::None,
        });
    }

    fn end_turn(&mut self) {
        self.mind_memory();
        if self.compacts {
            self.partition.compact(true);
        }
        self.partition.log_mut().end_turn();
    }

    /// Ends the turn and carries out all jobs, until none is left.
    pub fn run_all(&mut self) {
        self.end_turn();
        while self.run_job(&mut Choices::new(0)) {
            self.end_turn();
        }
    }

    /// Lets a second pass for the log, under every policy: all that was written is synced.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            self.run_all();
            self.partition.log_mut().tick();
        }
        self.run_all();
    }

    /// Carries out one of the jobs that there are. False if there are none.
    pub fn run_job(&mut self, choices: &mut Choices) -> bool {
        while let Some(job) = self.partition.log_mut().next_job() {
            self.jobs.push(job);
        }
        if self.jobs.is_empty() {
            return false;
        }
        let job = self.jobs.swap_remove(choices.below(self.jobs.len() as u64) as usize);
        let result = job.run(&self.disk);
        self.partition.log_mut().complete(job.kind(), result);
        true
    }

    /// Carries out all jobs but those of one kind, which stay; some turns.
    pub fn run_all_but(&mut self, held: JobKind) {
        for _ in 0..8 {
            self.end_turn();
            self.partition.log_mut().tick();
            while let Some(job) = self.partition.log_mut().next_job() {
                self.jobs.push(job);
            }
            for job in self.jobs.extract_if(.., |job| job.kind() != held).collect::<Vec<_>>() {
                let result = job.run(&self.disk);
                self.partition.log_mut().complete(job.kind(), result);
            }
        }
    }

    /// Carries out all reads that there are, and no other jobs.
    pub fn run_reads(&mut self) {
        run_reads(&mut self.partition, &mut self.jobs, &self.disk);
    }

    /// Brings all records that are not in memory.
    pub fn bring_all(&mut self) {
        bring_all(&mut self.partition, &mut self.jobs, &self.disk);
    }

    /// Removes all keys that have expired and all that were flushed. False if the log had no room.
    pub fn clean(&mut self) -> bool {
        // the wheel turns in ticks of 16 ms: at the beginning of one, all that has expired is due
        let now = self.now_ms();
        self.pass(now.next_multiple_of(16) - now);
        for round in 1..200_000 {
            if round % 1000 == 0 {
                self.pass(1000); // what could not be read is looked at again some seconds later
            }
            let (expiring, sweeping) = (self.partition.expire(50), self.partition.sweep(50));
            let is_swept = self.partition.sweep == Sweep::Done && self.partition.sweeper.is_done();
            if !expiring && !sweeping && is_swept && !self.holds_expired() {
                return true;
            }
            if !expiring && (self.partition.log().read_only().is_some() || self.partition.log().no_space().is_some()) {
                return false;
            }
            self.partition.spill(); // what waits for all to be in memory
            self.run_reads();
            if !expiring {
                self.run_all();
            }
        }
        panic!("a key that has expired stays for ever");
    }

    fn holds_expired(&mut self) -> bool {
        self.bring_all();
        let partition = &self.partition;
        let mut expired = false;
        let mut due = Vec::new();
        partition.index.scan(ScanCursor::START, usize::MAX, |_, address| {
            let record = partition.log.table().record(address);
            expired |= record.expires_at_ms().is_some_and(|ms| ms <= partition.now_ms);
            if (1..=partition.now_ms).contains(&due_ms_of(record.value())) {
                due.push((partition.databases.logical(record.db()).0, record.key().to_vec()));
            }
        });
        expired |= !due.is_empty();
        // of what was not in memory when a start with a checkpoint looked for times, fields go when somebody asks
        let asks = self.from_checkpoint;
        for (db, key) in due.into_iter().filter(|_| asks) {
            self.run(db, &[b"hlen".to_vec(), key]);
        }
        expired
    }

    /// All keys that exist, as lookups find them.
    pub fn contents(&mut self) -> State {
        self.bring_all();
        contents(&self.partition)
    }

    /// What is counted is what is there.
    pub fn check_counts(&mut self) {
        self.bring_all();
        check_counts(&self.partition);
    }
}

/// Carries out all reads that there are; other jobs are left.
pub fn run_reads(partition: &mut Partition<SimDisk>, jobs: &mut Vec<Job<SimFile>>, disk: &SimDisk) {
    loop {
        while let Some(job) = partition.log_mut().next_job() {
            jobs.push(job);
        }
        let reads: Vec<_> = jobs.extract_if(.., |job| matches!(job.kind(), JobKind::Read(_))).collect();
        if reads.is_empty() {
            return;
        }
        for job in reads {
            let result = job.run(disk);
            partition.log_mut().complete(job.kind(), result);
        }
    }
}

/// Brings all records that are not in memory.
pub fn bring_all(partition: &mut Partition<SimDisk>, jobs: &mut Vec<Job<SimFile>>, disk: &SimDisk) {
    disk.fail_reads(0);
    for round in 0.. {
        if !partition.log.table().has_cold() {
            return;
        }
        assert!(round < 10, "an entry leads to where no record is");
        let mut addresses = Vec::new();
        partition.index.scan(ScanCursor::START, usize::MAX, |_, address| addresses.push(address));
        let brought: Vec<_> = addresses.into_iter().map(|address| partition.bring(address)).collect();
        if brought.iter().all(|here| *here == Ok(true)) {
            return;
        }
        partition.log.forget_failed_reads(); // the disk is well again
        run_reads(partition, jobs, disk);
    }
}

/// Lets go of a segment, loads one, or forgets what was read.
pub fn change_residency(partition: &mut Partition<SimDisk>, choices: &mut Choices) {
    match choices.below(10) {
        8 => {
            let budget = choices.below(8) << 16;
            partition.set_memory_budget((budget > 0).then_some((1 << 20) + budget));
        }
        9 => drop(partition.spill()),
        0..5 => {
            let unloadable = partition.log.unloadable();
            if !unloadable.is_empty() {
                partition.log.unload(unloadable[choices.below(unloadable.len() as u64) as usize].sequence);
            }
        }
        6 => {
            if let Some((sequence, _)) = partition.log.newest_cold() {
                partition.log.begin_load(sequence);
            }
        }
        5 => {
            let candidates = partition.log.candidates();
            if !candidates.is_empty() {
                partition.log.begin_load(candidates[choices.below(candidates.len() as u64) as usize].sequence);
            }
        }
        _ => partition.log.shrink_kept(0),
    }
}

/// All keys that exist in a partition, as lookups find them.
pub fn contents(partition: &Partition<SimDisk>) -> State {
    let mut state = State::new();
    partition.index.scan(ScanCursor::START, usize::MAX, |_, address| {
        let record = partition.log.table().record(address);
        let key = partition.key(record.db(), record.key());
        let Some(found) = partition.peek(key).live() else { return };
        assert_eq!(found.address, address, "a key has two entries");
        // fields that have expired are not to be seen, whoever has to remove them
        if record.db() != RESERVED
            && let Some(value) = live_text(&value_of(partition, key, found), partition.now_ms)
        {
            let held = Held { value, expires_at_ms: found.expires_at_ms };
            state.insert((partition.databases.logical(record.db()).0, record.key().into()), held);
        }
    });
    state
}

/// A collection in one record as the model has it.
pub fn whole_text(bytes: &[u8]) -> Arc<[u8]> {
    let whole = Whole::read(bytes);
    if whole.head.kind == Type::List {
        return list_text(&whole.elements().map(<[u8]>::to_vec).collect());
    }
    if whole.head.kind == Type::Stream {
        return stream_of_draft(&StreamDraft::of_whole(bytes, None), List::new());
    }
    if whole.head.kind == Type::ZSet {
        let elements: Vec<_> = whole.pairs().map(|pair| (pair.value, pair.field)).collect();
        assert!(elements.is_sorted(), "they are in order");
    }
    let times: Vec<_> = whole.pairs().map(|pair| pair.place().0).collect();
    assert!(times.is_sorted(), "they are in the order in which they expire");
    let due_ms = times.first().filter(|ms| **ms < u64::MAX);
    assert_eq!(whole.head.due_ms, due_ms.copied().unwrap_or(0), "it says when the first one does");
    pairs_text(whole.head.kind, whole.pairs().map(taken))
}

fn taken(pair: Pair<'_>) -> (Vec<u8>, Field) {
    (pair.field.to_vec(), (pair.value.to_vec(), pair.expires_at_ms))
}

fn pairs_text(kind: Type, pairs: impl Iterator<Item = (Vec<u8>, Field)>) -> Arc<[u8]> {
    match kind {
        Type::ZSet => sorted_text(&pairs.map(|(member, (score, _))| (member, score_in(&score))).collect()),
        kind => text_of_pairs(kind, pairs),
    }
}

/// The contents of a leaf or node.
fn leaf_of(partition: &Partition<SimDisk>, key: Key<'_>, id: u64, number: u32) -> Vec<u8> {
    let name = LeafName { db: key.db, id, number, key: key.bytes }.write();
    let leaf = partition.peek(partition.key(RESERVED, &name)).live();
    let leaf = leaf.unwrap_or_else(|| panic!("leaf {number:#x} of {id:#x} is not there"));
    partition.text(leaf, &mut TextBuf::default()).to_vec()
}

/// The elements below a node of a tree, with the number of nodes.
fn below(
    partition: &Partition<SimDisk>,
    key: Key<'_>,
    (id, is_sorted): (u64, bool),
    node: (u32, u8),
    out: &mut List,
) -> u32 {
    let bytes = leaf_of(partition, key, id, NODE | node.0);
    if node.1 == 0 {
        out.extend(Elements::of(&bytes).map(<[u8]>::to_vec));
        return 1;
    }
    let children = children(&bytes, is_sorted).into_iter();
    1 + children.map(|child| below(partition, key, (id, is_sorted), (child, node.1 - 1), out)).sum::<u32>()
}

/// A sorted set's tree has what its leaves have, in order.
fn check_order(partition: &Partition<SimDisk>, key: Key<'_>, root: Root, pairs: &Hash) {
    let mut elements = List::new();
    let nodes = below(partition, key, (root.id, true), (root.tree.top, root.tree.height), &mut elements);
    assert_eq!(nodes, root.tree.nodes, "{root:?} counts its nodes");
    assert_eq!(root.tree.count, root.head.count);
    assert!(elements.is_sorted(), "they are in order");
    let mut all: Vec<_> = pairs.iter().map(|(member, (score, _))| [score.as_slice(), member].concat()).collect();
    all.sort();
    assert!(elements == all, "the tree has what the leaves have");
}

/// The tree of a hash of which fields expire has those, in the order in which they do.
fn check_times(partition: &Partition<SimDisk>, key: Key<'_>, root: Root, mut times: List) {
    let mut elements = List::new();
    if root.tree.count > 0 {
        let nodes = below(partition, key, (root.id, true), (root.tree.top, root.tree.height), &mut elements);
        assert_eq!(nodes, root.tree.nodes, "{root:?} counts its nodes");
    }
    times.sort();
    assert!(elements == times, "the tree has what the leaves have");
    let due_ms = times.first().and_then(|time| time.first_chunk()).map_or(0, |ms| u64::from_be_bytes(*ms));
    assert_eq!(root.head.due_ms, due_ms);
}

/// A split list.
fn list_of(partition: &Partition<SimDisk>, key: Key<'_>, record: &[u8]) -> List {
    let (root, ends) = (Root::read(record), Ends::read(record));
    let mut list: List = Elements::of(&ends.front.bytes).map(<[u8]>::to_vec).collect();
    if root.tree.count > 0 {
        let nodes = below(partition, key, (root.id, false), (root.tree.top, root.tree.height), &mut list);
        assert_eq!(nodes, root.tree.nodes, "{root:?} counts its nodes");
    }
    list.extend(Elements::of(&ends.back.bytes).map(<[u8]>::to_vec));
    let mut bytes = Vec::new();
    list.iter().for_each(|element| push_element(&mut bytes, element));
    assert_eq!((list.len() as u64, bytes.len() as u64), (root.head.count, root.bytes), "{root:?} counts");
    let listpack = LISTPACK_ENDS + list.iter().map(|element| listpack_len(element)).sum::<u64>();
    assert_eq!(ends.listpack, listpack);
    list
}

/// A stream as the model has it: what is in a draft that nobody has changed, and the rows of its tree.
fn stream_of_draft(draft: &StreamDraft, tree: List) -> Arc<[u8]> {
    let [front, back] = draft.ends().map(|rows| Elements::of(rows).map(<[u8]>::to_vec).collect::<List>());
    let rows = [front, tree, back].concat();
    assert!(rows.is_sorted(), "rows are in order");
    let next = if draft.meta.last == StreamId::MIN { 0 } else { draft.meta.last.seq + 1 };
    let stream = stream_of_rows(next, &rows);
    assert_eq!((draft.count, draft.meta.added), (stream.entries.len() as u64, next));
    stream_text(&stream)
}

/// A string in chunks.
fn text_of_chunks(partition: &Partition<SimDisk>, key: Key<'_>, root: ChunkRoot) -> Vec<u8> {
    let (mut text, mut count) = (vec![0; root.len as usize], 0);
    for number in 0..root.numbers() {
        let name = LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        let Some(chunk) = partition.peek(partition.key(RESERVED, &name)).live() else { continue };
        let mut buf = TextBuf::default();
        let bytes = partition.text(chunk, &mut buf);
        assert!(bytes.last().is_some_and(|byte| *byte != 0), "it has no zeros at its end");
        let at = number as usize * root.size();
        text[at..at + bytes.len()].copy_from_slice(bytes);
        count += 1;
    }
    assert_eq!(count, root.chunks, "{root:?} counts");
    text
}

/// A value as the model has it, read without any of the code that searches.
fn value_of(partition: &Partition<SimDisk>, key: Key<'_>, found: Found) -> Arc<[u8]> {
    match partition.value(found) {
        Value::Whole(bytes) => return whole_text(bytes),
        Value::Root(bytes) if Root::read(bytes).head.kind == Type::List => {
            return list_text(&list_of(partition, key, bytes));
        }
        Value::Root(bytes) if Root::read(bytes).head.kind == Type::Stream => {
            let (root, mut rows) = (Root::read(bytes), List::new());
            if root.tree.count > 0 {
                let nodes = below(partition, key, (root.id, true), (root.tree.top, root.tree.height), &mut rows);
                assert_eq!(nodes, root.tree.nodes, "{root:?} counts its nodes");
            }
            return stream_of_draft(&partition.stream_draft(Some(found)), rows);
        }
        Value::Chunked(bytes) => return text_of_chunks(partition, key, ChunkRoot::read(bytes)).into(),
        _ => {}
    }
    let mut hash = Hash::new();
    let mut take = |pairs: Pairs<'_>| hash.extend(pairs.map(taken));
    let kind = match partition.value(found) {
        Value::Root(bytes) => {
            let root = Root::read(bytes);
            let layout = root.head.kind.numbered();
            let (mut bytes, mut times) = (0, List::new());
            for number in 0..root.leaves {
                let text = &leaf_of(partition, key, root.id, number)[..];
                bytes += text.len() as u64;
                let place = |pair: &Pair<'_>| root.leaf_of(partition.element_hash(pair.field));
                assert!(Pairs::new(layout, text).all(|pair| place(&pair) == number && pair.number < root.next));
                take(Pairs::new(layout, text));
                let expiring = Pairs::new(layout, text).filter(|pair| pair.expires_at_ms > 0);
                times.extend(expiring.map(|pair| [&pair.expires_at_ms.to_be_bytes(), pair.field].concat()));
            }
            assert_eq!((hash.len() as u64, bytes), (root.head.count, root.bytes), "{root:?} counts");
            if root.head.kind == Type::Hash {
                check_times(partition, key, root, times);
            }
            if root.head.kind == Type::ZSet {
                check_order(partition, key, root, &hash);
            }
            root.head.kind
        }
        _ => return partition.text(found, &mut TextBuf::default()).into(),
    };
    assert_eq!(Some(hash.len() as u64), partition.head(found).map(|head| head.count));
    pairs_text(kind, hash.into_iter())
}

/// Once all is swept, each leaf has a root.
fn check_leaves(partition: &Partition<SimDisk>) {
    if !partition.sweeper.is_done() || partition.sweep != Sweep::Done {
        return;
    }
    partition.index.scan(ScanCursor::START, usize::MAX, |_, address| {
        let record = partition.log.table().record(address);
        if let Some(name) = LeafName::of(record.db(), record.key()) {
            assert!(!partition.is_orphan(name), "{name:?} belongs to nobody");
        }
    });
}

/// What is counted is what is there.
pub fn check_counts(partition: &Partition<SimDisk>) {
    check_leaves(partition);
    let table = partition.log.table();
    let mut dbs = BTreeMap::new();
    let (mut entries, mut live_bytes) = (0, 0);
    let mut tallies = vec![(0, 0, 0); 256];
    partition.index.scan(ScanCursor::START, usize::MAX, |_, address| {
        let record = table.record(address);
        entries += 1;
        live_bytes += record.encoded_len() as u64;
        let (keys, expires, sum) = &mut tallies[usize::from(record.db().0)];
        *keys += 1;
        if let Some(ms) = record.expires_at_ms() {
            (*expires, *sum) = (*expires + 1, *sum + u128::from(ms));
        }
        if table.position(address) >= partition.floors[usize::from(record.db().0)] {
            dbs.entry(record.db()).or_insert(DbStats::default()).add(record.expires_at_ms());
        }
    });
    for db in 0..=u8::MAX {
        let db = DbId(db);
        assert_eq!(partition.dbs[usize::from(db.0)], dbs.get(&db).copied().unwrap_or_default(), "in {db:?}");
    }
    assert_eq!(partition.index.len(), entries);
    assert_eq!(table.live_bytes(), live_bytes);
    let sum =
        |tallies: &[Tally]| tallies.iter().map(|tally| (tally.keys, tally.expires, tally.expiry_sum_ms)).collect();
    let counted: Vec<(u64, u64, u128)> = sum(&table.keys());
    let (mut counted, mut there) = (counted, tallies);
    counted.resize(256, (0, 0, 0));
    there.resize(256, (0, 0, 0));
    assert_eq!(counted, there, "each entry counts for its segment");
}

/// The words of a command.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// The reply of one string.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// The reply of no string.
pub const NIL: &str = "$-1\r\n";

/// Calls `use_it` with these words as a request's arguments.
pub fn with_args<T>(words: &[impl AsRef<[u8]>], use_it: impl FnOnce(Args<'_>) -> T) -> T {
    let (mut buffer, mut spans) = (Vec::new(), Vec::new());
    for word in words {
        spans.push(Span { start: buffer.len() as u32, len: word.as_ref().len() as u32 });
        buffer.extend_from_slice(word.as_ref());
    }
    use_it(Args::new(&buffer, &spans))
}
