//! Clients that wait, and clients that keep what they read, over `kill -9`.
//!
//! Producers push numbers, each once, into lists and sorted sets; consumers wait for them (BLPOP, BLMPOP, BZPOPMIN ...), movers wait to
//! put them into other lists. After each start a number that somebody pushed and knows to be there
//!
//! * has been popped once, or is there once; not both;
//! * is nowhere only if a pop of that life may have taken it that was not answered: in every second life all are answered before the kill.
//!
//! Keepers read with CLIENT TRACKING meanwhile, and keep what they read until they hear that it has changed. When the writers have
//! stopped, what is kept has to become what is there (docs/protocol.md, N1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::rng::Rng;
use crate::{Client, Error, Result, Server, ServerSpec, Value};

const LISTS: [&str; 4] = ["list:1", "list:2", "list:3", "list:4"];
/// Where movers put elements.
const MOVED: [&str; 2] = ["moved:1", "moved:2"];
const SORTED: [&str; 3] = ["sorted:1", "sorted:2", "sorted:3"];
/// Keys that are kept.
const KEPT: u64 = 40;

const PRODUCERS: u64 = 3;
const CONSUMERS: u64 = 5;
const MOVERS: u64 = 2;
const KEEPERS: u64 = 2;
/// How long what is kept may take to become what is there.
const SETTLES_IN: Duration = Duration::from_secs(10);

/// How to torture.
#[derive(Debug, Clone)]
pub struct QueuesPlan {
    /// What to start.
    pub spec: ServerSpec,
    /// How many times to kill.
    pub rounds: u64,
    /// How long after a start.
    pub length: Duration,
    /// Decides the commands.
    pub seed: u64,
    /// With how many cores to start in turn; as the server has it without any.
    pub cores: Vec<u16>,
}

