//! Random lives of a partition, with the model beside it: every reply, what every reply waits for, and what
//! every crash leaves. A seed gives the same life again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use emberkv_log::disk::sim::{Choices, SimDisk};
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, LogPosition, SyncPolicy, Value};

use super::model::{Held, Model, Name, State, live_at};
use super::model_hashes::{changed_within, live_text, sorted, tells_of};
use super::model_sets::told;
use super::requests::request;
use super::rig::{DATABASES, Rig, change_residency, whole_text, words};
use crate::lookup::TextBuf;
use crate::{EvictionOrder, EvictionPolicy, Foreign, Partition, PartitionReader};

pub struct Life {
    pub rig: Rig,
    pub choices: Choices,
    /// What is not in memory is chosen apart.
    cold_choices: Choices,
    /// Whether reads of the disk have been made to fail.
    reads_fail: bool,
    pub model: Model,
    pub policy: SyncPolicy,
    /// The contents after every change, and where the log was.
    history: Vec<(LogPosition, State)>,
    /// Where the log was before the newest change of each key.
    changed: BTreeMap<Name, LogPosition>,
    /// The same of each field whose hash has stayed what it is otherwise.
    fields: BTreeMap<(Name, Vec<u8>), LogPosition>,
    /// What another core would read by.
    reader: PartitionReader,
    /// Direct reads that were answered, and those that were not.
    direct: [u64; 2],
    /// Checkpoints that were taken, and starts that began with one.
    checkpoints: [u64; 2],
    eviction: Option<EvictionPolicy>,
    pub evicted: u64,
    /// Starts that did not read everything.
    cold_starts: u64,
    /// All stays in memory.
    pub is_resident: bool,
}

