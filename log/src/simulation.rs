//! Random lives of a log on a simulated disk, with a plain model beside it: what a crash may take, and
//! that each rule is needed. A seed gives the same life again.

mod cold;
mod damage;
mod full;
mod hostile;
mod images;
mod incarnations;
mod large;
mod memory;
mod settling;
mod sizes;
mod transactions;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::disk::sim::{Choices, SimDisk, SimFile};
use crate::plant::{self, Plant};
use crate::{
    Address, DbId, Entry, Job, Kind, Large, Log, LogPosition, Options, Piece, Progress, Purpose, Record, Refusal,
    Replay, SavedPages, SegmentTable, Shape, StartError, StartReport, SyncPolicy, Value, Whose, segment_name, start,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// All keys are of one database and do not expire here.
fn plain(len: usize) -> Shape {
    Shape { len, db: DbId(0), expires_at_ms: None }
}

/// The least that an engine does: where each key's newest record is.
#[derive(Default)]
struct Index(BTreeMap<Vec<u8>, (Address, usize)>);

impl Index {
    fn put(&mut self, table: &mut SegmentTable, key: &[u8], address: Address, len: usize) {
        if let Some((old, old_len)) = self.0.insert(key.to_vec(), (address, len)) {
            table.release(old, plain(old_len));
        }
    }

    fn delete(&mut self, table: &mut SegmentTable, key: &[u8]) {
        if let Some((old, len)) = self.0.remove(key) {
            table.release(old, plain(len));
        }
    }

    fn replay(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) {
        match record.kind() {
            Kind::Put => {
                table.retain(address, plain(record.encoded_len()));
                self.put(table, record.key(), address, record.encoded_len());
            }
            Kind::Delete => self.delete(table, record.key()),
            Kind::Floor => {
                self.0.clear();
                let position = table.position(address);
                table.drop_below_floor(position);
            }
            other => unreachable!("{other:?} in this test"),
        }
    }

    fn contents(&self, table: &SegmentTable) -> Map {
        let value = |address| match table.record(address).value() {
            Value::Bytes(value) => value.to_vec(),
            Value::Int(int) => int.to_string().into_bytes(),
            Value::Packed(_) | Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => {
                unreachable!("nothing here packs")
            }
        };
        self.0.iter().map(|(key, (address, _))| (key.clone(), value(*address))).collect()
    }
}

#[derive(Clone)]
enum Effect {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Flush,
}

struct Life {
    disk: SimDisk,
    choices: Choices,
    /// What is not in memory is chosen apart.
    cold_choices: Choices,
    policy: SyncPolicy,
    log: Log<SimDisk>,
    index: Index,
    /// Every effect and the position after it.
    history: Vec<(LogPosition, Effect)>,
    jobs: Vec<Job<SimFile>>,
    /// A large value that is being written, and how many were.
    large: Option<(Vec<u8>, Vec<u8>)>,
    larges: u64,
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
        now_ms: || 0,
        random: Box::new(move || choices.draw()),
    }
}

impl Index {
    /// What a checkpoint keeps of it: its keys are words.
    fn page(&self) -> Vec<u8> {
        let line = |(key, (address, len)): (&Vec<u8>, &(Address, usize))| {
            format!("{} {} {len}\n", String::from_utf8_lossy(key), address.raw())
        };
        self.0.iter().map(line).collect::<String>().into_bytes()
    }
}

impl Replay for Index {
    fn evict(&mut self, _: &mut SegmentTable, _: Address, _: &Record<'_>) {
        unreachable!("nothing is evicted in this test");
    }

    fn apply(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), String> {
        self.replay(table, address, record);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        self.0.clear();
        Ok(())
    }

    fn looks_at(&self, record: &Record<'_>, addresses: &mut Vec<Address>) {
        addresses.extend(self.0.get(record.key()).map(|(address, _)| *address));
    }

    fn restore(&mut self, _: &SegmentTable, pages: &mut SavedPages<'_>) -> Result<(), String> {
        let mut chunk = Vec::new();
        while pages.next_chunk(&mut chunk)? {
            for line in String::from_utf8_lossy(&chunk).lines() {
                let words: Vec<_> = line.split(' ').collect();
                let [key, address, len] = words[..] else { return Err(line.to_owned()) };
                let address = Address::from_raw(address.parse().map_err(|_| line)?);
                if pages.is_there(address) {
                    self.0.insert(key.into(), (address, len.parse().map_err(|_| line)?));
                }
            }
        }
        Ok(())
    }
}