impl QueuesPlan {
    /// Rounds of 0.7 s.
    pub fn new(spec: ServerSpec, rounds: u64, seed: u64) -> Self {
        Self { spec, rounds, length: Duration::from_millis(700), seed, cores: Vec::new() }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuesReport {
    /// Kills.
    pub rounds: u64,
    /// Elements that were pushed, popped and moved, as the clients were told.
    pub pushed: u64,
    /// See `pushed`.
    pub popped: u64,
    /// See `pushed`.
    pub moved: u64,
    /// Commands that waited until their time was over.
    pub nothing: u64,
    /// Pops that were not answered.
    pub unanswered: u64,
    /// Elements that such a pop has taken, as they are nowhere.
    pub taken: u64,
    /// Values that were kept, and compared when the writers had stopped.
    pub kept: u64,
    /// Messages that what was kept has changed.
    pub invalidated: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

impl QueuesReport {
    /// True when each element was popped once, and nothing was kept that had changed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for QueuesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, pushed, popped, moved, nothing, unanswered, taken, kept, invalidated, violations } = self;
        writeln!(
            f,
            "{rounds} kills; {pushed} elements pushed, {popped} popped, {moved} moved, {nothing} waits for nothing"
        )?;
        writeln!(
            f,
            "{unanswered} pops unanswered, which took {taken}; {kept} values kept, {invalidated} messages that one has changed"
        )?;
        violations.iter().take(20).try_for_each(|violation| writeln!(f, "  {violation}"))?;
        write!(f, "{}", if self.is_clean() { "each element popped once, nothing stale kept" } else { "FAILED" })
    }
}

/// What all clients of all rounds know.
#[derive(Default)]
struct Book {
    /// What the next element is.
    next: AtomicU64,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    pushed: BTreeSet<u64>,
    popped: BTreeMap<u64, u64>,
    report: QueuesReport,
}

impl Book {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, text: String) {
        self.tally().report.violations.push(text);
    }
}

/// Kills and starts, as the plan says.
///
/// # Errors
/// When the harness can't go on: above all when the server does not start again.
pub fn run(plan: &QueuesPlan) -> Result<QueuesReport> {
    let book = Book::default();
    let mut server = Server::start(&plan.spec.cores_in_turn(&plan.cores, 0))?;
    for round in 0..plan.rounds {
        let unanswered = book.tally().report.unanswered;
        run_round(&mut server, plan, round, &book)?;
        server = Server::start(&plan.spec.cores_in_turn(&plan.cores, round + 1))?;
        check(&mut server.connect()?, &book, unanswered)?;
        if !book.tally().report.is_clean() {
            break;
        }
    }
    server.kill9()?;
    let mut tally = book.tally();
    let tally = &mut *tally;
    tally.report.pushed = tally.pushed.len() as u64;
    tally.report.popped = tally.popped.len() as u64;
    Ok(tally.report.clone())
}

/// One life of the server, ended by a kill while clients wait.
fn run_round(server: &mut Server, plan: &QueuesPlan, round: u64, book: &Book) -> Result<()> {
    let (end, writers_end) = (AtomicBool::new(false), AtomicBool::new(false));
    let rng = Rng::new(plan.seed).fork(round);
    let clients = (0..PRODUCERS + CONSUMERS + MOVERS).map(|_| server.connect()).collect::<Result<Vec<_>>>()?;
    let mut writer = server.connect()?;
    let keepers = (0..KEEPERS).map(|i| Keeper::new(server.connect()?, server.connect()?, i % 2 == 1));
    let keepers = keepers.collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let (end, writers_end, rng) = (&end, &writers_end, &rng);
        let others: Vec<_> = (0..)
            .zip(clients)
            .map(|(i, client)| {
                let rng = rng.fork(i);
                scope.spawn(move || match i {
                    _ if i < PRODUCERS => produce(client, rng, end, book),
                    _ if i < PRODUCERS + CONSUMERS => consume(client, rng, end, book),
                    _ => move_on(client, rng, end, book),
                })
            })
            .collect();
        let writer = scope.spawn(move || write(&mut writer, rng.fork(100), writers_end));
        let keepers: Vec<_> = (200..)
            .zip(keepers)
            .map(|(i, keeper)| scope.spawn(move || keeper.run(rng.fork(i), writers_end, book)))
            .collect();
        thread::sleep(plan.length);
        writers_end.store(true, Ordering::Relaxed);
        let mut ended: Vec<_> = [writer].into_iter().chain(keepers).map(|one| joined(one.join())).collect();
        let is_quiet = round % 2 == 1;
        end.store(is_quiet, Ordering::Relaxed);
        if !is_quiet {
            ended.push(server.kill9());
            end.store(true, Ordering::Relaxed);
        }
        ended.extend(others.into_iter().map(|one| joined(one.join())));
        if is_quiet {
            ended.push(server.kill9());
        }
        ended.into_iter().collect::<Result<()>>()
    })?;
    book.tally().report.rounds += 1;
    Ok(())
}

/// A thread of the harness does not panic.
fn joined<T>(ended: thread::Result<Result<T>>) -> Result<T> {
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether the server was killed, which ends what a client does.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Closed | Error::Io { .. })
}