impl Life {
    pub fn new(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let policy = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No][choices.below(3) as usize];
        // in some lives segments differ in size
        let mut rig = Rig::sized(seed, policy, if seed % 4 == 1 { 1 << 18 } else { 1 << 16 });
        rig.pack_in_some(seed);
        let reader = rig.partition.reader();
        let model = Model { now_ms: rig.now_ms(), ..Model::default() };
        let history = vec![(LogPosition(0), State::new())];
        let order = [EvictionOrder::Lru, EvictionOrder::Lfu, EvictionOrder::Random, EvictionOrder::Ttl];
        let order = order[choices.below(4) as usize];
        let volatile_only = order == EvictionOrder::Ttl || choices.one_in(3);
        let eviction = choices.one_in(2).then_some(EvictionPolicy { volatile_only, order });
        rig.partition.set_eviction(eviction);
        let (changed, cold_choices) = (BTreeMap::new(), Choices::new(seed ^ 0xc01d));
        let (reads_fail, direct, checkpoints) = (false, [0; 2], [0; 2]);
        Self {
            rig,
            choices,
            cold_choices,
            reads_fail,
            model,
            policy,
            history,
            changed,
            fields: BTreeMap::new(),
            reader,
            direct,
            checkpoints,
            eviction,
            evicted: 0,
            cold_starts: 0,
            is_resident: false,
        }
    }

    pub fn db(&mut self) -> u8 {
        // most of it in one, so that its keys meet
        self.choices.below(2 * DATABASES as u64).saturating_sub(DATABASES as u64) as u8
    }

    /// Executes a command on both sides; the replies are the same, and wait for what they depend on.
    pub fn command(&mut self, db: u8, words: &[Vec<u8>]) {
        if !words[0].to_ascii_lowercase().starts_with(b"h") && !self.removes_emptied() {
            return;
        }
        let before = self.rig.partition.log().tail();
        let mut outcome = self.rig.run(db, words);
        outcome.reply = sorted(&words[0], outcome.reply);
        let log = self.rig.partition.log();
        let (read_only, full) = (log.read_only().is_some(), log.no_space().is_some());
        if outcome.reply.starts_with(b"-MISCONF Errors reading") {
            assert!(self.reads_fail && outcome.reply.windows(9).any(|part| part == b"simulated"));
            return;
        }
        if outcome.reply.starts_with(b"-MISCONF") {
            assert!(read_only || full, "refused without a reason: {}", show(db, words));
            return;
        }
        let old = live_at(&self.model.state, self.model.now_ms);
        let expected = sorted(&words[0], self.model.execute(db, &told(words, &outcome.reply)));
        assert!(
            outcome.reply == expected,
            "{}\n  replied  {}\n  expected {}",
            show(db, words),
            outcome.reply.escape_ascii(),
            expected.escape_ascii()
        );
        for key in &self.model.seen {
            if old.get(key) != self.model.state.get(key) {
                let within = changed_within(old.get(key), self.model.state.get(key));
                match within {
                    Some(fields) => self.fields.extend(fields.into_iter().map(|field| ((key.clone(), field), before))),
                    None => drop(self.changed.insert(key.clone(), before)),
                }
            }
        }
        if old != self.model.state {
            self.history.push((self.rig.partition.log().tail(), self.model.state.clone()));
        }
        // in a log that is read-only nothing is reached any more that was not
        let reached = if read_only { log.gate() } else { log.gate().max(outcome.depends) };
        for key in &self.model.seen {
            let change = self.changed.get(key).copied();
            assert!(
                change.is_none_or(|change| reached > change),
                "{} waits for {reached:?}, but {key:?} has changed after {change:?}",
                show(db, words)
            );
            for ((_, field), change) in self.fields_of(key).filter(|((_, field), _)| tells_of(words, field)) {
                assert!(
                    reached > *change,
                    "{} waits for {reached:?}, but {field:?} of {key:?} has changed after {change:?}",
                    show(db, words)
                );
            }
        }
    }

    /// A hash all of whose fields have expired is there until somebody asks for one, or the wheel comes: who asks for its key alone finds it, as
    /// in redis. It is asked for. Returns whether it could be.
    fn removes_emptied(&mut self) -> bool {
        let now_ms = self.model.now_ms;
        let is_live = |held: &Held| held.expires_at_ms.is_none_or(|ms| ms > now_ms);
        let is_emptied = |held: &Held| is_live(held) && live_text(&held.value, now_ms).is_none();
        let emptied = self.model.state.iter().filter(|(_, held)| is_emptied(held)).map(|(name, _)| name.clone());
        let emptied: Vec<_> = emptied.collect();
        emptied.into_iter().all(|(db, key)| self.rig.run(db, &[b"hlen".to_vec(), key.to_vec()]).reply == b":0\r\n")
    }

    fn fields_of<'a>(&'a self, key: &'a Name) -> impl Iterator<Item = (&'a (Name, Vec<u8>), &'a LogPosition)> {
        self.fields.range((key.clone(), Vec::new())..).take_while(move |((name, _), _)| name == key)
    }

    /// A slice of eviction, of any segment: all orders are legal. What has gone is gone for the model too, and a nil waits for
    /// what says so.
    fn evict_some(&mut self) {
        let Some(policy) = self.eviction else { return };
        let (old, before) = (self.rig.contents(), self.rig.partition.log().tail());
        let (partition, choices) = (&mut self.rig.partition, &mut self.choices);
        if policy.order == EvictionOrder::Ttl {
            partition.evict_nearest(1);
        } else {
            if partition.compaction.victim.is_none() {
                let mut candidates = partition.log.evictable();
                candidates.retain(|candidate| candidate.is_movable || !policy.volatile_only);
                if candidates.is_empty() {
                    return;
                }
                let chosen = if choices.one_in(3) { choices.below(candidates.len() as u64) as usize } else { 0 };
                partition.compaction.victim = partition.log.victim(candidates[chosen].sequence);
            }
            let is_oldest = partition.compaction.victim.as_ref().is_some_and(|victim| partition.log.is_oldest(victim));
            // tombstones are effects of their own: a crash may come between
            let records = if is_oldest { 1 + choices.below(200) } else { 1 };
            partition.eviction.judges = true;
            partition.compact_slice(records as u32);
            partition.eviction.judges = false;
        }
        let (new, after) = (self.rig.contents(), self.rig.partition.log().tail());
        for (name, held) in old {
            if let Some(kept) = new.get(&name) {
                assert_eq!(*kept, held, "{name:?} has changed by an eviction");
                continue;
            }
            assert!(!policy.volatile_only || held.expires_at_ms.is_some(), "{name:?} does not expire, and was evicted");
            self.evicted += 1;
            self.model.state.remove(&name);
            self.changed.insert(name, before);
        }
        self.history.push((after, self.model.state.clone()));
    }

    /// Reads a key as another core does: what that finds is what the owner would say, and no crash takes it back.
    fn read_directly(&mut self) {
        let mut names = self.changed.keys().chain(self.model.state.keys());
        let count = self.changed.len() + self.model.state.len();
        let Some(name) = names.nth(self.choices.below(count.max(1) as u64) as usize).cloned() else { return };
        let guard = crossbeam_epoch::pin();
        let found = self.reader.get(&guard, DbId(name.0), &name.1, self.model.now_ms);
        let held = self.model.state.get(&name);
        let live = held.filter(|held| held.expires_at_ms.is_none_or(|ms| ms > self.model.now_ms));
        // fields that have expired are left out by whoever looks into what was found: see `removes_emptied`
        let shown =
            live.and_then(|held| Some(Held { value: live_text(&held.value, self.model.now_ms)?, ..held.clone() }));
        if live.is_some() && shown.is_none() {
            return;
        }
        let live = shown;
        let is_whole = matches!(&found, Foreign::Value(record) if matches!(record.value(), Value::Whole(_)));
        match found {
            Foreign::Ask => {
                self.direct[1] += 1;
                return;
            }
            Foreign::Nil => assert!(live.is_none(), "{name:?} is there, and was not found directly"),
            Foreign::Value(record) => {
                let live = live.unwrap_or_else(|| panic!("{name:?} was found directly, and is not there"));
                assert_eq!(record.expires_at_ms(), live.expires_at_ms, "{name:?} read directly");
                let value: Option<Arc<[u8]>> = match record.value() {
                    Value::Root(_) | Value::Chunked(_) => None, // the owner has its elements
                    Value::Whole(bytes) => live_text(&whole_text(bytes), self.model.now_ms),
                    value => Some(TextBuf::default().text(value).into()),
                };
                assert!(value.is_none_or(|value| live.value == value), "{name:?} read directly");
            }
        }
        self.direct[0] += 1;
        let (gate, change) = (self.rig.partition.log().gate(), self.changed.get(&name).copied());
        if is_whole {
            assert!(
                self.fields_of(&name).all(|(_, change)| gate > *change),
                "a crash may take a field of {name:?} back"
            );
        }
        assert!(
            change.is_none_or(|change| gate > change),
            "{name:?} was read directly, and a crash may take that back"
        );
    }

    pub fn pass(&mut self, ms: u64) {
        self.rig.pass(ms);
        self.model.now_ms = self.rig.now_ms();
    }

    pub fn random_command(&mut self) {
        let db = self.db();
        if self.choices.one_in(150) {
            let lines = ["flushdb", "FLUSHDB sync", "flushall async", "flushdb", "flushall foo", "flushdb sync async"];
            let line = lines[self.choices.below(lines.len() as u64) as usize];
            self.command(db, &words(line));
        } else if let Some(words) = request(&mut self.choices, &self.model, db) {
            self.command(db, &words);
        }
    }

    /// Lets some time pass: mostly little.
    pub fn random_time(&mut self) {
        let ms = match self.choices.below(60) {
            0 => self.choices.below(100_000),
            1 if self.choices.one_in(5) => 86_400_000,
            2..10 => self.choices.below(2_000),
            _ => self.choices.below(30),
        };
        self.pass(ms);
    }

    /// What was there when the log was at `tail`, and is not known to have expired.
    pub fn state_at(&self, tail: LogPosition) -> State {
        let state = self.history.iter().rev().find(|(end, _)| *end <= tail).map(|(_, state)| state);
        state.map_or_else(State::new, |state| live_at(state, self.model.now_ms))
    }

    /// Goes on with what another disk holds, which has followed this one up to where it is.
    pub fn moves_to(&mut self, disk: SimDisk, seed: u64) {
        self.rig = Rig::start(disk, seed ^ self.choices.draw(), self.policy).unwrap();
        self.rig.partition.set_eviction(self.eviction);
        self.reader = self.rig.partition.reader();
        let log = self.rig.partition.log();
        let tail = log.without_header(log.tail());
        self.history.retain(|(end, _)| *end <= tail);
        self.rig.run_all(); // so that there is room for what has expired
        self.resumed(LogPosition(0));
    }

    pub fn step(&mut self) {
        if self.is_resident {
            // as it is
        } else if self.cold_choices.one_in(6) {
            change_residency(&mut self.rig.partition, &mut self.cold_choices);
        } else if self.cold_choices.one_in(200) {
            self.reads_fail = true;
            self.rig.disk.fail_reads(1);
        }
        match self.choices.below(100) {
            0..43 => self.random_command(),
            43..48 => self.save_some(),
            48..60 => self.read_directly(),
            60..68 => self.random_time(),
            68..78 => {
                self.rig.partition.log_mut().end_turn();
                self.rig.partition.publish();
            }
            78..88 => drop(self.rig.run_job(&mut self.choices)),
            88 => self.rig.partition.log_mut().tick(),
            89..92 => {
                let limit = self.choices.below(6) as usize;
                self.rig.partition.expire(limit);
            }
            92..95 => {
                let limit = self.choices.below(6) as usize;
                self.rig.partition.sweep(limit);
            }
            97 if self.choices.one_in(20) => {
                let room = self.choices.below(4) * (1 << 16);
                self.rig.disk.set_capacity(Some(self.rig.disk.used() + room));
            }
            96 if self.choices.one_in(4) => self.rig.disk.set_capacity(None),
            95 if self.choices.one_in(2) => self.evict_some(),
            98..100 => compact_some(&mut self.rig.partition, &mut self.choices),
            95 if self.choices.one_in(20) => self.rig.disk.fail_syncs(1 + self.choices.below(8) / 7 * 9),
            96 if self.choices.one_in(15) => self.rig.disk.fail_writes(1),
            97 if self.choices.one_in(8) => self.check(),
            _ => {}
        }
    }

    /// Goes on with a checkpoint, or begins one.
    fn save_some(&mut self) {
        let partition = &mut self.rig.partition;
        if !partition.checkpoint_stats().is_under_way {
            partition.begin_checkpoint();
        }
        let taken = partition.checkpoint_stats().taken;
        partition.save_some(1 + self.choices.below(3) as usize);
        self.checkpoints[0] += partition.checkpoint_stats().taken - taken;
    }

    /// The contents are the model's, and so are all counts.
    pub fn check(&mut self) {
        self.rig.check_counts();
        self.reads_fail = false;
        let now_ms = self.model.now_ms;
        assert_eq!(self.rig.contents(), live_at(&self.model.state, now_ms));
        if self.rig.disk.crashed() {
            return;
        }
        let is_clean = self.rig.clean();
        // that took some ms, whether it has succeeded or not
        self.model.now_ms = self.rig.now_ms();
        if !is_clean {
            return;
        }
        for db in 0..DATABASES as u8 {
            self.command(db, &words("dbsize"));
            let keys = live_at(&self.model.state, self.model.now_ms);
            let ttls: Vec<u64> =
                keys.iter().filter(|(key, _)| key.0 == db).filter_map(|(_, held)| held.expires_at_ms).collect();
            let stats = self.rig.partition.db_stats(emberkv_log::DbId(db));
            assert_eq!(stats.expires, ttls.len() as u64);
            let sum: u128 = ttls.iter().map(|ms| u128::from(ms - self.model.now_ms)).sum();
            let average = sum.checked_div(ttls.len() as u128).unwrap_or(0) as u64;
            assert_eq!(stats.average_ttl_ms(self.model.now_ms), average);
        }
        self.rig.check_counts();
    }

    /// Kills the process or the power, now and then while the next start is at work, and checks what is left.
    pub fn crash(&mut self, seed: u64) {
        let mut power = self.choices.one_in(2);
        let log = self.rig.partition.log();
        let (written, synced) = (log.without_header(log.written()), log.without_header(log.synced()));
        let mut promised = if power { synced } else { written };
        let mut disk = self.rig.disk.clone();
        if self.choices.one_in(4) {
            self.random_time();
        }
        loop {
            disk = if power { disk.after_power_loss(&mut self.choices) } else { disk.after_kill() };
            if self.choices.one_in(3) {
                disk.crash_after(self.choices.below(12));
            }
            match Rig::start(disk.clone(), seed ^ self.choices.draw(), self.policy) {
                Ok(rig) => {
                    self.rig = rig;
                    self.rig.partition.set_eviction(self.eviction);
                    self.rig.pack_in_some(seed);
                    self.reader = self.rig.partition.reader();
                    break;
                }
                Err(_) if disk.crashed() => {
                    // the interrupted start has promised nothing new; a power loss may take what a kill left
                    power = self.choices.one_in(2);
                    if power {
                        promised = promised.min(synced);
                    }
                }
                Err(error) => panic!("a legal crash stopped the start: {error}"),
            }
        }
        self.resumed(promised);
        if self.choices.one_in(3) {
            self.rig.check_starts(&mut self.choices);
        }
    }

    /// The partition was opened anew: what is there is what was there when the log ended where it does.
    fn resumed(&mut self, promised: LogPosition) {
        let log = self.rig.partition.log();
        let tail = log.without_header(log.tail());
        assert!(tail >= promised, "{promised:?} was promised, {tail:?} is left");
        self.history.retain(|(end, _)| *end <= tail);
        let (_, left) = self.history.last().unwrap();
        self.model.state = left.clone();
        let now_ms = self.rig.now_ms();
        self.rig.pass(0);
        self.model.now_ms = now_ms;
        let (found, expected) = (self.rig.contents(), live_at(left, now_ms));
        let differs = |key: &&Name| found.get(*key) != expected.get(*key);
        let wrong: Vec<_> = found.keys().chain(expected.keys()).filter(differs).collect();
        assert!(wrong.is_empty(), "at {tail:?}, after a crash: {wrong:?} are not what they were");
        self.rig.check_counts();
        self.changed.clear();
        self.fields.clear();
        self.checkpoints[1] += u64::from(self.rig.from_checkpoint);
        self.cold_starts += u64::from(self.rig.unread > 0);
        // hashes all of whose fields have expired, which the model may have forgotten: see `removes_emptied`
        for (db, n) in (0..DATABASES as u8).flat_map(|db| (0..4).map(move |n| (db, n))) {
            self.rig.run(db, &words(&format!("hlen h{n}")));
        }
    }
}