fn open(disk: &SimDisk, seed: u64, policy: SyncPolicy) -> Result<(Log<SimDisk>, Index), StartError> {
    open_with(disk, options(seed, policy)).map(|(log, index, _)| (log, index))
}

fn open_with(disk: &SimDisk, options: Options) -> Result<(Log<SimDisk>, Index, StartReport), StartError> {
    let disk = Arc::new(disk.clone());
    let (mut logs, report) = start(disk, options, 1, &Progress::default(), |_, _| Ok(Index::default()))?;
    let (log, index) = logs.remove(0);
    Ok((log, index, report))
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let disk = SimDisk::new();
        let policy = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No][choices.below(3) as usize];
        // in some lives segments differ in size
        let segment_size = if seed.is_multiple_of(3) { 1 << 18 } else { 1 << 16 };
        let (log, index, _) = open_with(&disk, Options { segment_size, ..options(seed, policy) }).unwrap();
        let (history, jobs, cold_choices) = (Vec::new(), Vec::new(), Choices::new(seed ^ 0xc01d));
        Self { disk, choices, cold_choices, policy, log, index, history, jobs, large: None, larges: 0 }
    }

    fn model(&self, upto: LogPosition) -> Map {
        let mut map = Map::new();
        for (_, effect) in self.history.iter().take_while(|(end, _)| *end <= upto) {
            match effect {
                Effect::Put(key, value) => drop(map.insert(key.clone(), value.clone())),
                Effect::Delete(key) => drop(map.remove(key)),
                Effect::Flush => map.clear(),
            }
        }
        map
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key{}", self.choices.below(25)).into_bytes()
    }

    fn step(&mut self) {
        match self.choices.below(40) {
            0..20 => {
                let (key, len) = (self.key(), self.choices.below(3000) as usize);
                let len = if self.choices.one_in(200) { len + 100_000 } else { len };
                let value = vec![self.choices.draw() as u8; len];
                let entry = Entry::Put { db: DbId(0), key: &key, value: Value::Bytes(&value), expires_at_ms: None };
                if self.log.reserve(entry.encoded_len() as u64, Purpose::Grow).is_ok() {
                    let put = self.log.append(&entry);
                    self.index.put(self.log.table_mut(), &key, put.address, put.len);
                    self.history.push((self.log.tail(), Effect::Put(key, value)));
                }
            }
            20..24 => {
                let key = self.key();
                let entry = Entry::Delete { db: DbId(0), key: &key };
                if self.index.0.contains_key(&key)
                    && self.log.reserve(entry.encoded_len() as u64, Purpose::Shrink).is_ok()
                {
                    self.log.append(&entry);
                    self.index.delete(self.log.table_mut(), &key);
                    self.history.push((self.log.tail(), Effect::Delete(key)));
                }
            }
            24 if self.choices.one_in(6) => {
                let entry = Entry::Floor { db: None };
                if self.log.reserve(entry.encoded_len() as u64, Purpose::Shrink).is_ok() {
                    let floor = self.log.append(&entry);
                    self.index.0.clear();
                    let position = self.log.table().position(floor.address);
                    self.log.table_mut().drop_below_floor(position);
                    self.history.push((self.log.tail(), Effect::Flush));
                }
            }
            25..32 => self.log.end_turn(),
            32 => self.log.tick(),
            33 if self.choices.one_in(10) => self.disk.fail_syncs(1),
            35 if self.choices.one_in(8) => {
                self.policy = [SyncPolicy::Always, SyncPolicy::EverySec][self.choices.below(2) as usize];
                self.log.set_policy(self.policy);
            }
            36 if self.choices.one_in(20) => {
                let room = self.choices.below(4) * (1 << 16);
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            37 if self.choices.one_in(4) => self.disk.set_capacity(None),
            34 if self.choices.one_in(20) => self.disk.fail_writes(1),
            38 if self.large.is_some() => self.put_large(),
            38 if self.choices.one_in(8) => {
                let (key, len) = (self.key(), 40_000 + self.choices.below(50_000) as usize);
                self.large = Some((key, vec![self.choices.draw() as u8; len]));
                self.larges += 1;
            }
            39 if self.large.is_some() => self.put_large(),
            _ => self.run_a_job(),
        }
    }

    /// Gets further with the large value, or has it begun anew by somebody else, or leaves it there.
    fn put_large(&mut self) {
        let Some((key, value)) = self.large.take() else { return };
        self.larges += u64::from(self.choices.one_in(100));
        let half = value.len() / 2;
        let whose = Whose { client: 1, request: self.larges };
        let pieces = [Piece::Bytes(&value[..half]), Piece::Bytes(&value[half..])];
        let large = Large { whose, seen: None, db: DbId(0), key: &key, expires_at_ms: None, value: &pieces };
        match self.log.append_large(&large) {
            Ok(put) => {
                self.index.put(self.log.table_mut(), &key, put.address, put.len);
                self.history.push((self.log.tail(), Effect::Put(key, value)));
            }
            Err(Refusal::Wait) if !self.choices.one_in(100) => self.large = Some((key, value)),
            Err(_) => {}
        }
    }

    fn run_a_job(&mut self) {
        while let Some(job) = self.log.next_job() {
            self.jobs.push(job);
        }
        if !self.jobs.is_empty() {
            let job = self.jobs.swap_remove(self.choices.below(self.jobs.len() as u64) as usize);
            let result = job.run(&self.disk);
            self.log.complete(job.kind(), result);
        }
    }

    /// Kills the process or the power, now and then while the next start is at work, and checks what is left.
    fn crash(&mut self, seed: u64) {
        let mut power = self.choices.one_in(2);
        let (written, synced) = [self.log.written(), self.log.synced()].map(|at| self.log.without_header(at)).into();
        let mut promised = if power { synced } else { written };
        self.jobs.clear();
        self.large = None;
        loop {
            self.disk = if power { self.disk.after_power_loss(&mut self.choices) } else { self.disk.after_kill() };
            if self.choices.one_in(3) {
                self.disk.crash_after(self.choices.below(12));
            }
            match open(&self.disk, seed ^ self.choices.draw(), self.policy) {
                Ok((log, index)) => {
                    let end = log.without_header(log.tail());
                    assert!(end >= promised, "{promised:?} was promised, {end:?} is left");
                    assert!(log.synced() == log.tail(), "a start makes everything durable");
                    (self.log, self.index) = (log, index);
                    break;
                }
                Err(_) if self.disk.crashed() => {
                    // the interrupted start has promised nothing new; a power loss may take what a kill left
                    power = self.choices.one_in(2);
                    if power {
                        promised = promised.min(synced);
                    }
                }
                Err(error) => panic!("a legal crash stopped the start: {error}"),
            }
        }
        let tail = self.log.without_header(self.log.tail());
        assert_eq!(self.index.contents(self.log.table()), self.model(tail), "at {tail:?}");
        self.history.retain(|(end, _)| *end <= tail);
    }

    fn check(&mut self) {
        self.bring_all();
        let newest = self.log.tail();
        assert_eq!(self.index.contents(self.log.table()), self.model(newest));
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..6 {
        if life.choices.one_in(2) {
            let until = life.choices.below(60);
            life.disk.crash_after(until);
        }
        for _ in 0..life.choices.below(400) {
            life.step();
            if life.cold_choices.one_in(4) {
                life.cold_step();
            }
            if life.disk.crashed() {
                break;
            }
        }
        life.check();
        life.crash(seed);
    }
}

/// Whether one of the lives shows that something is wrong.
fn is_noticed(plant: Plant, seeds: u64) -> bool {
    is_noticed_in(live, plant, seeds)
}

fn is_noticed_in(live: fn(u64), plant: Plant, seeds: u64) -> bool {
    plant::set(Some(plant));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let first = (0..seeds).find(|&seed| catch_unwind(AssertUnwindSafe(|| live(seed))).is_err());
    eprintln!("{plant:?} is noticed in the life of seed {first:?}");
    std::panic::set_hook(hook);
    plant::set(None);
    first.is_some()
}

#[test]
fn no_crash_takes_what_was_promised() {
    let lives = std::env::var("EMBERKV_SIM_LIVES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for seed in 0..lives {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
            eprintln!("the life of seed {seed} has failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_life_notices_each_rule_that_is_missing() {
    // F2 and S5 say when not to start, and F3 needs frames of equal length: the tests below see to them
    for plant in [
        Plant::F1,
        Plant::F4,
        Plant::S1,
        Plant::S2,
        Plant::S3,
        Plant::S4,
        Plant::T1,
        Plant::E1,
        Plant::L2Ahead,
        Plant::M1,
    ] {
        assert!(is_noticed(plant, 2000), "nothing noticed that {plant:?} is missing");
    }
}

/// A log with some segments, all of it synced, and the disk that it is on.
fn grown() -> (SimDisk, Log<SimDisk>) {
    let disk = SimDisk::new();
    let (mut log, mut index) = open(&disk, 1, SyncPolicy::EverySec).unwrap();
    for i in 0..300u32 {
        let key = i.to_le_bytes();
        let entry = Entry::Put { db: DbId(0), key: &key, value: Value::Bytes(&[7; 501]), expires_at_ms: None };
        while let Err(refusal) = log.reserve(entry.encoded_len() as u64, Purpose::Grow) {
            assert_eq!(refusal, Refusal::Wait);
            run_all(&disk, &mut log);
        }
        let put = log.append(&entry);
        index.put(log.table_mut(), &key, put.address, put.len);
        log.end_turn();
        log.tick();
        run_all(&disk, &mut log);
    }
    assert!(log.segments().0 > 2);
    (disk, log)
}

fn run_all(disk: &SimDisk, log: &mut Log<SimDisk>) {
    log.end_turn();
    while let Some(job) = log.next_job() {
        let result = job.run(disk);
        log.complete(job.kind(), result);
        log.end_turn();
    }
}

/// The keys after a start on a recycled file that holds, beyond its tail, a frame of an earlier life which
/// begins just where the next frame of this life ends: at the end of a block, whose rest is not written.
fn keys_after_a_recycled_refill() -> Vec<Vec<u8>> {
    const FRAME: u64 = (4096 - 64) / 2;
    let disk = SimDisk::new();
    let put = |log: &mut Log<SimDisk>, key: &[u8]| {
        let value = Value::Bytes(&[1; FRAME as usize - 24 - 9]);
        let entry = Entry::Put { db: DbId(0), key, value, expires_at_ms: None };
        log.reserve(entry.encoded_len() as u64, Purpose::Grow).unwrap();
        log.append(&entry);
        log.end_turn();
    };
    let (mut log, _) = open(&disk, 1, SyncPolicy::EverySec).unwrap();
    ["a", "b", "c"].iter().for_each(|key| put(&mut log, key.as_bytes()));
    // b was never synced and is torn, c survives behind it
    disk.flip_bit(&segment_name(log.head().file_id), (64 + FRAME + 40) * 8);
    let (log, _) = open(&disk.after_kill(), 2, SyncPolicy::EverySec).unwrap();
    let disk = (*log.disk).clone();
    let (mut log, _) = open(&disk, 3, SyncPolicy::EverySec).unwrap();
    put(&mut log, b"d");
    let (_, index) = open(&disk, 4, SyncPolicy::EverySec).unwrap();
    index.0.into_keys().collect()
}

#[test]
fn frames_of_an_earlier_filling_do_not_come_back() {
    assert_eq!(keys_after_a_recycled_refill(), [b"a", b"d"]);
    plant::set(Some(Plant::F3));
    assert_eq!(keys_after_a_recycled_refill(), [b"a", b"c", b"d"], "without F3 they do");
    plant::set(None);
}

#[test]
fn two_failed_syncs_make_the_log_read_only() {
    let (disk, mut log) = grown();
    let delete = Entry::Delete { db: DbId(0), key: b"k" };
    log.reserve(delete.encoded_len() as u64, Purpose::Shrink).unwrap();
    log.append(&delete);
    log.end_turn();
    let (written, synced) = (log.written(), log.synced());
    disk.fail_syncs(2);
    log.tick();
    run_all(&disk, &mut log);
    assert!(log.read_only().is_some());
    assert!(matches!(log.reserve(10, Purpose::Shrink), Err(Refusal::ReadOnly(_))));
    assert_eq!((log.written(), log.synced()), (written, synced), "nothing more is promised");
}