fn produce(mut client: Client, mut rng: Rng, end: &AtomicBool, book: &Book) -> Result<()> {
    while !end.load(Ordering::Relaxed) {
        let values: Vec<u64> = (0..rng.between(1, 4)).map(|_| book.next.fetch_add(1, Ordering::Relaxed)).collect();
        let line = if rng.percent(70) {
            let words: Vec<String> = values.iter().map(u64::to_string).collect();
            format!("{} {} {}", rng.pick(&["RPUSH", "LPUSH"]), rng.pick(&LISTS), words.join(" "))
        } else {
            let words: Vec<String> = values.iter().map(|value| format!("{} {value}", rng.below(100))).collect();
            format!("ZADD {} {}", rng.pick(&SORTED), words.join(" "))
        };
        let lines = if rng.percent(20) { vec!["MULTI".into(), line, "EXEC".into()] } else { vec![line] };
        for line in &lines {
            match client.ask(line) {
                Ok(Value::Error(text)) => book.violation(format!("{line}: {}", text.escape_ascii())),
                Ok(_) => {}
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        book.tally().pushed.extend(values);
        // so that consumers get ahead, and wait
        if rng.percent(30) {
            thread::sleep(Duration::from_millis(rng.below(20)));
        }
    }
    Ok(())
}

/// Sends a command that waits. `None`: the server was killed.
fn wait(client: &mut Client, line: &str, book: &Book) -> Result<Option<Value>> {
    match client.ask(line) {
        Ok(Value::Error(text)) => {
            book.violation(format!("{line}: {}", text.escape_ascii()));
            Ok(None)
        }
        Ok(value) => Ok(Some(value)),
        Err(error) if is_end(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn number(value: &Value) -> Option<u64> {
    std::str::from_utf8(value.text()?).ok()?.parse().ok()
}

fn consume(mut client: Client, mut rng: Rng, end: &AtomicBool, book: &Book) -> Result<()> {
    while !end.load(Ordering::Relaxed) {
        let (is_sorted, timeout) = (rng.percent(30), *rng.pick(&["0.01", "0.05", "0.3"]));
        let all: Vec<&str> = if is_sorted { SORTED.to_vec() } else { LISTS.iter().chain(&MOVED).copied().collect() };
        let mut keys: Vec<&str> = all.iter().copied().filter(|_| rng.percent(60)).collect();
        if keys.is_empty() {
            keys.push(all[0]);
        }
        let (count, keys) = (keys.len(), keys.join(" "));
        // a pop of several keys replies with the key and what it has popped
        let many = rng.percent(25);
        let line = match (is_sorted, many) {
            (false, false) => format!("{} {keys} {timeout}", rng.pick(&["BLPOP", "BRPOP"])),
            (false, true) => format!("BLMPOP {timeout} {count} {keys} {}", rng.pick(&["LEFT", "RIGHT"])),
            (true, false) => format!("{} {keys} {timeout}", rng.pick(&["BZPOPMIN", "BZPOPMAX"])),
            (true, true) => format!("BZMPOP {timeout} {count} {keys} {}", rng.pick(&["MIN", "MAX"])),
        };
        let Some(reply) = wait(&mut client, &line, book)? else {
            book.tally().report.unanswered += 1;
            return Ok(());
        };
        let mut tally = book.tally();
        let mut popped = reply.items().and_then(|items| items.get(1));
        while let Some([first, ..]) = popped.and_then(Value::items) {
            popped = Some(first);
        }
        match popped.and_then(number) {
            Some(value) => *tally.popped.entry(value).or_default() += 1,
            None if reply == Value::Null => tally.report.nothing += 1,
            None => tally.report.violations.push(format!("{line} replied {reply:?}")),
        }
    }
    Ok(())
}

fn move_on(mut client: Client, mut rng: Rng, end: &AtomicBool, book: &Book) -> Result<()> {
    while !end.load(Ordering::Relaxed) {
        let (from, to, timeout) = (rng.pick(&LISTS), rng.pick(&MOVED), rng.pick(&["0.01", "0.05", "0.3"]));
        let line = if rng.percent(50) {
            let [a, b] = [(); 2].map(|()| *rng.pick(&["LEFT", "RIGHT"]));
            format!("BLMOVE {from} {to} {a} {b} {timeout}")
        } else {
            format!("BRPOPLPUSH {from} {to} {timeout}")
        };
        let Some(reply) = wait(&mut client, &line, book)? else { return Ok(()) };
        let report = &mut book.tally().report;
        *(if reply == Value::Null { &mut report.nothing } else { &mut report.moved }) += 1;
    }
    Ok(())
}

/// What is there after a start, against what was said before, where so many pops were unanswered before this life.
fn check(client: &mut Client, book: &Book, unanswered: u64) -> Result<()> {
    let mut left: BTreeMap<u64, u64> = BTreeMap::new();
    let lists = LISTS.iter().chain(&MOVED).map(|key| format!("LRANGE {key} 0 -1"));
    for line in lists.chain(SORTED.iter().map(|key| format!("ZRANGE {key} 0 -1"))) {
        for value in client.ask(&line)?.items().unwrap_or_default() {
            *left.entry(number(value).unwrap_or(u64::MAX)).or_default() += 1;
        }
    }
    let mut tally = book.tally();
    let Tally { pushed, popped, report } = &mut *tally;
    let sent = book.next.load(Ordering::Relaxed);
    let mut bad = Vec::new();
    for (value, count) in left.iter().chain(popped.iter()) {
        if *count > 1 {
            bad.push(format!("{value} is there, or was popped, {count} times"));
        }
        if *value >= sent {
            bad.push(format!("nobody has pushed {value}"));
        }
    }
    bad.extend(left.keys().filter(|value| popped.contains_key(value)).map(|value| format!("{value} is there again")));
    let missing: Vec<_> =
        pushed.iter().filter(|value| !left.contains_key(value) && !popped.contains_key(value)).collect();
    let (taken, may_have) = (missing.len() as u64, report.unanswered - unanswered);
    if taken > report.taken + may_have {
        let before = report.taken;
        bad.push(format!("{missing:?} are nowhere, {before} of them before, and {may_have} pops were not answered"));
    }
    report.taken = taken;
    report.violations.extend(bad);
    Ok(())
}

/// Changes the keys that keepers read: one, or some at once.
fn write(client: &mut Client, mut rng: Rng, end: &AtomicBool) -> Result<()> {
    for value in 0u64.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let keys: Vec<u64> = (0..rng.between(1, 4)).map(|_| rng.below(KEPT)).collect();
        let line = match rng.below(10) {
            0 => format!("DEL kept:{}", keys[0]),
            1..=6 => format!("SET kept:{} {value}", keys[0]),
            _ => {
                format!("MSET {}", keys.iter().map(|key| format!("kept:{key} {value} ")).collect::<String>().trim_end())
            }
        };
        client.ask(&line)?;
    }
    Ok(())
}

/// A client with a cache of its own.
struct Keeper {
    client: Client,
    other: Client,
    kept: BTreeMap<u64, Value>,
    invalidated: u64,
}

impl Keeper {
    /// `is_broadcast`: it hears of all keys, whether it has read them or not.
    fn new(mut client: Client, other: Client, is_broadcast: bool) -> Result<Self> {
        client.ask("HELLO 3")?;
        let mode = if is_broadcast { " BCAST PREFIX kept:" } else { "" };
        client.ask(&format!("CLIENT TRACKING ON{mode}"))?;
        Ok(Self { client, other, kept: BTreeMap::new(), invalidated: 0 })
    }

    /// Asks, and forgets on the way what it hears has changed.
    fn ask(&mut self, line: &str) -> Result<Value> {
        self.client.send(&line.split(' ').collect::<Vec<_>>());
        loop {
            match self.client.read()? {
                Value::Push(words) => {
                    self.invalidated += 1;
                    match words.get(1).and_then(Value::items) {
                        Some(keys) => keys.iter().filter_map(kept_key).for_each(|key| drop(self.kept.remove(&key))),
                        None => self.kept.clear(),
                    }
                }
                reply => return Ok(reply),
            }
        }
    }

    fn run(mut self, mut rng: Rng, writers_end: &AtomicBool, book: &Book) -> Result<()> {
        while !writers_end.load(Ordering::Relaxed) {
            let key = rng.below(KEPT);
            if self.kept.contains_key(&key) && rng.percent(90) {
                self.ask("PING")?;
                continue;
            }
            let value = self.ask(&format!("GET kept:{key}"))?;
            self.kept.insert(key, value);
        }
        let began = Instant::now();
        loop {
            self.ask("PING")?;
            let stale = self.stale()?;
            if stale.is_none() {
                break;
            }
            if let Some(stale) = stale.filter(|_| began.elapsed() > SETTLES_IN) {
                book.violation(stale);
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let report = &mut book.tally().report;
        report.kept += self.kept.len() as u64;
        report.invalidated += self.invalidated;
        Ok(())
    }

    /// Something that is kept and is not what is there.
    fn stale(&mut self) -> Result<Option<String>> {
        for (key, kept) in &self.kept {
            let there = self.other.ask(&format!("GET kept:{key}"))?;
            if there != *kept {
                return Ok(Some(format!("a client keeps {kept:?} for kept:{key}, where {there:?} is")));
            }
        }
        Ok(None)
    }
}

fn kept_key(name: &Value) -> Option<u64> {
    std::str::from_utf8(name.text()?).ok()?.strip_prefix("kept:")?.parse().ok()
}