/// A slice of compaction, of a segment that is chosen at random: all orders are legal, not only the good ones.
pub fn compact_some(partition: &mut Partition<SimDisk>, choices: &mut Choices) {
    if partition.compaction.victim.is_none() {
        let candidates = partition.log.candidates();
        if candidates.is_empty() {
            return;
        }
        let chosen = candidates[choices.below(candidates.len() as u64) as usize];
        partition.compaction.victim = partition.log.victim(chosen.sequence);
    }
    let records = if choices.one_in(3) { 1 << 20 } else { 1 + choices.below(40) };
    partition.compact_slice(records as u32);
}

fn show(db: u8, words: &[Vec<u8>]) -> String {
    let words: Vec<_> = words.iter().map(|word| word[..word.len().min(40)].escape_ascii().to_string()).collect();
    format!("db {db}: {}", words.join(" "))
}

fn live(seed: u64) -> [u64; 6] {
    let mut life = Life::new(seed);
    for _ in 0..5 {
        if life.choices.one_in(2) {
            let until = life.choices.below(100);
            life.rig.disk.crash_after(until);
        }
        for _ in 0..life.choices.below(700) {
            life.step();
            if life.rig.disk.crashed() {
                break;
            }
        }
        life.check();
        life.crash(seed);
    }
    [life.direct[0], life.direct[1], life.checkpoints[0], life.checkpoints[1], life.cold_starts, life.evicted]
}

/// How many lives a test lives, if nothing else is said.
pub fn lives(usual: u64) -> u64 {
    std::env::var("EMBERKV_SIM_LIVES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Lives with each seed in turn, and says which of them fails; with `EMBERKV_SIM_SEED`, with that one alone.
pub fn with_seeds(seeds: u64, mut live: impl FnMut(u64)) {
    if let Some(seed) = std::env::var("EMBERKV_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return live(seed);
    }
    for seed in 0..seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
            eprintln!("the life of seed {seed} has failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_crash_leaves_what_was_promised_and_all_or_nothing_of_every_command() {
    let (mut answered, mut asked, mut taken, mut used, mut cold, mut evicted) = (0, 0, 0, 0, 0, 0);
    with_seeds(lives(250), |seed| {
        let counts = live(seed);
        (answered, asked) = (answered + counts[0], asked + counts[1]);
        (taken, used, cold) = (taken + counts[2], used + counts[3], cold + counts[4]);
        evicted += counts[5];
    });
    eprintln!("of direct reads {answered} were answered, {asked} were not; {evicted} keys were evicted");
    assert!(evicted > 100, "keys are hardly ever evicted");
    assert!(answered > asked / 4, "direct reads are hardly ever answered");
    eprintln!("{taken} checkpoints were taken, {used} starts began with one, {cold} did not read all before that");
    assert!(cold > 0, "no start leaves anything unread");
    assert!(used > taken / 4 && taken > 0, "checkpoints are hardly ever used");
}

/// Whether one of these lives shows that something is wrong when a rule is taken out.
pub fn is_noticed(plant: Plant, seeds: u64, mut live: impl FnMut(u64)) -> bool {
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
fn a_life_notices_each_rule_of_collections_that_is_missing() {
    for plant in [Plant::O1, Plant::O2, Plant::O3, Plant::O4, Plant::O5, Plant::O7, Plant::O8] {
        assert!(is_noticed(plant, 2000, |seed| _ = live(seed)), "nothing noticed that {plant:?} is missing");
    }
}

#[test]
fn a_life_notices_each_rule_that_is_missing() {
    for plant in [
        Plant::T3,
        Plant::T4,
        Plant::T5,
        Plant::L2Write,
        Plant::L2Read,
        Plant::L2Nil,
        Plant::E1Read,
        Plant::D3,
        Plant::D4,
        Plant::D5,
        Plant::C1,
        Plant::C2,
        Plant::T2,
        Plant::T2Drop,
        Plant::K1,
        Plant::K3,
        Plant::K4,
        Plant::M3,
    ] {
        assert!(is_noticed(plant, 2000, |seed| _ = live(seed)), "nothing noticed that {plant:?} is missing");
    }
}
